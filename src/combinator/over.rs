//! A node and a transport, driven in one poll.
//!
//! Absent here: connections, and any view on what a transport's error means.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{error, fmt};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use pin_project::pin_project;

use super::durable::Node;
use super::outgoing::Outgoing;
use crate::error::Error;
use crate::message::{Command, Inbound, Message, MsgRouter};
use crate::state::NodeState;

/// How much one poll does before it lets other tasks run: that many messages each way.
const ROUNDS: usize = 64;

/// A node together with its transport: polled, it elects. Made by [`Node::over`].
///
/// The transport is anything that is a `Stream` of `Result<(I, Message<I>), R>` (who sent it, and what) and a `Sink`
/// of `(I, Message<I>)` (whom it is for, and what). What is left to see is a stream of states: first the present one,
/// then each that has changed. [`Command`]s go into the sink, or to the node's methods by [`get_mut`](Self::get_mut).
///
/// ```
/// use futures::{SinkExt, TryStreamExt, future};
/// use streamraft::codec::{CodecError, MessageCodec};
/// use streamraft::{Config, Node, NodeId, NodeType, TinyRaft};
/// use tokio_util::codec::Framed;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (socket_of_a, socket_of_b) = tokio::io::duplex(4096); // any two connected sockets
/// let node = |id, peer: &str, socket| {
///     let peer: NodeId = peer.parse()?;
///     // One peer, one socket: whatever comes is from it, whatever goes is for it. `Mesh` is for more.
///     let transport = Framed::new(socket, MessageCodec::new())
///         .map_ok(move |message| (peer.clone(), message))
///         .with(|(_, message)| future::ok::<_, CodecError>(message));
///     let node = TinyRaft::new(Config::new(id, ["a", "b"])?)?;
///     Ok::<_, Box<dyn std::error::Error>>(node.over(transport))
/// };
/// let mut both = futures::stream::select(
///     node("a", "b", socket_of_a)?,
///     node("b", "a", socket_of_b)?,
/// );
/// while let Some(state) = both.try_next().await? {
///     if state.node_type() == NodeType::Leader {
///         break;
///     }
/// }
/// # Ok(()) }
/// ```
///
/// - **Order.** What depends on a state is sent after that state was taken. A [durable](Node::durable) node's is
///   saved before.
/// - **A full transport** stops neither the node's timers nor its states. What it has no room for waits in two places a
///   peer, one for requests and one for replies ([`Slot`](crate::Slot)), where a newer message replaces an older one.
///   It holds up other peers' messages only as far as the transport has one queue for all.
/// - **Fairness.** One message in, one item of the node and what waits to go out, in turn. After some dozens of rounds a
///   poll wakes its own task and lets others run.
/// - **Errors.** [`OverError::Receive`] and [`OverError::Send`] are items; the stream goes on, and so does the
///   transport as far as it can. What is an error is the transport's to say: one that mends its losses by itself, as
///   `Mesh` does, keeps them to itself, so that a loop with `?` ends on what nobody mends. What could not be sent is let
///   go, and an error of the transport as a whole lets go of all that waits. [`OverError::Ended`] says that the
///   transport's stream is over: the node, which is deaf from then on, is stopped as by [`Command::Stop`].
///   [`OverError::Node`] is the store's last word (see [`Durable`](crate::Durable)). Both are followed by what is left,
///   and by `None`.
/// - **Stopping.** After [`Command::Stop`], and after the sink was closed, come the last state and, when the last
///   messages were sent and flushed, `None`. That can wait for a transport that takes nothing: put a timeout around
///   it. The transport is not closed: [`into_inner`](Self::into_inner) gives it back, and dropping it is the same to
///   the others.
/// - **Wakes.** The stream's task is woken by the node and by the transport. The sink's input goes to the node, which
///   wakes the task that polled it last; the sink is always ready.
/// - **Cancel safety.** `next()` and `send()` hold nothing. Dropped, it takes what waits with it.
#[pin_project]
#[must_use = "a node does nothing unless it is polled"]
pub struct Over<N: Node, T> {
    #[pin]
    node: N,
    #[pin]
    transport: T,
    outgoing: Outgoing<N::Id, Message<N::Id>>,
    /// The last state that came out.
    shown: Option<NodeState<N::Id>>,
    /// Came together with an error of the transport, and comes out after it.
    held: Option<Said<N>>,
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
type Addressed<I> = (I, Message<I>);

/// An item of [`Over`], by the node, the transport's stream and its sink.
type Item<N, R, W> = Result<NodeState<<N as Node>::Id>, Fault<N, R, W>>;

type Fault<N, R, W> = OverError<<N as Node>::Failure, R, W>;

/// Whether a message was heard.
type Heard<N, R, W> = Result<(), Fault<N, R, W>>;

/// What a node gives to be shown.
type Said<N> = Result<NodeState<<N as Node>::Id>, <N as Node>::Failure>;

impl<N: Node, T> Over<N, T> {
    pub(super) fn new(node: N, transport: T) -> Self {
        Self {
            node,
            transport,
            outgoing: Outgoing::new(),
            shown: None,
            held: None,
            deaf: false,
            stage: Stage::Running,
        }
    }

    /// The node.
    pub fn get_ref(&self) -> &N {
        &self.node
    }

    /// The node, mutably, for its methods. What is taken out of its stream directly is not sent.
    pub fn get_mut(&mut self) -> &mut N {
        &mut self.node
    }

    /// The node, pinned. What is taken out of its stream directly is not sent.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut N> {
        self.project().node
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
    pub fn into_inner(self) -> (N, T) {
        (self.node, self.transport)
    }
}

impl<N, T, R> Over<N, T>
where
    N: Node,
    T: Stream<Item = Result<Addressed<N::Id>, R>> + Sink<Addressed<N::Id>>,
{
    /// One of everything. `Ready(None)`: something was done, and there is nothing to show for it.
    fn poll_round(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Item<N, R, T::Error>>> {
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
        let said = self.as_mut().poll_node(cx);
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
    fn poll_receive(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Heard<N, R, T::Error>> {
        let mut this = self.project();
        if *this.deaf {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(this.transport.poll_next(cx)) {
            Some(Ok((from, message))) => {
                // A node that takes nothing any more, or not now: what is sent to it may be lost.
                if let Poll::Ready(Ok(())) = this.node.as_mut().poll_ready(cx) {
                    let _ = this.node.start_send(Inbound::FromNode(from, message));
                }
                Ok(())
            }
            Some(Err(error)) => Err(OverError::Receive(error)),
            None => {
                *this.deaf = true;
                if *this.stage == Stage::Draining {
                    return Poll::Ready(Ok(()));
                }
                tracing::warn!("the transport has ended: the node stops");
                let _ = this.node.poll_close(cx);
                Err(OverError::Ended)
            }
        })
    }

    /// Takes one item of the node. `Ready(None)`: it is nothing to show.
    fn poll_node(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Said<N>>> {
        let mut this = self.project();
        let burst = std::mem::take(&mut this.outgoing.burst);
        let output = this.node.as_mut().poll_output(cx);
        let state = match output {
            Poll::Ready(Some(Ok(MsgRouter::ToSelf(state)))) => state,
            Poll::Ready(Some(Ok(MsgRouter::ToNode(to, message)))) => {
                this.outgoing.put(to, message);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(failure))) => return Poll::Ready(Some(Err(failure))),
            Poll::Ready(None) => {
                *this.stage = Stage::Draining;
                if this.shown.is_some() {
                    return Poll::Ready(None);
                }
                this.node.state().clone()
            }
            // Not before it was polled: only then does it know what time has made of it.
            Poll::Pending if this.shown.is_none() => this.node.state().clone(),
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

impl<N, T, R> Stream for Over<N, T>
where
    N: Node,
    T: Stream<Item = Result<Addressed<N::Id>, R>> + Sink<Addressed<N::Id>>,
{
    type Item = Item<N, R, T::Error>;

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

impl<N, T, R> FusedStream for Over<N, T>
where
    N: Node,
    T: Stream<Item = Result<Addressed<N::Id>, R>> + Sink<Addressed<N::Id>>,
{
    /// True only when the stream has nothing but `None` to give.
    fn is_terminated(&self) -> bool {
        self.stage == Stage::Ended
    }
}

impl<N: Node, T> Sink<Command<N::Id>> for Over<N, T> {
    type Error = Error;

    /// The node's: always ready.
    ///
    /// # Errors
    /// [`Error::Stopped`] after the node was stopped, or its store failed.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.project().node.poll_ready(cx)
    }

    /// Hands the command to the node, which acts on it at once.
    ///
    /// # Errors
    /// A command that cannot be carried out, or any after the node was stopped. The node is as it was.
    fn start_send(self: Pin<&mut Self>, command: Command<N::Id>) -> Result<(), Error> {
        self.project().node.start_send(Inbound::FromSelf(command))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.project().node.poll_flush(cx)
    }

    /// Stops the node. Ready at once, since what has to leave leaves as the stream is polled.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.project().node.poll_close(cx)
    }
}

impl<N: Node + fmt::Debug, T: fmt::Debug> fmt::Debug for Over<N, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Over")
            .field("node", &self.node)
            .field("transport", &self.transport)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// What can go wrong around a node over its transport: the item of [`Over`] that is no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverError<F, R, W = R> {
    /// The node's store failed: nothing unsaved left, and the stream ends.
    Node(F),
    /// The transport failed to receive. The stream goes on.
    Receive(R),
    /// The transport failed to send. What was lost, the node sends again if it still matters. The stream goes on.
    Send(W),
    /// The transport will not receive anything any more. The node is stopped, and the stream ends.
    Ended,
}

impl<F: fmt::Display, R: fmt::Display, W: fmt::Display> fmt::Display for OverError<F, R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(error) => write!(f, "the node stops: {error}"),
            Self::Receive(error) => write!(f, "transport, receiving: {error}"),
            Self::Send(error) => write!(f, "transport, sending: {error}"),
            Self::Ended => f.write_str("the transport has ended: the node stops"),
        }
    }
}

impl<F, R, W> error::Error for OverError<F, R, W>
where
    F: error::Error + 'static,
    R: error::Error + 'static,
    W: error::Error + 'static,
{
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Node(error) => Some(error),
            Self::Receive(error) => Some(error),
            Self::Send(error) => Some(error),
            Self::Ended => None,
        }
    }
}
