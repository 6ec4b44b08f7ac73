//! Committed entries as a stream of their own, for the state machine.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use tokio::sync::mpsc;

use super::entry::{Batch, Entries, Entry, EntryKind};
use super::mark::Marker;
use super::store::SnapshotPart;

/// How many batches wait for the state machine; a batch has no more bytes than a message may have.
pub(super) const MOST_BATCHES: usize = 16;

/// What a state machine is to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// A committed entry. Entries come in the order of their indices, each once, and none that nobody has proposed.
    Entry(Entry),
    /// A part of a snapshot, which takes the place of all that was applied before. The parts of one come in order, the first
    /// with offset 0; if that comes again, the one before is not continued.
    Snapshot(SnapshotPart),
}

/// What goes to the state machine at a time.
#[derive(Debug)]
pub(super) enum Feed {
    Batch(Batch),
    Part(SnapshotPart),
}

/// The committed entries of a node, in order: what its state machine applies. Made by [`Raft::applied`](super::Raft::applied).
///
/// Whoever comes back for the next item has applied the ones before: [`Client`](super::Client)s wait for that. Ends when its
/// node is dropped or has ended. When it is dropped itself, who waits to read is told [so](super::ClientError::NotApplied).
#[derive(Debug)]
#[must_use = "a state machine applies nothing unless this is polled"]
pub struct AppliedStream {
    feed: mpsc::Receiver<Feed>,
    entries: Option<Entries>,
    /// The index of the newest item that came out, or was passed over.
    taken: u64,
    applied: Marker,
    has_ended: bool,
}

impl AppliedStream {
    /// Entries behind this index.
    pub(super) fn new(feed: mpsc::Receiver<Feed>, from: u64, applied: Marker) -> Self {
        Self {
            feed,
            entries: None,
            taken: from,
            applied,
            has_ended: false,
        }
    }

    /// The next entry that was proposed, of those that are here.
    fn next_entry(&mut self) -> Option<Entry> {
        for entry in self.entries.as_mut()? {
            self.taken = entry.index;
            if entry.kind != EntryKind::Blank {
                return Some(entry);
            }
        }
        self.entries = None;
        None
    }
}

impl Stream for AppliedStream {
    type Item = Applied;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Applied>> {
        let this = &mut *self;
        loop {
            // What came out was applied.
            this.applied.set(this.taken);
            if let Some(entry) = this.next_entry() {
                return Poll::Ready(Some(Applied::Entry(entry)));
            }
            this.applied.set(this.taken);
            match ready!(this.feed.poll_recv(cx)) {
                Some(Feed::Batch(batch)) => this.entries = Some(batch.entries()),
                Some(Feed::Part(part)) => {
                    if part.end() == part.snapshot.len {
                        this.taken = part.snapshot.position.index;
                    }
                    return Poll::Ready(Some(Applied::Snapshot(part)));
                }
                None => {
                    this.has_ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl FusedStream for AppliedStream {
    fn is_terminated(&self) -> bool {
        self.has_ended
    }
}
