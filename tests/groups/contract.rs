//! `Groups` as the compiler and a stream's user see it: what it can be used for, how it ends, what a dropped future costs.

use std::hash::Hash;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::stream::FusedStream;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use streamraft::{
    Attachment, Beat, Command, Elections, Error, Groups, GroupsStats, Inbound, MsgRouter, NodeId,
};
use tokio::time::{advance, timeout};

use crate::hand::{
    ELECTION, Kind, Machine, Output, alone, busy, config, drain, empty, message, ms, ping, poll,
    vote_request,
};

const fn movable<T: Send + Sync + Unpin + 'static>() {}
const fn value<T: Clone + Eq + Hash + Send + Sync + Unpin + 'static>() {}

fn a_stream_and_a_sink<T>(_: &T)
where
    T: Stream<Item = Output> + FusedStream + Sink<(u64, Inbound<u64>), Error = Error>,
{
}

#[test]
fn groups_move_between_threads_and_are_never_pinned() {
    movable::<Groups<u64>>();
    movable::<Groups<String, NodeId>>();
    movable::<Groups<(u32, String), std::net::SocketAddr>>();
    value::<Elections<u64, u64>>();
    value::<Elections<String, NodeId>>();
    value::<GroupsStats>();
    value::<Beat>();
    value::<Attachment>();
    a_stream_and_a_sink(&empty());
}

#[test]
fn groups_can_be_made_outside_a_runtime() {
    let machine = alone(0..3);
    assert_eq!(
        (machine.len(), machine.is_empty(), *machine.node_id()),
        (3, false, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_group_it_waits_and_the_first_one_wakes_it() {
    let mut machine = empty();
    assert!(machine.is_empty() && poll(&mut machine).is_pending());
    let (waker, wakes) = futures_test::task::new_count_waker();
    assert!(
        machine
            .poll_next_unpin(&mut Context::from_waker(&waker))
            .is_pending()
    );
    advance(100 * ELECTION).await;
    assert_eq!(wakes.get(), 0, "nothing falls due");
    machine.insert(7, config(1, 1)).expect("a new key");
    assert_eq!(wakes.get(), 1);
    assert!(matches!(
        poll(&mut machine),
        Poll::Ready(Some((7, MsgRouter::ToSelf(_))))
    ));
    assert_eq!(poll(&mut machine), Poll::Pending);
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_once_and_says_how_long_it_is() {
    let mut machine = busy();
    assert_eq!(
        (machine.size_hint(), machine.is_terminated()),
        ((0, None), false)
    );
    machine.stop();
    assert_eq!(
        (machine.size_hint(), machine.is_terminated()),
        ((0, None), false),
        "last words wait"
    );
    drain(&mut machine);
    for _ in 0..3 {
        assert_eq!(
            (machine.size_hint(), machine.is_terminated()),
            ((0, Some(0)), true)
        );
        assert_eq!(poll(&mut machine), Poll::Ready(None));
    }
    assert!(!format!("{machine:?}").is_empty());
}

/// Takes out what is ready, by a new `next()` every time, of which most are dropped.
fn drain_by_dropped_futures(machine: &mut Machine, rng: &mut Xoshiro256PlusPlus) -> Vec<Output> {
    let mut items = Vec::new();
    loop {
        for _ in 0..rng.random_range(0..3) {
            // Never polled.
            drop(machine.next());
            drop(machine.send((7, Command::Stop.into())));
        }
        match machine.next().now_or_never() {
            Some(Some(item)) => items.push(item),
            // Polled once, and dropped while it waits.
            Some(None) | None => return items,
        }
    }
}

/// Sessions are drawn at random: two machines never share one.
fn without_sessions(mut items: Vec<Output>) -> Vec<Output> {
    for (_, item) in &mut items {
        if let MsgRouter::ToNode(_, message) = item
            && let Kind::Beat(beat) | Kind::BeatAck(beat) = &mut message.kind
        {
            (beat.session, beat.listener) = (0, None);
        }
    }
    items
}

/// Two machines with the same seeds are told the same. One is polled as a stream; the other by futures that are dropped
/// whenever they wait. They must say the same, at the same times.
#[tokio::test(start_paused = true)]
async fn next_and_send_dropped_wherever_they_wait_lose_nothing() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let make = || {
        let mut machine = empty();
        for key in 0..5 {
            let count = 1 + 2 * (key % 2);
            machine
                .insert(key, config(1, count).seed(key))
                .expect("a new key");
        }
        machine
    };
    let (mut steady, mut torn) = (make(), make());
    let mut said = 0;
    for _ in 0..5_000 {
        if rng.random_range(0..10) == 0 {
            let key = rng.random_range(0..5);
            let term = steady.state(&key).expect("it is there").term()
                + u64::from(rng.random_ratio(1, 20));
            let beat = Kind::Beat(Box::new(Beat::new(rng.random_range(0..2), None, 0)));
            let kinds = [ping(0), vote_request(), Kind::TimeoutNow, beat];
            let kind = kinds[rng.random_range(0..kinds.len())].clone();
            let from = rng.random_range(2..=3);
            let told = message(&steady, key, term, kind);
            steady.on_receive(&key, from, told.clone());
            let input = (key, Inbound::FromNode(from, told));
            torn.send(input).await.expect("it was not stopped");
        }
        let expected = without_sessions(drain(&mut steady));
        said += expected.len();
        let got = without_sessions(drain_by_dropped_futures(&mut torn, &mut rng));
        assert_eq!(got, expected);
        advance(ms(rng.random_range(0..20))).await;
    }
    assert_eq!(steady.stats(), torn.stats());
    assert!(said > 1_000, "there was enough to lose: {said}");
}

#[tokio::test(start_paused = true)]
async fn send_is_done_at_its_first_poll_and_not_before() {
    let mut machine = busy();
    let told = message(&machine, 7, 9, vote_request());
    drop(machine.send((7, Inbound::FromNode(2, told.clone()))));
    assert_eq!(
        poll(&mut machine),
        Poll::Pending,
        "never polled, never sent"
    );
    let mut send = machine.send((7, Inbound::FromNode(2, told)));
    let polled = send.poll_unpin(&mut Context::from_waker(Waker::noop()));
    assert_eq!(
        polled,
        Poll::Ready(Ok(())),
        "there is no await in it that a drop could hit"
    );
    assert_eq!(drain(&mut machine).len(), 2, "its state, and its vote");
}

#[tokio::test(start_paused = true)]
async fn groups_polled_under_short_timeouts_campaign_in_time() {
    let mut machine = empty();
    machine.insert(7, config(1, 3)).expect("a new key");
    let begun = tokio::time::Instant::now();
    let item = loop {
        if let Ok(item) = timeout(ms(7), machine.next()).await {
            break item;
        }
    };
    assert!(matches!(item, Some((7, MsgRouter::ToSelf(_)))));
    let took = begun.elapsed();
    assert!(took < 2 * ELECTION && took > Duration::ZERO, "{took:?}");
}
