//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use humantime::parse_duration;

use super::client::Cluster;
use super::values::Condition;

/// A replicated, durable key-value store with an HTTP interface. Without arguments: a story of three processes.
#[derive(Parser)]
#[command(name = "kv")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run one node
    Serve(Serve),
    /// Write a value
    Put(Put),
    /// Read a value, and see all that was acknowledged before
    Get(Get),
    /// Remove a key
    Delete(Delete),
    /// Show what each node knows
    Status(Nodes),
    /// Start three nodes, write and read, kill each in turn, and look for what was lost
    Story,
}

#[derive(Args)]
pub(crate) struct Serve {
    /// This node's id
    #[arg(long, value_name = "NUMBER")]
    pub(crate) id: u64,
    /// Where the other nodes reach this one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Where clients reach this one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http: SocketAddr,
    /// Another node: where this one reaches it, and where clients do; once for each
    #[arg(long = "peer", value_name = "ID=HOST:PORT,HOST:PORT")]
    pub(crate) peers: Vec<Peer>,
    /// The folder of this node's log; it must exist
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The cluster's name, the same on every node
    #[arg(long, value_name = "NAME", default_value = "kv")]
    pub(crate) cluster: String,
    /// For how long a leader may be silent before another is elected; the same on every node
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub(crate) election_timeout: Duration,
    /// How often a leader shows that it lives
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = parse_duration)]
    pub(crate) heartbeat_interval: Duration,
    /// Keep a snapshot after so many entries
    #[arg(long, value_name = "ENTRIES", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) snapshot_after: u64,
    /// Keep a snapshot after so many bytes of entries
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) snapshot_bytes: u64,
    /// How many entries before a snapshot stay in the log, for nodes that are a little behind
    #[arg(long, value_name = "ENTRIES", default_value_t = 10_000)]
    pub(crate) trailing: u64,
    /// The longest value; the same on every node
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(..=MOST_VALUE))]
    pub(crate) max_value: u32,
    /// How long a request may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) request_timeout: Duration,
    /// How many connections clients may have
    #[arg(long, value_name = "COUNT", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections: u32,
}

/// 256 MiB: a value travels in one message.
const MOST_VALUE: i64 = 256 << 20;

/// Another node: where nodes reach it, and where clients do.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) id: u64,
    pub(crate) mesh: String,
    pub(crate) http: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(id, addresses)| {
            let (mesh, http) = addresses.split_once(',')?;
            Some((id, mesh, http))
        });
        let (id, mesh, http) = parts.ok_or("it is not of the form ID=HOST:PORT,HOST:PORT")?;
        let id = id
            .parse()
            .map_err(|error| format!("the id {id:?}: {error}"))?;
        let (mesh, http) = (host_and_port(mesh)?, host_and_port(http)?);
        Ok(Self { id, mesh, http })
    }
}

/// `HOST:PORT`, to be looked up when it is used.
pub(crate) fn host_and_port(text: &str) -> Result<String, String> {
    let is_one = text
        .parse::<axum::http::uri::Authority>()
        .is_ok_and(|it| !it.host().is_empty() && it.port_u16().is_some() && !text.contains('@'));
    if !is_one {
        return Err(format!("{text:?} is not of the form HOST:PORT"));
    }
    Ok(text.to_owned())
}

/// Whom a client asks.
#[derive(Args)]
pub(crate) struct Nodes {
    /// Where the nodes answer clients, or some of them
    #[arg(
        long,
        value_name = "HOST:PORT,..",
        value_delimiter = ',',
        default_value = "127.0.0.1:8101,127.0.0.1:8102,127.0.0.1:8103",
        value_parser = host_and_port
    )]
    pub(crate) at: Vec<String>,
    /// How long to try
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

impl Nodes {
    pub(crate) fn cluster(self) -> Cluster {
        Cluster::new(self.at, self.timeout)
    }
}

#[derive(Args)]
pub(crate) struct Put {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Only if the present value was written by this entry of the log
    #[arg(long, value_name = "INDEX", conflicts_with = "if_missing")]
    if_index: Option<u64>,
    /// Only if there is no such key
    #[arg(long)]
    if_missing: bool,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
}

impl Put {
    pub(crate) fn condition(&self) -> Condition {
        match self.if_index {
            Some(index) => Condition::Index(index),
            None if self.if_missing => Condition::Missing,
            None => Condition::Always,
        }
    }
}

#[derive(Args)]
pub(crate) struct Get {
    pub(crate) key: String,
    /// What the first node has that answers, which may be old
    #[arg(long)]
    pub(crate) stale: bool,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
}

#[derive(Args)]
pub(crate) struct Delete {
    pub(crate) key: String,
    /// Only if the present value was written by this entry of the log
    #[arg(long, value_name = "INDEX")]
    if_index: Option<u64>,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
}

impl Delete {
    pub(crate) fn condition(&self) -> Condition {
        self.if_index.map_or(Condition::Always, Condition::Index)
    }
}
