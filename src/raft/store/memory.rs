//! A log in memory, for tests and for state that may die with its process.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::{Failure, FailureKind, LogStore, Recovered, Snapshot, SnapshotPart};
use crate::id::NodeId;
use crate::message::LogPosition;
use crate::raft::entry::Batch;
use crate::state::HardState;

/// Keeps a node's log in memory. What is handed over counts as durable at once.
///
/// **A node that starts again with an empty store under the same id can lose what was committed.** Either it keeps the store
/// (a clone is a copy), or it comes back under a new id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemoryLog<I = NodeId> {
    hard_state: Option<HardState<I>>,
    snapshot: Option<(Snapshot, Bytes)>,
    /// A snapshot that is being written.
    partial: Option<(Snapshot, BytesMut)>,
    purged: LogPosition,
    /// Without gaps. The first may begin before `purged`.
    batches: Vec<Batch>,
}

impl<I> Default for MemoryLog<I> {
    fn default() -> Self {
        Self {
            hard_state: None,
            snapshot: None,
            partial: None,
            purged: LogPosition::default(),
            batches: Vec::new(),
        }
    }
}

impl<I> MemoryLog<I> {
    /// A store that is new.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The hard state that was saved last.
    #[must_use]
    pub fn hard_state(&self) -> Option<&HardState<I>> {
        self.hard_state.as_ref()
    }

    /// The installed snapshot and its bytes.
    #[must_use]
    pub fn snapshot(&self) -> Option<(&Snapshot, &Bytes)> {
        let (snapshot, data) = self.snapshot.as_ref()?;
        Some((snapshot, data))
    }

    /// The batches that hold the log, in order. The first may begin before what was [purged](Self::purged).
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The position before the first entry.
    #[must_use]
    pub fn purged(&self) -> LogPosition {
        self.purged
    }

    /// The index of the last entry.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.batches.last().map_or(self.purged.index, Batch::last)
    }

    fn terms(&self) -> Vec<LogPosition> {
        let mut terms: Vec<LogPosition> = Vec::new();
        for batch in &self.batches {
            if terms.last().is_none_or(|run| run.term != batch.term()) {
                let first = batch.first().max(self.purged.index + 1);
                terms.push(LogPosition::new(batch.term(), first));
            }
        }
        terms
    }
}

impl<I: Clone> LogStore<I> for MemoryLog<I> {
    fn recovered(&mut self) -> Recovered<I> {
        Recovered {
            hard_state: self.hard_state.clone(),
            snapshot: self.snapshot.as_ref().map(|(snapshot, _)| *snapshot),
            purged: self.purged,
            terms: self.terms(),
            last: self.last(),
        }
    }

    fn save(&mut self, hard_state: &HardState<I>) {
        self.hard_state = Some(hard_state.clone());
    }

    fn append(&mut self, batch: &Batch) {
        self.batches.push(batch.clone());
    }

    fn truncate(&mut self, last: u64) {
        let kept = self.batches.partition_point(|batch| batch.first() <= last);
        self.batches.truncate(kept);
        if let Some(end) = self.batches.last_mut()
            && let Some(part) = end.up_to(last)
        {
            *end = part;
        }
        // What is left of a batch may all be purged.
        self.purge(self.purged);
    }

    fn purge(&mut self, position: LogPosition) {
        self.purged = self.purged.max(position);
        let index = self.purged.index;
        let gone = self.batches.partition_point(|batch| batch.last() <= index);
        self.batches.drain(..gone);
    }

    fn write_snapshot(&mut self, part: &SnapshotPart) {
        if part.offset == 0 {
            self.partial = Some((part.snapshot, BytesMut::new()));
        }
        if let Some((snapshot, data)) = &mut self.partial
            && *snapshot == part.snapshot
            && data.len() as u64 == part.offset
        {
            data.extend_from_slice(&part.data);
        }
    }

    fn install_snapshot(&mut self, snapshot: &Snapshot) {
        if let Some((partial, data)) = self.partial.take_if(|(partial, _)| partial == snapshot) {
            self.snapshot = Some((partial, data.freeze()));
        }
    }

    fn reset(&mut self, position: LogPosition) {
        self.batches.clear();
        self.purged = position;
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        first: u64,
        max_bytes: usize,
    ) -> Poll<Result<Batch, Failure>> {
        let at = self.batches.partition_point(|batch| batch.last() < first);
        let found = self.batches.get(at).filter(|_| first > self.purged.index);
        let part = found.filter(|batch| batch.first() <= first);
        let part = part.and_then(|batch| batch.from(first));
        Poll::Ready(
            part.map(|part| part.at_most(max_bytes))
                .ok_or_else(|| missing(&format!("the entry at {first}"))),
        )
    }

    fn poll_read_snapshot(
        &mut self,
        _: &mut Context<'_>,
        offset: u64,
        max_bytes: usize,
    ) -> Poll<Result<Bytes, Failure>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self
            .snapshot
            .as_ref()
            .filter(|(_, data)| start <= data.len());
        Poll::Ready(
            found
                .map(|(_, data)| data.slice(start..data.len().min(start.saturating_add(max_bytes))))
                .ok_or_else(|| missing(&format!("byte {offset} of the snapshot"))),
        )
    }
}

fn missing(what: &str) -> Failure {
    Failure::new(FailureKind::Damaged, format!("{what} is not in memory"))
}
