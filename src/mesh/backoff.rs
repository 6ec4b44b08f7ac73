//! How long to wait before the next try: longer each time, and never in step with others.

use std::time::Duration;

use rand::RngExt;

/// Pauses that double from the least to the greatest, each shortened at random by up to a half.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    least: Duration,
    greatest: Duration,
    next: Duration,
}

impl Backoff {
    /// `least` must not be above `greatest`.
    pub(super) fn new(least: Duration, greatest: Duration) -> Self {
        Self {
            least,
            greatest,
            next: least,
        }
    }

    /// The pause before the next try.
    pub(super) fn pause(&mut self, rng: &mut impl RngExt) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.greatest);
        pause.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// A try has come to something that lasted for so long. What did not last longer than the greatest pause counts
    /// as one more failure: two nodes of one name take a connection from each other again and again.
    pub(super) fn lasted(&mut self, span: Duration) {
        if span >= self.greatest {
            self.reset();
        }
    }

    /// All is well: the next pause is the least.
    pub(super) fn reset(&mut self) {
        self.next = self.least;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pauses_double_up_to_the_greatest_and_lose_at_most_a_half() {
        for seed in 0..100 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut backoff = Backoff::new(ms(10), ms(70));
            for whole in [10, 20, 40, 70, 70] {
                let pause = backoff.pause(&mut rng);
                assert!(ms(whole) / 2 <= pause && pause <= ms(whole), "{pause:?}");
            }
        }
    }

    #[test]
    fn two_nodes_do_not_stay_in_step() {
        let pauses = |seed| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut backoff = Backoff::new(ms(10), ms(1000));
            [(); 8].map(|()| backoff.pause(&mut rng))
        };
        let apart = pauses(1).iter().zip(pauses(2)).all(|(a, b)| *a != b);
        assert!(apart);
        assert_eq!(pauses(1), pauses(1));
    }

    #[test]
    fn only_what_lasts_starts_anew() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut backoff = Backoff::new(ms(10), ms(1000));
        for _ in 0..5 {
            backoff.pause(&mut rng);
        }
        backoff.lasted(ms(999));
        assert!(backoff.clone().pause(&mut rng) >= ms(160));
        backoff.lasted(ms(1000));
        assert!(backoff.pause(&mut rng) <= ms(10));
    }

    #[test]
    fn the_longest_pauses_do_not_overflow() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut backoff = Backoff::new(Duration::MAX / 4, Duration::MAX / 2);
        for _ in 0..5 {
            backoff.pause(&mut rng);
        }
    }
}
