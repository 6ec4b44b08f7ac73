//! Thesis section 4.2.3: "if a server receives a `RequestVote` request within the minimum election timeout of hearing
//! from a current leader, it does not update its term or grant its vote." The leader's lease (6.4.1) relies on it.

use streamraft::{Command, Message, MessageKind, NodeType};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, LEASE_SPAN, MOMENT, One, ask_pre_vote, ask_vote, ask_vote_marked,
    config, granted, is_pre_vote_request, is_vote_request, just_before, ping, pre_vote, saved,
    vote,
};
use crate::world::{World, ms};

/// (4.2.3-1)
#[test]
fn a_withheld_request_leaves_the_term_and_the_vote() {
    let mut node = One::follower(3, 3, 1, 1);
    let kept = node.state().hard_state().clone();

    for term in [2, 9, 1_000] {
        let out = node.receive(2, term, ask_vote());

        let said = out.to(2);
        assert_eq!(granted(&said), [false]);
        assert_eq!(said[0].0, 1, "answered in the voter's own term");
        assert_eq!(out.states(), []);
    }
    assert_eq!(node.state().hard_state(), &kept);
    assert_eq!(node.state().leader(), Some(&1));
    assert_eq!(node.election.stats().withheld, 3);
}

/// From the hearing of the leader, to the nanosecond.
#[test]
fn votes_are_free_again_when_the_window_ends() {
    let mut node = One::follower(3, 3, 1, 1);
    node.wait(ms(300));
    node.receive(1, 1, ping(300_000));

    node.wait(just_before(ELECTION_TIMEOUT));
    assert_eq!(granted(&node.receive(2, 2, ask_vote()).to(2)), [false]);
    node.wait(MOMENT);
    assert_eq!(granted(&node.receive(2, 2, ask_vote()).to(2)), [true]);
}

/// A layer above that heard from the leader is as good as its ping, for who follows one.
#[test]
fn what_a_layer_above_heard_counts_as_hearing_the_leader() {
    let mut node = One::follower(3, 3, 1, 1);
    for _ in 0..50 {
        node.wait(ms(900));
        let out = node.command(Command::MarkAlive).expect("allowed");
        assert_eq!(out.0, []);
        assert_eq!(granted(&node.receive(2, 2, ask_vote()).to(2)), [false]);
    }
    assert_eq!(node.state().node_type(), NodeType::Follower);

    // Who follows nobody hears nothing.
    let mut node = One::restored(3, 3, 1, None);
    node.command(Command::MarkAlive).expect("allowed");
    assert_eq!(granted(&node.receive(2, 2, ask_vote()).to(2)), [true]);
}

/// A leader hears itself: for as long as its lease holds, it votes for nobody.
#[test]
fn a_leader_withholds_its_vote_while_its_lease_holds() {
    let mut node = One::leader_with_lease(3);
    node.wait(just_before(LEASE_SPAN));
    let before = node.receive(2, 2, ask_vote());
    assert_eq!(granted(&before.to(2)), [false]);
    assert_eq!((node.state().term(), node.leads()), (1, true));

    node.wait(MOMENT);
    assert_eq!(granted(&node.receive(2, 2, ask_vote()).to(2)), [true]);
}

/// A restart forgets who was heard, so a node withholds for an election timeout from its start on: leases survive the
/// restarts of those who made them.
#[test]
fn a_node_withholds_after_a_restart() {
    for fresh in [config(3, 3), config(3, 3).restore(saved(5, Some(1), 3))] {
        let mut node = One::new(fresh);
        node.wait(just_before(ELECTION_TIMEOUT));
        assert_eq!(granted(&node.receive(2, 9, ask_vote()).to(2)), [false]);
        assert_ne!(node.state().term(), 9);
        node.wait(MOMENT);
        assert_eq!(granted(&node.receive(2, 9, ask_vote()).to(2)), [true]);
    }
    // Also one that is a cluster of its own: it may have been one of several when it gave its promise.
    let mut alone = One::new(config(1, 1).restore(saved(5, Some(1), 1)));
    assert_eq!(alone.wait(just_before(ELECTION_TIMEOUT)).0, []);
    alone.wait(HEARTBEAT * 11);
    assert_eq!(alone.state().node_type(), NodeType::Leader);
    assert_eq!(alone.state().term(), 6);
}

/// "I have permission to disrupt the leader—it told me to!"
/// (4.2.3-5)
#[test]
fn the_transfer_mark_lets_a_request_pass() {
    let mut follower = One::follower(3, 3, 1, 1);
    let out = follower.receive(2, 2, ask_vote_marked());
    assert_eq!(granted(&out.to(2)), [true]);
    assert_eq!(follower.state().term(), 2);

    let mut leader = One::leader_with_lease(3);
    let out = leader.receive(2, 2, ask_vote_marked());
    assert_eq!(granted(&out.to(2)), [true]);
    assert!(!leader.leads(), "what it votes away it does not keep");
    assert_eq!(out.states()[0].lease(), None);
}

/// The mark is for the campaign that the leader ordered, in the term after its own.
#[test]
fn the_transfer_mark_is_good_for_one_campaign_only() {
    let mut node = One::follower(2, 3, 1, 1);
    let ordered = node.receive(1, 1, MessageKind::TimeoutNow);
    assert_eq!(marks(&ordered.to(1)), [(2, true)]);
    assert_eq!(ordered.receivers(is_pre_vote_request), []);
    // Asked again, it is the same campaign.
    let again = marks(&node.wait(HEARTBEAT).to(3));
    assert!(
        !again.is_empty() && again.iter().all(|mark| *mark == (2, true)),
        "{again:?}"
    );

    let next = node.campaign(&[1]);

    assert_eq!(marks(&next.to(1)), [(3, false)]);
    // A copy of the order that comes late is of an older term.
    let out = node.receive(1, 1, MessageKind::TimeoutNow);
    assert_eq!(out.0, []);
    assert_eq!(node.state().term(), 3);
}

/// Won in a pre-vote, a campaign has no mark.
#[test]
fn an_ordinary_campaign_has_no_mark() {
    let (mut node, round) = One::pre_candidate(3);
    let out = node.receive(2, 0, pre_vote(round, true));
    assert_eq!(out.receivers(is_vote_request), [2, 3]);
    assert_eq!(marks(&out.to(2)), [(1, false)]);
}

fn marks(said: &[(u64, MessageKind<u64>)]) -> Vec<(u64, bool)> {
    let mark = |(term, kind): &(u64, MessageKind<u64>)| match kind {
        MessageKind::VoteRequest { transfer, .. } => Some((*term, *transfer)),
        _ => None,
    };
    said.iter().filter_map(mark).collect()
}

/// What is withheld is not refused: a candidate that is told so in an older term waits on, and wins when the window is
/// over.
#[test]
fn a_vote_withheld_may_still_be_given() {
    let mut candidate = One::candidate(3);
    for voter in [2, 3] {
        candidate.receive(voter, 0, vote(false));
    }
    assert_eq!(candidate.state().node_type(), NodeType::Candidate);
    let asked = candidate.wait(HEARTBEAT).receivers(is_vote_request);
    assert!(asked.contains(&2) && asked.contains(&3), "{asked:?}");
    candidate.receive(3, 1, vote(true));
    assert_eq!(candidate.state().node_type(), NodeType::Leader);
}

/// So a voter that withholds in the candidate's own term says nothing at all: a refusal in that term would be final.
#[test]
fn a_vote_withheld_in_its_own_term_is_no_refusal() {
    let mut node = One::new(config(3, 3).restore(saved(5, None, 3)));
    assert_eq!(node.receive(2, 5, ask_vote()).0, []);
    assert_eq!(node.election.stats().withheld, 1);
    node.wait(ELECTION_TIMEOUT);
    assert_eq!(granted(&node.receive(2, 5, ask_vote()).to(2)), [true]);
}

/// Every window counts by itself: pre-votes and votes are withheld alike.
#[test]
fn both_kinds_of_votes_are_withheld_alike() {
    let mut node = One::follower(3, 3, 1, 1);
    for _ in 0..100 {
        node.wait(ms(95));
        for kind in [ask_vote(), ask_pre_vote(3)] {
            assert_eq!(granted(&node.receive(2, 2, kind).to(2)), [false]);
        }
        node.receive(1, 1, ping(0));
    }
}

/// "while a leader is able to get heartbeats to its cluster, it will not be deposed by larger term numbers": whoever asks,
/// in whatever term, as often as it likes. (4.2.3-4)
#[test]
fn a_leader_that_is_heard_is_not_deposed_by_larger_terms() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(5_000));
        world.run(ms(500));
        let noisy = leader % 3 + 1;
        for term in 2..200 {
            for to in (1..=3).filter(|id| *id != noisy) {
                let stamp = world.state(noisy).hard_state().membership().stamp();
                world.inject(noisy, to, Message::new(term, stamp, ask_vote()));
                world.inject(noisy, to, Message::new(term, stamp, ask_pre_vote(term)));
            }
            world.run(ms(37));
            assert_eq!(world.leader(), Some(leader), "seed {seed}: {world}");
        }
        assert_eq!(world.history.len(), 1, "seed {seed}");
        assert_eq!(world.state(leader).term(), 1);
    }
}
