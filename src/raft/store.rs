//! Where a node's log survives a restart: the [`LogStore`] that [`Raft`](super::Raft) writes to.

#[cfg(feature = "log-disk")]
mod disk;
mod failure;
mod memory;

use std::task::{Context, Poll};

use bytes::Bytes;

use super::entry::Batch;
use crate::id::NodeId;
use crate::message::LogPosition;
use crate::state::HardState;

#[cfg(feature = "log-disk")]
pub use disk::{DiskLog, DiskLogError};
pub use failure::{Failure, FailureKind};
pub use memory::MemoryLog;

/// Keeps a node's log, its newest snapshot and its [`HardState`] where a restart finds them: in files, in a database, in
/// memory for tests.
///
/// # The contract
/// - **Write-behind.** All that hands something over ([`save`](Self::save), [`append`](Self::append),
///   [`truncate`](Self::truncate), [`purge`](Self::purge), [`write_snapshot`](Self::write_snapshot),
///   [`install_snapshot`](Self::install_snapshot), [`reset`](Self::reset)) returns at once and cannot fail; what goes
///   wrong is told by the next flush. How much is handed over and not yet flushed is bounded by whoever hands it over.
/// - **Order.** A restart at any instant, also by loss of power, finds what some *beginning* of all that was handed over,
///   in its order, has made: never a later thing without an earlier one, and at least all that was flushed. A batch may
///   be kept in part: some of its first entries.
/// - **Flush.** The first call of [`poll_flush`](Self::poll_flush) begins a flush of all that was handed over before it;
///   the call that returns `Ready` ends it, and another call begins another. What is handed over meanwhile may be part
///   of it or not.
/// - **Reads** are of what was flushed, one at a time; it is what a read gives that counts, not when. A call with other
///   arguments gives the read before up. Nothing is ever empty for want of an answer: what cannot be read is a
///   [`Failure`].
/// - **Overtaken reads.** [`truncate`](Self::truncate), [`reset`](Self::reset) and
///   [`install_snapshot`](Self::install_snapshot) give reads under way up: a call with the same arguments begins another.
/// - A store whose content is damaged, or not its node's, must not pass for an empty one when it is opened. What it gives is
///   compared with what the node knows of its log: one that gives something else ends the node.
pub trait LogStore<I = NodeId> {
    /// What it holds. Asked once, before anything else.
    fn recovered(&mut self) -> Recovered<I>;

    /// Keeps this in the place of the hard state before.
    fn save(&mut self, hard_state: &HardState<I>);

    /// Puts entries behind the last one: `batch.first()` is the index after it.
    fn append(&mut self, batch: &Batch);

    /// Drops every entry behind this index.
    fn truncate(&mut self, last: u64);

    /// Allows to drop entries up to and with the one at this position, when and as far as it likes. They are
    /// part of the installed snapshot.
    fn purge(&mut self, position: LogPosition);

    /// Puts a part of a snapshot behind the part before. One that begins at 0 begins a new snapshot, and what was kept
    /// of another one that is not installed can go.
    fn write_snapshot(&mut self, part: &SnapshotPart);

    /// All parts of this one were written: it takes the place of the installed snapshot before, if there was one.
    fn install_snapshot(&mut self, snapshot: &Snapshot);

    /// Drops all entries. The log goes on behind this position, up to which the installed snapshot reaches.
    fn reset(&mut self, position: LogPosition);

    /// Makes durable what was handed over.
    ///
    /// Pending: the task of `cx` is woken when a further call gets on.
    ///
    /// # Errors
    /// What was handed over may not all be durable. A further call tries again, if the [kind](Failure::kind) is
    /// [`FailureKind::Full`]; else the store is done for, and nothing is asked of it any more.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>>;

    /// Reads the entry at `first`, which was flushed and is not purged, and as many of its term behind it as have no more than
    /// `max_bytes` together; at least the one. It may stop sooner.
    ///
    /// Pending: the task of `cx` is woken when a further call gets on.
    ///
    /// # Errors
    /// It cannot be read: then this node cannot go on.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        first: u64,
        max_bytes: usize,
    ) -> Poll<Result<Batch, Failure>>;

    /// Reads up to `max_bytes` of the installed snapshot, from this offset on; at least one byte, if it has more.
    ///
    /// Pending: the task of `cx` is woken when a further call gets on.
    ///
    /// # Errors
    /// It cannot be read: then this node cannot go on.
    fn poll_read_snapshot(
        &mut self,
        cx: &mut Context<'_>,
        offset: u64,
        max_bytes: usize,
    ) -> Poll<Result<Bytes, Failure>>;
}

/// What a store holds when it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Recovered<I = NodeId> {
    /// What was [saved](LogStore::save) last; none in a store that is new.
    pub hard_state: Option<HardState<I>>,
    /// The installed snapshot.
    pub snapshot: Option<Snapshot>,
    /// The position before the first entry that is there: the last purged one, or the one of the last reset. Zero if
    /// nothing was ever purged.
    pub purged: LogPosition,
    /// Where each term begins: the first index, and the term, of every run of entries of one term. In order; the first
    /// run begins right behind `purged`, unless there is none.
    pub terms: Vec<LogPosition>,
    /// The index of the last entry; `purged.index` if there is none.
    pub last: u64,
}

impl<I> Default for Recovered<I> {
    /// A store that is new.
    fn default() -> Self {
        Self {
            hard_state: None,
            snapshot: None,
            purged: LogPosition::default(),
            terms: Vec::new(),
            last: 0,
        }
    }
}

/// A snapshot: what the state machine was when it had applied all entries up to a position. Names it, does not hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The last entry that is part of it.
    pub position: LogPosition,
    /// How many bytes it has.
    pub len: u64,
    /// CRC-32 (IEEE) of all of its bytes.
    pub checksum: u32,
}

impl Snapshot {
    /// A snapshot by its parts.
    #[must_use]
    pub const fn new(position: LogPosition, len: u64, checksum: u32) -> Self {
        Self {
            position,
            len,
            checksum,
        }
    }
}

/// Some bytes of a snapshot.
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SnapshotPart {
    /// Of which.
    pub snapshot: Snapshot,
    /// Where in it they begin.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
}

impl SnapshotPart {
    /// Some bytes of this snapshot, which begin there.
    #[must_use]
    pub const fn new(snapshot: Snapshot, offset: u64, data: Bytes) -> Self {
        Self {
            snapshot,
            offset,
            data,
        }
    }

    /// Where in the snapshot the bytes behind it begin.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.data.len() as u64)
    }
}

impl std::fmt::Debug for SnapshotPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, to) = (self.offset, self.end());
        write!(f, "bytes {from} to {to} of {:?}", self.snapshot)
    }
}

/// Something to hand over to a [`LogStore`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever writes must write all there is"
)]
pub enum Write<I = NodeId> {
    /// [`LogStore::save`].
    Save(HardState<I>),
    /// [`LogStore::append`].
    Append(Batch),
    /// [`LogStore::truncate`].
    Truncate(u64),
    /// [`LogStore::purge`].
    Purge(LogPosition),
    /// [`LogStore::write_snapshot`].
    WriteSnapshot(SnapshotPart),
    /// [`LogStore::install_snapshot`].
    InstallSnapshot(Snapshot),
    /// [`LogStore::reset`].
    Reset(LogPosition),
}

impl<I> Write<I> {
    /// Hands it over.
    pub fn hand_to(&self, store: &mut (impl LogStore<I> + ?Sized)) {
        match self {
            Self::Save(hard_state) => store.save(hard_state),
            Self::Append(batch) => store.append(batch),
            Self::Truncate(last) => store.truncate(*last),
            Self::Purge(position) => store.purge(*position),
            Self::WriteSnapshot(part) => store.write_snapshot(part),
            Self::InstallSnapshot(snapshot) => store.install_snapshot(snapshot),
            Self::Reset(position) => store.reset(*position),
        }
    }
}

/// What a store gave of this snapshot from there on, unless it cannot be that.
pub(super) fn part_of(
    snapshot: &Snapshot,
    offset: u64,
    data: Bytes,
) -> Result<SnapshotPart, Failure> {
    let len = data.len();
    let part = SnapshotPart::new(*snapshot, offset, data);
    let has_more = offset < snapshot.len;
    if part.end() <= snapshot.len && (len > 0 || !has_more) {
        Ok(part)
    } else {
        let what = format!("it gave {len} bytes for those from {offset} on of {snapshot:?}");
        Err(Failure::new(FailureKind::Damaged, what))
    }
}
