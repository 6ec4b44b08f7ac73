//! What a run of groups explores and where it stops.

use std::time::Duration;

use streamraft::{Command, Config, HardState};

use crate::clocks::Drift;
use crate::groups::judge::Sight;
use crate::view::TICK;

/// Ids are 1 to this.
pub(crate) const MOST_MACHINES: usize = 3;

/// Keys are less than this.
pub(crate) const MOST_GROUPS: usize = 2;

/// What an owner does with one group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Order {
    /// Tells whoever leads it.
    Tell(u8, Command<u8>),
    /// Takes it from any machine. It may be put back at any time.
    Remove(u8),
}

impl Order {
    pub(crate) fn key(&self) -> u8 {
        match self {
            Self::Tell(key, _) | Self::Remove(key) => *key,
        }
    }
}

/// One configuration: machines that share groups, what may befall them, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    pub(crate) machines: u8,
    /// Who leads each group at the start, where all have met and every follower is attached.
    pub(crate) leaders: Vec<u8>,
    /// The election timeout and the leadership timeout, in ticks. Leases are one tick long.
    pub(crate) timeout: u8,
    pub(crate) drift: Drift,
    /// Whether a machine may be polled late.
    pub(crate) late: bool,
    /// Which machines are ever polled while something is due. All others do nothing of their own accord.
    pub(crate) polled: Vec<u8>,
    /// How many ticks, of all clocks together.
    pub(crate) ticks: u8,
    /// How many restarts, of all machines together.
    pub(crate) restarts: u8,
    /// No state in a higher term of any group.
    pub(crate) max_term: u64,
    /// No state in which one machine has renewed more sessions since it started, the first one of each link it hears
    /// among them. Beats of two sessions that come in turn renew one each time.
    pub(crate) renewals: u64,
    /// No state in which one end of a link has ended more attachments in a session. Two offers of one group that come in
    /// turn end one each time.
    pub(crate) endings: u64,
    /// In this order: of each list one, or none of this and all later ones.
    pub(crate) orders: Vec<Vec<Order>>,
    /// Whether what links said to each other on the way to the start is still in flight.
    pub(crate) kept: bool,
    /// Whether machines start again under the name that they had: what must be found out.
    pub(crate) nameless: bool,
    pub(crate) sights: Vec<Sight>,
}

impl Bounds {
    /// Three machines that share one group, which machine 1 leads. Nothing befalls them.
    pub(crate) fn three(name: &'static str) -> Self {
        Self {
            name,
            machines: 3,
            leaders: vec![1],
            timeout: 2,
            drift: Drift::Bounded(2),
            late: true,
            polled: vec![1, 2, 3],
            ticks: 0,
            restarts: 0,
            max_term: 2,
            renewals: 2,
            endings: 2,
            orders: Vec::new(),
            kept: false,
            nameless: false,
            sights: Vec::new(),
        }
    }

    /// A machine's settings in a group. Every start of a group has its own seed.
    pub(crate) fn config(&self, id: u8, disk: Option<HardState<u8>>, starts: u64) -> Config<u8> {
        let config = Config::with_id(id, self.ids()).expect("good settings");
        // As for single nodes (`bounds.rs`): a little less than whole ticks.
        let config = config
            .election_timeout(TICK * u32::from(self.timeout) - Duration::from_nanos(2))
            .random_timeout(Duration::from_nanos(1))
            .heartbeat_interval(TICK / 2)
            .max_clock_drift(1.0 - 0.99 / f64::from(self.timeout))
            .seed(starts);
        match disk {
            Some(saved) => config.restore(saved),
            None => config,
        }
    }

    /// By which a machine names its sessions.
    pub(crate) fn incarnation(&self, id: u8, boots: u8) -> u64 {
        let boots = if self.nameless { 0 } else { boots };
        u64::from(id) * 1_000 + u64::from(boots)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u8> + use<> {
        1..=self.machines
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = u8> + use<> {
        0..u8::try_from(self.leaders.len()).expect("few groups")
    }

    /// The orders of which one may be given next, with their numbers.
    pub(crate) fn next_orders(&self, given: u8) -> impl Iterator<Item = (u32, &Order)> {
        let given = usize::from(given);
        let first: usize = self.orders.iter().take(given).map(Vec::len).sum();
        let next = self.orders.get(given).into_iter().flatten();
        let number = move |(at, order)| {
            let number = u32::try_from(first + at).expect("few orders");
            (number, order)
        };
        next.enumerate().map(number)
    }
}
