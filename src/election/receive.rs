//! What another node says: who is heard at all, and which rule it is for.

use std::sync::Arc;
use std::time::Instant;

use super::peer::{Knowledge, PreVoteAsk, peers_of};
use super::vote::VoteAsk;
use super::{Election, Role};
use crate::config::MAX_TERM_JUMP;
use crate::id::Id;
use crate::membership::SharedMembership;
use crate::message::{Message, MessageKind};

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
    pub(super) fn receive(&mut self, now: Instant, from: &I, message: Message<I>) {
        let at = match self.admit(now, from, &message) {
            Ok(at) => at,
            Err(reason) => return self.drop_message(from, reason),
        };
        if let Err(reason) = self.dispatch(now, at, message) {
            self.drop_message(from, reason);
        }
    }

    /// Hears a message or refuses it, and learns the membership that it brings. Answers with the sender's place
    /// among the peers.
    fn admit(&mut self, now: Instant, from: &I, message: &Message<I>) -> Result<usize, Drop> {
        if message.cluster != self.settings.cluster {
            return Err(Drop::ForeignCluster);
        }
        let term_limit = self.term().saturating_add(MAX_TERM_JUMP).min(u64::MAX - MAX_TERM_JUMP);
        if *from == self.settings.me || message.term > term_limit {
            return Err(Drop::Malformed);
        }
        if let Some(membership) = &message.membership {
            self.learn(now, from, message.term, membership)?;
        }
        let at = self.peer_at(from).ok_or(Drop::Stranger)?;
        let stamp = self.stamp();
        if let Some(peer) = self.peers.get_mut(at) {
            // It speaks under this stamp although it was told what stands behind it: it holds the same.
            if message.stamp == stamp && peer.knowledge == Knowledge::Told {
                peer.knowledge = Knowledge::Holds;
            }
        }
        Ok(at)
    }

    /// Looks at a membership that a message brings, and takes it if it is newer and may be taken.
    fn learn(
        &mut self,
        now: Instant,
        from: &I,
        term: u64,
        membership: &SharedMembership<I>,
    ) -> Result<(), Drop> {
        if !membership.is_well_formed() || membership.term > term {
            return Err(Drop::Malformed);
        }
        let known = self.peer_at(from).is_some();
        if membership.stamp() == self.stamp() && membership != self.membership() {
            tracing::warn!(
                node = ?self.settings.me, ?from, stamp = %membership.stamp(),
                ours = ?self.membership().voters, theirs = ?membership.voters,
                "two memberships under one stamp: a node was started with a wrong list of nodes"
            );
            return Err(if known { Drop::Conflicting } else { Drop::Stranger });
        }
        if membership.stamp() <= self.stamp() {
            return Ok(());
        }
        if !known && !membership.is_voter(from) {
            return Err(Drop::Stranger);
        }
        match self.role {
            // A leader gives way only to a newer term: in its own, the membership is its own to change.
            Role::Leader(_) if term <= self.term() => return Ok(()),
            Role::Leader(_) => self.take_term(now, term),
            Role::Candidate(_) => self.become_follower(now),
            Role::Follower => {}
        }
        self.adopt(now, Arc::clone(membership));
        Ok(())
    }

    /// Makes a membership this node's own.
    pub(super) fn adopt(&mut self, now: Instant, membership: SharedMembership<I>) {
        let was_voter = self.is_voter();
        let before = std::mem::take(&mut self.peers);
        self.peers = peers_of(&membership, &self.settings.me, before);
        self.recount();
        self.state.hard_state.membership = membership;
        self.outbox.announce = true;
        if was_voter != self.is_voter() {
            let leader = self.state.leader.take();
            self.become_follower(now);
            self.state.leader = leader;
        }
    }

    fn dispatch(&mut self, now: Instant, at: usize, message: Message<I>) -> Result<(), Drop> {
        let Message { term, stamp, kind, .. } = message;
        match kind {
            MessageKind::PreVoteRequest { round, position, priority } => {
                self.on_pre_vote_request(now, at, PreVoteAsk { round, term, stamp, position, priority });
                Ok(())
            }
            MessageKind::PreVote { round, granted, leader } => {
                self.on_pre_vote(now, at, term, round, granted, leader)
            }
            MessageKind::VoteRequest { position, transfer } => {
                self.on_vote_request(now, at, VoteAsk { term, stamp, position, transfer });
                Ok(())
            }
            MessageKind::Vote { granted, .. } => self.on_vote(now, at, term, granted),
            MessageKind::Ping { round, succession } => self.on_ping(now, at, term, round, succession),
            MessageKind::Pong { round, position, priority } => {
                self.on_pong(now, at, term, round, position, priority)
            }
            MessageKind::TimeoutNow => self.on_timeout_now(now, at, term),
            MessageKind::Unknown => Err(Drop::Unsupported),
        }
    }

    pub(super) fn peer_at(&self, id: &I) -> Option<usize> {
        self.peers.binary_search_by(|peer| peer.id.cmp(id)).ok()
    }

    fn drop_message(&mut self, from: &I, reason: Drop) {
        tracing::debug!(node = ?self.settings.me, ?from, ?reason, "message dropped");
        let count = match reason {
            Drop::ForeignCluster => &mut self.stats.foreign_cluster,
            Drop::Stranger => &mut self.stats.strangers,
            Drop::Malformed => &mut self.stats.malformed,
            Drop::Unsupported => &mut self.stats.unsupported,
            Drop::Conflicting => &mut self.stats.conflicting,
            Drop::Stale => &mut self.stats.stale,
        };
        *count = count.saturating_add(1);
    }
}
