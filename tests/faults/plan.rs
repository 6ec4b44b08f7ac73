//! Which fault comes next: drawn from a seed, every kind as often as every other.
//!
//! Absent here: how a fault is made.

use std::fmt;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Two nodes and the others do not hear each other.
    Split,
    /// One node and the others do not hear each other.
    Isolate,
    /// A node hears nobody, and is heard.
    Deaf,
    /// Nobody hears a node, and it hears them.
    Mute,
    /// Two nodes do not hear each other.
    Link,
    /// One node does not hear one other.
    OneWay,
    Delay,
    Reorder,
    Duplicate,
    Lose,
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and later SIGCONT.
    Stop,
    /// No room for the vote.
    FullDisk,
    /// Killed, and started again with a clock of another rate and on another day.
    Clock,
    /// All are killed at once.
    Blackout,
}

const KINDS: [Kind; 15] = [
    Kind::Split,
    Kind::Isolate,
    Kind::Deaf,
    Kind::Mute,
    Kind::Link,
    Kind::OneWay,
    Kind::Delay,
    Kind::Reorder,
    Kind::Duplicate,
    Kind::Lose,
    Kind::Kill,
    Kind::Stop,
    Kind::FullDisk,
    Kind::Clock,
    Kind::Blackout,
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Split => "split",
            Self::Isolate => "isolate",
            Self::Deaf => "deaf",
            Self::Mute => "mute",
            Self::Link => "link",
            Self::OneWay => "one way",
            Self::Delay => "delay",
            Self::Reorder => "reorder",
            Self::Duplicate => "duplicate",
            Self::Lose => "lose",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::FullDisk => "full disk",
            Self::Clock => "clock",
            Self::Blackout => "blackout",
        })
    }
}

/// One fault: of which kind, who suffers it, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The others in the order of chance; who needs two or three takes the first.
    pub(crate) victim: u8,
    pub(crate) others: Vec<u8>,
    pub(crate) time: Duration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, victim, millis) = (self.kind, self.victim, self.time.as_millis());
        write!(f, "{kind} at {victim} for {millis}ms, ")?;
        write!(f, "others {:?}", self.others)
    }
}

/// A clock that is wrong: its rate, and the days that it is off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clock {
    pub(crate) rate: f64,
    pub(crate) days: i32,
}

impl Clock {
    /// The rates of any two differ by less than a tenth, which the nodes' settings allow for.
    const RATES: (f64, f64) = (0.955, 1.045);
}

/// The draws.
pub(crate) struct Plan {
    rng: Xoshiro256PlusPlus,
    nodes: u8,
    /// Kinds that have not come since all had come.
    bag: Vec<Kind>,
}

impl Plan {
    pub(crate) fn new(seed: u64, nodes: u8) -> Self {
        Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            nodes,
            bag: Vec::new(),
        }
    }

    /// The next fault. Every second hits the leader, if there is one.
    pub(crate) fn fault(&mut self, leader: Option<u8>) -> Fault {
        if self.bag.is_empty() {
            self.bag = KINDS.to_vec();
        }
        let kind = self
            .bag
            .swap_remove(self.rng.random_range(0..self.bag.len()));
        let chance = self.rng.random_range(1..=self.nodes);
        let victim = leader.filter(|_| self.rng.random()).unwrap_or(chance);
        let mut left: Vec<u8> = (1..=self.nodes).filter(|node| *node != victim).collect();
        let mut others = Vec::new();
        while !left.is_empty() {
            others.push(left.swap_remove(self.rng.random_range(0..left.len())));
        }
        Fault {
            kind,
            victim,
            others,
            time: self.time(300..3000),
        }
    }

    pub(crate) fn time(&mut self, millis: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(millis))
    }

    pub(crate) fn clock(&mut self) -> Clock {
        let (slowest, fastest) = Clock::RATES;
        // Those in between are no test.
        let nudge = self.rng.random_range(0.0..0.01);
        let rate = if self.rng.random() {
            slowest + nudge
        } else {
            fastest - nudge
        };
        let days = self.rng.random_range(-3..=3);
        Clock { rate, days }
    }

    pub(crate) fn seed(&mut self) -> u64 {
        self.rng.random()
    }
}
