//! Thesis section 6.2: "a leader in Raft steps down if an election timeout elapses without a successful round of
//! heartbeats to a majority of its cluster". Here that timeout is `leadership_timeout`.

use streamraft::{Config, NodeType};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, LEASE_SPAN, MOMENT, One, config, just_before, pong, pre_vote, vote,
};
use crate::world::ms;

fn is_leader(node: &One) -> bool {
    node.state().node_type() == NodeType::Leader
}

/// To the nanosecond, counted from the sending of the last ping that a quorum answered, and the owner is told.
/// (6.2-1)
#[test]
fn a_leader_without_a_quorum_steps_down_at_the_end_of_its_leadership_timeout() {
    let mut node = One::leader_with_lease(3);
    node.wait_answered(ms(250), &[2, 3]);
    // The last ping that was answered was sent at 200 ms.
    let left = ELECTION_TIMEOUT - ms(50);

    node.wait(just_before(left));
    assert!(is_leader(&node), "too early");
    let out = node.wait(MOMENT);

    let [state] = &out.states()[..] else {
        panic!("{out:?}")
    };
    assert_eq!((state.node_type(), state.term()), (NodeType::Follower, 1));
    assert_eq!((state.leader(), state.lease()), (None, None));
    assert_eq!(out.messages(), [], "a node that leads no more pings nobody");
}

/// A leader that was never confirmed has the same time, from its election.
#[test]
fn a_leader_that_nobody_ever_answered_steps_down_too() {
    let mut node = One::leader(3);
    node.wait(just_before(ELECTION_TIMEOUT));
    assert!(is_leader(&node));
    node.wait(MOMENT);
    assert!(!is_leader(&node));
}

/// It is the leader's own clock that counts, and it may be another than the followers' timeout.
#[test]
fn leadership_timeout_may_differ_from_election_timeout() {
    for limit in [ms(300), ms(5_000)] {
        let mut node = led_by_one(config(1, 3).leadership_timeout(limit));
        node.wait(just_before(limit));
        assert!(is_leader(&node));
        // A lease needs both promises: its own, and that of the voters.
        let lease = node.state().lease().expect("confirmed") - (node.now - just_before(limit));
        assert_eq!(lease, limit.min(LEASE_SPAN));
        node.wait(MOMENT);
        assert!(!is_leader(&node));
    }
}

fn led_by_one(config: Config<u64>) -> One {
    let mut node = One::new(config.bootstrap());
    let round = node.wait(HEARTBEAT).round_asked().expect("at once");
    node.receive(2, 0, pre_vote(round, true));
    node.receive(2, 1, vote(true));
    node.receive(2, 1, pong(0));
    assert!(node.leads());
    node
}

/// The leader is one of its quorum: with one of three dead it leads on.
#[test]
fn the_leader_counts_itself() {
    for (size, answering) in [(2, &[2][..]), (3, &[3]), (4, &[2, 4]), (5, &[2, 5])] {
        let mut node = One::leader_with_lease(size);
        let out = node.wait_answered(ms(60_000), answering);
        let shown = out.states();
        assert!(
            shown
                .iter()
                .all(|state| state.node_type() == NodeType::Leader),
            "{size} nodes"
        );
        assert_eq!(node.state().followers(), answering);

        // One fewer, and it is no quorum.
        node.wait_answered(ms(1_001), &answering[1..]);
        assert!(!is_leader(&node), "{size} nodes");
    }
}

/// A node that did nothing for a while does not act on a leadership that ran out meanwhile: neither a timer nor a
/// message nor a late answer brings it back.
#[test]
fn a_leader_that_slept_steps_down_before_it_does_anything() {
    let mut late = One::leader_with_lease(3);
    late.now += ELECTION_TIMEOUT;
    assert!(!late.leads(), "its lease is over, polled or not");

    let mut by_timer = late.clone();
    by_timer.election.handle_timeout(by_timer.now);
    let out = by_timer.drain();
    assert_eq!(out.states()[0].node_type(), NodeType::Follower);
    assert_eq!(out.messages(), []);

    let out = late.receive(2, 1, pong(0));
    assert_eq!(out.states()[0].node_type(), NodeType::Follower);
    assert_eq!(out.messages(), []);
}

/// Answers to different pings make a quorum of the oldest among them, in whichever order they come.
#[test]
fn answers_of_different_rounds_make_a_quorum_of_the_older_one() {
    let answers = [(2, 400_000), (3, 200_000), (4, 100_000)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut node = One::leader_with_lease(5);
        let start = node.now;
        node.wait(ms(450));
        // Pings went out at 100, 200, 300 and 400 ms. With the leader, three of five have answered that of 200 ms.
        for (voter, round) in order.map(|at| answers[at]) {
            node.receive(voter, 1, pong(round));
            let lease = node.state().lease().expect("it has one");
            assert!(lease <= start + ms(200) + LEASE_SPAN, "{order:?}");
        }

        node.wait(HEARTBEAT);

        assert_eq!(node.state().lease(), Some(start + ms(200) + LEASE_SPAN));
        node.wait(just_before(start + ms(200) + ELECTION_TIMEOUT - node.now));
        assert!(is_leader(&node));
        node.wait(MOMENT);
        assert!(!is_leader(&node));
    }
}

/// They are counted at the latest before it steps down: its time may not be over yet.
#[test]
fn a_leader_counts_all_answers_before_it_steps_down() {
    let limit = ms(250);
    let mut node = One::new(config(1, 5).leadership_timeout(limit).bootstrap());
    let round = node.wait(HEARTBEAT).round_asked().expect("at once");
    for voter in [2, 3] {
        node.receive(voter, 0, pre_vote(round, true));
    }
    for voter in [2, 3] {
        node.receive(voter, 1, vote(true));
    }
    let start = node.now;
    node.wait(ms(205));
    // Two answer, but different pings: together they confirm that of 100 ms. The next heartbeat is after the timeout.
    node.receive(2, 1, pong(200_000));
    node.receive(3, 1, pong(100_000));
    node.wait(start + ms(100) + limit - node.now - MOMENT);
    assert!(is_leader(&node));
    node.wait(MOMENT);
    assert!(!is_leader(&node));
}
