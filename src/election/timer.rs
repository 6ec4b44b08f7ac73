//! The instants that an election waits for. One table, so that "when next?" has one answer.

use std::time::Instant;

/// What falls due. In the order in which what is due at the same instant is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// When a leader steps down that no quorum has confirmed (check-quorum).
    Expiry,
    /// When a transfer that was not taken is over.
    Handover,
    /// When a follower campaigns, and a candidate again.
    Campaign,
    /// When a leader pings, and a candidate asks again.
    Beat,
    /// When a follower judges the pre-votes that it withheld.
    Answer,
}

impl Timer {
    const ALL: [Self; 5] = [
        Self::Expiry,
        Self::Handover,
        Self::Campaign,
        Self::Beat,
        Self::Answer,
    ];
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Timers {
    expiry: Option<Instant>,
    handover: Option<Instant>,
    campaign: Option<Instant>,
    beat: Option<Instant>,
    answer: Option<Instant>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        *self.entry(timer) = Some(at);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        *self.entry(timer) = None;
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.get(timer).is_some()
    }

    /// The earliest instant.
    pub(super) fn next(&self) -> Option<Instant> {
        Timer::ALL.iter().filter_map(|timer| self.get(*timer)).min()
    }

    /// Takes one timer out whose instant has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let due = |timer: &Timer| self.get(*timer).is_some_and(|at| at <= now);
        let timer = Timer::ALL.into_iter().find(due)?;
        self.stop(timer);
        Some(timer)
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Instant> {
        match timer {
            Timer::Expiry => self.expiry,
            Timer::Handover => self.handover,
            Timer::Campaign => self.campaign,
            Timer::Beat => self.beat,
            Timer::Answer => self.answer,
        }
    }

    fn entry(&mut self, timer: Timer) -> &mut Option<Instant> {
        match timer {
            Timer::Expiry => &mut self.expiry,
            Timer::Handover => &mut self.handover,
            Timer::Campaign => &mut self.campaign,
            Timer::Beat => &mut self.beat,
            Timer::Answer => &mut self.answer,
        }
    }
}
