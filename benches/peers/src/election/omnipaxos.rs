//! omnipaxos: its ballot election, in which every node asks every other one in each interval.

use omnipaxos::macros::Entry;
use omnipaxos::messages::Message;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;

use super::Cluster;

#[derive(Clone, Debug, Entry)]
struct Nothing;

pub struct Nodes {
    nodes: Vec<OmniPaxos<Nothing, MemoryStorage<Nothing>>>,
    post: Vec<Message<Nothing>>,
}

impl Nodes {
    fn pump(&mut self) {
        loop {
            for node in &mut self.nodes {
                node.take_outgoing_messages(&mut self.post);
            }
            if self.post.is_empty() {
                return;
            }
            for message in self.post.drain(..) {
                let to = message.get_receiver() as usize - 1;
                self.nodes[to].handle_incoming(message);
            }
        }
    }

    fn has_leader(&self) -> bool {
        let leader = self.nodes[0].get_current_leader();
        leader.is_some_and(|(_, decided)| decided)
    }
}

impl Cluster for Nodes {
    fn due(nodes: u64) -> Self {
        let node = |pid| {
            let cluster_config = ClusterConfig {
                configuration_id: 1,
                nodes: (1..=nodes).collect(),
                ..ClusterConfig::default()
            };
            let server_config = ServerConfig {
                pid,
                election_tick_timeout: 1,
                ..ServerConfig::default()
            };
            let config = OmniPaxosConfig {
                cluster_config,
                server_config,
            };
            config
                .build(MemoryStorage::default())
                .expect("good settings")
        };
        Self {
            nodes: (1..=nodes).map(node).collect(),
            post: Vec::with_capacity(64),
        }
    }

    fn elect(&mut self) {
        for _ in 0..10 {
            self.round();
            if self.has_leader() {
                return;
            }
        }
        panic!("ten intervals without a leader");
    }

    fn round(&mut self) {
        for node in &mut self.nodes {
            node.tick();
        }
        self.pump();
    }
}
