//! omnipaxos: what is decided is read from its log. Entries are of the user's type: one that owns its bytes, or shares them.

use bytes::Bytes;
use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;

use super::{Machine, Polled, Proposal};

/// What its log holds.
pub trait Data: Entry<Snapshot = NoSnapshot> + From<Proposal> {
    fn bytes(&self) -> &[u8];
}

#[derive(Clone, Debug)]
pub struct Owned(Vec<u8>);

#[derive(Clone, Debug)]
pub struct Shared(Bytes);

macro_rules! data {
    ($data:ident) => {
        impl Entry for $data {
            type Snapshot = NoSnapshot;
        }

        impl From<Proposal> for $data {
            fn from(proposal: Proposal) -> Self {
                Self(proposal.into())
            }
        }

        impl Data for $data {
            fn bytes(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

data!(Owned);
data!(Shared);

struct Node<T: Data> {
    paxos: OmniPaxos<T, MemoryStorage<T>>,
    machine: Machine,
    seen: usize,
}

pub struct Nodes<T: Data> {
    nodes: Vec<Node<T>>,
    post: Vec<Message<T>>,
}

impl<T: Data> Nodes<T> {
    /// The first node leads.
    pub fn led() -> Self {
        let node = |pid| {
            let cluster_config = ClusterConfig {
                configuration_id: 1,
                nodes: (1..=3).collect(),
                ..ClusterConfig::default()
            };
            let server_config = ServerConfig {
                pid,
                election_tick_timeout: 1,
                leader_priority: u32::from(pid == 1),
                ..ServerConfig::default()
            };
            let config = OmniPaxosConfig {
                cluster_config,
                server_config,
            };
            Node {
                paxos: config
                    .build(MemoryStorage::default())
                    .expect("good settings"),
                machine: Machine::default(),
                seen: 0,
            }
        };
        let mut cluster = Self {
            nodes: (1..=3).map(node).collect(),
            post: Vec::with_capacity(64),
        };
        while cluster.nodes[0].paxos.get_current_leader() != Some((1, true)) {
            for node in &mut cluster.nodes {
                node.paxos.tick();
            }
            cluster.settle();
        }
        cluster
    }
}

impl<T: Data> Node<T> {
    fn apply(&mut self) {
        if self.paxos.get_decided_idx() == self.seen {
            return;
        }
        for entry in self
            .paxos
            .read_decided_suffix(self.seen)
            .into_iter()
            .flatten()
        {
            if let LogEntry::Decided(entry) = entry {
                self.machine.apply(entry.bytes());
            }
            self.seen += 1;
        }
    }
}

impl<T: Data> Polled for Nodes<T> {
    fn propose(&mut self, proposal: Proposal) {
        let taken = self.nodes[0].paxos.append(proposal.into());
        assert!(taken.is_ok(), "it leads");
    }

    fn settle(&mut self) {
        loop {
            for node in &mut self.nodes {
                node.paxos.take_outgoing_messages(&mut self.post);
                node.apply();
            }
            if self.post.is_empty() {
                return;
            }
            for message in self.post.drain(..) {
                let to = message.get_receiver() as usize - 1;
                self.nodes[to].paxos.handle_incoming(message);
            }
        }
    }

    fn applied(&self) -> u64 {
        self.nodes[0].machine.applied
    }
}
