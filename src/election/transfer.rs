//! Handing leadership over: by order, by resigning, and to a voter of higher priority (thesis 3.10).
//!
//! `TimeoutNow` frees the voters from withholding early, so the leader gives its lease up before, and says so. An
//! order that was given cannot be taken back: the message may arrive at any time later. So a leader whose transfer
//! was not taken does not go on in its term. It has itself elected anew; then the order is of an older term.

use super::moment::Moment;
use super::outbox::Request;
use super::peer::Peer;
use super::receive::Drop;
use super::timer::Timer;
use super::{Election, Role};
use crate::error::Error;
use crate::id::Id;

/// A transfer under way. To whom stands in the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handover {
    /// `TimeoutNow` was sent.
    ordered: bool,
}

/// After this many transfers to a node that has not led since, the wait for the next one grows no more.
const MOST_DOUBLINGS: u32 = 10;

impl<I: Id> Election<I> {
    pub(super) fn transfer(&mut self, now: Moment, to: &I) -> Result<(), Error> {
        let Role::Leader(lead) = &mut self.role else {
            let leader = self
                .state
                .leader
                .as_ref()
                .map(|leader| format!("{leader:?}"));
            return Err(Error::NotLeader { leader });
        };
        if *to == self.settings.me {
            return Err(Error::TransferToSelf);
        }
        if let Some(running) = self.state.transferring_to() {
            return Err(Error::TransferRunning {
                to: format!("{running:?}"),
            });
        }
        if !self.state.hard_state.membership.is_voter(to) {
            return Err(Error::TransferToNonVoter {
                node: format!("{to:?}"),
            });
        }
        lead.handover = Some(Handover { ordered: false });
        self.state.set_transferring_to(Some(to.clone()));
        self.state.lease = None;
        self.outbox.announce = true;
        self.timers
            .set(Timer::Handover, now + self.settings.election_timeout);
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == *to) {
            peer.change_rare(|rare| rare.tries = rare.tries.saturating_add(1));
        }
        self.order_handover();
        Ok(())
    }

    /// Orders the successor to campaign as soon as its log is as long as this node's; again with every heartbeat.
    pub(super) fn order_handover(&mut self) {
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let (Some(handover), Some(to)) = (&mut lead.handover, self.state.transferring_to()) else {
            return;
        };
        let position = self.position;
        let successor = self.peers.iter().position(|peer| peer.id == *to);
        let caught_up = |at: &usize| {
            self.peers
                .get(*at)
                .is_some_and(|peer| peer.rare().position >= position)
        };
        if let Some(at) = successor.filter(caught_up) {
            handover.ordered = true;
            self.request(at, Request::TimeoutNow);
        }
    }

    /// The transfer was not taken in time.
    pub(super) fn give_up_transfer(&mut self, now: Moment) {
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let Some(handover) = lead.handover.take() else {
            return;
        };
        self.state.set_transferring_to(None);
        self.outbox.announce = true;
        // In the last term nobody can be elected by a late order either.
        if !handover.ordered || !self.stand(now, true) {
            self.show_lease();
        }
    }

    /// Steps down, and hands over to the best successor if one is alive: to the one to whom it is handing over already,
    /// since two with an order for the same term would split the votes. Without effect on who does not lead.
    pub(super) fn resign(&mut self, now: Moment) {
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        lead.ranks_stale = true;
        self.rank_successors();
        let chosen = self.state.transferring_to().cloned();
        let successors = self.peers.iter().enumerate().filter(|(_, peer)| {
            peer.voter && peer.progress.live && peer.rare().position >= self.position
        });
        let best = successors
            .min_by_key(|(_, peer)| (chosen.as_ref() != Some(&peer.id), peer.progress.rank))
            .map(|(at, _)| at);
        self.become_follower(now);
        if let Some(at) = best {
            self.request(at, Request::TimeoutNow);
        }
    }

    /// This leader leaves the cluster as soon as another leads it.
    pub(super) fn hand_over_to_target(&mut self, now: Moment) {
        let target = &self.membership().target;
        let stays = |id: &I| target.binary_search(id).is_ok();
        let successors = self
            .peers
            .iter()
            .filter(|peer| peer.voter && peer.progress.live && stays(&peer.id));
        // Whoever was tried in vain comes last, so that one who cannot win does not keep this node here.
        let best = successors.min_by_key(|peer| (peer.rare().tries, peer.progress.rank));
        if let Some(to) = best.map(|peer| peer.id.clone()) {
            // It leads and the other is a voter: there is nothing to refuse.
            let _ = self.transfer(now, &to);
        }
    }

    /// The leader hands over to this node: it campaigns at once, and voters need not withhold.
    pub(super) fn on_timeout_now(&mut self, now: Moment, at: usize, term: u64) -> Result<(), Drop> {
        if term < self.term() || !self.is_voter() {
            return Err(Drop::Stale);
        }
        if term > self.term() {
            self.take_term(now, term);
        }
        let leader = self.state.leader.as_ref();
        let from_another = self
            .peers
            .get(at)
            .is_none_or(|peer| leader.is_some_and(|id| *id != peer.id));
        match &self.role {
            Role::Leader(_) => return Err(Drop::Malformed),
            Role::Follower if from_another => return Err(Drop::Malformed),
            Role::Candidate(campaign) if campaign.has_stood() => return Err(Drop::Stale),
            Role::Follower | Role::Candidate(_) => {}
        }
        if self.stand(now, true) {
            Ok(())
        } else {
            Err(Drop::Malformed)
        }
    }

    /// Hands over to a voter of higher priority that has been alive and caught up for an election timeout; longer
    /// after transfers to it that came to nothing, so that one which answers but cannot win does not unsettle the
    /// cluster for ever.
    pub(super) fn prefer_higher(&mut self, now: Moment) {
        let (position, priority) = (self.position, self.priority);
        let timeout = self.settings.election_timeout;
        let target = &self.state.hard_state.membership.target;
        if !self.peers.iter().any(Peer::has_rare) {
            // Nobody has told of a priority.
            return;
        }
        let mut found = false;
        for peer in &mut self.peers {
            let rare = peer.rare();
            let better = rare.priority > priority
                && peer.progress.live
                && peer.voter
                && rare.position >= position
                && target.binary_search(&peer.id).is_ok();
            let since = better.then(|| rare.superior_since.unwrap_or(now));
            if since != rare.superior_since {
                peer.change_rare(|rare| rare.superior_since = since);
            }
            found |= better;
        }
        let has_lease = |end| self.moment(end) > now;
        if !found || !self.state.lease.is_some_and(has_lease) {
            return;
        }
        let due = self.peers.iter().filter(|peer| {
            let rare = peer.rare();
            let wait = timeout.saturating_mul(1 << rare.tries.min(MOST_DOUBLINGS));
            rare.superior_since
                .is_some_and(|since| now.since(since) >= wait)
        });
        let best =
            due.max_by_key(|peer| (peer.rare().priority, std::cmp::Reverse(peer.progress.rank)));
        if let Some(to) = best.map(|peer| peer.id.clone()) {
            // It leads and the other is a voter: there is nothing to refuse.
            let _ = self.transfer(now, &to);
        }
    }
}
