//! Those who connect, and have not said yet who they are.
//!
//! Absent here: who is welcome, and what they connect to.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::backoff::Backoff;
use super::handshake::{Connection, Handshake, Outcome};
use super::local::{Local, Round};
use crate::codec::Wire;
use crate::id::Id;

/// How many sockets one poll accepts before it lets others run.
const MOST_ACCEPTS: usize = 8;

/// Accepts, and answers whoever it has accepted.
pub(super) struct Acceptor<I, M> {
    /// The oldest first, which ends first.
    pending: VecDeque<Handshake<I, M>>,
    backoff: Backoff,
    /// Accepting has failed, and is not tried before.
    paused_until: Option<Instant>,
    /// The failure was reported, and nothing was accepted since.
    failing: bool,
}

/// What one look at the listener has brought.
enum Look<I, M> {
    Nothing,
    /// A socket that had said who it is already.
    Greeted(I, Connection<M>),
    /// A socket that was put to the others, or was refused.
    Taken,
    Failed(io::Error),
}

impl<I: Id + Serialize + DeserializeOwned, M: Wire> Acceptor<I, M> {
    pub(super) fn new(local: &Local<I>) -> Self {
        Self {
            pending: VecDeque::new(),
            backoff: Backoff::new(local.min_backoff, local.max_backoff),
            paused_until: None,
            failing: false,
        }
    }

    /// Moves the handshakes on, then accepts. Hands over who has said who it is. Ready: the listener failed.
    pub(super) fn poll(
        &mut self,
        round: &mut Round<'_, I>,
        cx: &mut Context<'_>,
        mut welcome: impl FnMut(&I, Connection<M>, &mut Round<'_, I>),
    ) -> Poll<io::Error> {
        for _ in 0..self.pending.len() {
            let Some(handshake) = self.pending.pop_front() else {
                break;
            };
            if let Some((id, connection)) = self.settle(handshake, round, cx) {
                welcome(&id, connection, round);
            }
        }
        for _ in 0..MOST_ACCEPTS {
            match self.poll_accept(round, cx) {
                Look::Nothing => return Poll::Pending,
                Look::Taken => {}
                Look::Greeted(id, connection) => welcome(&id, connection, round),
                Look::Failed(error) => return Poll::Ready(error),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_accept(&mut self, round: &mut Round<'_, I>, cx: &mut Context<'_>) -> Look<I, M> {
        if self.paused_until.is_some_and(|until| round.now < until) {
            return Look::Nothing;
        }
        self.paused_until = None;
        let Poll::Ready(accepted) = round.sockets.poll_accept(cx) else {
            return Look::Nothing;
        };
        match accepted {
            Ok(opening) => {
                round.stats.accepted += 1;
                self.failing = false;
                self.backoff.reset();
                // Whoever has been silent longest gives way: no number of strangers keeps a peer out that speaks.
                if self.pending.len() >= round.local.max_pending
                    && self.pending.pop_front().is_some()
                {
                    round.stats.too_many += 1;
                }
                // Whoever dials speaks at once, so most have spoken by now, however many come.
                let handshake = Handshake::answer(opening, Arc::clone(round.local), round.now);
                self.settle(handshake, round, cx)
                    .map_or(Look::Taken, |(id, connection)| {
                        Look::Greeted(id, connection)
                    })
            }
            // The peer went away while it waited to be accepted.
            Err(error) if is_the_peers(&error) => Look::Taken,
            Err(error) => {
                round.stats.accept_failed += 1;
                self.paused_until = Some(round.now + self.backoff.pause(round.rng));
                if std::mem::replace(&mut self.failing, true) {
                    return Look::Nothing;
                }
                tracing::warn!(%error, "cannot accept");
                Look::Failed(error)
            }
        }
    }

    /// Polls a handshake, and keeps it if it is not over.
    fn settle(
        &mut self,
        mut handshake: Handshake<I, M>,
        round: &mut Round<'_, I>,
        cx: &mut Context<'_>,
    ) -> Option<(I, Connection<M>)> {
        match handshake.poll(round.now, cx) {
            Poll::Pending => self.pending.push_back(handshake),
            Poll::Ready(Outcome::Greeted(id, connection)) => return Some((id, connection)),
            Poll::Ready(Outcome::TimedOut) => round.stats.timed_out += 1,
            Poll::Ready(Outcome::Failed(error)) => {
                tracing::debug!(%error, "refused a connection");
                round.stats.refuse(&error, false);
            }
        }
        None
    }
}

impl<I, M> Acceptor<I, M> {
    /// When it must be polled again, though nobody comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let oldest = self.pending.front().map(Handshake::until);
        oldest.into_iter().chain(self.paused_until).min()
    }
}

/// Whether an error of `accept` is about the one socket and not about the listener.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

impl<I, M> fmt::Debug for Acceptor<I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}
