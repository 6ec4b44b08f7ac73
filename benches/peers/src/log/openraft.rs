//! openraft: tasks and channels, on one thread.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::Cursor;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::{LogFlushed, LogState, RaftLogStorage, RaftStateMachine, Snapshot};
use openraft::{
    BasicNode, Config, Entry, EntryPayload, LogId, RaftLogReader, RaftNetwork, RaftNetworkFactory,
    RaftSnapshotBuilder, SnapshotMeta, SnapshotPolicy, StorageError, StoredMembership, Vote,
};
use tokio::runtime::Runtime;

use super::{Cluster, Machine, Proposal, rounds};
use crate::streams::{EVENT_INTERVAL, runtime};

openraft::declare_raft_types!(
    Types:
        D = Bytes,
        R = (),
);

type Node = openraft::Raft<Types>;

type Kept<T> = Result<T, StorageError<u64>>;

/// The nodes, when all of them are there.
type Nets = Arc<OnceLock<Vec<Node>>>;

struct Network(Nets);

struct Link {
    target: u64,
    nodes: Nets,
}

impl Link {
    fn node(&self) -> &Node {
        let nodes = self.nodes.get().expect("nobody speaks before");
        &nodes[self.target as usize - 1]
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Link {
        let nodes = Arc::clone(&self.0);
        Link { target, nodes }
    }
}

type Sent<T, E = openraft::error::Infallible> =
    Result<T, RPCError<u64, BasicNode, RaftError<u64, E>>>;

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Sent<AppendEntriesResponse<u64>> {
        let answer = self.node().append_entries(rpc).await;
        answer.map_err(|error| RemoteError::new(self.target, error).into())
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Sent<InstallSnapshotResponse<u64>, InstallSnapshotError> {
        let answer = self.node().install_snapshot(rpc).await;
        answer.map_err(|error| RemoteError::new(self.target, error).into())
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, _: RPCOption) -> Sent<VoteResponse<u64>> {
        let answer = self.node().vote(rpc).await;
        answer.map_err(|error| RemoteError::new(self.target, error).into())
    }
}

#[derive(Default)]
struct Held {
    vote: Option<Vote<u64>>,
    /// The first has the index 0.
    log: Vec<Entry<Types>>,
}

#[derive(Clone, Default)]
struct Store(Arc<Mutex<Held>>);

impl Store {
    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Kept<Vec<Entry<Types>>> {
        let held = self.held();
        let from = match range.start_bound() {
            Bound::Included(at) => *at as usize,
            Bound::Excluded(at) => *at as usize + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => *at as usize + 1,
            Bound::Excluded(at) => *at as usize,
            Bound::Unbounded => usize::MAX,
        };
        let to = to.min(held.log.len());
        Ok(held.log.get(from..to).unwrap_or_default().to_vec())
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Kept<LogState<Types>> {
        Ok(LogState {
            last_purged_log_id: None,
            last_log_id: self.held().log.last().map(|entry| entry.log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Kept<()> {
        self.held().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Kept<Option<Vote<u64>>> {
        Ok(self.held().vote)
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Types>) -> Kept<()>
    where
        I: IntoIterator<Item = Entry<Types>> + Send,
        I::IntoIter: Send,
    {
        self.held().log.extend(entries);
        flushed.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<u64>) -> Kept<()> {
        self.held().log.truncate(from.index as usize);
        Ok(())
    }

    async fn purge(&mut self, _: LogId<u64>) -> Kept<()> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct State {
    machine: Arc<Mutex<Machine>>,
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, BasicNode>,
}

impl RaftSnapshotBuilder<Types> for State {
    async fn build_snapshot(&mut self) -> Kept<Snapshot<Types>> {
        Ok(Snapshot {
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
                snapshot_id: String::new(),
            },
            snapshot: Box::default(),
        })
    }
}

impl RaftStateMachine<Types> for State {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Kept<(Option<LogId<u64>>, StoredMembership<u64, BasicNode>)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Kept<Vec<()>>
    where
        I: IntoIterator<Item = Entry<Types>> + Send,
        I::IntoIter: Send,
    {
        let mut machine = lock(&self.machine);
        let mut answers = Vec::new();
        for entry in entries {
            self.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Normal(proposal) => machine.apply(&proposal),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                EntryPayload::Blank => {}
            }
            answers.push(());
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Kept<Box<Cursor<Vec<u8>>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        _: &SnapshotMeta<u64, BasicNode>,
        _: Box<Cursor<Vec<u8>>>,
    ) -> Kept<()> {
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Kept<Option<Snapshot<Types>>> {
        Ok(None)
    }
}

pub struct Nodes {
    runtime: Runtime,
    leader: Node,
    machine: Arc<Mutex<Machine>>,
}

impl Nodes {
    /// The node that is told of the others leads.
    pub fn led() -> Self {
        let runtime = runtime(EVENT_INTERVAL);
        let (leader, machine) = runtime.block_on(async {
            let config = Config {
                election_timeout_min: 2_000,
                election_timeout_max: 4_000,
                snapshot_policy: SnapshotPolicy::Never,
                ..Config::default()
            };
            let config = Arc::new(config.validate().expect("good settings"));
            let nets = Nets::default();
            let mut nodes = Vec::new();
            let mut machines = Vec::new();
            for id in 1..=3 {
                let (config, network) = (Arc::clone(&config), Network(Arc::clone(&nets)));
                let state = State::default();
                machines.push(Arc::clone(&state.machine));
                let node = Node::new(id, config, network, Store::default(), state).await;
                nodes.push(node.expect("it starts"));
            }
            let leader = nodes[0].clone();
            assert!(nets.set(nodes).is_ok(), "it was empty");
            let all: BTreeSet<u64> = (1..=3).collect();
            leader.initialize(all).await.expect("it is new");
            while leader.current_leader().await != Some(1) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (leader, machines.swap_remove(0))
        });
        Self {
            runtime,
            leader,
            machine,
        }
    }
}

impl Cluster for Nodes {
    fn run(&mut self, proposals: Vec<Proposal>, window: usize, lap: &mut dyn FnMut()) {
        let goal = lock(&self.machine).applied + proposals.len() as u64;
        let leader = &self.leader;
        self.runtime
            .block_on(rounds(proposals, window, lap, |proposal| async {
                let done = leader.client_write(proposal.into()).await;
                assert!(done.is_ok(), "it leads");
            }));
        assert_eq!(lock(&self.machine).applied, goal, "all were applied");
    }
}
