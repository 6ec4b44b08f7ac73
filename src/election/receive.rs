//! What another node says: who is heard at all, and which rule it is for.

use std::sync::Arc;

use super::moment::Moment;
use super::peer::{Knowledge, Peer, PreVoteAsk};
use super::timer::Timer;
use super::vote::VoteAsk;
use super::{Election, Role};
use crate::config::{MAX_TERM, MAX_TERM_JUMP};
use crate::id::Id;
use crate::membership::SharedMembership;
use crate::message::{Message, MessageKind};

/// How many nodes that are no members can wait to be told so.
const MOST_STRANGERS_TOLD: usize = 8;

/// So many peers are looked through faster than searched: the end of a search by halves is hard to foresee.
const FEW: usize = 128;

/// Why a message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drop {
    ForeignCluster,
    Stranger,
    Malformed,
    Unsupported,
    Conflicting,
    Stale,
}

impl<I: Id> Election<I> {
    #[inline]
    pub(super) fn receive(&mut self, now: Moment, from: &I, message: &Message<I>) {
        let (at, confirms) = match self.in_step(from, message) {
            Some(at) => (at, false),
            None => match self.admit(now, from, message) {
                Ok(admitted) => admitted,
                Err(reason) => return self.drop_message(from, reason),
            },
        };
        let term = message.term;
        let done = match message.kind {
            // Nearly all that is ever heard.
            MessageKind::Ping { round, succession } => {
                self.on_ping(now, at, term, round, succession)
            }
            MessageKind::Pong {
                round,
                position,
                priority,
            } => self.on_pong(now, at, term, round, position, priority),
            _ => self.dispatch(now, at, message),
        };
        if let Err(reason) = done {
            self.drop_message(from, reason);
        }
        if confirms {
            self.walk(now);
        }
    }

    /// The place of a sender with whom this node agrees on all that [`Self::admit`] looks at, as nearly always. `None`
    /// says nothing.
    #[inline]
    fn in_step(&self, from: &I, message: &Message<I>) -> Option<usize> {
        let agrees = message.term == self.term()
            && message.membership.is_none()
            && message.cluster == self.settings.cluster
            && message.stamp == self.stamp();
        let at = self.peer_at(from).filter(|_| agrees)?;
        let peer = self.peers.get(at)?;
        (peer.knowledge == Knowledge::Holds).then_some(at)
    }

    /// Hears a message or refuses it, and learns the membership that it brings. Answers with the sender's place
    /// among the peers, and whether it now holds this node's membership for the first time.
    #[inline(never)]
    fn admit(
        &mut self,
        now: Moment,
        from: &I,
        message: &Message<I>,
    ) -> Result<(usize, bool), Drop> {
        if message.cluster != self.settings.cluster {
            return Err(Drop::ForeignCluster);
        }
        let term_limit = self.term().saturating_add(MAX_TERM_JUMP).min(MAX_TERM);
        let mut place = self.peer_at(from);
        // No node is a peer of its own.
        let is_its_own = place.is_none() && *from == self.settings.me;
        if is_its_own || message.term > term_limit {
            return Err(Drop::Malformed);
        }
        if let Some(membership) = &message.membership {
            self.learn(now, from, message.term, membership)?;
            place = self.peer_at(from);
        }
        let Some(at) = place else {
            self.tell_stranger(from, message);
            return Err(Drop::Stranger);
        };
        let (stamp, term) = (self.stamp(), self.term());
        let Some(peer) = self.peers.get_mut(at) else {
            return Err(Drop::Stranger);
        };
        // It speaks under this stamp although it was told what stands behind it: it holds the same.
        let confirms =
            peer.knowledge == Knowledge::Told && message.stamp == stamp && message.term == term;
        if confirms {
            peer.knowledge = Knowledge::Holds;
        } else if message.stamp < stamp {
            // It may have lost what it held.
            peer.knowledge = Knowledge::Untold;
        }
        Ok((at, confirms))
    }

    /// Looks at a membership that a message brings, and takes it if it is newer and may be taken.
    fn learn(
        &mut self,
        now: Moment,
        from: &I,
        term: u64,
        membership: &SharedMembership<I>,
    ) -> Result<(), Drop> {
        let version_limit = self.stamp().version.saturating_add(MAX_TERM_JUMP);
        let too_far = membership.term > term || membership.version > version_limit;
        // Most that come are copies of this node's own, which needs no second look.
        let is_ours = membership.is(self.membership());
        if too_far || !(is_ours || membership.is_well_formed()) {
            return Err(Drop::Malformed);
        }
        if is_ours {
            return Ok(());
        }
        let known = self.peer_at(from).is_some();
        if membership.stamp() == self.stamp() {
            return self.learn_other(now, from, term, membership);
        }
        if membership.stamp() <= self.stamp() {
            return Ok(());
        }
        if !known && !membership.is_voter(from) {
            return Err(Drop::Stranger);
        }
        // A leader's own stamp bears its term, so a newer one is of a newer term, in which another was elected.
        let was_candidate = matches!(self.role, Role::Candidate(_));
        if membership.term > self.term() {
            self.take_term(now, membership.term);
        } else if was_candidate {
            self.become_follower(now);
        }
        if matches!(self.role, Role::Follower) {
            self.adopt(now, Arc::clone(membership));
        }
        if was_candidate && self.timers.is_set(Timer::Campaign) {
            // It has waited for its turn already.
            let turn = self.patience.saturating_sub(self.settings.election_timeout);
            self.timers.set(Timer::Campaign, now + turn);
        }
        Ok(())
    }

    /// Tells a stranger that campaigns under an older membership what the present one is: it was removed while it
    /// could not be told. A few at a time, whoever they are.
    fn tell_stranger(&mut self, from: &I, message: &Message<I>) {
        let told = self.peers.iter().filter(|peer| peer.leaving).count();
        let MessageKind::PreVoteRequest { round, .. } = message.kind else {
            return;
        };
        if message.stamp >= self.stamp() || told >= MOST_STRANGERS_TOLD {
            return;
        }
        if let Err(at) = self.peers.binary_search_by(|peer| peer.id.cmp(from)) {
            self.peers.insert(at, Peer::stranger(from.clone()));
            self.tell(at, round);
        }
    }

    /// Another membership under the same stamp: a member's wish for another target, or a mistake.
    fn learn_other(
        &mut self,
        now: Moment,
        from: &I,
        term: u64,
        membership: &SharedMembership<I>,
    ) -> Result<(), Drop> {
        let known = self.peer_at(from).is_some();
        if known && membership.differs_in_target_only(self.membership()) {
            let leads = matches!(self.role, Role::Leader(_)) && term == self.term();
            if leads && !membership.target.is_empty() {
                self.set_target(now, membership.target.clone());
            }
            return Ok(());
        }
        tracing::warn!(
            node = ?self.settings.me, ?from, stamp = %membership.stamp(),
            ours = ?self.membership().voters, theirs = ?membership.voters,
            "two memberships under one stamp: a node was started with a wrong list of nodes"
        );
        Err(if known {
            Drop::Conflicting
        } else {
            Drop::Stranger
        })
    }

    /// Makes a newer membership this node's own.
    fn adopt(&mut self, now: Moment, membership: SharedMembership<I>) {
        let was_voter = self.is_voter();
        self.replace_membership(membership, false);
        if was_voter != self.is_voter() {
            let leader = self.state.leader.take();
            self.become_follower(now);
            if leader.is_some() {
                self.state.leader = leader;
                self.timers.set(Timer::Campaign, now + self.patience);
            }
        }
    }

    /// What is said when a leader is elected or hands over.
    #[inline(never)]
    fn dispatch(&mut self, now: Moment, at: usize, message: &Message<I>) -> Result<(), Drop> {
        let (term, stamp) = (message.term, message.stamp);
        match message.kind {
            MessageKind::PreVoteRequest {
                round,
                position,
                priority,
            } => {
                self.on_pre_vote_request(
                    now,
                    at,
                    PreVoteAsk {
                        round,
                        term,
                        stamp,
                        position,
                        priority,
                    },
                );
                Ok(())
            }
            MessageKind::PreVote {
                round,
                granted,
                ref leader,
            } => self.on_pre_vote(now, at, term, round, granted, leader.as_ref()),
            MessageKind::VoteRequest { position, transfer } => {
                self.on_vote_request(
                    now,
                    at,
                    VoteAsk {
                        term,
                        stamp,
                        position,
                        transfer,
                    },
                );
                Ok(())
            }
            MessageKind::Vote { granted, .. } => self.on_vote(now, at, term, granted),
            MessageKind::TimeoutNow => self.on_timeout_now(now, at, term),
            // The first two do not come here; those of a link between machines are no election's affair.
            MessageKind::Ping { .. }
            | MessageKind::Pong { .. }
            | MessageKind::Beat(_)
            | MessageKind::BeatAck(_)
            | MessageKind::Attach(_)
            | MessageKind::Attached(_)
            | MessageKind::Unknown => Err(Drop::Unsupported),
        }
    }

    /// A member's place among the peers.
    #[inline]
    pub(super) fn peer_at(&self, id: &I) -> Option<usize> {
        let at = if self.peers.len() <= FEW {
            self.peers.iter().position(|peer| peer.id == *id)
        } else {
            self.peers.binary_search_by(|peer| peer.id.cmp(id)).ok()
        };
        at.filter(|at| self.peers.get(*at).is_some_and(|peer| !peer.leaving))
    }

    #[cold]
    fn drop_message(&mut self, from: &I, reason: Drop) {
        tracing::debug!(node = ?self.settings.me, ?from, ?reason, "message dropped");
        let stats = self.stats.get_or_insert_default();
        let count = match reason {
            Drop::ForeignCluster => &mut stats.foreign_cluster,
            Drop::Stranger => &mut stats.strangers,
            Drop::Malformed => &mut stats.malformed,
            Drop::Unsupported => &mut stats.unsupported,
            Drop::Conflicting => &mut stats.conflicting,
            Drop::Stale => &mut stats.stale,
        };
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::error::ConfigError;

    #[test]
    fn members_are_found_among_few_and_among_many() -> Result<(), ConfigError> {
        for count in [2, 3, FEW as u64, FEW as u64 + 1, FEW as u64 + 2, 500] {
            let config = Config::with_id(0, 0..count)?;
            let election = Election::new(config, std::time::Instant::now())?;
            let found = (1..count).map(|id| election.peer_at(&id));
            assert!(found.eq((0..count as usize - 1).map(Some)), "{count} nodes");
            assert_eq!(election.peer_at(&0), None, "no node is a peer of its own");
            assert_eq!(election.peer_at(&count), None, "a stranger");
        }
        Ok(())
    }
}
