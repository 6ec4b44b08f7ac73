//! One member of the cluster: a node over TCP with its vote in a file, and the job beside it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures::{SinkExt, StreamExt};
use streamraft::codec::Hello;
use streamraft::{Command, Config, FileStore, Mesh, NodeId, OverError, TinyRaft};

use super::Failure;
use super::job::Job;
use super::report::Report;

/// The settings of one member.
#[derive(Args)]
pub(crate) struct Member {
    /// The node's name, unique in the cluster
    #[arg(long)]
    id: NodeId,
    /// Where this node listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Another node, and where it is reached; once for each
    #[arg(long = "peer", value_name = "ID=HOST:PORT")]
    peers: Vec<Peer>,
    /// Keep the vote in DIR/ID.vote; the folder must exist
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The file that the leader, and nobody else, writes to; the same on every node
    #[arg(long, value_name = "PATH")]
    file: PathBuf,
    /// How often the leader writes
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = humantime::parse_duration)]
    tick: Duration,
    /// For how long an entry is on its way to the file, as over a slow network
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = humantime::parse_duration)]
    transit: Duration,
    /// For how long a leader may be silent before another is elected; the same on every node
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    election_timeout: Duration,
    /// How often a leader shows that it lives
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = humantime::parse_duration)]
    heartbeat_interval: Duration,
    /// Vouch that this cluster has never run: its first election then waits for no election timeout
    #[arg(long)]
    bootstrap: bool,
}

#[derive(Clone)]
struct Peer {
    id: NodeId,
    at: String,
}

impl FromStr for Peer {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let (id, at) = text
            .split_once('=')
            .ok_or("expected ID=HOST:PORT, found no '='")?;
        Ok(Self {
            id: id.parse()?,
            at: at.to_owned(),
        })
    }
}

/// The cluster's name: a node of another example that dials the wrong port is not heard.
const CLUSTER: &str = "singleton";

impl Member {
    fn node(&self) -> Result<(TinyRaft, FileStore), Failure> {
        let path = self.data.join(format!("{}.vote", self.id));
        let (store, saved) = FileStore::open(path, self.id.clone(), CLUSTER)?;
        let peers = self.peers.iter().map(|peer| peer.id.clone());
        let mut config = Config::with_id(self.id.clone(), peers.chain([self.id.clone()]))?
            .cluster(CLUSTER)
            .election_timeout(self.election_timeout)
            .heartbeat_interval(self.heartbeat_interval);
        if self.bootstrap {
            config = config.bootstrap();
        }
        if let Some(saved) = saved {
            config = config.restore(saved);
        }
        Ok((TinyRaft::new(config)?, store))
    }

    /// Connections that are mended about as soon as a leader is replaced.
    fn mesh(&self) -> Result<Mesh, Failure> {
        let least = Duration::from_millis(20).min(self.election_timeout);
        let mesh = Mesh::builder(Hello::new(CLUSTER, self.id.clone()))
            .listen(self.listen)
            .handshake_timeout(self.election_timeout)
            .idle_timeout(3 * self.election_timeout)
            .backoff(least, self.election_timeout);
        let mesh = self.peers.iter().fold(mesh, |mesh, peer| {
            mesh.peer(peer.id.clone(), peer.at.clone())
        });
        Ok(mesh.build()?)
    }
}

/// Runs the node and the job, in this one task, until the process is told to end or something fails.
pub(crate) async fn run(member: Member) -> Result<(), Failure> {
    let (node, store) = member.node()?;
    let leadership = node.leadership();
    let term = node.state().term();
    let mut node = node.durable(store).over(member.mesh()?);
    let job = Job {
        started: Instant::now(),
        writer: member.id,
        file: Arc::new(member.file),
        tick: member.tick,
        transit: member.transit,
    };
    job.say(Report::Begins { term })?;

    let mut job = pin!(job.run(&leadership));
    let mut stop_asked = pin!(stop_asked());
    let mut stopping = false;
    loop {
        tokio::select! {
            item = node.next() => match item {
                None => return Ok(()),
                Some(Ok(state)) => tracing::info!("{} in term {}", state.node_type(), state.term()),
                Some(Err(OverError::Receive(lost))) => tracing::info!("{lost}"), // the mesh dials again
                // A vote that could not be kept: nothing that depends on it may leave, so this is the end.
                Some(Err(error)) => return Err(error.into()),
            },
            failed = &mut job => return failed.map(|never| match never {}),
            asked = &mut stop_asked, if !stopping => {
                asked?;
                stopping = true;
                node.send(Command::Stop).await?; // hands over, and then the stream ends
            }
        }
    }
}

/// Waits for Ctrl-C, or for the signal by which service managers end a process.
async fn stop_asked() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            asked = tokio::signal::ctrl_c() => asked,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
