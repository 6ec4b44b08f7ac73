//! A node's own clock: it does not show the time of the others, and runs at a rate of its own.

use std::time::{Duration, Instant};

use super::dice::nanos;

const MILLION: u64 = 1_000_000;

/// From true time, in nanoseconds since the run began, to what the node's clock shows.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// What is 0 for all clocks of a run. Only differences are ever looked at.
    origin: Instant,
    /// When the rate was set last, by true time and by this clock.
    since: u64,
    shown: u64,
    /// How far it gets in a million nanoseconds.
    rate: u64,
}

impl Clock {
    pub(super) fn new(origin: Instant, ahead: u64, ppm: i32) -> Self {
        Self {
            origin,
            since: 0,
            shown: ahead,
            rate: rate(ppm),
        }
    }

    /// Goes on at another rate.
    pub(super) fn set_rate(&mut self, now: u64, ppm: i32) {
        self.shown = self.nanos_at(now);
        self.since = now;
        self.rate = rate(ppm);
    }

    fn nanos_at(&self, time: u64) -> u64 {
        let passed = time.saturating_sub(self.since);
        let run = match passed.checked_mul(self.rate) {
            Some(product) => product / MILLION,
            None => {
                let product = u128::from(passed) * u128::from(self.rate);
                u64::try_from(product / u128::from(MILLION)).unwrap_or(u64::MAX)
            }
        };
        self.shown.saturating_add(run)
    }

    /// What it shows at this true time.
    pub(super) fn at(&self, time: u64) -> Instant {
        let shown = Duration::from_nanos(self.nanos_at(time));
        self.origin.checked_add(shown).unwrap_or(self.origin)
    }

    /// The first true time at which it shows this; of what it showed before its rate was set, when that was.
    pub(super) fn when(&self, shows: Instant) -> u64 {
        let shows = nanos(shows.saturating_duration_since(self.origin));
        let run = shows.saturating_sub(self.shown);
        let passed = match run.checked_mul(MILLION) {
            Some(product) => product.div_ceil(self.rate),
            None => {
                let product = u128::from(run) * u128::from(MILLION);
                u64::try_from(product.div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX)
            }
        };
        self.since.saturating_add(passed)
    }
}

fn rate(ppm: i32) -> u64 {
    MILLION.saturating_add_signed(i64::from(ppm)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_an_instant_first_when_it_says_so() {
        let origin = Instant::now();
        let day = 24 * 3_600_000_000_000;
        for ppm in [-90_000, -52_630, 0, 1, 52_630] {
            let mut clock = Clock::new(origin, 7_000_000_000, ppm);
            clock.set_rate(1_234_567, ppm);
            for time in [1_234_567, 2_000_001, 5_000_000_000, day] {
                let shows = clock.at(time);
                let first = clock.when(shows);
                assert!(first <= time && clock.at(first) >= shows, "{ppm} {time}");
                assert!(first == 1_234_567 || clock.at(first - 1) < shows);
            }
        }
    }
}
