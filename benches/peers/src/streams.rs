//! streamraft's nodes through their streams and sinks, on tokio's timers and the real clock.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use futures::task::noop_waker_ref;
use futures::{Sink, Stream};
use streamraft::{Config, Inbound, Message, MsgRouter, NodeId, TinyRaft};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{unconstrained, yield_now};

use crate::callgrind::measured;
use crate::election::core::{BenchId, configs};

/// Shorter than the default, so that less time is spent waiting for it. What a round costs does not depend on it.
pub const HEARTBEAT: Duration = Duration::from_millis(50);

/// Longer than the default, so that no cluster has another leader when the machine has no time for it.
const PATIENCE: Duration = Duration::from_secs(5);

const SPREAD: Duration = Duration::from_secs(1);

/// By then the first node of a fresh cluster campaigns, and no other does yet.
const FIRST_TURN: Duration = Duration::from_millis(30);

/// tokio's default.
pub const EVENT_INTERVAL: u32 = 61;

/// tokio's timers ring up to so much later than they are set to.
const TICK: Duration = Duration::from_millis(2);

/// A runtime of one thread, on the real clock, that looks at its timers after so many turns of tasks or when idle.
pub fn runtime(event_interval: u32) -> Runtime {
    let mut builder = Builder::new_current_thread();
    let builder = builder.enable_time().event_interval(event_interval);
    builder.build().expect("a runtime")
}

struct Cluster {
    ids: Vec<NodeId>,
    nodes: Vec<TinyRaft>,
    post: VecDeque<(usize, usize, Message)>,
}

impl Cluster {
    /// The nodes are made by `start`: what they allocate can be counted apart from what carries their messages.
    fn empty(nodes: u64) -> Self {
        Self {
            ids: (1..=nodes).map(NodeId::number).collect(),
            nodes: Vec::with_capacity(nodes as usize),
            post: VecDeque::with_capacity(4 * nodes as usize),
        }
    }

    fn start(&mut self) {
        let node = |config: Config| {
            let config = config.heartbeat_interval(HEARTBEAT);
            let config = config.election_timeout(PATIENCE).random_timeout(SPREAD);
            TinyRaft::new(config).expect("good settings")
        };
        let settings = configs(self.ids.len() as u64);
        self.nodes.extend(settings.into_iter().map(node));
    }

    /// Polls the first node, and whoever is sent something, until all is said.
    fn pump(&mut self, context: &mut Context<'_>) {
        self.poll(0, context);
        while let Some((from, to, message)) = self.post.pop_front() {
            put(&mut self.nodes[to], self.ids[from].clone(), message);
            self.poll(to, context);
        }
    }

    fn poll(&mut self, at: usize, context: &mut Context<'_>) {
        while let Some(output) = take(&mut self.nodes[at], context) {
            if let MsgRouter::ToNode(to, message) = output {
                self.post.push_back((at, to.place(), message));
            }
        }
    }

    fn round(&mut self, context: &mut Context<'_>) {
        let before = self.nodes[0].state().lease();
        self.pump(context);
        let after = self.nodes[0].state().lease();
        assert!(after > before, "a round prolongs the lease");
    }
}

pub fn put(node: &mut TinyRaft, from: NodeId, message: Message) {
    let mut context = Context::from_waker(noop_waker_ref());
    let ready = Pin::new(&mut *node).poll_ready(&mut context);
    assert!(matches!(ready, Poll::Ready(Ok(()))), "it always is");
    Pin::new(node)
        .start_send(Inbound::FromNode(from, message))
        .expect("a node that takes input");
}

/// The next item, or nothing if the stream is pending.
pub fn take(node: &mut TinyRaft, context: &mut Context<'_>) -> Option<MsgRouter> {
    match Pin::new(node).poll_next(context) {
        Poll::Ready(item) => Some(item.expect("a node that runs")),
        Poll::Pending => None,
    }
}

/// Clusters, each with the first of its nodes as the leader, all in one task.
pub struct Clusters {
    runtime: Runtime,
    clusters: Vec<Cluster>,
}

impl Clusters {
    /// What carries the messages of so many clusters, and no node yet.
    pub fn empty(nodes: u64, count: usize) -> Self {
        Self {
            runtime: runtime(EVENT_INTERVAL),
            clusters: (0..count).map(|_| Cluster::empty(nodes)).collect(),
        }
    }

    /// At the moment at which the first node of each is to campaign.
    pub fn due(nodes: u64, count: usize) -> Self {
        let mut all = Self::empty(nodes, count);
        all.start();
        all
    }

    pub fn at_work(nodes: u64, count: usize, rounds: usize) -> Self {
        let mut all = Self::due(nodes, count);
        all.elect();
        all.settle(rounds);
        all
    }

    pub fn start(&mut self) {
        self.each(|cluster, context| {
            cluster.start();
            for at in 0..cluster.nodes.len() {
                cluster.poll(at, context);
            }
        });
        thread::sleep(FIRST_TURN);
    }

    pub fn settle(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.wait();
            self.rounds();
        }
    }

    /// Sleeps until every leader's heartbeat is due. The runtime stands still meanwhile, its timers too.
    pub fn wait(&self) {
        thread::sleep(HEARTBEAT + TICK);
    }

    /// Rings the timers that are due, wakes this task by them, and lets each cluster do its round.
    pub fn rounds(&mut self) {
        self.each(Cluster::round);
    }

    /// The same, and how often the nodes allocate; what the runtime does is not counted.
    pub fn rounds_counted(&mut self) -> u64 {
        let mut allocations = 0;
        self.each(|cluster, context| {
            allocations += measure(|| cluster.round(context)).count_total;
        });
        allocations
    }

    /// The first node of each campaigns and wins.
    pub fn elect(&mut self) {
        self.each(|cluster, context| {
            cluster.pump(context);
            assert!(cluster.nodes[0].is_leader(), "nobody stands against it");
        });
    }

    /// Inside the runtime, as one task, and after it has looked at its timers.
    fn each(&mut self, mut work: impl FnMut(&mut Cluster, &mut Context<'_>)) {
        let clusters = &mut self.clusters;
        let all = poll_fn(|context| {
            let each = clusters.iter_mut();
            each.for_each(|cluster| work(cluster, context));
            Poll::Ready(())
        });
        // One task polls more timers here than tokio lets a task poll at once.
        self.runtime.block_on(unconstrained(async {
            yield_now().await;
            all.await;
        }));
    }

    /// One follower of each cluster, with its leader's next `Ping`, which it has not had.
    pub fn followers(mut self) -> Followers {
        self.wait();
        let mut followers = Vec::new();
        self.each(|cluster, context| {
            cluster.poll(0, context);
            let mut pings = cluster.post.drain(..);
            let (_, _, ping) = pings.find(|(_, to, _)| *to == 1).expect("one to each");
            drop(pings);
            let leader = cluster.ids[0].clone();
            followers.push((cluster.nodes.swap_remove(1), leader, ping));
        });
        Followers {
            runtime: self.runtime,
            followers,
        }
    }
}

/// Followers of clusters of their own, each with a leader's `Ping`.
pub struct Followers {
    runtime: Runtime,
    followers: Vec<(TinyRaft, NodeId, Message)>,
}

impl Followers {
    pub fn len(&self) -> usize {
        self.followers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.followers.is_empty()
    }

    /// The `Ping` goes into the sink of each.
    pub fn put(&mut self) {
        let _guard = self.runtime.enter();
        for (node, leader, ping) in &mut self.followers {
            put(node, leader.clone(), ping.clone());
        }
    }

    /// The `Pong` comes out of the stream of each.
    pub fn take(&mut self) {
        let _guard = self.runtime.enter();
        let mut context = Context::from_waker(noop_waker_ref());
        for (node, ..) in &mut self.followers {
            black_box(take(node, &mut context)).expect("an answer");
        }
    }

    /// There is nothing more.
    pub fn wait(&mut self) {
        let _guard = self.runtime.enter();
        let mut context = Context::from_waker(noop_waker_ref());
        for (node, ..) in &mut self.followers {
            assert!(take(node, &mut context).is_none(), "one answer");
        }
    }
}

/// Does a piece of work so often, the counted part of it inside of [`measured`]. `false`: there is no such work.
pub fn repeat(work: &str, nodes: u64, times: usize) -> bool {
    const SETTLED: usize = 3;
    match work {
        "round" => {
            let mut clusters = Clusters::at_work(nodes, times, SETTLED);
            clusters.wait();
            measured(&mut || clusters.rounds());
        }
        "cold" => {
            let mut clusters = Clusters::due(nodes, times);
            measured(&mut || clusters.elect());
        }
        "in" => {
            let mut followers = Clusters::at_work(nodes, times, SETTLED).followers();
            measured(&mut || followers.put());
        }
        "out" => {
            let mut followers = Clusters::at_work(nodes, times, SETTLED).followers();
            followers.put();
            measured(&mut || followers.take());
        }
        _ => return false,
    }
    true
}
