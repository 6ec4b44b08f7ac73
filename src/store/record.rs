//! A vote as bytes. Absent here: files.
//!
//! | bytes | |
//! |---|---|
//! | 10 | `streamraft` |
//! | 1 | the version of the form, now 1 |
//! | 4 | the length of the body, big-endian |
//! | 4 | CRC-32 (IEEE) of the version, the length and the body, big-endian |
//! | the rest | the body, as postcard writes it: cluster, node id, hard state |
//!
//! What stands before the body stays as it is in every version, so that a newer file is told from a damaged one.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::FileStoreError;
use crate::id::Id;
use crate::state::HardState;

const MAGIC: [u8; 10] = *b"streamraft";
const VERSION: u8 = 1;
/// Magic, version, length, checksum.
const HEAD: usize = MAGIC.len() + 1 + 4 + 4;

/// Whose vote it is, and what it is.
#[derive(Serialize, Deserialize)]
struct Body<C, N, S> {
    cluster: C,
    node_id: N,
    state: S,
}

/// The record of this state; `None` if its ids do not serialize.
pub(super) fn encode<I: Serialize>(
    cluster: &str,
    node_id: &I,
    state: &HardState<I>,
) -> Option<Vec<u8>> {
    let body = Body {
        cluster,
        node_id,
        state,
    };
    let body = postcard::to_extend(&body, Vec::new()).ok()?;
    let len = u32::try_from(body.len()).ok()?.to_be_bytes();
    let sum = checksum(VERSION, len, &body).to_be_bytes();
    Some([&MAGIC[..], &[VERSION], &len, &sum, &body].concat())
}

/// The state in a record that was written for this node of this cluster. `path` is for the errors.
pub(super) fn decode<I: Id + DeserializeOwned>(
    bytes: &[u8],
    path: &Path,
    cluster: &str,
    node_id: &I,
) -> Result<HardState<I>, FileStoreError> {
    let path = || path.to_owned();
    let corrupt = |reason| FileStoreError::Corrupt {
        path: path(),
        reason,
    };
    let body = checked_body(bytes).map_err(|damage| match damage {
        Damage::NotARecord => FileStoreError::NotARecord { path: path() },
        Damage::Corrupt(reason) => corrupt(reason),
        Damage::Version(found) => FileStoreError::Version {
            path: path(),
            found,
        },
        Damage::Torn { need } => FileStoreError::Torn {
            path: path(),
            have: bytes.len(),
            need,
        },
    })?;
    // The cluster first and alone: what follows may have ids of another type.
    let (found, _) = postcard::take_from_bytes::<&str>(body)
        .map_err(|_| corrupt("the body does not begin with a cluster's name"))?;
    if found != cluster {
        return Err(FileStoreError::ForeignCluster {
            path: path(),
            found: found.to_owned(),
            expected: cluster.to_owned(),
        });
    }
    let (body, rest): (Body<&str, I, HardState<I>>, _) = postcard::take_from_bytes(body)
        .map_err(|_| corrupt("the checksum is right, but the ids are of another type"))?;
    if !rest.is_empty() {
        return Err(corrupt(
            "the checksum is right, but the ids are of another type",
        ));
    }
    if body.node_id != *node_id {
        return Err(FileStoreError::ForeignNode {
            path: path(),
            found: format!("{:?}", body.node_id),
            expected: format!("{node_id:?}"),
        });
    }
    let membership = &body.state.membership;
    if !membership.is_well_formed() || membership.term > body.state.term {
        return Err(corrupt("no node makes such a membership"));
    }
    Ok(body.state)
}

/// Why bytes hold no body that could be read.
enum Damage {
    NotARecord,
    Torn { need: usize },
    Corrupt(&'static str),
    Version(u8),
}

/// The body of a whole record whose checksum is right and whose version is known.
fn checked_body(bytes: &[u8]) -> Result<&[u8], Damage> {
    let magic = bytes.len().min(MAGIC.len());
    if bytes.get(..magic) != MAGIC.get(..magic) {
        return Err(Damage::NotARecord);
    }
    let rest = bytes.get(MAGIC.len()..).unwrap_or_default();
    let Some((&[version, a, b, c, d, sum @ ..], body)) = rest.split_first_chunk::<{ 1 + 4 + 4 }>()
    else {
        return Err(Damage::Torn { need: HEAD });
    };
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if body.len() < len {
        return Err(Damage::Torn {
            need: HEAD.saturating_add(len),
        });
    }
    if body.len() > len {
        return Err(Damage::Corrupt("bytes behind the end of the record"));
    }
    if checksum(version, [a, b, c, d], body) != u32::from_be_bytes(sum) {
        return Err(Damage::Corrupt("the checksum is wrong"));
    }
    // After the checksum: a version that is merely damaged must not send anybody after a newer release.
    if version == VERSION {
        Ok(body)
    } else {
        Err(Damage::Version(version))
    }
}

fn checksum(version: u8, len: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version]);
    hasher.update(&len);
    hasher.update(body);
    hasher.finalize()
}
