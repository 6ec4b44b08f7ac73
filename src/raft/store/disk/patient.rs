//! The file of the database, which waits for room where a plain file would fail.
//!
//! A database that has seen one write fail must be closed and repaired, and that takes room too. So a write that the
//! disk has no room for is not failed: the thread that does it tells the store, and waits until it is to try again.
//! What the database was doing then goes on as if nothing had been.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use tokio::sync::{mpsc, oneshot};

use super::error::is_full;

/// A write that waits for room.
#[derive(Debug)]
pub(super) struct Stall {
    /// What the system said.
    pub(super) error: io::Error,
    /// Sent: try again. Dropped: give up.
    pub(super) again: oneshot::Sender<()>,
}

/// What a thread does when the disk is full.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    stalls: mpsc::Sender<Stall>,
    /// Only a flush waits: it has a thread to itself, and somebody who is told.
    flushing: Arc<AtomicBool>,
}

impl Patience {
    /// And where its stalls are told.
    pub(super) fn new() -> (Self, mpsc::Receiver<Stall>) {
        let (stalls, told) = mpsc::channel(1);
        let flushing = Arc::default();
        (Self { stalls, flushing }, told)
    }

    /// From now on, or no more, waits whoever finds the disk full.
    pub(super) fn set_flushing(&self, flushing: bool) {
        self.flushing.store(flushing, Ordering::Relaxed);
    }

    /// Writes something, again and again as long as there is no room and somebody hopes for it.
    pub(super) fn write<T>(&self, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            let error = match write() {
                Err(error) if is_full(&error) && self.flushing.load(Ordering::Relaxed) => error,
                done => return done,
            };
            let kind = error.kind();
            let (again, told) = oneshot::channel();
            let stall = Stall { error, again };
            if self.stalls.blocking_send(stall).is_err() || told.blocking_recv().is_err() {
                return Err(kind.into());
            }
        }
    }
}

/// The file of the database.
#[derive(Debug)]
pub(super) struct Patient<B = FileBackend> {
    file: B,
    patience: Patience,
}

impl Patient {
    pub(super) fn new(file: File, patience: Patience) -> Result<Self, redb::DatabaseError> {
        let file = FileBackend::new(file)?;
        Ok(Self { file, patience })
    }
}

#[cfg(test)]
impl<B> Patient<B> {
    pub(super) fn over(file: B, patience: Patience) -> Self {
        Self { file, patience }
    }
}

/// The same error, with the place in the file.
fn at(offset: u64, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} byte {offset}: {error}"))
}

impl<B: StorageBackend> StorageBackend for Patient<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.file.read(offset, out);
        read.map_err(|error| at(offset, "reading at", &error))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let set = self.patience.write(|| self.file.set_len(len));
        set.map_err(|error| at(len, "growing it to", &error))
    }

    fn sync_data(&self) -> io::Result<()> {
        // Never tried again: what a failed sync has lost, the next one does not find missing.
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let written = self.patience.write(|| self.file.write(offset, data));
        written.map_err(|error| at(offset, "writing at", &error))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
