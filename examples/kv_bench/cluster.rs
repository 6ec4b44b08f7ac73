//! Three processes of the example `kv`, for whoever has no cluster: on free ports, in a folder that goes with them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::Failure;
use super::kv::Kv;
use super::load::{Ask, Target};

/// How long it may take until somebody leads.
const PATIENCE: Duration = Duration::from_secs(30);

const SIZE: usize = 3;

/// The processes, and their folder: it goes when they are gone.
pub(crate) struct Cluster {
    children: Vec<Child>,
    nodes: Vec<String>,
    folder: Folder,
}

impl Cluster {
    /// Starts them, and waits until one leads.
    pub(crate) async fn start(program: Option<PathBuf>) -> Result<Self, Failure> {
        let program = match program {
            Some(program) => program,
            None => build().await?,
        };
        let folder = Folder::new()?;
        let ports = free_ports(2 * SIZE)?;
        let nodes: Vec<_> = ports[SIZE..].iter().map(SocketAddr::to_string).collect();
        let mut cluster = Self {
            children: Vec::new(),
            nodes,
            folder,
        };
        for number in 0..SIZE {
            let child = cluster.spawn(&program, number, &ports)?;
            cluster.children.push(child);
        }
        cluster.wait().await?;
        Ok(cluster)
    }

    pub(crate) const fn nodes(&self) -> &Vec<String> {
        &self.nodes
    }

    fn spawn(&self, program: &Path, number: usize, ports: &[SocketAddr]) -> Result<Child, Failure> {
        let data = self.folder.0.join(number.to_string());
        fs::create_dir(&data)?;
        let (mesh, http) = ports.split_at(SIZE);
        let mut command = Command::new(program);
        command
            .args(["serve", "--id", &number.to_string()])
            .args(["--listen", &mesh[number].to_string()])
            .args(["--http", &http[number].to_string()])
            .arg("--data")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        for peer in (0..SIZE).filter(|peer| *peer != number) {
            let peer = format!("{peer}={},{}", mesh[peer], http[peer]);
            command.args(["--peer", &peer]);
        }
        let child = command.spawn();
        Ok(child.map_err(|error| format!("{}: {error}", program.display()))?)
    }

    async fn wait(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        let ask = Ask::Put {
            key: "first".to_owned(),
            value: "value".into(),
        };
        loop {
            let mut target = Kv::new(&self.nodes, 0, false);
            let left = end.saturating_duration_since(Instant::now());
            match timeout(left, target.ask(&ask)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(_)) => sleep(Duration::from_millis(50)).await,
                Err(_) => return Err(format!("no kv leads within {PATIENCE:?}").into()),
            }
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    return Err(format!("a kv has ended before the load: {status}").into());
                }
            }
        }
    }

    pub(crate) async fn end(mut self) {
        for child in &mut self.children {
            // One that has ended already is not killed.
            let _ = child.kill().await;
        }
    }
}

/// Has cargo build the example the way this program was built.
async fn build() -> Result<PathBuf, Failure> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--example", "kv"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let built = command.output().await;
    let built = built.map_err(|error| format!("cargo cannot build the example kv: {error}"))?;
    let messages = built.stdout.split(|byte| *byte == b'\n');
    let found = messages
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "kv")
        .find_map(|message| Some(message["executable"].as_str()?.into()));
    Ok(found.ok_or("cargo has not built the example kv; --kv PATH names one that is built")?)
}

fn free_ports(count: usize) -> Result<Vec<SocketAddr>, Failure> {
    // All at once, or the second would get the port of the first.
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
    let ports = listeners.iter().map(TcpListener::local_addr);
    Ok(ports.collect::<Result<_, _>>()?)
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let name = format!(
            "kv-bench-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
