//! All peers, sorted by id, and whose turn it is.

use std::collections::BTreeMap;
use std::fmt;
use std::task::{Context, Poll};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::addr::PeerAddr;
use super::duel::Dialler;
use super::error::MeshError;
use super::handshake::Connection;
use super::local::{Local, Round};
use super::peer::Peer;
use crate::codec::Wire;
use crate::id::Id;
use crate::waiting::Payload;

/// A message and its sender, or what went wrong.
pub(super) type Heard<I, M> = Result<(I, M), MeshError<I>>;

pub(super) struct Peers<I, M: Payload> {
    sorted: Vec<Peer<I, M>>,
    /// Who is polled first next time: the one behind the last that had something.
    turn: usize,
}

impl<I: Id + Serialize + DeserializeOwned, M: Wire> Peers<I, M> {
    pub(super) fn new() -> Self {
        Self {
            sorted: Vec::new(),
            turn: 0,
        }
    }

    pub(super) fn insert(&mut self, id: I, addr: PeerAddr, local: &Local<I>, now: Instant) {
        match self.find(&id) {
            Ok(place) => {
                if let Some(peer) = self.sorted.get_mut(place) {
                    peer.set_addr(addr, now);
                }
            }
            Err(place) => {
                let peer = Peer::new(id, Some(addr), local, now);
                self.sorted.insert(place, peer);
            }
        }
    }

    /// Makes these the peers. Those that have their address already are left as they are, and so are strangers.
    pub(super) fn set(&mut self, peers: BTreeMap<I, PeerAddr>, local: &Local<I>, now: Instant) {
        self.sorted
            .retain(|peer| peer.addr().is_none() || peers.contains_key(peer.id()));
        for (id, addr) in peers {
            if self.get_mut(&id).and_then(|peer| peer.addr()) != Some(&addr) {
                self.insert(id, addr, local, now);
            }
        }
    }

    /// Whether there was one.
    pub(super) fn remove(&mut self, id: &I) -> bool {
        let found = self.find(id);
        if let Ok(place) = found {
            self.sorted.remove(place);
        }
        found.is_ok()
    }

    pub(super) fn get_mut(&mut self, id: &I) -> Option<&mut Peer<I, M>> {
        let place = self.find(id).ok()?;
        self.sorted.get_mut(place)
    }

    /// Takes in a connection that was accepted, if its peer is known or there is room for one more stranger.
    pub(super) fn welcome(&mut self, id: &I, connection: Connection<M>, round: &mut Round<'_, I>) {
        if let Err(place) = self.find(id) {
            if self.strangers() >= round.local.max_strangers {
                tracing::debug!(peer = ?id, "refused a stranger");
                round.stats.strangers += 1;
                return;
            }
            let stranger = Peer::new(id.clone(), None, round.local, round.now);
            self.sorted.insert(place, stranger);
        }
        if let Some(peer) = self.get_mut(id) {
            let dialler = Dialler::new(id, &round.local.hello.node_id);
            peer.connect(connection, dialler, round);
        }
    }

    /// Moves every peer on, beginning with the one whose turn it is, until one has something to tell.
    pub(super) fn poll(
        &mut self,
        round: &mut Round<'_, I>,
        cx: &mut Context<'_>,
    ) -> Poll<Heard<I, M>> {
        let count = self.sorted.len();
        for step in 0..count {
            let place = (self.turn + step) % count;
            let Some(peer) = self.sorted.get_mut(place) else {
                continue;
            };
            if let Poll::Ready(heard) = peer.poll(round, cx) {
                let heard = heard.map(|message| (peer.id().clone(), message));
                self.turn = (place + 1) % count;
                // A stranger is known for as long as it is connected.
                if peer.addr().is_none() && !peer.is_connected() {
                    self.sorted.remove(place);
                }
                return Poll::Ready(heard);
            }
        }
        Poll::Pending
    }

    /// Moves what waits for each peer as far as its connection is ready.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        for peer in &mut self.sorted {
            peer.drive(cx);
        }
    }

    /// Ready when the last connection is closed. Those that are, and peers without one, are dropped.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sorted
            .retain_mut(|peer| peer.poll_close(cx).is_pending());
        if self.sorted.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    pub(super) fn clear(&mut self) {
        self.sorted.clear();
    }

    /// Nobody listened until now, so silence counts from now on.
    pub(super) fn excuse(&mut self, now: Instant) {
        for peer in &mut self.sorted {
            peer.excuse(now);
        }
    }

    fn find(&self, id: &I) -> Result<usize, usize> {
        self.sorted.binary_search_by(|peer| peer.id().cmp(id))
    }

    fn strangers(&self) -> usize {
        self.iter().filter(|peer| peer.addr().is_none()).count()
    }
}

impl<I, M: Payload> Peers<I, M> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer<I, M>> {
        self.sorted.iter()
    }

    /// When they must be polled again, though nothing comes.
    pub(super) fn deadline(&self, local: &Local<I>) -> Option<Instant> {
        let deadlines = self.iter().filter_map(|peer| peer.deadline(local));
        deadlines.min()
    }
}

impl<I: fmt::Debug, M: Payload> fmt::Debug for Peers<I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.sorted).finish()
    }
}
