//! Leader election for async Rust as a value you poll.
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
mod id;
mod membership;
mod message;
mod node;
mod state;

pub use combinator::{Leadership, Lossy, Router, Token, WhileLeader, WhileLeaderExt, lossy};
pub use config::Config;
pub use election::Election;
pub use error::{ConfigError, Error};
pub use id::{Id, NodeId, NodeIdError};
pub use membership::{Membership, Stamp};
pub use message::{
    ClusterTag, Command, Inbound, LogPosition, Message, MessageKind, MsgRouter, Slot, Slotted,
};
pub use node::TinyRaft;
pub use state::{HardState, NodeState, NodeType, Stats};
