//! What ran out while nobody polled is never acted on: the first poll steps down, and until then nobody is misled.

use std::task::Poll;
use std::time::Duration;

use streamraft::{MsgRouter, NodeState, NodeType};
use tokio::time::{Instant, advance};

use crate::hand::{
    Act, ELECTION, HEARTBEAT, Kind, Output, candidate, drain, leader, orders, poll, sent, shown,
    willing,
};

fn pings(items: &[Output]) -> usize {
    items
        .iter()
        .filter_map(sent)
        .filter(|(_, message)| matches!(message.kind, Kind::Ping { .. }))
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_leader_unpolled_for_ten_election_timeouts_steps_down_at_its_first_poll() {
    let mut node = leader().await;
    assert!(node.is_leader());
    advance(10 * ELECTION).await;
    assert!(!node.is_leader(), "at once, without a poll");
    let items = drain(&mut node);
    let state = shown(&items[0]).expect("the first item tells");
    assert_eq!(
        (state.node_type(), state.lease(), state.leader()),
        (NodeType::Follower, None, None)
    );
    assert_eq!(
        pings(&items),
        0,
        "no heartbeat of a leadership that ran out: {items:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_waits_when_leadership_runs_out_does_not_leave() {
    let mut node = leader().await;
    advance(HEARTBEAT).await;
    assert!(
        matches!(poll(&mut node), Poll::Ready(Some(MsgRouter::ToNode(2, _)))),
        "half of it has left"
    );
    advance(10 * ELECTION).await;
    let items = drain(&mut node);
    assert!(
        shown(&items[0]).is_some_and(|state| state.node_type() == NodeType::Follower),
        "{items:?}"
    );
    assert_eq!(pings(&items), 0, "{items:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_before_the_first_poll_does_not_revive_a_leader() {
    let mut node = leader().await;
    let term = node.state().term();
    advance(HEARTBEAT).await;
    let heartbeat = drain(&mut node);
    advance(10 * ELECTION).await;
    for (from, ping) in heartbeat.iter().filter_map(sent) {
        let answer = willing(ping).expect("a ping is answered");
        node.on_receive(from, answer);
    }
    assert!(!node.is_leader());
    assert_eq!(
        (node.state().node_type(), node.state().term()),
        (NodeType::Follower, term)
    );
    let items = drain(&mut node);
    assert!(
        shown(&items[0]).is_some_and(|state| state.node_type() == NodeType::Follower),
        "{items:?}"
    );
    assert_eq!(pings(&items), 0, "{items:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_leadership_ran_out_hands_nothing_over_when_it_is_told_to() {
    let acts: [Act; 3] = [
        ("transfer", |node| drop(node.transfer(3))),
        ("resign", |node| node.resign()),
        ("stop", |node| node.stop()),
    ];
    for (name, act) in acts {
        let mut node = leader().await;
        advance(10 * ELECTION).await;
        act(&mut node);
        let items = drain(&mut node);
        assert_eq!(orders(&items), [], "{name}: another may lead by now");
        let node_type = shown(&items[0]).map(NodeState::node_type);
        assert_eq!(node_type, Some(NodeType::Follower), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_by_the_clock_while_the_leader_is_polled_and_hears_nothing() {
    let mut node = leader().await;
    let lease = node.state().lease().expect("it leads with a lease");
    while Instant::now().into_std() < lease {
        assert!(node.is_leader());
        drain(&mut node);
        advance(Duration::from_millis(1)).await;
    }
    assert!(!node.is_leader());
    advance(ELECTION).await;
    drain(&mut node);
    assert_eq!(
        node.state().node_type(),
        NodeType::Follower,
        "no quorum has answered for a leadership timeout"
    );
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_was_not_polled_goes_on_with_a_new_campaign() {
    let mut node = candidate().await;
    advance(10 * ELECTION).await;
    let items = drain(&mut node);
    let asks = items
        .iter()
        .filter_map(sent)
        .filter(|(_, message)| matches!(message.kind, Kind::PreVoteRequest { .. }));
    assert_eq!(
        asks.count(),
        2,
        "it asks anew, first whether it would win: {items:?}"
    );
}
