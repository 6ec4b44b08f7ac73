//! Nodes as processes: started, asked, killed, started again, and gone when the story is over, however it ends.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::Failure;
use crate::client::{Ask, Cluster};

const OPTIONS: &[&str] = &[
    "--election-timeout",
    "500ms",
    "--heartbeat-interval",
    "50ms",
    // So few that a node which was away for a moment needs a snapshot.
    "--snapshot-after",
    "80",
    "--trailing",
    "20",
];

/// How long a node may take to say how it is.
const ANSWER: Duration = Duration::from_secs(2);

/// The pause between two questions for what is waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// How much of what a node has written is shown when something went wrong.
const LAST_WORDS: usize = 2_000;

/// The processes of one cluster, and their folder.
pub(crate) struct Processes {
    nodes: BTreeMap<u64, Node>,
    cluster: Cluster,
    /// Behind the nodes: it goes when they are gone.
    folder: Folder,
}

struct Node {
    mesh: SocketAddr,
    http: SocketAddr,
    child: Option<Child>,
    /// How long its log was when it was started.
    log_before: usize,
}

/// Who leads.
pub(crate) struct Leader {
    pub(crate) id: u64,
    pub(crate) term: u64,
}

impl Processes {
    /// So many nodes on free ports of this machine. None runs yet.
    pub(crate) fn new(count: u64) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        // All at once, or the second would get the port of the first.
        let listeners = (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0"));
        let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
        let mut nodes = BTreeMap::new();
        for (id, pair) in (1..).zip(listeners.chunks(2)) {
            let [mesh, http] = pair else { continue };
            let (mesh, http) = (mesh.local_addr()?, http.local_addr()?);
            fs::create_dir(folder.0.join(id.to_string()))?;
            let node = Node {
                mesh,
                http,
                child: None,
                log_before: 0,
            };
            nodes.insert(id, node);
        }
        let cluster = Cluster::new(Vec::new(), ANSWER);
        Ok(Self {
            nodes,
            cluster,
            folder,
        })
    }

    /// Where the nodes answer clients.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.values().map(|it| it.http.to_string()).collect()
    }

    pub(crate) fn address(&self, id: u64) -> String {
        self.nodes
            .get(&id)
            .map_or_else(String::new, |it| it.http.to_string())
    }

    pub(crate) fn start(&mut self, id: u64) -> Result<(), Failure> {
        let log = self.log(id);
        let log_file = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["serve", "--id", &id.to_string()])
            .args(OPTIONS);
        command
            .arg("--data")
            .arg(self.folder.0.join(id.to_string()));
        for (peer, Node { mesh, http, .. }) in &self.nodes {
            if *peer == id {
                command.args(["--listen", &mesh.to_string(), "--http", &http.to_string()]);
            } else {
                command.args(["--peer", &format!("{peer}={mesh},{http}")]);
            }
        }
        let log_before = log_file.metadata()?.len() as usize;
        let child = command
            .env("RUST_LOG", "warn,kv=info")
            .stdin(Stdio::null())
            .stdout(Stdio::from(log_file.try_clone()?))
            .stderr(Stdio::from(log_file))
            .kill_on_drop(true)
            .spawn()?;
        let node = self.nodes.get_mut(&id).ok_or("no such node")?;
        node.child = Some(child);
        node.log_before = log_before;
        Ok(())
    }

    /// Kills a node as a power failure would.
    pub(crate) async fn kill(&mut self, id: u64) -> Result<(), Failure> {
        self.all_run()?;
        self.put_out(id).await
    }

    async fn put_out(&mut self, id: u64) -> Result<(), Failure> {
        let node = self.nodes.get_mut(&id).ok_or("no such node")?;
        if let Some(mut child) = node.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// An error if a node has ended that was not killed.
    fn all_run(&mut self) -> Result<(), Failure> {
        for (id, node) in &mut self.nodes {
            if let Some(child) = &mut node.child
                && let Some(status) = child.try_wait()?
            {
                return Err(format!("node {id} has ended by itself: {status}").into());
            }
        }
        Ok(())
    }

    pub(crate) async fn end(mut self) {
        for id in 1..=self.nodes.len() as u64 {
            // One that has ended by itself is gone too.
            let _ = self.put_out(id).await;
        }
    }

    /// Waits for a leader in this term or a later one.
    pub(crate) async fn leader(&mut self, least_term: u64) -> Result<Leader, Failure> {
        loop {
            for (id, node) in &self.nodes {
                if node.child.is_none() {
                    continue;
                }
                let (address, ask) = (node.http.to_string(), Ask::status());
                let asked = self.cluster.ask_only(&address, &ask).await;
                let Ok(answer) = asked else { continue };
                let status = answer.json();
                let term = status["term"].as_u64().unwrap_or_default();
                if status["role"] == "leader" && term >= least_term {
                    return Ok(Leader { id: *id, term });
                }
            }
            self.all_run()?;
            sleep(PAUSE).await;
        }
    }

    /// Waits until a node has applied this entry.
    pub(crate) async fn caught_up(&mut self, id: u64, index: u64) -> Result<(), Failure> {
        let address = self.address(id);
        loop {
            if let Ok(answer) = self.cluster.ask_only(&address, &Ask::status()).await
                && answer.json()["applied"].as_u64() >= Some(index)
            {
                return Ok(());
            }
            self.all_run()?;
            sleep(PAUSE).await;
        }
    }

    /// By what a node came to its state since it was started.
    pub(crate) fn restored(&self, id: u64) -> String {
        let log = fs::read_to_string(self.log(id)).unwrap_or_default();
        let before = self.nodes.get(&id).map_or(0, |node| node.log_before);
        let since = log.get(before..).unwrap_or_default();
        let snapshots: Vec<_> = since
            .lines()
            .filter_map(|line| {
                line.split_once("restored from the snapshot at ")?
                    .1
                    .split(':')
                    .next()
            })
            .collect();
        match snapshots.as_slice() {
            [] => "by its log".to_owned(),
            [one] => format!("by the snapshot at {one} and the log behind it"),
            more => format!(
                "by the snapshots at {} and the log behind",
                more.join(" and ")
            ),
        }
    }

    fn log(&self, id: u64) -> PathBuf {
        self.folder.0.join(format!("{id}.log"))
    }

    /// What the nodes have written at last, for somebody who wonders what has happened.
    pub(crate) fn last_words(&self) -> String {
        let mut words = String::new();
        for id in self.nodes.keys() {
            let log = fs::read_to_string(self.log(*id)).unwrap_or_default();
            let from = log.len().saturating_sub(LAST_WORDS);
            let from = (from..=log.len()).find(|at| log.is_char_boundary(*at));
            words += &format!("---- node {id}, at last:\n{}", &log[from.unwrap_or(0)..]);
        }
        words
    }
}

/// Gone when the story is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("streamraft-kv-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
