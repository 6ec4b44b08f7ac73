//! async-raft: tasks and channels, on one thread.

use std::collections::HashSet;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use async_raft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, ClientWriteRequest, Entry, EntryPayload,
    InstallSnapshotRequest, InstallSnapshotResponse, MembershipConfig, VoteRequest, VoteResponse,
};
use async_raft::storage::{CurrentSnapshotData, HardState, InitialState};
use async_raft::{
    AppData, AppDataResponse, Config, NodeId, Raft, RaftNetwork, RaftStorage, SnapshotPolicy,
};
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::{Cluster, Machine, Proposal, rounds};
use crate::streams::{EVENT_INTERVAL, runtime};

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Data(Bytes);

impl AppData for Data {}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Done;

impl AppDataResponse for Done {}

type Node = Raft<Data, Done, Network, Store>;

/// The nodes, when all of them are there.
#[derive(Default)]
struct Network(OnceLock<Vec<Node>>);

impl Network {
    fn node(&self, id: NodeId) -> Result<&Node> {
        let nodes = self.0.get().ok_or_else(|| anyhow!("not yet"))?;
        nodes
            .get(id as usize - 1)
            .ok_or_else(|| anyhow!("a stranger"))
    }
}

#[async_trait]
impl RaftNetwork<Data> for Network {
    async fn append_entries(
        &self,
        target: NodeId,
        rpc: AppendEntriesRequest<Data>,
    ) -> Result<AppendEntriesResponse> {
        Ok(self.node(target)?.append_entries(rpc).await?)
    }

    async fn install_snapshot(
        &self,
        target: NodeId,
        rpc: InstallSnapshotRequest,
    ) -> Result<InstallSnapshotResponse> {
        Ok(self.node(target)?.install_snapshot(rpc).await?)
    }

    async fn vote(&self, target: NodeId, rpc: VoteRequest) -> Result<VoteResponse> {
        Ok(self.node(target)?.vote(rpc).await?)
    }
}

#[derive(Debug)]
struct Held {
    hard_state: HardState,
    membership: MembershipConfig,
    /// The first has the index 1.
    log: Vec<Entry<Data>>,
    machine: Machine,
}

#[derive(Debug)]
struct Store(Mutex<Held>);

impl Store {
    fn new(id: NodeId) -> Self {
        Self(Mutex::new(Held {
            hard_state: HardState {
                current_term: 0,
                voted_for: None,
            },
            membership: MembershipConfig::new_initial(id),
            log: Vec::new(),
            machine: Machine::default(),
        }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn append(&mut self, entries: &[Entry<Data>]) {
        for entry in entries {
            if let EntryPayload::ConfigChange(change) = &entry.payload {
                self.membership = change.membership.clone();
            }
        }
        self.log.extend_from_slice(entries);
    }
}

#[async_trait]
impl RaftStorage<Data, Done> for Store {
    type Snapshot = Cursor<Vec<u8>>;
    type ShutdownError = std::convert::Infallible;

    async fn get_membership_config(&self) -> Result<MembershipConfig> {
        Ok(self.held().membership.clone())
    }

    async fn get_initial_state(&self) -> Result<InitialState> {
        let held = self.held();
        let last = held.log.last();
        Ok(InitialState {
            last_log_index: last.map_or(0, |entry| entry.index),
            last_log_term: last.map_or(0, |entry| entry.term),
            last_applied_log: 0,
            hard_state: held.hard_state.clone(),
            membership: held.membership.clone(),
        })
    }

    async fn save_hard_state(&self, hard_state: &HardState) -> Result<()> {
        self.held().hard_state = hard_state.clone();
        Ok(())
    }

    async fn get_log_entries(&self, start: u64, stop: u64) -> Result<Vec<Entry<Data>>> {
        let held = self.held();
        let from = (start as usize).saturating_sub(1);
        let to = (stop as usize).saturating_sub(1).min(held.log.len());
        Ok(held.log.get(from..to).unwrap_or_default().to_vec())
    }

    async fn delete_logs_from(&self, start: u64, _stop: Option<u64>) -> Result<()> {
        self.held().log.truncate(start as usize - 1);
        Ok(())
    }

    async fn append_entry_to_log(&self, entry: &Entry<Data>) -> Result<()> {
        self.held().append(std::slice::from_ref(entry));
        Ok(())
    }

    async fn replicate_to_log(&self, entries: &[Entry<Data>]) -> Result<()> {
        self.held().append(entries);
        Ok(())
    }

    async fn apply_entry_to_state_machine(&self, _: &u64, Data(proposal): &Data) -> Result<Done> {
        self.held().machine.apply(proposal);
        Ok(Done)
    }

    async fn replicate_to_state_machine(&self, entries: &[(&u64, &Data)]) -> Result<()> {
        let mut held = self.held();
        for (_, Data(proposal)) in entries {
            held.machine.apply(proposal);
        }
        Ok(())
    }

    async fn do_log_compaction(&self) -> Result<CurrentSnapshotData<Self::Snapshot>> {
        Err(anyhow!("none is asked for"))
    }

    async fn create_snapshot(&self) -> Result<(String, Box<Self::Snapshot>)> {
        Err(anyhow!("none is sent"))
    }

    async fn finalize_snapshot_installation(
        &self,
        _: u64,
        _: u64,
        _: Option<u64>,
        _: String,
        _: Box<Self::Snapshot>,
    ) -> Result<()> {
        Err(anyhow!("none is sent"))
    }

    async fn get_current_snapshot(&self) -> Result<Option<CurrentSnapshotData<Self::Snapshot>>> {
        Ok(None)
    }
}

pub struct Nodes {
    runtime: Runtime,
    leader: Node,
    store: Arc<Store>,
}

impl Nodes {
    /// The node that is told of the others leads.
    pub fn led() -> Self {
        let runtime = runtime(EVENT_INTERVAL);
        let (leader, store) = runtime.block_on(async {
            let config = Config::build("log".to_owned())
                .election_timeout_min(2_000)
                .election_timeout_max(4_000)
                .snapshot_policy(SnapshotPolicy::LogsSinceLast(u64::MAX))
                .validate();
            let config = Arc::new(config.expect("good settings"));
            let network = Arc::new(Network::default());
            let stores: Vec<_> = (1..=3).map(|id| Arc::new(Store::new(id))).collect();
            let node = |(store, id): (&Arc<Store>, NodeId)| {
                let (config, network) = (Arc::clone(&config), Arc::clone(&network));
                Raft::new(id, config, network, Arc::clone(store))
            };
            let nodes: Vec<Node> = stores.iter().zip(1..).map(node).collect();
            let leader = nodes[0].clone();
            assert!(network.0.set(nodes).is_ok(), "it was empty");
            let all: HashSet<NodeId> = (1..=3).collect();
            leader.initialize(all).await.expect("it is new");
            while leader.current_leader().await != Some(1) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (leader, Arc::clone(&stores[0]))
        });
        Self {
            runtime,
            leader,
            store,
        }
    }
}

impl Cluster for Nodes {
    fn run(&mut self, proposals: Vec<Proposal>, window: usize, lap: &mut dyn FnMut()) {
        let goal = self.store.held().machine.applied + proposals.len() as u64;
        let leader = &self.leader;
        self.runtime
            .block_on(rounds(proposals, window, lap, |proposal| async {
                let request = ClientWriteRequest::new(Data(proposal.into()));
                let done = leader.client_write(request).await;
                assert!(done.is_ok(), "it leads");
            }));
        assert_eq!(self.store.held().machine.applied, goal, "all were applied");
    }
}
