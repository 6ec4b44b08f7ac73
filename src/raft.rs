//! A replicated log, one layer above the election (feature `log`).
//!
//! [`Raft`] is the node: a `Stream` and a `Sink`, as [`TinyRaft`](crate::TinyRaft) is. [`Client`] proposes and reads,
//! [`AppliedStream`] gives the state machine what is committed, a [`LogStore`] keeps it. A [`Session`] has commands run once,
//! however often they are proposed, and a [`Seeker`] says whom to ask. [`Replication`] is all of it without
//! clock, I/O and `async`. [The guide](crate::guide::log) says how it works and what it promises.

mod applied;
mod client;
mod entry;
mod error;
mod feed;
mod limits;
mod mark;
mod message;
mod node;
mod over;
mod replication;
mod seeker;
mod session;
mod store;
mod tail;
mod terms;
mod waiting;
mod wire;

pub use applied::{Applied, AppliedStream};
pub use client::{Client, ClientCompactError, ClientError};
pub use entry::{Batch, BatchError, Entries, Entry, EntryKind, EntryRef};
pub use error::{LimitsError, ProposeError, StartError};
pub use limits::LogLimits;
pub use message::{Append, AppendAck, Head, RaftMessage, Refused, SnapshotAck, SnapshotSend};
pub use node::{Raft, RaftInbound, RaftOutput};
pub use over::RaftOver;
pub use replication::{CompactError, LogStats, Read, ReadIndex, ReadState, Replication};
pub use seeker::Seeker;
pub use session::{
    Outcome, Session, SessionError, SessionLimits, SessionRequest, SessionStamp, Sessions,
    SessionsError, StampError, Stamped,
};
#[cfg(feature = "log-disk")]
pub use store::{DiskLog, DiskLogError};
pub use store::{
    Failure, FailureKind, LogStore, MemoryLog, Recovered, Snapshot, SnapshotPart, Write,
};
