//! The work of a node in small, drawn from a seed: appends, a suffix overwritten now and then, a prefix purged.

use crate::log::{Content, Log, Result};

/// A generator of random numbers that is the same everywhere (xorshift).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}

pub enum Step {
    Append {
        first: u64,
        entries: Vec<Vec<u8>>,
        hard: u64,
    },
    Purge {
        through: u64,
    },
}

/// Draws the steps one after the other, and knows what a log must hold after each.
pub struct Script {
    dice: Dice,
    count: u64,
    pub content: Content,
}

impl Script {
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            count: 0,
            content: Content {
                first: 1,
                ..Content::default()
            },
        }
    }

    pub fn next(&mut self) -> Step {
        self.count += 1;
        let content = &mut self.content;
        let len = content.entries.len() as u64;
        if len > 200 && self.dice.below(10) == 0 {
            let gone = 1 + self.dice.below(len / 2);
            content.entries.drain(..gone as usize);
            content.first += gone;
            return Step::Purge {
                through: content.first - 1,
            };
        }
        let back = match self.dice.below(5) {
            0 => self.dice.below(len.min(20)),
            _ => 0,
        };
        content.entries.truncate((len - back) as usize);
        let first = content.first + len - back;
        let count = 1 + self.dice.below(16);
        let entries: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let size = 24 + self.dice.below(200);
                let mut entry = self.count.to_be_bytes().to_vec();
                entry.extend((0..size).map(|_| self.dice.below(256) as u8));
                entry
            })
            .collect();
        content.entries.extend(entries.iter().cloned());
        content.hard = self.count;
        Step::Append {
            first,
            entries,
            hard: self.count,
        }
    }
}

pub fn act(log: &mut dyn Log, step: &Step) -> Result<()> {
    match step {
        Step::Append {
            first,
            entries,
            hard,
        } => log.append(*first, entries, *hard),
        Step::Purge { through } => log.purge(*through),
    }
}
