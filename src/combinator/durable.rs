//! Saves what a node must remember before anything that depends on it leaves, and the [`Node`] that this and
//! `over.rs` work on.
//!
//! Absent here: what is saved where. That is the store's affair.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use pin_project::pin_project;

use super::over::Over;
use crate::error::Error;
use crate::id::Id;
use crate::message::{Inbound, Message, MsgRouter};
use crate::node::TinyRaft;
use crate::state::{HardState, NodeState};
use crate::store::VoteStore;

/// What can be made [durable](Self::durable) and put [over](Self::over) a transport: a [`TinyRaft`], a [`Durable`]
/// one, or a wrapper of your own around either (one that counts, filters or injects faults).
///
/// A node is a `Stream` and a `Sink`; this says the same of all of them with one item type, and adds the state to
/// begin with. A wrapper hands every call on to what it wraps.
pub trait Node: Sink<Inbound<<Self as Node>::Id>, Error = Error> {
    /// What names its nodes.
    type Id: Id;
    /// Why its output can break off: [`Infallible`] for a node without a store.
    type Failure;

    /// Its stream: what leaves it next. `None` is the last item, and what follows a failure.
    #[expect(
        clippy::type_complexity,
        reason = "the type of a stream's poll, which everybody knows"
    )]
    fn poll_output(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<MsgRouter<Self::Id>, Self::Failure>>>;

    /// The newest state that may be known outside.
    fn state(&self) -> &NodeState<Self::Id>;

    /// Saves every changed [`HardState`] to a store before anything behind it comes out; see [`Durable`].
    ///
    /// Call it on a node that was just made: what came out before was not saved.
    fn durable<S>(self, store: S) -> Durable<Self, S>
    where
        Self: Node<Failure = Infallible> + Sized,
        S: VoteStore<<Self as Node>::Id>,
    {
        assert_stream::<Result<MsgRouter<<Self as Node>::Id>, S::Error>, _>(Durable::new(
            self, store,
        ))
    }

    /// Drives the node and a transport together; see [`Over`].
    fn over<T, R>(self, transport: T) -> Over<Self, T>
    where
        Self: Sized,
        T: Stream<Item = Result<(<Self as Node>::Id, Message<<Self as Node>::Id>), R>>
            + Sink<(<Self as Node>::Id, Message<<Self as Node>::Id>)>,
    {
        assert_stream::<Result<NodeState<<Self as Node>::Id>, _>, _>(Over::new(self, transport))
    }
}

impl<I: Id> Node for TinyRaft<I> {
    type Id = I;
    type Failure = Infallible;

    fn poll_output(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<MsgRouter<I>, Infallible>>> {
        self.poll_next(cx).map(|item| item.map(Ok))
    }

    fn state(&self) -> &NodeState<I> {
        self.state()
    }
}

/// A node whose votes survive a restart. Made by [`Node::durable`].
///
/// Its items are those of the node, in `Ok`. Before a [`ToSelf`](MsgRouter::ToSelf) whose [`HardState`] is not the
/// last one that was saved, it saves that, and holds back the item and everything behind it until the store has
/// answered. Other items pass at once.
///
/// ```
/// use futures::StreamExt;
/// use streamraft::{Config, MemoryStore, MsgRouter, Node, TinyRaft};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let disk = MemoryStore::new(); // a `FileStore`, except in tests
/// let mut node = TinyRaft::new(Config::new("a", ["a"])?)?.durable(disk.clone());
///
/// let Some(Ok(MsgRouter::ToSelf(state))) = node.next().await else { panic!("a cluster of one leads at once") };
/// assert_eq!(disk.saved().as_ref(), Some(state.hard_state()));
/// # Ok(()) }
/// ```
///
/// The items are what `forward` takes: `node.durable(store).forward(sink)`, where the sink's error can be made of
/// the store's.
///
/// - **Errors.** A store's error comes out once, as the last item: what was to be saved, and everything behind it,
///   never leaves. Then the stream gives `None`, the node is not polled any more, and the sink refuses with
///   [`Error::Stopped`]. Start the node again from its store when the cause is gone. The others do without it
///   meanwhile, and a lease that it had runs out by itself ([`TinyRaft::is_leader`] tells).
/// - **A stalled store.** While a save is pending the node is not polled, and neither are its timers: it neither
///   campaigns nor sends heartbeats. Input still goes in; what would answer it stays inside. So a leader that
///   waits for its disk prolongs its lease by nothing that it sends in this time, the others elect a leader after
///   their timeouts, and as soon as the disk answers this one steps down. Its owner sees that only then: look at the
///   lease. A leader saves only when its membership changes or it is deposed, so a disk that stalls while there is
///   nothing to save stops nothing.
/// - **At the start.** A node in term 0 has promised nothing, so its first state passes without a save. One that was
///   restored has its first state saved again (a `FileStore` that holds it already writes nothing).
/// - **Wakes.** The stream's task is woken by the node, and by the store while a save is pending. The sink hands
///   input on to the node, which wakes the task that polled it last; it is always ready.
/// - **Close.** As the node's: the stream ends when what was left has been saved and taken.
/// - **Cancel safety.** `next()` and `send()` hold nothing. Dropped while it saves, it leaves open whether the state
///   was kept, and nothing that depends on it has left.
#[pin_project]
#[derive(Debug)]
#[must_use = "a node does nothing unless it is polled"]
pub struct Durable<N: Node, S> {
    #[pin]
    node: N,
    #[pin]
    store: S,
    stage: Stage<N::Id>,
    /// What the store is known to hold, or need not hold.
    saved: Option<HardState<N::Id>>,
    /// The last state that came out.
    shown: NodeState<N::Id>,
}

/// ```text
///   Open ◀──── saved ────▶ Saving ── the store failed ──▶ Failed ──▶ Ended
///    └──────────────── the node has ended ────────────────────────────▲
/// ```
#[derive(Debug)]
enum Stage<I> {
    /// The node's next item is next.
    Open,
    /// This state comes out when its hard state is saved.
    Saving(NodeState<I>),
    /// The error is out, and nothing else will be.
    Failed,
    /// The stream has given its `None`.
    Ended,
}

impl<N: Node<Failure = Infallible>, S: VoteStore<N::Id>> Durable<N, S> {
    fn new(node: N, store: S) -> Self {
        let shown = node.state().clone();
        let hard_state = shown.hard_state();
        Self {
            // Any other term may be one that it took, or voted in, after it was restored.
            saved: (hard_state.term() == 0).then(|| hard_state.clone()),
            stage: Stage::Open,
            node,
            store,
            shown,
        }
    }
}

impl<N: Node<Failure = Infallible>, S: VoteStore<N::Id>> Durable<N, S> {
    /// Drives the node and a transport together; see [`Over`].
    pub fn over<T, R>(self, transport: T) -> Over<Self, T>
    where
        T: Stream<Item = Result<(N::Id, Message<N::Id>), R>> + Sink<(N::Id, Message<N::Id>)>,
    {
        Node::over(self, transport)
    }
}

impl<N: Node, S> Durable<N, S> {
    /// The node. Its state may be newer than what was saved.
    pub fn get_ref(&self) -> &N {
        &self.node
    }

    /// The node, mutably, for its methods. What is taken out of its stream directly has not been saved.
    pub fn get_mut(&mut self) -> &mut N {
        &mut self.node
    }

    /// The node, pinned. What is taken out of its stream directly has not been saved.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut N> {
        self.project().node
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Gives the node and the store back. A state that waits to be saved is lost, and with it the promise that nothing
    /// unsaved leaves the node.
    pub fn into_inner(self) -> (N, S) {
        (self.node, self.store)
    }

    /// The newest state of which nothing has to be saved any more: the node's present one, with its newest lease, unless
    /// that waits for the store; then the last that came out.
    pub fn state(&self) -> &NodeState<N::Id> {
        let present = self.node.state();
        let is_saved = present.hard_state() == self.shown.hard_state() && !self.has_failed();
        if is_saved { present } else { &self.shown }
    }

    /// Whether it takes no input, which after a failure the node itself does not know.
    fn has_failed(&self) -> bool {
        matches!(self.stage, Stage::Failed | Stage::Ended)
    }
}

impl<N: Node<Failure = Infallible>, S: VoteStore<N::Id>> Stream for Durable<N, S> {
    type Item = Result<MsgRouter<N::Id>, S::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            match this.stage {
                Stage::Open => {
                    let Some(Ok(item)) = ready!(this.node.as_mut().poll_output(cx)) else {
                        *this.stage = Stage::Ended;
                        return Poll::Ready(None);
                    };
                    let MsgRouter::ToSelf(state) = item else {
                        return Poll::Ready(Some(Ok(item)));
                    };
                    *this.stage = Stage::Saving(state);
                }
                Stage::Saving(state) => {
                    let hard_state = state.hard_state();
                    if this.saved.as_ref() != Some(hard_state) {
                        if let Err(error) = ready!(this.store.as_mut().poll_save(cx, hard_state)) {
                            tracing::error!(
                                term = hard_state.term(),
                                "a vote could not be saved: output stops"
                            );
                            *this.stage = Stage::Failed;
                            return Poll::Ready(Some(Err(error)));
                        }
                        *this.saved = Some(hard_state.clone());
                    }
                    this.shown.clone_from(state);
                    *this.stage = Stage::Open;
                    return Poll::Ready(Some(Ok(MsgRouter::ToSelf(this.shown.clone()))));
                }
                Stage::Failed | Stage::Ended => {
                    *this.stage = Stage::Ended;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl<N: Node<Failure = Infallible>, S: VoteStore<N::Id>> FusedStream for Durable<N, S> {
    /// True only after the stream has given its `None`.
    fn is_terminated(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }
}

impl<N: Node, S> Sink<Inbound<N::Id>> for Durable<N, S> {
    type Error = Error;

    /// The node's: always ready.
    ///
    /// # Errors
    /// [`Error::Stopped`] after the node was stopped, or its store failed.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.has_failed() {
            return Poll::Ready(Err(Error::Stopped));
        }
        self.project().node.poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, input: Inbound<N::Id>) -> Result<(), Error> {
        if self.has_failed() {
            return Err(Error::Stopped);
        }
        self.project().node.start_send(input)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.project().node.poll_flush(cx)
    }

    /// Stops the node. Ready at once, since what has to leave leaves by the stream.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.project().node.poll_close(cx)
    }
}

impl<N: Node<Failure = Infallible>, S: VoteStore<N::Id>> Node for Durable<N, S> {
    type Id = N::Id;
    type Failure = S::Error;

    fn poll_output(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<MsgRouter<N::Id>, S::Error>>> {
        self.poll_next(cx)
    }

    fn state(&self) -> &NodeState<N::Id> {
        self.state()
    }
}

/// Checks the type of an adapter where it is made and not where it is first used.
fn assert_stream<T, S: Stream<Item = T>>(stream: S) -> S {
    stream
}
