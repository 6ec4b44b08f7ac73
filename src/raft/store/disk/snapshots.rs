//! Snapshots as files: one that is being written, and the one that is installed.
//!
//! A checksum of every block is kept with the log, so that damage is found where it is, when it is read.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use crc32fast::Hasher;
use serde::{Deserialize, Serialize};

use super::error::DiskLogError;
use super::patient::Patience;
use super::place::Place;
use crate::raft::{Snapshot, SnapshotPart};

/// Bytes with a checksum of their own.
const BLOCK: usize = 64 << 10;

/// An installed snapshot, as it is noted in the log.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Installed {
    pub(super) snapshot: Snapshot,
    /// CRC-32 (IEEE) of each block of its file.
    blocks: Vec<u32>,
}

impl Installed {
    /// Whether its file is there, as long as it should be.
    pub(super) fn check(&self, path: &Path) -> Result<(), DiskLogError> {
        let len = match fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(DiskLogError::damaged(path, "it is missing"));
            }
            Err(error) => return Err(DiskLogError::io(path, "looking for it", error)),
        };
        let Snapshot { len: wanted, .. } = self.snapshot;
        if len == wanted && self.blocks.len() as u64 == wanted.div_ceil(BLOCK as u64) {
            return Ok(());
        }
        let reason = format!("it has {len} bytes instead of {wanted}");
        Err(DiskLogError::damaged(path, reason))
    }

    /// Up to so many bytes from this offset on.
    pub(super) fn read(
        &self,
        path: &Path,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Bytes, DiskLogError> {
        let Snapshot { len, .. } = self.snapshot;
        if offset >= len {
            return Ok(Bytes::new());
        }
        let end = len.min(offset.saturating_add(max_bytes.max(1) as u64));
        let block = BLOCK as u64;
        let start = offset / block * block;
        // Whole blocks, since only they have checksums.
        let read_end = len.min(end.div_ceil(block) * block);
        let mut bytes = vec![0; usize::try_from(read_end - start).unwrap_or(usize::MAX)];
        File::open(path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(&mut bytes)
            })
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::UnexpectedEof => {
                    DiskLogError::damaged(path, format!("it ends before byte {read_end}"))
                }
                _ => DiskLogError::io(path, "reading it", error),
            })?;
        let sums = self.blocks.iter().skip((start / block) as usize);
        for ((bytes, sum), number) in bytes.chunks(BLOCK).zip(sums).zip(start / block..) {
            if crc32fast::hash(bytes) != *sum {
                let from = number * block;
                let to = from + bytes.len() as u64;
                let reason = format!("bytes {from} to {to} are not those that were written");
                return Err(DiskLogError::damaged(path, reason));
            }
        }
        let from = (offset - start) as usize;
        let to = (end - start) as usize;
        Ok(Bytes::from(bytes).slice(from..to))
    }
}

/// A snapshot that is being written.
#[derive(Debug)]
pub(super) struct Part {
    snapshot: Snapshot,
    file: File,
    len: u64,
    whole: Hasher,
    blocks: Vec<u32>,
    /// The block that is not full yet.
    block: Hasher,
    block_len: usize,
}

impl Part {
    fn create(
        place: &Place,
        patience: &Patience,
        snapshot: Snapshot,
    ) -> Result<Self, DiskLogError> {
        let file = patience
            .write(|| File::create(&place.part))
            .map_err(|error| DiskLogError::io(&place.part, "creating it", error))?;
        Ok(Self {
            snapshot,
            file,
            len: 0,
            whole: Hasher::new(),
            blocks: Vec::new(),
            block: Hasher::new(),
            block_len: 0,
        })
    }

    /// Puts these bytes behind those before, in a new file if they are the first. Bytes that do not follow are left out.
    pub(super) fn write(
        part: &mut Option<Self>,
        place: &Place,
        patience: &Patience,
        bytes: &SnapshotPart,
    ) -> Result<(), DiskLogError> {
        if bytes.offset == 0 {
            *part = Some(Self::create(place, patience, bytes.snapshot)?);
        }
        let follows =
            |part: &&mut Self| part.snapshot == bytes.snapshot && part.len == bytes.offset;
        let Some(part) = part.as_mut().filter(follows) else {
            return Ok(());
        };
        let write = || {
            part.file.seek(SeekFrom::Start(bytes.offset))?;
            part.file.write_all(&bytes.data)
        };
        patience
            .write(write)
            .map_err(|error| DiskLogError::io(&place.part, "writing to it", error))?;
        part.count(&bytes.data);
        Ok(())
    }

    fn count(&mut self, mut data: &[u8]) {
        self.len += data.len() as u64;
        self.whole.update(data);
        while !data.is_empty() {
            let (now, later) = data.split_at(data.len().min(BLOCK - self.block_len));
            self.block.update(now);
            self.block_len += now.len();
            if self.block_len == BLOCK {
                self.end_block();
            }
            data = later;
        }
    }

    fn end_block(&mut self) {
        if self.block_len > 0 {
            self.blocks.push(self.block.clone().finalize());
            self.block.reset();
            self.block_len = 0;
        }
    }

    /// Nobody else has cut it meanwhile: what was written lies there.
    fn is_as_long(&self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if len == self.len {
            return Ok(());
        }
        let what = format!("it has {len} bytes, and {} were written", self.len);
        Err(io::Error::new(ErrorKind::UnexpectedEof, what))
    }

    /// Puts the file in its place, where it means nothing until the log names it.
    pub(super) fn install(
        mut self,
        place: &Place,
        snapshot: &Snapshot,
    ) -> Result<Installed, DiskLogError> {
        let is_whole = self.snapshot == *snapshot
            && self.len == snapshot.len
            && self.whole.clone().finalize() == snapshot.checksum;
        if !is_whole {
            let reason = format!(
                "{snapshot:?} is to be installed, and {} bytes of {:?} were written",
                self.len, self.snapshot
            );
            return Err(DiskLogError::OutOfOrder {
                path: place.part.clone(),
                reason,
            });
        }
        self.end_block();
        self.file
            .sync_all()
            .and_then(|()| self.is_as_long())
            .map_err(|error| DiskLogError::io(&place.part, "syncing it", error))?;
        place.rename(&place.part, &place.snapshot(snapshot))?;
        Ok(Installed {
            snapshot: self.snapshot,
            blocks: self.blocks,
        })
    }
}

/// Removes what no log names: snapshots that were not whole or not installed when the node ended, and replaced ones.
pub(super) fn remove_strays(
    place: &Place,
    installed: Option<&Arc<Installed>>,
) -> Result<(), DiskLogError> {
    let named = installed.map(|installed| place.snapshot(&installed.snapshot));
    let mut strays = place.snapshots()?;
    strays.retain(|path| Some(path) != named.as_ref());
    strays.push(place.part.clone());
    for path in strays {
        remove(&path)?;
    }
    Ok(())
}

fn remove(path: &PathBuf) -> Result<(), DiskLogError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(DiskLogError::io(path, "removing it", error))
        }
        _ => Ok(()),
    }
}
