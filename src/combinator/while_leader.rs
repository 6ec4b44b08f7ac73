//! A stream that is open only while a node leads.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use pin_project::pin_project;

use super::leadership::{Leadership, Token};
use crate::id::Id;

/// Adds [`while_leader`](WhileLeaderExt::while_leader) to every stream.
pub trait WhileLeaderExt: Stream + Sized {
    /// The items of this stream while the node leads: waits until it does, and ends the moment it does not, whatever
    /// this stream has left. This stream is not polled before and not after.
    ///
    /// ```
    /// use futures::{StreamExt, stream};
    /// use streamraft::{Config, TinyRaft, WhileLeaderExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut node = TinyRaft::new(Config::new("a", ["a"])?)?;
    /// let mut jobs = stream::iter(1..).while_leader(&node.leadership());
    ///
    /// tokio::select! {
    ///     job = jobs.next() => assert_eq!(job, Some(1)),
    ///     _ = node.by_ref().for_each(|_| async {}) => {}
    /// }
    /// node.resign();
    /// assert_eq!(jobs.next().await, None);
    /// # Ok(()) }
    /// ```
    fn while_leader<I: Id>(self, leadership: &Leadership<I>) -> WhileLeader<Self> {
        WhileLeader::new(self, leadership.clone())
    }
}

impl<S: Stream> WhileLeaderExt for S {}

type Gate<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type IsHeld = Box<dyn Fn(Token) -> bool + Send + Sync>;

enum Door {
    /// The node does not lead yet.
    Closed(Gate<(Token, Gate<()>)>),
    /// It leads, until that resolves.
    Open(Token, Gate<()>),
    Shut,
}

/// The stream of [`WhileLeaderExt::while_leader`].
#[pin_project]
#[must_use = "streams do nothing unless polled"]
pub struct WhileLeader<S> {
    #[pin]
    stream: S,
    door: Door,
    is_held: IsHeld,
}

impl<S: Stream> WhileLeader<S> {
    fn new<I: Id>(stream: S, leadership: Leadership<I>) -> Self {
        let view = leadership.clone();
        let door = Door::Closed(Box::pin(async move {
            let token = leadership.lead().await;
            let lost: Gate<()> = Box::pin(async move { leadership.lost(token).await });
            (token, lost)
        }));
        Self {
            stream,
            door,
            is_held: Box::new(move |token| view.token() == Some(token)),
        }
    }

    /// The fencing token under which the stream is open.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        match self.door {
            Door::Open(token, _) => Some(token),
            Door::Closed(_) | Door::Shut => None,
        }
    }

    /// The stream behind.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream behind. Taking items out of it goes around the door.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream behind, pinned.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut S> {
        self.project().stream
    }

    /// The stream behind, with all that it has left.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: Stream> Stream for WhileLeader<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        loop {
            match this.door {
                Door::Closed(lead) => {
                    let (token, lost) = ready!(lead.as_mut().poll(cx));
                    *this.door = Door::Open(token, lost);
                }
                Door::Open(token, lost) => {
                    // The clock before the timer: a task without budget finds its timer pending.
                    if !(this.is_held)(*token) || lost.as_mut().poll(cx).is_ready() {
                        *this.door = Door::Shut;
                        return Poll::Ready(None);
                    }
                    let item = ready!(this.stream.as_mut().poll_next(cx));
                    if item.is_none() {
                        *this.door = Door::Shut;
                    }
                    return Poll::Ready(item);
                }
                Door::Shut => return Poll::Ready(None),
            }
        }
    }
}

impl<S: Stream> FusedStream for WhileLeader<S> {
    fn is_terminated(&self) -> bool {
        matches!(self.door, Door::Shut)
    }
}

impl<S: fmt::Debug> fmt::Debug for WhileLeader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhileLeader")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
