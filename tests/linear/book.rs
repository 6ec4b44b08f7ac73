//! All that clients ask and are told in a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use streamraft::sim::Dice;

use crate::history::{History, Number, Op, Ret, Value};

/// Which history an operation belongs to.
pub(crate) type Key = usize;

/// A checker without memory needs short histories with little in them that is open. Then another key's turn comes.
const MOST_OPS: usize = 20;
const MOST_OPEN: usize = 5;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) keys: u64,
    pub(crate) writes: u64,
    pub(crate) swaps_refused: u64,
    pub(crate) reads: u64,
    /// Reads that a lease has vouched for, where that can be seen.
    pub(crate) leased: u64,
    /// Writes whose end nobody knows, and such as no node took.
    pub(crate) open: u64,
    pub(crate) never: u64,
    pub(crate) longest_check: Duration,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.keys += other.keys;
        self.writes += other.writes;
        self.swaps_refused += other.swaps_refused;
        self.reads += other.reads;
        self.leased += other.leased;
        self.open += other.open;
        self.never += other.never;
        self.longest_check = self.longest_check.max(other.longest_check);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            keys,
            writes,
            swaps_refused,
            reads,
            leased,
            open,
            never,
            longest_check,
        } = self;
        write!(
            f,
            "keys={keys} writes={writes} swaps_refused={swaps_refused} reads={reads} leased={leased} open={open} \
             never_taken={never} longest_check={longest_check:?}"
        )
    }
}

#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) histories: Vec<History>,
    pub(crate) counts: Counts,
    /// The keys that are in use.
    active: [Key; 2],
    /// What was found last in each.
    found: BTreeMap<Key, Value>,
    next_value: Value,
}

impl Book {
    pub(crate) fn new() -> Self {
        Self {
            histories: vec![History::default(); 2],
            counts: Counts::default(),
            active: [0, 1],
            found: BTreeMap::new(),
            next_value: 1,
        }
    }

    pub(crate) fn pick(&mut self, dice: &mut Dice) -> Key {
        let slot = dice.below(self.active.len());
        let history = &self.histories[self.active[slot]];
        if history.len() >= MOST_OPS || history.open() >= MOST_OPEN {
            self.active[slot] = self.histories.len();
            self.histories.push(History::default());
        }
        self.active[slot]
    }

    /// Something to ask of a key: to read, in so many of a thousand cases.
    pub(crate) fn ask(&mut self, key: Key, reads: u16, dice: &mut Dice) -> (Op, Number) {
        let value = self.next_value;
        self.next_value += 1;
        let op = if dice.chance(reads) {
            Op::Get
        } else if dice.chance(500) {
            Op::Put(value)
        } else {
            Op::Cas(self.found.get(&key).copied(), value)
        };
        (op, self.histories[key].asks(op))
    }

    pub(crate) fn told(&mut self, (key, op, number): (Key, Op, Number), ret: Ret) {
        self.histories[key].told(number, ret);
        let (count, found) = match ret {
            Ret::Done => (&mut self.counts.writes, op.value()),
            Ret::Found(value) => (&mut self.counts.swaps_refused, value),
            Ret::Got(value) => (&mut self.counts.reads, value),
        };
        *count += 1;
        self.found.extend(found.map(|value| (key, value)));
    }

    /// Its client waits no longer. If a node has taken it, it may still happen.
    pub(crate) fn given_up(&mut self, (key, op, number): (Key, Op, Number), is_taken: bool) {
        if op == Op::Get {
            return;
        }
        if is_taken {
            self.counts.open += 1;
        } else {
            self.counts.never += 1;
            self.histories[key].never(number);
        }
    }

    /// Asks the checker about every key.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.counts.keys = self.histories.len() as u64;
        for (key, history) in self.histories.iter().enumerate() {
            let begun = Instant::now();
            history
                .check()
                .map_err(|error| format!("key {key}: {error}"))?;
            self.counts.longest_check = self.counts.longest_check.max(begun.elapsed());
        }
        Ok(())
    }
}
