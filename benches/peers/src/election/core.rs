//! streamraft's core, driven by hand on logical time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use streamraft::{Config, Election, Id, Inbound, Message, MsgRouter, NodeId};

use super::Cluster;

/// The default of the settings.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// What a bench numbers its nodes with, from 1 on.
pub trait BenchId: Id {
    fn number(number: u64) -> Self;

    /// Whose place in the list of nodes this is: the carrier must not cost more the more nodes there are.
    fn place(&self) -> usize;
}

impl BenchId for u64 {
    fn number(number: u64) -> Self {
        number
    }

    fn place(&self) -> usize {
        *self as usize - 1
    }
}

/// Of one length each, so that they are sorted as their numbers are.
const PREFIX: &str = "node-";

impl BenchId for NodeId {
    fn number(number: u64) -> Self {
        Self::new(format!("{PREFIX}{number:03}")).expect("a good name")
    }

    fn place(&self) -> usize {
        let digits = self.as_str().bytes().skip(PREFIX.len());
        digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')) - 1
    }
}

pub fn configs<I: BenchId>(nodes: u64) -> Vec<Config<I>> {
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
    /// What a node takes in, and which.
    post: VecDeque<(Inbound<I>, usize)>,
}

impl<I: BenchId> Core<I> {
    fn pump(&mut self) {
        self.nodes[0].handle_timeout(self.now);
        self.drain(0);
        while let Some((input, to)) = self.post.pop_front() {
            self.nodes[to]
                .handle(self.now, input)
                .expect("a node that takes input");
            self.drain(to);
        }
    }

    fn drain(&mut self, at: usize) {
        let (node, from) = (&mut self.nodes[at], &self.ids[at]);
        loop {
            match node.poll_output() {
                Some(MsgRouter::ToNode(to, message)) => {
                    let place = to.place();
                    let input = Inbound::FromNode(from.clone(), message);
                    self.post.push_back((input, place));
                }
                Some(_) => {}
                None => return,
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

/// A heartbeat of a leader of three that has long been one.
pub fn settled_ping<I: BenchId>() -> Message<I> {
    let mut cluster = Core::<I>::due(3);
    cluster.elect();
    for _ in 0..super::TO_SETTLE {
        cluster.round();
    }
    cluster.now += HEARTBEAT;
    cluster.nodes[0].handle_timeout(cluster.now);
    cluster.drain(0);
    let (input, _) = cluster.post.pop_front().expect("a heartbeat is due");
    let Inbound::FromNode(_, ping) = input else {
        panic!("a node says nothing else");
    };
    ping
}
