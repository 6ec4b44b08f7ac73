//! What a run of logs explores and where it stops.

use std::time::Duration;

use streamraft::raft::LogLimits;
use streamraft::{Command, Config};

use crate::log::judge::Sight;
use crate::view::TICK;

/// Ids are 1 to this.
pub(crate) const MOST_NODES: usize = 3;

/// The election timeout and the leadership timeout, in ticks. Leases are a little shorter than one.
pub(crate) const TIMEOUT: u8 = 2;

/// A part of a snapshot has no more bytes than this, and a message no more than one entry.
pub(crate) const PART: usize = 4;

/// One configuration: nodes with a log, what may befall them, and how often, all nodes together.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    /// Who votes at the start, where node 1 leads in term 1, and its first entry is committed and durable everywhere.
    pub(crate) voters: Vec<u8>,
    /// Nodes that belong to nothing yet.
    pub(crate) joiners: Vec<u8>,
    /// Whose disks write behind. The flush of any other is over as soon as it begins.
    pub(crate) slow: Vec<u8>,
    /// Whether nothing was ever in the log, and nobody has led.
    pub(crate) cold: bool,
    pub(crate) proposals: u8,
    /// No leader in a higher term.
    pub(crate) max_term: u64,
    /// Who campaigns, and who hears it, in this order; if there is none, anybody, heard by any others.
    pub(crate) campaigns: Vec<(u8, Vec<u8>)>,
    /// How many heartbeats, beside those with which leaders begin.
    pub(crate) beats: u8,
    /// How often time passes and nobody does anything.
    pub(crate) ticks: u8,
    pub(crate) crashes: u8,
    pub(crate) snapshots: u8,
    pub(crate) reads: u8,
    /// How many flushes fail.
    pub(crate) failures: u8,
    /// What leaders are told, in this order.
    pub(crate) orders: Vec<Command<u8>>,
    /// Whether disks lose what they have flushed last: what must be found out.
    pub(crate) forgetful: bool,
    /// What the run must have come upon.
    pub(crate) sights: Vec<Sight>,
}

impl Bounds {
    /// Three nodes that node 1 leads. Nothing befalls them.
    pub(crate) fn three(name: &'static str) -> Self {
        Self {
            name,
            voters: vec![1, 2, 3],
            joiners: Vec::new(),
            slow: Vec::new(),
            cold: false,
            proposals: 1,
            max_term: 2,
            campaigns: Vec::new(),
            beats: 0,
            ticks: 0,
            crashes: 0,
            snapshots: 0,
            reads: 0,
            failures: 0,
            orders: Vec::new(),
            forgetful: false,
            sights: vec![Sight::Commit],
        }
    }

    /// Two.
    pub(crate) fn two(name: &'static str) -> Self {
        Self {
            voters: vec![1, 2],
            ..Self::three(name)
        }
    }

    /// A node's settings at one of its starts, each of which has its own seed.
    pub(crate) fn config(&self, node: u8, starts: u8) -> Config<u8> {
        let config = if self.voters.contains(&node) {
            Config::with_id(node, self.voters.iter().copied()).expect("good settings")
        } else {
            Config::join(node)
        };
        // As for elections alone (`../bounds.rs`): a little less than whole ticks.
        config
            .election_timeout(TICK * u32::from(TIMEOUT) - Duration::from_nanos(2))
            .random_timeout(Duration::from_nanos(1))
            .heartbeat_interval(TICK / 2)
            .max_clock_drift(1.0 - 0.99 / f64::from(TIMEOUT))
            .seed(starts.into())
    }

    /// The same for all nodes. What a snapshot holds is not kept beside it.
    pub(crate) fn limits(&self) -> LogLimits {
        LogLimits::default().message(PART).trailing(0)
    }

    /// All nodes, sorted by id, which are 1 to their number.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = u8> + use<> {
        let nodes = u8::try_from(self.voters.len() + self.joiners.len()).expect("few nodes");
        1..=nodes
    }

    /// Whether the voters stay as they are.
    pub(crate) fn keeps_voters(&self) -> bool {
        let changes = |order: &Command<u8>| matches!(order, Command::SetNodes(_));
        !self.orders.iter().any(changes)
    }
}
