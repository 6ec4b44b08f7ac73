//! The node: a [`Replication`] driven by tokio's clock, with its store, as a `Stream` and a `Sink`. It has no rule of the
//! protocol.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use tokio::sync::mpsc;

use super::applied::AppliedStream;
use super::client::{Ask, Client};
use super::error::StartError;
use super::feed::{FeedError, Feeder};
use super::limits::LogLimits;
use super::mark::Mark;
use super::message::RaftMessage;
use super::replication::{Read, Replication};
use super::store::{Failure, FailureKind, LogStore, part_of};
use super::waiting::Waiting;
use crate::clock::{self, Alarm, now};
use crate::combinator::Leadership;
use crate::combinator::leadership::Publisher;
use crate::config::Config;
use crate::error::Error;
use crate::id::{Id, NodeId};
use crate::message::{Command, Inbound, MsgRouter};
use crate::state::NodeState;

/// What goes into a node with a log.
pub type RaftInbound<I = NodeId> = Inbound<I, RaftMessage<I>>;

/// What comes out of a node with a log.
#[derive(Debug)]
#[non_exhaustive]
pub enum RaftOutput<I = NodeId> {
    /// To this node's owner: its state has changed. What of it must be durable is.
    ToSelf(NodeState<I>),
    /// To another node. Losing it is allowed.
    ToNode(I, RaftMessage<I>),
    /// To this node's owner: its store has failed. If the [kind](Failure::kind) is [`FailureKind::Full`], the node has given
    /// leadership up, and tries again every `leadership_timeout`. Else it has ended, and `None` follows.
    Failed(Failure),
}

/// One node of a cluster with a replicated log: a [`Stream`] of what must leave it and a [`Sink`] of what reaches it, as
/// [`TinyRaft`](crate::TinyRaft) is for the election alone.
///
/// It spawns nothing and owns no socket. Whoever owns it polls the stream, hands every [`ToNode`](RaftOutput::ToNode) to a
/// transport, and puts what the transport receives into the sink. [`Client`]s propose and read from anywhere;
/// [`applied`](Self::applied) is what the state machine takes.
///
/// ```
/// use futures::StreamExt;
/// use streamraft::Config;
/// use streamraft::raft::{Applied, LogLimits, MemoryLog, Raft};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut raft = Raft::new(Config::new("a", ["a"])?, LogLimits::default(), MemoryLog::new())?;
/// let (client, mut applied) = (raft.client(), raft.applied(0));
/// let node = async { while raft.next().await.is_some() {} };
/// let program = async {
///     while client.propose("x = 1").await.is_err() {} // until it leads
/// };
/// let machine = async {
///     let Some(Applied::Entry(entry)) = applied.next().await else { panic!("it goes on") };
///     assert_eq!(entry.data, "x = 1");
///     applied.next().await; // comes back for more: that one is applied
/// };
/// tokio::select! { () = node => {}, () = machine => {}, () = program => {} }
/// # Ok(()) }
/// ```
///
/// # What it promises
/// - **Durability.** What is acknowledged is durable on a quorum, in each node's [`LogStore`]. Votes and answers wait for the
///   store; entries go to followers while it works. One flush serves all that came in meanwhile.
/// - **Bounds.** [`LogLimits`] says how much it holds. The sink is always ready: a node that is not polled takes messages
///   and lets go of what it has no room for.
/// - **Slow parts.** A slow state machine slows clients, a slow follower nobody, and a leader whose disk stalls for a
///   `leadership_timeout` lets another lead.
/// - **Wakes, time, bad input, closing, cancel safety.** As [`TinyRaft`](crate::TinyRaft). When it has ended, its clients are told
///   so, and its applied stream ends.
#[must_use = "a node does nothing unless it is polled"]
pub struct Raft<S, I = NodeId> {
    core: Replication<I>,
    store: S,
    client: Client<I>,
    asks: mpsc::Receiver<Ask<I>>,
    waiting: Waiting<I>,
    applied: Mark,
    feeder: Option<Feeder>,
    publisher: Publisher<I>,
    alarm: Alarm,
    /// Of the task that polled the stream last.
    waker: Option<Waker>,
    flush: Flush,
    failed: Option<Failure>,
    ended: bool,
}

/// What the store is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Idle,
    Running,
    /// It had no room, and is asked again then.
    Full(Instant),
}

impl<S: LogStore<I>, I: Id> Raft<S, I> {
    /// A node that starts now, from what its store holds.
    ///
    /// # Errors
    /// The first rule that the settings break, or that the store holds what no node has written.
    pub fn new(config: Config<I>, limits: LogLimits, mut store: S) -> Result<Self, StartError> {
        let config = match config.get_seed() {
            Some(_) => config,
            None => config.seed(clock::seed()),
        };
        let core = Replication::new(config, limits, store.recovered(), now())?;
        let (client, asks) = Client::new(limits.get_unsettled(), limits.get_proposal());
        Ok(Self {
            publisher: Publisher::new(core.state(), None),
            core,
            store,
            client,
            asks,
            waiting: Waiting::new(),
            applied: Mark::new(),
            feeder: None,
            alarm: Alarm::default(),
            waker: None,
            flush: Flush::Idle,
            failed: None,
            ended: false,
        })
    }

    /// Asks this node, from anywhere.
    #[must_use]
    pub fn client(&self) -> Client<I> {
        self.client.clone()
    }

    /// The committed entries behind this index, for a state machine that has applied all up to it: 0 for one that is new.
    /// If the log has no more entries that far back, a snapshot comes first. There is one such stream: an older one ends.
    pub fn applied(&mut self, from: u64) -> AppliedStream {
        let (feeder, stream) = Feeder::new(from, self.applied.begin(from));
        self.feeder = Some(feeder);
        self.wake();
        stream
    }

    /// A view of this node's leadership for the rest of the program.
    pub fn leadership(&self) -> Leadership<I> {
        self.publisher.view()
    }

    /// What the node is and knows now.
    #[must_use]
    pub fn state(&self) -> &NodeState<I> {
        self.core.state()
    }

    /// The log, for a look at it.
    #[must_use]
    pub fn log(&self) -> &Replication<I> {
        &self.core
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> &I {
        self.core.election().node_id()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Ends the node and gives its store back. What was handed over to it may not be flushed.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }

    /// Takes a message of another node, as the sink does with [`Inbound::FromNode`].
    pub fn on_receive(&mut self, from: &I, message: RaftMessage<I>) {
        self.core.receive(now(), from, message);
        self.put_in();
    }

    /// Does what its owner asks of the election, as the sink does with [`Inbound::FromSelf`].
    ///
    /// # Errors
    /// A command that cannot be carried out, or any after the node was stopped. The node is as it was.
    pub fn command(&mut self, command: Command<I>) -> Result<(), Error> {
        let result = self.core.command(now(), command);
        self.put_in();
        result
    }

    /// Resigns, lets go of what has to leave, and ends the stream. Calling it again has no effect.
    pub fn stop(&mut self) {
        // Refused only by a node that was stopped before.
        let _ = self.command(Command::Stop);
    }

    fn put_in(&self) {
        self.publisher.keep_up(self.core.state());
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn keep_waker(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(kept) => kept.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Takes what clients ask.
    fn take_asks(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.waiting.retry(&mut self.core, now);
        while self.waiting.has_room() {
            match self.asks.poll_recv(cx) {
                Poll::Ready(Some(ask)) => self.waiting.take(&mut self.core, now, ask),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    /// Hands over to the store what is new, and lets it work.
    fn drive_store(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<(), Failure> {
        loop {
            self.core.write_to(&mut self.store);
            match self.flush {
                Flush::Idle if !self.core.wants_flush() => break,
                Flush::Full(until) if now < until => break,
                Flush::Idle | Flush::Full(_) => {
                    self.core.begin_flush(now);
                    self.flush = Flush::Running;
                }
                Flush::Running => {}
            }
            match self.store.poll_flush(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {
                    self.flush = Flush::Idle;
                    self.core.flushed();
                }
                Poll::Ready(Err(failure)) => {
                    self.core.flush_failed(now);
                    self.flush = Flush::Full(now + self.core.patience());
                    return Err(failure);
                }
            }
            self.waiting.retry(&mut self.core, now);
        }
        self.read_for_followers(cx)
    }

    fn read_for_followers(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while let Some(read) = self.core.poll_read() {
            match read {
                Read::Entries { first, max_bytes } => {
                    match self.store.poll_read(cx, first, max_bytes) {
                        Poll::Ready(batch) => {
                            let batch = self.core.in_log(first, &batch?, u64::MAX)?;
                            self.core.entries_read(batch);
                        }
                        Poll::Pending => break,
                    }
                }
                Read::Snapshot { offset, max_bytes } => {
                    match self.store.poll_read_snapshot(cx, offset, max_bytes) {
                        Poll::Ready(data) => {
                            let data = match self.core.snapshot() {
                                Some(snapshot) => part_of(snapshot, offset, data?)?.data,
                                None => data?,
                            };
                            self.core.snapshot_read(offset, data);
                        }
                        Poll::Pending => break,
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the state machine what is committed.
    fn feed(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        // One read at a time: the followers' first.
        let may_read = self.core.poll_read().is_none();
        let Some(feeder) = &mut self.feeder else {
            return Ok(());
        };
        match feeder.poll(&self.core, &mut self.store, may_read, cx) {
            Poll::Ready(Err(FeedError::Store(failure))) => Err(failure),
            Poll::Ready(_) => {
                self.feeder = None;
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }

    /// Does all that can be done now, but for what comes out.
    fn work(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.core.poll_timeout().is_some_and(|at| at <= now) {
            self.core.handle_timeout(now);
        }
        self.take_asks(now, cx);
        let had_room = self.waiting.has_room();
        let result = self.drive_store(now, cx).and_then(|()| self.feed(cx));
        self.core.tell_committed();
        self.applied.poll_news(cx);
        self.waiting.tell(&mut self.core, &self.applied);
        if !had_room && self.waiting.has_room() {
            // More may have been asked, and nobody would say so.
            cx.waker().wake_by_ref();
        }
        self.publisher.keep_up(self.core.state());
        if let Err(failure) = result {
            tracing::error!(node = ?self.core.election().node_id(), %failure, "the store of the log has failed");
            self.ended |= failure.kind() != FailureKind::Full;
            self.failed = Some(failure);
        }
    }

    /// When it wants to be polled, whatever comes in.
    fn deadline(&self) -> Option<Instant> {
        let again = match self.flush {
            Flush::Full(until) => Some(until),
            Flush::Idle | Flush::Running => None,
        };
        self.core.poll_timeout().into_iter().chain(again).min()
    }

    /// What has come out of the last call, if there is anything.
    fn next_output(&mut self) -> Option<RaftOutput<I>> {
        if let Some(failure) = self.failed.take() {
            return Some(RaftOutput::Failed(failure));
        }
        if self.ended {
            return None;
        }
        Some(match self.core.poll_output()? {
            MsgRouter::ToSelf(state) => {
                self.publisher.show(state.clone(), self.core.state());
                RaftOutput::ToSelf(state)
            }
            MsgRouter::ToNode(to, message) => RaftOutput::ToNode(to, message),
        })
    }

    fn end(&mut self) {
        self.waker = None;
        self.alarm = Alarm::default();
        self.feeder = None;
        self.asks.close();
        self.waiting.clear();
    }
}

impl<S: LogStore<I> + Unpin, I: Id> Stream for Raft<S, I> {
    type Item = RaftOutput<I>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RaftOutput<I>>> {
        let this = &mut *self;
        this.keep_waker(cx.waker());
        loop {
            if let Some(output) = this.next_output() {
                return Poll::Ready(Some(output));
            }
            if this.ended {
                this.end();
                return Poll::Ready(None);
            }
            this.work(now(), cx);
            if let Some(output) = this.next_output() {
                return Poll::Ready(Some(output));
            }
            if this.core.election().is_stopped() && this.core.is_quiet() {
                this.ended = true;
                continue;
            }
            match this.deadline() {
                None => return Poll::Pending,
                Some(at) => std::task::ready!(this.alarm.poll(at, cx)),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.ended { (0, Some(1)) } else { (0, None) }
    }
}

impl<S: LogStore<I> + Unpin, I: Id> FusedStream for Raft<S, I> {
    /// True only after the stream has given its `None`.
    fn is_terminated(&self) -> bool {
        self.ended && self.failed.is_none()
    }
}

impl<S: LogStore<I> + Unpin, I: Id> Sink<RaftInbound<I>> for Raft<S, I> {
    type Error = Error;

    /// Always ready: what there is no room for is let go.
    ///
    /// # Errors
    /// [`Error::Stopped`] after the node was stopped.
    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(if self.core.election().is_stopped() {
            Err(Error::Stopped)
        } else {
            Ok(())
        })
    }

    /// Acts on the input at once and wakes the task that polls the stream.
    ///
    /// # Errors
    /// A command that cannot be carried out, or any input after the node was stopped. The node is as it was.
    fn start_send(mut self: Pin<&mut Self>, input: RaftInbound<I>) -> Result<(), Error> {
        if self.core.election().is_stopped() {
            return Err(Error::Stopped);
        }
        match input {
            Inbound::FromNode(from, message) => {
                self.on_receive(&from, message);
                Ok(())
            }
            Inbound::FromSelf(command) => self.command(command),
        }
    }

    /// Nothing waits on the way in.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    /// [Stops](Self::stop) the node. Ready at once, since what has to leave leaves by the stream.
    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.stop();
        Poll::Ready(Ok(()))
    }
}

impl<S, I: Id> fmt::Debug for Raft<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raft")
            .field("node_id", self.core.election().node_id())
            .field("state", self.core.state())
            .field("last", &self.core.last())
            .field("commit", &self.core.commit())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
