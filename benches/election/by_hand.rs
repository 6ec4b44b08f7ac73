//! A cluster of elections, driven by hand on virtual instants; a message arrives as soon as those before it did.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use streamraft::{Election, Inbound, Message, MsgRouter};

use crate::ids::{BenchId, configs, ids};

/// The default of the settings.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// After so many rounds nothing changes any more from one to the next.
const ROUNDS_TO_SETTLE: usize = 300;

#[derive(Clone)]
pub(crate) struct Cluster<I> {
    now: Instant,
    ids: Vec<I>,
    nodes: Vec<Election<I>>,
    post: VecDeque<(usize, usize, Message<I>)>,
}

impl<I: BenchId> Cluster<I> {
    /// A cluster that has never run, at the moment at which the first node is to campaign.
    pub(crate) fn due(nodes: u64) -> Self {
        let start = Instant::now();
        let nodes_of = |config| Election::new(config, start).expect("good settings");
        let mut cluster = Self {
            now: start,
            ids: ids(nodes),
            nodes: configs(nodes).into_iter().map(nodes_of).collect(),
            post: VecDeque::with_capacity(64),
        };
        cluster.now = cluster.nodes[0]
            .poll_timeout()
            .expect("it waits to campaign");
        cluster
    }

    /// A cluster that has had a leader, the first node, for long.
    pub(crate) fn at_work(nodes: u64) -> Self {
        let mut cluster = Self::due(nodes);
        cluster.elect();
        for _ in 0..ROUNDS_TO_SETTLE {
            cluster.heartbeat();
        }
        cluster
    }

    /// The first node campaigns and wins, and everyone answers it.
    pub(crate) fn elect(&mut self) {
        self.nodes[0].handle_timeout(self.now);
        self.pump(0);
        let leader = self.nodes[0].state();
        assert!(leader.is_leader_at(self.now), "nobody stands against it");
        assert_eq!(leader.followers().len() + 1, self.nodes.len());
    }

    /// The leader pings, everyone answers.
    pub(crate) fn heartbeat(&mut self) {
        self.now += HEARTBEAT;
        let before = self.nodes[0].state().lease();
        self.nodes[0].handle_timeout(self.now);
        self.pump(0);
        let after = self.nodes[0].state().lease();
        assert!(after > before, "a round prolongs the lease");
    }

    /// Carries what this node has to say, and what is answered, until all is said.
    fn pump(&mut self, first: usize) {
        self.drain(first);
        while let Some((from, to, message)) = self.post.pop_front() {
            let from = self.ids[from].clone();
            self.nodes[to]
                .handle(self.now, Inbound::FromNode(from, message))
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
