//! What waits to come out: the state if it changed, then at most two messages a peer. There is no queue.

use std::sync::Arc;

use super::Election;
use super::peer::Knowledge;
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

impl<I: Id> Election<I> {
    /// Puts a message into its slot of this peer, in the place of an older one.
    pub(super) fn send(&mut self, at: usize, kind: MessageKind<I>) {
        let Some(peer) = self.peers.get_mut(at) else {
            return;
        };
        if peer.slot(kind.slot()).replace(kind).is_none() {
            self.outbox.waiting += 1;
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
    pub fn poll_output(&mut self) -> Option<MsgRouter<I>> {
        if std::mem::take(&mut self.outbox.announce) {
            tracing::debug!(
                node = ?self.settings.me,
                node_type = %self.state.node_type,
                term = self.term(),
                leader = ?self.state.leader,
                "state"
            );
            return Some(MsgRouter::ToSelf(self.state.clone()));
        }
        if self.outbox.waiting == 0 {
            self.outbox.cursor = 0;
            return None;
        }
        let (later, sooner) = (self.outbox.cursor..self.peers.len(), 0..self.outbox.cursor);
        for at in later.chain(sooner) {
            if let Some(message) = self.take_message(at) {
                self.outbox.waiting -= 1;
                self.outbox.cursor = at;
                return Some(message);
            }
        }
        None
    }

    fn take_message(&mut self, at: usize) -> Option<MsgRouter<I>> {
        let (term, stamp, cluster) = (self.term(), self.stamp(), self.settings.cluster);
        let membership = &self.state.hard_state.membership;
        let peer = self.peers.get_mut(at)?;
        let kind = peer.request.take().or_else(|| peer.reply.take())?;
        let wish = self
            .wish
            .as_ref()
            .filter(|_| matches!(kind, MessageKind::Pong { .. }));
        let told = match peer.knowledge {
            // A wish is said as the membership that it would make, under the stamp that both hold.
            Knowledge::Holds => wish.map(|target| {
                Arc::new(Membership {
                    target: target.clone(),
                    ..(**membership).clone()
                })
            }),
            Knowledge::Untold | Knowledge::Told => {
                peer.knowledge = Knowledge::Told;
                Some(membership.clone())
            }
        };
        let is_done = peer.leaving && peer.request.is_none() && peer.reply.is_none();
        let to = if is_done {
            self.peers.remove(at).id
        } else {
            peer.id.clone()
        };
        let message = Message {
            cluster,
            term,
            stamp,
            membership: told,
            kind,
        };
        Some(MsgRouter::ToNode(to, message))
    }
}
