//! What clients wait for: their proposals and reads, until their fate is known.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::oneshot::Sender;

use super::client::{Ask, ClientError, Taken};
use super::error::ProposeError;
use super::replication::{CompactError, ReadIndex, ReadState, Replication};
use super::store::{Snapshot, SnapshotPart};
use crate::id::Id;
use crate::message::LogPosition;

/// Proposals and reads under way, in the order in which they came. Bounded by what all clients may propose together, and by a
/// count of reads.
#[derive(Debug)]
pub(super) struct Waiting<I> {
    proposals: VecDeque<Proposal<I>>,
    reads: VecDeque<(ReadIndex, Reply<u64, I>)>,
    /// An ask that must wait until there is room for it in the log, or for as long as leadership is handed over.
    held: Option<Ask<I>>,
    /// A snapshot that is handed over part by part.
    own: Option<Own>,
}

/// To whom a client listens.
type Reply<T, I> = Sender<Result<T, ClientError<I>>>;

#[derive(Debug)]
struct Proposal<I> {
    term: u64,
    index: u64,
    room: OwnedSemaphorePermit,
    reply: Reply<Taken, I>,
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
            held: None,
            own: None,
        }
    }

    /// Whether it can take another ask.
    pub(super) fn has_room(&self) -> bool {
        self.held.is_none() && self.own.is_none() && self.reads.len() < MOST_READS
    }

    pub(super) fn take(&mut self, core: &mut Replication<I>, now: Instant, ask: Ask<I>) {
        match ask {
            Ask::Propose { data, room, reply } => match core.propose(&data) {
                Ok(index) => {
                    let term = core.state().term();
                    self.proposals.push_back(Proposal {
                        term,
                        index,
                        room,
                        reply,
                    });
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

    /// Tells those whose fate is known.
    pub(super) fn tell(&mut self, core: &mut Replication<I>) {
        let (term, commit) = (core.state().term(), core.commit());
        let leads = core.state().leader() == Some(core.election().node_id());
        while let Some(first) = self.proposals.front() {
            let is_over = !(leads && first.term == term);
            // As long as it leads in that term, what is committed there is this entry and no other.
            let is_it = !is_over || core.term_at(first.index) == Some(first.term);
            let is_committed = is_it && first.index <= commit;
            if !(is_over || is_committed) {
                break;
            }
            let Some(Proposal {
                index, room, reply, ..
            }) = self.proposals.pop_front()
            else {
                break;
            };
            let leader = core.state().leader().cloned();
            drop(reply.send(if is_committed {
                Ok(Taken { index, room })
            } else {
                Err(ClientError::Unknown { leader })
            }));
        }
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
            if let Some((_, reply)) = self.reads.pop_front() {
                drop(reply.send(result));
            }
        }
    }

    /// The node has ended: nobody is told anything any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}
