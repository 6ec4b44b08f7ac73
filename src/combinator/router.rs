//! One sink a peer, none of which can hold up the others or the node.
//!
//! Absent here: connecting. A router is told of sinks and tells of those that failed; its owner dials.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_sink::Sink;

use super::lane::{Lane, assert_sink};
use crate::id::Id;
use crate::message::{Message, MsgRouter};
use crate::waiting::Payload;

/// Sends what comes out of a node to one sink a peer, and rather loses older messages than waits for a sink.
///
/// A node that is forwarded into a socket itself, or into a fan-out as slow as its slowest socket, is not polled
/// while that socket is full, and neither are its timers: one dead peer would silence a healthy quorum. A router is
/// always ready. If a peer's sink is not, the peer's messages wait in two places, one for requests and one for
/// replies ([`Slot`](crate::Slot)), where a newer one replaces an older one. So a stuck socket costs only its own peer.
/// Another payload than a node's messages chooses for itself how it waits: see [`Payload`].
///
/// ```
/// use futures::{StreamExt, channel::mpsc, stream};
/// use streamraft::{Message, MessageKind, MsgRouter, Router, Stamp};
///
/// # futures::executor::block_on(async {
/// let ping = |id, round| -> MsgRouter<u64> {
///     let kind = MessageKind::Ping { round, succession: None };
///     MsgRouter::ToNode(id, Message::new(1, Stamp::new(0, 1), kind))
/// };
/// let node = stream::iter([ping(2, 1), ping(3, 1), ping(2, 2), ping(3, 2)]); // stands for a node
///
/// let mut router = Router::new();
/// let (to_2, at_2) = mpsc::channel(8);
/// let (to_3, at_3) = mpsc::channel(8);
/// router.insert(2, to_2);
/// router.insert(3, to_3);
///
/// let Ok(()) = node.map(Ok).forward(router).await;
/// assert_eq!(at_2.count().await, 2);
/// assert_eq!(at_3.count().await, 2);
/// # });
/// ```
///
/// Under `forward` the router belongs to the future. An owner that replaces broken connections keeps it in a loop
/// that awaits [`failed`](Self::failed) beside the node: it reports them, and it is what moves messages on when a
/// full socket drains.
///
/// ```
/// # use futures::{SinkExt, StreamExt, channel::mpsc, stream};
/// # use streamraft::{Message, MessageKind, MsgRouter, Router, Stamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let kind = MessageKind::Ping { round: 1, succession: None };
/// # let item: MsgRouter<u64> = MsgRouter::ToNode(2, Message::new(1, Stamp::new(0, 1), kind));
/// # let mut node = stream::iter([item]).chain(stream::pending());
/// # let mut router = Router::new();
/// # router.insert(2, mpsc::channel(1).0);
/// loop {
///     tokio::select! {
///         Some(item) = node.next() => {
///             let Ok(()) = router.send(item).await; // never waits
///         }
///         (peer, error) = router.failed() => {
///             println!("lost {peer}: {error}"); // dial it, and `insert` the new sink
/// #           break;
///         }
///     }
/// }
/// # }
/// ```
///
/// - **Items.** `ToSelf` is let go: look at it before, with `inspect` or by a combinator that ends at the owner.
///   Messages to peers without a sink are let go and counted ([`unroutable`](Self::unroutable)).
/// - **Memory.** Two messages a peer (or what the payload lets wait), and one error for each peer that failed. Allocates when a peer is added or
///   fails, and for no message.
/// - **Errors.** None of its own. A sink that fails is taken out and dropped, with what waited for it, and its error
///   is kept for [`failed`](Self::failed). A sink is found broken when something is to be sent to it.
/// - **Wakes.** `poll_ready`, `poll_flush` and `poll_failed` move what waits to every sink as far as it is ready. The
///   first two never return `Pending`: a `send` that waited for one peer would keep its caller from polling the node.
///   Yet each sink that is not ready wakes the task that called them when it is, so under `forward` what waits
///   leaves as soon as it can. What a sink's waker reaches is the last caller: let one task poll a router.
/// - **Close.** Sends and flushes what waits and closes every sink, all side by side. It is pending until the last
///   one has closed or failed, so a peer that does not read can hold it up (and no other peer): put a timeout around
///   it. Messages to a closed sink count as unroutable; a peer inserted anew is served again.
/// - **Cancel safety.** `send`, `feed` and `flush` never wait; `failed` and `close` can be dropped and called again.
///   Dropped, a router takes what waits with it.
#[must_use = "sinks do nothing unless polled"]
pub struct Router<I, S: Sink<M>, M: Payload = Message<I>> {
    lanes: BTreeMap<I, Lane<S, M>>,
    failed: BTreeMap<I, S::Error>,
    unroutable: u64,
    /// The task that last found nothing in `poll_failed`.
    watcher: Option<Waker>,
}

impl<I: Id, S: Sink<M> + Unpin, M: Payload> Router<I, S, M> {
    /// A router without peers.
    pub fn new() -> Self {
        assert_sink::<MsgRouter<I, M>, Infallible, _>(Self {
            lanes: BTreeMap::new(),
            failed: BTreeMap::new(),
            unroutable: 0,
            watcher: None,
        })
    }

    /// Adds a peer, or gives it a new sink and returns the one it had.
    ///
    /// What waits goes to the new sink: it is for the peer and not for its old connection. A failure of the peer that
    /// was not taken yet is forgotten.
    pub fn insert(&mut self, id: I, sink: S) -> Option<S> {
        self.failed.remove(&id);
        // Whoever drives through `poll_failed` has to poll the new sink.
        self.wake();
        match self.lanes.entry(id) {
            Entry::Vacant(vacant) => {
                vacant.insert(Lane::new(sink));
                None
            }
            Entry::Occupied(lane) => Some(lane.into_mut().replace(sink)),
        }
    }

    /// Takes a peer out and returns its sink as it is, neither flushed nor closed. What waits for it is let go, and so
    /// is a failure that was not taken yet.
    pub fn remove<Q: Ord + ?Sized>(&mut self, id: &Q) -> Option<S>
    where
        I: Borrow<Q>,
    {
        self.failed.remove(id);
        self.lanes.remove(id).map(Lane::into_inner)
    }

    /// Whether the peer has a sink. One whose sink failed has none.
    #[must_use]
    pub fn contains<Q: Ord + ?Sized>(&self, id: &Q) -> bool
    where
        I: Borrow<Q>,
    {
        self.lanes.contains_key(id)
    }

    /// The sink of a peer.
    #[must_use]
    pub fn get_ref<Q: Ord + ?Sized>(&self, id: &Q) -> Option<&S>
    where
        I: Borrow<Q>,
    {
        self.lanes.get(id).map(Lane::get_ref)
    }

    /// The sink of a peer, mutably. A message sent to it directly may overtake those that wait.
    #[must_use]
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, id: &Q) -> Option<&mut S>
    where
        I: Borrow<Q>,
    {
        self.lanes.get_mut(id).map(Lane::get_mut)
    }

    /// The peers that have a sink, in their order.
    pub fn peers(&self) -> impl ExactSizeIterator<Item = &I> {
        self.lanes.keys()
    }

    /// How many peers have a sink.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether no peer has a sink.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Gives all sinks back. What waits for them is let go.
    #[must_use]
    pub fn into_inner(self) -> BTreeMap<I, S> {
        let sinks = self.lanes.into_iter();
        sinks.map(|(id, lane)| (id, lane.into_inner())).collect()
    }

    /// How many messages were let go because their peer had no sink, or a closed one.
    #[must_use]
    pub fn unroutable(&self) -> u64 {
        self.unroutable
    }

    /// Takes one peer whose sink failed, with the error. The sink is gone already.
    ///
    /// Of a peer that failed several times (it was inserted anew, and the failure not taken before that) it is the
    /// last failure.
    #[must_use]
    pub fn take_failed(&mut self) -> Option<(I, S::Error)> {
        self.failed.pop_first()
    }

    /// Moves what waits as far as the sinks are ready, then takes one peer whose sink failed.
    ///
    /// Pending while there is none; the task is woken when a sink fails or is ready for more.
    pub fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<(I, S::Error)> {
        // Taken out meanwhile: a failure found right here needs no wake.
        let watcher = self.watcher.take();
        self.drive(cx);
        if let Some(failed) = self.take_failed() {
            return Poll::Ready(failed);
        }
        let mut watcher = watcher.unwrap_or_else(|| cx.waker().clone());
        watcher.clone_from(cx.waker());
        self.watcher = Some(watcher);
        Poll::Pending
    }

    /// Waits for a sink to fail, and moves messages on while it waits: [`poll_failed`](Self::poll_failed) as a future.
    ///
    /// Never ready if no sink fails. Cancel safe: a failure is taken only when it is returned.
    pub async fn failed(&mut self) -> (I, S::Error) {
        poll_fn(|cx| self.poll_failed(cx)).await
    }

    /// Not being able to go on is each lane's own affair: its sink has the waker.
    fn drive(&mut self, cx: &mut Context<'_>) {
        let _ = self.poll_lanes(|lane| lane.poll_drive(cx));
    }

    /// Polls every lane, and takes out those that fail. Ready when all are.
    fn poll_lanes(
        &mut self,
        mut poll: impl FnMut(Pin<&mut Lane<S, M>>) -> Poll<Result<(), S::Error>>,
    ) -> Poll<()> {
        let mut all = Poll::Ready(());
        let failures = self.failed.len();
        self.lanes.retain(|id, lane| match poll(Pin::new(lane)) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                tracing::warn!(peer = ?id, "the sink of a peer failed and was taken out");
                self.failed.insert(id.clone(), error);
                false
            }
            Poll::Pending => {
                all = Poll::Pending;
                true
            }
        });
        if self.failed.len() > failures {
            self.wake();
        }
        all
    }

    fn wake(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.wake();
        }
    }
}

impl<I: Id, S: Sink<M> + Unpin, M: Payload> Sink<MsgRouter<I, M>> for Router<I, S, M> {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Here too, and not in `poll_flush` alone: a stream that is never pending is never followed by a flush.
        self.get_mut().drive(cx);
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, item: MsgRouter<I, M>) -> Result<(), Infallible> {
        let this = self.get_mut();
        if let MsgRouter::ToNode(id, message) = item {
            let lane = this.lanes.get_mut(&id).map(Pin::new);
            if !lane.is_some_and(|lane| lane.put(message)) {
                this.unroutable = this.unroutable.saturating_add(1);
                tracing::trace!(peer = ?id, "a message to a peer without a sink was let go");
            }
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.get_mut().drive(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let closed = self.get_mut().poll_lanes(|lane| lane.poll_close(cx));
        closed.map(Ok)
    }
}

impl<I: Id, S: Sink<M> + Unpin, M: Payload> Default for Router<I, S, M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Id, S: Sink<M> + Unpin, M: Payload> Extend<(I, S)> for Router<I, S, M> {
    /// Inserts every peer. A sink that a peer had before is dropped.
    fn extend<T: IntoIterator<Item = (I, S)>>(&mut self, peers: T) {
        for (id, sink) in peers {
            self.insert(id, sink);
        }
    }
}

impl<I: Id, S: Sink<M> + Unpin, M: Payload> FromIterator<(I, S)> for Router<I, S, M> {
    fn from_iter<T: IntoIterator<Item = (I, S)>>(peers: T) -> Self {
        let mut router = Self::new();
        router.extend(peers);
        router
    }
}

impl<I: fmt::Debug, S: Sink<M>, M: Payload> fmt::Debug for Router<I, S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Ids only: sockets and their errors need not be `Debug`.
        struct Ids<'a, I, V>(&'a BTreeMap<I, V>);
        impl<I: fmt::Debug, V> fmt::Debug for Ids<'_, I, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries(self.0.keys()).finish()
            }
        }
        f.debug_struct("Router")
            .field("peers", &Ids(&self.lanes))
            .field("failed", &Ids(&self.failed))
            .field("unroutable", &self.unroutable)
            .finish_non_exhaustive()
    }
}
