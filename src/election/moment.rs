//! Instants in half the room, and compared in one step: nanoseconds from an origin that the elections of a process share.

use std::num::NonZeroU64;
use std::ops::Add;
use std::time::{Duration, Instant};

/// Nanoseconds between two moments.
pub(super) type Nanos = u64;

/// 584 years fit, less than a second.
const MOST_SECONDS: u64 = u64::MAX / 1_000_000_000 - 1;

/// A duration of the settings, which are a day at the most.
pub(super) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// An instant, in nanoseconds from one before the origin, so that "none" needs no room of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Moment(NonZeroU64);

impl Moment {
    /// What is before the origin counts as the origin.
    #[inline]
    pub(super) fn of(instant: Instant, origin: Instant) -> Self {
        let since = instant.checked_duration_since(origin).unwrap_or_default();
        let seconds = since.as_secs().min(MOST_SECONDS);
        let nanos = seconds * 1_000_000_000 + u64::from(since.subsec_nanos());
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    pub(super) fn instant(self, origin: Instant) -> Instant {
        let since = Duration::from_nanos(self.0.get() - 1);
        // Such an instant was never given, nor anything near it.
        origin.checked_add(since).unwrap_or(origin)
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
