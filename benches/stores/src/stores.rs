//! The candidates.

#[cfg(feature = "streamraft")]
pub mod disk_log;
#[cfg(feature = "fjall")]
pub mod fjall;
pub mod own;
#[cfg(feature = "raft-engine")]
pub mod raft_engine;
#[cfg(feature = "redb")]
pub mod redb;
#[cfg(feature = "rusqlite")]
pub mod sqlite;
