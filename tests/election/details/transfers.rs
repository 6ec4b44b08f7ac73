//! Transfers: what an order does to each part, and to whom leadership goes.

use std::collections::BTreeSet;

use streamraft::{Command, MessageKind, NodeType};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, One, ask_vote_marked, is_timeout_now, is_vote_request, pong, vote,
};

#[test]
fn an_order_of_a_newer_term_is_for_the_term_after_it() {
    let mut node = One::fresh(2, 3);
    let out = node.receive(1, 5, MessageKind::TimeoutNow);
    assert_eq!(
        (node.state().node_type(), node.state().term()),
        (NodeType::Candidate, 6)
    );
    assert_eq!(out.to(1), [(6, ask_vote_marked())]);
}

#[test]
fn who_asks_for_pre_votes_stands_when_it_is_ordered() {
    let (mut node, _) = One::pre_candidate(3);
    let out = node.receive(2, 0, MessageKind::TimeoutNow);
    assert_eq!(node.state().term(), 1);
    assert_eq!(out.to(3), [(1, ask_vote_marked())]);
}

#[test]
fn who_asks_for_votes_already_keeps_its_term_when_it_is_ordered() {
    let mut node = One::candidate(3);
    let out = node.receive(2, 1, MessageKind::TimeoutNow);
    assert_eq!(node.state().term(), 1);
    assert!(out.receivers(is_vote_request).is_empty());
    assert_eq!(node.election.stats().stale, 1);
}

/// A leader that leaves tries the next of those who are alive. The dead are not tried, however often the others were.
#[test]
fn a_leader_that_leaves_hands_over_to_none_that_is_dead() {
    let alive = [3, 4, 5];
    let mut node = One::leader_with_lease(5);
    node.wait_answered(ELECTION_TIMEOUT + HEARTBEAT, &alive);
    assert_eq!(node.state().followers(), alive, "2 is dead");
    node.command(Command::SetNodes(vec![2, 3, 4, 5]))
        .expect("a good list");

    let mut tried = BTreeSet::new();
    for round in 0..5 {
        // No order is taken: each time this node has itself elected anew.
        while node.state().node_type() == NodeType::Leader {
            let out = node.wait_answered(HEARTBEAT, &alive);
            tried.extend(out.receivers(is_timeout_now));
        }
        let term = node.state().term();
        assert_eq!(term, round + 2);
        let votes = alive.map(|id| node.receive(id, term, vote(true)));
        let answers = alive.map(|id| node.receive(id, term, pong(0)));
        for out in votes.into_iter().chain(answers) {
            tried.extend(out.receivers(is_timeout_now));
        }
    }
    assert_eq!(tried, BTreeSet::from([3, 4]), "those who answer first");
}
