//! A view of one node's leadership for the rest of the program.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use futures_core::{FusedStream, Stream};
use tokio::sync::watch;

use super::feed::Feed;
use crate::clock::now;
use crate::id::{Id, NodeId};
use crate::state::{NodeState, NodeType};

/// Proof of one leadership, to be handed to whatever the leader writes to: a store that refuses a token smaller
/// than the greatest it has seen cannot be written by two leaders.
///
/// It is the term: it grows with every leadership in the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// The number to hand on. Never zero.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the node's side writes and every view reads. No lock: a term, and the end of its lease.
#[derive(Debug)]
struct Shared {
    /// The instant that `lease_end` counts from.
    origin: Instant,
    /// The term that the node leads; 0 when it leads none.
    term: AtomicU64,
    /// Nanoseconds from `origin`.
    lease_end: AtomicU64,
    /// Of one election of many: what prolongs the lease besides.
    feed: ArcSwapOption<Feed>,
}

impl Shared {
    /// The term that is led and the end of its lease, as they stood together at one moment.
    fn read(&self) -> Option<(Token, Instant)> {
        let term = self.term.load(Ordering::Acquire);
        let lease_end = self.lease_end.load(Ordering::Acquire);
        // The writer takes the term away before it changes whose lease this is.
        let same = self.term.load(Ordering::Acquire) == term;
        (term != 0 && same).then(|| (Token(term), self.origin + Duration::from_nanos(lease_end)))
    }

    /// The same, with the lease as far as its feed has prolonged it.
    fn read_fed(&self) -> Option<(Token, Instant)> {
        let (token, end) = self.read()?;
        let feed = self.feed.load();
        let feed = feed.as_ref().filter(|feed| feed.term == token.0);
        let fed = feed.and_then(|feed| feed.lease_end());
        Some((token, fed.map_or(end, |fed| end.max(fed))))
    }

    /// What is led at this instant.
    fn read_at(&self, now: Instant) -> Option<(Token, Instant)> {
        let holds = |(_, end): &(Token, Instant)| now < *end;
        // Most often there is nothing to look up.
        self.read()
            .filter(holds)
            .or_else(|| self.read_fed().filter(holds))
    }

    fn write(&self, lead: Option<(u64, Instant)>) {
        let Some((term, end)) = lead else {
            return self.term.store(0, Ordering::Release);
        };
        if self.term.load(Ordering::Relaxed) != term {
            self.term.store(0, Ordering::Release);
        }
        let nanos = end.saturating_duration_since(self.origin).as_nanos();
        self.lease_end
            .store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
        self.term.store(term, Ordering::Release);
    }
}

/// The node's side: writes what every [`Leadership`] of it reads.
#[derive(Debug)]
pub(crate) struct Publisher<I> {
    shared: Arc<Shared>,
    states: watch::Sender<NodeState<I>>,
}

impl<I: Id> Publisher<I> {
    /// Shows this state, and of leading no more than that of the term whose state has been dealt with.
    pub(crate) fn new(state: &NodeState<I>, dealt_with: Option<u64>) -> Self {
        let shared = Shared {
            origin: now(),
            term: AtomicU64::new(0),
            lease_end: AtomicU64::new(0),
            feed: ArcSwapOption::empty(),
        };
        shared.write(leads(state).filter(|(term, _)| Some(*term) == dealt_with));
        Self {
            shared: Arc::new(shared),
            states: watch::Sender::new(state.clone()),
        }
    }

    pub(crate) fn view(&self) -> Leadership<I> {
        Leadership {
            shared: Arc::clone(&self.shared),
            states: self.states.subscribe(),
            pending: Pending::Present,
        }
    }

    /// From now on these links prolong the lease; none if there are none. What did before does so no more, whoever still
    /// looks at it.
    pub(crate) fn feed(&self, feed: Option<Feed>) {
        let before = self.shared.feed.swap(feed.map(Arc::new));
        if let Some(before) = before {
            before.ends();
        }
    }

    /// Shows a loss at once, and a lease that was prolonged; nothing that was not led before.
    pub(crate) fn keep_up(&self, state: &NodeState<I>) {
        let Some((token, end)) = self.shared.read() else {
            return;
        };
        match leads(state).filter(|(term, _)| *term == token.0) {
            Some((term, lease)) if lease > end => {
                self.shared.write(Some((term, lease)));
                if end <= now() {
                    // It had run out: whoever waits to lead again must hear of it.
                    self.states.send_modify(|_| {});
                }
            }
            Some(_) => {}
            None => {
                self.shared.write(None);
                self.states.send_modify(|_| {});
            }
        }
    }

    /// Shows a state that has come out of the node and was dealt with by whoever polls it. What it says of leading
    /// is shown only if it still holds in the `present` one.
    pub(crate) fn show(&self, state: NodeState<I>, present: &NodeState<I>) {
        let shown = leads(&state).map(|(term, _)| term);
        self.shared
            .write(leads(present).filter(|(term, _)| Some(*term) == shown));
        self.states.send_replace(state);
    }
}

impl<I> Drop for Publisher<I> {
    /// A node that is gone leads no more.
    fn drop(&mut self) {
        self.shared.write(None);
    }
}

/// The term that a node leads by this state, and until when.
pub(crate) fn leads<I: Id>(state: &NodeState<I>) -> Option<(u64, Instant)> {
    let lease = state
        .lease()
        .filter(|_| state.node_type() == NodeType::Leader)?;
    Some((state.term(), lease))
}

/// A view of one node's leadership: cheap to clone, to be handed to every part of a program that must know.
///
/// Made by [`TinyRaft::leadership`](crate::TinyRaft::leadership). It does not drive the node: whoever owns that must
/// go on polling it.
///
/// - **Never too long.** Leadership is over, here too, when its lease is: even when the node is not polled any more,
///   because its task is starved or gone.
/// - **Never too early.** It is shown when the node's owner polls on after having taken the state that says so: then
///   that has been saved, if it is saved at all.
/// - [`is_leader`](Self::is_leader), [`token`](Self::token) and [`lease`](Self::lease) take no lock and look at the
///   clock; they can be asked before every write.
///
/// As a [`Stream`] it gives the present state first, then every newer one; of several that follow each other quickly
/// the latest. It ends when the node is dropped.
///
/// ```
/// use futures::StreamExt;
/// use streamraft::{Config, TinyRaft};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut node = TinyRaft::new(Config::new("a", ["a"])?)?;
/// let leadership = node.leadership();
/// assert!(!leadership.is_leader());
///
/// let token = tokio::select! {
///     token = leadership.lead() => token,
///     _ = node.by_ref().for_each(|_| async {}) => unreachable!("it runs until it is stopped"),
/// };
/// assert_eq!((token.get(), leadership.token()), (1, Some(token)));
/// drop(node);
/// assert!(!leadership.is_leader());
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a view that nobody looks at"]
pub struct Leadership<I = NodeId> {
    shared: Arc<Shared>,
    states: watch::Receiver<NodeState<I>>,
    /// Where this view stands as a stream.
    pending: Pending<I>,
}

enum Pending<I> {
    /// The present state has not been given yet.
    Present,
    /// Waits for a newer one. The receiver comes back with it.
    Newer(Changed<I>),
    Ended,
}

type Changed<I> =
    Pin<Box<dyn Future<Output = Option<watch::Receiver<NodeState<I>>>> + Send + Sync>>;

impl<I> fmt::Debug for Pending<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Present => "Present",
            Self::Newer(_) => "Newer",
            Self::Ended => "Ended",
        })
    }
}

impl<I: Id> Leadership<I> {
    /// Whether the node leads at this instant. A clock reading and three atomic loads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.shared.read_at(now()).is_some()
    }

    /// The fencing token of the leadership that holds at this instant.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.shared.read_at(now()).map(|(token, _)| token)
    }

    /// Until when the leadership that holds at this instant is sure to hold. It is prolonged with every heartbeat that
    /// a quorum answers.
    #[must_use]
    pub fn lease(&self) -> Option<Instant> {
        self.shared
            .read_fed()
            .map(|(_, end)| end)
            .filter(|end| now() < *end)
    }

    /// The state that the node showed last.
    #[must_use]
    pub fn state(&self) -> NodeState<I> {
        self.states.borrow().clone()
    }

    /// Waits for a state that this view has not given or waited for yet, and gives it; `None` when the node is gone.
    ///
    /// Cancel safe: what was not given yet is given the next time.
    pub async fn changed(&mut self) -> Option<NodeState<I>> {
        self.states.changed().await.ok()?;
        Some(self.states.borrow_and_update().clone())
    }

    /// Waits until the node leads. At once if it does. For ever if the node is gone.
    ///
    /// Cancel safe. Woken when leadership is shown.
    pub async fn lead(&self) -> Token {
        let mut states = self.states.clone();
        loop {
            states.mark_unchanged();
            if let Some(token) = self.token() {
                return token;
            }
            if states.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this leadership is over: taken, given up, or its lease run out. At once if it is.
    ///
    /// Cancel safe. Woken by the loss, and by a timer of its own at the end of the lease.
    pub async fn lost(&self, token: Token) {
        let mut states = self.states.clone();
        loop {
            states.mark_unchanged();
            let Some((_, end)) = self.shared.read_fed().filter(|(held, _)| *held == token) else {
                return;
            };
            if end <= now() {
                return;
            }
            // Whichever comes first; the lease may have been prolonged when its old end comes.
            let _ = tokio::time::timeout_at(end.into(), states.changed()).await;
        }
    }

    /// Runs a future while this leadership lasts: `Some` of its output, or `None` when leadership was lost first, and
    /// then it is dropped at once. Waits until the node leads.
    ///
    /// For what must run once in the cluster: a consumer, a scheduler, a writer. What it began and cannot take back
    /// must be fenced by the [`Token`], which it is made with.
    ///
    /// ```
    /// use futures::{FutureExt, StreamExt};
    /// use streamraft::{Config, TinyRaft};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut node = TinyRaft::new(Config::new("a", ["a"])?)?;
    /// let leadership = node.leadership();
    /// let drive = async |node: &mut TinyRaft| while node.next().now_or_never().is_some() {};
    ///
    /// drive(&mut node).await;
    /// let done = leadership.run(|token| async move { token.get() }).await;
    /// assert_eq!(done, Some(1)); // it led to the end
    ///
    /// let consumer = leadership.run(|_| std::future::pending::<()>());
    /// let resign = async { node.resign() };
    /// assert_eq!(futures::join!(consumer, resign).0, None); // it did not
    /// # Ok(()) }
    /// ```
    pub async fn run<F: Future>(&self, make: impl FnOnce(Token) -> F) -> Option<F::Output> {
        let token = self.lead().await;
        let mut work = pin!(make(token));
        let mut lost = pin!(self.lost(token));
        poll_fn(|cx| {
            // The clock before the timer: a task without budget finds its timer pending though its time has come.
            if self.token() != Some(token) || lost.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

impl<I: Id> Stream for Leadership<I> {
    type Item = NodeState<I>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<NodeState<I>>> {
        let this = &mut *self;
        loop {
            match &mut this.pending {
                Pending::Present => {
                    let state = this.states.borrow_and_update().clone();
                    this.pending = Pending::Newer(changed(this.states.clone()));
                    return Poll::Ready(Some(state));
                }
                Pending::Newer(changed) => match std::task::ready!(changed.as_mut().poll(cx)) {
                    Some(states) => {
                        this.states = states;
                        this.pending = Pending::Present;
                    }
                    None => this.pending = Pending::Ended,
                },
                Pending::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl<I: Id> FusedStream for Leadership<I> {
    /// True only after the stream has given its `None`.
    fn is_terminated(&self) -> bool {
        matches!(self.pending, Pending::Ended)
    }
}

fn changed<I: Id>(mut states: watch::Receiver<NodeState<I>>) -> Changed<I> {
    Box::pin(async move { states.changed().await.ok().map(|()| states) })
}

impl<I: Id> Clone for Leadership<I> {
    /// Another view of the same node, which gives the present state first.
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            states: self.states.clone(),
            pending: Pending::Present,
        }
    }
}
