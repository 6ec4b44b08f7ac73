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
    /// Behind those: short ones, which become one.
    open: Open,
}

/// Short batches that follow each other. What each would take beside its bytes is more than a short entry has, and whoever
/// reads them later gets more at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Open {
    first: u64,
    term: u64,
    count: u32,
    records: BytesMut,
}

impl Open {
    /// A batch of more bytes is kept as it is.
    const SHORT: usize = 512;

    /// So much becomes one at most.
    const MOST: usize = 8 << 10;

    /// Takes a batch that is short and of the same term. Whether it did.
    fn take(&mut self, batch: &Batch) -> bool {
        if self.count == 0 {
            (self.first, self.term) = (batch.first(), batch.term());
            self.records.reserve(Self::MOST);
        }
        let fits = self.records.len() + batch.size() <= Self::MOST;
        if batch.size() > Self::SHORT || batch.term() != self.term || !fits {
            return false;
        }
        self.records.extend_from_slice(batch.records());
        self.count += u32::try_from(batch.len()).unwrap_or(u32::MAX);
        true
    }

    fn batch(&self, records: Bytes) -> Option<Batch> {
        Batch::checked(self.first, self.term, self.count, records)
    }
}

impl<I> Default for MemoryLog<I> {
    fn default() -> Self {
        Self {
            hard_state: None,
            snapshot: None,
            partial: None,
            purged: LogPosition::default(),
            batches: Vec::new(),
            open: Open::default(),
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

    /// Batches that hold the log, in order, which need not be those that were appended. The first may begin before what was
    /// [purged](Self::purged).
    #[must_use]
    pub fn batches(&self) -> Vec<Batch> {
        let open = self.open.batch(Bytes::copy_from_slice(&self.open.records));
        self.batches.iter().cloned().chain(open).collect()
    }

    /// The position before the first entry.
    #[must_use]
    pub fn purged(&self) -> LogPosition {
        self.purged
    }

    /// The index of the last entry.
    #[must_use]
    pub fn last(&self) -> u64 {
        let last = self.batches.last().map_or(self.purged.index, Batch::last);
        last + u64::from(self.open.count)
    }

    /// Makes a batch of the short ones.
    fn seal(&mut self) {
        if self.open.count > 0 {
            let records = self.open.records.split().freeze();
            self.batches.extend(self.open.batch(records));
            self.open.count = 0;
        }
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
        self.seal();
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
        if self.open.take(batch) {
            return;
        }
        self.seal();
        if !self.open.take(batch) {
            self.batches.push(batch.clone());
        }
    }

    fn truncate(&mut self, last: u64) {
        self.seal();
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
        self.seal();
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
        self.seal();
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
        self.seal();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn append(log: &mut MemoryLog, term: u64, data: &[u8]) {
        let batch = Batch::of_proposals(log.last() + 1, term, [data]).unwrap();
        LogStore::<NodeId>::append(log, &batch);
    }

    fn kept(log: &MemoryLog) -> Vec<(u64, u64)> {
        let batches = log.batches();
        let ends = |batch: &Batch| (batch.first(), batch.last());
        batches.iter().map(ends).collect()
    }

    #[test]
    fn short_entries_that_come_one_by_one_become_one_batch() {
        let mut log = MemoryLog::new();
        (0..100_u8).for_each(|number| append(&mut log, 1, &[number]));
        assert_eq!((kept(&log), log.last()), (vec![(1, 100)], 100));
        append(&mut log, 2, b"of another term");
        append(&mut log, 2, &[7; 600]);
        append(&mut log, 2, b"behind a long one");
        assert_eq!(kept(&log), [(1, 100), (101, 101), (102, 102), (103, 103)]);
        let recovered = LogStore::<NodeId>::recovered(&mut log);
        let runs = [LogPosition::new(1, 1), LogPosition::new(2, 101)];
        assert_eq!((recovered.terms, recovered.last), (runs.to_vec(), 103));
        let data = log.batches().into_iter().flat_map(|batch| batch.entries());
        let mut expected: Vec<Bytes> = (0..100).map(|number| vec![number].into()).collect();
        expected.push("of another term".into());
        expected.push(vec![7; 600].into());
        expected.push("behind a long one".into());
        assert!(data.map(|entry| entry.data).eq(expected));
    }

    #[test]
    fn so_many_become_one_and_no_more() {
        let mut log = MemoryLog::new();
        (0..300).for_each(|_| append(&mut log, 1, &[1; 95]));
        let sizes: Vec<_> = log.batches().iter().map(Batch::size).collect();
        assert_eq!(sizes, [8_100, 8_100, 8_100, 5_700]);
    }

    #[test]
    fn it_is_cut_and_purged_and_read_within_what_became_one() {
        let mut log: MemoryLog = MemoryLog::new();
        (0..10_u8).for_each(|number| append(&mut log, 1, &[number]));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Ok(read)) = log.poll_read(&mut context, 4, 14) else {
            panic!("it is there");
        };
        assert_eq!((read.first(), read.last()), (4, 5));
        append(&mut log, 1, b"x");
        log.truncate(10);
        append(&mut log, 1, b"y");
        log.truncate(6);
        append(&mut log, 2, b"z");
        log.purge(LogPosition::new(1, 3));
        assert_eq!((kept(&log), log.last()), (vec![(1, 6), (7, 7)], 7));
        append(&mut log, 2, b"a");
        log.reset(LogPosition::new(3, 20));
        assert_eq!((kept(&log), log.last()), (vec![], 20));
        append(&mut log, 3, b"b");
        assert_eq!((kept(&log), log.last()), (vec![(21, 21)], 21));
    }
}
