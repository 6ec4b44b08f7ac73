//! One node: its log on its disk, its connections with the others, its machine, and its HTTP interface.

use std::io::{self, Write};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use streamraft::codec::Hello;
use streamraft::raft::{
    DiskLog, FailureKind, LogLimits, Raft, RaftMessage, RaftOver, SessionStamp,
};
use streamraft::{Config, Mesh, NodeState, OverError};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Failure;
use super::args::Serve;
use super::http::{self, MOST_KEY, Service};
use super::listen;
use super::replica::{Replica, Snapshots};
use super::stop;

/// What an entry has beside its key and its value, at most.
const BESIDE: usize = SessionStamp::LEN + 128;

/// How long a node that was stopped may take to hand over.
const GRACE: Duration = Duration::from_secs(2);

type Node = Raft<DiskLog<u64>, u64>;
type Connections = Mesh<u64, RaftMessage<u64>>;

pub(crate) async fn run(args: Serve) -> Result<(), Failure> {
    let started = Instant::now();
    let limits = LogLimits::default()
        .proposal(args.max_value as usize + MOST_KEY + BESIDE)
        .trailing(args.trailing);
    let mut raft = open(&args, limits)?;
    let mesh = connect(&args, limits)?;
    let listener = TcpListener::bind(args.http).await;
    let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", args.http))?;
    show_addresses(started, args.id, &listener, &mesh)?;

    let snapshots = Snapshots {
        entries: args.snapshot_after,
        bytes: args.snapshot_bytes,
    };
    let newest = raft.log().snapshot().map_or(0, |it| it.position.index);
    let (client, applied) = (raft.client(), raft.applied(0));
    let (replica, applying) = Replica::new(client, applied, snapshots, newest);

    let (node, asks) = mpsc::channel(16);
    let router = http::router(Service {
        replica,
        others: args.peers.into_iter().map(|it| (it.id, it.http)).collect(),
        node,
        max_value: args.max_value as usize,
        request_timeout: args.request_timeout,
    });
    let (no_more, closed) = oneshot::channel();
    let serving = listen::serve(listener, router, args.max_connections, closed);
    let work = Work {
        started,
        asks,
        no_more: Some(no_more),
        applying: tokio::spawn(applying),
        serving: tokio::spawn(serving),
    };
    drive(raft.over(mesh), work).await
}

/// What goes on beside the node.
struct Work {
    started: Instant,
    /// Those who want to know how the node is.
    asks: mpsc::Receiver<oneshot::Sender<Value>>,
    /// Dropped, it closes the HTTP interface.
    no_more: Option<oneshot::Sender<()>>,
    applying: JoinHandle<Result<(), Failure>>,
    serving: JoinHandle<()>,
}

/// Polls the node until it ends, be it that it was asked to.
async fn drive(
    mut node: RaftOver<DiskLog<u64>, u64, Connections>,
    mut work: Work,
) -> Result<(), Failure> {
    let mut applying = work.applying.fuse();
    let mut stop_asked = pin!(stop::asked());
    let mut end = pin!(sleep(Duration::MAX));
    let mut is_stopping = false;
    let mut shown = String::new();
    loop {
        tokio::select! {
            item = node.next() => match item {
                // A stopped node says what it still has to say, and then ends.
                None => return Ok(()),
                Some(Ok(state)) => {
                    let line = line(&state);
                    if line != shown {
                        say(work.started, &line)?;
                        shown = line;
                    }
                }
                // With room on its disk again it goes on. After anything else it cannot.
                Some(Err(OverError::Node(failure))) if failure.kind() != FailureKind::Full => {
                    return Err(failure.into());
                }
                Some(Err(error)) => tracing::error!("{error}"),
            },
            Some(ask) = work.asks.recv() => {
                // Who has gone does not want to know.
                let _ = ask.send(status(node.get_ref()));
            }
            // It ends with the node, or with what it cannot apply.
            ended = &mut applying => ended??,
            // First no more requests, then no more leadership: what was asked before is answered.
            asked = &mut stop_asked, if work.no_more.is_some() => {
                asked?;
                work.no_more = None;
            }
            _ = &mut work.serving, if !is_stopping => {
                is_stopping = true;
                node.get_mut().stop();
                end.set(sleep(GRACE));
            }
            // A peer that does not read is not waited for.
            () = &mut end => return Ok(()),
        }
    }
}

fn open(args: &Serve, limits: LogLimits) -> Result<Node, Failure> {
    let store = DiskLog::open(&args.data, &args.id, &args.cluster)?;
    let ids = args.peers.iter().map(|peer| peer.id);
    let config = Config::with_id(args.id, ids.chain([args.id]))?
        .cluster(&args.cluster)
        .election_timeout(args.election_timeout)
        .heartbeat_interval(args.heartbeat_interval);
    Ok(Raft::new(config, limits, store)?)
}

fn connect(args: &Serve, limits: LogLimits) -> Result<Connections, Failure> {
    let peers = args.peers.iter();
    let mesh = Mesh::builder(Hello::new(&args.cluster, args.id))
        .carrying::<RaftMessage<u64>>()
        .max_frame_len(limits.frame_len())
        .listen(args.listen)
        .peers(peers.map(|peer| (peer.id, peer.mesh.as_str())));
    Ok(mesh.build()?)
}

fn status(node: &Node) -> Value {
    let (state, log) = (node.state(), node.log());
    json!({
        "id": node.node_id(),
        "role": state.node_type().to_string(),
        "term": state.term(),
        "leader": state.leader(),
        "last": log.last().index,
        "commit": log.commit(),
        "snapshot": log.snapshot().map_or(0, |snapshot| snapshot.position.index),
    })
}

fn show_addresses(
    started: Instant,
    id: u64,
    listener: &TcpListener,
    mesh: &Connections,
) -> Result<(), Failure> {
    let (http, mesh) = (listener.local_addr()?, mesh.local_addr());
    let mesh = mesh.map_or_else(|| "-".to_owned(), |address| address.to_string());
    say(started, &format!("serves id={id} http={http} mesh={mesh}"))?;
    Ok(())
}

fn line(state: &NodeState<u64>) -> String {
    let (kind, term) = (state.node_type(), state.term());
    let leader = state
        .leader()
        .map_or_else(|| "-".to_owned(), u64::to_string);
    format!("{kind} term={term} leader={leader}")
}

fn say(started: Instant, what: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let seconds = started.elapsed().as_secs_f64();
    writeln!(out, "{seconds:.3}s {what}")?;
    out.flush()
}
