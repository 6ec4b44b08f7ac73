//! The router and the lossy sink by abuse: sinks that are stuck, that fail at every step and that check how they are
//! used themselves.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures::channel::mpsc;
use futures::{FutureExt, Sink, SinkExt, StreamExt, stream};
use futures_test::task::{new_count_waker, noop_context};
use streamraft::{
    Config, Election, LogPosition, Lossy, Message, MessageKind, MsgRouter, Router, Slot, Slotted,
    Stamp, lossy,
};

use Slot::{Reply, Request};

// --- the tools ---

/// A message that shows how many of its kind are alive.
struct Note {
    slot: Slot,
    number: u64,
    _alive: Option<Arc<()>>,
}

impl Slotted for Note {
    fn slot(&self) -> Slot {
        self.slot
    }
}

type Item = MsgRouter<u64, Note>;

fn to(id: u64, slot: Slot, number: u64) -> Item {
    let note = Note {
        slot,
        number,
        _alive: None,
    };
    MsgRouter::ToNode(id, note)
}

fn counted(id: u64, slot: Slot, alive: &Arc<()>) -> Item {
    let note = Note {
        slot,
        number: 0,
        _alive: Some(Arc::clone(alive)),
    };
    MsgRouter::ToNode(id, note)
}

fn to_self() -> Item {
    let config = Config::with_id(1, [1, 2, 3]).unwrap();
    let election = Election::new(config, Instant::now()).unwrap();
    MsgRouter::ToSelf(election.state().clone())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ready,
    Send,
    Flush,
    Close,
}

/// The error of a socket that is broken at this step.
#[derive(Debug, PartialEq, Eq)]
struct Broken(Step);

/// What a test sees and sets of one socket.
#[derive(Default)]
struct Line {
    /// How many messages it takes before it is not ready.
    room: usize,
    flush_stuck: bool,
    close_stuck: bool,
    broken: Option<Step>,
    taken: Vec<(Slot, u64)>,
    flushed: usize,
    promised: bool,
    closing: bool,
    closed: bool,
    dropped: bool,
    waker: Option<Waker>,
}

impl Line {
    fn step(&mut self, step: Step, stuck: bool, cx: &Context<'_>) -> Poll<Result<(), Broken>> {
        assert!(!self.closed, "{step:?} after the end");
        assert!(
            !self.closing || step == Step::Close,
            "{step:?} while closing"
        );
        if self.broken == Some(step) {
            return Poll::Ready(Err(Broken(step)));
        }
        if stuck {
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

/// The test's end of a socket.
#[derive(Clone)]
struct Wire(Arc<Mutex<Line>>);

impl Wire {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap()
    }

    /// Changes the socket and wakes who waits for it, as a real one does.
    fn set(&self, change: impl FnOnce(&mut Line)) {
        change(&mut self.line());
        let waker = self.line().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn make_room(&self, room: usize) {
        self.set(|line| line.room = room);
    }

    fn taken(&self) -> Vec<(Slot, u64)> {
        self.line().taken.clone()
    }

    fn flushed(&self) -> usize {
        self.line().flushed
    }
}

/// A sink that panics when it is used against the contract of `Sink`.
struct Socket(Wire);

impl Sink<Note> for Socket {
    type Error = Broken;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut line = self.0.line();
        let stuck = line.room == 0;
        let step = line.step(Step::Ready, stuck, cx);
        line.promised = matches!(step, Poll::Ready(Ok(())));
        step
    }

    fn start_send(self: Pin<&mut Self>, note: Note) -> Result<(), Broken> {
        let mut line = self.0.line();
        assert!(line.promised, "start_send without poll_ready");
        line.promised = false;
        if line.broken == Some(Step::Send) {
            return Err(Broken(Step::Send));
        }
        line.room -= 1;
        line.taken.push((note.slot, note.number));
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut line = self.0.line();
        let stuck = line.flush_stuck;
        let step = line.step(Step::Flush, stuck, cx);
        if matches!(step, Poll::Ready(Ok(()))) {
            line.flushed = line.taken.len();
        }
        step
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut line = self.0.line();
        line.closing = true;
        let stuck = line.close_stuck;
        let step = line.step(Step::Close, stuck, cx);
        line.closed = step.is_ready();
        step
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.line().dropped = true;
    }
}

fn socket(room: usize) -> (Socket, Wire) {
    let line = Line {
        room,
        ..Line::default()
    };
    let wire = Wire(Arc::new(Mutex::new(line)));
    (Socket(wire.clone()), wire)
}

const ENDLESS: usize = usize::MAX;

fn router<const N: usize>(rooms: [usize; N]) -> (Router<u64, Socket, Note>, [Wire; N]) {
    let mut router = Router::new();
    let mut id = 0;
    let wires = rooms.map(|room| {
        id += 1;
        let (socket, wire) = socket(room);
        router.insert(id, socket);
        wire
    });
    (router, wires)
}

fn put<S: Sink<Item> + Unpin>(sink: &mut S, item: Item) {
    assert!(Pin::new(sink).start_send(item).is_ok());
}

fn poll_ready<S: Sink<Item> + Unpin>(sink: &mut S) -> Poll<Result<(), S::Error>> {
    Pin::new(sink).poll_ready(&mut noop_context())
}

fn poll_flush<S: Sink<Item> + Unpin>(sink: &mut S) -> Poll<Result<(), S::Error>> {
    Pin::new(sink).poll_flush(&mut noop_context())
}

fn poll_close<S: Sink<Item> + Unpin>(sink: &mut S) -> Poll<Result<(), S::Error>> {
    Pin::new(sink).poll_close(&mut noop_context())
}

const OK: Poll<Result<(), Infallible>> = Poll::Ready(Ok(()));

// --- stuck peers ---

#[test]
fn a_peer_that_is_never_ready_costs_the_others_nothing() {
    let (mut router, [stuck, healthy]) = router([0, ENDLESS]);
    for number in 0..1_000 {
        for id in [1, 2] {
            let sent = router.send(to(id, Request, number)).now_or_never();
            assert_eq!(sent, Some(Ok(())), "sending waits");
        }
    }
    assert_eq!(stuck.taken(), []);
    assert_eq!(healthy.flushed(), 1_000);
}

#[test]
fn a_peer_whose_flush_is_stuck_costs_the_others_nothing() {
    let (mut router, [stuck, healthy]) = router([ENDLESS, ENDLESS]);
    stuck.set(|line| line.flush_stuck = true);
    for number in 0..1_000 {
        for id in [1, 2] {
            let sent = router.send(to(id, Request, number)).now_or_never();
            assert_eq!(sent, Some(Ok(())), "sending waits");
        }
    }
    assert_eq!(stuck.flushed(), 0);
    assert_eq!(healthy.flushed(), 1_000);
    stuck.set(|line| line.flush_stuck = false);
    assert_eq!(poll_flush(&mut router), OK);
    assert_eq!(stuck.flushed(), 1_000);
}

#[test]
fn memory_is_flat_for_a_million_messages() {
    let alive = Arc::new(());
    let (mut router, [_stuck]) = router([0]);
    for round in 0..1_000_000 {
        let slot = if round % 3 == 0 { Reply } else { Request };
        put(&mut router, counted(1, slot, &alive));
        if round % 7 == 0 {
            assert_eq!(poll_ready(&mut router), OK);
        }
        assert!(
            Arc::strong_count(&alive) <= 3,
            "more than two messages wait"
        );
    }
    drop(router);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn the_newest_message_of_a_slot_wins_and_both_slots_are_kept() {
    let (mut router, [wire]) = router([0]);
    for number in 1..=3 {
        put(&mut router, to(1, Reply, number));
        put(&mut router, to(1, Request, 10 + number));
        assert_eq!(poll_flush(&mut router), OK);
    }
    wire.make_room(ENDLESS);
    assert_eq!(poll_flush(&mut router), OK);
    assert_eq!(wire.taken(), [(Reply, 3), (Request, 13)]);
    assert_eq!(wire.flushed(), 2);
}

#[test]
fn a_reply_of_a_node_does_not_displace_its_request() {
    let message = |kind| MsgRouter::ToNode(2u64, Message::<u64>::new(1, Stamp::new(0, 1), kind));
    let ping = |round| {
        message(MessageKind::Ping {
            round,
            succession: None,
        })
    };
    let pong = message(MessageKind::Pong {
        round: 7,
        position: LogPosition::default(),
        priority: 0,
    });
    let (socket, mut peer) = mpsc::channel(8);
    let mut router = Router::from_iter([(2, socket)]);
    for item in [ping(1), pong, ping(2)] {
        Pin::new(&mut router).start_send(item).unwrap();
    }
    assert_eq!(router.flush().now_or_never(), Some(Ok(())));

    let mut next = || peer.next().now_or_never().flatten().unwrap().kind;
    assert!(matches!(next(), MessageKind::Ping { round: 2, .. }));
    assert!(matches!(next(), MessageKind::Pong { round: 7, .. }));
    assert!(peer.next().now_or_never().is_none());
}

#[test]
fn a_slot_that_is_always_full_does_not_hold_up_the_other() {
    for (busy, other) in [(Request, Reply), (Reply, Request)] {
        let (mut router, [wire]) = router([0]);
        put(&mut router, to(1, busy, 0));
        put(&mut router, to(1, other, 0));
        for number in 1..=2 {
            wire.make_room(1);
            assert_eq!(poll_flush(&mut router), OK);
            put(&mut router, to(1, busy, number));
        }
        assert_eq!(wire.taken(), [(busy, 0), (other, 0)]);
    }
}

#[test]
fn slots_leave_in_the_order_in_which_they_were_filled() {
    let (mut router, [wire]) = router([0]);
    let orders = [[Request, Reply], [Request, Reply], [Reply, Request]];
    for [first, second] in orders {
        for last in [None, Some(first), Some(second)] {
            put(&mut router, to(1, first, 0));
            put(&mut router, to(1, second, 0));
            put(&mut router, to(1, first, 1));
            wire.set(|line| (line.room, line.taken) = (ENDLESS, Vec::new()));
            assert_eq!(poll_flush(&mut router), OK);
            assert_eq!(wire.taken(), [(first, 1), (second, 0)]);
            // Whichever slot was used last on its own, the next pair is not affected.
            last.into_iter()
                .for_each(|slot| put(&mut router, to(1, slot, 0)));
            assert_eq!(poll_flush(&mut router), OK);
            wire.make_room(0);
        }
    }
}

#[test]
fn whatever_happens_the_newest_arrive_in_order_and_once() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for _ in 0..500 {
        let (mut router, [wire]) = router([0]);
        let mut newest = [None; 2];
        for number in 0..draw(60) {
            match draw(6) {
                0 => wire.make_room(usize::try_from(draw(3)).unwrap()),
                1 => wire.set(|line| line.flush_stuck ^= true),
                2 => assert_eq!(poll_ready(&mut router), OK),
                3 => assert_eq!(poll_flush(&mut router), OK),
                draw => {
                    let slot = if draw == 4 { Request } else { Reply };
                    newest[usize::from(slot == Reply)] = Some(number);
                    put(&mut router, to(1, slot, number));
                }
            }
        }
        wire.set(|line| (line.room, line.flush_stuck) = (ENDLESS, false));
        assert_eq!(poll_flush(&mut router), OK);
        assert_eq!(wire.flushed(), wire.taken().len());
        for slot in [Request, Reply] {
            let taken = wire.taken().into_iter().filter(|(of, _)| *of == slot);
            let numbers: Vec<u64> = taken.map(|(_, number)| number).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            assert_eq!(
                numbers.last().copied(),
                newest[usize::from(slot == Reply)],
                "the newest is missing"
            );
        }
    }
}

// --- polling, waking ---

#[test]
fn a_stuck_peer_that_becomes_ready_wakes_the_task_and_gets_the_newest() {
    let (router, [wire]) = router([0]);
    let items = [1, 2, 3].map(|number| to(1, Request, number));
    let node = stream::iter(items).chain(stream::pending());
    let mut forward = pin!(node.map(Ok).forward(router));
    let (waker, wakes) = new_count_waker();
    let mut cx = Context::from_waker(&waker);

    assert!(forward.as_mut().poll(&mut cx).is_pending());
    assert_eq!((wakes.get(), wire.taken()), (0, vec![]));

    wire.set(|line| (line.room, line.flush_stuck) = (1, true));
    assert_eq!(wakes.get(), 1);
    assert!(forward.as_mut().poll(&mut cx).is_pending());
    assert_eq!(wire.taken(), [(Request, 3)]);
    assert_eq!(wire.flushed(), 0);

    wire.set(|line| line.flush_stuck = false);
    assert_eq!(wakes.get(), 2);
    assert!(forward.as_mut().poll(&mut cx).is_pending());
    assert_eq!(wire.flushed(), 1);
}

#[test]
fn a_sink_wakes_the_task_that_polled_last() {
    let (mut router, [at_router]) = router([0]);
    let (socket, at_lossy) = socket(0);
    let mut lossy = lossy(socket);
    put(&mut router, to(1, Request, 1));
    put(&mut lossy, to(1, Request, 1));
    let (first, second) = (new_count_waker(), new_count_waker());
    for (waker, _) in [&first, &second] {
        let mut cx = Context::from_waker(waker);
        assert_eq!(Sink::<Item>::poll_flush(Pin::new(&mut router), &mut cx), OK);
        let flushed = Sink::<Item>::poll_flush(Pin::new(&mut lossy), &mut cx);
        assert_eq!(flushed, Poll::Ready(Ok(())));
    }
    for wire in [at_router, at_lossy] {
        let before = second.1.get();
        wire.make_room(1);
        assert_eq!((first.1.get(), second.1.get()), (0, before + 1));
    }
}

#[test]
fn forward_goes_on_polling_its_stream_although_a_socket_is_stuck() {
    let (router, [_stuck, healthy]) = router([0, ENDLESS]);
    let (node, items) = mpsc::unbounded();
    let mut forward = pin!(items.map(Ok).forward(router));
    for number in 0..100 {
        for id in [1, 2] {
            node.unbounded_send(to(id, Request, number)).unwrap();
        }
        assert!(forward.as_mut().poll(&mut noop_context()).is_pending());
        assert!(node.is_empty(), "an item was not taken");
        assert_eq!(healthy.taken().last(), Some(&(Request, number)));
    }
}

#[test]
fn a_stream_that_is_never_pending_does_not_keep_messages_from_the_sinks() {
    let (mut router, [wire]) = router([ENDLESS]);
    for number in 0..10 {
        assert_eq!(poll_ready(&mut router), OK);
        assert_eq!(wire.flushed(), usize::try_from(number).unwrap());
        put(&mut router, to(1, Request, number));
    }
}

#[test]
fn what_is_sent_or_inserted_between_two_polls_is_moved_by_the_next() {
    let (mut router, [first]) = router([ENDLESS]);
    assert_eq!(poll_flush(&mut router), OK);
    put(&mut router, to(1, Request, 1));
    let (socket, second) = socket(ENDLESS);
    assert!(router.insert(2, socket).is_none());
    put(&mut router, to(2, Reply, 2));
    assert_eq!(poll_ready(&mut router), OK);
    assert_eq!(first.taken(), [(Request, 1)]);
    assert_eq!(second.taken(), [(Reply, 2)]);
}

#[test]
fn a_router_lets_to_self_and_unknown_peers_go() {
    let alive = Arc::new(());
    let (mut router, [wire]) = router([ENDLESS]);
    put(&mut router, to_self());
    assert_eq!(router.unroutable(), 0);
    put(&mut router, counted(2, Request, &alive));
    put(&mut router, counted(3, Reply, &alive));
    assert_eq!(router.unroutable(), 2);
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(poll_flush(&mut router), OK);
    assert_eq!(wire.taken(), []);
}

// --- failures ---

#[test]
fn a_sink_that_fails_is_taken_out_and_reported_and_the_others_go_on() {
    for step in [Step::Ready, Step::Send, Step::Flush] {
        let alive = Arc::new(());
        let (mut router, [first, bad, last]) = router([ENDLESS; 3]);
        bad.set(|line| line.broken = Some(step));
        for id in [1, 2, 3] {
            put(&mut router, to(id, Request, 1));
            put(&mut router, counted(id, Reply, &alive));
        }
        assert_eq!(poll_flush(&mut router), OK);

        assert!(bad.line().dropped);
        assert!(!router.contains(&2));
        assert_eq!(Arc::strong_count(&alive), 1, "what waited was kept");
        assert_eq!((first.flushed(), last.flushed()), (2, 2));
        assert_eq!(router.take_failed(), Some((2, Broken(step))));
        assert_eq!(router.take_failed(), None);

        put(&mut router, to(2, Request, 2));
        assert_eq!(router.unroutable(), 1);
    }
}

#[test]
fn failures_that_nobody_takes_do_not_pile_up() {
    let (mut router, []) = router([]);
    for round in 0..100 {
        for id in [1, 2] {
            let (socket, bad) = socket(ENDLESS);
            bad.set(|line| line.broken = Some(Step::Ready));
            router.insert(id, socket);
            assert_eq!(router.len(), 1, "round {round}");
            put(&mut router, to(id, Request, round));
            assert_eq!(poll_flush(&mut router), OK);
        }
    }
    assert_eq!(router.take_failed(), Some((1, Broken(Step::Ready))));
    assert_eq!(router.take_failed(), Some((2, Broken(Step::Ready))));
    assert_eq!(router.take_failed(), None);
}

#[test]
fn a_failure_is_forgotten_when_its_peer_is_inserted_or_removed() {
    for insert in [true, false] {
        let (mut router, [bad]) = router([ENDLESS]);
        bad.set(|line| line.broken = Some(Step::Flush));
        put(&mut router, to(1, Request, 1));
        assert_eq!(poll_flush(&mut router), OK);
        if insert {
            assert!(router.insert(1, socket(0).0).is_none());
        } else {
            assert!(router.remove(&1).is_none());
        }
        assert_eq!(router.take_failed(), None);
    }
}

#[test]
fn waiting_for_a_failure_moves_messages_on() {
    let (waker, wakes) = new_count_waker();
    let mut cx = Context::from_waker(&waker);
    let (mut router, [wire]) = router([0]);
    put(&mut router, to(1, Request, 1));

    // Dropped while it waits, as `select!` does: nothing is lost.
    assert!(pin!(router.failed()).poll(&mut cx).is_pending());
    wire.make_room(1);
    assert_eq!(wakes.get(), 1);
    assert!(router.poll_failed(&mut cx).is_pending());
    assert_eq!(wire.taken(), [(Request, 1)]);

    put(&mut router, to(1, Request, 2));
    assert!(router.poll_failed(&mut cx).is_pending());
    wire.set(|line| line.broken = Some(Step::Ready));
    assert_eq!(wakes.get(), 2);
    let failed = pin!(router.failed()).poll(&mut cx);
    assert_eq!(failed, Poll::Ready((1, Broken(Step::Ready))));
    assert_eq!(wakes.get(), 2, "woken for what it found itself");
}

#[test]
fn who_waits_for_a_failure_is_woken_by_a_poll_that_finds_one_and_by_a_new_sink() {
    let (waker, wakes) = new_count_waker();
    let mut cx = Context::from_waker(&waker);
    let (mut router, [bad]) = router([ENDLESS]);
    assert!(router.poll_failed(&mut cx).is_pending());

    bad.set(|line| line.broken = Some(Step::Send));
    put(&mut router, to(1, Request, 1));
    assert_eq!(poll_flush(&mut router), OK);
    assert_eq!(wakes.get(), 1);
    assert!(router.poll_failed(&mut cx).is_ready());

    assert!(router.poll_failed(&mut cx).is_pending());
    router.insert(1, socket(0).0);
    assert_eq!(wakes.get(), 2);
}

// --- insert, remove ---

#[test]
fn insert_replaces_a_sink_and_gives_the_old_one_back() {
    let (mut router, [old]) = router([0]);
    put(&mut router, to(1, Request, 1));
    assert_eq!(poll_flush(&mut router), OK);
    let (socket, new) = socket(ENDLESS);

    let replaced = router.insert(1, socket);
    assert!(replaced.is_some_and(|socket| Arc::ptr_eq(&socket.0.0, &old.0)));
    assert_eq!(router.len(), 1);
    old.make_room(ENDLESS);
    assert_eq!(poll_flush(&mut router), OK);
    assert_eq!(old.taken(), []);
    assert_eq!(new.taken(), [(Request, 1)], "what waited is for the peer");
}

#[test]
fn a_new_sink_is_not_flushed_for_what_the_old_one_took() {
    let (mut router, [old]) = router([ENDLESS]);
    old.set(|line| line.flush_stuck = true);
    put(&mut router, to(1, Request, 1));
    assert_eq!(poll_flush(&mut router), OK);
    let (socket, new) = socket(ENDLESS);
    new.set(|line| line.broken = Some(Step::Flush));
    router.insert(1, socket);
    assert_eq!(poll_flush(&mut router), OK);
    assert!(router.contains(&1));
}

#[test]
fn remove_gives_the_sink_back_and_lets_go_of_what_waits() {
    let alive = Arc::new(());
    let (mut router, [wire]) = router([0]);
    put(&mut router, counted(1, Request, &alive));
    put(&mut router, counted(1, Reply, &alive));
    assert_eq!(Arc::strong_count(&alive), 3);

    assert!(router.remove(&1).is_some());
    assert_eq!(Arc::strong_count(&alive), 1);
    assert!(router.remove(&1).is_none());
    put(&mut router, counted(1, Request, &alive));
    assert_eq!(router.unroutable(), 1);
    wire.make_room(ENDLESS);
    assert_eq!(poll_flush(&mut router), OK);
    assert_eq!(wire.taken(), []);
}

#[test]
fn a_router_shows_its_peers_and_gives_them_back() {
    let (mut router, [_, _]) = router([0, 0]);
    assert!(!router.is_empty() && router.len() == 2);
    assert!(router.peers().eq(&[1, 2]));
    assert!(router.contains(&1) && !router.contains(&3));
    assert!(router.get_ref(&2).is_some() && router.get_mut(&3).is_none());
    router.extend([(3, socket(0).0)]);
    assert_eq!(
        format!("{router:?}"),
        "Router { peers: {1, 2, 3}, failed: {}, unroutable: 0, .. }"
    );
    assert!(router.into_inner().into_keys().eq([1, 2, 3]));
    assert!(Router::<u64, Socket, Note>::default().is_empty());
}

// --- close ---

#[test]
fn close_sends_what_waits_and_closes_every_sink_once() {
    let (mut router, wires) = router([ENDLESS; 3]);
    for id in [1, 2, 3] {
        put(&mut router, to(id, Request, 1));
        put(&mut router, to(id, Reply, 2));
    }
    // The sockets panic at a second close.
    for _ in 0..2 {
        assert_eq!(poll_close(&mut router), OK);
    }
    for wire in &wires {
        assert!(wire.line().closed);
        assert_eq!(wire.taken(), [(Request, 1), (Reply, 2)]);
        assert_eq!(wire.flushed(), 2);
    }
}

#[test]
fn a_router_can_be_used_after_it_was_closed() {
    let (mut router, [wire]) = router([ENDLESS]);
    assert_eq!(poll_close(&mut router), OK);
    put(&mut router, to(1, Request, 1));
    assert_eq!(router.unroutable(), 1);
    assert_eq!(poll_ready(&mut router), OK);
    assert_eq!(poll_flush(&mut router), OK);
    assert!(router.poll_failed(&mut noop_context()).is_pending());
    assert_eq!(wire.taken(), []);

    let (socket, again) = socket(ENDLESS);
    assert!(router.insert(1, socket).is_some());
    put(&mut router, to(1, Request, 2));
    assert_eq!(poll_close(&mut router), OK);
    assert_eq!(again.taken(), [(Request, 2)]);
    assert!(again.line().closed);
}

#[test]
fn close_closes_the_others_when_one_fails() {
    for step in [Step::Ready, Step::Send, Step::Flush, Step::Close] {
        let (mut router, [first, bad, last]) = router([ENDLESS; 3]);
        bad.set(|line| line.broken = Some(step));
        for id in [1, 2, 3] {
            put(&mut router, to(id, Request, 1));
        }
        assert_eq!(poll_close(&mut router), OK);
        assert!(first.line().closed && last.line().closed);
        assert_eq!(router.take_failed(), Some((2, Broken(step))));
        assert_eq!(poll_close(&mut router), OK);
    }
}

#[test]
fn close_waits_for_a_stuck_peer_and_the_others_do_not() {
    let (mut router, [stuck, healthy]) = router([0, ENDLESS]);
    stuck.set(|line| (line.flush_stuck, line.close_stuck) = (true, true));
    put(&mut router, to(1, Request, 1));
    put(&mut router, to(2, Request, 1));
    let (waker, wakes) = new_count_waker();
    let mut cx = Context::from_waker(&waker);
    let unstick: [fn(&mut Line); 3] = [
        |line| line.room = 1,
        |line| line.flush_stuck = false,
        |line| line.close_stuck = false,
    ];
    for (steps, unstick) in unstick.into_iter().enumerate() {
        // A future that is dropped and made anew each time: a close can be resumed.
        assert!(pin!(router.close()).poll(&mut cx).is_pending());
        assert!(healthy.line().closed);
        assert_eq!(wakes.get(), steps);
        stuck.set(unstick);
    }
    assert_eq!(wakes.get(), 3);
    assert_eq!(pin!(router.close()).poll(&mut cx), OK);
    assert!(stuck.line().closed);
    assert_eq!(stuck.taken(), [(Request, 1)]);
}

#[test]
fn a_sink_that_is_closing_is_sent_nothing_more() {
    let (mut router, [wire]) = router([ENDLESS]);
    wire.set(|line| line.close_stuck = true);
    assert!(poll_close(&mut router).is_pending());
    put(&mut router, to(1, Request, 1));
    assert_eq!(poll_ready(&mut router), OK);
    assert_eq!(poll_flush(&mut router), OK);
    assert_eq!(router.unroutable(), 1);
    wire.set(|line| line.close_stuck = false);
    assert_eq!(poll_close(&mut router), OK);
    assert_eq!(wire.taken(), []);
}

// --- lossy ---

#[test]
fn lossy_never_waits_and_keeps_the_newest() {
    let (socket, wire) = socket(0);
    let mut sink = lossy(socket);
    for number in 0..1_000 {
        for slot in [Request, Reply] {
            let sent = sink.send(to(2, slot, number)).now_or_never();
            assert_eq!(sent, Some(Ok(())), "sending waits");
        }
    }
    wire.make_room(ENDLESS);
    assert_eq!(poll_flush(&mut sink), Poll::Ready(Ok(())));
    assert_eq!(wire.taken(), [(Request, 999), (Reply, 999)]);
    assert_eq!(wire.flushed(), 2);
}

#[test]
fn lossy_lets_to_self_go_and_takes_messages_whomever_they_are_for() {
    let (socket, wire) = socket(ENDLESS);
    let node = stream::iter([to_self(), to(2, Request, 1), to_self(), to(3, Reply, 2)]);
    let forwarded = node.map(Ok).forward(lossy(socket)).now_or_never();
    assert_eq!(forwarded, Some(Ok(())));
    assert_eq!(wire.taken(), [(Request, 1), (Reply, 2)]);
    assert!(wire.line().closed);
}

#[test]
fn an_error_of_the_sink_ends_forward() {
    for step in [Step::Ready, Step::Send, Step::Flush] {
        let (socket, wire) = socket(ENDLESS);
        wire.set(|line| line.broken = Some(step));
        let node = stream::iter([to(2, Request, 1)]).chain(stream::pending());
        let forwarded = node.map(Ok).forward(lossy(socket)).now_or_never();
        assert_eq!(forwarded, Some(Err(Broken(step))));
        // The same when the stream is never pending.
        let node = stream::repeat_with(|| to(2, Request, 1));
        let (socket, wire) = self::socket(ENDLESS);
        wire.set(|line| line.broken = Some(step));
        let forwarded = node.map(Ok).forward(lossy(socket)).now_or_never();
        assert_eq!(forwarded, Some(Err(Broken(step))));
    }
}

#[test]
fn a_socket_that_breaks_while_it_is_full_wakes_forward_and_ends_it() {
    let (socket, wire) = socket(0);
    let node = stream::iter([to(2, Request, 1)]).chain(stream::pending());
    let mut forward = pin!(node.map(Ok).forward(lossy(socket)));
    let (waker, wakes) = new_count_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(forward.as_mut().poll(&mut cx).is_pending());
    wire.set(|line| line.broken = Some(Step::Ready));
    assert_eq!(wakes.get(), 1);
    let ended = forward.as_mut().poll(&mut cx);
    assert_eq!(ended, Poll::Ready(Err(Broken(Step::Ready))));
}

#[test]
fn a_sink_that_recovers_is_used_again() {
    let alive = Arc::new(());
    let (socket, wire) = socket(ENDLESS);
    let mut sink = lossy(socket);
    wire.set(|line| line.broken = Some(Step::Ready));
    put(&mut sink, counted(2, Request, &alive));
    assert_eq!(poll_flush(&mut sink), Poll::Ready(Err(Broken(Step::Ready))));
    assert_eq!(Arc::strong_count(&alive), 1, "what waited was kept");
    assert_eq!(poll_flush(&mut sink), Poll::Ready(Ok(())));
    wire.set(|line| line.broken = None);
    put(&mut sink, to(2, Request, 2));
    assert_eq!(poll_ready(&mut sink), Poll::Ready(Ok(())));
    assert_eq!(wire.taken(), [(Request, 2)]);
}

#[test]
fn lossy_closes_after_what_waits_was_sent_and_flushed() {
    let (socket, wire) = socket(0);
    wire.set(|line| line.flush_stuck = true);
    let mut sink = lossy(socket);
    put(&mut sink, to(2, Request, 1));
    assert!(poll_close(&mut sink).is_pending());
    wire.make_room(1);
    assert!(poll_close(&mut sink).is_pending());
    assert!(!wire.line().closing, "closed before it was flushed");
    wire.set(|line| line.flush_stuck = false);
    // The socket panics at a second close and at whatever comes after it.
    for number in 2..5 {
        assert_eq!(poll_close(&mut sink), Poll::Ready(Ok(())));
        put(&mut sink, to(2, Request, number));
        assert_eq!(poll_ready(&mut sink), Poll::Ready(Ok(())));
        assert_eq!(poll_flush(&mut sink), Poll::Ready(Ok(())));
    }
    assert!(wire.line().closed);
    assert_eq!(wire.taken(), [(Request, 1)]);
    assert_eq!(wire.flushed(), 1);
}

#[test]
fn a_close_that_failed_is_over() {
    for step in [Step::Ready, Step::Send, Step::Flush, Step::Close] {
        let (socket, wire) = socket(ENDLESS);
        wire.set(|line| line.broken = Some(step));
        let mut sink = lossy(socket);
        put(&mut sink, to(2, Request, 1));
        assert_eq!(poll_close(&mut sink), Poll::Ready(Err(Broken(step))));
        assert_eq!(poll_close(&mut sink), Poll::Ready(Ok(())));
        assert!(wire.line().closed, "the sink was never closed");
    }
}

#[test]
fn both_let_go_of_what_waits_when_they_are_dropped_at_any_point() {
    let alive = Arc::new(());
    for polled in 0..4 {
        let (mut router, [_stuck]) = router([polled / 2]);
        let mut sink = lossy(socket(polled / 2).0);
        for slot in [Request, Reply] {
            put(&mut router, counted(1, slot, &alive));
            put(&mut sink, counted(1, slot, &alive));
        }
        for _ in 0..polled {
            assert_eq!(poll_flush(&mut router), OK);
            assert_eq!(poll_flush(&mut sink), Poll::Ready(Ok(())));
        }
        if polled == 3 {
            assert!(poll_close(&mut router).is_pending());
            assert!(poll_close(&mut sink).is_pending());
        }
        drop((router, sink));
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}

#[test]
fn lossy_takes_a_sink_that_is_not_unpin() {
    let taken = Mutex::new(Vec::new());
    let sink = futures::sink::unfold((), async |(), note: Note| {
        std::future::ready(()).await;
        taken.lock().unwrap().push(note.number);
        Ok::<_, Infallible>(())
    });
    let mut sink = pin!(lossy(sink));
    let _: Pin<&mut _> = sink.as_mut().get_pin_mut();
    let node = stream::iter([to(2, Request, 1), to(2, Request, 2)]);
    let forwarded = node.map(Ok).forward(sink.as_mut()).now_or_never();
    assert_eq!(forwarded, Some(Ok(())));
    assert_eq!(*taken.lock().unwrap(), [1, 2]);
}

#[test]
fn lossy_gives_its_sink_back() {
    let (socket, wire) = socket(0);
    let mut sink = lossy(socket);
    assert!(Arc::ptr_eq(&sink.get_ref().0.0, &wire.0));
    assert!(Arc::ptr_eq(&sink.get_mut().0.0, &wire.0));
    assert!(Arc::ptr_eq(&sink.into_inner().0.0, &wire.0));
}

// --- other payloads ---

/// Both let every group's newest message wait for a peer that takes none.
#[test]
fn messages_of_many_groups_wait_each_for_itself() {
    type OfGroup = (&'static str, Message<u64>);
    let ping = |group, round| -> OfGroup {
        let succession = None;
        let kind = MessageKind::Ping { round, succession };
        (group, Message::new(1, Stamp::new(0, 1), kind))
    };
    let put = || {
        let messages = [
            ping("a", 1),
            ping("b", 1),
            ping("a", 2),
            ping("c", 1),
            ping("b", 2),
        ];
        messages.map(|message| MsgRouter::ToNode(2, message))
    };
    let left = [ping("a", 2), ping("b", 2), ping("c", 1)];

    let (to_peer, at_peer) = mpsc::channel(8);
    let mut router = Router::new();
    router.insert(2, to_peer);
    for item in put() {
        Pin::new(&mut router).start_send(item).unwrap();
    }
    assert_eq!(router.close().now_or_never(), Some(Ok(())));
    assert_eq!(at_peer.collect::<Vec<_>>().now_or_never().unwrap(), left);

    let (to_peer, at_peer) = mpsc::channel(8);
    let mut sink = lossy(to_peer);
    for item in put() {
        Pin::new(&mut sink).start_send(item).unwrap();
    }
    let closed =
        Sink::<MsgRouter<u64, OfGroup>>::poll_close(Pin::new(&mut sink), &mut noop_context());
    assert!(matches!(closed, Poll::Ready(Ok(()))));
    assert_eq!(at_peer.collect::<Vec<_>>().now_or_never().unwrap(), left);
}

#[test]
fn auto_traits_are_those_of_what_is_wrapped() {
    fn check<T: Send + Sync + Unpin + 'static>() {}
    fn check_send<T: Send>(_: T) {}
    check::<Lossy<mpsc::Sender<Message>>>();
    check::<Router<u64, mpsc::Sender<Message<u64>>>>();
    let mut router = Router::<u64, mpsc::Sender<Message<u64>>>::new();
    check_send(router.failed());
}
