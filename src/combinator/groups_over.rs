//! Many elections and a transport, driven in one poll.
//!
//! Absent here: connections, and any view on what a transport's error means.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use pin_project::pin_project;

use super::groups::Groups;
use super::outgoing::Outgoing;
use super::over::OverError;
use crate::error::Error;
use crate::id::Id;
use crate::message::{Command, Inbound, Message, MsgRouter};
use crate::state::NodeState;

/// How much one poll does before it lets other tasks run: that many messages each way.
const ROUNDS: usize = 256;

/// What machines say to each other: the key of a group, and a message of it.
type OfGroup<K, I> = (K, Message<I>);

/// [`Groups`] together with their transport: polled, they elect. Made by [`Groups::over`].
///
/// The transport is anything that is a `Stream` of `Result<(I, (K, Message<I>)), R>` (who sent it, of which group, and what)
/// and a `Sink` of `(I, (K, Message<I>))`, such as a `Mesh` that carries them. What is left to see is a stream of keys
/// and states: each that has changed. [`Command`]s go into the sink with their key, or to the groups' methods by
/// [`get_mut`](Self::get_mut).
///
/// ```
/// use futures::{SinkExt, StreamExt, TryStreamExt};
/// use streamraft::{Config, Groups, Message, NodeType};
/// use tokio::sync::mpsc;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Two machines and any two ways between them that carry keys with the messages.
/// type Way = mpsc::Sender<(u64, Message<u64>)>;
/// let (to_1, mut at_1) = mpsc::channel(1_000);
/// let (to_2, mut at_2) = mpsc::channel(1_000);
/// # type At = mpsc::Receiver<(u64, Message<u64>)>;
/// let machine = |id: u64, peer: u64, to: Way, mut at: At| {
///     let heard = futures::stream::poll_fn(move |cx| at.poll_recv(cx).map(|said| said.map(|said| Ok::<_, String>((peer, said)))));
///     let said = futures::sink::unfold(to, |to, (_, said): (u64, _)| async move {
///         to.try_send(said).map_err(|_| "full")?;
///         Ok::<_, &str>(to)
///     });
///     let mut groups = Groups::new(&Config::with_id(id, [1, 2])?)?;
///     for shard in 0..100_u64 {
///         groups.insert(shard, Config::with_id(id, [1, 2])?)?;
///     }
///     Ok::<_, streamraft::ConfigError>(groups.over(streamraft::both(heard, Box::pin(said))))
/// };
/// let mut all = futures::stream::select(machine(1, 2, to_2, at_1)?, machine(2, 1, to_1, at_2)?);
/// let mut led = std::collections::BTreeSet::new();
/// while led.len() < 100 {
///     let (shard, state) = all.next().await.ok_or("ended")?.map_err(|error| error.to_string())?;
///     if state.node_type() == NodeType::Leader {
///         led.insert(shard);
///     }
/// }
/// # Ok(()) }
/// ```
///
/// - **Order.** What depends on a state is sent after that state was taken: save it before the next item is asked for.
/// - **A full transport** stops neither timers nor states. What it has no room for waits: of each group one request and one
///   reply for each machine, where a newer one replaces an older one, and one beat and one answer.
/// - **Errors.** As [`Over`](super::Over)'s: [`OverError::Receive`] and [`OverError::Send`] are items and the stream goes on;
///   [`OverError::Ended`] says that the transport's stream is over, and the groups are stopped.
/// - **Stopping.** After [`Groups::stop`], and after the sink was closed, come the last states and, when the last messages were
///   sent and flushed, `None`.
/// - **Cancel safety.** `next()` and `send()` hold nothing. Dropped, it takes what waits with it.
#[pin_project]
#[must_use = "groups do nothing unless they are polled"]
pub struct GroupsOver<K: Id, I: Id, T> {
    groups: Groups<K, I>,
    #[pin]
    transport: T,
    outgoing: Outgoing<I, OfGroup<K, I>>,
    /// The transport's stream has given its `None`.
    deaf: bool,
    /// It was the transport's turn last.
    has_heard: bool,
    stage: Stage,
}

/// ```text
///   Running ── the groups have ended ──▶ Draining ── all is flushed ──▶ Ended
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Draining,
    Ended,
}

/// What can go wrong, by the transport's stream and its sink.
type Fault<R, W> = OverError<Infallible, R, W>;

/// An item.
type Item<K, I, R, W> = Result<(K, NodeState<I>), Fault<R, W>>;

/// What a round has to show, if anything.
type Round<K, I, R, W> = Poll<Option<Item<K, I, R, W>>>;

/// Whether a message was heard.
type Heard<R, W> = Poll<Result<(), Fault<R, W>>>;

impl<K: Id, I: Id, T> GroupsOver<K, I, T> {
    pub(super) fn new(groups: Groups<K, I>, transport: T) -> Self {
        Self {
            groups,
            transport,
            outgoing: Outgoing::new(),
            deaf: false,
            has_heard: false,
            stage: Stage::Running,
        }
    }

    /// The groups.
    pub fn get_ref(&self) -> &Groups<K, I> {
        &self.groups
    }

    /// The groups, mutably, for their methods. What is taken out of their stream directly is not sent.
    pub fn get_mut(&mut self) -> &mut Groups<K, I> {
        &mut self.groups
    }

    /// The transport.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The transport, mutably: to dial or to forget a peer. What is taken out of its stream directly is not heard.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Gives the groups and the transport back. What waits to be sent is let go.
    pub fn into_inner(self) -> (Groups<K, I>, T) {
        (self.groups, self.transport)
    }
}

impl<K, I, T, R> GroupsOver<K, I, T>
where
    K: Id,
    I: Id,
    T: Stream<Item = Result<(I, OfGroup<K, I>), R>> + Sink<(I, OfGroup<K, I>)>,
{
    /// One of everything. `Ready(None)`: something was done, and there is nothing to show for it.
    fn poll_round(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Round<K, I, R, T::Error> {
        // First, since it cannot go on failing: an error leaves nothing to send.
        let sent = self.as_mut().poll_send(cx);
        if let Poll::Ready(Err(error)) = sent {
            return Poll::Ready(Some(Err(OverError::Send(error))));
        }
        if self.stage == Stage::Draining {
            if sent.is_ready() {
                *self.project().stage = Stage::Ended;
                return Poll::Ready(None);
            }
            // What it is told from now on concerns nobody, but its sender is not to be stuck.
            return self.poll_receive(cx).map(|_| None);
        }
        // By turns, so that neither a busy transport nor busy groups hold the other up.
        let hears_first = !self.has_heard;
        *self.as_mut().project().has_heard = hears_first;
        if hears_first && let Poll::Ready(heard) = self.as_mut().poll_receive(cx) {
            return Poll::Ready(heard.err().map(Err));
        }
        if let Poll::Ready(said) = self.as_mut().poll_groups(cx) {
            return Poll::Ready(said.map(Ok));
        }
        if hears_first {
            return Poll::Pending;
        }
        self.poll_receive(cx).map(|heard| heard.err().map(Err))
    }

    fn poll_send(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        let this = self.project();
        this.outgoing.poll_send(this.transport, cx)
    }

    /// Hands one message of the transport to its group.
    fn poll_receive(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Heard<R, T::Error> {
        let this = self.project();
        if *this.deaf {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(this.transport.poll_next(cx)) {
            Some(Ok((from, (key, message)))) => {
                this.groups.on_receive(&key, from, message);
                Ok(())
            }
            Some(Err(error)) => Err(OverError::Receive(error)),
            None => {
                *this.deaf = true;
                tracing::warn!("the transport has ended: the groups stop");
                this.groups.stop();
                Err(OverError::Ended)
            }
        })
    }

    /// Takes one item of the groups. `Ready(None)`: it is nothing to show.
    fn poll_groups(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(K, NodeState<I>)>> {
        let this = self.project();
        let burst = std::mem::take(&mut this.outgoing.burst);
        match Pin::new(this.groups).poll_next(cx) {
            Poll::Ready(Some((key, MsgRouter::ToSelf(state)))) => Poll::Ready(Some((key, state))),
            Poll::Ready(Some((key, MsgRouter::ToNode(to, message)))) => {
                this.outgoing.put(to, (key, message));
                Poll::Ready(None)
            }
            Poll::Ready(None) => {
                *this.stage = Stage::Draining;
                Poll::Ready(None)
            }
            // One more round flushes what the burst has left.
            Poll::Pending if burst => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<K, I, T, R> Stream for GroupsOver<K, I, T>
where
    K: Id,
    I: Id,
    T: Stream<Item = Result<(I, OfGroup<K, I>), R>> + Sink<(I, OfGroup<K, I>)>,
{
    type Item = Item<K, I, R, T::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
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

impl<K, I, T, R> FusedStream for GroupsOver<K, I, T>
where
    K: Id,
    I: Id,
    T: Stream<Item = Result<(I, OfGroup<K, I>), R>> + Sink<(I, OfGroup<K, I>)>,
{
    /// True only when the stream has nothing but `None` to give.
    fn is_terminated(&self) -> bool {
        self.stage == Stage::Ended
    }
}

impl<K: Id, I: Id, T> Sink<(K, Command<I>)> for GroupsOver<K, I, T> {
    type Error = Error;

    /// The groups': always ready.
    ///
    /// # Errors
    /// [`Error::Stopped`] after they were stopped.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(self.project().groups).poll_ready(cx)
    }

    /// Hands the command to its group, which acts on it at once.
    ///
    /// # Errors
    /// A command that cannot be carried out, or for a group that is not here, or any after the groups were stopped.
    fn start_send(self: Pin<&mut Self>, (key, command): (K, Command<I>)) -> Result<(), Error> {
        Pin::new(self.project().groups).start_send((key, Inbound::FromSelf(command)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(self.project().groups).poll_flush(cx)
    }

    /// Stops the groups. Ready at once, since what has to leave leaves as the stream is polled.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(self.project().groups).poll_close(cx)
    }
}

impl<K: Id, I: Id, T: fmt::Debug> fmt::Debug for GroupsOver<K, I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupsOver")
            .field("groups", &self.groups)
            .field("transport", &self.transport)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
