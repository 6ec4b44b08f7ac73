//! What falls due when: of groups only those that have something to wait for, of links their beats and their silence.

use std::collections::BTreeSet;
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Due {
    /// A link's next beat.
    Beat(u32),
    /// A link's beats may have gone unanswered for too long.
    Unanswered(u32),
    /// A link may not have brought a beat for too long.
    Unheard(u32),
    /// A group's election.
    Group(u32),
}

/// An entry is never moved later: what comes too early looks again, and is put back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Dues(BTreeSet<(Instant, Due)>);

impl Dues {
    pub(super) fn put(&mut self, at: Instant, due: Due) {
        self.0.insert((at, due));
    }

    pub(super) fn take_back(&mut self, at: Instant, due: Due) {
        self.0.remove(&(at, due));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    pub(super) fn take(&mut self, now: Instant) -> Option<Due> {
        let (at, _) = self.0.first()?;
        if *at > now {
            return None;
        }
        self.0.pop_first().map(|(_, due)| due)
    }
}
