//! Elections without a log: a heartbeat round in a cluster at work, and the first election of a cluster.
//!
//! A round: the leader's timer has rung, every follower answers, the leader has all answers. In memory, on one
//! thread, in logical time; what one node says is at the other at once.

pub mod core;
#[cfg(feature = "peers")]
pub mod omnipaxos;
#[cfg(feature = "peers")]
pub mod raft_io;
#[cfg(feature = "peers")]
pub mod raft_rs;
#[cfg(feature = "peers")]
mod rows;

use streamraft::NodeId;

#[cfg(feature = "peers")]
pub use rows::{NAMES, compare};

/// A cluster of one of the peers.
pub trait Cluster {
    /// One that has never run, at the moment at which its first node is to campaign.
    fn due(nodes: u64) -> Self
    where
        Self: Sized;

    /// The first node campaigns and wins, and everyone knows.
    fn elect(&mut self);

    /// One heartbeat round.
    fn round(&mut self);
}

/// After so many rounds nothing changes any more from one to the next.
const TO_SETTLE: usize = 300;

/// A cluster that is [due](Cluster::due), of the peer of this name.
pub fn make(name: &str, nodes: u64) -> Option<Box<dyn Cluster>> {
    Some(match name {
        "streamraft" => Box::new(core::Core::<u64>::due(nodes)),
        "streamraft-nodeid" => Box::new(core::Core::<NodeId>::due(nodes)),
        #[cfg(feature = "peers")]
        "raft-io" => Box::new(raft_io::Nodes::due(nodes)),
        #[cfg(feature = "peers")]
        "raft-rs" => Box::new(raft_rs::Nodes::due(nodes)),
        #[cfg(feature = "peers")]
        "omnipaxos" => Box::new(omnipaxos::Nodes::due(nodes)),
        _ => return None,
    })
}

/// A cluster that has had a leader for long.
pub fn at_work(name: &str, nodes: u64) -> Option<Box<dyn Cluster>> {
    let mut cluster = make(name, nodes)?;
    cluster.elect();
    for _ in 0..TO_SETTLE {
        cluster.round();
    }
    Some(cluster)
}
