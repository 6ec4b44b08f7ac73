//! What has happened in runs, counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What has happened in one run or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many things happened one after the other: a message arrived, a timer rang, a write was done.
    pub steps: u64,
    /// How many messages were sent.
    pub messages: u64,
    /// How many of these were lost, by chance or since their way was cut.
    pub lost: u64,
    /// How many faults and inputs there were, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// How many leaderships began.
    pub elections: u64,
    /// How many runs could not be asked to settle, since too many disks were gone for good.
    pub stranded: u64,
    /// For how long it ran, by virtual time.
    pub time: Duration,
    /// The longest that a run took until it was settled, after its faults were over.
    pub longest_healing: Duration,
    /// Stands for all that happened in the run, or for the runs together: see [`Cluster::digest`](super::Cluster::digest).
    pub digest: u64,
}

impl Summary {
    /// Adds what happened in other runs.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.messages += other.messages;
        self.lost += other.lost;
        self.elections += other.elections;
        self.stranded += other.stranded;
        self.time += other.time;
        self.longest_healing = self.longest_healing.max(other.longest_healing);
        self.digest = self.digest.wrapping_add(other.digest);
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        write!(
            f,
            "seeds={} steps={} messages={} lost={} faults={faults} (",
            self.seeds, self.steps, self.messages, self.lost
        )?;
        for (at, (kind, count)) in self.faults.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{kind}={count}")?;
        }
        let (hours, healing) = (
            self.time.as_secs_f64() / 3_600.0,
            self.longest_healing.as_millis(),
        );
        write!(
            f,
            ") elections={} stranded={} virtual_hours={hours:.2} longest_healing_ms={healing}",
            self.elections, self.stranded
        )
    }
}
