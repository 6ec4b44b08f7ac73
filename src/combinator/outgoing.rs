//! What waits for one transport that carries messages to many peers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;

use super::lane::Waiting;
use crate::message::Message;

/// A message and the peer that it is for, or from.
pub(super) type Addressed<I> = (I, Message<I>);

/// What waits for the transport: at most one message of each slot for each peer. The peers take turns.
#[derive(Debug)]
pub(super) struct Outgoing<I> {
    /// Only peers for which something waits, the one that has waited longest first.
    peers: Vec<(I, Waiting<Message<I>>)>,
    needs_flush: bool,
    /// The last that the node gave was a message, and it may have more. One flush then does for all.
    pub(super) burst: bool,
}

impl<I: Eq> Outgoing<I> {
    pub(super) fn new() -> Self {
        Self {
            peers: Vec::new(),
            needs_flush: false,
            burst: false,
        }
    }

    /// Puts a message into its slot, in place of an older one.
    pub(super) fn put(&mut self, to: I, message: Message<I>) {
        self.burst = true;
        if let Some((_, waiting)) = self.peers.iter_mut().find(|(id, _)| *id == to) {
            waiting.put(message);
        } else {
            let mut waiting = Waiting::new();
            waiting.put(message);
            self.peers.push((to, waiting));
        }
    }

    fn take(&mut self) -> Option<Addressed<I>>
    where
        I: Clone,
    {
        if self.peers.is_empty() {
            return None;
        }
        let (to, mut waiting) = self.peers.remove(0);
        let message = waiting.take()?;
        if !waiting.is_empty() {
            self.peers.push((to.clone(), waiting));
        }
        Some((to, message))
    }

    pub(super) fn poll_send<T: Sink<Addressed<I>>>(
        &mut self,
        mut transport: Pin<&mut T>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), T::Error>>
    where
        I: Clone,
    {
        while !self.peers.is_empty() {
            if let Err(error) = ready!(transport.as_mut().poll_ready(cx)) {
                return self.give_up(error);
            }
            // Not before the transport is ready: until then a newer message may still take the place of this one.
            if let Some(message) = self.take() {
                self.needs_flush = true;
                transport.as_mut().start_send(message)?;
            }
        }
        if self.needs_flush && !self.burst {
            if let Err(error) = ready!(transport.poll_flush(cx)) {
                return self.give_up(error);
            }
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// It is the transport that is broken, and not one message: what waits would be stale when it recovers.
    fn give_up<E>(&mut self, error: E) -> Poll<Result<(), E>> {
        self.peers.clear();
        self.needs_flush = false;
        Poll::Ready(Err(error))
    }
}
