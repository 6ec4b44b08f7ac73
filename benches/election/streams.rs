//! A cluster of nodes, through their streams and sinks.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::noop_waker_ref;
use futures::{Sink, Stream};
use streamraft::{Inbound, Message, MessageKind, MsgRouter, TinyRaft};
use tokio::runtime::{Builder, EnterGuard, Runtime};

use crate::ids::{BenchId, configs, ids};

/// The default of the settings.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);

/// By then the first node of a fresh cluster campaigns, and no other does yet.
const FIRST_TURN: Duration = Duration::from_millis(30);

const ROUNDS_TO_SETTLE: usize = 300;

/// tokio's clock and timers.
pub(crate) struct Clock(Runtime);

impl Clock {
    pub(crate) fn paused() -> Self {
        let mut builder = Builder::new_current_thread();
        Self(
            builder
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime"),
        )
    }

    pub(crate) fn real() -> Self {
        let mut builder = Builder::new_current_thread();
        Self(builder.enable_time().build().expect("a runtime"))
    }

    fn enter(&self) -> EnterGuard<'_> {
        self.0.enter()
    }

    /// Moves a paused clock, and lets the timers ring.
    pub(crate) fn advance(&self, time: Duration) {
        self.0.block_on(tokio::time::advance(time));
    }

    fn wait(&self, time: Duration) {
        self.0.block_on(async { tokio::time::sleep(time).await });
    }
}

pub(crate) struct Cluster<'a, I: BenchId> {
    clock: &'a Clock,
    ids: Vec<I>,
    nodes: Vec<TinyRaft<I>>,
    post: VecDeque<(usize, usize, Message<I>)>,
}

impl<'a, I: BenchId> Cluster<'a, I> {
    fn fresh(clock: &'a Clock, nodes: u64) -> Self {
        let _guard = clock.enter();
        let node = |config| TinyRaft::new(config).expect("good settings");
        let mut cluster = Self {
            clock,
            ids: ids(nodes),
            nodes: configs(nodes).into_iter().map(node).collect(),
            post: VecDeque::with_capacity(64),
        };
        for at in 0..cluster.nodes.len() {
            cluster.poll(at);
        }
        cluster
    }

    /// Clusters that have never run, at a moment at which the first node of each is to campaign.
    pub(crate) fn due(clock: &'a Clock, nodes: u64, count: usize) -> Vec<Self> {
        let clusters = (0..count).map(|_| Self::fresh(clock, nodes)).collect();
        clock.advance(FIRST_TURN);
        clusters
    }

    /// Clusters that have had a leader, the first node of each, for long.
    pub(crate) fn at_work(clock: &'a Clock, nodes: u64, count: usize) -> Vec<Self> {
        let mut clusters = Self::due(clock, nodes, count);
        clusters.iter_mut().for_each(Self::elect);
        for _ in 0..ROUNDS_TO_SETTLE {
            clock.advance(HEARTBEAT);
            clusters.iter_mut().for_each(Self::heartbeat);
        }
        clusters
    }

    /// The first node campaigns and wins, and everyone answers it.
    pub(crate) fn elect(&mut self) {
        let _guard = self.clock.enter();
        self.pump(0);
        let leader = &self.nodes[0];
        assert!(leader.is_leader(), "nobody stands against it");
        assert_eq!(leader.state().followers().len() + 1, self.nodes.len());
    }

    /// The leader pings, since its time has come, and everyone answers.
    pub(crate) fn heartbeat(&mut self) {
        let _guard = self.clock.enter();
        let before = self.nodes[0].state().lease();
        self.pump(0);
        let after = self.nodes[0].state().lease();
        assert!(after > before, "a round prolongs the lease");
    }

    /// Polls this node and whoever is sent something, until all is said.
    fn pump(&mut self, first: usize) {
        self.poll(first);
        while let Some((from, to, message)) = self.post.pop_front() {
            let from = self.ids[from].clone();
            put(&mut self.nodes[to], from, message);
            self.poll(to);
        }
    }

    fn poll(&mut self, at: usize) {
        while let Some(output) = take(&mut self.nodes[at]) {
            if let MsgRouter::ToNode(to, message) = output {
                let to = self.ids.iter().position(|id| *id == to);
                self.post.push_back((at, to.expect("a member"), message));
            }
        }
    }
}

fn put<I: BenchId>(node: &mut TinyRaft<I>, from: I, message: Message<I>) {
    let mut context = Context::from_waker(noop_waker_ref());
    let ready = Pin::new(&mut *node).poll_ready(&mut context);
    assert!(matches!(ready, Poll::Ready(Ok(()))), "it always is");
    Pin::new(node)
        .start_send(Inbound::FromNode(from, message))
        .expect("a node that takes input");
}

/// The next item, or nothing if the stream is pending.
fn take<I: BenchId>(node: &mut TinyRaft<I>) -> Option<MsgRouter<I>> {
    let mut context = Context::from_waker(noop_waker_ref());
    match Pin::new(node).poll_next(&mut context) {
        Poll::Ready(item) => Some(item.expect("a node that runs")),
        Poll::Pending => None,
    }
}

/// One node of three that follows a leader, and that leader's `Ping`.
pub(crate) struct Follower<'a, I: BenchId> {
    _guard: EnterGuard<'a>,
    node: TinyRaft<I>,
    leader: I,
    ping: Message<I>,
}

impl<'a, I: BenchId> Follower<'a, I> {
    /// Waits for a real heartbeat.
    pub(crate) fn new(clock: &'a Clock) -> Self {
        let mut cluster = Cluster::<I>::fresh(clock, 3);
        clock.wait(FIRST_TURN);
        cluster.elect();
        for _ in 0..2 {
            clock.wait(HEARTBEAT);
            cluster.heartbeat();
        }
        clock.wait(HEARTBEAT);
        let _guard = clock.enter();
        cluster.poll(0);
        let pings = cluster.post.iter().filter(|(_, to, _)| *to == 1);
        let ping = pings.map(|(_, _, message)| message.clone()).next();
        let ping = ping.expect("a heartbeat is due");
        assert!(matches!(ping.kind, MessageKind::Ping { .. }) && ping.membership.is_none());
        Self {
            _guard,
            node: cluster.nodes.swap_remove(1),
            leader: cluster.ids.swap_remove(0),
            ping,
        }
    }

    /// The `Ping` goes into the sink.
    pub(crate) fn take(&mut self) {
        put(&mut self.node, self.leader.clone(), self.ping.clone());
    }

    /// The `Pong` comes out of the stream, which is pending then.
    pub(crate) fn answer(&mut self) -> MsgRouter<I> {
        let pong = take(&mut self.node).expect("an answer");
        assert!(take(&mut self.node).is_none(), "one answer");
        pong
    }
}
