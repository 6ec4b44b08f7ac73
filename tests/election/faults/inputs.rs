//! Faults 4, 6, 7 and 11: what is put in.

use streamraft::{
    Command, Config, ConfigError, Election, HardState, Inbound, Membership, Message, MessageKind,
    MsgRouter, NodeType, Stamp,
};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, One, ask_pre_vote, ask_vote, ask_vote_marked, config, ping, pong,
    pre_vote, vote,
};
use crate::world::{World, ms};

/// Fault 4: panics on an empty, spaced or long name and on a missing self; duplicates inflated the quorum.
#[test]
fn odd_names_and_lists_are_refused_with_a_reason() {
    let long = "a".repeat(37);
    let cases: [(&str, &[&str], &str); 7] = [
        ("", &["a"], "node_id"),
        ("a b", &["a b"], "node_id"),
        (&long, &[&long], "node_id"),
        ("a", &["a", ""], "nodes"),
        ("a", &["a", "b\t"], "nodes"),
        ("a", &["b", "c"], "missing"),
        ("a", &["a", "b", "b"], "twice"),
    ];
    for (me, nodes, expected) in cases {
        let refused = Config::new(me, nodes).expect_err(expected);
        assert!(
            refused.to_string().contains(expected),
            "{me:?} {nodes:?}: {refused}"
        );
    }
    let longest = "a".repeat(36);
    assert!(Config::new(&longest, [&longest]).is_ok());
}

/// Fault 6: unread output and unthrottled input grew without bound. Here nobody ever reads, and every kind of input
/// comes from everyone; then no more comes out than two messages a peer and one state.
#[test]
fn unread_output_is_bounded_by_the_number_of_peers() {
    let size = 5;
    let mut node = One::fresh(1, size);
    for step in 0..20_000_u64 {
        let from = step % (size - 1) + 2;
        let term = step / 1_000;
        let kind = match step % 9 {
            0 => ping(step),
            1 => pong(step),
            2 => ask_pre_vote(step),
            3 => pre_vote(step, true),
            4 => ask_vote(),
            5 => vote(true),
            6 => ask_vote_marked(),
            7 => MessageKind::TimeoutNow,
            _ => MessageKind::Unknown,
        };
        let message = Message::new(term, Stamp::new(0, 1), kind);
        let input = Inbound::FromNode(from, message);
        node.now += ms(step % 7);
        node.election
            .handle(node.now, input)
            .expect("messages are no mistakes");
        node.election.handle_timeout(node.now);
        if step % 501 == 0 {
            let command = Command::SetPriority(step);
            node.election
                .handle(node.now, command.into())
                .expect("always allowed");
        }
        if step % 100 == 0 {
            let waiting = node.clone().drain();
            let bound = 2 * (size as usize - 1);
            assert!(waiting.states().len() <= 1, "step {step}");
            assert!(
                waiting.messages().len() <= bound,
                "step {step}: {waiting:?}"
            );
            let states_first = waiting.0.iter().skip(1);
            assert!(
                states_first
                    .clone()
                    .all(|output| matches!(output, MsgRouter::ToNode(..)))
            );
        }
    }
}

/// What waits may become untrue before it is taken out: an answer in a term that is over, a ping of one who leads no
/// more. It does not come out then. (A message bears the term in which it leaves, so it would be a lie.)
#[test]
fn what_has_become_untrue_while_it_waited_does_not_come_out() {
    let hear = |node: &mut One, from, term, kind| {
        let message = Message::new(term, Stamp::new(0, 1), kind);
        let input = Inbound::FromNode(from, message);
        node.election
            .handle(node.now, input)
            .expect("messages are no mistakes");
    };
    // Two candidates ask in two terms before the first answer has left.
    for first in [ask_vote(), ask_pre_vote(1)] {
        let mut voter = One::restored(3, 5, 1, None);
        hear(&mut voter, 2, 2, first);
        hear(&mut voter, 4, 3, ask_vote());
        let out = voter.drain();
        assert_eq!(out.receivers(|_| true), [4], "{out:?}");
        assert_eq!(out.states()[0].hard_state().voted_for(), Some(&4));
    }
    // A leader's pings wait when it learns that it is over.
    let mut leader = One::leader_with_lease(3);
    leader.now += HEARTBEAT;
    leader.election.handle_timeout(leader.now);
    hear(&mut leader, 2, 4, pong(0));
    assert_eq!(leader.drain().messages(), []);
    // A candidate's requests wait when its term's leader is heard.
    let mut candidate = One::candidate(3);
    candidate.now += HEARTBEAT;
    candidate.election.handle_timeout(candidate.now);
    hear(&mut candidate, 2, 1, ping(0));
    let said = candidate.drain();
    assert!(
        matches!(said.to(2)[..], [(1, MessageKind::Pong { .. })]),
        "{said:?}"
    );
    assert_eq!(said.to(3), []);
}

/// Fault 7: a term of `u64::MAX` was believed, and the next one was 0.
#[test]
fn a_term_that_leaves_no_room_is_not_believed() {
    let kinds = [
        ping(0),
        pong(0),
        ask_vote(),
        ask_vote_marked(),
        vote(false),
        ask_pre_vote(1),
        pre_vote(1, false),
        MessageKind::TimeoutNow,
    ];
    for term in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 41] {
        for kind in &kinds {
            for node in [
                One::leader_with_lease(3),
                One::candidate(3),
                One::restored(3, 3, 1, None),
            ] {
                let mut node = node;
                let before = node.state().clone();
                assert_eq!(node.receive(2, term, kind.clone()).0, []);
                assert_eq!(node.state(), &before, "{kind:?} in term {term}");
                assert_eq!(node.election.stats().malformed, 1);
            }
        }
    }
    // What a cluster could have reached is believed.
    let mut node = One::candidate(3);
    node.receive(2, 1 << 39, ping(0));
    assert_eq!(node.state().term(), 1 << 39);
}

/// Nor does a node campaign where no room is left, or start from there.
#[test]
fn the_term_never_wraps() {
    let membership = Membership::initial([1, 2, 3]);
    let last = u64::MAX - (1 << 40);
    let saved = HardState::new(last, None, membership.clone());
    let mut node = One::new(config(1, 3).restore(saved));
    assert_eq!(node.wait(ELECTION_TIMEOUT * 5).0, []);
    assert_eq!(
        (node.state().node_type(), node.state().term()),
        (NodeType::Follower, last)
    );

    let saved = HardState::new(u64::MAX, None, membership);
    let refused = Election::new(config(1, 3).restore(saved), node.now).expect_err("no room");
    assert_eq!(refused, ConfigError::RestoredTerm { term: u64::MAX });
}

/// Fault 11, first half: one stale reply, even from a stranger, made the leader start over.
#[test]
fn stale_replies_and_strangers_leave_a_leader_alone() {
    let mut leader = One::leader_with_lease(3);
    leader.wait_answered(ms(250), &[2, 3]);
    let before = leader.election.clone();
    let mut said = 0;
    let kinds = [
        pong(0),
        pong(100_000),
        vote(true),
        vote(false),
        pre_vote(1, true),
        pre_vote(1, false),
    ];
    for kind in &kinds {
        for (from, term) in [(2, 0), (3, 0), (3, 1), (9, 0), (9, 1), (9, 2), (9, 1 << 30)] {
            assert_eq!(
                leader.receive(from, term, kind.clone()).0,
                [],
                "{kind:?} from {from}"
            );
            said += 1;
        }
    }
    let stats = *leader.election.stats();
    assert_eq!(stats.stale + stats.strangers, said);
    assert_eq!(stats.strangers, 4 * 6);
    assert_eq!(leader.state(), before.state());
    assert_eq!(leader.election.poll_timeout(), before.poll_timeout());
    assert!(leader.leads());
}

/// In a running cluster, too: every message that was ever sent comes once more, much later.
#[test]
fn a_flood_of_old_messages_changes_no_leader() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(5));
        for _ in 0..3 {
            let leader = world.settle(ms(5_000));
            world.command(leader, Command::Resign).expect("it leads");
            world.run(ms(100));
        }
        let leader = world.settle(ms(5_000));
        let (term, elections) = (world.state(leader).term(), world.history.len());
        for round in 0..200 {
            for from in [1, 2, 3, 9] {
                for old in 0..term {
                    for kind in [vote(true), vote(false), pong(round), pre_vote(round, true)] {
                        let message = Message::new(old, Stamp::new(0, 1), kind);
                        let to = (from + round) % 3 + 1;
                        world.inject(from, to, message);
                    }
                }
            }
            world.run(ms(20));
        }
        assert_eq!(world.settled(), Some(leader), "seed {seed}: {world}");
        assert_eq!(
            (world.state(leader).term(), world.history.len()),
            (term, elections)
        );
    }
}

/// Fault 11, second half: votes of strangers counted.
#[test]
fn votes_of_strangers_do_not_count() {
    let (mut pre_candidate, round) = One::pre_candidate(5);
    let mut candidate = One::candidate(5);
    for stranger in [0, 6, 7, 8, u64::MAX] {
        pre_candidate.receive(stranger, 0, pre_vote(round, true));
        candidate.receive(stranger, 1, vote(true));
    }
    // Nor its own, from outside.
    pre_candidate.receive(1, 0, pre_vote(round, true));
    candidate.receive(1, 1, vote(true));

    assert_eq!(pre_candidate.state().term(), 0);
    assert_eq!(candidate.state().node_type(), NodeType::Candidate);
    for node in [&candidate, &pre_candidate] {
        let stats = node.election.stats();
        assert_eq!((stats.strangers, stats.malformed), (5, 1));
    }
}

/// And a stranger gets none.
#[test]
fn strangers_are_neither_voted_for_nor_followed() {
    let mut node = One::restored(3, 3, 1, None);
    for kind in [
        ask_vote(),
        ask_vote_marked(),
        ask_pre_vote(1),
        ping(0),
        MessageKind::TimeoutNow,
    ] {
        assert_eq!(node.receive(9, 5, kind).0, []);
    }
    assert_eq!(node.state().term(), 1);
    assert_eq!(node.election.stats().strangers, 5);
}
