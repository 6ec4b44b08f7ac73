//! Three processes of the example `kv`, each with a folder, and a network between them that can be cut.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use super::ways::Ways;
use crate::program;

/// Small, so that much happens in little time: leaders, snapshots, and logs that are purged.
const OPTIONS: &[&str] = &[
    "--election-timeout=400ms",
    "--heartbeat-interval=50ms",
    "--request-timeout=600ms",
    "--snapshot-after=200",
    "--trailing=20",
];

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::of_example("kv"));

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) http: SocketAddr,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Node {
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&*PROGRAM)
            .arg("serve")
            .args(OPTIONS)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills it as a failure of its machine would, and reaps it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let Some(child) = &self.child else {
            return;
        };
        let pid = child.id().to_string();
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -s {signal} {pid}"
        );
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Node>,
    pub(crate) ways: Ways,
    folder: PathBuf,
    /// Nothing has failed: what the processes have said is of no use any more.
    pub(crate) is_well: bool,
}

impl Nodes {
    pub(crate) async fn start(name: &str) -> io::Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("linear-{}-{name}", std::process::id()));
        let (ways, ids) = (Ways::new(), 1..=3_u64);
        let addresses: Vec<_> = ids.clone().zip(free_addresses()?).collect();
        let mut nodes = Vec::new();
        for (id, [mesh, http]) in &addresses {
            let data = folder.join(id.to_string());
            fs::create_dir_all(&data)?;
            let mut arguments = vec![
                format!("--id={id}"),
                format!("--listen={mesh}"),
                format!("--http={http}"),
                format!("--data={}", data.display()),
            ];
            for (other, [mesh, http]) in addresses.iter().filter(|(other, _)| other != id) {
                let proxy = ways.open(*id, *other, *mesh).await?;
                arguments.push(format!("--peer={other}={proxy},{http}"));
            }
            nodes.push(Node {
                id: *id,
                http: *http,
                arguments,
                log: folder.join(format!("{id}.log")),
                child: None,
            });
        }
        let mut nodes = Self {
            nodes,
            ways,
            folder,
            is_well: false,
        };
        for node in &mut nodes.nodes {
            node.start()?;
        }
        Ok(nodes)
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        let at = self.nodes.iter().position(|node| node.id == id);
        &mut self.nodes[at.unwrap_or(0)]
    }

    /// Starts whoever does not run: was killed, or has ended by itself, as one does that finds somebody else on its port.
    pub(crate) fn revive(&mut self) -> io::Result<()> {
        for node in &mut self.nodes {
            let ended = node.child.as_mut().map(Child::try_wait).transpose()?;
            if ended.is_none_or(|ended| ended.is_some()) {
                node.start()?;
            }
        }
        Ok(())
    }

    pub(crate) fn others(&self, id: u64) -> impl Iterator<Item = u64> {
        let ids = self.nodes.iter().map(|node| node.id);
        ids.filter(move |other| *other != id)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.nodes.clear();
        if self.is_well {
            // What is left over is in the target folder, and harms nobody.
            let _ = fs::remove_dir_all(&self.folder);
        } else {
            let folder = self.folder.display();
            eprintln!("what the processes have said is in {folder}");
        }
    }
}

/// Two for each of three nodes, all free a moment ago.
fn free_addresses() -> io::Result<[[SocketAddr; 2]; 3]> {
    let mut listeners = Vec::new();
    let mut one = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr();
        listeners.push(listener);
        address
    };
    Ok([[one()?, one()?], [one()?, one()?], [one()?, one()?]])
}
