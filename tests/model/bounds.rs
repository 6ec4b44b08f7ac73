//! What a run explores and where it stops. All that lies within is explored; nothing outside is.

use std::time::Duration;

use streamraft::{Command, Config, HardState};

use crate::clocks::Drift;
use crate::judge::Sight;
use crate::view::TICK;

/// Ids are 1 to this.
pub(crate) const MOST_NODES: usize = 4;

/// One configuration: a cluster, what may befall it, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    /// Who votes at the start.
    pub(crate) voters: Vec<u8>,
    /// Nodes that belong to nothing yet.
    pub(crate) joiners: Vec<u8>,
    /// The election timeout and the leadership timeout, in ticks.
    pub(crate) timeout: u8,
    pub(crate) drift: Drift,
    /// Whether node 1 leads at the start, heard and confirmed by all. Else all nodes have just booted.
    pub(crate) led: bool,
    /// Whether a node may be polled late: its clock goes on while its timers are due. Else it ticks only when none is.
    pub(crate) late: bool,
    /// How many ticks, of all clocks together.
    pub(crate) ticks: u8,
    /// How many restarts, of all nodes together.
    pub(crate) restarts: u8,
    /// No state in a higher term.
    pub(crate) max_term: u64,
    /// What leaders are told, in this order: of each list one, or none of this and all later ones.
    pub(crate) orders: Vec<Vec<Command<u8>>>,
    /// Whether the disks lose votes: what must be found out.
    pub(crate) forgetful: bool,
    /// What the run must have come upon.
    pub(crate) sights: Vec<Sight>,
}

impl Bounds {
    /// Three nodes that have just booted. Their clocks do not tick and nothing befalls them.
    pub(crate) fn three(name: &'static str) -> Self {
        Self {
            name,
            voters: vec![1, 2, 3],
            joiners: Vec::new(),
            timeout: 1,
            drift: Drift::Any,
            led: false,
            late: false,
            ticks: 0,
            restarts: 0,
            max_term: 3,
            orders: Vec::new(),
            forgetful: false,
            sights: vec![Sight::Leader],
        }
    }

    /// A node's settings, as it boots with this on its disk.
    pub(crate) fn config(&self, node: u8, disk: Option<HardState<u8>>, boots: u8) -> Config<u8> {
        let config = if self.voters.contains(&node) {
            Config::with_id(node, self.voters.iter().copied()).expect("good settings")
        } else {
            Config::join(node)
        };
        // A little less than whole ticks, so that the nanosecond of randomness makes no difference to a clock that
        // counts in ticks. Every boot has its own seed, so that no campaign has the number of an earlier one.
        let config = config
            .election_timeout(TICK * u32::from(self.timeout) - Duration::from_nanos(2))
            .random_timeout(Duration::from_nanos(1))
            .heartbeat_interval(TICK / 2)
            .max_clock_drift(match self.drift {
                Drift::Any => 0.0,
                // What remains of the timeout for a lease is one tick.
                Drift::Bounded(_) => 1.0 - 0.99 / f64::from(self.timeout),
            })
            .seed(boots.into());
        match disk {
            Some(saved) => config.restore(saved),
            None => config,
        }
    }

    /// All nodes, sorted by id, which are 1 to their number.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = u8> + use<> {
        let nodes = u8::try_from(self.voters.len() + self.joiners.len()).expect("few nodes");
        1..=nodes
    }
}
