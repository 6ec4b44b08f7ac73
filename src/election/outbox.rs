//! What waits to come out: the state if it changed, then at most two messages a peer. There is no queue.

use std::sync::Arc;

use super::Election;
use super::peer::{Knowledge, Peer};
use crate::id::Id;
use crate::membership::Membership;
use crate::message::{Message, MessageKind, MsgRouter, Slot};

/// How much waits, and where to look next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outbox {
    /// The state has changed since it last came out.
    pub(super) announce: bool,
    /// How many slots are filled.
    waiting: usize,
    /// The peer to look at first, so that a drain passes each peer once.
    cursor: usize,
}

impl Outbox {
    /// Puts a message into its slot of this peer, in the place of an older one.
    #[inline]
    pub(super) fn put<I: Id>(&mut self, peer: &mut Peer<I>, kind: MessageKind<I>) {
        if peer.slot(kind.slot()).replace(kind).is_none() {
            self.waiting += 1;
        }
    }
}

impl<I: Id> Election<I> {
    /// Puts a message into its slot of the peer at this place.
    #[inline]
    pub(super) fn send(&mut self, at: usize, kind: MessageKind<I>) {
        if let Some(peer) = self.peers.get_mut(at) {
            self.outbox.put(peer, kind);
        }
    }

    /// Empties this slot of every member: what waits there has become untrue. What a leaver is told stays true.
    pub(super) fn unsend(&mut self, slot: Slot) {
        for peer in self.peers.iter_mut().filter(|peer| !peer.leaving) {
            if peer.slot(slot).take().is_some() {
                self.outbox.waiting -= 1;
            }
        }
    }

    /// Counts anew, after peers came and went.
    pub(super) fn recount(&mut self) {
        let filled = |slot: &Option<MessageKind<I>>| usize::from(slot.is_some());
        self.outbox.waiting = self
            .peers
            .iter()
            .map(|peer| filled(&peer.request) + filled(&peer.reply))
            .sum();
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
        let at = self.next_waiting()?;
        self.outbox.waiting -= 1;
        self.outbox.cursor = at;
        self.take_message(at)
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
    fn next_waiting(&self) -> Option<usize> {
        let waits = |peer: &Peer<I>| peer.request.is_some() || peer.reply.is_some();
        let cursor = self.outbox.cursor;
        let later = self.peers.iter().skip(cursor).position(waits);
        later
            .map(|ahead| cursor + ahead)
            .or_else(|| self.peers.iter().position(waits))
    }

    fn take_message(&mut self, at: usize) -> Option<MsgRouter<I>> {
        let peer = self.peers.get_mut(at)?;
        let kind = peer.request.take().or_else(|| peer.reply.take())?;
        let hard_state = &self.state.hard_state;
        let membership = &hard_state.membership;
        let told = match (peer.knowledge, &self.wish) {
            // A wish is said as the membership that it would make, under the stamp that both hold.
            (Knowledge::Holds, Some(target)) if matches!(kind, MessageKind::Pong { .. }) => {
                Some(Arc::new(Membership {
                    target: target.clone(),
                    ..(**membership).clone()
                }))
            }
            (Knowledge::Holds, _) => None,
            (Knowledge::Untold | Knowledge::Told, _) => {
                peer.knowledge = Knowledge::Told;
                Some(Arc::clone(membership))
            }
        };
        let message = Message {
            cluster: self.settings.cluster,
            term: hard_state.term,
            stamp: membership.stamp(),
            membership: told,
            kind,
        };
        let is_done = peer.leaving && peer.request.is_none() && peer.reply.is_none();
        let to = if is_done {
            self.peers.remove(at).id
        } else {
            peer.id.clone()
        };
        Some(MsgRouter::ToNode(to, message))
    }
}
