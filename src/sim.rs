//! A simulated cluster for tests: nodes, a network, disks and clocks in one thread, on virtual time, from one seed.
//!
//! It drives the very [`Election`](crate::Election) that runs in production, and any layer above that is a [`Machine`]. At
//! every step it checks what must hold ([`invariant`]). A run that breaks something is made smaller and reported with its
//! seed, its steps and a chart of its messages ([`Failure`]); the seed replays it.
//!
//! ```
//! use streamraft::sim::Cluster;
//!
//! // Twenty random runs: crashes, cuts, pauses, slow disks, lost messages, sick clocks, transfers.
//! let summary = Cluster::elections([1, 2, 3]).check(0..20)?;
//! assert!(summary.elections >= 20);
//! # Ok::<(), streamraft::sim::Failure>(())
//! ```
//!
//! [The guide](crate::guide::simulation) says how to use it for a protocol of your own, how a replay works, what is checked
//! and what is not. No tokio, no thread, no real clock (one instant is taken as the origin of all others) and no randomness
//! but the seed's.

mod builder;
mod chart;
mod clock;
mod cluster;
mod conditions;
mod dice;
mod digest;
mod election;
mod failure;
mod fault;
mod groups;
mod host;
pub mod invariant;
#[cfg(feature = "log")]
mod log;
mod machine;
mod operate;
mod post;
mod run;
mod schedule;
mod shrink;
mod summary;
mod timing;
mod world;

pub use builder::Builder;
pub use cluster::Cluster;
pub use conditions::Conditions;
pub use dice::Dice;
pub use failure::Failure;
pub use fault::{Fault, Faults, Who};
pub use groups::{GroupsInput, GroupsMachine};
pub use host::Shown;
pub use invariant::{Broken, Event, Invariant};
#[cfg(feature = "log")]
pub use log::{Answered, Held, LogInput, LogNode, LogState};
pub use machine::{Boot, Machine, Output, StartError};
pub use summary::Summary;
pub use timing::Timing;
pub use world::World;
