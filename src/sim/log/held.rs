//! What a node of a simulated log holds or held, as the invariants see it.

use std::hash::Hasher;

use bytes::Bytes;

use super::super::digest::Digest;
use super::super::machine::StartError;
use crate::message::LogPosition;
use crate::raft::{Entry, Snapshot};

/// An entry that a node holds or held: its position, and a digest of it and of all entries before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Held {
    /// Its index and its term.
    pub position: LogPosition,
    /// Of it, and of all before it.
    pub digest: u64,
}

/// A read that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answered {
    /// Which of the node's reads since it started; the first is 1.
    pub number: u64,
    /// Up to which index the state had applied that answered it.
    pub index: u64,
}

impl Default for Held {
    /// Before the first entry.
    fn default() -> Self {
        let position = LogPosition::default();
        Self {
            position,
            digest: 0,
        }
    }
}

/// An entry behind others of this digest.
pub(super) fn before_and(before: u64, entry: &Entry) -> Held {
    let mut digest = Digest::default();
    digest.note((before, entry));
    Held {
        position: LogPosition::new(entry.term, entry.index),
        digest: digest.finish(),
    }
}

/// The state that a snapshot holds.
pub(super) fn state_of(snapshot: &Snapshot, data: &Bytes) -> Result<Held, StartError> {
    if crc32fast::hash(data) != snapshot.checksum || data.len() as u64 != snapshot.len {
        return Err("a snapshot that is not what its checksum says".into());
    }
    let digest = data
        .first_chunk::<8>()
        .ok_or("a snapshot without a state")?;
    Ok(Held {
        position: snapshot.position,
        digest: u64::from_be_bytes(*digest),
    })
}
