//! One node of a cluster as one process, to be started once on each machine (or three times on this one):
//!
//! ```text
//! cargo run --example node -- --id a --listen 127.0.0.1:7001 --peer b=127.0.0.1:7002 --peer c=127.0.0.1:7003
//! cargo run --example node -- --id b --listen 127.0.0.1:7002 --peer a=127.0.0.1:7001 --peer c=127.0.0.1:7003
//! cargo run --example node -- --id c --listen 127.0.0.1:7003 --peer a=127.0.0.1:7001 --peer b=127.0.0.1:7002
//! ```
//!
//! Standard output has one line for every change of the node's state, and nothing else:
//!
//! ```text
//! 12.345s leader term=3 leader=a nodes=a,b,c observers=- followers=b,c lease=870ms
//! ```
//!
//! that is, the seconds since the start, the node's type, then `key=value` with `-` for nothing, and, while a change
//! is under way, `target=..`, `waiting_for=..` and `transferring_to=..`. Programs should go by the keys: later
//! versions may add some. What goes wrong is told on standard error; `RUST_LOG=debug` tells more.
//!
//! Standard input takes the commands that `help` lists. Its end is not the end of the node; Ctrl-C or SIGTERM is, and
//! leadership is handed over before.
//!
//! With `--data DIR` (a folder that exists) a restart goes on where the node was: its term, its vote and the list of
//! voters are in `DIR/ID.vote`, and nothing that depends on a change leaves the node before the change is there. The
//! node ends, with a message and status 1, if it cannot write there, if another process has the file open, or if the
//! file is damaged or belongs to another node or cluster.
//!
//! **Without `--data` nothing is kept on disk**, and a node that was restarted has forgotten what it promised:
//!
//! - It can vote a second time in a term, and then two nodes lead in that term. A node that starts withholds its vote
//!   for one election timeout, which keeps the *leases* of the two apart, but both have one fencing token. (With
//!   `--bootstrap`, which is for the first start only, it withholds nothing.)
//! - If a majority was restarted, terms begin at 1 again, so that a newer leader has an older token.
//! - It falls back to the list of voters in its arguments, whatever `nodes` has changed since.
//!
//! With `--tls DIR` every connection is encrypted, and both sides of each show a certificate: `DIR/ca.pem` is the CA of
//! the cluster, `DIR/ID.pem` and `DIR/ID.key` are the node's own. The example `certs` makes such a folder. Who shows no
//! certificate of this CA, or another node's, is refused, and told of on standard error. **Without `--tls`** there is
//! neither encryption nor authentication: for a trusted network.

mod connections;
mod order;
mod votes;

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use futures::{SinkExt, StreamExt};
use streamraft::{Config, Durable, HardState, Mesh, NodeId, NodeState, Over, OverError, TinyRaft};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;

use order::{Address, HELP, Order};
use votes::Votes;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What standard error tells without `RUST_LOG`: what goes wrong, and who comes and is refused.
const TOLD: &str = "warn,node=info,streamraft::mesh=info,streamraft::mesh::accept=debug";

/// One node of a cluster that elects a leader.
#[derive(Parser)]
struct Args {
    /// The node's name, unique in the cluster: 1 to 36 bytes without white space
    #[arg(long)]
    id: NodeId,
    /// Where this node listens
    #[arg(long, value_name = "HOST:PORT")]
    listen: String,
    /// Another node, and where it is reached; once for each
    #[arg(long = "peer", value_name = "ID=HOST:PORT")]
    peers: Vec<Address>,
    /// Belong to nothing yet: wait until a leader is told `nodes` with this node among them
    #[arg(long)]
    join: bool,
    /// Vouch that this cluster has never run: its first election then waits for no election timeout
    #[arg(long, conflicts_with = "join")]
    bootstrap: bool,
    /// Keep the vote in DIR/ID.vote, where a restart finds it; the folder must exist
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Encrypt, and let nobody in without a certificate: DIR/ca.pem, DIR/ID.pem, DIR/ID.key
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// The cluster's name, the same on every node
    #[arg(long, value_name = "NAME", default_value = "")]
    cluster: String,
    /// For how long a leader may be silent before another is elected; the same on every node
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    election_timeout: Duration,
    /// How often a leader shows that it lives
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = humantime::parse_duration)]
    heartbeat_interval: Duration,
    /// The higher, the rather it leads
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    priority: u64,
}

impl Args {
    fn config(&self, saved: Option<HardState>) -> Result<Config, Failure> {
        let mut config = if self.join {
            Config::join(self.id.clone())
        } else {
            let peers = self.peers.iter().map(|peer| peer.id.clone());
            Config::with_id(self.id.clone(), peers.chain([self.id.clone()]))?
        };
        if self.bootstrap {
            config = config.bootstrap();
        }
        Ok(config
            .restore(saved)
            .cluster(&self.cluster)
            .election_timeout(self.election_timeout)
            .heartbeat_interval(self.heartbeat_interval)
            .leader_priority(self.priority))
    }
}

/// The node, its vote and its connections: all that there is to poll.
type Node = Over<Durable<TinyRaft, Votes>, Mesh>;

/// The whole program is this one task: whatever happens next, happens here.
async fn run(args: &Args) -> Result<(), Failure> {
    let started = Instant::now();
    let (votes, saved) = Votes::open(args.data.as_deref(), &args.id, &args.cluster)?;
    let node = TinyRaft::new(args.config(saved)?)?;
    let mesh = connections::open(args).await?;
    if let Some(address) = mesh.local_addr() {
        tracing::info!(
            "{} listens on {address} and keeps its vote {votes}",
            args.id
        );
    }
    let mut shown = node.state().clone();
    show(started, &shown)?;
    let mut node = node.durable(votes).over(mesh);

    let mut lines = lines_of_stdin();
    let mut stop_asked = pin!(stop_asked());
    let mut stopping = false;
    loop {
        tokio::select! {
            item = node.next() => match item {
                // A stopped node says what it still has to say, and then ends.
                None => break,
                Some(Ok(state)) if state == shown => {}
                Some(Ok(state)) => {
                    show(started, &state)?;
                    shown = state;
                }
                // A vote that could not be kept is the end too: nothing that depends on it may leave.
                Some(Err(OverError::Node(error))) => return Err(error.into()),
                Some(Err(error)) => tracing::warn!("{error}"),
            },
            Some(line) = lines.recv() => {
                let order = line.parse();
                if let Err(error) = order.and_then(|order| obey(order, &mut node, started)) {
                    eprintln!("{error}");
                }
            }
            asked = &mut stop_asked, if !stopping => {
                asked?;
                stopping = true;
                node.get_mut().get_mut().stop();
            }
        }
    }
    let (_, mut mesh) = node.into_inner();
    // A peer that does not read is not waited for.
    let Ok(()) = mesh.close().await;
    Ok(())
}

/// Carries an order out. One that the node refuses leaves it as it was.
fn obey(order: Order, node: &mut Node, started: Instant) -> Result<(), Failure> {
    if let Order::Nodes(_, addresses) = &order {
        for Address { id, at } in addresses {
            node.transport_mut().insert_peer(id.clone(), at.as_str());
        }
    }
    let durable = node.get_mut();
    match order {
        Order::Nodes(nodes, _) => durable.get_mut().set_nodes(nodes)?,
        Order::Transfer(to) => durable.get_mut().transfer(to)?,
        Order::Resign => durable.get_mut().resign(),
        Order::Priority(priority) => durable.get_mut().set_priority(priority),
        Order::State => show(started, durable.state())?,
        Order::Stop => durable.get_mut().stop(),
        Order::Help => eprintln!("{HELP}"),
    }
    Ok(())
}

/// Writes the line that the head of this file describes.
fn show(started: Instant, state: &NodeState) -> io::Result<()> {
    let mut fields = vec![
        ("term", state.term().to_string()),
        ("leader", or_dash(state.leader())),
        ("nodes", list(state.nodes())),
        ("observers", list(state.observers())),
        ("followers", list(state.followers())),
        ("lease", or_dash(state.lease().map(time_left))),
    ];
    if state.target() != state.nodes() {
        fields.push(("target", list(state.target())));
    }
    if !state.waiting_for().is_empty() {
        fields.push(("waiting_for", list(state.waiting_for())));
    }
    if let Some(to) = state.transferring_to() {
        fields.push(("transferring_to", to.to_string()));
    }
    let mut out = io::stdout().lock();
    let seconds = started.elapsed().as_secs_f64();
    write!(out, "{seconds:.3}s {}", state.node_type())?;
    for (key, value) in fields {
        write!(out, " {key}={value}")?;
    }
    writeln!(out)?;
    out.flush()
}

fn list(ids: &[NodeId]) -> String {
    let ids: Vec<_> = ids.iter().map(NodeId::as_str).collect();
    or_dash((!ids.is_empty()).then(|| ids.join(",")))
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn time_left(end: Instant) -> String {
    let left = end.saturating_duration_since(Instant::now());
    format!("{}ms", left.as_millis())
}

/// The lines of standard input, from a thread of its own: a read from a terminal cannot be cancelled, and tokio's
/// would keep the process from ending until somebody pressed Enter.
fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(8);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if !line.trim().is_empty() && sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(TOLD));
    // A cause behind its message, as in the errors that end this program.
    let fields = debug_fn(|out, field, value| match field.name() {
        "message" | "error" => write!(out, "{value:?}"),
        name => write!(out, "{name}={value:?}"),
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .fmt_fields(fields.delimited(": "))
        .init();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node: {error}");
            ExitCode::FAILURE
        }
    }
}
