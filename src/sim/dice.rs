//! Where the chance of a run comes from: its seed, and nothing else.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// Dice that fall as their seed says.
#[derive(Clone, Debug)]
pub struct Dice(Xoshiro256PlusPlus);

impl Dice {
    /// Dice for this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Dice for one matter of a seed: what is drawn for the one does not change what is drawn for the other. So a run from
    /// which a step is left out stays like the run with it.
    pub(super) fn of(seed: u64, matter: [u64; 3]) -> Self {
        let mixed = matter.iter().fold(seed, |mixed, part| {
            (mixed ^ part)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        });
        Self::new(mixed)
    }

    /// A number from 0 to `most`, each as likely.
    pub fn up_to(&mut self, most: u64) -> u64 {
        self.0.random_range(0..=most)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end < 2 {
            0
        } else {
            self.0.random_range(0..end)
        }
    }

    /// Whether something happens that happens in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.0.random_range(0..1_000) < per_mille
    }

    /// A duration between these two.
    pub fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        let (least, most) = (nanos(least), nanos(most));
        Duration::from_nanos(self.nanos_between(least, most))
    }

    pub(super) fn nanos_between(&mut self, least: u64, most: u64) -> u64 {
        if least >= most {
            least
        } else {
            self.0.random_range(least..=most)
        }
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

/// In nanoseconds; what does not fit is as long as can be.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
