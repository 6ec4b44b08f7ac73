//! The durations that a simulated cluster is set to.

use std::time::Duration;

use crate::config::Config;
use crate::id::Id;

/// The durations of all nodes of a cluster, and by how much their clocks may differ. The invariants measure by them.
///
/// Short by default, so that much happens in little time: an election timeout and a spread of 150 ms, a heartbeat every
/// 40 ms, a drift of 10 %.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Timing {
    /// As [`Config::election_timeout`].
    pub election_timeout: Duration,
    /// As [`Config::random_timeout`].
    pub random_timeout: Duration,
    /// As [`Config::heartbeat_interval`].
    pub heartbeat_interval: Duration,
    /// As [`Config::leadership_timeout`].
    pub leadership_timeout: Duration,
    /// As [`Config::max_clock_drift`].
    pub max_clock_drift: f64,
}

impl Default for Timing {
    fn default() -> Self {
        Self::new(Duration::from_millis(150), Duration::from_millis(40))
    }
}

impl Timing {
    /// An election timeout, the same again as its spread and as the leadership timeout, and a heartbeat interval.
    #[must_use]
    pub fn new(election_timeout: Duration, heartbeat_interval: Duration) -> Self {
        Self {
            election_timeout,
            random_timeout: election_timeout,
            heartbeat_interval,
            leadership_timeout: election_timeout,
            max_clock_drift: 0.1,
        }
    }

    /// The durations that a node's settings name.
    #[must_use]
    pub fn of<I: Id>(config: &Config<I>) -> Self {
        Self {
            election_timeout: config.get_election_timeout(),
            random_timeout: config.get_random_timeout(),
            heartbeat_interval: config.get_heartbeat_interval(),
            leadership_timeout: config.get_leadership_timeout(),
            max_clock_drift: config.get_max_clock_drift(),
        }
    }

    /// The same with another spread of the campaigns.
    #[must_use]
    pub fn random_timeout(mut self, value: Duration) -> Self {
        self.random_timeout = value;
        self
    }

    /// The same with another time after which a leader without a quorum steps down.
    #[must_use]
    pub fn leadership_timeout(mut self, value: Duration) -> Self {
        self.leadership_timeout = value;
        self
    }

    /// The same with another bound for the clocks.
    #[must_use]
    pub fn max_clock_drift(mut self, value: f64) -> Self {
        self.max_clock_drift = value;
        self
    }

    /// A node's settings with these durations.
    pub fn tune<I: Id>(&self, config: Config<I>) -> Config<I> {
        config
            .election_timeout(self.election_timeout)
            .random_timeout(self.random_timeout)
            .heartbeat_interval(self.heartbeat_interval)
            .leadership_timeout(self.leadership_timeout)
            .max_clock_drift(self.max_clock_drift)
    }

    /// By how many millionths a clock may run fast or slow, so that no two differ by more than the bound: the slowest
    /// runs at (1 - d) times the rate of the fastest.
    #[must_use]
    pub fn most_ppm(&self) -> i32 {
        let drift = self.max_clock_drift;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounded down, and at most a million"
        )]
        let ppm = (1e6 * drift / (2.0 - drift)) as i32;
        (ppm - 1).max(0)
    }

    /// For how long things must have been in order before a leader owes it to them to stay: two whole campaigns.
    pub(super) fn settled_after(&self) -> Duration {
        (self.election_timeout + self.random_timeout) * 2
    }

    /// The longest that a campaign of one node can take by true time, whatever its clock's rate.
    pub(super) fn patience(&self) -> Duration {
        (self.election_timeout + self.random_timeout).mul_f64(1.0 + self.max_clock_drift)
    }
}
