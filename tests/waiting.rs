//! What waits for one peer: which messages are kept, in which order they leave, and that no amount of them is too many.

use std::fmt::Debug;
use std::iter::from_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use proptest::collection::vec;
use proptest::prelude::*;
use streamraft::{
    Keyed, LogPosition, Message, MessageKind, Payload, Queue, Queued, Slot, Slotted, Stamp,
    TwoSlots, Waiting,
};

/// What one group says to another machine's node of it.
type OfGroup = (u64, Message<u64>);

fn ping(round: u64) -> Message<u64> {
    let succession = None;
    Message::new(1, Stamp::new(0, 1), MessageKind::Ping { round, succession })
}

fn pong(round: u64) -> Message<u64> {
    let kind = MessageKind::Pong {
        round,
        position: LogPosition::default(),
        priority: 0,
    };
    Message::new(1, Stamp::new(0, 1), kind)
}

/// A message of a log, by hand.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Request(u64),
    Reply(u64),
    Append(usize),
}

impl Queued for Said {
    const MAX_COUNT: usize = 4;

    const MAX_BYTES: usize = 100;

    fn slot(&self) -> Option<Slot> {
        match self {
            Self::Request(_) => Some(Slot::Request),
            Self::Reply(_) => Some(Slot::Reply),
            Self::Append(_) => None,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Append(size) => *size,
            _ => panic!("what has a slot is not counted"),
        }
    }
}

impl Payload for Said {
    type Waiting = Queue<Self>;
}

fn drained<M>(mut waiting: impl Waiting<M>) -> Vec<M> {
    let left = from_fn(|| {
        let is_empty = waiting.is_empty();
        let message = waiting.take();
        assert_eq!(is_empty, message.is_none());
        message
    });
    left.collect()
}

fn after<M: Payload>(put: impl IntoIterator<Item = M>) -> Vec<M> {
    let mut waiting = M::Waiting::default();
    put.into_iter().for_each(|message| waiting.put(message));
    drained(waiting)
}

// --- two slots ---

#[test]
fn a_newer_message_replaces_an_older_one_of_its_slot() {
    assert_eq!(
        after([ping(1), ping(2), pong(1), ping(3)]),
        [ping(3), pong(1)]
    );
    assert_eq!(after([pong(1), ping(1), pong(2)]), [pong(2), ping(1)]);
}

#[test]
fn a_slot_that_is_filled_again_and_again_does_not_hold_up_the_other() {
    let mut waiting = TwoSlots::default();
    waiting.put(ping(1));
    waiting.put(pong(1));
    assert_eq!(waiting.take(), Some(ping(1)));
    waiting.put(ping(2));
    assert_eq!(waiting.take(), Some(pong(1)));
    waiting.put(pong(2));
    assert_eq!(waiting.take(), Some(ping(2)));
}

#[test]
fn two_slots_allocate_nothing() {
    let (ping, pong) = (ping(1), pong(1));
    let memory = measure(|| {
        let mut waiting = TwoSlots::default();
        for _ in 0..100 {
            waiting.put(ping.clone());
            waiting.put(pong.clone());
            assert!(waiting.take().is_some());
        }
        waiting.clear();
        assert!(waiting.is_empty());
    });
    assert_eq!(memory.count_total, 0);
}

// --- one place for each group and slot ---

#[test]
fn every_group_has_a_request_and_a_reply() {
    let put = [
        (1, ping(1)),
        (2, ping(1)),
        (1, pong(1)),
        (1, ping(2)),
        (2, pong(1)),
    ];
    let left = [(1, ping(2)), (2, ping(1)), (1, pong(1)), (2, pong(1))];
    assert_eq!(after(put), left);
}

#[test]
fn a_group_that_was_taken_stands_at_the_end_of_the_line_again() {
    let mut waiting = Keyed::default();
    for group in [1, 2] {
        waiting.put((group, ping(1)));
    }
    assert_eq!(waiting.take(), Some((1, ping(1))));
    waiting.put((1, ping(2)));
    assert_eq!(drained(waiting), [(2, ping(1)), (1, ping(2))]);
}

/// A walk through all of them for each would be 2 x 10^10 steps.
#[test]
fn a_hundred_thousand_groups_wait_at_no_greater_cost_each() {
    const GROUPS: u64 = 100_000;
    let start = Instant::now();
    let mut waiting = Keyed::default();
    for round in 0..3 {
        for group in 0..GROUPS {
            waiting.put((group, ping(round)));
            waiting.put((group, pong(round)));
        }
    }
    assert_eq!(waiting.len(), 2 * 100_000);
    for group in 0..GROUPS {
        assert_eq!(waiting.take(), Some((group, ping(2))));
        assert_eq!(waiting.take(), Some((group, pong(2))));
    }
    assert!(waiting.is_empty());
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn what_is_cleared_is_let_go() {
    let alive = Arc::new(());
    let mut waiting = Keyed::<_, Message<u64>>::default();
    for group in 0..10 {
        waiting.put(((group, ById(Arc::clone(&alive))), ping(1)));
    }
    assert!(Arc::strong_count(&alive) > 10);
    waiting.clear();
    assert!(waiting.is_empty() && waiting.take().is_none());
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// A part of a key that shows how many of it are alive.
#[derive(Clone, Debug)]
struct ById(Arc<()>);

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ById {}

impl std::hash::Hash for ById {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

// --- a line up to a bound ---

use Said::{Append, Reply, Request};

#[test]
fn the_line_keeps_its_order_and_slots_go_first() {
    let put = [
        Append(1),
        Append(2),
        Reply(1),
        Append(3),
        Request(1),
        Reply(2),
    ];
    let left = [Reply(2), Request(1), Append(1), Append(2), Append(3)];
    assert_eq!(after(put), left);
}

#[test]
fn a_line_that_is_full_by_count_lets_the_newest_go() {
    assert_eq!(
        after((0..10).map(Append)),
        (0..4).map(Append).collect::<Vec<_>>()
    );
    let mut waiting = Queue::default();
    (0..5).for_each(|size| waiting.put(Append(size)));
    assert_eq!(waiting.take(), Some(Append(0)));
    waiting.put(Append(9));
    waiting.put(Append(10));
    assert_eq!(drained(waiting), [1, 2, 3, 9].map(Append));
}

#[test]
fn a_line_that_is_full_by_bytes_lets_the_newest_go() {
    assert_eq!(after([60, 40, 1].map(Append)), [60, 40].map(Append));
    assert_eq!(after([60, 41, 40].map(Append)), [60, 40].map(Append));
    let mut waiting = Queue::default();
    for _ in 0..3 {
        waiting.put(Append(100));
        waiting.put(Append(1));
        assert_eq!(
            waiting.take(),
            Some(Append(100)),
            "its bytes are free again"
        );
        assert!(waiting.is_empty());
    }
}

#[test]
fn a_message_over_the_bound_waits_where_nothing_stands_before_it() {
    assert_eq!(after([usize::MAX, 1].map(Append)), [Append(usize::MAX)]);
    assert_eq!(after([1, usize::MAX].map(Append)), [Append(1)]);
}

#[test]
fn slots_of_a_full_line_are_open() {
    let put = (0..10)
        .map(Append)
        .chain([Request(1), Request(2), Reply(1)]);
    assert_eq!(after(put)[..2], [Request(2), Reply(1)]);
}

// --- against the plainest form of the same ---

/// A list in which a message takes the place of the one with the same mark.
fn by_place<M: Clone, P: PartialEq>(put: &[M], place: impl Fn(&M) -> P) -> Vec<M> {
    let mut list: Vec<M> = Vec::new();
    for message in put {
        match list.iter_mut().find(|other| place(other) == place(message)) {
            Some(other) => *other = message.clone(),
            None => list.push(message.clone()),
        }
    }
    list
}

/// A list that takes in what its bounds let it.
fn by_bounds(put: &[Said]) -> Vec<Said> {
    let (slotted, in_line): (Vec<Said>, Vec<Said>) =
        put.iter().cloned().partition(|said| said.slot().is_some());
    let mut list = by_place(&slotted, Queued::slot);
    let (mut count, mut bytes) = (0, 0);
    for said in in_line {
        let size = said.size();
        if count == 0 || (count < Said::MAX_COUNT && bytes + size <= Said::MAX_BYTES) {
            (count, bytes) = (count + 1, bytes + size);
            list.push(said);
        }
    }
    list
}

fn one_of_a_group() -> impl Strategy<Value = OfGroup> {
    (0..8_u64, any::<bool>(), 0..100_u64).prop_map(|(group, is_request, round)| {
        let message = if is_request { ping(round) } else { pong(round) };
        (group, message)
    })
}

fn one_said() -> impl Strategy<Value = Said> {
    prop_oneof![
        (0..9_u64).prop_map(Request),
        (0..9_u64).prop_map(Reply),
        (0..80_usize).prop_map(Append),
    ]
}

/// Puts all, then takes some, then puts more, then takes all: the same as the list does.
fn same_as<M: Payload + Clone + Debug + PartialEq>(
    parts: &[(Vec<M>, usize)],
    put: impl Fn(&[M]) -> Vec<M>,
) {
    let mut waiting = M::Waiting::default();
    let mut list = Vec::new();
    for (messages, taken) in parts {
        messages
            .iter()
            .cloned()
            .for_each(|message| waiting.put(message));
        list = put(&[list, messages.clone()].concat());
        for _ in 0..*taken {
            let first = (!list.is_empty()).then(|| list.remove(0));
            assert_eq!(waiting.take(), first);
        }
    }
    assert_eq!(drained(waiting), list);
}

proptest! {
    #[test]
    fn keyed_is_a_list_with_a_place_for_each_group_and_slot(
        parts in vec((vec(one_of_a_group(), 0..40), 0..20_usize), 1..6),
    ) {
        same_as(&parts, |put| by_place(put, |(group, message)| (*group, message.slot())));
    }

    #[test]
    fn a_queue_is_a_list_with_two_bounds(
        parts in vec((vec(one_said(), 0..12), 0..8_usize), 1..6),
    ) {
        same_as(&parts, by_bounds);
    }

    #[test]
    fn two_slots_are_a_list_with_a_place_for_each_slot(
        parts in vec((vec(one_of_a_group(), 0..5), 0..3_usize), 1..6),
    ) {
        let plain = |(_, message): &OfGroup| message.clone();
        let parts: Vec<(Vec<Message<u64>>, usize)> = parts
            .iter()
            .map(|(put, taken)| (put.iter().map(plain).collect(), *taken))
            .collect();
        same_as(&parts, |put| by_place(put, Slotted::slot));
    }
}
