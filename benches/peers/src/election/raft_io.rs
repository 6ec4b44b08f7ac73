//! raft-io: events in, actions out, in ticks.

use std::collections::VecDeque;

use raft_io::{Action, Event, Message, RaftConfig, RaftNode};

use super::Cluster;

pub struct Nodes {
    nodes: Vec<RaftNode>,
    post: VecDeque<(u64, Message)>,
}

impl Nodes {
    fn step(&mut self, id: u64, event: Event) {
        let node = &mut self.nodes[id as usize - 1];
        for action in node.step(event).expect("in memory") {
            if let Action::Send { to, message } = action {
                self.post.push_back((to, message));
            }
        }
    }

    fn pump(&mut self) {
        while let Some((to, message)) = self.post.pop_front() {
            self.step(to, Event::Message(message));
        }
    }
}

impl Cluster for Nodes {
    /// The first node's timeout is the shortest by far, and rings with the next tick.
    fn due(nodes: u64) -> Self {
        let node = |id| {
            let timeout = if id == 1 { 2 } else { 1_000 };
            let peers = (1..=nodes).filter(|peer| *peer != id);
            let config = RaftConfig::new(id, peers).with_election_timeout(timeout, timeout);
            RaftNode::new(config.with_heartbeat_interval(1))
        };
        let mut cluster = Self {
            nodes: (1..=nodes).map(node).collect(),
            post: VecDeque::with_capacity(64),
        };
        cluster.step(1, Event::Tick);
        assert!(cluster.post.is_empty());
        cluster
    }

    fn elect(&mut self) {
        self.step(1, Event::Tick);
        self.pump();
        assert!(self.nodes.iter().all(|node| node.leader() == Some(1)));
    }

    fn round(&mut self) {
        self.step(1, Event::Tick);
        assert_eq!(self.post.len(), self.nodes.len() - 1);
        self.pump();
    }
}
