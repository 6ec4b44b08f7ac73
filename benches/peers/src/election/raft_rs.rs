//! raft-rs: `RawNode` over its memory storage; what is ready is taken, saved at once, and advanced.

use std::collections::VecDeque;

use raft::eraftpb::Message;
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use slog::{Discard, Logger, o};

use super::Cluster;

pub struct Nodes {
    nodes: Vec<RawNode<MemStorage>>,
    post: VecDeque<Message>,
}

impl Nodes {
    fn drain(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        while node.has_ready() {
            let mut ready = node.ready();
            self.post.extend(ready.take_messages());
            let store = node.store().clone();
            if let Some(hard_state) = ready.hs() {
                store.wl().set_hardstate(hard_state.clone());
            }
            store.wl().append(ready.entries()).expect("in memory");
            self.post.extend(ready.take_persisted_messages());
            let mut light = node.advance(ready);
            self.post.extend(light.take_messages());
            node.advance_apply();
        }
    }

    fn pump(&mut self) {
        while let Some(message) = self.post.pop_front() {
            let to = message.to as usize - 1;
            self.nodes[to].step(message).expect("a message of a member");
            self.drain(to);
        }
    }

    fn tick(&mut self) {
        self.nodes[0].tick();
        self.drain(0);
    }
}

impl Cluster for Nodes {
    fn due(nodes: u64) -> Self {
        let logger = Logger::root(Discard, o!());
        let node = |id| {
            let voters: Vec<u64> = (1..=nodes).collect();
            let config = Config {
                id,
                election_tick: 10,
                heartbeat_tick: 1,
                pre_vote: true,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state((voters, vec![]));
            RawNode::new(&config, storage, &logger).expect("good settings")
        };
        Self {
            nodes: (1..=nodes).map(node).collect(),
            post: VecDeque::with_capacity(64),
        }
    }

    fn elect(&mut self) {
        self.nodes[0].campaign().expect("it may");
        self.drain(0);
        self.pump();
        assert_eq!(self.nodes[0].raft.state, StateRole::Leader);
        assert!(self.nodes.iter().all(|node| node.raft.leader_id == 1));
    }

    fn round(&mut self) {
        self.tick();
        assert_eq!(self.post.len(), self.nodes.len() - 1);
        self.pump();
    }
}
