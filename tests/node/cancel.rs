//! Cancel safety: a future that is dropped at any await loses nothing.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use streamraft::{Command, Inbound, MsgRouter};
use tokio::time::{Instant, advance, timeout};

use crate::hand::{
    ELECTION, Kind, Node, Output, drain, message, node, ping, poll, pong, pre_vote,
    pre_vote_request, sent, vote, vote_request,
};
use crate::world::World;

/// Takes out what is ready, by a new `next()` every time, of which most are dropped.
fn drain_by_dropped_futures(node: &mut Node, rng: &mut Xoshiro256PlusPlus) -> Vec<Output> {
    let mut items = Vec::new();
    loop {
        for _ in 0..rng.random_range(0..3) {
            // Never polled.
            drop(node.next());
            drop(node.send(Command::Stop.into()));
        }
        match node.next().now_or_never() {
            Some(Some(item)) => items.push(item),
            // Polled once, and dropped while it waits.
            Some(None) | None => return items,
        }
    }
}

/// Two nodes with the same seed are told the same. One is polled as a stream; the other by futures that are dropped
/// whenever they wait. They must say the same, at the same times.
#[tokio::test(start_paused = true)]
async fn next_dropped_wherever_it_waits_loses_nothing() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let (mut steady, mut torn) = (node(1, 3), node(1, 3));
    let (mut said, mut round) = (0, 0);
    for _ in 0..20_000 {
        if rng.random_range(0..10) == 0 {
            let term = steady.state().term() + u64::from(rng.random_ratio(1, 20));
            let kinds = [
                ping(0),
                pong(0),
                vote(),
                pre_vote_request(0),
                pre_vote(round),
                vote_request(),
                Kind::TimeoutNow,
            ];
            let kind = kinds[rng.random_range(0..kinds.len())].clone();
            let from = rng.random_range(2..=3);
            let told = message(&steady, term, kind);
            steady.on_receive(from, told.clone());
            torn.send(Inbound::FromNode(from, told))
                .await
                .expect("it was not stopped");
        }
        let expected = drain(&mut steady);
        said += expected.len();
        for (_, message) in expected.iter().filter_map(sent) {
            if let Kind::PreVoteRequest { round: asked, .. } = message.kind {
                round = asked;
            }
        }
        assert_eq!(drain_by_dropped_futures(&mut torn, &mut rng), expected);
        assert_eq!(torn.state(), steady.state());
        advance(Duration::from_millis(rng.random_range(0..20))).await;
    }
    assert!(said > 1_000, "there was enough to lose: {said}");
}

#[tokio::test(start_paused = true)]
async fn send_is_done_at_its_first_poll_and_not_before() {
    let mut node = node(1, 3);
    let state = node.state().clone();
    let told = message(&node, 4, vote_request());
    drop(node.send(Inbound::FromNode(2, told.clone())));
    assert_eq!(
        (poll(&mut node), node.state()),
        (Poll::Pending, &state),
        "never polled, never sent"
    );

    let mut send = node.send(Inbound::FromNode(2, told));
    let polled = send.poll_unpin(&mut Context::from_waker(Waker::noop()));
    assert_eq!(
        polled,
        Poll::Ready(Ok(())),
        "there is no await in it that a drop could hit"
    );
    assert_eq!(node.state().term(), 4);
    assert_eq!(drain(&mut node).len(), 2, "its state, and its vote");
}

#[tokio::test(start_paused = true)]
async fn a_node_polled_under_short_timeouts_campaigns_in_time() {
    let mut node = node(2, 3);
    let begun = Instant::now();
    let item = loop {
        if let Ok(item) = timeout(Duration::from_millis(7), node.next()).await {
            break item;
        }
    };
    assert!(matches!(item, Some(MsgRouter::ToSelf(_))));
    assert!(
        begun.elapsed() < 2 * ELECTION,
        "the timer goes on while no future waits: {:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_under_select_loops_that_drop_futures_elects_and_stays() {
    let mut world = World::new(3, |config| config);
    for node in world.nodes.values_mut() {
        for _ in 0..100 {
            tokio::select! {
                biased;
                () = std::future::ready(()) => {}
                item = node.next() => panic!("never polled: {item:?}"),
            }
        }
    }
    let leader = world.elect().await;
    world.run(5 * ELECTION).await;
    assert_eq!(world.leader(), Some(leader));
}
