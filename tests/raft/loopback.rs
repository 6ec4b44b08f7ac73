//! Three nodes over sockets, with their logs in folders: what a program has.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use streamraft::codec::Hello;
use streamraft::raft::{
    Applied, AppliedStream, Client, DiskLog, DiskLogError, LogLimits, Raft, RaftMessage,
};
use streamraft::{Config, Mesh, MeshBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::ms;

pub(crate) const CLUSTER: &str = "orders";

/// For how long anything is waited for. Nothing takes that long on a machine that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder that is gone with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// For the test of this name.
    pub(crate) fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = path.join(format!("loopback-{test}-{}", std::process::id()));
        for id in 1..=3 {
            fs::create_dir_all(path.join(id.to_string())).unwrap();
        }
        Self(path)
    }

    pub(crate) fn of(&self, id: u64) -> PathBuf {
        self.0.join(id.to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node in a task, and what its state machine has applied.
pub(crate) struct Running {
    task: JoinHandle<()>,
    pub(crate) client: Client<u64>,
    log: watch::Receiver<Vec<Bytes>>,
}

impl Running {
    /// As by a kill: whatever the disk has not got is lost.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|ended| ended.is_cancelled()));
    }

    /// Waits until it has applied this.
    pub(crate) async fn has_applied(&mut self, last: &Bytes) -> Vec<Bytes> {
        let applied = self.log.wait_for(|log| log.contains(last));
        let applied = timeout(PATIENCE, applied).await;
        applied.expect("it comes").expect("it lives").clone()
    }
}

pub(crate) type Carried = Mesh<u64, RaftMessage<u64>>;

pub(crate) fn builder(id: u64) -> MeshBuilder<u64, RaftMessage<u64>> {
    let mesh = Mesh::builder(Hello::new(CLUSTER, id)).carrying::<RaftMessage<u64>>();
    mesh.max_frame_len(LogLimits::default().frame_len())
        .listen(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn mesh(id: u64, peers: &BTreeMap<u64, SocketAddr>) -> Carried {
    let peers = peers.iter().map(|(id, addr)| (*id, *addr));
    builder(id).peers(peers).build().unwrap()
}

/// Three nodes that run, by these meshes, and where they listen.
pub(crate) async fn three(
    folder: &Folder,
    mesh: impl Fn(u64) -> Carried,
) -> (BTreeMap<u64, Running>, BTreeMap<u64, SocketAddr>) {
    let mut meshes: BTreeMap<u64, Carried> = (1..=3).map(|id| (id, mesh(id))).collect();
    let addrs: BTreeMap<u64, SocketAddr> = meshes
        .iter()
        .map(|(id, mesh)| (*id, mesh.local_addr().unwrap()))
        .collect();
    let mut nodes = BTreeMap::new();
    while let Some((id, mut mesh)) = meshes.pop_first() {
        for (peer, addr) in addrs.iter().filter(|(peer, _)| **peer != id) {
            mesh.insert_peer(*peer, *addr);
        }
        nodes.insert(id, start(id, mesh, folder).await);
    }
    (nodes, addrs)
}

/// A node that was dropped may still be about to close its database.
pub(crate) async fn open(folder: &Path, id: u64) -> DiskLog<u64> {
    let opened = async {
        loop {
            match DiskLog::open(folder, &id, CLUSTER) {
                Err(DiskLogError::Locked { .. }) => tokio::time::sleep(ms(1)).await,
                opened => return opened.unwrap(),
            }
        }
    };
    timeout(PATIENCE, opened).await.expect("it is let go")
}

async fn keep(mut applied: AppliedStream, log: watch::Sender<Vec<Bytes>>) {
    while let Some(item) = applied.next().await {
        match item {
            Applied::Entry(entry) => log.send_modify(|log| log.push(entry.data)),
            other => panic!("nobody makes snapshots: {other:?}"),
        }
    }
}

pub(crate) async fn start(id: u64, mesh: Carried, folder: &Folder) -> Running {
    let config = Config::with_id(id, 1..=3).unwrap().cluster(CLUSTER);
    let store = open(&folder.of(id), id).await;
    let mut raft = Raft::new(config, LogLimits::default(), store).unwrap();
    let (seen, log) = watch::channel(Vec::new());
    tokio::spawn(keep(raft.applied(0), seen));
    let client = raft.client();
    let mut node = raft.over(mesh);
    let task = tokio::spawn(async move {
        while let Some(item) = node.next().await {
            item.expect("nothing fails");
        }
    });
    Running { task, client, log }
}

/// Proposes this to whoever leads: who took it. It may be in the log twice, if leadership was lost meanwhile.
pub(crate) async fn propose(nodes: &BTreeMap<u64, Running>, data: &Bytes) -> u64 {
    let taken = async {
        let mut ids = nodes.keys().copied().cycle();
        let mut leader = None;
        loop {
            let id = leader.take().or_else(|| ids.next()).unwrap();
            if let Some(node) = nodes.get(&id) {
                match node.client.propose(data.clone()).await {
                    Ok(_) => return id,
                    Err(error) => leader = error.leader().copied(),
                }
            }
            tokio::time::sleep(ms(1)).await;
        }
    };
    timeout(PATIENCE, taken).await.expect("it is committed")
}

/// Proposes these numbers one after the other, and a long one. The last that was taken, and by whom.
pub(crate) async fn fill(
    nodes: &BTreeMap<u64, Running>,
    numbers: std::ops::Range<u32>,
) -> (u64, Bytes) {
    let mut said = (0, Bytes::new());
    for number in numbers.clone() {
        let data = Bytes::from(number.to_string());
        said = (propose(nodes, &data).await, data);
    }
    // No message of the default frame has room for it.
    let mut long = vec![b'x'; LogLimits::default().get_proposal() - 10];
    long.extend(format!("{:010}", numbers.end).bytes());
    propose(nodes, &long.into()).await;
    said
}

#[tokio::test]
async fn three_nodes_with_disks_outlive_their_leader_and_take_it_back() {
    let folder = Folder::new("plain");
    let (mut nodes, addrs) = three(&folder, |id| mesh(id, &BTreeMap::new())).await;
    let (first, last) = fill(&nodes, 0..30).await;
    for node in nodes.values_mut() {
        node.has_applied(&last).await;
    }

    nodes.remove(&first).unwrap().kill().await;
    let (second, last) = fill(&nodes, 30..60).await;
    assert_ne!(second, first);
    for node in nodes.values_mut() {
        node.has_applied(&last).await;
    }

    // Elsewhere, since somebody may have its port by now: it dials the others.
    let back = start(first, mesh(first, &addrs), &folder).await;
    nodes.insert(first, back);
    let (_, last) = fill(&nodes, 60..90).await;
    let mut logs = Vec::new();
    for node in nodes.values_mut() {
        let mut log = node.has_applied(&last).await;
        // Behind it comes the long one, which may be applied or not.
        log.truncate(log.iter().position(|data| *data == last).unwrap() + 1);
        logs.push(log);
    }
    assert!(logs.iter().all(|log| *log == logs[0]), "one order");
    let mut numbers: Vec<Bytes> = logs.swap_remove(0);
    numbers.retain(|data| data.len() < 10);
    numbers.dedup();
    let expected = (0..90).map(|number: u32| Bytes::from(number.to_string()));
    assert!(numbers.into_iter().eq(expected), "all that was committed");
    for node in nodes.into_values() {
        node.kill().await;
    }
}
