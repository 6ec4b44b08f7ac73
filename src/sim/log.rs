//! A [`Replication`] as the simulator drives it: with a disk that writes behind and tears, a state machine that takes snapshots,
//! and a record of all that it ever held, for the invariants.

mod clients;
mod held;
mod machine;
mod random;
mod state;

use std::error::Error;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::dice::Dice;
use super::machine::{Boot, Output, StartError};
use crate::id::Id;
use crate::message::MsgRouter;
use crate::raft::{
    Batch, Entry, LogLimits, LogStore, MemoryLog, RaftMessage, Read, ReadIndex, ReadState,
    Replication, Snapshot, SnapshotPart, Write,
};

use held::{before_and, state_of};

pub use clients::LogInput;
pub use held::{Answered, Held};
pub use state::LogState;

/// How many bytes of a snapshot stand before what is the state's own.
const DIGESTS: usize = 16 * size_of::<u64>();

type NextOutput<I> = Output<I, RaftMessage<I>, Write<I>>;

/// A node with a replicated log, and with a state machine that is the digest of all that it has applied.
#[derive(Debug)]
pub struct LogNode<I: Id> {
    raft: Replication<I>,
    /// What was handed over, durable or not.
    store: MemoryLog<I>,
    /// The second part of a torn batch.
    torn: Option<Write<I>>,
    /// How many writes are not on the disk yet, and how many of them the flush waits for.
    writing: usize,
    flushing: usize,
    dice: Dice,
    /// The disk writes the hard state ahead. Else the node itself waits for it.
    saves_ahead: bool,
    /// Of how many of a thousand messages a leader takes entries of clients, reads, and a node takes a snapshot.
    traffic: [u16; 3],
    /// Until when its clients wait for the next message, and how often they wanted something.
    idle_until: Option<Instant>,
    served: u32,
    /// The digest of everything before the first of `held`, and those that are in the log.
    base: Held,
    held: Vec<Held>,
    /// All that it ever held since it started.
    history: Vec<Held>,
    /// All that it has applied since it started. What came with a snapshot is one.
    applied: Vec<Held>,
    reads: Vec<(u64, ReadIndex)>,
    asked: u64,
    answered: Vec<Answered>,
    /// A state machine of a test's own.
    state: Option<Box<dyn LogState>>,
    /// What is left to hand over of a snapshot of its own.
    own: Option<(Snapshot, Bytes, usize)>,
    /// What should not have happened in it.
    broken: Option<String>,
}

impl<I: Id> LogNode<I> {
    /// A node that starts, with these bounds.
    ///
    /// # Errors
    /// Settings that no node can work with, or a disk that no node has written.
    pub fn new(boot: &Boot<'_, Self>, limits: LogLimits) -> Result<Self, StartError> {
        let mut store = boot.saved.clone();
        let raft = Replication::new(boot.config()?, limits, store.recovered(), boot.now)?;
        let mut node = Self {
            raft,
            torn: None,
            writing: 0,
            flushing: 0,
            dice: Dice::of(boot.seed, [8, 0, 0]),
            saves_ahead: boot.seed.is_multiple_of(2),
            traffic: [0; 3],
            idle_until: None,
            served: 0,
            base: Held::default(),
            held: Vec::new(),
            history: Vec::new(),
            applied: Vec::new(),
            reads: Vec::new(),
            asked: 0,
            answered: Vec::new(),
            state: None,
            own: None,
            broken: None,
            store,
        };
        node.remember()?;
        Ok(node)
    }

    /// Takes in what the disk holds.
    fn remember(&mut self) -> Result<(), StartError> {
        if let Some((snapshot, data)) = self.store.snapshot() {
            let held = state_of(snapshot, data)?;
            self.base = held;
            self.applied.push(held);
        }
        let base = self.base.position.index;
        let batches = self.store.batches().to_vec();
        let entries = batches.iter().flat_map(Batch::entries);
        for entry in entries.filter(|entry| entry.index > base) {
            self.hold(&entry);
        }
        Ok(())
    }

    /// The log and its election.
    #[must_use]
    pub fn raft(&self) -> &Replication<I> {
        &self.raft
    }

    /// All entries that were handed over to its disk since it started, those that were there first. Entries of which only a
    /// snapshot is left are not among them.
    #[must_use]
    pub fn history(&self) -> &[Held] {
        &self.history
    }

    /// The entry at this index, if its log has it or its snapshot ends with it.
    #[must_use]
    pub fn held(&self, index: u64) -> Option<Held> {
        let Some(behind) = index.checked_sub(self.base.position.index + 1) else {
            return Some(self.base).filter(|base| base.position.index == index);
        };
        let at = usize::try_from(behind).ok()?;
        self.held.get(at).copied()
    }

    /// The index of the last entry before those that [`held`](Self::held) knows.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base.position.index
    }

    /// All that it has applied since it started. Of a snapshot, its last entry.
    #[must_use]
    pub fn applied(&self) -> &[Held] {
        &self.applied
    }

    /// How often it was asked to read since it started.
    #[must_use]
    pub fn reads_asked(&self) -> u64 {
        self.asked
    }

    /// The reads that it has answered since it started.
    #[must_use]
    pub fn reads_answered(&self) -> &[Answered] {
        &self.answered
    }

    /// What its disk could not do, or held that no node has written.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    fn last_applied(&self) -> Held {
        self.applied.last().copied().unwrap_or_default()
    }

    pub(super) fn last_held(&self) -> Held {
        self.held.last().copied().unwrap_or(self.base)
    }

    fn hold(&mut self, entry: &Entry) {
        let before = self.last_held().digest;
        let held = before_and(before, entry);
        self.held.push(held);
        self.history.push(held);
    }

    /// Hands something over to the disk.
    fn hand_over(&mut self, write: &Write<I>) -> Result<(), StartError> {
        write.hand_to(&mut self.store);
        match write {
            Write::Append(batch) => batch.entries().for_each(|entry| self.hold(&entry)),
            Write::Truncate(last) => {
                let kept = last.saturating_sub(self.base.position.index);
                self.held.truncate(usize::try_from(kept)?);
            }
            Write::Reset(_) => {
                if let Some((snapshot, data)) = self.store.snapshot() {
                    self.base = state_of(snapshot, data)?;
                }
                self.held.clear();
            }
            Write::Save(_)
            | Write::Purge(_)
            | Write::WriteSnapshot(_)
            | Write::InstallSnapshot(_) => {}
        }
        Ok(())
    }

    /// What follows from the last call: reads, entries to apply, parts of a snapshot. Whether there was anything.
    fn work(&mut self) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut has_worked = false;
        // Of what is being written nothing can be read.
        while self.writing == 0
            && let Some(read) = self.raft.poll_read()
        {
            match read {
                Read::Entries { first, max_bytes } => {
                    let batch = at_once(self.store.poll_read(&mut cx, first, max_bytes))?;
                    self.raft.entries_read(batch);
                }
                Read::Snapshot { offset, max_bytes } => {
                    let store = &mut self.store;
                    let data = at_once(store.poll_read_snapshot(&mut cx, offset, max_bytes))?;
                    self.raft.snapshot_read(offset, data);
                }
            }
            has_worked = true;
        }
        self.apply(&mut cx)?;
        self.answer();
        self.hand_over_own();
        Ok(has_worked)
    }

    fn apply(&mut self, cx: &mut Context<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        while self.last_applied().position.index < self.raft.commit() {
            let before = self.last_applied();
            let first = before.position.index + 1;
            let batch = match self.raft.committed(first, usize::MAX) {
                Some(batch) => batch,
                None if first <= self.raft.purged().index => {
                    // The snapshot that came in place of the entries may wait to be handed over.
                    let installed = self.store.snapshot();
                    let Some((snapshot, data)) = installed
                        .filter(|(snapshot, _)| snapshot.position.index > before.position.index)
                    else {
                        return Ok(());
                    };
                    let held = state_of(snapshot, data)?;
                    self.applied.push(held);
                    self.restore_state();
                    continue;
                }
                None => {
                    let batch = at_once(self.store.poll_read(cx, first, usize::MAX))?;
                    let commit = self.raft.commit();
                    batch.up_to(commit).ok_or("the store read something else")?
                }
            };
            for entry in batch.entries() {
                let held = before_and(self.last_applied().digest, &entry);
                self.applied.push(held);
                self.apply_to_state(&entry);
            }
        }
        Ok(())
    }

    fn answer(&mut self) {
        let applied = self.last_applied().position.index;
        let mut waiting = std::mem::take(&mut self.reads);
        waiting.retain(|(number, read)| match self.raft.read_state(read) {
            ReadState::Ready if read.index <= applied => {
                let (number, index) = (*number, read.index);
                self.answered.push(Answered { number, index });
                false
            }
            ReadState::Lost => false,
            _ => true,
        });
        self.reads = waiting;
    }

    fn compact(&mut self) {
        let held = self.last_applied();
        let is_newer = |snapshot: &Snapshot| snapshot.position.index < held.position.index;
        if held.position.index > 0 && self.raft.snapshot().is_none_or(is_newer) {
            let mut data = BytesMut::new();
            // Longer than a message, so that it takes some.
            while data.len() < DIGESTS {
                data.put_u64(held.digest);
            }
            if let Some(state) = &self.state {
                data.put(state.snapshot());
            }
            let (len, checksum) = (data.len() as u64, crc32fast::hash(&data));
            let snapshot = Snapshot::new(held.position, len, checksum);
            self.own = Some((snapshot, data.freeze(), 0));
        }
    }

    fn hand_over_own(&mut self) {
        if let Some((snapshot, data, offset)) = &mut self.own {
            let end = data.len().min(*offset + 50);
            let part = SnapshotPart::new(*snapshot, *offset as u64, data.slice(*offset..end));
            let is_last = end == data.len();
            *offset = end;
            if self.raft.compact(&part).is_err() || is_last {
                self.own = None;
            }
        }
    }

    /// Has clients of its own: after so many of a thousand messages that come to it, it takes entries, reads, and takes a
    fn next_output(&mut self, now: Instant) -> Result<Option<NextOutput<I>>, StartError> {
        loop {
            if let Some(write) = self.next_write() {
                self.hand_over(&write)?;
                // Written ahead by the disk, or by the node's own waiting for the flush.
                if matches!(write, Write::Save(_)) && self.saves_ahead {
                    return Ok(Some(Output::Save(write)));
                }
                self.writing += 1;
                return Ok(Some(Output::Append(write)));
            }
            if self.raft.wants_flush() {
                self.raft.begin_flush(now);
                self.flushing = self.writing;
                if self.flushing == 0 {
                    self.raft.flushed();
                }
            }
            self.raft.tell_committed();
            match self.raft.poll_output() {
                Some(MsgRouter::ToNode(to, message)) => {
                    return Ok(Some(Output::Send(to, message)));
                }
                Some(MsgRouter::ToSelf(_)) => {}
                None => {
                    let is_compacting = self.own.is_some();
                    if !self.work()? && !is_compacting {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The next thing to write, some batches in two parts.
    fn next_write(&mut self) -> Option<Write<I>> {
        let write = match self.torn.take() {
            Some(write) => write,
            None => self.raft.poll_write()?,
        };
        if let Write::Append(batch) = &write
            && batch.len() > 1
            && self.dice.chance(300)
        {
            let middle = batch.first() + self.dice.below(batch.len() - 1) as u64;
            if let (Some(one), Some(other)) = (batch.up_to(middle), batch.from(middle + 1)) {
                self.torn = Some(Write::Append(other));
                return Some(Write::Append(one));
            }
        }
        Some(write)
    }
}

/// The store in memory never lets anyone wait.
fn at_once<T, E: Error + Send + Sync + 'static>(
    polled: Poll<Result<T, E>>,
) -> Result<T, Box<dyn Error + Send + Sync>> {
    match polled {
        Poll::Ready(result) => Ok(result?),
        Poll::Pending => Err("a store in memory lets nobody wait".into()),
    }
}
