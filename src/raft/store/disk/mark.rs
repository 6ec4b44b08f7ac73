//! How many flushes were told to be durable, in a file of its own.
//!
//! A flush is one sync. After a crash in the middle of it the database goes back to the flush before, and rightly so: nobody
//! was told of the later one. Damage to the newest pages looks the same, but somebody may have been told. This file
//! tells the two apart: it is written after the sync, and not synced itself. So what it says was durable, always; and
//! only a loss of power can keep it from saying the latest.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

use super::error::DiskLogError;
use super::patient::Patience;
use super::place::Place;

/// The count and its CRC-32, with the lowest byte first. They lie in one sector, so that they are written as one.
const LEN: usize = 8 + 4;

#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

fn encode(flushes: u64) -> [u8; LEN] {
    let count = flushes.to_le_bytes();
    let mut bytes = [0; LEN];
    let sum = crc32fast::hash(&count).to_le_bytes();
    for (to, from) in bytes.iter_mut().zip(count.iter().chain(&sum)) {
        *to = *from;
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let (count, _) = bytes.split_first_chunk()?;
    let flushes = u64::from_le_bytes(*count);
    (encode(flushes) == bytes).then_some(flushes)
}

impl Mark {
    /// What it says; none if there is no such file.
    pub(super) fn read(place: &Place) -> Result<Option<u64>, DiskLogError> {
        let mut bytes = Vec::new();
        match File::open(&place.flushed).and_then(|file| file.take(64).read_to_end(&mut bytes)) {
            Ok(_) => decode(&bytes).map(Some).ok_or_else(|| {
                let reason = "it does not hold a count and its checksum";
                DiskLogError::damaged(&place.flushed, reason)
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DiskLogError::io(&place.flushed, "reading it", error)),
        }
    }

    /// Says that nothing was flushed yet, for good.
    pub(super) fn create(place: &Place) -> Result<(), DiskLogError> {
        let create = || -> io::Result<()> {
            let mut file = File::create(&place.flushed)?;
            file.write_all(&encode(0))?;
            file.sync_all()
        };
        create().map_err(|error| DiskLogError::io(&place.flushed, "creating it", error))
    }

    pub(super) fn open(place: &Place) -> Result<Self, DiskLogError> {
        let file = OpenOptions::new().write(true).open(&place.flushed);
        let file = file.map_err(|error| DiskLogError::io(&place.flushed, "opening it", error))?;
        Ok(Self { file })
    }

    /// Says that so many flushes are durable.
    pub(super) fn write(
        &mut self,
        place: &Place,
        patience: &Patience,
        flushes: u64,
    ) -> Result<(), DiskLogError> {
        let write = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&encode(flushes))
        };
        patience
            .write(write)
            .map_err(|error| DiskLogError::io(&place.flushed, "writing to it", error))
    }
}
