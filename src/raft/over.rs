//! A node with a log and a transport, driven in one poll.
//!
//! Absent here: connections, and any view on what a transport's error means.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use pin_project::pin_project;

use super::message::RaftMessage;
use super::node::{Raft, RaftOutput};
use super::store::{Failure, LogStore};
use crate::combinator::OverError;
use crate::combinator::outgoing::Outgoing;
use crate::error::Error;
use crate::id::Id;
use crate::message::{Command, Inbound};
use crate::state::NodeState;

/// How much one poll does before it lets other tasks run: that many messages each way.
const ROUNDS: usize = 64;

/// A node with a log together with its transport: polled, it elects and replicates. Made by [`Raft::over`].
///
/// The transport is anything that is a `Stream` of `Result<(I, RaftMessage<I>), R>` (who sent it, and what) and a `Sink`
/// of `(I, RaftMessage<I>)` (whom it is for, and what), such as a `Mesh` that carries them. What is left to see is a stream of
/// states: first the present one, then each that has changed. [`Command`]s go into the sink, or to the node's methods by
/// [`get_mut`](Self::get_mut).
///
/// ```
/// # #[cfg(feature = "tcp")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use futures::StreamExt;
/// use streamraft::codec::Hello;
/// use streamraft::raft::{LogLimits, MemoryLog, Raft, RaftMessage};
/// use streamraft::{Config, Mesh};
///
/// let limits = LogLimits::default();
/// let mesh = |id: u64| {
///     let hello = Hello::new("orders", id);
///     let mesh = Mesh::builder(hello).carrying::<RaftMessage<u64>>();
///     mesh.max_frame_len(limits.frame_len()).listen("127.0.0.1:0").build()
/// };
/// let (mut mesh_of_1, mut mesh_of_2) = (mesh(1)?, mesh(2)?);
/// mesh_of_1.insert_peer(2, mesh_of_2.local_addr().unwrap());
/// mesh_of_2.insert_peer(1, mesh_of_1.local_addr().unwrap());
/// let raft = |id| -> Result<_, Box<dyn std::error::Error>> {
///     let config = Config::with_id(id, [1, 2])?.cluster("orders").bootstrap();
///     Ok(Raft::new(config, limits, MemoryLog::new())?)
/// };
/// let (one, two) = (raft(1)?, raft(2)?);
/// let clients = [one.client(), two.client()];
/// let mut nodes = futures::stream::select(one.over(mesh_of_1), two.over(mesh_of_2));
/// let program = async {
///     let mut ask = clients.iter().cycle();
///     loop {
///         // Only the leader takes it.
///         if let Some(client) = ask.next() && let Ok(index) = client.propose("x = 1").await {
///             return index;
///         }
///         tokio::task::yield_now().await;
///     }
/// };
/// tokio::select! {
///     index = program => assert!(index > 0), // on the logs of both
///     () = async { while nodes.next().await.is_some() {} } => {}
/// }
/// # Ok(()) }
/// # #[cfg(not(feature = "tcp"))] fn main() {}
/// ```
///
/// - **Order.** What depends on a state is sent after that state was taken. What must be durable is by then, as the node
///   [promises](Raft#what-it-promises).
/// - **A full transport** stops neither timers, nor states, nor the store. What it has no room for waits, for each peer: the
///   election's in two places, where a newer message replaces an older one, and what is about the log in line, up to a bound
///   beyond which it is let go and said again ([`Queue`](crate::Queue)). It holds up other peers' messages only as
///   far as the transport has one queue for all.
/// - **Fairness.** One message in, one item of the node and what waits to go out, in turn. After some dozens of rounds a
///   poll wakes its own task and lets others run.
/// - **Errors.** [`OverError::Receive`] and [`OverError::Send`] are items, and the stream goes on, as
///   [`Over`](crate::Over)'s does. [`OverError::Node`] is the store's: if it had no room
///   ([`FailureKind::Full`](super::FailureKind::Full)), the node has given leadership up, tries again, and the stream goes on;
///   any other failure is followed by the end. [`OverError::Ended`] says that the transport's stream is over: the
///   node, which is deaf from then on, is stopped as by [`Command::Stop`].
/// - **Stopping.** After [`Command::Stop`], and after the sink was closed, come the last state and, when the last
///   messages were sent and flushed, `None`. That can wait for a transport that takes nothing: put a timeout around
///   it. The transport is not closed: [`into_inner`](Self::into_inner) gives it back, and dropping it is the same to
///   the others.
/// - **Wakes.** The stream's task is woken by the node, its store and its clients, and by the transport. The sink's input
///   wakes the task that polled it last; the sink is always ready.
/// - **Cancel safety.** `next()` and `send()` hold nothing. Dropped, it takes what waits with it.
#[pin_project]
#[must_use = "a node does nothing unless it is polled"]
pub struct RaftOver<S, I: Id, T> {
    raft: Raft<S, I>,
    #[pin]
    transport: T,
    outgoing: Outgoing<I, RaftMessage<I>>,
    /// The last state that came out.
    shown: Option<NodeState<I>>,
    /// Came together with an error of the transport, and comes out after it.
    held: Option<Said<I>>,
    /// The transport's stream has given its `None`.
    deaf: bool,
    stage: Stage,
}

/// ```text
///   Running ── the node has ended ──▶ Draining ── all is flushed ──▶ Ended
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Draining,
    Ended,
}

/// A message and the peer that it is for, or from.
type Addressed<I> = (I, RaftMessage<I>);

/// What can go wrong, by the transport's stream and its sink.
type Fault<R, W> = OverError<Failure, R, W>;

/// An item.
type Item<I, R, W> = Result<NodeState<I>, Fault<R, W>>;

/// What a node gives to be shown.
type Said<I> = Result<NodeState<I>, Failure>;

/// Whether a message was heard.
type Heard<R, W> = Poll<Result<(), Fault<R, W>>>;

impl<S: LogStore<I> + Unpin, I: Id> Raft<S, I> {
    /// Drives the node and a transport together; see [`RaftOver`].
    pub fn over<T, R>(self, transport: T) -> RaftOver<S, I, T>
    where
        T: Stream<Item = Result<(I, RaftMessage<I>), R>> + Sink<(I, RaftMessage<I>)>,
    {
        RaftOver {
            raft: self,
            transport,
            outgoing: Outgoing::new(),
            shown: None,
            held: None,
            deaf: false,
            stage: Stage::Running,
        }
    }
}

impl<S, I: Id, T> RaftOver<S, I, T> {
    /// The node.
    pub fn get_ref(&self) -> &Raft<S, I> {
        &self.raft
    }

    /// The node, mutably, for its methods. What is taken out of its stream directly is not sent.
    pub fn get_mut(&mut self) -> &mut Raft<S, I> {
        &mut self.raft
    }

    /// The transport.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The transport, mutably: to dial or to forget a peer. What is taken out of its stream directly is not heard.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Gives the node and the transport back. What waits to be sent is let go.
    pub fn into_inner(self) -> (Raft<S, I>, T) {
        (self.raft, self.transport)
    }
}

impl<S, I, T, R> RaftOver<S, I, T>
where
    S: LogStore<I> + Unpin,
    I: Id,
    T: Stream<Item = Result<Addressed<I>, R>> + Sink<Addressed<I>>,
{
    /// One of everything. `Ready(None)`: something was done, and there is nothing to show for it.
    fn poll_round(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Item<I, R, T::Error>>> {
        // First, since it cannot go on failing: an error leaves nothing to send.
        let sent = self.as_mut().poll_send(cx);
        if let Poll::Ready(Err(error)) = sent {
            return Poll::Ready(Some(Err(OverError::Send(error))));
        }
        let heard = self.as_mut().poll_receive(cx);
        if self.stage == Stage::Draining {
            if sent.is_ready() {
                *self.project().stage = Stage::Ended;
                return Poll::Ready(None);
            }
            return heard.map(|heard| heard.err().map(Err));
        }
        // Even after an error, or a transport that gives nothing else would silence the node.
        let said = self.as_mut().poll_raft(cx);
        match (heard, said) {
            (Poll::Ready(Err(error)), said) => {
                if let Poll::Ready(said) = said {
                    *self.project().held = said;
                }
                Poll::Ready(Some(Err(error)))
            }
            (_, Poll::Ready(Some(said))) => Poll::Ready(Some(said.map_err(OverError::Node))),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            (Poll::Ready(Ok(())), _) | (_, Poll::Ready(None)) => Poll::Ready(None),
        }
    }

    /// Moves what waits into the transport, and flushes it unless the node has more. Ready: nothing waits.
    fn poll_send(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        let this = self.project();
        let sent = this.outgoing.poll_send(this.transport, cx);
        if matches!(sent, Poll::Ready(Err(_))) {
            tracing::debug!("the transport could not send");
        }
        sent
    }

    /// Hands one message of the transport to the node.
    fn poll_receive(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Heard<R, T::Error> {
        let this = self.project();
        if *this.deaf {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(this.transport.poll_next(cx)) {
            Some(Ok((from, message))) => {
                // Refused only by a node that was stopped, which needs to hear nothing any more.
                let _ = Pin::new(this.raft).start_send(Inbound::FromNode(from, message));
                Ok(())
            }
            Some(Err(error)) => Err(OverError::Receive(error)),
            None => {
                *this.deaf = true;
                if *this.stage == Stage::Draining {
                    return Poll::Ready(Ok(()));
                }
                tracing::warn!("the transport has ended: the node stops");
                this.raft.stop();
                Err(OverError::Ended)
            }
        })
    }

    /// Takes one item of the node. `Ready(None)`: it is nothing to show.
    fn poll_raft(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Said<I>>> {
        let this = self.project();
        let burst = std::mem::take(&mut this.outgoing.burst);
        let output = Pin::new(&mut *this.raft).poll_next(cx);
        let state = match output {
            Poll::Ready(Some(RaftOutput::ToSelf(state))) => state,
            Poll::Ready(Some(RaftOutput::ToNode(to, message))) => {
                this.outgoing.put(to, message);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(RaftOutput::Failed(failure))) => {
                return Poll::Ready(Some(Err(failure)));
            }
            Poll::Ready(None) => {
                *this.stage = Stage::Draining;
                if this.shown.is_some() {
                    return Poll::Ready(None);
                }
                this.raft.state().clone()
            }
            // Not before it was polled: only then does it know what time has made of it.
            Poll::Pending if this.shown.is_none() => this.raft.state().clone(),
            // One more round flushes what the burst has left.
            Poll::Pending if burst => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        if this.shown.as_ref() == Some(&state) {
            return Poll::Ready(None);
        }
        *this.shown = Some(state.clone());
        Poll::Ready(Some(Ok(state)))
    }
}

impl<S, I, T, R> Stream for RaftOver<S, I, T>
where
    S: LogStore<I> + Unpin,
    I: Id,
    T: Stream<Item = Result<Addressed<I>, R>> + Sink<Addressed<I>>,
{
    type Item = Item<I, R, T::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(held) = self.as_mut().project().held.take() {
            return Poll::Ready(Some(held.map_err(OverError::Node)));
        }
        for _ in 0..ROUNDS {
            if self.stage == Stage::Ended {
                return Poll::Ready(None);
            }
            if let Some(item) = ready!(self.as_mut().poll_round(cx)) {
                return Poll::Ready(Some(item));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, I, T, R> FusedStream for RaftOver<S, I, T>
where
    S: LogStore<I> + Unpin,
    I: Id,
    T: Stream<Item = Result<Addressed<I>, R>> + Sink<Addressed<I>>,
{
    /// True only when the stream has nothing but `None` to give.
    fn is_terminated(&self) -> bool {
        self.stage == Stage::Ended
    }
}

impl<S: LogStore<I> + Unpin, I: Id, T> Sink<Command<I>> for RaftOver<S, I, T> {
    type Error = Error;

    /// The node's: always ready.
    ///
    /// # Errors
    /// [`Error::Stopped`] after the node was stopped.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(self.project().raft).poll_ready(cx)
    }

    /// Hands the command to the node, which acts on it at once.
    ///
    /// # Errors
    /// A command that cannot be carried out, or any after the node was stopped. The node is as it was.
    fn start_send(self: Pin<&mut Self>, command: Command<I>) -> Result<(), Error> {
        Pin::new(self.project().raft).start_send(Inbound::FromSelf(command))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(self.project().raft).poll_flush(cx)
    }

    /// Stops the node. Ready at once, since what has to leave leaves as the stream is polled.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(self.project().raft).poll_close(cx)
    }
}

impl<S, I: Id, T: fmt::Debug> fmt::Debug for RaftOver<S, I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftOver")
            .field("raft", &self.raft)
            .field("transport", &self.transport)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
