//! One peer: what waits for it, its connection, and the dial that makes one.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::addr::PeerAddr;
use super::backoff::Backoff;
use super::duel::{Dialler, replaces};
use super::error::MeshError;
use super::handshake::{Connection, Handshake, Outcome};
use super::local::{Local, Round};
use super::port::{Link, Port};
use crate::codec::Wire;
use crate::combinator::lane::Lane;
use crate::id::Id;
use crate::waiting::Payload;

/// ```text
///               its time has come, not connected
///   Waiting ──────────────────────────────────────▶ Dialling
///      ▲                                               │
///      └─ connected, refused, unreachable, too late ───┘
/// ```
enum Dial<I, M> {
    /// Not before that instant, and not while there is a connection.
    Waiting(Instant),
    Dialling(Handshake<I, M>),
}

/// A peer. It is dialled if its address is known; a stranger that was accepted has none, and dials itself.
pub(super) struct Peer<I, M: Payload> {
    id: I,
    addr: Option<PeerAddr>,
    lane: Lane<Port<M>, M>,
    dial: Dial<I, M>,
    backoff: Backoff,
    /// It was connected before.
    known: bool,
    /// That it cannot be reached was said, and it was not connected since.
    unreachable: bool,
}

impl<I: Id + Serialize + DeserializeOwned, M: Wire> Peer<I, M> {
    pub(super) fn new(id: I, addr: Option<PeerAddr>, local: &Local<I>, now: Instant) -> Self {
        Self {
            id,
            addr,
            lane: Lane::new(Port::new()),
            dial: Dial::Waiting(now),
            backoff: Backoff::new(local.min_backoff, local.max_backoff),
            known: false,
            unreachable: false,
        }
    }

    /// Gives it another address, which is dialled at once unless there is a connection.
    pub(super) fn set_addr(&mut self, addr: PeerAddr, now: Instant) {
        self.addr = Some(addr);
        self.dial = Dial::Waiting(now);
        self.backoff.reset();
        self.unreachable = false;
    }

    /// Puts a message to those that wait, as long as there is no connection.
    pub(super) fn put(&mut self, message: M) {
        Pin::new(&mut self.lane).put(message);
    }

    /// Moves what waits as far as the connection is ready.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        let _ = Pin::new(&mut self.lane).poll_drive(cx);
    }

    /// Sends what waits and closes the connection, if there is one.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_connected() {
            return Poll::Ready(());
        }
        Pin::new(&mut self.lane).poll_close(cx).map(|_| ())
    }

    /// Moves everything on. Ready: a message, or what went wrong.
    pub(super) fn poll(
        &mut self,
        round: &mut Round<'_, I>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<M, MeshError<I>>> {
        self.poll_dial(round, cx);
        self.drive(cx);
        let port = self.lane.get_mut();
        let heard = ready!(port.poll_next(&self.id, round.now, cx, round.local.idle_timeout));
        match &heard {
            Ok(_) => {}
            Err(MeshError::NotSent { .. }) => round.stats.not_sent += 1,
            Err(error) => {
                tracing::info!(%error, "lost a connection");
                self.lose(round);
            }
        }
        Poll::Ready(heard)
    }

    fn lose(&mut self, round: &mut Round<'_, I>) {
        round.stats.lost += 1;
        if let Some(link) = self.lane.get_mut().link.take() {
            let lasted = round.now.saturating_duration_since(link.since);
            self.backoff.lasted(lasted);
        }
        if matches!(self.dial, Dial::Waiting(_)) {
            self.dial = Dial::Waiting(round.now + self.backoff.pause(round.rng));
        }
    }

    fn poll_dial(&mut self, round: &mut Round<'_, I>, cx: &mut Context<'_>) {
        let Some(addr) = &self.addr else {
            return;
        };
        if let Dial::Waiting(at) = self.dial {
            if round.now < at || self.is_connected() {
                return;
            }
            round.stats.dialled += 1;
            let opening = round.sockets.connect(addr);
            let local = Arc::clone(round.local);
            let handshake = Handshake::dial(opening, self.id.clone(), local, round.now);
            self.dial = Dial::Dialling(handshake);
        }
        let Dial::Dialling(handshake) = &mut self.dial else {
            return;
        };
        let Poll::Ready(outcome) = handshake.poll(round.now, cx) else {
            return;
        };
        self.dial = Dial::Waiting(round.now + self.backoff.pause(round.rng));
        match outcome {
            Outcome::Greeted(found, connection) if found == self.id => {
                let dialler = Dialler::new(&round.local.hello.node_id, &self.id);
                self.connect(connection, dialler, round);
            }
            Outcome::Greeted(found, _) => {
                tracing::warn!(peer = ?self.id, ?found, "another node answers at a peer's address");
                round.stats.wrong_id += 1;
            }
            Outcome::Failed(error) => {
                round.stats.refuse(&error, true);
                self.say_unreachable(&error);
            }
            Outcome::TimedOut => {
                round.stats.timed_out += 1;
                self.say_unreachable(&"no answer in time");
            }
        }
    }

    /// Offers a connection with this peer, which stays if it is the better one.
    pub(super) fn connect(
        &mut self,
        connection: Connection<M>,
        dialler: Dialler,
        round: &mut Round<'_, I>,
    ) {
        let port = self.lane.get_mut();
        if let Some(old) = &port.link {
            let age = round.now.saturating_duration_since(old.since);
            if !replaces(dialler, old.dialler, age, round.local.handshake_timeout) {
                round.stats.duplicates += 1;
                return;
            }
            round.stats.replaced += 1;
        }
        tracing::debug!(peer = ?self.id, ?dialler, "connected");
        port.link = Some(Link::new(connection, dialler, round.now));
        round.stats.connected += 1;
        round.stats.reconnected += u64::from(self.known);
        self.known = true;
        self.unreachable = false;
        // A dial that would lose against this connection is given up; the other one crosses with it and wins.
        let mine = Dialler::new(&round.local.hello.node_id, &self.id);
        if dialler != mine && dialler == Dialler::Smaller {
            self.dial = Dial::Waiting(round.now);
        }
    }

    /// Once for each silence: a peer that is down stays so for many dials.
    fn say_unreachable(&mut self, error: &dyn fmt::Display) {
        if let Some(addr) = &self.addr
            && !std::mem::replace(&mut self.unreachable, true)
        {
            tracing::info!(peer = ?self.id, %addr, %error, "cannot reach a peer (dialling on)");
        }
    }
}

impl<I, M: Payload> Peer<I, M> {
    pub(super) fn id(&self) -> &I {
        &self.id
    }

    pub(super) fn addr(&self) -> Option<&PeerAddr> {
        self.addr.as_ref()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.lane.get_ref().link.is_some()
    }

    /// Nobody listened until now, so silence counts from now on.
    pub(super) fn excuse(&mut self, now: Instant) {
        if let Some(link) = &mut self.lane.get_mut().link {
            link.excuse(now);
        }
    }

    /// When it must be polled again, though nothing comes.
    pub(super) fn deadline(&self, local: &Local<I>) -> Option<Instant> {
        let link = self.lane.get_ref().link.as_ref();
        let dial = match &self.dial {
            Dial::Dialling(handshake) => Some(handshake.until()),
            Dial::Waiting(at) => Some(*at).filter(|_| link.is_none() && self.addr.is_some()),
        };
        let link = link.map(|link| link.deadline(local.idle_timeout));
        link.into_iter().chain(dial).min()
    }
}

impl<I: fmt::Debug, M: Payload> fmt::Debug for Peer<I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("addr", &self.addr)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
