//! How good the network and the disks are.

use std::time::Duration;

use super::dice::{Dice, nanos};
use super::timing::Timing;

/// What the network does to every message, and a disk to every write. Links are cut on top of that, one by one.
///
/// ```
/// use std::time::Duration;
/// use streamraft::sim::Conditions;
///
/// let bad = Conditions::good().loss(100).delay(Duration::ZERO, Duration::from_millis(80));
/// assert_eq!(bad.loss, 100); // of a thousand
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conditions {
    /// How long a message takes, between these two; so messages overtake each other.
    pub delay: (Duration, Duration),
    /// How many of a thousand are lost.
    pub loss: u16,
    /// How many of a thousand arrive twice.
    pub duplication: u16,
    /// How many of a thousand arrive late: after all that was sent behind them.
    pub late: u16,
    /// The most by which those are late.
    pub lateness: Duration,
    /// How long a write to a disk takes, between these two.
    pub disk: (Duration, Duration),
}

impl Conditions {
    /// Nothing is lost, a message takes 1 to 5 ms, a disk no time.
    #[must_use]
    pub const fn good() -> Self {
        Self {
            delay: (Duration::from_millis(1), Duration::from_millis(5)),
            loss: 0,
            duplication: 0,
            late: 0,
            lateness: Duration::ZERO,
            disk: (Duration::ZERO, Duration::ZERO),
        }
    }

    /// The same with another delay of messages.
    #[must_use]
    pub const fn delay(mut self, least: Duration, most: Duration) -> Self {
        self.delay = (least, most);
        self
    }

    /// The same with so many of a thousand messages lost.
    #[must_use]
    pub const fn loss(mut self, per_mille: u16) -> Self {
        self.loss = per_mille;
        self
    }

    /// The same with so many of a thousand messages doubled.
    #[must_use]
    pub const fn duplication(mut self, per_mille: u16) -> Self {
        self.duplication = per_mille;
        self
    }

    /// The same with so many of a thousand messages late, by this at most.
    #[must_use]
    pub const fn late(mut self, per_mille: u16, lateness: Duration) -> Self {
        self.late = per_mille;
        self.lateness = lateness;
        self
    }

    /// The same with another time that a write takes.
    #[must_use]
    pub const fn disk(mut self, least: Duration, most: Duration) -> Self {
        self.disk = (least, most);
        self
    }

    /// Whether nothing is lost and all is fast, by the measure of a cluster's heartbeats.
    pub(super) fn is_calm(&self, timing: &Timing) -> bool {
        let fast = timing.heartbeat_interval / 4;
        self.loss == 0 && self.late == 0 && self.delay.1 <= fast && self.disk.1 <= fast
    }

    /// The longest that a message can be on its way.
    pub(super) fn longest(&self) -> Duration {
        self.delay.1
            + if self.late > 0 {
                self.lateness
            } else {
                Duration::ZERO
            }
    }

    /// How long the one copy and the other takes; neither if it is lost.
    pub(super) fn fate(&self, dice: &mut Dice) -> [Option<u64>; 2] {
        if dice.chance(self.loss) {
            return [None, None];
        }
        let first = self.travel(dice);
        let second = dice.chance(self.duplication).then(|| self.travel(dice));
        [Some(first), second]
    }

    fn travel(&self, dice: &mut Dice) -> u64 {
        let delay = dice.nanos_between(nanos(self.delay.0), nanos(self.delay.1));
        if dice.chance(self.late) {
            delay + dice.nanos_between(0, nanos(self.lateness))
        } else {
            delay
        }
    }

    /// Conditions of any badness: most of them bearable.
    pub(super) fn random(dice: &mut Dice, timing: &Timing) -> Self {
        let unit = timing.heartbeat_interval;
        let some = |dice: &mut Dice, of: &[u16]| dice.pick(of).copied().unwrap_or_default();
        let percent = some(dice, &[0, 2, 12, 12, 50, 200]);
        let most = unit * u32::from(percent) / 100;
        let lateness = timing.election_timeout * u32::from(some(dice, &[1, 2, 4]));
        let disk = unit * u32::from(some(dice, &[0, 0, 0, 10, 50])) / 100;
        Self::good()
            .delay(Duration::ZERO, most)
            .loss(some(dice, &[0, 0, 0, 50, 200, 400]))
            .duplication(some(dice, &[0, 0, 100, 300]))
            .late(some(dice, &[0, 0, 20, 100, 300]), lateness)
            .disk(Duration::ZERO, disk)
    }
}
