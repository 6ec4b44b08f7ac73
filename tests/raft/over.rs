//! A node with a log over a transport: clusters in memory on virtual time, transports that are stuck, broken, endless or over.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FusedStream, select_all};
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use futures_test::task::{new_count_waker, noop_context};
use streamraft::raft::{
    Applied, AppliedStream, Client, ClientError, FailureKind, LogLimits, Raft, RaftMessage,
    RaftOver,
};
use streamraft::{Command, Error, NodeType, OverError};

use crate::ms;
use crate::node::{Troubled, config};

type Letter = (u64, RaftMessage<u64>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Receiving,
    Sending,
}

/// What a test sees and sets of one node's transport.
#[derive(Default)]
struct Line {
    inbox: VecDeque<Letter>,
    /// It takes nothing.
    stuck: bool,
    broken: Option<Broken>,
    /// Never runs out of messages.
    endless: bool,
    over: bool,
    told: bool,
    /// Of the tasks that wait to receive and to send.
    wakers: Vec<Waker>,
}

type Lines = Rc<RefCell<BTreeMap<u64, Line>>>;

/// One node's transport, which panics when it is used against the contracts of `Stream` and `Sink`.
struct Port {
    me: u64,
    lines: Lines,
    promised: bool,
    /// Leaves when it is flushed.
    unsent: Vec<Letter>,
}

fn with<T>(lines: &Lines, id: u64, act: impl FnOnce(&mut Line) -> T) -> T {
    let mut lines = lines.borrow_mut();
    let line = lines.entry(id).or_default();
    let value = act(line);
    line.wakers.drain(..).for_each(Waker::wake);
    value
}

impl Port {
    fn line<T>(&self, act: impl FnOnce(&mut Line) -> T) -> T {
        act(self.lines.borrow_mut().entry(self.me).or_default())
    }
}

impl Stream for Port {
    type Item = Result<Letter, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.line(|line| {
            assert!(!line.told, "polled after its end");
            if line.broken == Some(Broken::Receiving) {
                return Poll::Ready(Some(Err(Broken::Receiving)));
            }
            if let Some(letter) = line.inbox.pop_front() {
                return Poll::Ready(Some(Ok(letter)));
            }
            if line.endless {
                let stranger = crate::one::One::new(3).ack(0);
                return Poll::Ready(Some(Ok((2, stranger))));
            }
            if line.over {
                line.told = true;
                return Poll::Ready(None);
            }
            line.wakers.push(cx.waker().clone());
            Poll::Pending
        })
    }
}

impl Sink<Letter> for Port {
    type Error = Broken;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let polled = self.line(|line| {
            if line.broken == Some(Broken::Sending) {
                return Poll::Ready(Err(Broken::Sending));
            }
            if line.stuck {
                line.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        });
        self.promised = polled == Poll::Ready(Ok(()));
        polled
    }

    fn start_send(mut self: Pin<&mut Self>, letter: Letter) -> Result<(), Broken> {
        assert!(self.promised, "start_send without poll_ready");
        self.promised = false;
        self.unsent.push(letter);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let (me, lines) = (self.me, Rc::clone(&self.lines));
        for (to, message) in self.unsent.drain(..) {
            with(&lines, to, |line| line.inbox.push_back((me, message)));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        unreachable!("it is not the node's to close");
    }
}

type Node = RaftOver<Troubled, u64, Port>;

fn node(id: u64, count: u64, lines: &Lines) -> Node {
    let raft = Raft::new(config(id, count), LogLimits::default(), Troubled::default());
    let lines = Rc::clone(lines);
    let promised = false;
    raft.unwrap().over(Port {
        me: id,
        lines,
        promised,
        unsent: Vec::new(),
    })
}

fn three(lines: &Lines) -> [Node; 3] {
    [1, 2, 3].map(|id| node(id, 3, lines))
}

/// Drives nodes until something else is done.
async fn until<T>(nodes: &mut [Node], other: impl Future<Output = T>) -> T {
    let all = async {
        let mut all = select_all(nodes.iter_mut());
        while all.next().await.is_some() {}
        std::future::pending::<()>().await;
    };
    let done = async {
        tokio::select! { value = other => value, () = all => unreachable!() }
    };
    let done = tokio::time::timeout(Duration::from_secs(60), done).await;
    done.expect("it is done in time")
}

async fn run(nodes: &mut [Node], time: Duration) {
    until(nodes, tokio::time::sleep(time)).await;
}

fn leaders(nodes: &[Node]) -> Vec<u64> {
    let raft = nodes.iter().map(RaftOver::get_ref);
    let leads = raft.filter(|raft| raft.state().node_type() == NodeType::Leader);
    leads.map(|raft| *raft.node_id()).collect()
}

fn client(node: &Node) -> Client<u64> {
    node.get_ref().client()
}

fn poll(node: &mut Node) -> Poll<Option<<Node as Stream>::Item>> {
    node.poll_next_unpin(&mut noop_context())
}

#[tokio::test(start_paused = true)]
async fn it_elects_commits_and_applies_everywhere() {
    let lines = Lines::default();
    let mut nodes = three(&lines);
    let mut streams = [0, 1, 2].map(|place: usize| nodes[place].get_mut().applied(0));
    run(&mut nodes, ms(100)).await;
    assert_eq!(leaders(&nodes), [1]);
    let client = client(&nodes[0]);
    let proposals = join_all((0..200_u8).map(|number| client.propose(vec![number])));
    let machines = join_all(streams.iter_mut().map(apply_200));
    let both = async { tokio::join!(proposals, machines) };
    let (indices, seen) = until(&mut nodes, both).await;
    let mut indices: Vec<u64> = indices.into_iter().map(Result::unwrap).collect();
    indices.sort();
    assert_eq!(indices, (2..=201).collect::<Vec<_>>());
    assert!(seen.iter().all(|log| *log == seen[0]));
}

async fn apply_200(stream: &mut AppliedStream) -> Vec<Applied> {
    let log = stream.by_ref().take(200).collect().await;
    // Comes back for more: all of it is applied.
    assert!(tokio::time::timeout(ms(100), stream.next()).await.is_err());
    log
}

#[tokio::test(start_paused = true)]
async fn the_first_item_is_the_present_state_and_then_come_the_changed_ones() {
    let lines = Lines::default();
    let mut node = node(1, 1, &lines);
    let mut shown = Vec::new();
    let ended = tokio::time::timeout(ms(500), async {
        while let Some(state) = node.next().await {
            shown.push(state.unwrap());
        }
    });
    assert!(ended.await.is_err());
    assert!(shown.windows(2).all(|two| two[0] != two[1]), "{shown:?}");
    assert_eq!(shown.last().unwrap().node_type(), NodeType::Leader);
    // Of one that does nothing yet.
    let mut node = self::node(2, 3, &lines);
    let first = poll(&mut node);
    assert!(matches!(first, Poll::Ready(Some(Ok(state))) if state.leader().is_none()));
    assert!(poll(&mut node).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_node_hands_over_and_ends() {
    let lines = Lines::default();
    let mut nodes = three(&lines);
    run(&mut nodes, ms(100)).await;
    let asks = client(&nodes[0]);
    until(&mut nodes, asks.propose("x")).await.unwrap();
    run(&mut nodes, ms(100)).await;
    let closed = SinkExt::<Command<u64>>::close(&mut nodes[0]).now_or_never();
    assert_eq!(closed, Some(Ok(())), "closing does not wait");
    run(&mut nodes, ms(60)).await;
    assert!(nodes[0].is_terminated());
    assert!(matches!(poll(&mut nodes[0]), Poll::Ready(None)));
    let others = leaders(&nodes);
    assert!(matches!(others[..], [2 | 3]), "at once: {others:?}");
    let stopped = nodes[0].send(Command::Resign).now_or_never();
    assert_eq!(stopped, Some(Err(Error::Stopped)));
    assert_eq!(asks.propose("y").await, Err(ClientError::Stopped));
    // Of those that are left one leads on, and the store is given back.
    let [one, two, three] = nodes;
    let (raft, _) = one.into_inner();
    assert_eq!(raft.into_store().trouble.borrow().fails, None);
    let mut rest = [two, three];
    let asks = rest.each_ref().map(client);
    let proposals = async { join_all(asks.iter().map(|asks| asks.propose("z"))).await };
    let taken = until(&mut rest, proposals).await;
    assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_waits_for_a_transport_that_takes_nothing() {
    let lines = Lines::default();
    let mut nodes = three(&lines);
    run(&mut nodes, ms(100)).await;
    with(&lines, 1, |line| line.stuck = true);
    nodes[0].get_mut().stop();
    run(&mut nodes, ms(20)).await;
    assert!(!nodes[0].is_terminated(), "it has something to say");
    with(&lines, 1, |line| line.stuck = false);
    run(&mut nodes, ms(1)).await;
    assert!(nodes[0].is_terminated());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_transport_stops_no_timer_and_when_it_moves_the_node_catches_up() {
    let lines = Lines::default();
    let mut nodes = three(&lines);
    run(&mut nodes, ms(100)).await;
    let asks = client(&nodes[0]);
    let index = until(&mut nodes, asks.propose("x")).await.unwrap();
    with(&lines, 1, |line| line.stuck = true);
    // What it takes meanwhile is bounded, and is not committed.
    let more = join_all((0..10).map(|_| asks.propose(vec![0; 1 << 20])));
    let lost = until(&mut nodes, more).await;
    assert!(
        lost.iter()
            .all(|lost| matches!(lost, Err(ClientError::Unknown { .. }))),
        "{lost:?}"
    );
    run(&mut nodes, ms(1_000)).await;
    let others = leaders(&nodes);
    assert!(matches!(others[..], [2 | 3]), "{others:?}");
    let leader = usize::try_from(others[0]).unwrap() - 1;
    let asks = client(&nodes[leader]);
    let newer = until(&mut nodes, asks.propose("y")).await.unwrap();
    assert!(newer > index);
    with(&lines, 1, |line| line.stuck = false);
    run(&mut nodes, ms(500)).await;
    let commits = nodes.each_ref().map(|node| node.get_ref().log().commit());
    assert_eq!(leaders(&nodes).len(), 1);
    assert!(
        commits[0] >= newer && commits.iter().all(|commit| *commit == commits[0]),
        "{commits:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn errors_of_a_transport_are_items_and_the_stream_goes_on() {
    for broken in [Broken::Receiving, Broken::Sending] {
        let lines = Lines::default();
        let mut nodes = three(&lines);
        run(&mut nodes, ms(100)).await;
        with(&lines, 1, |line| line.broken = Some(broken));
        let mut errors = 0;
        let time = tokio::time::sleep(ms(1_000));
        let mut time = std::pin::pin!(time);
        while errors < 100_000 {
            let [first, rest @ ..] = &mut nodes;
            tokio::select! {
                // It gives nothing but errors: time goes on as often as it is asked.
                biased;
                () = &mut time => break,
                item = first.next() => match item {
                    Some(Err(OverError::Receive(error) | OverError::Send(error))) => {
                        assert_eq!(error, broken);
                        errors += 1;
                        tokio::time::sleep(ms(1)).await;
                    }
                    Some(Ok(_)) => {}
                    other => panic!("{other:?}"),
                },
                () = async { while select_all(rest.iter_mut()).next().await.is_some() {} } => {}
            }
        }
        assert!(errors > 1, "{broken:?}");
        assert!(!leaders(&nodes).contains(&1), "{broken:?}: its timers run");
        with(&lines, 1, |line| line.broken = None);
        run(&mut nodes, ms(1_000)).await;
        let [leader] = leaders(&nodes)[..] else {
            panic!("{broken:?}");
        };
        let asks = client(&nodes[usize::try_from(leader).unwrap() - 1]);
        let index = until(&mut nodes, asks.propose("x")).await.unwrap();
        run(&mut nodes, ms(100)).await;
        let log = nodes[0].get_ref().log();
        assert_eq!(log.commit(), index, "{broken:?}: it takes part again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_is_over_is_reported_and_stops_the_node() {
    let lines = Lines::default();
    let mut nodes = three(&lines);
    run(&mut nodes, ms(100)).await;
    let asks = client(&nodes[0]);
    with(&lines, 1, |line| line.over = true);
    let mut items = Vec::new();
    while let Some(item) = nodes[0].next().await {
        items.push(item);
    }
    assert!(nodes[0].is_terminated());
    let ended = |item: &&<Node as Stream>::Item| matches!(item, Err(OverError::Ended));
    assert_eq!(items.iter().filter(ended).count(), 1, "{items:?}");
    assert!(matches!(items.last(), Some(Ok(state)) if state.node_type() != NodeType::Leader));
    assert_eq!(asks.propose("x").await, Err(ClientError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_store_without_room_is_an_item_and_one_that_fails_is_the_last_but_for_the_end() {
    let lines = Lines::default();
    let mut node = node(1, 1, &lines);
    let trouble = Rc::clone(&node.get_ref().store().trouble);
    run(std::slice::from_mut(&mut node), ms(500)).await;
    let asks = client(&node);
    trouble.borrow_mut().fails = Some(FailureKind::Full);
    let mut proposing = std::pin::pin!(asks.propose("x"));
    let mut full = 0;
    while full < 3 {
        tokio::select! {
            item = node.next() => match item {
                Some(Err(OverError::Node(failure))) => {
                    assert_eq!(failure.kind(), FailureKind::Full);
                    full += 1;
                }
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            },
            taken = &mut proposing, if full == 0 => assert!(taken.is_err()),
        }
    }
    trouble.borrow_mut().fails = None;
    run(std::slice::from_mut(&mut node), ms(1_000)).await;
    assert_eq!(leaders(std::slice::from_ref(&node)), [1]);

    trouble.borrow_mut().fails = Some(FailureKind::Damaged);
    let mut proposing = std::pin::pin!(asks.propose("y"));
    assert!(proposing.as_mut().now_or_never().is_none());
    let mut items = Vec::new();
    while let Some(item) = node.next().await {
        items.push(item);
    }
    let failed = |item: &&<Node as Stream>::Item| matches!(item, Err(OverError::Node(_)));
    assert_eq!(items.iter().filter(failed).count(), 1, "{items:?}");
    assert!(node.is_terminated());
}

#[test]
fn an_endless_transport_lets_other_tasks_run() {
    let lines = Lines::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let mut node = node(1, 3, &lines);
    assert!(matches!(poll(&mut node), Poll::Ready(Some(Ok(_)))));
    with(&lines, 1, |line| line.endless = true);
    let (waker, wakes) = new_count_waker();
    let mut polls = (0..9).map(|_| node.poll_next_unpin(&mut Context::from_waker(&waker)));
    assert!(polls.any(|polled| polled.is_pending()));
    assert!(wakes.get() > 0, "it goes on");
}

#[tokio::test(start_paused = true)]
async fn a_node_with_much_to_say_lets_other_tasks_run_and_goes_on() {
    let lines = Lines::default();
    let mut node = node(1, 200, &lines);
    let (waker, wakes) = new_count_waker();
    let _ = poll(&mut node);
    // It campaigns: nobody wakes it while it asks one after the other.
    tokio::time::advance(ms(400)).await;
    loop {
        let before = wakes.get();
        let polled = node.poll_next_unpin(&mut Context::from_waker(&waker));
        if polled.is_pending() && wakes.get() == before {
            break;
        }
    }
    let heard = (2..=200).filter(|id| with(&lines, *id, |line| !line.inbox.is_empty()));
    assert_eq!(heard.count(), 199);
}

#[tokio::test(start_paused = true)]
async fn commands_go_in_and_wake_it() {
    let lines = Lines::default();
    let mut nodes = three(&lines);
    run(&mut nodes, ms(100)).await;
    let wakes = {
        let (waker, wakes) = new_count_waker();
        let polled = nodes[0].poll_next_unpin(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        wakes
    };
    let before = wakes.get();
    let sent = nodes[0].send(Command::Resign).now_or_never();
    assert_eq!(sent, Some(Ok(())));
    assert!(wakes.get() > before);
    run(&mut nodes, ms(100)).await;
    assert!(matches!(leaders(&nodes)[..], [2 | 3]));
}
