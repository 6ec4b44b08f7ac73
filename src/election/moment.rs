//! Instants in half the room, and compared in one step: nanoseconds from an origin that the elections of a process share.

use std::num::NonZeroU64;
use std::ops::Add;
use std::time::{Duration, Instant};

/// Nanoseconds between two moments.
pub(super) type Nanos = u64;

/// The number of the origin: as far from the least as from the greatest, since a clock may be turned back before it.
const ORIGIN: NonZeroU64 = NonZeroU64::MIN.saturating_add(1 << 63);

/// 292 years fit on either side, less than a second.
const MOST_SECONDS: u64 = (1 << 63) / 1_000_000_000 - 1;

/// A duration of the settings, which are a day at the most.
pub(super) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// As nanoseconds, and never more than fit.
#[inline]
fn within(duration: Duration) -> Nanos {
    let seconds = duration.as_secs().min(MOST_SECONDS);
    seconds * 1_000_000_000 + u64::from(duration.subsec_nanos())
}

/// An instant, in nanoseconds from one long before the origin, so that "none" needs no room of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Moment(NonZeroU64);

impl Moment {
    #[inline]
    pub(super) fn of(instant: Instant, origin: Instant) -> Self {
        match instant.checked_duration_since(origin) {
            Some(since) => Self(ORIGIN.saturating_add(within(since))),
            None => Self::before(instant, origin),
        }
    }

    #[cold]
    fn before(instant: Instant, origin: Instant) -> Self {
        let until = within(origin.saturating_duration_since(instant));
        let number = ORIGIN.get().saturating_sub(until);
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    pub(super) fn instant(self, origin: Instant) -> Instant {
        let number = self.0.get();
        let instant = match number.checked_sub(ORIGIN.get()) {
            Some(since) => origin.checked_add(Duration::from_nanos(since)),
            None => origin.checked_sub(Duration::from_nanos(ORIGIN.get() - number)),
        };
        // One that does not exist was never given, nor anything near it.
        instant.unwrap_or(origin)
    }

    /// How long ago `earlier` was; zero if it is later.
    #[inline]
    pub(super) fn since(self, earlier: Self) -> Nanos {
        self.0.get().saturating_sub(earlier.0.get())
    }

    pub(super) fn checked_add(self, span: Nanos) -> Option<Self> {
        self.0.checked_add(span).map(Self)
    }

    /// As a number that no moment exceeds and that is the largest of all for none.
    #[inline]
    pub(super) fn rank(moment: Option<Self>) -> u64 {
        moment.map_or(0, |moment| moment.0.get()).wrapping_sub(1)
    }
}

impl Add<Nanos> for Moment {
    type Output = Self;

    #[inline]
    fn add(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_keep_their_order_and_come_back_on_either_side_of_the_origin() {
        let origin = Instant::now() + Duration::from_secs(60 * 60);
        let nanos = Duration::from_nanos;
        let hour = Duration::from_secs(60 * 60);
        let instants = [
            origin - hour,
            origin - nanos(1),
            origin,
            origin + nanos(1),
            origin + hour,
        ];
        let moments = instants.map(|instant| Moment::of(instant, origin));
        assert!(moments.is_sorted_by(|a, b| a < b), "{moments:?}");
        assert_eq!(moments.map(|moment| moment.instant(origin)), instants);
        // Further away than fits.
        let far = Moment::of(origin + Duration::from_secs(1 << 40), origin);
        assert!(far > moments[4]);
        assert!(far + u64::MAX >= far);
    }
}
