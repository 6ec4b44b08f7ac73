//! What keeps two leaders apart in time: the leader's lease and expiry on one side, the voters' withholding on the
//! other (thesis 6.4.1, 6.2).
//!
//! A lease runs from the *sending* of a ping that a quorum answered; a voter withholds from its *receipt*, which is
//! later. So while a lease holds, no quorum can vote for another, without clocks that agree.

use super::lead::Lead;
use super::moment::Moment;
use super::timer::Timer;
use super::{Election, Role};
use crate::id::Id;

impl<I: Id> Election<I> {
    /// Whether this node keeps its vote to itself, for the sake of a leader that it hears or is.
    pub(super) fn withholds(&self, now: Moment) -> bool {
        match &self.role {
            Role::Leader(lead) => {
                lead.handover.is_none() && now < lead.trusted_since() + self.settings.lease_span
            }
            Role::Follower | Role::Candidate(_) => self.withhold_until.is_some_and(|end| now < end),
        }
    }

    /// Hears a leader, directly or through a layer above: withholds from now on and waits anew.
    pub(super) fn hear_leader(&mut self, now: Moment) {
        self.withhold_until = Some(now + self.settings.election_timeout);
        self.has_failed = false;
        self.stood_aside = false;
        self.forget_withheld();
        self.timers.set(Timer::Campaign, now + self.patience);
    }

    /// A quorum has answered a ping that was sent at `sent`: prolongs the lease and puts the expiry off.
    pub(super) fn confirm(&mut self, sent: Moment) {
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        if lead.confirmed_at.is_some_and(|before| before >= sent) {
            return;
        }
        lead.confirmed_at = Some(sent);
        self.timers
            .set(Timer::Expiry, sent + self.settings.leadership_timeout);
        if lead.handover.is_none() {
            self.show_lease();
        }
    }

    /// Shows the lease that the newest confirmation gives.
    pub(super) fn show_lease(&mut self) {
        let Role::Leader(lead) = &self.role else {
            return;
        };
        let lease = lead
            .confirmed_at
            .map(|sent| (sent + self.settings.lease_span).instant(self.settings.origin));
        self.outbox.announce |= lease.is_some() != self.state.lease.is_some();
        self.state.lease = lease;
    }

    /// Looks for the newest ping that a quorum has answered, when no quorum has answered the last one.
    pub(super) fn confirm_older(&mut self) {
        let Role::Leader(lead) = &self.role else {
            return;
        };
        if lead.confirmed_at.is_none_or(|sent| sent < lead.last_sent) {
            self.confirm_newest();
        }
    }

    /// Looks for the newest sending that a quorum has answered.
    pub(super) fn confirm_newest(&mut self) {
        let quorum = self.membership().quorum();
        let answers = || {
            let voters = self.peers.iter().filter(|peer| peer.voter);
            voters.filter_map(|peer| peer.progress.confirmed)
        };
        let by_a_quorum =
            |sent: &Moment| answers().filter(|other| other >= sent).count() + 1 >= quorum;
        if let Some(sent) = answers().filter(by_a_quorum).max() {
            self.confirm(sent);
        }
    }

    /// Steps down if no quorum has confirmed this leader for a `leadership_timeout` (check-quorum, thesis 6.2).
    /// Looked at before anything else is done, so that a node which was not polled does not act on what ran out.
    #[inline]
    pub(super) fn expire(&mut self, now: Moment) {
        let is_leader = matches!(self.role, Role::Leader(_));
        // The timer moves with every confirmation, so at nearly every input it says that there is time left.
        if is_leader && self.timers.get(Timer::Expiry).is_none_or(|end| end <= now) {
            self.step_down_unless_confirmed(now);
        }
    }

    #[cold]
    fn step_down_unless_confirmed(&mut self, now: Moment) {
        let Role::Leader(lead) = &self.role else {
            return;
        };
        let limit = self.settings.leadership_timeout;
        if now < lead.trusted_since() + limit || self.is_alone() {
            return;
        }
        self.confirm_older();
        let Role::Leader(lead) = &self.role else {
            return;
        };
        let end = lead.trusted_since() + limit;
        if now < end {
            self.timers.set(Timer::Expiry, end);
        } else {
            self.become_follower(now);
        }
    }

    /// Whether this node is a quorum by itself.
    pub(super) fn is_alone(&self) -> bool {
        self.membership().quorum() == 1
    }
}

impl Lead {
    /// From when the leader's silence is counted: the newest confirmed sending, or its election.
    fn trusted_since(&self) -> Moment {
        self.confirmed_at.unwrap_or(self.since)
    }
}
