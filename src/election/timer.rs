//! The instants that an election waits for. One table, so that "when next?" has one answer.

use super::moment::Moment;

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
    expiry: Option<Moment>,
    handover: Option<Moment>,
    campaign: Option<Moment>,
    beat: Option<Moment>,
    answer: Option<Moment>,
}

impl Timers {
    #[inline]
    pub(super) fn set(&mut self, timer: Timer, at: Moment) {
        *self.entry(timer) = Some(at);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        *self.entry(timer) = None;
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.get(timer).is_some()
    }

    /// The earliest moment.
    #[inline]
    pub(super) fn next(&self) -> Option<Moment> {
        let all = [
            self.expiry,
            self.handover,
            self.campaign,
            self.beat,
            self.answer,
        ];
        all.into_iter().min_by_key(|at| Moment::rank(*at)).flatten()
    }

    /// Takes one timer out whose moment has come.
    #[inline]
    pub(super) fn take_due(&mut self, now: Moment) -> Option<Timer> {
        let due = |timer: &Timer| self.get(*timer).is_some_and(|at| at <= now);
        let timer = Timer::ALL.into_iter().find(due)?;
        self.stop(timer);
        Some(timer)
    }

    #[inline]
    pub(super) fn get(&self, timer: Timer) -> Option<Moment> {
        match timer {
            Timer::Expiry => self.expiry,
            Timer::Handover => self.handover,
            Timer::Campaign => self.campaign,
            Timer::Beat => self.beat,
            Timer::Answer => self.answer,
        }
    }

    #[inline]
    fn entry(&mut self, timer: Timer) -> &mut Option<Moment> {
        match timer {
            Timer::Expiry => &mut self.expiry,
            Timer::Handover => &mut self.handover,
            Timer::Campaign => &mut self.campaign,
            Timer::Beat => &mut self.beat,
            Timer::Answer => &mut self.answer,
        }
    }
}
