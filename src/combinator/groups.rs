//! Many elections in one value: a `Stream` and a `Sink` with one timer. It has no rule of the protocol.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;

use super::feed::{Answered, Feed};
use super::groups_over::GroupsOver;
use super::leadership::Leadership;
use crate::clock::{self, Alarm, now};
use crate::config::Config;
use crate::error::{ConfigError, Error};
use crate::groups::{Answer, Elections, GroupsStats};
use crate::id::{Id, NodeId};
use crate::message::{Command, Inbound, Message, MsgRouter};
use crate::node::views::Views;
use crate::state::{HardState, NodeState};

/// The elections of many groups that one process takes part in: a [`Stream`] of what must leave it and a [`Sink`] of what
/// reaches it, each with the key of its group.
///
/// For a process that holds shards, queues or partitions by the thousand, each with a leader of its own. A
/// [`TinyRaft`](crate::TinyRaft) for each would send as many heartbeats; here two machines send each other one beat an
/// interval for all groups that they share, and a group at which nothing happens costs its memory and nothing else. What
/// each group elects, and when, is what single nodes would: the same rules, leases and tokens.
///
/// ```
/// use futures::StreamExt;
/// use streamraft::{Config, Groups, MsgRouter};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let alone = Config::new("a", ["a"])?;
/// let mut groups = Groups::new(&alone)?;
/// for shard in 0..3_u64 {
///     groups.insert(shard, alone.clone())?;
/// }
/// for _ in 0..3 {
///     let Some((shard, MsgRouter::ToSelf(state))) = groups.next().await else { panic!("each leads at once") };
///     assert!(groups.is_leader(&shard) && state.term() == 1);
/// }
/// # Ok(()) }
/// ```
///
/// - **Messages.** What comes out for a machine goes into the `Groups` of that machine under the same key. A
///   [`Beat`](crate::MessageKind::Beat) and its answer are of two machines: they bear the key of a group of theirs, at which their
///   receiver does not look.
/// - **Order.** Of each group, a state comes out before every message that depends on it; of different groups nothing depends
///   on each other. So many states can be saved at once: take items until there is none, save the states among them, then
///   send the messages. (Views of leadership take a state for saved when the owner polls on: the guide's chapter on
///   groups says when that matters.)
/// - **Bounds.** There is no queue. What waits is what each election keeps for its peers, and one beat and one answer for each
///   other machine. What is newer replaces what is older.
/// - **Settings.** All groups have the node id, the cluster and the durations in common; members, priority and what is restored
///   are each group's own. Give every group its [`restore`](Config::restore)d hard state after a restart of the process.
/// - **Wakes.** Whatever is put in, by the sink or by a method, wakes the task that last polled the stream.
/// - **Close.** [`stop`](Self::stop) and closing the sink stop every group: each leader hands over, then the stream ends.
///   [`Command::Stop`] in one group ends that one, which is gone when its last words are out.
/// - **Cancel safety.** `next()` and `send()` can be dropped at any await point; nothing is lost.
#[must_use = "groups do nothing unless they are polled"]
pub struct Groups<K, I = NodeId> {
    elections: Elections<K, I>,
    alarm: Alarm,
    waker: Option<Waker>,
    ended: bool,
    /// Of the groups whose leadership somebody looks at.
    views: HashMap<K, Views<I>>,
    /// The group whose state came out last, until the owner polls on.
    taken: Option<K>,
    /// What the links have answered, for those who look.
    answered: Vec<Option<(u64, Arc<Answered>)>>,
}

impl<K: Id, I: Id> Groups<K, I> {
    /// No group yet. `config` says what all groups have in common.
    ///
    /// # Errors
    /// The first rule that the settings break; see [`Config`].
    pub fn new(config: &Config<I>) -> Result<Self, ConfigError> {
        Ok(Self {
            elections: Elections::new(config, clock::seed())?,
            alarm: Alarm::default(),
            waker: None,
            ended: false,
            views: HashMap::new(),
            taken: None,
            answered: Vec::new(),
        })
    }

    /// Takes part in one more group from now on.
    ///
    /// # Errors
    /// The first rule that the settings break; a node id, cluster or duration that is not the common one; a key that is
    /// there already; groups that were stopped. Nothing has changed then.
    pub fn insert(&mut self, key: K, config: Config<I>) -> Result<(), ConfigError> {
        let config = match config.get_seed() {
            Some(_) => config,
            None => config.seed(clock::seed()),
        };
        let result = self.elections.insert(now(), key, config);
        self.put_in();
        result
    }

    /// Takes part in a group no more, from now on and without a word: the others elect a leader after their timeouts if it
    /// led. Gives back what must be remembered if it is ever to take part again.
    pub fn remove(&mut self, key: &K) -> Option<HardState<I>> {
        let kept = self.elections.remove(now(), key);
        self.put_in();
        kept
    }

    /// What this machine's node in a group is and knows now, its lease as far as beats have prolonged it. It may be newer
    /// than the last `ToSelf`.
    #[must_use]
    pub fn state(&self, key: &K) -> Option<NodeState<I>> {
        self.elections.state(key)
    }

    /// Whether this machine leads a group at this instant: it was elected and its lease holds.
    #[must_use]
    pub fn is_leader(&self, key: &K) -> bool {
        let state = self.elections.state(key);
        state.is_some_and(|state| state.is_leader_at(now()))
    }

    /// A view of this machine's leadership of a group for the rest of the program. None if there is no such group; over when
    /// the group is removed.
    pub fn leadership(&mut self, key: &K) -> Option<Leadership<I>> {
        if !self.elections.watch(key) {
            return None;
        }
        let present = self.elections.state(key)?;
        // A state that has not come out yet, or has only just, was not dealt with.
        let is_out = !self.elections.has_news(key) && self.taken.as_ref() != Some(key);
        let views = self
            .views
            .entry(key.clone())
            .or_insert_with(|| Views::of(&present, is_out));
        let view = views.view(&present);
        show(&self.elections, &mut self.answered, key, views);
        Some(view)
    }

    /// The groups' keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.elections.keys()
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elections.len()
    }

    /// Whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elections.is_empty()
    }

    /// What was dropped, and why.
    #[must_use]
    pub fn stats(&self) -> &GroupsStats {
        self.elections.stats()
    }

    /// This machine's id.
    #[must_use]
    pub fn node_id(&self) -> &I {
        self.elections.node_id()
    }

    /// The elections without the clock.
    pub fn get_ref(&self) -> &Elections<K, I> {
        &self.elections
    }

    /// Drives the groups and a transport together; see [`GroupsOver`](crate::GroupsOver).
    pub fn over<T, R>(self, transport: T) -> GroupsOver<K, I, T>
    where
        T: Stream<Item = Result<(I, (K, Message<I>)), R>> + Sink<(I, (K, Message<I>))>,
    {
        GroupsOver::new(self, transport)
    }

    /// Takes a message of another machine, as the sink does with [`Inbound::FromNode`].
    pub fn on_receive(&mut self, key: &K, from: I, message: Message<I>) {
        // Refused only after they were stopped, which whoever puts this in knows.
        let _ = self.put(key, Inbound::FromNode(from, message));
    }

    /// Wishes for these voters of a group; see [`TinyRaft::set_nodes`](crate::TinyRaft::set_nodes).
    ///
    /// # Errors
    /// A list that cannot be, a group that is not here, groups that were stopped.
    pub fn set_nodes(&mut self, key: &K, nodes: impl IntoIterator<Item = I>) -> Result<(), Error> {
        let nodes = nodes.into_iter().collect();
        self.put(key, Inbound::FromSelf(Command::SetNodes(nodes)))
    }

    /// Hands leadership of a group over to this voter; see [`TinyRaft::transfer`](crate::TinyRaft::transfer).
    ///
    /// # Errors
    /// As there; a group that is not here.
    pub fn transfer(&mut self, key: &K, to: I) -> Result<(), Error> {
        self.put(key, Inbound::FromSelf(Command::Transfer(to)))
    }

    /// Stops every group: leaders hand over, and when all is taken the stream ends. Calling it again has no effect.
    pub fn stop(&mut self) {
        self.elections.stop(now());
        self.put_in();
    }

    fn put(&mut self, key: &K, input: Inbound<I>) -> Result<(), Error> {
        let result = self.elections.handle(now(), key, input);
        self.put_in();
        result
    }

    /// Something was put in: views may show less than before, and the stream may have more.
    fn put_in(&mut self) {
        self.keep_up();
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Shows what has changed. What prolongs no lease any more is taken back before newer answers are shown.
    fn keep_up(&mut self) {
        while let Some(key) = self.elections.take_changed() {
            match self.elections.state(&key) {
                Some(present) => {
                    if let Some(views) = self.views.get_mut(&key) {
                        views.keep_up(&present);
                        show(&self.elections, &mut self.answered, &key, views);
                    }
                }
                None => drop(self.views.remove(&key)),
            }
        }
        while let Some(answer) = self.elections.take_answered() {
            if let (Some(shown), Some(round)) = (shown(&mut self.answered, answer), answer.round) {
                shown.set(round);
            }
        }
    }

    /// The owner polls on, and has dealt with the state that came out last.
    fn deal_with_taken(&mut self) {
        if let Some(key) = self.taken.take()
            && let Some(views) = self.views.get_mut(&key)
            && let Some(present) = self.elections.state(&key)
        {
            views.deal_with(&present);
            show(&self.elections, &mut self.answered, &key, views);
        }
    }

    /// Does what has fallen due, if anything has.
    fn handle_due(&mut self) -> bool {
        let Some(at) = self.elections.poll_timeout() else {
            return false;
        };
        let now = now();
        if at > now {
            return false;
        }
        self.elections.handle_timeout(now);
        self.keep_up();
        true
    }

    fn keep_waker(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(kept) => kept.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

/// What a link has answered, for those who look at it.
fn shown(all: &mut Vec<Option<(u64, Arc<Answered>)>>, answer: Answer) -> Option<&Arc<Answered>> {
    let at = answer.link as usize;
    if all.len() <= at {
        all.resize_with(at + 1, || None);
    }
    let entry = all.get_mut(at)?;
    let is_present = entry
        .as_ref()
        .is_some_and(|(session, _)| *session == answer.session);
    if !is_present {
        *entry = Some((answer.session, Arc::new(Answered::new(answer.since))));
    }
    entry.as_ref().map(|(_, shown)| shown)
}

/// Tells the views of a group by what its lease is prolonged.
fn show<K: Id, I: Id>(
    elections: &Elections<K, I>,
    answered: &mut Vec<Option<(u64, Arc<Answered>)>>,
    key: &K,
    views: &Views<I>,
) {
    let feed = elections.prolonged(key).map(|prolonged| {
        let mut links = Vec::with_capacity(prolonged.links.len());
        for (link, first) in prolonged.links {
            let answer = elections.answer_of(link);
            if let Some(shown) = answer.and_then(|answer| shown(answered, answer)) {
                links.push((Arc::clone(shown), first));
            }
        }
        Feed::new(
            prolonged.term,
            prolonged.span,
            prolonged.quorum,
            links.into(),
        )
    });
    views.feed(feed);
}

impl<K: Id, I: Id> Stream for Groups<K, I> {
    type Item = (K, MsgRouter<I>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        this.keep_waker(cx.waker());
        this.deal_with_taken();
        loop {
            // The clock before all else: what has run out meanwhile is over before anything is said, and what falls due is done
            // even if there is always something to say.
            let was_due = this.handle_due();
            if let Some((key, output)) = this.elections.poll_output() {
                if let MsgRouter::ToSelf(state) = &output {
                    if let Some(views) = this.views.get_mut(&key) {
                        views.take(state);
                    }
                    this.taken = Some(key.clone());
                }
                return Poll::Ready(Some((key, output)));
            }
            if this.elections.is_stopped() {
                this.ended = true;
                this.waker = None;
                this.alarm = Alarm::default();
                this.keep_up();
                return Poll::Ready(None);
            }
            if was_due {
                continue;
            }
            match this.elections.poll_timeout() {
                None => return Poll::Pending,
                Some(at) => ready!(this.alarm.poll(at, cx)),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.ended { (0, Some(0)) } else { (0, None) }
    }
}

impl<K: Id, I: Id> FusedStream for Groups<K, I> {
    /// True only after the stream has given its `None`.
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<K: Id, I: Id> Sink<(K, Inbound<I>)> for Groups<K, I> {
    type Error = Error;

    /// Always ready: there is no queue that could be full.
    ///
    /// # Errors
    /// [`Error::Stopped`] after the groups were stopped.
    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(if self.elections.is_stopped() {
            Err(Error::Stopped)
        } else {
            Ok(())
        })
    }

    /// Acts on the input at once and wakes the task that polls the stream.
    ///
    /// # Errors
    /// A command that cannot be carried out, or for a group that is not here, or any input after the groups were stopped.
    /// All is as it was.
    fn start_send(mut self: Pin<&mut Self>, (key, input): (K, Inbound<I>)) -> Result<(), Error> {
        self.put(&key, input)
    }

    /// Nothing waits on the way in.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    /// [Stops](Self::stop) all groups. Ready at once, since what has to leave leaves by the stream.
    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.stop();
        Poll::Ready(Ok(()))
    }
}

impl<K: Id, I: Id> fmt::Debug for Groups<K, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups")
            .field("node_id", self.node_id())
            .field("groups", &self.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
