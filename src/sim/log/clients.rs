//! What a node with a log is asked, from outside and by clients of its own.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::LogNode;
use crate::id::Id;
use crate::message::Command;

/// What a node of [`Cluster::logs`](crate::sim::Cluster::logs) is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogInput<I> {
    /// A command to its election.
    Command(Command<I>),
    /// To take so many entries, which are told apart by this number.
    Propose(u64, u64),
    /// To take this entry.
    Entry(Bytes),
    /// To read.
    Read,
    /// To keep a snapshot of its state and let the log's beginning go.
    Compact,
    /// All at once: a command, an entry and a read.
    All(Command<I>, u64),
}

/// How long a node's clients pause, so that they take time also where messages take none.
const PAUSE: Duration = Duration::from_millis(1);

/// How often they want something, so that a run comes to rest.
const MOST_SERVED: u32 = 40;

impl<I: Id> LogNode<I> {
    /// snapshot. They want something once a millisecond at most, and some dozens of times in all.
    #[must_use]
    pub fn with_clients(mut self, [entries, reads, snapshots]: [u16; 3]) -> Self {
        self.traffic = [entries, reads, snapshots];
        self
    }

    /// What its clients want.
    pub(super) fn serve(&mut self, now: Instant) {
        if self.idle_until.is_some_and(|until| now < until) || self.served >= MOST_SERVED {
            return;
        }
        self.idle_until = now.checked_add(PAUSE);
        self.served += 1;
        let [entries, reads, snapshots] = self.traffic;
        if self.dice.chance(entries) {
            let (value, count) = (self.dice.up_to(u64::MAX), self.dice.up_to(2) + 1);
            self.propose(value, count);
        }
        if self.dice.chance(reads) {
            self.read(now);
        }
        if self.dice.chance(snapshots) {
            self.compact();
        }
    }

    pub(super) fn propose(&mut self, value: u64, count: u64) -> bool {
        (0..count).all(|more| {
            let len = usize::try_from((value + more) % 40).unwrap_or(0);
            let mut data = BytesMut::from(&value.wrapping_add(more << 32).to_be_bytes()[..]);
            data.put_bytes(7, len);
            self.raft.propose(&data).is_ok()
        })
    }

    pub(super) fn read(&mut self, now: Instant) -> bool {
        self.asked += 1;
        match self.raft.read(now) {
            Ok(read) if self.reads.len() < 64 => {
                self.reads.push((self.asked, read));
                true
            }
            _ => false,
        }
    }
}
