//! For a layer above that carries liveness: what it heard and what was answered, and when an election needs nothing else.
//!
//! Absent here: how the layer comes to know. It vouches that what it reports is as good as a `Ping` or a `Pong` of the
//! present term and membership.

use std::time::Instant;

use super::moment::Moment;
use super::peer::Knowledge;
use super::timer::Timer;
use super::{Election, Role};
use crate::id::Id;
use crate::membership::{SharedMembership, Stamp};
use crate::message::{ClusterTag, LogPosition};

/// What an attachment to a layer's liveness stands on: when any of this changes, it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bond<I> {
    pub(crate) term: u64,
    pub(crate) stamp: Stamp,
    /// Whom this node follows; none if it leads.
    pub(crate) leader: Option<I>,
    /// What a `Pong` would say besides: a follower's `leader_priority`, and that it has a wish to tell.
    priority: u64,
    wishes: bool,
}

/// Another member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Other<'a, I> {
    pub(crate) id: &'a I,
    pub(crate) is_voter: bool,
    pub(crate) is_live: bool,
}

impl<I: Id> Election<I> {
    /// For a layer above: it heard from the leader at this instant, which is as good as a `Ping` for not campaigning and
    /// for withholding votes. Without effect on a node that follows nobody, or has heard its leader later.
    pub fn mark_alive(&mut self, at: Instant) {
        let at = self.moment(at);
        self.hear_from_above(at);
    }

    pub(super) fn hear_from_above(&mut self, at: Moment) {
        let end = at + self.settings.election_timeout;
        let is_news = self.withhold_until.is_none_or(|before| before < end);
        if is_news && matches!(self.role, Role::Follower) && self.state.leader.is_some() {
            self.hear_leader(at);
        }
    }

    /// For a layer above: at `heard` came a member's answer to what this leader sent at `sent`, in its present term and
    /// under its present membership; as good as a `Pong` to a `Ping` of that instant. Without effect on a node that does not
    /// lead, for a stranger, and for what was sent before it led.
    pub fn mark_answered(&mut self, from: &I, sent: Instant, heard: Instant) {
        let (sent, heard) = (self.moment(sent), self.moment(heard));
        let at = self.peer_at(from);
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let Some(peer) = at.and_then(|at| self.peers.get_mut(at)) else {
            return;
        };
        let progress = &mut peer.progress;
        let is_news = sent >= lead.since && progress.confirmed.is_none_or(|before| before < sent);
        if !is_news {
            return;
        }
        progress.confirmed = Some(sent);
        progress.heard = progress.heard.max(Some(heard));
        if !std::mem::replace(&mut progress.live, true) {
            self.show_followers();
        }
        self.count_answers();
        self.confirm_newest();
    }

    /// For a layer above: this member's log reaches at least so far, in this leader's present term. As good as what a `Pong`
    /// says of it, and sooner: who has caught up is a successor at once. Without effect on a node that does not lead, for a
    /// stranger, and where it is known to reach as far.
    pub fn mark_position(&mut self, of: &I, position: LogPosition) {
        let at = self.peer_at(of);
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let Some(peer) = at.and_then(|at| self.peers.get_mut(at)) else {
            return;
        };
        let (before, priority) = (peer.rare().position, peer.rare().priority);
        if before >= position {
            return;
        }
        lead.ranks_stale |= peer.tells(position, priority);
        if self.state.transferring_to() == Some(of) {
            self.order_handover();
        }
    }

    /// Whether liveness is all that this node needs: a leader whose cluster is as it is wished to be and knows its
    /// successors, a follower that hears its leader and has nothing to tell it.
    pub(crate) fn rests(&self) -> bool {
        let has_nothing_to_do = !self.stopped && self.wish.is_none();
        has_nothing_to_do
            && match &self.role {
                Role::Follower => self.state.leader.is_some() && !self.timers.is_set(Timer::Answer),
                Role::Candidate(_) => false,
                Role::Leader(lead) => {
                    let is_settled = self.peers.iter().all(|peer| {
                        !peer.leaving
                            && (!peer.progress.live
                                || peer.knowledge == Knowledge::Holds
                                    && peer.rare().priority <= self.priority)
                    });
                    // Who needs no answer has nobody to rely on but itself.
                    is_settled
                        && !self.is_alone()
                        && !lead.ranks_stale
                        && lead.handover.is_none()
                        && lead.confirmed_at.is_some()
                        && self.has_arrived()
                }
            }
    }

    /// What an attachment stands on; none while this node neither leads nor follows.
    pub(crate) fn bond(&self) -> Option<Bond<I>> {
        let (leader, priority) = match &self.role {
            Role::Leader(_) => (None, 0),
            Role::Follower => (Some(self.state.leader.clone()?), self.priority),
            Role::Candidate(_) => return None,
        };
        Some(Bond {
            term: self.term(),
            stamp: self.stamp(),
            leader,
            priority,
            wishes: self.wish.is_some(),
        })
    }

    /// Whether this node leads and a member has answered it in this term and under this membership.
    pub(crate) fn is_answered_by(&self, id: &I) -> bool {
        let peer = self.peer_at(id).and_then(|at| self.peers.get(at));
        matches!(self.role, Role::Leader(_))
            && peer.is_some_and(|peer| {
                peer.knowledge == Knowledge::Holds
                    && peer.progress.live
                    && peer.progress.confirmed.is_some()
            })
    }

    /// The other members; for a leader, which of them have answered within the last election timeout.
    pub(crate) fn others(&self) -> impl Iterator<Item = Other<'_, I>> {
        let members = self.peers.iter().filter(|peer| !peer.leaving);
        members.map(|peer| Other {
            id: &peer.id,
            is_voter: peer.voter,
            is_live: peer.progress.live,
        })
    }

    /// Whether so many other voters are a quorum together with this node.
    pub(crate) fn is_quorum_with(&self, others: usize) -> bool {
        others + 1 >= self.membership().quorum()
    }

    /// Whether it was elected, and has not stepped down.
    pub(crate) fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The tag that its messages bear.
    pub(crate) fn cluster(&self) -> ClusterTag {
        self.settings.cluster
    }

    /// Holds an equal membership in the place of its own, which is to be kept once.
    pub(crate) fn share_membership(&mut self, membership: SharedMembership<I>) {
        if *self.membership() == membership {
            self.state.hard_state.membership = membership;
        }
    }

    /// Whether its state has changed since it last came out.
    pub(crate) fn has_news(&self) -> bool {
        self.outbox.announce
    }

    /// Whether [`poll_output`](Self::poll_output) has anything to give.
    pub(crate) fn has_output(&self) -> bool {
        self.outbox.announce || self.outbox.has_waiting()
    }
}
