//! streamraft: the core driven by hand, and nodes through their streams and sinks.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::noop_waker_ref;
use futures::{Sink, Stream};
use streamraft::{Config, Election, Id, Inbound, Message, MsgRouter, NodeId, TinyRaft};
use tokio::runtime::{Builder, Runtime};

use super::Cluster;

/// The default of the settings.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// By then the first node of a fresh cluster campaigns, and no other does yet.
const FIRST_TURN: Duration = Duration::from_millis(30);

/// What a bench numbers its nodes with.
pub trait BenchId: Id {
    fn number(number: u64) -> Self;
}

impl BenchId for u64 {
    fn number(number: u64) -> Self {
        number
    }
}

impl BenchId for NodeId {
    fn number(number: u64) -> Self {
        Self::new(format!("node-{number}")).expect("a good name")
    }
}

fn configs<I: BenchId>(nodes: u64) -> Vec<Config<I>> {
    let ids = || (1..=nodes).map(I::number);
    let config = |id| {
        Config::with_id(id, ids())
            .expect("good names")
            .bootstrap()
            .seed(7)
    };
    ids().map(config).collect()
}

pub struct Core<I> {
    now: Instant,
    ids: Vec<I>,
    nodes: Vec<Election<I>>,
    post: VecDeque<(usize, usize, Message<I>)>,
}

impl<I: BenchId> Core<I> {
    fn pump(&mut self) {
        self.nodes[0].handle_timeout(self.now);
        self.drain(0);
        while let Some((from, to, message)) = self.post.pop_front() {
            let input = Inbound::FromNode(self.ids[from].clone(), message);
            self.nodes[to]
                .handle(self.now, input)
                .expect("a node that takes input");
            self.drain(to);
        }
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].poll_output() {
            if let MsgRouter::ToNode(to, message) = output {
                let to = self.ids.iter().position(|id| *id == to);
                self.post.push_back((at, to.expect("a member"), message));
            }
        }
    }
}

impl<I: BenchId> Cluster for Core<I> {
    fn due(nodes: u64) -> Self {
        let start = Instant::now();
        let node = |config| Election::new(config, start).expect("good settings");
        let nodes: Vec<_> = configs(nodes).into_iter().map(node).collect();
        Self {
            now: nodes[0].poll_timeout().expect("it waits to campaign"),
            ids: (1..=nodes.len() as u64).map(I::number).collect(),
            nodes,
            post: VecDeque::with_capacity(64),
        }
    }

    fn elect(&mut self) {
        self.pump();
        assert!(self.nodes[0].state().is_leader_at(self.now));
    }

    fn round(&mut self) {
        self.now += HEARTBEAT;
        let before = self.nodes[0].state().lease();
        self.pump();
        assert!(
            self.nodes[0].state().lease() > before,
            "a round prolongs the lease"
        );
    }
}

/// With tokio's clock, which is paused and moved by hand; moving it is measured too, reading it costs what the real
/// one does.
pub struct Streams {
    runtime: Runtime,
    ids: Vec<NodeId>,
    nodes: Vec<TinyRaft>,
    post: VecDeque<(usize, usize, Message)>,
}

impl Streams {
    fn advance(&mut self, time: Duration) {
        self.runtime.block_on(tokio::time::advance(time));
    }

    fn pump(&mut self) {
        let handle = self.runtime.handle().clone();
        let _guard = handle.enter();
        self.poll(0);
        while let Some((from, to, message)) = self.post.pop_front() {
            let input = Inbound::FromNode(self.ids[from].clone(), message);
            let mut context = Context::from_waker(noop_waker_ref());
            let node = &mut self.nodes[to];
            assert!(Pin::new(&mut *node).poll_ready(&mut context).is_ready());
            Pin::new(node)
                .start_send(input)
                .expect("a node that takes input");
            self.poll(to);
        }
    }

    /// Inside the runtime, whose clock it reads.
    fn poll(&mut self, at: usize) {
        let mut context = Context::from_waker(noop_waker_ref());
        while let Poll::Ready(Some(output)) = Pin::new(&mut self.nodes[at]).poll_next(&mut context)
        {
            if let MsgRouter::ToNode(to, message) = output {
                let to = self.ids.iter().position(|id| *id == to);
                self.post.push_back((at, to.expect("a member"), message));
            }
        }
    }
}

impl Cluster for Streams {
    fn due(nodes: u64) -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let guard = runtime.enter();
        let node = |config| TinyRaft::new(config).expect("good settings");
        let nodes: Vec<_> = configs(nodes).into_iter().map(node).collect();
        drop(guard);
        let mut cluster = Self {
            runtime,
            ids: (1..=nodes.len() as u64).map(NodeId::number).collect(),
            nodes,
            post: VecDeque::with_capacity(64),
        };
        let handle = cluster.runtime.handle().clone();
        let guard = handle.enter();
        for at in 0..cluster.nodes.len() {
            cluster.poll(at);
        }
        drop(guard);
        cluster.advance(FIRST_TURN);
        cluster
    }

    fn elect(&mut self) {
        self.pump();
        let _guard = self.runtime.enter();
        assert!(self.nodes[0].is_leader());
    }

    fn round(&mut self) {
        self.advance(HEARTBEAT);
        let before = self.nodes[0].state().lease();
        self.pump();
        assert!(
            self.nodes[0].state().lease() > before,
            "a round prolongs the lease"
        );
    }
}
