//! Close: the application is told first, then the best successor, then the stream ends, once and for ever.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::stream::FusedStream;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use streamraft::{Command, Message, NodeType};
use tokio::time::{Instant, advance};

use crate::hand::{
    Act, ELECTION, HEARTBEAT, Kind, Node, Output, candidate, config, crown_by, drain, follower,
    hear, leader, node, orders, poll, pre_vote_request, sent, shown, start, willing,
};
use crate::world::World;

/// The ways to end a node, which mean the same.
const WAYS: [Act; 4] = [
    ("stop", |node| node.stop()),
    ("Command::Stop", |node| {
        Pin::new(node)
            .start_send(Command::Stop.into())
            .expect("not stopped yet");
    }),
    ("poll_close", |node| {
        let closed = Pin::new(node).poll_close(&mut Context::from_waker(Waker::noop()));
        assert_eq!(
            closed,
            Poll::Ready(Ok(())),
            "what has to leave leaves by the stream"
        );
    }),
    ("close().await", |node| {
        assert_eq!(node.close().now_or_never(), Some(Ok(())));
    }),
];

/// Takes all that comes until the end, and looks at the end.
fn last_words(node: &mut Node) -> Vec<Output> {
    let mut items = Vec::new();
    loop {
        assert!(!node.is_terminated(), "not before the None");
        match poll(node) {
            Poll::Ready(Some(item)) => items.push(item),
            Poll::Ready(None) => break,
            Poll::Pending => panic!("a node that was stopped waits for nothing; so far {items:?}"),
        }
    }
    assert!(node.is_terminated());
    for _ in 0..10 {
        assert_eq!(poll(node), Poll::Ready(None));
        assert!(node.is_terminated());
    }
    assert_eq!(Stream::size_hint(node), (0, Some(0)));
    items
}

#[tokio::test(start_paused = true)]
async fn a_closing_leader_tells_its_owner_then_its_successor_then_ends() {
    for (name, close) in WAYS {
        let mut node = leader().await;
        let term = node.state().term();
        // A heartbeat waits, and an answer: the first has become untrue, the second still holds.
        advance(HEARTBEAT).await;
        assert!(poll(&mut node).is_ready());
        hear(&mut node, 3, term, pre_vote_request(1));
        close(&mut node);
        assert!(!node.is_leader(), "{name}");

        let items = last_words(&mut node);
        let state = shown(&items[0]).expect("its owner is told first");
        assert_eq!(
            (state.node_type(), state.lease(), state.leader()),
            (NodeType::Follower, None, None),
            "{name}"
        );
        assert_eq!(orders(&items), [2], "{name}");
        let rest: Vec<_> = items
            .iter()
            .filter_map(sent)
            .map(|(to, message)| (to, &message.kind))
            .collect();
        assert!(
            matches!(rest[..], [(2, Kind::TimeoutNow), (3, Kind::PreVote { .. })]),
            "{name}: {rest:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_successor_is_the_one_of_the_highest_priority() {
    let eager = |from, message: &Message<u64>| match message.kind {
        Kind::Ping { round, .. } if from == 3 => {
            let kind = Kind::Pong {
                round,
                position: streamraft::LogPosition::default(),
                priority: 7,
            };
            Some(Message::new(message.term, message.stamp, kind))
        }
        _ => willing(message),
    };
    let mut node = start(config(1, 3).bootstrap());
    crown_by(&mut node, eager).await;
    node.stop();
    assert_eq!(orders(&last_words(&mut node)), [3]);
}

#[tokio::test(start_paused = true)]
async fn the_successor_is_one_that_is_alive() {
    let mut node = start(config(1, 3).bootstrap());
    crown_by(&mut node, |from, message| {
        willing(message).filter(|_| from == 3)
    })
    .await;
    node.stop();
    assert_eq!(orders(&last_words(&mut node)), [3], "2 has never answered");

    // It may lead for a while without anyone, but then there is nobody to hand over to.
    let mut node = start(config(1, 3).bootstrap().leadership_timeout(10 * ELECTION));
    crown_by(&mut node, |_, message| willing(message)).await;
    for _ in 0..20 {
        advance(HEARTBEAT).await;
        drain(&mut node);
    }
    assert_eq!(node.state().node_type(), NodeType::Leader);
    node.stop();
    let items = last_words(&mut node);
    assert_eq!(
        (items.len(), orders(&items)),
        (1, vec![]),
        "its owner is told, and nobody else: {items:?}"
    );
}

/// A second successor would compete with the first, who may have its order already, for the same votes.
#[tokio::test(start_paused = true)]
async fn a_leader_closed_while_it_hands_over_stays_with_its_choice() {
    for has_left in [false, true] {
        let mut node = leader().await;
        node.transfer(3).expect("it leads, and 3 votes");
        if has_left {
            assert_eq!(orders(&drain(&mut node)), [3]);
        }
        node.stop();
        let items = last_words(&mut node);
        let state = shown(&items[0]).expect("its owner is told first");
        assert_eq!(
            (state.node_type(), state.transferring_to()),
            (NodeType::Follower, None)
        );
        assert_eq!(orders(&items), [3], "the order has left before: {has_left}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_node_is_it_can_be_closed_twice_and_ends_once() {
    for (name, close) in WAYS {
        for (_, again) in WAYS.iter().filter(|(way, _)| *way != "Command::Stop") {
            for mut node in [
                node(1, 3),
                node(1, 1),
                follower(),
                candidate().await,
                leader().await,
            ] {
                close(&mut node);
                again(&mut node);
                let items = last_words(&mut node);
                assert!(
                    items.iter().filter_map(shown).count() <= 1,
                    "{name}: {items:?}"
                );
                again(&mut node);
                assert_eq!(
                    (poll(&mut node), node.is_terminated()),
                    (Poll::Ready(None), true),
                    "{name}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_ends_without_a_word_to_the_others() {
    for (mut node, words) in [
        (node(1, 3), 0),
        (node(1, 1), 0),
        (follower(), 0),
        (candidate().await, 1),
    ] {
        node.stop();
        let items = last_words(&mut node);
        assert_eq!(items.len(), words, "{items:?}");
        assert!(
            items
                .iter()
                .filter_map(shown)
                .all(|state| state.node_type() == NodeType::Follower),
            "{items:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_node_waits_for_nothing_any_more() {
    let mut node = leader().await;
    let begun = Instant::now();
    node.stop();
    while node.next().await.is_some() {}
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_others_take_over_from_a_closed_leader_at_once() {
    for (name, close) in WAYS {
        let mut world = World::new(3, |config| config);
        let first = world.elect().await;
        world.run(ELECTION).await;
        let term = world.nodes[&first].state().term();
        close(world.nodes.get_mut(&first).expect("it leads"));
        let closed = Instant::now();
        let second = world.elect().await;
        assert_ne!(first, second);
        assert!(
            closed.elapsed() < ELECTION / 10,
            "{name}: no timeout passes, {:?} did",
            closed.elapsed()
        );
        assert_eq!(world.nodes[&second].state().term(), term + 1, "{name}");
        world.run(3 * ELECTION).await;
        assert_eq!(world.leader(), Some(second), "{name}: and it lasts");
    }
}
