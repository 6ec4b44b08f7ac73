//! raft-io: events in, actions out, over its memory log.

use std::collections::VecDeque;

use raft_io::{Action, Event, Message, RaftConfig, RaftNode};

use super::{Machine, Polled, Proposal};

struct Node {
    raft: RaftNode,
    machine: Machine,
}

pub struct Nodes {
    nodes: Vec<Node>,
    post: VecDeque<(u64, Message)>,
}

impl Nodes {
    /// The first node leads: its timeout is the shortest by far.
    pub fn led() -> Self {
        let node = |id| {
            let timeout = if id == 1 { 1 } else { 1_000 };
            let peers = (1..=3).filter(|peer| *peer != id);
            let config = RaftConfig::new(id, peers).with_election_timeout(timeout, timeout);
            Node {
                raft: RaftNode::new(config.with_heartbeat_interval(1)),
                machine: Machine::default(),
            }
        };
        let mut cluster = Self {
            nodes: (1..=3).map(node).collect(),
            post: VecDeque::with_capacity(64),
        };
        cluster.step(1, Event::Tick);
        cluster.settle();
        assert!(cluster.nodes[0].raft.is_leader());
        cluster
    }

    fn step(&mut self, id: u64, event: Event) {
        let node = &mut self.nodes[id as usize - 1];
        for action in node.raft.step(event).expect("in memory") {
            match action {
                Action::Send { to, message } => self.post.push_back((to, message)),
                Action::Apply { command, .. } if !command.is_empty() => {
                    node.machine.apply(&command);
                }
                _ => {}
            }
        }
    }
}

impl Polled for Nodes {
    fn propose(&mut self, proposal: Proposal) {
        self.step(1, Event::Propose(proposal));
    }

    fn settle(&mut self) {
        while let Some((to, message)) = self.post.pop_front() {
            self.step(to, Event::Message(message));
        }
    }

    fn applied(&self) -> u64 {
        self.nodes[0].machine.applied
    }
}
