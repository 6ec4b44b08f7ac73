//! How committed entries get to the state machine: from memory where they are, else from the store.

use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::applied::{AppliedStream, Feed, MOST_BATCHES};
use super::mark::Marker;
use super::replication::Replication;
use super::store::{Failure, LogStore, Snapshot, part_of};
use crate::id::Id;

/// Feeds one state machine.
#[derive(Debug)]
pub(super) struct Feeder {
    to: PollSender<Feed>,
    /// The next entry that it gets.
    next: u64,
    /// The snapshot that it is getting, and how much of it it has.
    part: Option<(Snapshot, u64)>,
}

impl Feeder {
    /// A feeder for what has applied all up to here, and its other end.
    pub(super) fn new(from: u64, applied: Marker) -> (Self, AppliedStream) {
        let (to, feed) = mpsc::channel(MOST_BATCHES);
        let feeder = Self {
            to: PollSender::new(to),
            next: from.saturating_add(1),
            part: None,
        };
        (feeder, AppliedStream::new(feed, from, applied))
    }

    /// Gives it what is committed, as long as it has room. Reads from the store only if it may. Ready only with an error.
    pub(super) fn poll<S: LogStore<I>, I: Id>(
        &mut self,
        core: &Replication<I>,
        store: &mut S,
        may_read: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), FeedError>> {
        loop {
            if self.next > core.commit() {
                return Poll::Pending;
            }
            ready!(self.to.poll_reserve(cx)).map_err(|_| FeedError::Gone)?;
            let feed = match core.committed(self.next, core.limits().get_message()) {
                Some(batch) if self.part.is_none() => Feed::Batch(batch),
                _ if !may_read => return Poll::Pending,
                _ => ready!(self.poll_read(core, store, cx))?,
            };
            match &feed {
                Feed::Batch(batch) => self.next = batch.last() + 1,
                Feed::Part(part) => {
                    let is_last = part.end() == part.snapshot.len;
                    self.part = (!is_last).then(|| (part.snapshot, part.end()));
                    if is_last {
                        self.next = part.snapshot.position.index + 1;
                    }
                }
            }
            self.to.send_item(feed).map_err(|_| FeedError::Gone)?;
        }
    }

    /// Reads what is no more in memory.
    fn poll_read<S: LogStore<I>, I: Id>(
        &mut self,
        core: &Replication<I>,
        store: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Feed, FeedError>> {
        let max_bytes = core.limits().get_message();
        let Some(snapshot) = core.snapshot().filter(|_| self.next <= core.purged().index) else {
            let batch = ready!(store.poll_read(cx, self.next, max_bytes))?;
            let batch = core.in_log(self.next, &batch, core.commit())?;
            return Poll::Ready(Ok(Feed::Batch(batch)));
        };
        if !core.has_installed() {
            return Poll::Pending;
        }
        // Of another snapshot than the installed one nothing more can be read.
        let part = self.part.filter(|(before, _)| before == snapshot);
        let offset = part.map_or(0, |(_, offset)| offset);
        let data = ready!(store.poll_read_snapshot(cx, offset, max_bytes))?;
        Poll::Ready(Ok(Feed::Part(part_of(snapshot, offset, data)?)))
    }
}

/// Why no more can be fed.
#[derive(Debug)]
pub(super) enum FeedError {
    /// The state machine is gone.
    Gone,
    /// The store cannot be read.
    Store(Failure),
}

impl From<Failure> for FeedError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}
