//! What the tests share: folders, and a store whose polls are calls.

use std::fs;
use std::future::poll_fn;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use streamraft::raft::{
    Batch, DiskLog, DiskLogError, Entry, Failure, LogStore, Recovered, Snapshot, SnapshotPart,
};
use streamraft::{HardState, LogPosition, Membership, NodeId};
use tokio::runtime::{Builder, Runtime};

pub(crate) const CLUSTER: &str = "orders";

pub(crate) fn me() -> NodeId {
    "a".parse().unwrap()
}

/// A folder that is gone with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = path.join(format!("disk-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The names in it, but for the lock.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lock")
            .collect();
        names.sort();
        names
    }

    /// What a kill at this moment would leave.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        for name in self.names() {
            fs::copy(self.0.join(&name), copy.0.join(&name)).unwrap();
        }
        copy
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A store and the runtime that it needs.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) log: DiskLog,
    runtime: Runtime,
}

impl Store {
    pub(crate) fn try_open(folder: &Path) -> Result<Self, DiskLogError> {
        let log = DiskLog::open(folder, &me(), CLUSTER)?;
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        Ok(Self { log, runtime })
    }

    pub(crate) fn open_when_free(folder: &Path) -> Result<Self, DiskLogError> {
        when_free(|| Self::try_open(folder))
    }

    pub(crate) fn open(folder: &Path) -> Self {
        Self::open_when_free(folder).unwrap()
    }

    pub(crate) fn try_flush(&mut self) -> Result<(), Failure> {
        let log = &mut self.log;
        self.runtime.block_on(poll_fn(|cx| log.poll_flush(cx)))
    }

    pub(crate) fn flush(&mut self) {
        self.try_flush().unwrap();
    }

    /// Begins a flush, and does not wait for it.
    pub(crate) fn begin_flush(&mut self) {
        let log = &mut self.log;
        let begin = poll_fn(|cx| std::task::Poll::Ready(log.poll_flush(cx)));
        let _ = self.runtime.block_on(begin);
    }

    /// Begins a read, and does not wait for it.
    pub(crate) fn begin_read(&mut self, first: u64, max_bytes: usize) {
        let log = &mut self.log;
        let begin = poll_fn(|cx| std::task::Poll::Ready(log.poll_read(cx, first, max_bytes)));
        let _ = self.runtime.block_on(begin);
    }

    /// The same of the installed snapshot.
    pub(crate) fn begin_read_snapshot(&mut self, offset: u64, max_bytes: usize) {
        let log = &mut self.log;
        let begin =
            poll_fn(|cx| std::task::Poll::Ready(log.poll_read_snapshot(cx, offset, max_bytes)));
        let _ = self.runtime.block_on(begin);
    }

    pub(crate) fn try_read(&mut self, first: u64, max_bytes: usize) -> Result<Batch, Failure> {
        let log = &mut self.log;
        let read = poll_fn(|cx| log.poll_read(cx, first, max_bytes));
        self.runtime.block_on(read)
    }

    pub(crate) fn read(&mut self, first: u64, max_bytes: usize) -> Batch {
        self.try_read(first, max_bytes).unwrap()
    }

    pub(crate) fn try_read_snapshot(
        &mut self,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Bytes, Failure> {
        let log = &mut self.log;
        let read = poll_fn(|cx| log.poll_read_snapshot(cx, offset, max_bytes));
        self.runtime.block_on(read)
    }

    /// The whole installed snapshot, read in pieces of this size.
    pub(crate) fn try_read_all(&mut self, len: u64, piece: usize) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        while (all.len() as u64) < len {
            let bytes = self.try_read_snapshot(all.len() as u64, piece)?;
            assert!(!bytes.is_empty() && bytes.len() <= piece);
            all.extend(bytes);
        }
        Ok(all)
    }

    /// Every entry that `recovered` tells of.
    pub(crate) fn try_entries(&mut self, recovered: &Recovered) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        let mut next = recovered.purged.index + 1;
        while next <= recovered.last {
            let batch = self.try_read(next, 4000)?;
            assert_eq!(batch.first(), next);
            next = batch.last() + 1;
            entries.extend(batch.entries());
        }
        Ok(entries)
    }
}

/// Opens a folder that may be busy for a moment: by what a store that was dropped has begun, or by a process that another
/// test is starting, which holds all that this one has locked until it is itself.
pub(crate) fn when_free<T>(open: impl Fn() -> Result<T, DiskLogError>) -> Result<T, DiskLogError> {
    let start = Instant::now();
    loop {
        match open() {
            Err(DiskLogError::Locked { .. }) if start.elapsed() < Duration::from_secs(30) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened,
        }
    }
}

/// Entries of this term with these data.
pub(crate) fn batch(first: u64, term: u64, data: &[Vec<u8>]) -> Batch {
    let mut records = Vec::new();
    for data in data {
        records.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        records.push(1);
        records.extend(data);
    }
    Batch::new(first, term, records.into()).unwrap()
}

pub(crate) fn hard_state(term: u64) -> HardState {
    HardState::new(term, Some(me()), Membership::initial([me()]))
}

/// A snapshot of these bytes.
pub(crate) fn snapshot(term: u64, index: u64, data: &[u8]) -> Snapshot {
    let position = LogPosition::new(term, index);
    Snapshot::new(position, data.len() as u64, crc32fast::hash(data))
}

/// The parts of a snapshot, so many bytes each.
pub(crate) fn parts(snapshot: Snapshot, data: &[u8], size: usize) -> Vec<SnapshotPart> {
    let offsets = (0..data.len().max(1)).step_by(size);
    let part = |offset: usize| {
        let end = data.len().min(offset + size);
        let data = Bytes::copy_from_slice(&data[offset..end]);
        SnapshotPart::new(snapshot, offset as u64, data)
    };
    offsets.map(part).collect()
}

/// Bytes that do not repeat.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}
