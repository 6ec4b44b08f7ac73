//! Replicated logs: proposals that are committed, and applied by the leader.
//!
//! Three nodes, on one thread of one core, logs in memory, messages handed over as they are. In each round so many proposals
//! (the window) are put to the leader at once; the next round begins when its state machine has applied them.

#[cfg(feature = "peers")]
pub mod async_raft;
pub mod core;
#[cfg(feature = "peers")]
pub mod little_raft;
#[cfg(feature = "peers")]
pub mod omnipaxos;
#[cfg(feature = "peers")]
pub mod openraft;
#[cfg(feature = "peers")]
pub mod raft_io;
#[cfg(feature = "peers")]
pub mod raft_rs;
#[cfg(feature = "peers")]
mod rows;
pub mod streams;

#[cfg(feature = "peers")]
pub use rows::{NAMES, compare};

use futures::future::join_all;
use tokio::task::unconstrained;

use crate::callgrind::measured;

/// What is proposed: a buffer of its own each, made before the clock runs.
pub type Proposal = Vec<u8>;

/// Three nodes of one of the peers, one of which leads.
pub trait Cluster {
    /// Puts these to the leader, so many at once, and calls `lap` whenever it has applied all of those.
    fn run(&mut self, proposals: Vec<Proposal>, window: usize, lap: &mut dyn FnMut());
}

/// One that is polled by its owner.
pub trait Polled {
    /// At the leader.
    fn propose(&mut self, proposal: Proposal);

    /// Hands messages over until nobody has any more to say.
    fn settle(&mut self);

    /// How many proposals the leader has applied.
    fn applied(&self) -> u64;
}

impl<P: Polled> Cluster for P {
    fn run(&mut self, proposals: Vec<Proposal>, window: usize, lap: &mut dyn FnMut()) {
        let goal = self.applied() + proposals.len() as u64;
        let mut proposals = proposals.into_iter().peekable();
        while proposals.peek().is_some() {
            for proposal in proposals.by_ref().take(window) {
                self.propose(proposal);
            }
            self.settle();
            lap();
        }
        assert_eq!(self.applied(), goal, "all were applied");
    }
}

/// A state machine that looks at everything and keeps nothing.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub applied: u64,
    sum: u64,
}

impl Machine {
    pub fn apply(&mut self, proposal: &[u8]) {
        self.applied += 1;
        let first = proposal.first().copied().unwrap_or_default();
        self.sum = self.sum.wrapping_add(u64::from(first));
    }
}

/// A cluster of the peer of this name that has committed something.
pub fn make(name: &str) -> Option<Box<dyn Cluster>> {
    Some(match name {
        "streamraft, core" => Box::new(core::Nodes::led(3)),
        "streamraft, core, telling" => Box::new(core::Nodes::led(3).telling()),
        "streamraft" => Box::new(streams::Nodes::led(3)),
        #[cfg(feature = "peers")]
        "omnipaxos" => Box::new(omnipaxos::Nodes::<omnipaxos::Owned>::led()),
        #[cfg(feature = "peers")]
        "omnipaxos, `Bytes`" => Box::new(omnipaxos::Nodes::<omnipaxos::Shared>::led()),
        #[cfg(feature = "peers")]
        "raft-rs" => Box::new(raft_rs::Nodes::led()),
        #[cfg(feature = "peers")]
        "raft-io" => Box::new(raft_io::Nodes::led()),
        #[cfg(feature = "peers")]
        "little_raft" => Box::new(little_raft::Nodes::led()),
        #[cfg(feature = "peers")]
        "async-raft" => Box::new(async_raft::Nodes::led()),
        #[cfg(feature = "peers")]
        "openraft" => Box::new(openraft::Nodes::led()),
        _ => return None,
    })
}

/// Puts proposals to one that answers when it has applied them.
pub async fn rounds<F: Future<Output = ()>>(
    proposals: Vec<Proposal>,
    window: usize,
    lap: &mut dyn FnMut(),
    propose: impl Fn(Proposal) -> F,
) {
    let mut proposals = proposals.into_iter().peekable();
    while proposals.peek().is_some() {
        let some = proposals.by_ref().take(window);
        // One task for what would be many: tokio's budget is for one.
        unconstrained(join_all(some.map(&propose))).await;
        lap();
    }
}

/// Does so many proposals one by one, in the part that is counted. `false`: nobody of this name is counted.
pub fn repeat(name: &str, nodes: u64, times: usize) -> bool {
    let mut cluster: Box<dyn Cluster> = match name {
        "streamraft" => Box::new(core::Nodes::led(nodes)),
        "streamraft-streams" => Box::new(streams::Nodes::led(nodes)),
        _ => match make(name) {
            Some(cluster) if nodes == 3 => cluster,
            _ => return false,
        },
    };
    cluster.run(proposals(TO_SETTLE, 16), 1, &mut || {});
    let mut counted = Some(proposals(times, 16));
    measured(&mut || {
        if let Some(proposals) = counted.take() {
            cluster.run(proposals, 1, &mut || {});
        }
    });
    true
}

/// After so many proposals nothing changes any more from one to the next.
const TO_SETTLE: usize = 300;

/// So many proposals of so many bytes.
pub fn proposals(count: usize, bytes: usize) -> Vec<Proposal> {
    (0..count).map(|at| vec![at as u8; bytes]).collect()
}
