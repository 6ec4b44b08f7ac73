//! Leaders: whose answers count for which ping, who ranks where, who is taken to be alive.

use streamraft::{Command, LogPosition, MessageKind, NodeState};

use crate::one::{ELECTION_TIMEOUT, HEARTBEAT, LEASE_SPAN, One, Outputs, pong};

/// The place that the last ping to this node gave it.
fn rank(out: &Outputs, id: u64) -> Option<u32> {
    let said = out.to(id);
    said.iter().rev().find_map(|(_, kind)| match kind {
        MessageKind::Ping { succession, .. } => *succession,
        _ => None,
    })
}

/// The round of the last ping.
fn round(out: &Outputs) -> u64 {
    let messages = out.messages();
    let round = |kind: &MessageKind<u64>| match kind {
        MessageKind::Ping { round, .. } => Some(*round),
        _ => None,
    };
    let last = messages
        .iter()
        .rev()
        .find_map(|(_, message)| round(&message.kind));
    last.expect("it pings")
}

/// One heartbeat, and then these answer.
fn beat(node: &mut One, answering: &[u64]) -> Outputs {
    let out = node.wait(HEARTBEAT);
    for id in answering {
        node.receive(*id, 1, pong(round(&out)));
    }
    out
}

#[test]
fn a_priority_that_an_answer_tells_counts_from_the_next_ping() {
    let mut node = One::leader_with_lease(3);
    assert_eq!(rank(&beat(&mut node, &[]), 3), Some(1));
    // The only answer to this ping.
    let priority = MessageKind::Pong {
        round: 100_000,
        position: LogPosition::default(),
        priority: 5,
    };
    node.receive(3, 1, priority);
    assert_eq!(rank(&beat(&mut node, &[]), 3), Some(0));
}

#[test]
fn who_misses_one_ping_ranks_before_who_misses_two() {
    let mut node = One::leader_with_lease(3);
    for _ in 0..150 {
        beat(&mut node, &[2, 3]);
    }
    beat(&mut node, &[3]);
    beat(&mut node, &[]);
    beat(&mut node, &[2, 3]);
    let out = beat(&mut node, &[2, 3]);
    assert_eq!((rank(&out, 3), rank(&out, 2)), (Some(0), Some(1)));
}

#[test]
fn two_that_change_places_are_told_with_the_very_next_ping() {
    let mut node = One::leader_with_lease(3);
    // 3 is one answer behind, so that it rises in the beat in which 2 falls.
    beat(&mut node, &[2]);
    for _ in 0..63 {
        beat(&mut node, &[2, 3]);
    }
    let before = beat(&mut node, &[3]);
    assert_eq!((rank(&before, 2), rank(&before, 3)), (Some(0), Some(1)));
    let after = beat(&mut node, &[2, 3]);
    assert_eq!((rank(&after, 3), rank(&after, 2)), (Some(0), Some(1)));
}

#[test]
fn a_follower_is_one_for_exactly_an_election_timeout_after_its_answer() {
    let mut node = One::leader_with_lease(3);
    let followers = |state: &NodeState<u64>| state.followers().to_vec();
    node.wait_answered(ELECTION_TIMEOUT, &[2]);
    assert_eq!(followers(node.state()), [2, 3]);
    node.wait_answered(HEARTBEAT, &[2]);
    assert_eq!(followers(node.state()), [2]);
}

/// The answers to the last ping are those of the present voters, whoever has answered it as a voter before.
#[test]
fn who_leaves_counts_no_longer_for_the_ping_that_it_answered() {
    let mut node = One::leader_with_lease(5);
    let out = beat(&mut node, &[]);
    node.command(Command::SetNodes(vec![1, 2, 3, 4]))
        .expect("a good list");
    let first = node.now;
    node.receive(2, 1, pong(round(&out)));

    let out = node.wait(HEARTBEAT);
    let newest = round(&out);
    node.receive(5, 1, pong(newest));
    assert_eq!(
        node.state().nodes(),
        [1, 2, 3, 4],
        "2 and 5 have confirmed it, and 5 goes"
    );
    let lease = node.state().lease();
    assert!(lease <= Some(first + LEASE_SPAN), "{:?}", node.state());

    node.receive(2, 1, pong(newest));
    assert_eq!(node.state().lease(), lease, "2 of 4 are no quorum");
    node.receive(3, 1, pong(newest));
    assert_eq!(node.state().lease(), Some(node.now + LEASE_SPAN));
}
