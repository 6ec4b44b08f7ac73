//! The node: an [`Election`] driven by tokio's clock, as a `Stream` and a `Sink`. It has no rule of the protocol.

pub(crate) mod views;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;

use crate::clock::{self, Alarm, now};
use crate::combinator::{Durable, Leadership, Node, Over};
use crate::config::Config;
use crate::election::Election;
use crate::error::{ConfigError, Error};
use crate::id::{Id, NodeId};
use crate::message::{Command, Inbound, Message, MsgRouter};
use crate::state::{NodeState, Stats};
use crate::store::VoteStore;

use views::Views;

/// One node of a cluster that elects a leader: a [`Stream`] of what must leave it and a [`Sink`] of what reaches it.
///
/// It spawns nothing, locks nothing and owns no socket. Whoever owns it polls the stream, hands every
/// [`ToNode`](MsgRouter::ToNode) to a transport, and puts what the transport receives into the sink.
///
/// ```
/// use futures::StreamExt;
/// use streamraft::{Config, MsgRouter, NodeType, TinyRaft};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut node = TinyRaft::new(Config::new("a", ["a"])?)?;
/// let Some(MsgRouter::ToSelf(state)) = node.next().await else { panic!("a cluster of one leads at once") };
/// assert_eq!((state.node_type(), state.term()), (NodeType::Leader, 1));
/// assert!(node.is_leader());
/// # Ok(()) }
/// ```
///
/// # What it promises
/// - **Order.** A [`ToSelf`](MsgRouter::ToSelf) comes out before every `ToNode` that depends on it. Whoever saves
///   its [`hard_state`](NodeState::hard_state) before taking the next item has written ahead.
/// - **Bounds.** There is no queue. One request and one reply can wait for each peer, and the newest state; what is
///   newer replaces what is older. So the sink is always ready, and memory depends on the number of nodes alone.
/// - **Wakes.** Whatever is put in, by the sink or by a method, wakes the task that last polled the stream, and
///   nothing else.
/// - **Time.** The clock decides; the timer only wakes. A node that was not polled for a while steps down at its
///   first poll if its leadership has run out, and [`is_leader`](Self::is_leader) is false from that instant on,
///   polled or not.
/// - **Bad input** from other nodes never ends it: it is dropped and counted ([`stats`](Self::stats)).
/// - **Close.** [`stop`](Self::stop), [`Command::Stop`] and closing the sink mean the same: a leader shows itself as a
///   follower first, then hands over to its best successor, then the stream ends. Dropping a node is always safe:
///   the others elect a leader after their timeouts.
/// - **Cancel safety.** `next()` and `send()` can be dropped at any await point; nothing is lost.
///
/// It can be made outside a runtime; polling it needs tokio's timer, that is, a runtime with time enabled (without
/// one, tokio panics at the first poll).
#[must_use = "a node does nothing unless it is polled"]
pub struct TinyRaft<I = NodeId> {
    election: Election<I>,
    alarm: Alarm,
    /// Of the task that polled the stream last: input may make it ready.
    waker: Option<Waker>,
    /// The stream has given its `None`.
    ended: bool,
    views: Views<I>,
}

impl<I: Id> TinyRaft<I> {
    /// A node that starts now.
    ///
    /// # Errors
    /// The first rule that the settings break; see [`Config`].
    pub fn new(config: Config<I>) -> Result<Self, ConfigError> {
        let config = match config.get_seed() {
            Some(_) => config,
            None => config.seed(clock::seed()),
        };
        let election = Election::new(config, now())?;
        Ok(Self {
            election,
            alarm: Alarm::default(),
            waker: None,
            ended: false,
            views: Views::new(),
        })
    }

    /// What the node is and knows now. It may be newer than the last `ToSelf`: what depends on it has not left the
    /// node yet.
    ///
    /// It does not look at the clock: ask [`is_leader`](Self::is_leader) before acting as the leader.
    #[must_use]
    pub fn state(&self) -> &NodeState<I> {
        self.election.state()
    }

    /// Whether this node leads at this instant: it was elected and its lease holds.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.election.state().is_leader_at(now())
    }

    /// A view of this node's leadership for the rest of the program. Goes on being true when the node is moved, and
    /// does not keep it.
    pub fn leadership(&self) -> Leadership<I> {
        self.views.view(self.state())
    }

    /// Saves every changed [`HardState`](crate::HardState) before anything behind it comes out; see
    /// [`Durable`](crate::Durable). Call it on a node that was just made: what came out before was not saved.
    pub fn durable<S: VoteStore<I>>(self, store: S) -> Durable<Self, S> {
        Node::durable(self, store)
    }

    /// Drives the node and a transport together; see [`Over`](crate::Over).
    pub fn over<T, R>(self, transport: T) -> Over<Self, T>
    where
        T: Stream<Item = Result<(I, Message<I>), R>> + Sink<(I, Message<I>)>,
    {
        Node::over(self, transport)
    }

    /// What was dropped, and why.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        self.election.stats()
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> &I {
        self.election.node_id()
    }

    /// Takes a message of another node, as the sink does with [`Inbound::FromNode`]. What is wrong with it is counted
    /// ([`stats`](Self::stats)). Without effect after the node was stopped.
    pub fn on_receive(&mut self, from: I, message: Message<I>) {
        self.put_or_drop(Inbound::FromNode(from, message));
    }

    /// Wishes for these voters, in any order, whatever the present ones are. The leader of the day carries it out,
    /// one voter at a time; a node that does not lead tells the leader with its next answer. The newest wish that
    /// reaches the leader wins. [`NodeState::nodes`], [`target`](NodeState::target) and
    /// [`waiting_for`](NodeState::waiting_for) show how far it is.
    ///
    /// # Errors
    /// An empty list, an id that stands twice, too many nodes, a stopped node.
    pub fn set_nodes(&mut self, nodes: impl IntoIterator<Item = I>) -> Result<(), Error> {
        self.put(Inbound::FromSelf(Command::SetNodes(
            nodes.into_iter().collect(),
        )))
    }

    /// Restores a cluster whose majority is lost for good: makes these the voters at once and asks nobody. Call it
    /// on **one** node that lives, with the nodes that live; the others learn it from that one. The term jumps by about a
    /// million, so that no survivor holds anything newer.
    ///
    /// **Unsafe for exclusivity**: if the lost nodes live after all, they can have a leader of their own at the same
    /// time. Make sure that they do not run.
    ///
    /// # Errors
    /// An empty list, an id that stands twice, too many nodes, a stopped node, no term left.
    pub fn force_nodes(&mut self, nodes: impl IntoIterator<Item = I>) -> Result<(), Error> {
        let result = self
            .election
            .force_nodes(now(), nodes.into_iter().collect());
        self.put_in();
        result
    }

    /// Sets this node's priority: the higher, the rather it leads. Without effect after the node was stopped.
    pub fn set_priority(&mut self, priority: u64) {
        self.put_or_drop(Inbound::FromSelf(Command::SetPriority(priority)));
    }

    /// Another layer heard from the leader: as good as its `Ping` for not campaigning. Without effect on a node that
    /// follows nobody.
    pub fn mark_alive(&mut self) {
        self.put_or_drop(Inbound::FromSelf(Command::MarkAlive));
    }

    /// Hands leadership over to this voter. The lease is given up at once; the transfer is over when another node
    /// leads, or after an election timeout ([`NodeState::transferring_to`] tells). A leader whose order was not
    /// taken has itself elected anew, in a higher term.
    ///
    /// # Errors
    /// A node that does not lead; a receiver that is this node or has no vote; a transfer under way; a stopped node.
    pub fn transfer(&mut self, to: I) -> Result<(), Error> {
        self.put(Inbound::FromSelf(Command::Transfer(to)))
    }

    /// Gives leadership up and hands it over to the best successor. Without effect on a node that does not lead.
    pub fn resign(&mut self) {
        self.put_or_drop(Inbound::FromSelf(Command::Resign));
    }

    /// Resigns, lets go of what has to leave, and ends the stream. Calling it again has no effect.
    pub fn stop(&mut self) {
        self.election.stop(now());
        self.put_in();
    }

    fn put(&mut self, input: Inbound<I>) -> Result<(), Error> {
        let result = self.election.handle(now(), input);
        self.put_in();
        result
    }

    /// Something was put in: the views may show less than before, and the stream may have more.
    fn put_in(&self) {
        self.views.keep_up(self.election.state());
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// For inputs that only a stopped node refuses: whoever put them in by a method knows that it stopped it.
    fn put_or_drop(&mut self, input: Inbound<I>) {
        let _ = self.put(input);
    }

    fn keep_waker(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(kept) => kept.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

impl<I: Id> Stream for TinyRaft<I> {
    type Item = MsgRouter<I>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<MsgRouter<I>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        this.keep_waker(cx.waker());
        this.views.deal_with(this.election.state());
        let mut deadline = this.election.poll_timeout();
        loop {
            // The clock before the timer: a task without budget finds its timer pending though its time has come.
            if let Some(at) = deadline {
                let now = now();
                if at <= now {
                    this.election.handle_timeout(now);
                    this.views.keep_up(this.election.state());
                    deadline = this.election.poll_timeout();
                }
            }
            if let Some(output) = this.election.poll_output() {
                if let MsgRouter::ToSelf(state) = &output {
                    this.views.take(state);
                }
                return Poll::Ready(Some(output));
            }
            if this.election.is_stopped() {
                this.ended = true;
                this.waker = None;
                // It holds a waker too, and has nothing more to ring for.
                this.alarm = Alarm::default();
                return Poll::Ready(None);
            }
            match deadline {
                None => return Poll::Pending,
                Some(at) => std::task::ready!(this.alarm.poll(at, cx)),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.ended { (0, Some(0)) } else { (0, None) }
    }
}

impl<I: Id> FusedStream for TinyRaft<I> {
    /// True only after the stream has given its `None`.
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<I: Id> Sink<Inbound<I>> for TinyRaft<I> {
    type Error = Error;

    /// Always ready: there is no queue that could be full.
    ///
    /// # Errors
    /// [`Error::Stopped`] after the node was stopped.
    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(if self.election.is_stopped() {
            Err(Error::Stopped)
        } else {
            Ok(())
        })
    }

    /// Acts on the input at once and wakes the task that polls the stream.
    ///
    /// # Errors
    /// A command that cannot be carried out, or any input after the node was stopped. The node is as it was.
    fn start_send(mut self: Pin<&mut Self>, input: Inbound<I>) -> Result<(), Error> {
        self.put(input)
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

impl<I: Id> fmt::Debug for TinyRaft<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TinyRaft")
            .field("node_id", self.node_id())
            .field("state", self.state())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_test::task::new_count_waker;
    use tokio::time::advance;

    use super::*;
    use crate::message::MessageKind;

    const HEARTBEAT: Duration = Duration::from_millis(100);

    /// Arming a timer takes a lock of the runtime's, so it must not be armed anew for every heartbeat.
    #[tokio::test(start_paused = true)]
    async fn a_follower_arms_its_timer_no_more_often_than_it_rings() {
        let config = Config::with_id(1_u64, 1..=3).unwrap();
        let config = config.heartbeat_interval(HEARTBEAT).seed(1);
        let mut node = TinyRaft::new(config).unwrap();
        let (waker, woken) = new_count_waker();
        let (mut armed, mut rung) = (0, 0);
        let mut poll = |node: &mut TinyRaft<u64>| {
            let before = node.alarm.set_to();
            while Pin::new(&mut *node)
                .poll_next(&mut Context::from_waker(&waker))
                .is_ready()
            {}
            armed += usize::from(node.alarm.set_to() != before);
        };
        poll(&mut node);
        let stamp = node.state().hard_state().membership().stamp();
        for round in 1..=100 {
            let kind = MessageKind::Ping {
                round,
                succession: None,
            };
            node.on_receive(2, Message::new(1, stamp, kind));
            poll(&mut node);
            for _ in 0..10 {
                let before = woken.get();
                advance(HEARTBEAT / 10).await;
                rung += woken.get() - before;
                poll(&mut node);
            }
        }
        assert_eq!(node.state().leader(), Some(&2));
        // The first arming, and one that a shorter wait than the first calls for.
        assert!(armed <= rung + 2, "armed {armed} times, rung {rung} times");
        assert!((1..=10).contains(&rung), "ten seconds: rung {rung} times");
    }
}
