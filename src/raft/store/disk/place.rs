//! The folder: its lock, the names in it, and what makes names last.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::error::DiskLogError;
use super::mark::Mark;
use crate::raft::Snapshot;

/// What every file of the database begins with.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// A folder that is locked.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    /// The database.
    pub(super) log: PathBuf,
    /// The database while it is made.
    pub(super) new_log: PathBuf,
    /// How many flushes were told to be durable.
    pub(super) flushed: PathBuf,
    /// A snapshot that is not whole yet.
    pub(super) part: PathBuf,
    /// Held by the jobs too: one that goes on when its store was dropped must not meet the next store's.
    _lock: File,
}

impl Place {
    /// Locks the folder.
    pub(super) fn open(folder: &Path) -> Result<Self, DiskLogError> {
        let folder = fs::canonicalize(folder)
            .map_err(|error| DiskLogError::io(folder, "finding the folder", error))?;
        let path = folder.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| DiskLogError::io(&path, "opening the lock file", error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DiskLogError::Locked {
                path: folder.clone(),
            },
            TryLockError::Error(error) => DiskLogError::io(&path, "locking it", error),
        })?;
        Ok(Self {
            log: folder.join("log"),
            new_log: folder.join("log.new"),
            flushed: folder.join("flushed"),
            part: folder.join("snapshot.part"),
            folder,
            _lock: lock,
        })
    }

    /// Where an installed snapshot lies.
    pub(super) fn snapshot(&self, snapshot: &Snapshot) -> PathBuf {
        let Snapshot {
            position, checksum, ..
        } = snapshot;
        self.folder.join(format!(
            "snapshot-{}-{}-{checksum:08x}",
            position.term, position.index
        ))
    }

    /// Whether there is a database, as far as its first bytes and its surroundings tell: one that is gone is no new one.
    pub(super) fn has_log(&self) -> Result<bool, DiskLogError> {
        let mut start = Vec::new();
        match File::open(&self.log).and_then(|log| log.take(9).read_to_end(&mut start)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let is_new = self.snapshots()?.is_empty() && Mark::read(self)?.unwrap_or(0) == 0;
                return if is_new {
                    Ok(false)
                } else {
                    let reason = "it is missing, and what belongs to it is not";
                    Err(DiskLogError::damaged(&self.log, reason))
                };
            }
            Err(error) => return Err(DiskLogError::io(&self.log, "reading it", error)),
        }
        if start == MAGIC {
            return Ok(true);
        }
        if MAGIC.starts_with(&start) {
            let reason = format!("it ends at byte {}", start.len());
            return Err(DiskLogError::damaged(&self.log, reason));
        }
        if Mark::read(self)?.is_some() {
            // What belongs to it is a node's: so was this.
            let reason = "its first bytes are not those of a log";
            return Err(DiskLogError::damaged(&self.log, reason));
        }
        Err(DiskLogError::NotALog {
            path: self.log.clone(),
        })
    }

    /// The snapshots that lie in the folder, but for one that is not whole.
    pub(super) fn snapshots(&self) -> Result<Vec<PathBuf>, DiskLogError> {
        let list = || -> io::Result<Vec<PathBuf>> {
            let mut found = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with("snapshot-") {
                    found.push(entry.path());
                }
            }
            Ok(found)
        };
        list().map_err(|error| DiskLogError::io(&self.folder, "listing its files", error))
    }

    /// Puts a file that was synced in its place, for good.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskLogError> {
        fs::rename(from, to)
            .map_err(|error| DiskLogError::io(to, "putting the new file in its place", error))?;
        self.sync_folder()
    }

    /// Makes renames last.
    pub(super) fn sync_folder(&self) -> Result<(), DiskLogError> {
        if cfg!(unix) {
            File::open(&self.folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| DiskLogError::io(&self.folder, "syncing the folder", error))
        } else {
            Ok(())
        }
    }
}
