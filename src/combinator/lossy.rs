//! A sink that never holds its sender up, for a node with one peer.
//!
//! Absent here: ids. Whatever is to leave goes to the one sink, whomever it is for.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_sink::Sink;
use pin_project::pin_project;

use super::lane::{Lane, assert_sink};
use crate::id::{Id, NodeId};
use crate::message::{Message, MsgRouter};
use crate::waiting::Payload;

/// Sends the messages of a node to one sink, and rather loses the older ones than waits for it.
///
/// It takes all that comes out of a node ([`MsgRouter`]) and puts what is for another node into the sink; for a
/// cluster of two over one socket. A cluster of more needs a [`Router`](crate::Router).
///
/// ```
/// use futures::{StreamExt, channel::mpsc, stream};
/// use streamraft::{Message, MessageKind, MsgRouter, Stamp, lossy};
///
/// # futures::executor::block_on(async {
/// let ping = |round| -> MsgRouter<u64> {
///     let kind = MessageKind::Ping { round, succession: None };
///     MsgRouter::ToNode(2, Message::new(1, Stamp::new(0, 1), kind))
/// };
/// let node = stream::iter([ping(1), ping(2)]); // stands for a node
/// let (socket, peer) = mpsc::channel(8);
///
/// node.inspect(|item| if let MsgRouter::ToSelf(state) = item { println!("{state:?}") })
///     .map(Ok)
///     .forward(lossy(socket))
///     .await?;
/// assert_eq!(peer.count().await, 2);
/// # Ok::<(), mpsc::SendError>(())
/// # }).unwrap();
/// ```
///
/// See [`Lossy`] for what it promises.
pub fn lossy<S: Sink<M>, M: Payload>(sink: S) -> Lossy<S, M> {
    // The id only makes the check concrete: the sink takes items of any.
    assert_sink::<MsgRouter<NodeId, M>, S::Error, _>(Lossy::new(sink))
}

/// A sink for what comes out of a node, around one sink for messages. Made by [`lossy`].
///
/// A node that is forwarded into a socket itself is not polled while the socket is full, and neither are its timers:
/// a leader misses its heartbeats, a follower its election. This sink is always ready. If the socket is not, messages
/// wait in two places, one for requests and one for replies ([`Slot`](crate::Slot)), where a newer one replaces an
/// older one. Another payload than a node's messages chooses for itself how it waits: see [`Payload`].
///
/// - **Items.** `ToSelf` is let go: look at it before, with `inspect` or by a combinator that ends at the owner.
/// - **Memory.** Two messages (or what the payload lets wait), and whatever the sink keeps itself.
/// - **Errors.** The sink's. They come out of the next `poll_ready`, `poll_flush` or `poll_close` that meets them, so
///   `forward` ends when the socket is broken; `start_send` never fails. What waited is let go. The sink stays, and
///   is tried again with the next message: whether it can recover is its own affair.
/// - **Wakes.** `poll_ready` and `poll_flush` move what waits as far as the sink is ready. They never return
///   `Pending`, and yet the sink wakes the task that called them when it is ready for more: under `forward` what waits
///   leaves as soon as it can.
/// - **Close.** Sends and flushes what waits, then closes the sink; pending until then, so a peer that does not read
///   can hold it up: put a timeout around it. What is sent after that is let go.
/// - **Cancel safety.** `send` and `feed` never wait. A `close` that was dropped can be called again. Dropped, it
///   takes what waits with it.
#[pin_project]
#[derive(Debug)]
#[must_use = "sinks do nothing unless polled"]
pub struct Lossy<S, M: Payload = Message> {
    #[pin]
    lane: Lane<S, M>,
}

impl<S, M: Payload> Lossy<S, M> {
    fn new(sink: S) -> Self {
        Self {
            lane: Lane::new(sink),
        }
    }

    /// The sink.
    pub fn get_ref(&self) -> &S {
        self.lane.get_ref()
    }

    /// The sink, mutably. A message sent to it directly may overtake those that wait.
    pub fn get_mut(&mut self) -> &mut S {
        self.lane.get_mut()
    }

    /// The sink, pinned. A message sent to it directly may overtake those that wait.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut S> {
        self.project().lane.get_pin_mut()
    }

    /// Gives the sink back. What waits for it is let go.
    pub fn into_inner(self) -> S {
        self.lane.into_inner()
    }
}

impl<S: Sink<M>, M: Payload> Lossy<S, M> {
    /// Never pending: see the type's "Wakes".
    fn poll_lane(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.project().lane.poll_drive(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl<I: Id, S: Sink<M>, M: Payload> Sink<MsgRouter<I, M>> for Lossy<S, M> {
    type Error = S::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.poll_lane(cx)
    }

    fn start_send(self: Pin<&mut Self>, item: MsgRouter<I, M>) -> Result<(), S::Error> {
        if let MsgRouter::ToNode(_, message) = item {
            self.project().lane.put(message);
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.poll_lane(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.project().lane.poll_close(cx)
    }
}
