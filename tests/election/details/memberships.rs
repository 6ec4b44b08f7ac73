//! Memberships: what a message that brings one must leave alone, and who counts as holding one.

use std::sync::Arc;
use std::time::Duration;

use streamraft::{Command, Inbound, Membership, Message, MessageKind, NodeType, Stamp};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, One, Outputs, ask_pre_vote, config, ping, pong, pre_vote,
};

const STEP: Duration = Duration::from_millis(333);

/// Hears a message that brings this membership.
fn learn(
    node: &mut One,
    from: u64,
    term: u64,
    membership: Membership<u64>,
    kind: MessageKind<u64>,
) -> Outputs {
    let message =
        Message::new(term, membership.stamp(), kind).with_membership(Arc::new(membership));
    node.election
        .handle(node.now, Inbound::FromNode(from, message))
        .expect("messages are no mistakes");
    node.drain()
}

fn second_version(voters: impl IntoIterator<Item = u64>) -> Membership<u64> {
    let mut membership = Membership::initial(voters);
    membership.version = 2;
    membership
}

fn held(node: &One) -> Membership<u64> {
    (**node.state().hard_state().membership()).clone()
}

fn waits(node: &One) -> Duration {
    let next = node.election.poll_timeout().expect("a voter waits");
    next.saturating_duration_since(node.now)
}

fn brings_membership(out: &Outputs, to: u64) -> bool {
    let messages = out.messages();
    messages
        .iter()
        .any(|(id, message)| *id == to && message.membership.is_some())
}

#[test]
fn a_follower_that_learns_a_membership_campaigns_no_sooner() {
    let mut node = One::follower(2, 3, 1, 1);
    let before = node.election.poll_timeout();
    learn(&mut node, 3, 1, second_version(1..=4), pre_vote(0, false));
    assert_eq!(node.state().nodes(), [1, 2, 3, 4]);
    assert_eq!(node.election.poll_timeout(), before);
}

#[test]
fn a_candidate_that_learns_a_membership_waits_for_its_turn_again() {
    let mut node = One::new(config(3, 3).bootstrap());
    node.campaign(&[]);
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    learn(&mut node, 1, 0, second_version(1..=4), pre_vote(0, false));
    assert_eq!(
        (node.state().node_type(), node.state().nodes().len()),
        (NodeType::Follower, 4)
    );
    assert!(
        waits(&node) >= STEP && waits(&node) < ELECTION_TIMEOUT,
        "{:?}",
        waits(&node)
    );
}

#[test]
fn a_candidate_that_learns_that_it_has_no_vote_waits_for_nothing() {
    let (mut node, _) = One::pre_candidate(3);
    learn(&mut node, 2, 0, second_version([2, 3]), pre_vote(0, false));
    assert_eq!(node.state().node_type(), NodeType::Observer);
    assert_eq!(node.election.poll_timeout(), None);
}

#[test]
fn an_observer_that_gets_a_vote_waits_as_long_as_any_voter() {
    let mut node = One::fresh(3, 3);
    learn(&mut node, 1, 1, second_version([1, 2]), ping(0));
    assert_eq!(
        (node.state().node_type(), node.state().leader()),
        (NodeType::Observer, Some(&1))
    );
    let mut third = second_version([1, 2, 3]);
    third.version = 3;
    learn(&mut node, 2, 1, third, pre_vote(0, false));
    assert_eq!(
        (node.state().node_type(), node.state().leader()),
        (NodeType::Follower, Some(&1))
    );
    assert!(waits(&node) >= ELECTION_TIMEOUT);
}

#[test]
fn a_wish_is_taken_by_the_leader_of_its_term_only() {
    let wished = |node: &One| {
        let mut wish = held(node);
        wish.target = vec![1, 2];
        wish
    };
    let mut node = One::leader_with_lease(3);
    let wish = wished(&node);
    let before = held(&node);
    // Its stamp is of term 1, and it is said in a later one: that leader is over.
    learn(&mut node, 2, 2, wish, pong(0));
    assert_eq!(held(&node), before);

    let mut node = One::follower(2, 3, 1, 1);
    let (wish, before) = (wished(&node), held(&node));
    learn(&mut node, 3, 1, wish, pong(0));
    assert_eq!(held(&node), before);

    let mut node = One::leader_with_lease(3);
    let wish = wished(&node);
    learn(&mut node, 2, 1, wish, pong(0));
    assert_eq!(node.state().target(), [1, 2]);
}

#[test]
fn a_membership_that_differs_in_more_than_the_target_is_no_wish() {
    type Change = fn(&mut Membership<u64>);
    let changes: [Change; 4] = [
        |other| other.voters = vec![1, 2, 4],
        |other| (other.voters, other.target) = (vec![1, 2, 4], vec![1, 2]),
        |other| other.observers = vec![4],
        |other| (other.observers, other.target) = (vec![4], vec![1, 2]),
    ];
    for (case, change) in changes.into_iter().enumerate() {
        let mut node = One::leader_with_lease(3);
        let mut other = held(&node);
        change(&mut other);
        let before = held(&node);
        learn(&mut node, 2, 1, other, pong(0));
        assert_eq!(node.election.stats().conflicting, 1, "case {case}");
        assert_eq!(held(&node), before, "case {case}");
    }
}

#[test]
fn who_was_told_and_speaks_under_an_older_membership_is_told_again() {
    let mut node = One::leader(3);
    node.receive_under(Stamp::new(0, 1), 2, 1, pong(0));
    assert!(brings_membership(&node.wait(HEARTBEAT), 2));
}

#[test]
fn who_has_lost_its_membership_does_not_hold_it_before_it_is_told_again() {
    let mut node = One::leader_with_lease(3);
    assert!(!brings_membership(&node.wait(HEARTBEAT), 2), "it holds it");
    // Nothing is taken out between the two, so nothing has told it.
    for (stamp, kind) in [
        (Stamp::new(0, 1), ask_pre_vote(1)),
        (Stamp::new(1, 1), pong(0)),
    ] {
        let message = Message::new(1, stamp, kind);
        node.election
            .handle(node.now, Inbound::FromNode(2, message))
            .expect("messages are no mistakes");
    }
    assert!(brings_membership(&node.drain(), 2));
}

#[test]
fn who_answers_under_an_older_membership_gets_no_vote_yet() {
    let mut node = One::leader_with_lease(3);
    node.command(Command::SetNodes(vec![1, 2, 3, 4]))
        .expect("a good list");
    node.receive_under(Stamp::new(0, 0), 4, 1, pong(0));
    assert!(node.state().followers().contains(&4), "it is alive");
    node.wait_answered(HEARTBEAT * 2, &[2, 3]);
    assert_eq!(
        (node.state().nodes(), node.state().waiting_for()),
        (&[1, 2, 3][..], &[4][..])
    );
    node.wait_answered(HEARTBEAT, &[2, 3, 4]);
    assert_eq!(node.state().nodes(), [1, 2, 3, 4]);
}

#[test]
fn nobody_is_waited_for_once_the_wish_is_taken_back() {
    let mut node = One::leader_with_lease(3);
    node.command(Command::SetNodes(vec![1, 2, 3, 4]))
        .expect("a good list");
    node.wait_answered(HEARTBEAT * 2, &[2, 3]);
    assert_eq!(node.state().waiting_for(), [4]);
    node.command(Command::SetNodes(vec![1, 2, 3]))
        .expect("a good list");
    assert!(node.state().waiting_for().is_empty(), "{:?}", node.state());
}

#[test]
fn what_is_known_of_those_who_stay_survives_the_step_in_which_another_leaves() {
    let mut node = One::leader_with_lease(4);
    node.command(Command::SetNodes(vec![1, 2, 4]))
        .expect("a good list");
    node.wait_answered(HEARTBEAT, &[2, 3]);
    assert_eq!(node.state().nodes(), [1, 2, 4]);
    assert_eq!(node.state().followers(), [2, 4], "4 answered a moment ago");
}

#[test]
fn a_target_bears_the_version_in_which_it_was_wished_for() {
    let mut node = One::leader_with_lease(3);
    node.command(Command::SetNodes(vec![1, 2, 3, 4]))
        .expect("a good list");
    let wished = held(&node);
    assert_eq!((wished.version, wished.target_version), (2, 2));
    node.wait_answered(HEARTBEAT * 2, &[2, 3, 4]);
    let reached = held(&node);
    assert_eq!(reached.voters, [1, 2, 3, 4]);
    assert_eq!(reached.target_version, 2);
    assert!(reached.version > 2);
}

#[test]
fn who_leaves_is_told_once_and_written_to_no_more() {
    let mut node = One::leader_with_lease(3);
    let out = node
        .command(Command::SetNodes(vec![1, 2]))
        .expect("a good list");
    let out = [out, node.wait_answered(HEARTBEAT, &[2])];
    assert_eq!(node.state().nodes(), [1, 2]);
    assert!(out.iter().any(|out| brings_membership(out, 3)));
    let after = node.wait_answered(ELECTION_TIMEOUT, &[2]);
    assert!(after.to(3).is_empty(), "{:?}", after.to(3));
}

#[test]
fn who_leaves_and_comes_back_before_it_was_told_is_heard() {
    let mut node = One::leader_with_lease(3);
    node.command(Command::SetNodes(vec![1, 2]))
        .expect("a good list");
    let under = node.state().hard_state().membership().stamp();
    let answer = Message::new(1, under, pong(0));
    // Nothing is taken out: the one who leaves is not told.
    let inputs = [
        Inbound::FromNode(2, answer),
        Inbound::FromSelf(Command::SetNodes(vec![1, 2, 3])),
    ];
    for input in inputs {
        node.election.handle(node.now, input).expect("all is well");
    }
    assert_eq!(
        node.state().observers(),
        [3],
        "it has left, and waits to be a voter again"
    );
    node.drain();
    node.receive(3, 1, pong(0));
    assert_eq!(node.election.stats().strangers, 0);
    node.wait_answered(HEARTBEAT * 2, &[2, 3]);
    assert_eq!(node.state().nodes(), [1, 2, 3]);
}

#[test]
fn a_stranger_is_told_and_stays_a_stranger() {
    let mut node = One::leader_with_lease(3);
    for times in 1..=2 {
        let out = node.receive_under(Stamp::new(0, 0), 9, 0, ask_pre_vote(times));
        assert!(brings_membership(&out, 9));
        assert_eq!(node.election.stats().strangers, times);
    }
    let after = node.wait_answered(HEARTBEAT * 3, &[2, 3]);
    assert!(after.to(9).is_empty(), "{:?}", after.to(9));
}

#[test]
fn a_membership_of_the_present_term_leaves_the_vote_alone() {
    let mut node = One::restored(1, 3, 5, Some(2));
    let mut membership = second_version(1..=4);
    membership.term = 5;
    learn(&mut node, 3, 5, membership, pre_vote(0, false));
    assert_eq!(node.state().nodes().len(), 4);
    assert_eq!(node.state().hard_state().voted_for(), Some(&2));
    assert_eq!(node.state().term(), 5);
}
