//! What clients wait for: their proposals and reads, until their fate is known.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::oneshot::Sender;

use super::client::{Ask, ClientError};
use super::error::ProposeError;
use super::mark::Mark;
use super::replication::{CompactError, ReadIndex, ReadState, Replication};
use super::store::{Snapshot, SnapshotPart};
use crate::id::Id;
use crate::message::LogPosition;

/// Proposals and reads under way, in the order in which they came. Bounded by what all clients may propose together, and by a
/// count of reads.
#[derive(Debug)]
pub(super) struct Waiting<I> {
    proposals: VecDeque<Proposal<I>>,
    reads: VecDeque<(ReadIndex, Reply<I>)>,
    /// Those whose outcome is known, and for which the state machine is waited.
    committed: VecDeque<Committed<I>>,
    ready: VecDeque<(u64, Reply<I>)>,
    /// An ask that must wait until there is room for it in the log, or for as long as leadership is handed over.
    held: Option<Ask<I>>,
    /// A snapshot that is handed over part by part.
    own: Option<Own>,
}

/// To whom a client listens.
type Reply<I> = Sender<Result<u64, ClientError<I>>>;

#[derive(Debug)]
struct Proposal<I> {
    term: u64,
    committed: Committed<I>,
}

#[derive(Debug)]
struct Committed<I> {
    index: u64,
    /// What it takes of the room of all: it goes when it is applied, whether anybody still waits for it or not.
    _room: OwnedSemaphorePermit,
    reply: Reply<I>,
}

#[derive(Debug)]
struct Own {
    snapshot: Snapshot,
    data: Bytes,
    offset: usize,
    reply: Sender<Result<(), CompactError>>,
}

/// How many reads wait at most.
const MOST_READS: usize = 1_024;

impl<I: Id> Waiting<I> {
    pub(super) fn new() -> Self {
        Self {
            proposals: VecDeque::new(),
            reads: VecDeque::new(),
            committed: VecDeque::new(),
            ready: VecDeque::new(),
            held: None,
            own: None,
        }
    }

    /// Whether it can take another ask.
    pub(super) fn has_room(&self) -> bool {
        let reads = self.reads.len() + self.ready.len();
        self.held.is_none() && reads < MOST_READS
    }

    pub(super) fn take(&mut self, core: &mut Replication<I>, now: Instant, ask: Ask<I>) {
        match ask {
            Ask::Propose { data, room, reply } => match core.propose(&data) {
                Ok(index) => {
                    let term = core.state().term();
                    let committed = Committed {
                        index,
                        _room: room,
                        reply,
                    };
                    self.proposals.push_back(Proposal { term, committed });
                }
                Err(ProposeError::Busy | ProposeError::Transferring { .. }) => {
                    self.held = Some(Ask::Propose { data, room, reply });
                }
                // Who has gone does not want to know.
                Err(error) => drop(reply.send(Err(error.into()))),
            },
            Ask::Read(reply) => match core.read(now) {
                Ok(read) => self.reads.push_back((read, reply)),
                Err(error) => drop(reply.send(Err(error.into()))),
            },
            // Parts of it go to the disk one by one: others do not wait for that.
            Ask::Compact { reply, .. } if self.own.is_some() => {
                // Who has gone does not want to know.
                let _ = reply.send(Err(CompactError::Busy));
            }
            Ask::Compact { index, data, reply } => {
                let term = core.term_at(index).unwrap_or_default();
                let position = LogPosition::new(term, index);
                let (len, checksum) = (data.len() as u64, crc32fast::hash(&data));
                self.own = Some(Own {
                    snapshot: Snapshot::new(position, len, checksum),
                    data,
                    offset: 0,
                    reply,
                });
                self.hand_over_own(core);
            }
        }
    }

    /// Tries once more what had to wait.
    pub(super) fn retry(&mut self, core: &mut Replication<I>, now: Instant) {
        if let Some(ask) = self.held.take() {
            self.take(core, now, ask);
        }
        self.hand_over_own(core);
    }

    /// The next part of an own snapshot.
    fn hand_over_own(&mut self, core: &mut Replication<I>) {
        let Some(mut own) = self.own.take() else {
            return;
        };
        let most = core.limits().get_message();
        let end = own.data.len().min(own.offset.saturating_add(most));
        let part = SnapshotPart::new(
            own.snapshot,
            own.offset as u64,
            own.data.slice(own.offset..end),
        );
        match core.compact(&part) {
            Ok(()) if end == own.data.len() => drop(own.reply.send(Ok(()))),
            Ok(()) => {
                own.offset = end;
                self.own = Some(own);
            }
            Err(error) => drop(own.reply.send(Err(error))),
        }
    }

    /// Tells those whose fate is known, and for whom the state machine was waited long enough.
    pub(super) fn tell(&mut self, core: &mut Replication<I>, applied: &Mark) {
        self.settle_proposals(core);
        self.settle_reads(core);
        while let Some(wanted) = self.next_to_be_applied() {
            let index = applied.index();
            if wanted > index && !applied.want(wanted) {
                return;
            }
            self.tell_up_to(index, applied.is_gone());
        }
    }

    fn next_to_be_applied(&self) -> Option<u64> {
        let proposal = self.committed.front().map(|first| first.index);
        let read = self.ready.front().map(|(index, _)| *index);
        proposal.into_iter().chain(read).min()
    }

    fn tell_up_to(&mut self, applied: u64, is_gone: bool) {
        let is_applied = |first: &Committed<I>| first.index <= applied;
        while self.committed.front().is_some_and(is_applied)
            && let Some(Committed { index, reply, .. }) = self.committed.pop_front()
        {
            // Who has gone does not want to know.
            drop(reply.send(Ok(index)));
        }
        while self
            .ready
            .front()
            .is_some_and(|(index, _)| *index <= applied)
            && let Some((index, reply)) = self.ready.pop_front()
        {
            // A state that may be older than what was committed answers no read.
            let read = if is_gone {
                Err(ClientError::NotApplied)
            } else {
                Ok(index)
            };
            drop(reply.send(read));
        }
    }

    fn settle_proposals(&mut self, core: &Replication<I>) {
        let (term, commit) = (core.state().term(), core.commit());
        let leads = core.state().leader() == Some(core.election().node_id());
        while let Some(first) = self.proposals.front() {
            let (index, is_over) = (first.committed.index, !(leads && first.term == term));
            // As long as it leads in that term, what is committed there is this entry and no other.
            let is_it = !is_over || core.term_at(index) == Some(first.term);
            let is_committed = is_it && index <= commit;
            if !(is_over || is_committed) {
                break;
            }
            let Some(Proposal { committed, .. }) = self.proposals.pop_front() else {
                break;
            };
            if is_committed {
                self.committed.push_back(committed);
            } else {
                let leader = core.state().leader().cloned();
                // Who has gone does not want to know.
                drop(committed.reply.send(Err(ClientError::Unknown { leader })));
            }
        }
    }

    fn settle_reads(&mut self, core: &mut Replication<I>) {
        // They become ready in their order.
        while let Some((read, _)) = self.reads.front() {
            let result = match core.read_state(read) {
                ReadState::Waiting => break,
                ReadState::Ready => Ok(read.index),
                ReadState::Lost => {
                    let leader = core.state().leader().cloned();
                    Err(ProposeError::NotLeader { leader }.into())
                }
            };
            let Some((_, reply)) = self.reads.pop_front() else {
                break;
            };
            match result {
                Ok(index) => self.ready.push_back((index, reply)),
                Err(error) => drop(reply.send(Err(error))),
            }
        }
    }

    /// The node has ended: nobody is told anything any more, but that what is committed is.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

impl<I> Drop for Waiting<I> {
    /// What is committed is committed, whether this node's state machine will apply it or not. A read needs to know.
    fn drop(&mut self) {
        for committed in self.committed.drain(..) {
            drop(committed.reply.send(Ok(committed.index)));
        }
    }
}
