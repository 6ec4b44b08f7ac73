//! Thesis section 3.10: leadership transfer.

use streamraft::{Command, Error, LogPosition, MessageKind, MsgRouter, NodeType};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, LEASE_SPAN, MOMENT, One, Outputs, ask_pre_vote, ask_vote,
    ask_vote_marked, config, granted, is_ping, is_pre_vote_request, is_timeout_now,
    is_vote_request, just_before, ping, pong, vote,
};
use crate::world::{World, ms};

/// "a leader would need to expire its lease before transferring leadership" (6.4.1). So its owner is told first:
/// whoever takes one item at a time has stopped leading before the order is out.
/// (6.4.1-4) (3.10-3)
#[test]
fn the_lease_is_given_up_before_the_order_comes_out() {
    for command in [Command::Transfer(2), Command::Resign, Command::Stop] {
        let mut node = One::leader_with_lease(3);
        node.election
            .handle(node.now, command.clone().into())
            .expect("it leads");

        let first = node.election.poll_output();
        let rest = node.drain();

        let Some(MsgRouter::ToSelf(state)) = first else {
            panic!("{command:?}: {first:?} comes first")
        };
        assert_eq!(state.lease(), None);
        assert_eq!(rest.receivers(is_timeout_now), [2]);
        assert_eq!(rest.messages()[0].1.term, 1);
    }
}

/// "This request has the same effect as the target server's election timer firing: the target server starts a new
/// election (incrementing its term and becoming a candidate)."
/// (3.10-4)
#[test]
fn the_target_starts_an_election_at_once() {
    let mut node = One::follower(2, 3, 1, 1);

    let out = node.receive(1, 1, MessageKind::TimeoutNow);

    let state = &out.states()[0];
    assert_eq!((state.node_type(), state.term()), (NodeType::Candidate, 2));
    assert_eq!(state.hard_state().voted_for(), Some(&2));
    assert_eq!(out.receivers(is_vote_request), [1, 3]);
    assert_eq!(out.receivers(is_pre_vote_request), []);
}

/// Only the leader that it follows can tell a node so, only in their term, and only a follower.
#[test]
fn an_order_that_is_not_the_leaders_is_not_obeyed() {
    let mut follower = One::follower(2, 3, 1, 4);
    let kept = follower.state().hard_state().clone();
    for (from, term) in [(3, 4), (1, 3), (3, 3), (9, 4)] {
        assert_eq!(follower.receive(from, term, MessageKind::TimeoutNow).0, []);
    }
    assert_eq!(follower.state().hard_state(), &kept);

    let mut leader = One::leader_with_lease(3);
    assert_eq!(leader.receive(2, 1, MessageKind::TimeoutNow).0, []);
    assert!(leader.leads());
}

/// The whole of it: two messages and their answers, and no election timeout.
#[test]
fn a_transfer_takes_a_few_message_delays() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| config);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(5_000));
        let to = leader % 5 + 1;
        let term = world.state(leader).term();
        world
            .command(leader, Command::Transfer(to))
            .expect("it leads");

        let took = world.run_until(ms(1_000), |world| world.settled() == Some(to));

        // The order, the vote requests, the votes, the first ping, its answer: five delays and no more.
        assert!(
            took.is_some_and(|took| took <= ms(50)),
            "seed {seed}: {took:?} {world}"
        );
        assert_eq!(world.state(to).term(), term + 1);
    }
}

/// "2. The prior leader fully updates the target server's log to match its own". Until then there is no order, and as
/// soon as the target is level there is.
/// (3.10-1) (3.10-2)
#[test]
fn the_order_waits_until_the_target_has_caught_up() {
    let mut node = One::leader_with_lease(3);
    node.election.set_position(LogPosition::new(1, 8));

    let out = node.command(Command::Transfer(2)).expect("it leads");
    assert_eq!(out.receivers(is_timeout_now), []);
    assert!(!node.leads(), "it stops serving at once all the same");
    assert_eq!(node.wait(HEARTBEAT).receivers(is_timeout_now), []);

    node.receive(2, 1, pong_at(100_000, LogPosition::new(1, 8)));
    assert_eq!(node.wait(HEARTBEAT).receivers(is_timeout_now), [2]);
}

/// "If leadership transfer does not complete after about an election timeout, the prior leader aborts the transfer and
/// resumes accepting client requests." Nothing was ordered, so it resumes in its term and with its lease.
/// (3.10-6)
#[test]
fn a_transfer_that_was_never_ordered_lapses_and_the_lease_is_back() {
    let mut node = One::leader_with_lease(3);
    node.election.set_position(LogPosition::new(1, 8));
    node.command(Command::Transfer(2)).expect("it leads");

    let out = node.wait_answered(just_before(ELECTION_TIMEOUT), &[2, 3]);
    assert_eq!(out.states().len(), 0, "{out:?}");
    assert_eq!(node.state().transferring_to(), Some(&2));
    let out = node.wait(just_before(HEARTBEAT));

    let state = &out.states()[0];
    assert_eq!((state.node_type(), state.term()), (NodeType::Leader, 1));
    assert_eq!(state.transferring_to(), None);
    assert!(node.leads());
}

/// An order that went out cannot be called back: the target may obey it at any time. So the leader does not resume in
/// its term. It is elected anew, in a higher one, and then the order is of an older term.
#[test]
fn a_leader_whose_order_was_not_obeyed_is_elected_anew_in_a_higher_term() {
    let mut node = One::leader_with_lease(3);
    node.command(Command::Transfer(2)).expect("it leads");
    let out = node.wait_answered(just_before(ELECTION_TIMEOUT), &[3]);
    // The order is repeated with every heartbeat, and no confirmation gives a lease.
    assert_eq!(out.receivers(is_timeout_now), [2; 9]);
    assert!(out.states().iter().all(|state| state.lease().is_none()));
    assert_eq!(node.state().node_type(), NodeType::Leader);

    let out = node.wait(MOMENT);
    let state = &out.states()[0];
    assert_eq!((state.node_type(), state.term()), (NodeType::Candidate, 2));
    assert_eq!(state.transferring_to(), None);
    // Its followers still withhold for its sake, so it needs the mark.
    assert_eq!(marked(&out), [2, 3]);
    node.receive(3, 2, vote(true));
    node.receive(3, 2, pong(0));
    assert!(node.leads());

    // The target hears of the new term, and then obeys no more.
    let mut target = One::follower(2, 3, 1, 1);
    target.receive(1, 2, ping(0));
    assert_eq!(target.receive(1, 1, MessageKind::TimeoutNow).0, []);
    assert_eq!(target.state().leader(), Some(&1));
}

/// The same in a cluster whose target hears nothing: one election timeout without a lease, and no more.
#[test]
fn a_transfer_to_a_dead_node_costs_one_election_timeout() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(5));
        let leader = world.settle(ms(5_000));
        let dead = leader % 3 + 1;
        world.kill(dead);
        world.run(ms(20));
        world
            .command(leader, Command::Transfer(dead))
            .expect("it leads");
        assert_eq!(world.leader(), None);

        let took = world.run_until(ms(5_000), |world| world.settled().is_some());

        assert!(
            took.is_some_and(|took| took >= ELECTION_TIMEOUT && took <= ms(1_030)),
            "seed {seed}: {took:?}"
        );
        assert_eq!(world.leader(), Some(leader));
    }
}

/// A leader that the others have left does not wait for its transfer: check-quorum ends it all.
#[test]
fn a_leader_cut_off_in_a_transfer_steps_down() {
    let mut node = One::leader_with_lease(3);
    node.command(Command::Transfer(2)).expect("it leads");
    node.wait(ELECTION_TIMEOUT);
    assert_ne!(node.state().node_type(), NodeType::Leader);
    assert_eq!(node.state().transferring_to(), None);
    assert_eq!(node.state().lease(), None);
}

/// Resigning hands over to the first of the succession: alive, of the highest priority, and with all of the log.
#[test]
fn a_leader_that_resigns_hands_over_to_the_first_successor() {
    let position = LogPosition::new(1, 8);
    let answers = [
        // Position and priority of nodes 2, 3 and 4; 5 is dead.
        ([(8, 0), (8, 0), (8, 0)], Some(2)),
        ([(8, 0), (8, 5), (8, 0)], Some(3)),
        ([(8, 1), (7, 5), (8, 2)], Some(4)),
        ([(7, 1), (7, 5), (7, 2)], None),
    ];
    for (answers, expected) in answers {
        for command in [Command::Resign, Command::Stop] {
            let mut node = One::leader(5);
            node.election.set_position(position);
            for (voter, (index, priority)) in (2..).zip(answers) {
                let kind = MessageKind::Pong {
                    round: 0,
                    position: LogPosition::new(1, index),
                    priority,
                };
                node.receive(voter, 1, kind);
            }

            let out = node.command(command).expect("it leads");

            assert_eq!(out.states()[0].node_type(), NodeType::Follower);
            assert_eq!(out.receivers(is_timeout_now), Vec::from_iter(expected));
            assert_eq!(out.receivers(is_ping), []);
        }
    }
}

/// A node that was level when it was last heard, but has been silent for an election timeout, is no successor.
#[test]
fn a_leader_that_resigns_does_not_hand_over_to_the_dead() {
    let position = LogPosition::new(1, 8);
    let mut node = One::leader(4);
    node.election.set_position(position);
    node.receive(4, 1, pong_at(0, position));
    node.receive(2, 1, pong(0));
    node.receive(3, 1, pong(0));
    node.wait_answered(ELECTION_TIMEOUT + HEARTBEAT * 2, &[2, 3]);
    assert_eq!(node.state().followers(), [2, 3]);

    let out = node.command(Command::Resign).expect("it leads");

    assert_eq!(
        out.receivers(is_timeout_now),
        [],
        "two are behind, one is dead"
    );
}

/// A command that cannot be carried out says so and changes nothing.
#[test]
fn a_transfer_that_makes_no_sense_is_refused() {
    let mut leader = One::leader_with_lease(3);
    let refused = |node: &mut One, to| {
        let before = node.state().clone();
        let error = node.command(Command::Transfer(to)).expect_err("refused");
        assert_eq!(node.state(), &before);
        error
    };

    assert_eq!(refused(&mut leader, 1), Error::TransferToSelf);
    let node = "9".to_owned();
    assert_eq!(refused(&mut leader, 9), Error::TransferToNonVoter { node });
    leader.command(Command::Transfer(2)).expect("it leads");
    let to = "2".to_owned();
    assert_eq!(refused(&mut leader, 3), Error::TransferRunning { to });

    let mut follower = One::follower(2, 3, 1, 1);
    let leader = Some("1".to_owned());
    assert_eq!(refused(&mut follower, 3), Error::NotLeader { leader });
    assert!(
        follower
            .command(Command::Resign)
            .is_ok_and(|out| out.0.is_empty())
    );
}

/// While it hands over, a leader has no lease, so it withholds nothing: not even from a candidate without the mark.
#[test]
fn a_leader_that_hands_over_votes_for_another() {
    for request in [ask_vote(), ask_vote_marked()] {
        let mut node = One::leader_with_lease(3);
        node.command(Command::Transfer(2)).expect("it leads");
        node.wait_answered(ms(500), &[3]);
        assert_eq!(node.state().node_type(), NodeType::Leader);
        assert_eq!(granted(&node.receive(2, 1, ask_pre_vote(1)).to(2)), [true]);
        assert_eq!(granted(&node.receive(2, 2, request).to(2)), [true]);
    }
}

fn pong_at(round: u64, position: LogPosition) -> MessageKind<u64> {
    MessageKind::Pong {
        round,
        position,
        priority: 0,
    }
}

/// Who was asked for a vote with the transfer mark.
fn marked(out: &Outputs) -> Vec<u64> {
    out.receivers(|kind| matches!(kind, MessageKind::VoteRequest { transfer: true, .. }))
}

/// A leader that got its lease by a transfer is a leader like any other: no lease before its own first confirmation.
#[test]
fn the_new_leader_has_its_own_lease() {
    let mut node = One::new(config(2, 3));
    node.receive(1, 1, ping(0));
    node.receive(1, 1, MessageKind::TimeoutNow);
    node.receive(1, 2, vote(true));
    assert_eq!(
        (node.state().node_type(), node.state().lease()),
        (NodeType::Leader, None)
    );
    node.receive(1, 2, pong(0));
    assert_eq!(node.state().lease(), Some(node.now + LEASE_SPAN));
}

/// "Its next message to the prior leader will include its new term number, causing the prior leader to step down. At this
/// point, leadership transfer is complete." (3.10-5)
#[test]
fn the_prior_leader_steps_down_by_the_targets_next_message() {
    let mut node = One::leader_with_lease(3);
    node.command(Command::Transfer(2)).expect("it leads");

    let out = node.receive(2, 2, ask_vote_marked());

    let state = &out.states()[0];
    assert_eq!((state.node_type(), state.term()), (NodeType::Follower, 2));
    assert_eq!(state.transferring_to(), None);
    assert_eq!(granted(&out.to(2)), [true]);
}

/// The prior leader may have been mistaken, and its target obeys after all, when the transfer has lapsed: "at worst this
/// mistake will result in an extra election". (3.10-7)
#[test]
fn a_target_that_obeys_late_costs_one_election_at_most() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(5));
        let leader = world.settle(ms(5_000));
        let to = leader % 3 + 1;
        world.run(ms(500));
        // The order waits in the target's socket until the transfer has lapsed and the leader was elected anew.
        world.pause(to, ms(900 + 5 * seed));
        world
            .command(leader, Command::Transfer(to))
            .expect("it leads");
        world.run(ms(5_000));

        assert!(world.settled().is_some(), "seed {seed}: {world}");
        // The first leader, that leader anew, and one more.
        assert!(world.history.len() <= 3, "seed {seed}: {:?}", world.history);
    }
}
