//! Time: the clock decides and the timer only wakes. What ran out while nobody polled is never acted on.

use std::task::Poll;
use std::time::Duration;

use futures::{StreamExt, poll as poll_once};
use streamraft::{HardState, Membership, MsgRouter, NodeState, NodeType, TinyRaft};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::{Instant, advance, sleep_until, timeout};

use crate::hand::{
    ELECTION, HEARTBEAT, Kind, SPREAD, config, drain, hear, leader, message, node, ping, poll,
    pong, sent, shown, start, willing,
};

fn paused() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

#[test]
fn a_node_made_outside_a_runtime_runs_in_one() {
    let before = start(config(1, 1));
    let runtime = paused();
    // The runtime's clock stands still, so this one begins later than the first poll.
    let after = start(config(1, 1));
    for mut node in [before, after] {
        assert!(!node.is_leader());
        node.set_priority(3);
        let item = runtime.block_on(async { timeout(Duration::from_secs(5), node.next()).await });
        let item = item
            .expect("it needs nobody's vote")
            .expect("it was not stopped");
        assert_eq!(
            shown(&item).map(NodeState::node_type),
            Some(NodeType::Leader)
        );
    }
}

/// tokio lets a task that has used its budget up find every timer pending, even one whose time has come.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_acted_on_without_budget() {
    let mut node = node(1, 3);
    assert_eq!(poll(&mut node), Poll::Pending);
    let past = Instant::now();
    advance(3 * ELECTION).await;
    let (tx, mut rx) = mpsc::unbounded_channel();
    (0..10_000).for_each(|at| tx.send(at).expect("the receiver is there"));

    let (timer, item) = std::future::poll_fn(|cx| {
        while rx.poll_recv(cx).is_ready() {}
        let mut timer = std::pin::pin!(sleep_until(past));
        Poll::Ready((timer.as_mut().poll(cx), node.poll_next_unpin(cx)))
    })
    .await;
    assert!(!rx.is_empty() && timer.is_pending(), "the budget is spent");
    let Poll::Ready(Some(MsgRouter::ToSelf(state))) = item else {
        panic!("it does not campaign: {item:?}")
    };
    assert_eq!(state.node_type(), NodeType::Candidate);
}

#[tokio::test(start_paused = true)]
async fn a_task_without_budget_is_woken_again_for_its_node() {
    let mut node = node(1, 3);
    let (tx, mut rx) = mpsc::unbounded_channel();
    (0..1_000_000).for_each(|at| tx.send(at).expect("the receiver is there"));
    let begun = Instant::now();
    // Each poll of this task uses the budget up before the node is looked at.
    let first = std::future::poll_fn(|cx| {
        while rx.poll_recv(cx).is_ready() {}
        node.poll_next_unpin(cx)
    });
    assert!(
        timeout(10 * ELECTION, first)
            .await
            .is_ok_and(|item| item.is_some())
    );
    assert!(
        begun.elapsed() < 2 * ELECTION,
        "the first campaign is not late: {:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiting_node_acts_at_its_deadline_and_not_later() {
    let mut node = node(2, 3);
    let begun = Instant::now();
    let item = node.next().await;
    let waited = begun.elapsed();
    assert!(
        item.as_ref()
            .and_then(shown)
            .is_some_and(|state| state.node_type() == NodeType::Candidate)
    );
    assert!(
        (ELECTION..=ELECTION + SPREAD).contains(&waited),
        "{waited:?}"
    );
    // It asks again after a heartbeat interval, which is earlier than the end of its campaign.
    drain(&mut node);
    let begun = Instant::now();
    node.next().await;
    assert!(
        begun.elapsed() <= HEARTBEAT + Duration::from_millis(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_moves_earlier_moves_the_timer() {
    let mut node = node(1, 3);
    assert!(
        poll_once!(node.next()).is_pending(),
        "it sleeps until its campaign"
    );
    let begun = Instant::now();
    hear(&mut node, 2, 4, Kind::TimeoutNow);
    drain(&mut node);
    // Now it waits for the moment to ask again.
    node.next().await;
    assert!(
        begun.elapsed() <= HEARTBEAT + Duration::from_millis(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_pings_by_its_interval_for_as_long_as_it_is_answered() {
    let mut node = leader().await;
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < 10 * ELECTION {
        let item = node.next().await.expect("it was not stopped");
        let Some((to, message)) = sent(&item) else {
            continue;
        };
        rounds += usize::from(to == 2);
        node.on_receive(to, willing(message).expect("a ping"));
    }
    assert!(
        (99..=101).contains(&rounds),
        "ten a second for ten seconds: {rounds}"
    );
    assert!(node.is_leader());
}

#[tokio::test(start_paused = true)]
async fn an_observer_without_any_deadline_waits_for_messages_alone() {
    let mut node = TinyRaft::new(config(1, 3).restore(outsider())).expect("good settings");
    let first = timeout(Duration::from_secs(3_600), node.next()).await;
    assert!(first.is_err(), "nothing to do in an hour: {first:?}");
    node.on_receive(2, message(&node, 9, ping(0)));
    assert_eq!(node.state().leader(), Some(&2));
    assert!(
        drain(&mut node)
            .iter()
            .filter_map(sent)
            .any(|(_, message)| message.kind == pong(0))
    );
}

/// Of a node that the cluster has gone on without.
fn outsider() -> HardState<u64> {
    let mut membership = Membership::initial([2, 3]);
    membership.observers = vec![1];
    HardState::new(9, None, membership)
}
