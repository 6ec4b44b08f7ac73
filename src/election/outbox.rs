//! What waits to come out: the state if it changed, then at most two messages a peer. There is no queue.
//!
//! What waits for a peer is only which kind of message. The message is made when it is taken out, of what the node is
//! then: whatever becomes untrue before is emptied ([`Election::unsend`]).

use std::sync::Arc;

use super::peer::{Knowledge, Peer};
use super::{Election, Role};
use crate::id::Id;
use crate::membership::{Membership, SharedMembership};
use crate::message::{LogPosition, Message, MessageKind, MsgRouter, Slot};

/// What waits in the place for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Request {
    PreVote,
    Vote,
    Ping,
    TimeoutNow,
}

/// What waits in the place for replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    PreVote { granted: bool },
    Vote { granted: bool },
    Pong,
}

impl Role {
    /// The message to this peer that a request has become.
    #[inline]
    fn asks<I: Id>(
        &self,
        request: Request,
        peer: &Peer<I>,
        position: LogPosition,
        priority: u64,
    ) -> Option<MessageKind<I>> {
        Some(match (request, self) {
            (Request::Ping, Self::Leader(lead)) => MessageKind::Ping {
                round: lead.round(),
                succession: peer.voter.then_some(peer.progress.rank),
            },
            (Request::PreVote, Self::Candidate(campaign)) => MessageKind::PreVoteRequest {
                round: campaign.round,
                position,
                priority,
            },
            (Request::Vote, Self::Candidate(campaign)) => MessageKind::VoteRequest {
                position,
                transfer: campaign.transfer,
            },
            (Request::TimeoutNow, _) => MessageKind::TimeoutNow,
            // No other role has such a request: it is emptied when the role ends.
            _ => return None,
        })
    }
}

impl<I: Id> Peer<I> {
    /// The message to it that the waiting reply has become.
    #[inline]
    fn answers(&mut self, position: LogPosition, priority: u64) -> Option<MessageKind<I>> {
        let (reply, round, leader) = self.take_reply()?;
        Some(match reply {
            Reply::Pong => MessageKind::Pong {
                round,
                position,
                priority,
            },
            Reply::PreVote { granted } => MessageKind::PreVote {
                round,
                granted,
                leader,
            },
            Reply::Vote { granted } => MessageKind::Vote { granted, leader },
        })
    }

    #[inline]
    fn take_reply(&mut self) -> Option<(Reply, u64, Option<I>)> {
        let reply = self.reply.take()?;
        let round = std::mem::take(&mut self.reply_round);
        let leader = if self.has_rare() {
            self.change_rare(|rare| rare.reply_leader.take())
        } else {
            None
        };
        Some((reply, round, leader))
    }
}

/// How much waits, and where to look next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outbox {
    /// The state has changed since it last came out.
    pub(super) announce: bool,
    /// How many places are filled.
    waiting: u32,
    /// The peer to look at first, so that a drain passes each peer once.
    cursor: u32,
}

impl Outbox {
    /// Whether a message waits.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Puts a request into its place, instead of an older one.
    #[inline]
    pub(super) fn request<I: Id>(&mut self, peer: &mut Peer<I>, request: Request) {
        self.waiting += u32::from(peer.request.replace(request).is_none());
    }

    /// Puts a reply into its place, instead of an older one.
    #[inline]
    pub(super) fn reply<I: Id>(
        &mut self,
        peer: &mut Peer<I>,
        reply: Reply,
        round: u64,
        leader: Option<&I>,
    ) {
        self.waiting += u32::from(peer.reply.replace(reply).is_none());
        peer.reply_round = round;
        if peer.rare().reply_leader.as_ref() != leader {
            peer.change_rare(|rare| rare.reply_leader = leader.cloned());
        }
    }
}

impl<I: Id> Election<I> {
    /// Asks this of the peer at this place.
    #[inline]
    pub(super) fn request(&mut self, at: usize, request: Request) {
        if let Some(peer) = self.peers.get_mut(at) {
            self.outbox.request(peer, request);
        }
    }

    /// Empties this slot of every member: what waits there has become untrue. What a leaver is told stays true.
    pub(super) fn unsend(&mut self, slot: Slot) {
        if self.outbox.waiting == 0 {
            return;
        }
        for peer in self.peers.iter_mut().filter(|peer| !peer.leaving) {
            let was_filled = match slot {
                Slot::Request => peer.request.take().is_some(),
                Slot::Reply => peer.take_reply().is_some(),
            };
            self.outbox.waiting -= u32::from(was_filled);
        }
    }

    /// Counts anew, after peers came and went.
    pub(super) fn recount(&mut self) {
        let filled =
            |peer: &Peer<I>| u32::from(peer.request.is_some()) + u32::from(peer.reply.is_some());
        self.outbox.waiting = self.peers.iter().map(filled).sum();
        self.outbox.cursor = 0;
    }

    /// The next thing that must leave the node, until there is none. Drain it after every call that takes `now`.
    ///
    /// A state comes out before every message that depends on it: whoever makes each item durable before taking
    /// the next one has written ahead.
    #[inline]
    pub fn poll_output(&mut self) -> Option<MsgRouter<I>> {
        // Every drain ends with a call that finds nothing: it costs its caller two comparisons.
        if self.outbox.announce {
            return Some(self.take_state());
        }
        if self.outbox.waiting == 0 {
            self.outbox.cursor = 0;
            return None;
        }
        self.take_message()
    }

    fn take_state(&mut self) -> MsgRouter<I> {
        self.outbox.announce = false;
        tracing::debug!(
            node = ?self.settings.me,
            node_type = %self.state.node_type,
            term = self.term(),
            leader = ?self.state.leader,
            "state"
        );
        MsgRouter::ToSelf(self.state.clone())
    }

    /// The peer whose turn it is, of those for whom a message waits.
    #[inline]
    fn next_waiting(&self) -> Option<usize> {
        let waits = |peer: &Peer<I>| peer.request.is_some() || peer.reply.is_some();
        let cursor = self.outbox.cursor as usize;
        let later = self.peers.get(cursor..).unwrap_or(&[]);
        let ahead = later.iter().position(waits);
        ahead
            .map(|ahead| cursor + ahead)
            .or_else(|| self.peers.iter().position(waits))
    }

    // Never inlined: a message is built where its caller wants it, and not moved there.
    #[inline(never)]
    fn take_message(&mut self) -> Option<MsgRouter<I>> {
        let at = self.next_waiting()?;
        self.outbox.waiting -= 1;
        self.outbox.cursor = u32::try_from(at).unwrap_or(0);
        let peer = self.peers.get_mut(at)?;
        if peer.knowledge != Knowledge::Holds || self.wish.is_some() {
            return self.take_with_membership(at);
        }
        let to = peer.id.clone();
        match (peer.request, peer.reply, &self.role) {
            // Nearly all that is ever said, so made in one piece.
            (Some(Request::Ping), _, Role::Leader(lead)) => {
                peer.request = None;
                let round = lead.round();
                let succession = peer.voter.then_some(peer.progress.rank);
                Some(self.message(to, None, MessageKind::Ping { round, succession }))
            }
            (None, Some(Reply::Pong), _) => {
                peer.reply = None;
                let round = std::mem::take(&mut peer.reply_round);
                let (position, priority) = (self.position, self.priority);
                let pong = MessageKind::Pong {
                    round,
                    position,
                    priority,
                };
                Some(self.message(to, None, pong))
            }
            _ => {
                let kind = self.take_kind(at)?;
                Some(self.message(to, None, kind))
            }
        }
    }

    #[inline(always)]
    fn message(
        &self,
        to: I,
        membership: Option<SharedMembership<I>>,
        kind: MessageKind<I>,
    ) -> MsgRouter<I> {
        MsgRouter::ToNode(
            to,
            Message {
                cluster: self.settings.cluster,
                term: self.term(),
                stamp: self.stamp(),
                membership,
                kind,
            },
        )
    }

    /// Takes out the message to this peer, who is not known to hold this node's membership, or is told a wish.
    #[cold]
    fn take_with_membership(&mut self, at: usize) -> Option<MsgRouter<I>> {
        let kind = self.take_kind(at)?;
        let membership = &self.state.hard_state.membership;
        let peer = self.peers.get_mut(at)?;
        let told = match (peer.knowledge, &self.wish) {
            // A wish is said as the membership that it would make, under the stamp that both hold.
            (Knowledge::Holds, Some(target)) if matches!(kind, MessageKind::Pong { .. }) => {
                Some(Arc::new(Membership {
                    target: target.to_vec(),
                    ..(**membership).clone()
                }))
            }
            (Knowledge::Holds, _) => None,
            (Knowledge::Untold | Knowledge::Told, _) => {
                peer.knowledge = Knowledge::Told;
                Some(Arc::clone(membership))
            }
        };
        let is_done = peer.leaving && peer.request.is_none() && peer.reply.is_none();
        let to = if is_done {
            self.peers.remove(at).id
        } else {
            peer.id.clone()
        };
        Some(self.message(to, told, kind))
    }

    /// What has become of the request to this peer, or else of the reply.
    #[inline(never)]
    fn take_kind(&mut self, at: usize) -> Option<MessageKind<I>> {
        let (position, priority) = (self.position, self.priority);
        let peer = self.peers.get_mut(at)?;
        match peer.request.take() {
            Some(request) => self.role.asks(request, peer, position, priority),
            None => peer.answers(position, priority),
        }
    }
}
