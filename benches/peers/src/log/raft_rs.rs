//! raft-rs: `RawNode` over its memory storage, with `batch_append`; what is ready is taken, saved at once, and advanced.

use std::collections::VecDeque;

use raft::eraftpb::{Entry, EntryType, Message};
use raft::storage::MemStorage;
use raft::{Config, LightReady, RawNode, Ready, StateRole};
use slog::{Discard, Logger, o};

use super::{Machine, Polled, Proposal};

/// What etcd and TiKV allow for a message.
const MESSAGE: u64 = 1 << 20;

struct Node {
    raft: RawNode<MemStorage>,
    machine: Machine,
}

pub struct Nodes {
    nodes: Vec<Node>,
    post: VecDeque<Message>,
}

impl Nodes {
    /// The first node leads.
    pub fn led() -> Self {
        let logger = Logger::root(Discard, o!());
        let node = |id| {
            let config = Config {
                id,
                election_tick: 10,
                heartbeat_tick: 1,
                pre_vote: true,
                batch_append: true,
                max_size_per_msg: MESSAGE,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
            Node {
                raft: RawNode::new(&config, storage, &logger).expect("good settings"),
                machine: Machine::default(),
            }
        };
        let mut cluster = Self {
            nodes: (1..=3).map(node).collect(),
            post: VecDeque::with_capacity(64),
        };
        cluster.nodes[0].raft.campaign().expect("it may");
        cluster.settle();
        assert_eq!(cluster.nodes[0].raft.raft.state, StateRole::Leader);
        cluster
    }

    fn drain(&mut self, at: usize) {
        let Node { raft, machine } = &mut self.nodes[at];
        while raft.has_ready() {
            let mut ready: Ready = raft.ready();
            self.post.extend(ready.take_messages());
            apply(machine, ready.take_committed_entries());
            let store = raft.store().clone();
            store.wl().append(ready.entries()).expect("in memory");
            if let Some(hard_state) = ready.hs() {
                store.wl().set_hardstate(hard_state.clone());
            }
            self.post.extend(ready.take_persisted_messages());
            let mut light: LightReady = raft.advance(ready);
            if let Some(commit) = light.commit_index() {
                store.wl().mut_hard_state().set_commit(commit);
            }
            self.post.extend(light.take_messages());
            apply(machine, light.take_committed_entries());
            raft.advance_apply();
        }
    }
}

fn apply(machine: &mut Machine, entries: Vec<Entry>) {
    for entry in entries {
        if entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty() {
            machine.apply(&entry.data);
        }
    }
}

impl Polled for Nodes {
    fn propose(&mut self, proposal: Proposal) {
        let taken = self.nodes[0].raft.propose(Vec::new(), proposal);
        taken.expect("it leads");
    }

    fn settle(&mut self) {
        self.drain(0);
        while let Some(message) = self.post.pop_front() {
            let to = message.to as usize - 1;
            self.nodes[to].raft.step(message).expect("of a member");
            // What else is there for it is taken with it.
            if self
                .post
                .front()
                .is_none_or(|next| next.to as usize - 1 != to)
            {
                self.drain(to);
            }
        }
    }

    fn applied(&self) -> u64 {
        self.nodes[0].machine.applied
    }
}
