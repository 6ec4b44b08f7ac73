//! A node over a transport by abuse: transports that are full, broken, endless or over, nodes that never stop talking,
//! and a cluster in memory whose nodes crash, restart and wait for their disks.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures::stream::FusedStream;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use futures_test::task::{new_count_waker, noop_context};
use streamraft::{
    Command, Config, Durable, Election, Error, HardState, Inbound, LogPosition, Membership,
    MemoryStore, MemoryStoreError, Message, MessageKind, MsgRouter, Node, NodeState, NodeType,
    Over, OverError, Stamp, TinyRaft,
};

// --- the tools ---

type Item = MsgRouter<u64>;

fn state_of(term: u64) -> NodeState<u64> {
    let vote = HardState::new(term, None, Membership::initial([1, 2, 3]));
    let config = Config::with_id(1, [1, 2, 3]).unwrap().restore(vote);
    let election = Election::new(config, Instant::now()).unwrap();
    election.state().clone()
}

fn state(term: u64) -> Item {
    MsgRouter::ToSelf(state_of(term))
}

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

fn to(id: u64, message: Message<u64>) -> Item {
    MsgRouter::ToNode(id, message)
}

/// What a test sees and sets of a node.
#[derive(Default)]
struct Script {
    items: VecDeque<Item>,
    /// A new state at every poll, whatever else.
    restless: bool,
    term: u64,
    closed: bool,
    ended: bool,
    heard: Vec<Inbound<u64>>,
    waker: Option<Waker>,
}

/// A node that gives what it is told to, and panics when it is polled after its end.
struct Actor {
    script: Arc<Mutex<Script>>,
    state: NodeState<u64>,
}

impl Node for Actor {
    type Id = u64;
    type Failure = Infallible;

    fn poll_output(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Item, Infallible>>> {
        let mut script = self.script.lock().unwrap();
        assert!(!script.ended, "polled after the end");
        if let Some(item) = script.items.pop_front() {
            return Poll::Ready(Some(Ok(item)));
        }
        if script.closed {
            script.ended = true;
            return Poll::Ready(None);
        }
        if script.restless {
            script.term += 1;
            return Poll::Ready(Some(Ok(state(script.term))));
        }
        script.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn state(&self) -> &NodeState<u64> {
        &self.state
    }
}

impl Sink<Inbound<u64>> for Actor {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let closed = self.script.lock().unwrap().closed;
        Poll::Ready(if closed { Err(Error::Stopped) } else { Ok(()) })
    }

    fn start_send(self: Pin<&mut Self>, input: Inbound<u64>) -> Result<(), Error> {
        let mut script = self.script.lock().unwrap();
        assert!(!script.closed, "start_send without poll_ready");
        script.heard.push(input);
        let waker = script.waker.take();
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.script.lock().unwrap().closed = true;
        Poll::Ready(Ok(()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ready,
    Send,
    Flush,
    Receive,
}

/// The error of a transport that is broken at this step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken(Step);

/// What a test sees and sets of a transport.
#[derive(Default)]
struct Line {
    /// How many messages it takes before it is not ready.
    room: usize,
    flush_stuck: bool,
    broken: Option<Step>,
    taken: Vec<(u64, Message<u64>)>,
    flushed: usize,
    flushes: usize,
    promised: bool,
    incoming: VecDeque<Message<u64>>,
    /// Never runs out of messages.
    endless: bool,
    received: usize,
    over: bool,
    told: bool,
    waker: Option<Waker>,
}

/// The test's end of a transport.
#[derive(Clone)]
struct Wire(Arc<Mutex<Line>>);

impl Wire {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap()
    }

    /// Changes the transport and wakes who waits for it, as a real one does.
    fn set(&self, change: impl FnOnce(&mut Line)) {
        change(&mut self.line());
        let waker = self.line().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn taken(&self) -> Vec<(u64, Message<u64>)> {
        self.line().taken.clone()
    }

    /// How many messages, and how many times.
    fn flushed(&self) -> (usize, usize) {
        let line = self.line();
        (line.flushed, line.flushes)
    }
}

/// A transport that panics when it is used against the contracts of `Stream` and `Sink`.
struct Socket(Wire);

impl Stream for Socket {
    type Item = Result<(u64, Message<u64>), Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut line = self.0.line();
        assert!(!line.told, "polled after its end");
        if line.broken == Some(Step::Receive) {
            return Poll::Ready(Some(Err(Broken(Step::Receive))));
        }
        if line.endless {
            line.incoming.push_back(ping(0));
        }
        if let Some(message) = line.incoming.pop_front() {
            line.received += 1;
            return Poll::Ready(Some(Ok((2, message))));
        }
        if line.over {
            line.told = true;
            return Poll::Ready(None);
        }
        line.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Sink<(u64, Message<u64>)> for Socket {
    type Error = Broken;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut line = self.0.line();
        if line.broken == Some(Step::Ready) {
            return Poll::Ready(Err(Broken(Step::Ready)));
        }
        line.promised = line.room > 0;
        if line.promised {
            return Poll::Ready(Ok(()));
        }
        line.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn start_send(self: Pin<&mut Self>, item: (u64, Message<u64>)) -> Result<(), Broken> {
        let mut line = self.0.line();
        assert!(line.promised, "start_send without poll_ready");
        line.promised = false;
        if line.broken == Some(Step::Send) {
            return Err(Broken(Step::Send));
        }
        line.room -= 1;
        line.taken.push(item);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut line = self.0.line();
        if line.broken == Some(Step::Flush) {
            return Poll::Ready(Err(Broken(Step::Flush)));
        }
        if line.flush_stuck {
            line.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        line.flushes += 1;
        line.flushed = line.taken.len();
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        unreachable!("it is not the node's to close");
    }
}

const ENDLESS: usize = usize::MAX;

type Handle = Arc<Mutex<Script>>;

fn over(items: impl IntoIterator<Item = Item>, room: usize) -> (Over<Actor, Socket>, Handle, Wire) {
    let script = Arc::new(Mutex::new(Script {
        items: items.into_iter().collect(),
        ..Script::default()
    }));
    let line = Line {
        room,
        ..Line::default()
    };
    let wire = Wire(Arc::new(Mutex::new(line)));
    let actor = Actor {
        script: Arc::clone(&script),
        state: state_of(0),
    };
    (actor.over(Socket(wire.clone())), script, wire)
}

fn say(script: &Handle, items: impl IntoIterator<Item = Item>) {
    let mut script = script.lock().unwrap();
    script.items.extend(items);
    let waker = script.waker.take();
    waker.into_iter().for_each(Waker::wake);
}

type Fault<F = Infallible> = OverError<F, Broken>;
type Polled<F = Infallible> = Poll<Option<Result<NodeState<u64>, Fault<F>>>>;

fn poll<N: Node<Id = u64> + Unpin>(over: &mut Over<N, Socket>) -> Polled<N::Failure> {
    over.poll_next_unpin(&mut noop_context())
}

fn shows(term: u64) -> Polled {
    Poll::Ready(Some(Ok(state_of(term))))
}

fn fails(error: Fault) -> Polled {
    Poll::Ready(Some(Err(error)))
}

fn assert_auto_traits<T: Send + Sync + Unpin>() {}

#[test]
fn it_is_as_mobile_as_its_parts() {
    assert_auto_traits::<Over<TinyRaft, ()>>();
    assert_auto_traits::<Over<Durable<TinyRaft, MemoryStore>, ()>>();
    assert_auto_traits::<OverError<MemoryStoreError, std::io::Error>>();
}

// --- states ---

#[test]
fn the_first_item_is_the_present_state_and_then_come_the_changed_ones() {
    let (mut over, script, _) = over([], 0);
    assert_eq!(poll(&mut over), shows(0));
    assert_eq!(poll(&mut over), Poll::Pending);
    say(&script, [state(0), state(1), state(1), state(2)]);
    assert_eq!(poll(&mut over), shows(1));
    assert_eq!(poll(&mut over), shows(2));
    assert_eq!(poll(&mut over), Poll::Pending);
}

#[test]
fn a_stopped_node_shows_its_state_before_the_end_too() {
    let (mut over, script, _) = over([], 0);
    script.lock().unwrap().closed = true;
    assert_eq!(poll(&mut over), shows(0));
    assert_eq!(poll(&mut over), Poll::Ready(None));
}

#[test]
fn what_depends_on_a_state_is_sent_after_it_was_taken() {
    let items = [to(2, ping(0)), state(1), to(2, ping(1))];
    let (mut over, _, wire) = over(items, ENDLESS);
    assert_eq!(poll(&mut over), shows(1));
    assert_eq!(wire.taken(), [(2, ping(0))]);
    assert_eq!(poll(&mut over), Poll::Pending);
    assert_eq!(wire.taken(), [(2, ping(0)), (2, ping(1))]);
    assert_eq!(wire.line().flushed, 2);
}

// --- sending ---

#[test]
fn a_burst_is_flushed_once() {
    let items = (1..=20).map(|id| to(id, ping(0)));
    let (mut over, _, wire) = over(items, ENDLESS);
    assert_eq!(poll(&mut over), shows(0));
    assert_eq!(poll(&mut over), Poll::Pending);
    assert_eq!(wire.flushed(), (20, 1));
    assert_eq!(poll(&mut over), Poll::Pending);
    assert_eq!(wire.line().flushes, 1, "nothing was to be flushed");
}

#[test]
fn a_full_transport_does_not_hold_the_node_up_and_keeps_the_newest_of_each_slot() {
    let (mut over, script, wire) = over([], 0);
    assert_eq!(poll(&mut over), shows(0));
    for round in 1..=1_000 {
        let peers = [2, 3, 4].into_iter();
        say(
            &script,
            peers.flat_map(|id| [to(id, ping(round)), to(id, pong(round))]),
        );
        say(&script, [state(round)]);
        assert_eq!(poll(&mut over), shows(round));
    }
    assert_eq!(poll(&mut over), Poll::Pending);
    assert!(script.lock().unwrap().items.is_empty());
    wire.set(|line| line.room = 4);
    assert_eq!(poll(&mut over), Poll::Pending);
    let pings = [2, 3, 4].map(|id| (id, ping(1_000)));
    let pongs = [2, 3, 4].map(|id| (id, pong(1_000)));
    assert_eq!(wire.taken(), [&pings[..], &pongs[..1]].concat(), "in turn");
    wire.set(|line| line.room = ENDLESS);
    assert_eq!(poll(&mut over), Poll::Pending);
    assert_eq!(wire.taken(), [pings, pongs].concat());
    assert_eq!(wire.line().flushed, 6);
}

#[test]
fn a_stuck_flush_does_not_hold_the_node_up() {
    let (mut over, script, wire) = over([], ENDLESS);
    assert_eq!(poll(&mut over), shows(0));
    wire.set(|line| line.flush_stuck = true);
    for round in 1..=10 {
        say(&script, [to(2, ping(round)), state(round)]);
        assert_eq!(poll(&mut over), shows(round));
        wire.line().incoming.push_back(ping(round));
        assert_eq!(poll(&mut over), Poll::Pending);
    }
    assert_eq!(script.lock().unwrap().heard.len(), 10);
    wire.set(|line| line.flush_stuck = false);
    assert_eq!(poll(&mut over), Poll::Pending);
    assert_eq!(wire.line().flushed, 10);
}

// --- fairness ---

#[test]
fn an_endless_transport_starves_neither_the_states_nor_other_tasks() {
    let (mut over, script, wire) = over([], ENDLESS);
    wire.set(|line| line.endless = true);
    assert_eq!(poll(&mut over), shows(0));
    for term in 1..=100 {
        say(&script, [to(2, ping(term)), state(term)]);
        assert_eq!(poll(&mut over), shows(term));
    }
    let (waker, wakes) = new_count_waker();
    let before = wire.line().received;
    let polled = over.poll_next_unpin(&mut Context::from_waker(&waker));
    assert_eq!(polled, Poll::Pending);
    assert!(wakes.get() > 0, "it goes on");
    assert!(wire.line().received < before + 1_000);
    assert_eq!(wire.line().flushed, 100);
    assert!(script.lock().unwrap().heard.len() >= before);
}

#[test]
fn a_restless_node_does_not_starve_the_transport() {
    let (mut over, script, wire) = over([], 0);
    wire.set(|line| line.endless = true);
    script.lock().unwrap().restless = true;
    for round in 1..=100 {
        assert!(matches!(poll(&mut over), Poll::Ready(Some(Ok(_)))));
        assert!(wire.line().received >= round);
    }
    say(&script, [to(2, ping(0))]);
    wire.set(|line| line.room = ENDLESS);
    for _ in 0..3 {
        assert!(matches!(poll(&mut over), Poll::Ready(Some(Ok(_)))));
    }
    assert_eq!(wire.line().flushed, 1);
}

#[test]
fn an_endless_node_lets_other_tasks_run() {
    let items = (0..10_000).map(|round| to(2, ping(round)));
    let (mut over, _, _) = over(items, ENDLESS);
    let (waker, wakes) = new_count_waker();
    let polled = over.poll_next_unpin(&mut Context::from_waker(&waker));
    assert_eq!((polled, wakes.get()), (Poll::Pending, 1));
}

// --- errors ---

#[test]
fn errors_in_receiving_are_items_and_hold_nothing_up() {
    let (mut over, script, wire) = over([], ENDLESS);
    assert_eq!(poll(&mut over), shows(0));
    wire.set(|line| line.broken = Some(Step::Receive));
    let error = OverError::Receive(Broken(Step::Receive));
    assert_eq!(poll(&mut over), fails(error));
    for term in 1..=10 {
        say(&script, [to(2, ping(term)), state(term)]);
        let polled: Vec<_> = (0..3).map(|_| poll(&mut over)).collect();
        assert_eq!(polled, [fails(error), fails(error), shows(term)]);
    }
    assert!(wire.line().flushed >= 9);
    wire.set(|line| line.broken = None);
    wire.line().incoming.push_back(ping(7));
    assert_eq!(poll(&mut over), Poll::Pending);
    assert_eq!(
        script.lock().unwrap().heard,
        [Inbound::FromNode(2, ping(7))]
    );
}

#[test]
fn errors_in_sending_are_items_and_hold_nothing_up() {
    for step in [Step::Ready, Step::Send, Step::Flush] {
        let (mut over, script, wire) = over([], ENDLESS);
        assert_eq!(poll(&mut over), shows(0));
        wire.set(|line| line.broken = Some(step));
        for term in 1..=10 {
            say(&script, [to(2, ping(term)), state(term)]);
            wire.line().incoming.push_back(ping(term));
            let mut polled: Vec<_> = (0..2).map(|_| poll(&mut over)).collect();
            polled.sort_by_key(|polled| matches!(polled, Poll::Ready(Some(Err(_)))));
            let error = OverError::Send(Broken(step));
            assert_eq!(polled, [shows(term), fails(error)], "{step:?}");
            assert_eq!(poll(&mut over), Poll::Pending, "one error for one try");
        }
        assert_eq!(script.lock().unwrap().heard.len(), 10);
        wire.set(|line| line.broken = None);
        say(&script, [to(2, ping(11))]);
        assert_eq!(poll(&mut over), Poll::Pending);
        assert_eq!(wire.taken().last(), Some(&(2, ping(11))));
        assert_eq!(wire.flushed().0, wire.taken().len());
    }
}

#[test]
fn one_message_that_cannot_be_sent_costs_no_other() {
    let (mut over, script, wire) = over([], 0);
    assert_eq!(poll(&mut over), shows(0));
    say(&script, [to(2, ping(1)), to(3, ping(1))]);
    assert_eq!(poll(&mut over), Poll::Pending);
    wire.set(|line| (line.room, line.broken) = (ENDLESS, Some(Step::Send)));
    let error = OverError::Send(Broken(Step::Send));
    assert_eq!(poll(&mut over), fails(error));
    wire.set(|line| line.broken = None);
    assert_eq!(poll(&mut over), Poll::Pending);
    assert_eq!(wire.taken(), [(3, ping(1))]);
}

#[test]
fn errors_say_where_they_come_from() {
    let error: OverError<Infallible, MemoryStoreError> = OverError::Ended;
    assert!(error.to_string().contains("the transport has ended"));
    let error: OverError<std::io::Error, MemoryStoreError> =
        OverError::Node(std::io::Error::other("disk"));
    assert_eq!(error.to_string(), "the node stops: disk");
    assert!(std::error::Error::source(&error).is_some());
}

// --- the end ---

#[test]
fn a_transport_that_is_over_is_reported_and_stops_the_node() {
    let (mut over, script, wire) = over([], ENDLESS);
    assert_eq!(poll(&mut over), shows(0));
    wire.set(|line| line.over = true);
    say(&script, [state(1), to(2, ping(1))]);
    assert_eq!(poll(&mut over), fails(OverError::Ended));
    assert!(script.lock().unwrap().closed);
    assert_eq!(poll(&mut over), shows(1));
    for _ in 0..3 {
        assert_eq!(poll(&mut over), Poll::Ready(None));
        assert!(over.is_terminated());
    }
    assert_eq!(wire.taken(), [(2, ping(1))]);
    assert_eq!(wire.line().flushed, 1);
}

#[test]
fn a_stopped_node_sends_and_flushes_its_last_messages_before_the_end() {
    let (mut over, script, wire) = over([], 0);
    assert_eq!(poll(&mut over), shows(0));
    wire.set(|line| line.flush_stuck = true);
    say(&script, [state(1), to(2, ping(1)), to(3, pong(1))]);
    let closed = SinkExt::<Command<u64>>::close(&mut over).now_or_never();
    assert_eq!(closed, Some(Ok(())), "closing does not wait");
    assert_eq!(poll(&mut over), shows(1));
    assert_eq!(poll(&mut over), Poll::Pending);
    wire.line().incoming.push_back(ping(9)); // read on, and let go
    assert_eq!(poll(&mut over), Poll::Pending);
    wire.set(|line| line.room = ENDLESS);
    assert_eq!(poll(&mut over), Poll::Pending);
    assert_eq!(wire.taken(), [(2, ping(1)), (3, pong(1))]);
    wire.set(|line| line.over = true);
    assert_eq!(
        poll(&mut over),
        Poll::Pending,
        "its end is none of interest now"
    );
    assert!(!over.is_terminated());
    wire.set(|line| line.flush_stuck = false);
    for _ in 0..3 {
        assert_eq!(poll(&mut over), Poll::Ready(None));
        assert!(over.is_terminated());
    }
    assert_eq!(wire.line().flushed, 2);
    let stopped = over.send(Command::MarkAlive).now_or_never();
    assert_eq!(stopped, Some(Err(Error::Stopped)));
    assert_eq!(script.lock().unwrap().heard, []);
}

#[test]
fn a_transport_that_breaks_at_the_end_ends_too() {
    let (mut over, script, wire) = over([], ENDLESS);
    assert_eq!(poll(&mut over), shows(0));
    wire.set(|line| line.broken = Some(Step::Ready));
    say(&script, [to(2, ping(1))]);
    script.lock().unwrap().closed = true;
    let error = OverError::Send(Broken(Step::Ready));
    assert_eq!(poll(&mut over), fails(error));
    while poll(&mut over) != Poll::Ready(None) {}
}

#[test]
fn a_failing_store_ends_it_with_the_error() {
    let (plain, script, wire) = over([to(2, ping(1)), state(1), to(2, ping(2))], ENDLESS);
    let (actor, socket) = plain.into_inner();
    let disk = MemoryStore::new();
    disk.fail();
    let mut over = actor.durable(disk).over(socket);
    assert!(matches!(
        poll(&mut over),
        Poll::Ready(Some(Err(OverError::Node(_))))
    ));
    assert_eq!(
        over.send(Command::MarkAlive).now_or_never(),
        Some(Err(Error::Stopped))
    );
    let shown = poll(&mut over);
    assert!(matches!(shown, Poll::Ready(Some(Ok(state))) if state.term() == 0));
    assert_eq!(poll(&mut over), Poll::Ready(None));
    assert_eq!(wire.taken(), [(2, ping(1))], "nothing that was not saved");
    assert!(script.lock().unwrap().items.contains(&to(2, ping(2))));
}

// --- tasks ---

#[test]
fn the_node_and_the_transport_wake_the_task_that_polled_last() {
    type Change = fn(&Handle, &Wire);
    let changes: [(Change, usize); 4] = [
        (|script, _| say(script, [state(1)]), 0),
        (|_, wire| wire.set(|line| line.room = 1), 0),
        (|_, wire| wire.set(|line| line.flush_stuck = false), ENDLESS),
        (
            |_, wire| wire.set(|line| line.incoming.push_back(ping(1))),
            0,
        ),
    ];
    for (change, room) in changes {
        let (mut over, script, wire) = over([to(2, ping(1))], room);
        wire.set(|line| line.flush_stuck = true);
        assert_eq!(poll(&mut over), shows(0));
        let (first, second) = (new_count_waker(), new_count_waker());
        for (waker, _) in [&first, &second] {
            let polled = over.poll_next_unpin(&mut Context::from_waker(waker));
            assert_eq!(polled, Poll::Pending);
        }
        change(&script, &wire);
        assert_eq!((first.1.get(), second.1.get()), (0, 1));
    }
}

#[test]
fn a_command_goes_to_the_node_and_wakes_it() {
    let (mut over, script, _) = over([], 0);
    assert_eq!(poll(&mut over), shows(0));
    let (waker, wakes) = new_count_waker();
    let polled = over.poll_next_unpin(&mut Context::from_waker(&waker));
    assert_eq!(polled, Poll::Pending);
    assert_eq!(over.send(Command::Resign).now_or_never(), Some(Ok(())));
    assert_eq!(wakes.get(), 1);
    let heard = &script.lock().unwrap().heard;
    assert_eq!(*heard, [Inbound::FromSelf(Command::Resign)]);
}

#[test]
fn an_await_that_is_given_up_loses_nothing() {
    let (mut over, script, wire) = over([], 0);
    assert_eq!(over.next().now_or_never(), Some(Some(Ok(state_of(0)))));
    say(&script, [to(2, ping(1)), to(2, pong(1))]);
    for _ in 0..3 {
        assert_eq!(over.next().now_or_never(), None);
    }
    wire.set(|line| line.room = ENDLESS);
    assert_eq!(over.next().now_or_never(), None);
    assert_eq!(wire.taken(), [(2, ping(1)), (2, pong(1))]);
}

#[test]
fn dropped_at_any_point_it_takes_all_with_it_and_closes_nothing() {
    for polls in 0..8 {
        let items = [to(2, ping(1)), state(1), to(3, pong(1)), state(2)];
        let (mut over, script, wire) = over(items, polls / 4);
        for _ in 0..polls {
            let _ = poll(&mut over);
        }
        // The transport panics if it is closed.
        drop(over);
        let held = (Arc::strong_count(&script), Arc::strong_count(&wire.0));
        assert_eq!(held, (1, 1), "after {polls} polls");
        assert!(!script.lock().unwrap().closed);
    }
}

// --- a cluster ---

const TIMEOUT: Duration = Duration::from_secs(1);

/// What is on its way, and every vote that was ever given: voter and term to candidate.
#[derive(Default)]
struct Net {
    inboxes: BTreeMap<u64, UnboundedSender<(u64, Message<u64>)>>,
    votes: BTreeMap<(u64, u64), u64>,
}

/// One node's place in the net.
struct Port {
    me: u64,
    net: Arc<Mutex<Net>>,
    inbox: UnboundedReceiver<(u64, Message<u64>)>,
}

impl Stream for Port {
    type Item = Result<(u64, Message<u64>), Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inbox.poll_next_unpin(cx).map(|item| item.map(Ok))
    }
}

impl Sink<(u64, Message<u64>)> for Port {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(
        self: Pin<&mut Self>,
        (to, message): (u64, Message<u64>),
    ) -> Result<(), Infallible> {
        let mut net = self.net.lock().unwrap();
        if let MessageKind::Vote { granted: true, .. } = message.kind {
            let (voter, term) = (self.me, message.term);
            let before = net.votes.insert((voter, term), to);
            assert!(
                before.is_none_or(|before| before == to),
                "{voter} votes twice in {term}"
            );
        }
        if let Some(inbox) = net.inboxes.get(&to) {
            let _ = inbox.unbounded_send((self.me, message));
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

type Member = Over<Durable<TinyRaft<u64>, MemoryStore<u64>>, Port>;

/// Three nodes, their disks, which outlive them, and what they have shown.
struct Cluster {
    net: Arc<Mutex<Net>>,
    disks: [MemoryStore<u64>; 3],
    members: BTreeMap<u64, Member>,
    /// Of the last state that each has shown.
    shown: BTreeMap<u64, NodeState<u64>>,
    leaders: BTreeMap<u64, u64>,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self {
            net: Arc::default(),
            disks: std::array::from_fn(|_| MemoryStore::new()),
            members: BTreeMap::new(),
            shown: BTreeMap::new(),
            leaders: BTreeMap::new(),
        };
        (1..=3).for_each(|id| cluster.start(id));
        cluster
    }

    fn disk(&self, id: u64) -> &MemoryStore<u64> {
        &self.disks[usize::try_from(id).unwrap() - 1]
    }

    fn start(&mut self, id: u64) {
        let mut config = Config::with_id(id, [1, 2, 3]).unwrap();
        config = config.election_timeout(TIMEOUT).seed(id);
        if let Some(saved) = self.disk(id).saved() {
            config = config.restore(saved);
        }
        let (outside, inbox) = mpsc::unbounded();
        self.net.lock().unwrap().inboxes.insert(id, outside);
        let net = Arc::clone(&self.net);
        let port = Port { me: id, net, inbox };
        let node = TinyRaft::new(config).unwrap();
        let member = node.durable(self.disk(id).clone()).over(port);
        self.members.insert(id, member);
    }

    fn crash(&mut self, id: u64) {
        self.members.remove(&id);
        self.shown.remove(&id);
        self.net.lock().unwrap().inboxes.remove(&id);
    }

    /// Who says that it leads, lease and all, at this instant.
    fn leading(&self) -> Vec<u64> {
        let nodes = self.members.iter();
        let leading = nodes.filter(|(_, member)| member.get_ref().get_ref().is_leader());
        leading.map(|(id, _)| *id).collect()
    }

    fn show(&mut self, id: u64, state: NodeState<u64>) {
        let saved = self.disk(id).saved().map_or(0, |saved| saved.term());
        assert!(saved >= state.term(), "{id} shows what is not saved");
        if state.node_type() == NodeType::Leader {
            let leader = *self.leaders.entry(state.term()).or_insert(id);
            assert_eq!(leader, id, "two leaders in term {}", state.term());
        }
        self.shown.insert(id, state);
    }

    async fn run(&mut self, time: Duration) {
        let mut end = pin!(tokio::time::sleep(time));
        std::future::poll_fn(|cx| {
            loop {
                let mut items = Vec::new();
                for (id, member) in &mut self.members {
                    if let Poll::Ready(item) = member.poll_next_unpin(cx) {
                        items.push((*id, item.expect("it ended").expect("it failed")));
                    }
                }
                assert!(self.leading().len() < 2, "two leases at once");
                if items.is_empty() {
                    return end.as_mut().poll(cx);
                }
                items
                    .into_iter()
                    .for_each(|(id, state)| self.show(id, state));
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_nodes_elect_and_stop() {
    let mut cluster = Cluster::new();
    cluster.run(4 * TIMEOUT).await;
    let [leader] = cluster.leading()[..] else {
        panic!("nobody leads: {:?}", cluster.shown);
    };
    for state in cluster.shown.values() {
        assert_eq!(state.leader(), Some(&leader));
    }
    let member = cluster.members.get_mut(&leader).unwrap();
    member.send(Command::Stop).await.unwrap();
    let last = member.next().await.unwrap().unwrap();
    assert_eq!((last.node_type(), last.lease()), (NodeType::Follower, None));
    assert!(member.next().await.is_none());
    cluster.crash(leader);
    cluster.run(TIMEOUT / 2).await;
    assert_eq!(cluster.leading().len(), 1, "it was handed over");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_restart_from_their_disks_never_vote_twice() {
    let mut random = 1_u64;
    let mut draw = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut cluster = Cluster::new();
    for _ in 0..1_500 {
        let id = 1 + draw(3);
        match draw(5) {
            0 | 1 => cluster.crash(id),
            2 => cluster.disk(id).stall(),
            _ => cluster.disk(id).recover(),
        }
        cluster.run(Duration::from_millis(draw(1_500))).await;
        if !cluster.members.contains_key(&id) && draw(2) == 0 {
            cluster.start(id);
        }
        for id in 1..=3 {
            if !cluster.members.contains_key(&id) && draw(4) == 0 {
                cluster.start(id);
            }
        }
    }
    for id in 1..=3 {
        cluster.crash(id);
        cluster.disk(id).recover();
        cluster.start(id);
    }
    cluster.run(5 * TIMEOUT).await;
    assert_eq!(cluster.leading().len(), 1);
    let (terms, votes) = (
        cluster.leaders.len(),
        cluster.net.lock().unwrap().votes.len(),
    );
    assert!(terms > 50 && votes > 50, "{terms} terms, {votes} votes");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_disk_stalls_prolongs_no_lease_and_others_take_over() {
    let mut cluster = Cluster::new();
    cluster.run(4 * TIMEOUT).await;
    let old = cluster.leading()[0];
    let disk = cluster.disk(old).clone();
    let lease = |cluster: &Cluster| {
        let node = cluster.members[&old].get_ref().get_ref();
        node.state().lease()
    };

    disk.stall();
    cluster.run(4 * TIMEOUT).await;
    assert_eq!(cluster.leading(), [old], "there is nothing to save");

    // One voter less: a membership that has to be saved.
    let member = cluster.members.get_mut(&old).unwrap();
    let stays = if old == 1 { 2 } else { 1 };
    member.get_mut().get_mut().set_nodes([old, stays]).unwrap();
    let latest = tokio::time::Instant::now().into_std() + TIMEOUT;
    cluster.run(3 * TIMEOUT).await;
    assert!(lease(&cluster).is_none_or(|end| end <= latest));
    let [new] = cluster.leading()[..] else {
        panic!("nobody took over: {:?}", cluster.shown);
    };
    assert_ne!(new, old);
    let shown = &cluster.shown[&old];
    assert_eq!(
        shown.node_type(),
        NodeType::Leader,
        "its disk holds that up"
    );
    assert!(!shown.is_leader_at(tokio::time::Instant::now().into_std()));

    disk.recover();
    cluster.run(2 * TIMEOUT).await;
    assert_eq!(cluster.shown[&old].leader(), Some(&new));
    assert_eq!(cluster.leading(), [new]);
}

// --- over a mesh, on the loopback interface ---

#[cfg(feature = "tcp")]
mod mesh {
    use std::net::{Ipv4Addr, SocketAddr};

    use futures::TryStreamExt;
    use streamraft::codec::Hello;
    use streamraft::{Mesh, MeshBuilder, MeshError};

    use super::*;

    /// For how long anything is waited for. Nothing takes that long on a machine that works.
    const PATIENCE: Duration = Duration::from_secs(30);

    type Member = Over<TinyRaft<u64>, Mesh<u64>>;

    /// Nodes that know each other's addresses.
    fn members<const N: usize>(
        ids: [u64; N],
        settings: impl Fn(u64, MeshBuilder<u64>) -> MeshBuilder<u64>,
    ) -> BTreeMap<u64, Member> {
        let mut members: BTreeMap<u64, Member> = BTreeMap::new();
        for id in ids {
            let builder = Mesh::builder(Hello::new("", id))
                .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            let mut mesh = settings(id, builder).build().unwrap();
            for (peer, member) in &mut members {
                mesh.insert_peer(*peer, member.transport().local_addr().unwrap());
                let addr = mesh.local_addr().unwrap();
                member.transport_mut().insert_peer(id, addr);
            }
            let config = Config::with_id(id, ids).unwrap().bootstrap();
            let config = config.election_timeout(Duration::from_millis(300));
            let node = TinyRaft::new(config.heartbeat_interval(Duration::from_millis(30)));
            members.insert(id, node.unwrap().over(mesh));
        }
        members
    }

    type Fault = OverError<Infallible, MeshError<u64>, Infallible>;

    /// What the one-line loop of each of them does until one has a lease.
    async fn leader(members: &mut BTreeMap<u64, Member>) -> Result<u64, Fault> {
        let search = std::future::poll_fn(|cx| {
            for (id, member) in &mut *members {
                while let Poll::Ready(state) = member.try_poll_next_unpin(cx)? {
                    if state.expect("nobody stops it").lease().is_some() {
                        return Poll::Ready(Ok(*id));
                    }
                }
            }
            Poll::Pending
        });
        tokio::time::timeout(PATIENCE, search)
            .await
            .expect("a leader")
    }

    #[tokio::test]
    async fn a_loop_that_ends_at_the_first_error_outlives_lost_connections() {
        let mut members = members([1, 2, 3], |_, builder| builder);
        let first = leader(&mut members).await.unwrap();
        members.remove(&first);
        let second = leader(&mut members).await.unwrap();
        assert_ne!(first, second);
        let stats = members[&second].transport().stats();
        assert_eq!(stats.lost, 1, "{stats:?}");
    }

    #[tokio::test]
    async fn losses_are_items_for_who_asks_for_them() {
        let mut members = members([1, 2, 3], |_, builder| builder.report_transient(true));
        let first = leader(&mut members).await.unwrap();
        members.remove(&first);
        let Err(OverError::Receive(lost)) = leader(&mut members).await else {
            panic!("a leader before the loss was told");
        };
        assert_eq!((lost.lost(), lost.is_transient()), (Some(&first), true));
    }

    #[tokio::test]
    async fn what_nobody_mends_is_an_error_and_the_stream_goes_on() {
        let limit = |id, builder: MeshBuilder<u64>| match id {
            1 => builder.max_frame_len(8),
            _ => builder,
        };
        let mut members = members([1, 2], limit);
        for _ in 0..2 {
            let Err(OverError::Receive(error)) = leader(&mut members).await else {
                panic!("it leads without a word");
            };
            assert!(matches!(error, MeshError::NotSent { peer: 2, .. }));
            assert!(!error.is_transient());
        }
    }

    fn ping(round: u64) -> (u64, Message<u64>) {
        (2, super::ping(round))
    }

    #[tokio::test]
    async fn a_mesh_wakes_the_task_that_polled_last_and_ends_for_good_though_a_close_was_given_up()
    {
        let mut meshes = members([1, 2], |_, builder| builder).into_values();
        let mut next = || meshes.next().unwrap().into_inner().1;
        let (mut one, mut two) = (next(), next());
        let both = std::future::poll_fn(|cx| {
            let polled = (one.poll_next_unpin(cx), two.poll_next_unpin(cx));
            assert!(polled.0.is_pending() && polled.1.is_pending());
            let connected = one.connected().count() + two.connected().count();
            if connected == 2 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        tokio::time::timeout(PATIENCE, both)
            .await
            .expect("connected");

        let tasks = (new_count_waker(), new_count_waker());
        for (waker, _) in [&tasks.0, &tasks.1] {
            assert!(
                two.poll_next_unpin(&mut Context::from_waker(waker))
                    .is_pending()
            );
        }
        let before = (tasks.0.1.get(), tasks.1.1.get());
        assert_eq!(one.send(ping(7)).now_or_never(), Some(Ok(())));
        let woken = async {
            while tasks.1.1.get() == before.1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, woken).await.expect("a wake");
        assert_eq!(tasks.0.1.get(), before.0, "the first task polled before");
        let heard = tokio::time::timeout(PATIENCE, two.try_next()).await;
        assert_eq!(heard.unwrap().unwrap(), Some((1, super::ping(7))));

        // The other side is not polled, so it does not close.
        for _ in 0..3 {
            assert_eq!(one.close().now_or_never(), None);
            assert!(one.is_terminated());
            assert!(one.next().now_or_never().is_some_and(|item| item.is_none()));
        }
        tokio::select! {
            closed = one.close() => assert_eq!(closed, Ok(())),
            item = two.next() => panic!("{item:?}"),
        }
    }
}
