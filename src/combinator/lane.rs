//! One sink and the messages that wait for it: what a router keeps for each peer, and all that a lossy sink is.
//!
//! Absent here: ids, and any view on what an error means. A lane reports it and stays usable; whether the sink
//! stays, its owner decides.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;
use pin_project::pin_project;

use crate::waiting::{Payload, Waiting};

/// A sink, and before it what waits for it.
///
/// ```text
///   Open ── poll_close, nothing waits ──▶ Closing ── the sink has closed, or failed to ──▶ Closed
/// ```
#[pin_project]
pub(crate) struct Lane<S, M: Payload> {
    #[pin]
    sink: S,
    waiting: M::Waiting,
    needs_flush: bool,
    stage: Stage,
}

/// How far closing has come. Messages are taken in the first stage only: a sink is sent nothing once its
/// `poll_close` was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Closing,
    Closed,
}

impl<S, M: Payload> Lane<S, M> {
    pub(crate) fn new(sink: S) -> Self {
        Self {
            sink,
            waiting: M::Waiting::default(),
            needs_flush: false,
            stage: Stage::Open,
        }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.sink
    }

    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    pub(crate) fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut S> {
        self.project().sink
    }

    pub(crate) fn into_inner(self) -> S {
        self.sink
    }

    /// Changes the sink and keeps what waits.
    pub(crate) fn replace(&mut self, sink: S) -> S {
        self.needs_flush = false;
        self.stage = Stage::Open;
        mem::replace(&mut self.sink, sink)
    }
}

impl<S: Sink<M>, M: Payload> Lane<S, M> {
    /// Puts a message to those that wait. `false`: the lane closes, and the message was let go.
    pub(crate) fn put(self: Pin<&mut Self>, message: M) -> bool {
        let this = self.project();
        let open = *this.stage == Stage::Open;
        if open {
            this.waiting.put(message);
        }
        open
    }

    /// Moves what waits into the sink and flushes it. Pending: the sink will wake the task.
    ///
    /// An error lets go of what waits: it would be stale when the sink recovers, and nothing then stands between the
    /// sink and its closing.
    pub(crate) fn poll_drive(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), S::Error>> {
        let driven = self.as_mut().poll_sink(cx);
        if matches!(driven, Poll::Ready(Err(_))) {
            let this = self.project();
            this.waiting.clear();
            *this.needs_flush = false;
        }
        driven
    }

    fn poll_sink(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let mut this = self.project();
        while !this.waiting.is_empty() {
            ready!(this.sink.as_mut().poll_ready(cx))?;
            // Not before the sink is ready: until then a newer message may still take the place of this one.
            if let Some(message) = this.waiting.take() {
                *this.needs_flush = true;
                this.sink.as_mut().start_send(message)?;
            }
        }
        if *this.needs_flush {
            ready!(this.sink.as_mut().poll_flush(cx))?;
            *this.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what waits, then closes the sink. Once it has returned `Ready` for the closing itself, the sink is not
    /// polled again.
    pub(crate) fn poll_close(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), S::Error>> {
        ready!(self.as_mut().poll_drive(cx))?;
        let this = self.project();
        if *this.stage == Stage::Closed {
            return Poll::Ready(Ok(()));
        }
        *this.stage = Stage::Closing;
        let closed = ready!(this.sink.poll_close(cx));
        *this.stage = Stage::Closed;
        Poll::Ready(closed)
    }
}

impl<S: fmt::Debug, M: Payload> fmt::Debug for Lane<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("sink", &self.sink)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// Checks the type of an adapter where it is made and not where it is first used.
pub(crate) fn assert_sink<T, E, S: Sink<T, Error = E>>(sink: S) -> S {
    sink
}
