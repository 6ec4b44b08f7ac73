//! Leader election (Raft) for async Rust as a value you poll.
//!
//! A node **is** a `Stream` of what must leave it and a `Sink` of what reaches it. It spawns no task, keeps no queue, and
//! owns no socket and no disk: whatever carries messages is yours, and everything around a node is a combinator. With
//! every leadership it gives a fencing token (the term) and the instant at which its lease ends.
//!
//! The smallest cluster has one node. It leads at once:
//!
//! ```
//! use futures::StreamExt;
//! use streamraft::{Config, MsgRouter, TinyRaft};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut node = TinyRaft::new(Config::new("a", ["a"])?)?;
//! while let Some(item) = node.next().await {
//!     if let MsgRouter::ToSelf(state) = item {
//!         println!("{} in term {}", state.node_type(), state.term());
//!     }
//!     if node.is_leader() {
//!         node.stop(); // hands leadership over, if there is anyone, and ends the stream
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Two nodes need one connection. `forward` drives each: what leaves the node goes into the socket, what comes out of the
//! socket goes into the node. [`Leadership`] shows the rest of the program what becomes of it:
//!
//! ```
//! # #[cfg(feature = "codec")] mod example {
//! use futures::{SinkExt, StreamExt, TryFutureExt, TryStreamExt, future};
//! use streamraft::codec::{Hello, greet};
//! use streamraft::{Config, Inbound, TinyRaft, lossy};
//! use tokio::io::DuplexStream;
//!
//! type Failure = Box<dyn std::error::Error>;
//!
//! async fn run(node: TinyRaft, socket: DuplexStream) -> Result<(), Failure> {
//!     let hello = Hello::new("", node.node_id().clone());
//!     let (peer, connection) = greet(socket, &hello).await?;
//!     let (to_peer, from_peer) = connection.split();
//!     let (to_node, from_node) = node.split();
//!     let outgoing = from_node.map(Ok).forward(lossy(to_peer)).err_into();
//!     let incoming = from_peer
//!         .map_ok(|message| Inbound::FromNode(peer.clone(), message))
//!         .err_into()
//!         .forward(to_node.sink_err_into());
//!     future::try_join(outgoing, incoming).await.map(drop)
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] pub async fn main() -> Result<(), Failure> {
//! let (here, there) = tokio::io::duplex(1024);
//! let a = TinyRaft::new(Config::new("a", ["a", "b"])?)?;
//! let b = TinyRaft::new(Config::new("b", ["a", "b"])?)?;
//! let (a_leads, b_leads) = (a.leadership(), b.leadership());
//! let token = tokio::select! {
//!     ended = future::try_join(run(a, here), run(b, there)) => return ended.map(drop),
//!     token = a_leads.lead() => token,
//!     token = b_leads.lead() => token,
//! };
//! assert_eq!(token.get(), 1); // the fencing token: another leadership has a greater one
//! # Ok(()) } }
//! # #[cfg(feature = "codec")] example::main().unwrap();
//! ```
//!
//! Three nodes survive the loss of one. Here one loop polls all of them and carries their messages; the first that leads is
//! dropped:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::future::poll_fn;
//! use std::task::Poll;
//!
//! use futures::StreamExt;
//! use streamraft::{Config, MsgRouter, TinyRaft};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut nodes = BTreeMap::new();
//! for id in [1, 2, 3] {
//!     nodes.insert(id, TinyRaft::new(Config::with_id(id, [1, 2, 3])?)?);
//! }
//! let mut tokens = Vec::new();
//! while tokens.len() < 2 {
//!     let (from, item) = poll_fn(|cx| {
//!         let items = nodes.iter_mut().map(|(id, node)| (*id, node.poll_next_unpin(cx)));
//!         for (id, item) in items {
//!             if let Poll::Ready(Some(item)) = item {
//!                 return Poll::Ready((id, item));
//!             }
//!         }
//!         Poll::Pending
//!     })
//!     .await;
//!     match item {
//!         MsgRouter::ToNode(to, message) => {
//!             if let Some(node) = nodes.get_mut(&to) {
//!                 node.on_receive(from, message);
//!             }
//!         }
//!         MsgRouter::ToSelf(state) if state.lease().is_some() => {
//!             tokens.push(state.term());
//!             nodes.remove(&from);
//!         }
//!         _ => {}
//!     }
//! }
//! assert!(tokens[0] < tokens[1]); // each leadership has a newer token
//! # Ok(()) }
//! ```
//!
//! # Where to read on
//!
//! - [`TinyRaft`]: the node. [`Config`]: its settings. [`NodeState`]: what it shows.
//! - [`over`](TinyRaft::over) a transport, such as `Mesh` (feature `tcp`, on by default): the whole loop in one line.
//!   [`durable`](TinyRaft::durable): votes that survive a restart, in a `FileStore` (feature `file`, on by default).
//! - [`Leadership`] and [`while_leader`](WhileLeaderExt::while_leader): what the rest of a program needs.
//! - [`Router`] and [`lossy`]: to sockets that may be slow. `codec` (feature `codec`, on by default): messages as bytes.
//! - [`Election`]: the rules without clock, I/O and runtime.
//! - [`Groups`]: thousands of elections in one value, with heartbeats that machines share.
//! - `raft` (feature `log`): a replicated log above the election, in the same shape.
//! - [`guide`]: architecture, timing, leadership, membership, groups, log, safety, recipes.
//!
//! The hard state must survive a restart: [leadership](guide::leadership) says what follows if it does not.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
        reason = "a test that fails panics"
    )
)]

mod clock;
#[cfg(feature = "codec")]
pub mod codec;
mod combinator;
mod config;
mod election;
mod error;
mod groups;
pub mod guide;
mod id;
mod membership;
#[cfg(feature = "tcp")]
mod mesh;
mod message;
mod node;
#[cfg(feature = "log")]
pub mod raft;
#[cfg(feature = "sim")]
pub mod sim;
mod state;
mod store;
mod waiting;

pub use combinator::{
    Both, Durable, Groups, GroupsOver, Leadership, Lossy, Node, Over, OverError, Router, Token,
    WhileLeader, WhileLeaderExt, both, lossy,
};
pub use config::Config;
pub use election::Election;
pub use error::{ConfigError, Error};
pub use groups::{Elections, GroupsStats};
pub use id::{Id, NodeId, NodeIdError};
pub use membership::{Membership, Stamp};
#[cfg(feature = "tcp")]
pub use mesh::{
    Mesh, MeshBuildError, MeshBuilder, MeshError, MeshStats, Opening, PeerAddr, Sockets,
};
#[cfg(feature = "tls")]
pub use mesh::{MeshTls, MeshTlsError};
pub use message::{
    Attachment, Beat, ClusterTag, Command, Inbound, LogPosition, Message, MessageKind, MsgRouter,
    Slot, Slotted,
};
pub use node::TinyRaft;
pub use state::{HardState, NodeState, NodeType, Stats};
#[cfg(feature = "file")]
pub use store::{FileStore, FileStoreError};
pub use store::{MemoryStore, MemoryStoreError, VoteStore};
pub use waiting::{Keyed, Payload, Queue, Queued, TwoSlots, Waiting};

/// The version of rustls that [`MeshTls::from_configs`] takes the settings of.
#[cfg(feature = "tls")]
#[doc(no_inline)]
pub use tokio_rustls::rustls;
