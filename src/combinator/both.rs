//! A stream and a sink as one value, as [`over`](crate::Node::over) wants its transport.
//!
//! Absent here: what passes through.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use pin_project::pin_project;

/// Makes one value of a stream and a sink: it gives what the one gives and takes what the other takes.
///
/// A transport is both. Where its two directions are two values, as two channels or the subscription and the
/// publisher of a message broker, this puts them together; the reverse of `split`, without its lock.
///
/// ```
/// use futures::{StreamExt, channel::mpsc};
/// use streamraft::{Config, NodeId, NodeType, TinyRaft, both};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = |id| TinyRaft::new(Config::new(id, ["a", "b"])?.bootstrap());
/// let (to_a, from_b) = mpsc::channel(8);
/// let (to_b, from_a) = mpsc::channel(8);
/// let from = |id| { let id = NodeId::new(id).unwrap(); move |(_, message)| Ok::<_, mpsc::SendError>((id.clone(), message)) };
/// let mut a = node("a")?.over(both(from_b.map(from("b")), to_b));
/// let mut b = node("b")?.over(both(from_a.map(from("a")), to_a));
/// loop {
///     let state = tokio::select! { Some(state) = a.next() => state?, Some(state) = b.next() => state? };
///     if state.node_type() == NodeType::Leader {
///         break;
///     }
/// }
/// # Ok(()) }
/// ```
///
/// See [`Both`] for what it promises.
pub fn both<St, Si>(stream: St, sink: Si) -> Both<St, Si> {
    Both { stream, sink }
}

/// A stream and a sink in one. Made by [`both`].
///
/// Every call is passed on to the one that it concerns, so wakes, readiness, errors and cancel safety are theirs. The
/// two know nothing of each other: closing the sink leaves the stream open, and the end of the stream leaves the sink.
#[pin_project]
#[derive(Clone, Debug)]
#[must_use = "streams and sinks do nothing unless polled"]
pub struct Both<St, Si> {
    #[pin]
    stream: St,
    #[pin]
    sink: Si,
}

impl<St, Si> Both<St, Si> {
    /// The stream and the sink.
    #[must_use]
    pub fn get_ref(&self) -> (&St, &Si) {
        (&self.stream, &self.sink)
    }

    /// The stream and the sink, mutable. Reading the one or writing to the other past this value is their own affair.
    pub fn get_mut(&mut self) -> (&mut St, &mut Si) {
        (&mut self.stream, &mut self.sink)
    }

    /// The stream and the sink, pinned.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> (Pin<&mut St>, Pin<&mut Si>) {
        let this = self.project();
        (this.stream, this.sink)
    }

    /// The stream and the sink. Nothing is lost: nothing is kept here.
    pub fn into_inner(self) -> (St, Si) {
        (self.stream, self.sink)
    }
}

impl<St: Stream, Si> Stream for Both<St, Si> {
    type Item = St::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<St::Item>> {
        self.project().stream.poll_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<St: FusedStream, Si> FusedStream for Both<St, Si> {
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

impl<St, Si: Sink<T>, T> Sink<T> for Both<St, Si> {
    type Error = Si::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Si::Error>> {
        self.project().sink.poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), Si::Error> {
        self.project().sink.start_send(item)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Si::Error>> {
        self.project().sink.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Si::Error>> {
        self.project().sink.poll_close(cx)
    }
}
