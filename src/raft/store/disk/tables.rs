//! The log as two tables of a database. Absent here: files, threads, and when something is written.
//!
//! | table | key | value |
//! |---|---|---|
//! | `entries` | the index of the first entry of a piece | its term (8 bytes), CRC-32 of key, term and records (4), the records as a [`Batch`] has them |
//! | `state` | `owner` | the version of this form (1 byte), the cluster, the node's id |
//! | | `hard state`, `purged`, `snapshot`, `flushes` | as postcard writes them |
//!
//! Numbers have their lowest byte first. Pieces follow each other without gaps, have one term each and, but for entries
//! that are longer than that, at most [`PIECE`] bytes. The first may begin before what is purged.

use std::ops::RangeBounds;

use bytes::Bytes;
use redb::{ReadableTable, Table, TableDefinition, TableError, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::snapshots::Installed;
use crate::id::Id;
use crate::message::LogPosition;
use crate::raft::{Batch, Recovered};
use crate::state::HardState;

/// Nearly the size that a page of the database can have: one that is just full wastes nothing.
pub(super) const PIECE: usize = (32 << 10) - 64;

const VERSION: u8 = 1;
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");

/// Why a table does not hold what it should, or cannot be given what it is to hold.
pub(super) enum Fault {
    /// The database says so.
    Database(redb::Error),
    Damaged(String),
    NotALog,
    Version(u8),
    ForeignCluster(String),
    ForeignNode(String),
    OutOfOrder(String),
    NotWritable,
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

fn damaged<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damaged(reason.into()))
}

fn out_of_order<T>(reason: String) -> Result<T, Fault> {
    Err(Fault::OutOfOrder(reason))
}

/// How far the log reaches: what has to be known to put something behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    /// How many times it was changed.
    pub(super) flushes: u64,
    pub(super) purged: LogPosition,
    pub(super) last: LogPosition,
}

fn checksum(first: u64, term: &[u8], records: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&first.to_le_bytes());
    hasher.update(term);
    hasher.update(records);
    hasher.finalize()
}

/// The piece that this row holds.
fn piece(first: u64, value: &[u8]) -> Result<Batch, Fault> {
    let wrong = |what: &str| format!("the entries from {first} on: {what}");
    let Some((term, rest)) = value.split_first_chunk::<8>() else {
        return damaged(wrong("the term is cut off"));
    };
    let Some((sum, records)) = rest.split_first_chunk::<4>() else {
        return damaged(wrong("the checksum is cut off"));
    };
    if checksum(first, term, records) != u32::from_le_bytes(*sum) {
        return damaged(wrong("the checksum is wrong"));
    }
    let records = Bytes::copy_from_slice(records);
    let batch = Batch::new(first, u64::from_le_bytes(*term), records);
    batch.map_err(|error| Fault::Damaged(wrong(&error.to_string())))
}

/// The piece with the entry at this index, if there is one.
fn piece_with(
    entries: &impl ReadableTable<u64, &'static [u8]>,
    index: u64,
) -> Result<Option<Batch>, Fault> {
    let Some(row) = entries.range(..=index)?.next_back() else {
        return Ok(None);
    };
    let (first, value) = row?;
    let piece = piece(first.value(), value.value())?;
    Ok((piece.last() >= index).then_some(piece))
}

/// The entry at `first` and what is behind it in its term, as much as has no more than `max_bytes`; at least the one.
pub(super) fn read(
    transaction: &redb::ReadTransaction,
    first: u64,
    max_bytes: usize,
) -> Result<Batch, Fault> {
    let entries = transaction.open_table(ENTRIES)?;
    let found = piece_with(&entries, first)?;
    let Some(batch) = found.and_then(|piece| piece.from(first)) else {
        return damaged(format!("the entry at {first} is not there"));
    };
    let mut rows = entries.range(batch.last() + 1..)?;
    let (mut records, mut last) = (Vec::new(), batch.last());
    while batch.size() + records.len() < max_bytes {
        let Some(row) = rows.next() else { break };
        let (index, value) = row?;
        let next = piece(index.value(), value.value())?;
        if next.term() != batch.term() {
            break;
        }
        if next.first() != last + 1 {
            return damaged(format!("the entry at {} is not there", last + 1));
        }
        if batch.size() + records.len() + next.size() > max_bytes {
            break;
        }
        records.extend_from_slice(next.records());
        last = next.last();
    }
    if records.is_empty() {
        return Ok(batch.at_most(max_bytes));
    }
    let all = [batch.records(), records.as_slice()].concat();
    Batch::new(first, batch.term(), all.into()).map_err(|error| Fault::Damaged(error.to_string()))
}

/// What is being written in one transaction.
pub(super) struct Writing<'a> {
    entries: Table<'a, u64, &'static [u8]>,
    state: Table<'a, &'static str, &'static [u8]>,
    reach: Reach,
    /// Entries that are not in the table yet, so that many small batches make one piece.
    draft: Option<(LogPosition, Vec<u8>)>,
}

impl<'a> Writing<'a> {
    pub(super) fn begin(transaction: &'a WriteTransaction, reach: Reach) -> Result<Self, Fault> {
        let mut writing = Self {
            entries: transaction.open_table(ENTRIES)?,
            state: transaction.open_table(STATE)?,
            reach,
            draft: None,
        };
        writing.reach.flushes += 1;
        let flushes = writing.reach.flushes;
        writing.note("flushes", &flushes)?;
        Ok(writing)
    }

    /// How far the log reaches when this is committed.
    pub(super) fn finish(mut self) -> Result<Reach, Fault> {
        self.write_draft()?;
        Ok(self.reach)
    }

    fn note(&mut self, key: &'static str, value: &impl Serialize) -> Result<(), Fault> {
        let bytes = postcard::to_extend(value, Vec::new()).map_err(|_| Fault::NotWritable)?;
        self.state.insert(key, bytes.as_slice())?;
        Ok(())
    }

    pub(super) fn own<I: Serialize>(&mut self, cluster: &str, node_id: &I) -> Result<(), Fault> {
        self.note("owner", &(VERSION, cluster, node_id))
    }

    pub(super) fn save<I: Serialize>(&mut self, hard_state: &HardState<I>) -> Result<(), Fault> {
        self.note("hard state", hard_state)
    }

    pub(super) fn install(&mut self, installed: &Installed) -> Result<(), Fault> {
        self.note("snapshot", installed)
    }

    pub(super) fn append(&mut self, batch: &Batch) -> Result<(), Fault> {
        let Reach { last, .. } = self.reach;
        if batch.first() != last.index + 1 || batch.term() < last.term {
            return out_of_order(format!("{batch:?} behind the entry at {last:?}"));
        }
        let mut rest = Some(batch.clone());
        while let Some(batch) = rest {
            let room = match &self.draft {
                Some((start, records)) if start.term == batch.term() => {
                    PIECE.saturating_sub(records.len())
                }
                _ => 0,
            };
            let mut part = batch.at_most(room);
            if part.size() > room {
                self.write_draft()?;
                part = batch.at_most(PIECE);
            }
            let start = LogPosition::new(batch.term(), batch.first());
            let (_, records) = self.draft.get_or_insert_with(|| (start, Vec::new()));
            records.extend_from_slice(part.records());
            self.reach.last = LogPosition::new(part.term(), part.last());
            rest = batch.from(part.last() + 1);
        }
        Ok(())
    }

    fn write_draft(&mut self) -> Result<(), Fault> {
        match self.draft.take() {
            Some((start, records)) => self.insert(start, &records),
            None => Ok(()),
        }
    }

    fn insert(&mut self, start: LogPosition, records: &[u8]) -> Result<(), Fault> {
        let term = start.term.to_le_bytes();
        let sum = checksum(start.index, &term, records).to_le_bytes();
        let value = [&term[..], &sum, records].concat();
        self.entries.insert(start.index, value.as_slice())?;
        Ok(())
    }

    fn remove(&mut self, indices: impl RangeBounds<u64>) -> Result<(), Fault> {
        Ok(self.entries.retain_in(indices, |_, _| false)?)
    }

    pub(super) fn truncate(&mut self, last: u64) -> Result<(), Fault> {
        let Reach { purged, .. } = self.reach;
        if last < purged.index {
            return out_of_order(format!(
                "a log that begins behind {purged:?}, cut at {last}"
            ));
        }
        if last >= self.reach.last.index {
            return Ok(());
        }
        self.write_draft()?;
        let cut = piece_with(&self.entries, last)?;
        self.remove(last + 1..)?;
        self.reach.last = purged;
        if last == purged.index {
            return self.remove(..);
        }
        let Some(kept) = cut.and_then(|piece| piece.up_to(last)) else {
            return damaged(format!("the entry at {last} is not there"));
        };
        self.reach.last = LogPosition::new(kept.term(), last);
        let start = LogPosition::new(kept.term(), kept.first());
        self.insert(start, kept.records())
    }

    pub(super) fn purge(&mut self, position: LogPosition) -> Result<(), Fault> {
        if position.index <= self.reach.purged.index {
            return Ok(());
        }
        if position.index > self.reach.last.index {
            let last = self.reach.last;
            return out_of_order(format!(
                "a log that ends with {last:?}, purged to {position:?}"
            ));
        }
        self.write_draft()?;
        self.reach.purged = position;
        self.note("purged", &position)?;
        if position.index == self.reach.last.index {
            self.reach.last = position;
            return self.remove(..);
        }
        let first = match piece_with(&self.entries, position.index + 1)? {
            Some(piece) => piece.first(),
            None => return damaged(format!("the entry at {} is not there", position.index + 1)),
        };
        self.remove(..first)
    }

    pub(super) fn reset(&mut self, position: LogPosition) -> Result<(), Fault> {
        self.draft = None;
        (self.reach.purged, self.reach.last) = (position, position);
        self.note("purged", &position)?;
        self.remove(..)
    }
}

/// What the tables hold for this node of this cluster.
pub(super) fn recover<I: Id + DeserializeOwned>(
    transaction: &redb::ReadTransaction,
    cluster: &str,
    node_id: &I,
) -> Result<(Recovered<I>, Reach, Option<Installed>), Fault> {
    let state = match transaction.open_table(STATE) {
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => {
            return Err(Fault::NotALog);
        }
        state => state?,
    };
    let Some(owner) = state.get("owner")? else {
        return Err(Fault::NotALog);
    };
    check_owner(owner.value(), cluster, node_id)?;
    let purged = get(&state, "purged")?.unwrap_or_default();
    let hard_state: Option<HardState<I>> = get(&state, "hard state")?;
    if let Some(HardState {
        term, membership, ..
    }) = &hard_state
        && (!membership.is_well_formed() || membership.term > *term)
    {
        return damaged("no node makes such a membership");
    }
    let installed: Option<Installed> = get(&state, "snapshot")?;
    let (terms, last) = runs(&transaction.open_table(ENTRIES)?, purged)?;
    let recovered = Recovered {
        hard_state,
        snapshot: installed.as_ref().map(|installed| installed.snapshot),
        purged,
        terms,
        last: last.index,
    };
    let reach = Reach {
        flushes: get(&state, "flushes")?.unwrap_or_default(),
        purged,
        last,
    };
    Ok((recovered, reach, installed))
}

fn get<T: DeserializeOwned>(
    state: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &'static str,
) -> Result<Option<T>, Fault> {
    let Some(value) = state.get(key)? else {
        return Ok(None);
    };
    match postcard::take_from_bytes(value.value()) {
        Ok((found, [])) => Ok(Some(found)),
        _ => damaged(format!("the {key} cannot be read")),
    }
}

fn check_owner<I: Id + DeserializeOwned>(
    bytes: &[u8],
    cluster: &str,
    node_id: &I,
) -> Result<(), Fault> {
    match bytes.first() {
        Some(&VERSION) => {}
        Some(version) => return Err(Fault::Version(*version)),
        None => return damaged("the owner is not named"),
    }
    // The cluster first and alone: what follows may be an id of another type.
    let owner = postcard::take_from_bytes::<(u8, &str)>(bytes);
    let Ok(((_, found), rest)) = owner else {
        return damaged("the cluster is not named");
    };
    if found != cluster {
        return Err(Fault::ForeignCluster(found.to_owned()));
    }
    match postcard::take_from_bytes::<I>(rest) {
        Ok((found, [])) if found == *node_id => Ok(()),
        Ok((found, [])) => Err(Fault::ForeignNode(format!("{found:?}"))),
        _ => damaged("the node's id is of another type"),
    }
}

/// Where each term begins, and the last entry. Every piece is read, so that a gap is not found too late.
fn runs(
    entries: &impl ReadableTable<u64, &'static [u8]>,
    purged: LogPosition,
) -> Result<(Vec<LogPosition>, LogPosition), Fault> {
    let (mut terms, mut last): (Vec<LogPosition>, _) = (Vec::new(), purged);
    for row in entries.iter()? {
        let (first, value) = row?;
        let piece = piece(first.value(), value.value())?;
        let next = last.index + 1;
        let begins = if terms.is_empty() {
            piece.first() <= next && piece.last() >= next
        } else {
            piece.first() == next
        };
        if !begins || piece.term() < last.term {
            return damaged(format!("{piece:?} lie behind the entry at {last:?}"));
        }
        if terms.last().is_none_or(|run| run.term != piece.term()) {
            terms.push(LogPosition::new(piece.term(), next));
        }
        last = LogPosition::new(piece.term(), piece.last());
    }
    Ok((terms, last))
}
