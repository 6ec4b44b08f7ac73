//! Thesis section 9.6: "In the Pre-Vote algorithm, a candidate only increments its term if it first learns from a
//! majority of the cluster that they would be willing to grant the candidate their votes (if the candidate's log is
//! sufficiently up-to-date, and the voters have not received heartbeats from a valid leader for at least a baseline
//! election timeout)."

use streamraft::{LogPosition, MessageKind, NodeType};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, MOMENT, One, ask_pre_vote, config, granted, is_vote_request,
    just_before, ping, pre_vote, quorum, saved,
};
use crate::world::{World, ms};

/// Neither the candidate's term nor the voter's vote nor term.
#[test]
fn a_pre_vote_changes_nothing_that_is_kept() {
    let mut voter = One::restored(3, 3, 4, Some(1));
    let kept = voter.state().hard_state().clone();
    for (term, round) in (4..20).zip(0..) {
        assert_eq!(
            granted(&voter.receive(2, term, ask_pre_vote(round)).to(2)),
            [true]
        );
    }
    assert_eq!(voter.state().hard_state(), &kept);

    let (mut candidate, _) = One::pre_candidate(3);
    candidate.wait(ms(60_000));
    let hard_state = candidate.state().hard_state();
    assert_eq!((hard_state.term(), hard_state.voted_for()), (0, None));
}

/// So a node that is cut off asks for ever and its term stays.
#[test]
fn a_node_that_is_cut_off_does_not_raise_its_term() {
    let mut world = World::new(1, &[1, 2, 3], |config| config);
    let leader = world.settle(ms(5_000));
    let term = world.state(leader).term();
    world.partition(&[&[1, 2], &[3]]);

    world.run(ms(600_000));

    assert_eq!(world.state(3).term(), term);
    assert_eq!(world.state(3).node_type(), NodeType::Candidate);
    assert!(world.traffic[&(3, "pre-vote request")] > 1_000);
}

/// (9.6-1)
#[test]
fn a_majority_of_pre_votes_is_needed_before_the_term_rises() {
    for size in 2..=7 {
        let (mut node, round) = One::pre_candidate(size);
        for voter in 2..=quorum(size) {
            assert_eq!(node.state().term(), 0, "{size} nodes");
            node.receive(voter, 0, pre_vote(round, true));
        }
        assert_eq!(node.state().term(), 1, "{size} nodes");
    }
}

/// Answers name the campaign that they answer. A late one counts for nothing, though it grants.
#[test]
fn pre_votes_of_an_older_round_count_for_nothing() {
    let (mut node, first) = One::pre_candidate(5);
    node.receive(2, 0, pre_vote(first, true));
    let second = loop {
        let next = node.election.poll_timeout().expect("a voter waits");
        let round = node.wait(next - node.now).round_asked();
        if let Some(round) = round.filter(|round| *round != first) {
            break round;
        }
    };

    for voter in 2..=5 {
        node.receive(voter, 0, pre_vote(first, true));
    }
    assert_eq!((node.state().term(), node.election.stats().stale), (0, 4));

    node.receive(2, 0, pre_vote(second, true));
    node.receive(3, 0, pre_vote(second, true));
    assert_eq!(node.state().term(), 1);
}

/// One voter that answers often is still one voter.
#[test]
fn duplicate_pre_votes_count_once() {
    let (mut node, round) = One::pre_candidate(5);
    for _ in 0..10 {
        node.receive(2, 0, pre_vote(round, true));
    }
    assert_eq!(node.state().term(), 0);
}

/// Nor are pre-votes taken for votes: what was promised in the first stage is asked for again in the second.
#[test]
fn pre_votes_are_no_votes() {
    let (mut node, round) = One::pre_candidate(3);
    node.receive(2, 0, pre_vote(round, true));
    assert_eq!(node.state().term(), 1);

    node.receive(3, 0, pre_vote(round, true));
    node.receive(3, 1, pre_vote(round, true));

    assert_eq!(node.state().node_type(), NodeType::Candidate);
    let asked = node.wait(HEARTBEAT).receivers(is_vote_request);
    assert!(asked.contains(&2) && asked.contains(&3), "{asked:?}");
}

/// "the voters have not received heartbeats from a valid leader for at least a baseline election timeout"
/// (9.6-3)
#[test]
fn a_pre_vote_is_withheld_while_a_leader_is_heard() {
    let mut node = One::follower(3, 3, 1, 1);
    for at in 0..9 {
        let said = node.receive(2, 1, ask_pre_vote(at)).to(2);
        assert_eq!(granted(&said), [false]);
        node.wait(HEARTBEAT);
    }
    assert_eq!(node.election.stats().withheld, 9);
}

/// A candidate whose leader is dead asks voters that heard the last ping a moment later than it did. They keep the
/// question and answer when their window ends, so that no lost moment costs a whole timeout.
/// (4.2.3-2)
#[test]
fn a_withheld_pre_vote_is_answered_when_the_window_ends() {
    let mut node = One::follower(3, 3, 1, 1);
    node.wait(ms(600));
    let said = node.receive(2, 1, ask_pre_vote(5)).to(2);
    assert_eq!(granted(&said), [false]);

    assert_eq!(node.wait(just_before(ms(400))).0, []);
    let said = node.wait(MOMENT).to(2);

    assert!(
        matches!(
            said[..],
            [(
                1,
                MessageKind::PreVote {
                    round: 5,
                    granted: true,
                    ..
                }
            )]
        ),
        "{said:?}"
    );
    assert_eq!(node.wait(ms(200)).to(2), [], "answered once");
}

/// The window of a restart ends in the same way.
#[test]
fn a_pre_vote_withheld_after_a_restart_is_answered_when_the_window_ends() {
    let mut node = One::new(config(3, 3).restore(saved(1, Some(1), 3)));
    node.receive(2, 1, ask_pre_vote(5));
    assert_eq!(node.wait(just_before(ELECTION_TIMEOUT)).0, []);
    assert_eq!(granted(&node.wait(MOMENT).to(2)), [true]);
}

/// If the leader is heard again, there is nothing to answer.
#[test]
fn a_withheld_pre_vote_is_forgotten_when_the_leader_is_heard_again() {
    let mut node = One::follower(3, 3, 1, 1);
    node.wait(ms(600));
    node.receive(2, 1, ask_pre_vote(5));
    node.receive(1, 1, ping(600_000));
    for round in 7..30 {
        assert_eq!(node.wait(HEARTBEAT).0, []);
        node.receive(1, 1, ping(round * 100_000));
    }
}

/// What a voter knows is part of its refusal, so a node that reaches no more than a follower learns who leads.
#[test]
fn a_node_that_reaches_only_followers_learns_who_leads() {
    for seed in 0..10 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| config);
        let leader = world.settle(ms(5_000));
        let term = world.state(leader).term();
        let cut_off = if leader == 5 { 4 } else { 5 };
        world.cut_both(cut_off, leader);

        world.run(ms(5_000));
        let silent = world.state(cut_off);
        assert_eq!(
            (silent.leader(), silent.term()),
            (Some(&leader), term),
            "seed {seed}: {world}"
        );
        world.run(ms(60_000));
        assert_eq!(world.history.len(), 1, "and it deposes nobody: {world}");

        // A later leader is learnt in the same way.
        world.kill(leader);
        world.heal();
        world.run(ms(1_000));
        let next = world.settle(ms(5_000));
        assert_ne!(next, leader);
    }
}

/// A voter that is ahead says so, and the candidate takes its term: with it, it may be the one that can win.
#[test]
fn a_candidate_learns_a_newer_term_from_a_refusal() {
    let (mut node, round) = One::pre_candidate(3);

    let out = node.receive(2, 6, pre_vote(round, false));

    assert_eq!(node.state().term(), 6);
    assert!(out.round_asked().is_some_and(|next| next != round));
}

/// "if the candidate's log is sufficiently up-to-date" (9.6-2)
#[test]
fn a_pre_vote_is_refused_to_who_could_not_win() {
    let mut node = One::restored(3, 3, 4, None);
    node.election.set_position(LogPosition::new(4, 7));
    let ask = |index| MessageKind::PreVoteRequest {
        round: index,
        position: LogPosition::new(4, index),
        priority: 0,
    };
    assert_eq!(granted(&node.receive(2, 4, ask(6)).to(2)), [false]);
    assert_eq!(granted(&node.receive(2, 4, ask(7)).to(2)), [true]);
}

/// "The Pre-Vote algorithm solves the issue of a partitioned server disrupting the cluster when it rejoins": the others
/// hear their leader, so it gets no pre-vote, and when it hears the leader itself it follows, in the same term. (9.6-4)
#[test]
fn a_node_that_rejoins_disturbs_nobody() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(5_000));
        let alone = leader % 3 + 1;
        let others: Vec<u64> = (1..=3).filter(|id| *id != alone).collect();
        world.partition(&[&others, &[alone]]);
        world.run(ms(20_000 + 17 * seed));
        assert_eq!(world.state(alone).node_type(), NodeType::Candidate);
        world.heal();

        let took = world.run_until(ms(1_000), |world| world.settled() == Some(leader));

        assert!(took.is_some_and(|took| took <= ms(120)), "{took:?}");
        world.run(ms(20_000));
        assert_eq!((world.settled(), world.history.len()), (Some(leader), 1));
        assert_eq!(world.state(alone).term(), 1);
    }
}
