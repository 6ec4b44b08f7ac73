//! How far one follower is, and what it is sent next (thesis 10.2.1, 10.1.3; etcd's progress is the model).
//!
//! ```text
//!             an answer: it agrees here             it refuses
//!   Probing ───────────────────────────▶ Streaming ────────────▶ Probing
//!      │                                     │
//!      └── what it needs is purged ──▶ Snapshot ◀──┘
//!                                         │ it has it all
//!                                         └──────────▶ Streaming
//! ```

use bytes::Bytes;

use crate::election::Election;
use crate::id::Id;
use crate::message::LogPosition;
use crate::raft::entry::Batch;
use crate::raft::limits::LogLimits;
use crate::raft::message::{Append, Head, RaftMessage, Refused, SnapshotSend};
use crate::raft::store::{Snapshot, SnapshotPart};
use crate::raft::tail::Tail;
use crate::raft::terms::Terms;

#[derive(Clone, Debug)]
pub(super) struct Progress<I> {
    pub(super) id: I,
    pub(super) is_voter: bool,
    /// Up to here its log is durable and the same.
    pub(super) matched: u64,
    /// What it is sent next.
    pub(super) next: u64,
    /// Where the bytes end that it was sent, and those that it has answered.
    sent: u64,
    answered: u64,
    /// Up to where it knows that the log is committed.
    pub(super) commit: u64,
    /// Up to where it was told so.
    told: u64,
    /// The newest round of reads that it has heard.
    pub(super) round: u64,
    /// A heartbeat went out to it: say anew what may have got lost.
    pub(super) is_due: bool,
    /// The end of the log at the last two heartbeats: who has the older one lags by no more than that.
    marks: [u64; 2],
    way: Way,
    /// Entries from the store, older than those in memory.
    loaded: Option<Batch>,
}

/// By what way it gets what it lacks.
#[derive(Clone, Debug)]
enum Way {
    /// It is not known where its log agrees: one message at a time.
    Probing { has_asked: bool },
    /// One message after the other, without waiting for answers.
    Streaming,
    /// It needs entries that are no more.
    Snapshot(Sending),
}

/// A snapshot on its way, one part at a time.
#[derive(Clone, Debug)]
struct Sending {
    snapshot: Snapshot,
    /// How much of it has arrived. None until the follower has said so: it may have a part from another leader.
    arrived: Option<u64>,
    has_sent: bool,
    /// The next part.
    loaded: Option<Bytes>,
}

/// What is wanted of the store for a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Read {
    /// [`LogStore::poll_read`](crate::raft::LogStore::poll_read).
    Entries {
        /// The first entry.
        first: u64,
        /// The most bytes.
        max_bytes: usize,
    },
    /// [`LogStore::poll_read_snapshot`](crate::raft::LogStore::poll_read_snapshot).
    Snapshot {
        /// Where in it.
        offset: u64,
        /// The most bytes.
        max_bytes: usize,
    },
}

/// The leader's log, to choose from.
pub(super) struct View<'a> {
    pub(super) head: Head,
    pub(super) commit: u64,
    pub(super) terms: &'a Terms,
    pub(super) tail: &'a Tail,
    pub(super) snapshot: Option<&'a Snapshot>,
    /// Followers are told what is committed, even if there is nothing else for them.
    pub(super) tells: bool,
    pub(super) limits: &'a LogLimits,
}

impl<I> Progress<I> {
    /// A follower of which nothing is known, of a leader whose log ends at `last`.
    pub(super) fn new(id: I, is_voter: bool, last: u64) -> Self {
        Self {
            id,
            is_voter,
            matched: 0,
            next: last + 1,
            sent: 0,
            answered: 0,
            commit: 0,
            told: 0,
            round: 0,
            is_due: false,
            marks: [last; 2],
            way: Way::Probing { has_asked: false },
            loaded: None,
        }
    }

    /// Tells the election how far its log reaches at least.
    pub(super) fn tell_position(&self, terms: &Terms, election: &mut Election<I>)
    where
        I: Id,
    {
        if let Some(term) = terms.term_at(self.matched) {
            election.mark_position(&self.id, LogPosition::new(term, self.matched));
        }
    }

    /// A heartbeat goes out to it.
    pub(super) fn beat(&mut self, last: u64) {
        self.is_due = true;
        self.marks = [self.marks[1], last];
    }

    /// Whether it lags by no more than what came in within a heartbeat or two.
    pub(super) fn has_caught_up(&self) -> bool {
        self.matched >= self.marks[0]
    }

    pub(super) fn takes_snapshot(&self) -> bool {
        matches!(self.way, Way::Snapshot(_))
    }

    /// Whether there may be a message for it. Most often there is none.
    #[inline]
    pub(super) fn may_want(&self, log: &View<'_>) -> bool {
        self.is_due
            || self.next <= log.terms.last().index
            || log.tells && self.told < log.commit
            || !matches!(self.way, Way::Streaming)
    }

    /// The next message for it; none if it has everything, or must answer first.
    #[inline(always)]
    pub(super) fn next_message<J>(&mut self, log: &View<'_>) -> Option<RaftMessage<J>> {
        let is_due = std::mem::take(&mut self.is_due);
        if !self.takes_snapshot() && log.terms.term_at(self.next - 1).is_none() {
            self.way = Way::Snapshot(Sending::of(*log.snapshot?));
        }
        let entries = match &mut self.way {
            Way::Snapshot(sending) => {
                let (head, part) = (log.head, sending.next_part(log, is_due)?);
                return Some(RaftMessage::Snapshot(SnapshotSend { head, part }));
            }
            Way::Probing { has_asked } => {
                if std::mem::replace(has_asked, true) && !is_due {
                    return None;
                }
                let found = log.tail.get(self.next, log.limits.message);
                found.map(|(batch, _)| batch)
            }
            Way::Streaming => match self.next_batch(log) {
                None if is_due && self.lacks_something(log) || self.can_be_told(log) => None,
                None => return None,
                entries => entries,
            },
        };
        self.append(log, entries)
    }

    /// Whether something that it was sent may have got lost, or it was not told something yet.
    fn lacks_something(&self, log: &View<'_>) -> bool {
        self.matched + 1 < self.next || self.commit < log.commit || self.round < log.head.round
    }

    /// Whether there is something to tell it, and no answer of it is to come that will be a better moment. It does not answer
    /// that; should it get lost, the next heartbeat sees to it.
    fn can_be_told(&self, log: &View<'_>) -> bool {
        log.tells && self.told < log.commit && self.matched + 1 == self.next
    }

    #[inline(always)]
    fn append<J>(&mut self, log: &View<'_>, entries: Option<Batch>) -> Option<RaftMessage<J>> {
        let before = entries.as_ref().map_or(self.next, Batch::first) - 1;
        let previous = LogPosition::new(log.terms.term_at(before)?, before);
        self.told = log.commit;
        Some(RaftMessage::Append(Append {
            head: log.head,
            previous,
            commit: log.commit,
            entries,
        }))
    }

    /// The next entries, if there are any and there is room on the way.
    #[inline(always)]
    fn next_batch(&mut self, log: &View<'_>) -> Option<Batch> {
        let next = self.next;
        if next > log.terms.last().index {
            return None;
        }
        let is_waiting = self.matched + 1 < next;
        if is_waiting && self.sent.saturating_sub(self.answered) >= log.limits.window {
            return None;
        }
        let (batch, end) = match log.tail.get(next, log.limits.message) {
            Some(found) => found,
            // Older than what is in memory: one at a time, so that no more than this has to be counted.
            None if is_waiting => return None,
            None => (self.loaded.take_if(|batch| batch.first() == next)?, 0),
        };
        self.next = batch.last() + 1;
        self.sent = self.sent.max(end);
        Some(batch)
    }

    /// What has to be read for it.
    pub(super) fn wanted(&self, log: &View<'_>) -> Option<Read> {
        let max_bytes = log.limits.message;
        if let Way::Snapshot(sending) = &self.way {
            let offset = sending.arrived.filter(|_| sending.loaded.is_none())?;
            let is_newest = log.snapshot == Some(&sending.snapshot);
            return (is_newest && offset < sending.snapshot.len)
                .then_some(Read::Snapshot { offset, max_bytes });
        }
        let first = self.next;
        let is_old = first <= log.terms.last().index
            && first > log.terms.purged().index
            && log.tail.first().is_none_or(|oldest| first < oldest);
        let has_it = self
            .loaded
            .as_ref()
            .is_some_and(|batch| batch.first() == first);
        let is_wanted = matches!(self.way, Way::Streaming) && is_old && !has_it;
        is_wanted.then_some(Read::Entries { first, max_bytes })
    }

    pub(super) fn take_entries(&mut self, batch: Batch) {
        self.loaded = Some(batch);
    }

    pub(super) fn take_part(&mut self, snapshot: Option<Snapshot>, offset: u64, data: Bytes) {
        if let Way::Snapshot(sending) = &mut self.way
            && snapshot == Some(sending.snapshot)
            && sending.arrived == Some(offset)
        {
            sending.loaded = Some(data);
            sending.has_sent = false;
        }
    }

    /// It has everything up to here. Whether that is news.
    pub(super) fn on_matched(&mut self, matched: u64, tail: &Tail) -> bool {
        let is_news = matched > self.matched;
        if is_news {
            self.matched = matched;
            self.next = self.next.max(matched + 1);
            let has_all = self.next == matched + 1;
            self.answered = if has_all {
                self.sent
            } else {
                tail.end_of(matched).min(self.sent)
            };
        }
        let agrees = match &self.way {
            Way::Probing { .. } => matched + 1 >= self.next,
            Way::Snapshot(sending) => matched >= sending.snapshot.position.index,
            Way::Streaming => false,
        };
        if agrees {
            self.way = Way::Streaming;
            self.next = self.matched + 1;
            self.sent = tail.end_of(self.matched);
            self.answered = self.sent;
        }
        is_news
    }

    /// It has refused entries: goes back to where the logs may agree.
    pub(super) fn on_refused(&mut self, refused: Refused, terms: &Terms) {
        let is_answer = match &self.way {
            Way::Probing { .. } => refused.previous == self.next - 1,
            // Of those that were sent since; the first tells it.
            Way::Streaming => refused.previous < self.next,
            Way::Snapshot(_) => false,
        };
        // What it has said that it has, it has: a refusal of that was overtaken.
        if is_answer && refused.previous > self.matched {
            let agreed = terms.agree(refused.hint).index;
            self.next = (agreed + 1).clamp(self.matched + 1, refused.previous);
            self.way = Way::Probing { has_asked: false };
            self.loaded = None;
        }
    }

    /// So much of this snapshot has arrived.
    pub(super) fn on_arrived(&mut self, snapshot: &Snapshot, received: u64) -> bool {
        if received > snapshot.len {
            return false;
        }
        if let Way::Snapshot(sending) = &mut self.way
            && sending.snapshot == *snapshot
            && sending.arrived != Some(received)
        {
            sending.arrived = Some(received);
            sending.loaded = None;
            sending.has_sent = false;
        }
        true
    }
}

impl Sending {
    fn of(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            arrived: None,
            has_sent: false,
            loaded: None,
        }
    }

    fn next_part(&mut self, log: &View<'_>, is_due: bool) -> Option<SnapshotPart> {
        let newest = *log.snapshot?;
        if newest != self.snapshot {
            // There is a newer one, and of this one nothing more can be read.
            *self = Self::of(newest);
        }
        let data = match self.arrived {
            None => Bytes::new(),
            // It has everything, and says so once more when it is asked.
            Some(offset) if offset == self.snapshot.len => Bytes::new(),
            Some(_) => self.loaded.clone()?,
        };
        if std::mem::replace(&mut self.has_sent, true) && !is_due {
            return None;
        }
        Some(SnapshotPart::new(
            self.snapshot,
            self.arrived.unwrap_or_default(),
            data,
        ))
    }
}
