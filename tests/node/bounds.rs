//! Bounded without back-pressure: whatever is put in, and whether or not anybody takes out, a node is ready and
//! stays small.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use futures::Sink;
use streamraft::{Inbound, Message, Slot, Slotted};
use tokio::time::advance;

use crate::hand::{
    HEARTBEAT, Kind, Node, Output, drain, follower, leader, message, node, ping, poll, pong,
    pre_vote, pre_vote_request, sent, shown, vote, vote_request,
};

/// Far more than a node of five needs, far less than a queue of what is put in here would need.
const FLAT: i64 = 16 * 1024;

/// Every kind of message in turn, of four peers in turn, in terms that rise now and then.
fn flood(node: &Node, at: u64) -> (u64, Message<u64>) {
    let kinds = [
        ping(at),
        vote_request(),
        pre_vote_request(at),
        pong(at),
        vote(),
        pre_vote(at),
        Kind::TimeoutNow,
        Kind::Unknown,
    ];
    let kind = kinds[usize::try_from(at / 4 % 8).expect("less than eight")].clone();
    (2 + at % 4, message(node, 1 + at / 1_000, kind))
}

fn put(node: &mut Node, from: u64, message: Message<u64>) {
    let ready = Pin::new(&mut *node).poll_ready(&mut Context::from_waker(Waker::noop()));
    assert_eq!(ready, Poll::Ready(Ok(())));
    let taken = Pin::new(node).start_send(Inbound::FromNode(from, message));
    assert_eq!(taken, Ok(()));
}

/// At most the newest state, and for each peer one request and one reply.
fn check_bounded(items: &[Output], peers: usize) {
    assert!(
        items.iter().filter_map(shown).count() <= 1,
        "more than one state: {items:?}"
    );
    let mut slots: BTreeMap<(u64, bool), &Message<u64>> = BTreeMap::new();
    for (to, message) in items.iter().filter_map(sent) {
        let before = slots.insert((to, message.slot() == Slot::Reply), message);
        assert_eq!(before, None, "two messages of one slot to {to}");
    }
    assert!(slots.len() <= 2 * peers);
}

#[tokio::test(start_paused = true)]
async fn a_million_messages_without_a_poll_leave_at_most_two_outputs_a_peer_and_a_state() {
    let mut node = node(1, 5);
    let used = measure(|| {
        for at in 0..1_000_000 {
            let (from, message) = flood(&node, at);
            put(&mut node, from, message);
        }
    });
    assert!(used.bytes_current < FLAT, "{used:?}");
    assert!(
        used.bytes_max < FLAT.unsigned_abs(),
        "never more than this: {used:?}"
    );
    let items = drain(&mut node);
    assert!(!items.is_empty());
    check_bounded(&items, 4);
}

#[tokio::test(start_paused = true)]
async fn an_unpolled_leader_keeps_no_more_than_its_slots_either() {
    let mut node = leader().await;
    let term = node.state().term();
    let used = measure(|| {
        for round in 0..100_000 {
            for from in [2, 3] {
                let told = message(&node, term, pre_vote_request(round));
                put(&mut node, from, told);
                let told = message(&node, term, pong(round));
                put(&mut node, from, told);
            }
        }
    });
    assert!(used.bytes_current < FLAT, "{used:?}");
    check_bounded(&drain(&mut node), 2);
}

#[tokio::test(start_paused = true)]
async fn commands_without_a_poll_take_no_room() {
    let mut node = follower();
    let used = measure(|| {
        for priority in 0..100_000 {
            node.set_priority(priority);
            node.mark_alive();
            node.resign();
            node.set_nodes([1, 2, 3, 4 + priority % 7])
                .expect("a good list");
            node.transfer(3).expect_err("it does not lead");
        }
    });
    assert!(used.bytes_current < FLAT, "{used:?}");
}

/// What used up a peer's memory (its sixth fault): a node that is fed and never drained.
#[tokio::test(start_paused = true)]
async fn an_hour_of_heartbeats_to_a_node_that_nobody_drains_takes_no_room() {
    let mut node = node(1, 3);
    let mut used = AllocationInfo::default();
    for beat in 0..36_000 {
        used += measure(|| {
            let told = message(&node, 1, ping(beat));
            put(&mut node, 2, told);
        });
        advance(HEARTBEAT).await;
    }
    assert!(used.bytes_current < FLAT, "{used:?}");
    check_bounded(&drain(&mut node), 2);
}

/// The node draws its campaigns and pings from its timers, so here it is polled, but what comes out is late.
#[tokio::test(start_paused = true)]
async fn a_node_drained_by_one_item_a_minute_stays_as_small() {
    let mut node = leader().await;
    let term = node.state().term();
    let mut used = AllocationInfo::default();
    for at in 0..600 {
        used += measure(|| drop(poll(&mut node)));
        for from in [2, 3] {
            used += measure(|| {
                let told = message(&node, term + at, pre_vote_request(at));
                put(&mut node, from, told);
            });
        }
        advance(Duration::from_secs(60)).await;
    }
    assert!(used.bytes_current < FLAT, "{used:?}");
    check_bounded(&drain(&mut node), 2);
}

#[tokio::test(start_paused = true)]
async fn a_newer_message_replaces_the_older_one_of_its_slot() {
    let mut node = follower();
    for round in 0..1_000 {
        let told = message(&node, 5, ping(round));
        put(&mut node, 2, told);
    }
    let items = drain(&mut node);
    let answers: Vec<_> = items.iter().filter_map(sent).collect();
    let [(2, answer)] = &answers[..] else {
        panic!("one answer: {answers:?}")
    };
    assert!(
        matches!(answer.kind, Kind::Pong { round: 999, .. }),
        "to the newest ping: {answer:?}"
    );
}
