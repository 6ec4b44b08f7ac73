//! Entries of the log, and how many of them travel as one.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// What every leader begins its term with, so that what came before it can be committed (paper 5.4.2, 8). It is
    /// empty and means nothing to a state machine.
    Blank,
    /// What was proposed.
    Proposal,
}

impl EntryKind {
    const fn code(self) -> u8 {
        match self {
            Self::Blank => 0,
            Self::Proposal => 1,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Blank),
            1 => Some(Self::Proposal),
            _ => None,
        }
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Entry {
    /// Its place in the log. The first is 1.
    pub index: u64,
    /// The term of the leader that took it.
    pub term: u64,
    /// What it is for.
    pub kind: EntryKind,
    /// What was proposed. A view of its batch, not a copy.
    pub data: Bytes,
}

/// An [`Entry`] to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct EntryRef<'a> {
    /// Its place in the log. The first is 1.
    pub index: u64,
    /// The term of the leader that took it.
    pub term: u64,
    /// What it is for.
    pub kind: EntryKind,
    /// What was proposed.
    pub data: &'a [u8],
}

/// Entries of one term that follow each other, in one buffer that nodes, messages and stores share.
///
/// There is at least one. Whatever made it has checked it: a batch that came over the wire or from a disk holds just the
/// entries that it says, or could not be made.
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Parts", into = "Parts"))]
pub struct Batch {
    first: u64,
    term: u64,
    count: u32,
    /// One record an entry: the length of its data (`u32`, the lowest byte first), its kind (`u8`), its data.
    records: Bytes,
}

/// How many small batches become one where they are kept: what each takes beside its bytes is more than a short entry has,
/// and whoever reads them later gets more at a time.
pub(super) const JOINED: usize = 64;

/// Batches with more bytes than that together stay as they are.
const MOST_JOINED: usize = 8 << 10;

/// Bytes of a record that are not its data.
pub(super) const HEADER: usize = 5;

impl Batch {
    /// The batch that these records make, the first of which has this index.
    ///
    /// # Errors
    /// What is wrong with the records, or with the numbers.
    pub fn new(first: u64, term: u64, records: Bytes) -> Result<Self, BatchError> {
        let (mut rest, mut count) = (&*records, 0_u32);
        while !rest.is_empty() {
            let (_, _, behind) = record(rest).ok_or(BatchError::Record)?;
            rest = behind;
            count = count.checked_add(1).ok_or(BatchError::Index)?;
        }
        let last = first.checked_add(u64::from(count));
        if count == 0 {
            return Err(BatchError::Empty);
        }
        if first == 0 || last.is_none_or(|last| last > MAX_INDEX) {
            return Err(BatchError::Index);
        }
        Ok(Self {
            first,
            term,
            count,
            records,
        })
    }

    /// A batch of proposals, the first of which has this index, as a leader of this term makes one; none of no proposals, or of
    /// an index that no log has.
    ///
    /// ```
    /// use streamraft::raft::Batch;
    ///
    /// let batch = Batch::of_proposals(7, 2, ["x = 1", "y = 2"]).unwrap();
    /// assert_eq!((batch.first(), batch.last(), batch.term()), (7, 8, 2));
    /// assert_eq!(batch.entries().nth(1).unwrap().data, "y = 2");
    /// ```
    #[must_use]
    pub fn of_proposals<T: AsRef<[u8]>>(
        first: u64,
        term: u64,
        proposals: impl IntoIterator<Item = T>,
    ) -> Option<Self> {
        let mut draft = Draft::default();
        for data in proposals {
            draft.push(EntryKind::Proposal, data.as_ref());
        }
        Self::new(first, term, draft.seal(first, term)?.records).ok()
    }

    /// A batch of so many records that were in batches before.
    pub(super) fn checked(first: u64, term: u64, count: u32, records: Bytes) -> Option<Self> {
        (count > 0).then_some(Self {
            first,
            term,
            count,
            records,
        })
    }

    /// The index of its first entry.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The index of its last entry.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// The term of all of its entries.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// How many entries it has.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// How many bytes its records have.
    #[must_use]
    pub fn size(&self) -> usize {
        self.records.len()
    }

    /// The records, as [`new`](Self::new) takes them: what a store keeps.
    #[must_use]
    pub fn records(&self) -> &Bytes {
        &self.records
    }

    /// Shows its entries from `first` to `last`, as far as it has them.
    pub(super) fn show(&self, first: u64, last: u64, mut to: impl FnMut(EntryRef<'_>)) {
        let (mut index, mut rest) = (self.first, &*self.records);
        while let Some((kind, data, behind)) = record(rest).filter(|_| index <= last) {
            if index >= first {
                let term = self.term;
                to(EntryRef {
                    index,
                    term,
                    kind,
                    data,
                });
            }
            (rest, index) = (behind, index + 1);
        }
    }

    /// Its entries in order.
    #[must_use]
    pub fn entries(&self) -> Entries {
        self.clone().into_iter()
    }

    /// The part that begins with the entry at `first`; none if it ends before that.
    #[must_use]
    pub fn from(&self, first: u64) -> Option<Self> {
        self.clone().into_from(first)
    }

    /// The same of a batch that is needed no more: all of it costs nothing.
    #[inline]
    pub(super) fn into_from(self, first: u64) -> Option<Self> {
        if first <= self.first {
            Some(self)
        } else {
            self.cut_before(first)
        }
    }

    fn cut_before(mut self, first: u64) -> Option<Self> {
        if first > self.last() {
            return None;
        }
        let skipped = first - self.first;
        self.records.advance(self.offset(skipped));
        self.first = first;
        self.count -= u32::try_from(skipped).ok()?;
        Some(self)
    }

    /// The part that ends with the entry at `last`; none if it begins behind that.
    #[must_use]
    pub fn up_to(&self, last: u64) -> Option<Self> {
        self.clone().into_up_to(last)
    }

    /// The same of a batch that is needed no more: all of it costs nothing.
    #[inline]
    pub(super) fn into_up_to(self, last: u64) -> Option<Self> {
        if last >= self.last() {
            Some(self)
        } else {
            self.cut_behind(last)
        }
    }

    fn cut_behind(mut self, last: u64) -> Option<Self> {
        if last < self.first {
            return None;
        }
        let kept = last - self.first + 1;
        self.records.truncate(self.offset(kept));
        self.count = u32::try_from(kept).ok()?;
        Some(self)
    }

    /// As many of its first entries as have no more bytes than this; one at least.
    #[must_use]
    pub fn at_most(&self, bytes: usize) -> Self {
        if self.size() <= bytes {
            return self.clone();
        }
        let (mut rest, mut kept, mut at) = (&*self.records, 0_u32, 0);
        while let Some((_, data, behind)) = record(rest) {
            let size = HEADER + data.len();
            if kept > 0 && at + size > bytes {
                break;
            }
            (rest, kept, at) = (behind, kept + 1, at + size);
        }
        Self {
            count: kept,
            records: self.records.slice(..at),
            ..*self
        }
    }

    /// Batches that follow each other as one; none if they are not of one term, or too large to be copied.
    pub(super) fn joined<'a>(batches: impl Iterator<Item = &'a Self> + Clone) -> Option<Self> {
        let (first, term) = batches
            .clone()
            .next()
            .map(|batch| (batch.first, batch.term))?;
        let mut size = 0;
        for batch in batches.clone() {
            size += batch.size();
            if batch.term != term || size > MOST_JOINED {
                return None;
            }
        }
        let (mut records, mut count) = (BytesMut::with_capacity(size), 0);
        for batch in batches {
            records.put_slice(&batch.records);
            count += batch.count;
        }
        Self::checked(first, term, count, records.freeze())
    }

    /// Where the record of the entry so many places behind the first begins.
    fn offset(&self, skipped: u64) -> usize {
        let mut rest = &*self.records;
        for _ in 0..skipped {
            rest = record(rest).map_or(rest, |(_, _, behind)| behind);
        }
        self.records.len() - rest.len()
    }
}

/// No log gets there, and what is beyond leaves no room for the next.
pub(super) const MAX_INDEX: u64 = u64::MAX - (1 << 40);

/// No log that is taken from elsewhere ends there or beyond, and no proposal is taken there: so that there is always room for the
/// entry that a term begins with.
pub(super) const MAX_TAKEN: u64 = MAX_INDEX - (1 << 32);

/// The kind and the data of the first record, and what is behind it.
fn record(records: &[u8]) -> Option<(EntryKind, &[u8], &[u8])> {
    let (len, rest) = records.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let (data, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((EntryKind::of(*kind)?, data, rest))
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last, term) = (self.first, self.last(), self.term);
        write!(f, "entries {first} to {last} of term {term}")
    }
}

impl IntoIterator for Batch {
    type Item = Entry;
    type IntoIter = Entries;

    /// Its entries in order.
    fn into_iter(self) -> Entries {
        Entries {
            index: self.first,
            term: self.term,
            left: self.records,
        }
    }
}

/// The entries of a [`Batch`].
#[derive(Clone, Debug)]
pub struct Entries {
    index: u64,
    term: u64,
    left: Bytes,
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let (kind, len) = record(&self.left).map(|(kind, data, _)| (kind, data.len()))?;
        self.left.advance(HEADER);
        let entry = Entry {
            index: self.index,
            term: self.term,
            kind,
            data: self.left.split_to(len),
        };
        self.index += 1;
        Some(entry)
    }
}

/// Why bytes are no [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// There is no entry in it.
    Empty,
    /// A record is cut off, or of a kind that is not known.
    Record,
    /// An index that no log has.
    Index,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a batch without an entry",
            Self::Record => "a record that is cut off or of a kind that is not known",
            Self::Index => "an index that no log has",
        })
    }
}

impl std::error::Error for BatchError {}

/// A batch as it travels.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Parts {
    first: u64,
    term: u64,
    records: Bytes,
}

#[cfg(feature = "serde")]
impl TryFrom<Parts> for Batch {
    type Error = BatchError;

    fn try_from(parts: Parts) -> Result<Self, BatchError> {
        Self::new(parts.first, parts.term, parts.records)
    }
}

#[cfg(feature = "serde")]
impl From<Batch> for Parts {
    fn from(batch: Batch) -> Self {
        let Batch {
            first,
            term,
            records,
            ..
        } = batch;
        Self {
            first,
            term,
            records,
        }
    }
}

/// A batch in the making: what a leader has taken and not said yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    records: BytesMut,
    count: u32,
}

/// How much memory is taken at a time for entries to come.
const CHUNK: usize = 64 << 10;

impl Draft {
    /// Whether there is room behind what it has, so that nothing has to be moved to make some.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.count == 0 || self.records.capacity() - self.records.len() >= HEADER + len
    }

    pub(super) fn push(&mut self, kind: EntryKind, data: &[u8]) {
        let size = HEADER + data.len();
        if self.records.capacity() - self.records.len() < size {
            self.records.reserve(size.max(CHUNK));
        }
        // Whoever calls has looked at the length.
        self.records
            .put_u32_le(u32::try_from(data.len()).unwrap_or(u32::MAX));
        self.records.put_u8(kind.code());
        self.records.put_slice(data);
        self.count += 1;
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> usize {
        self.records.len()
    }

    pub(super) fn len(&self) -> u64 {
        u64::from(self.count)
    }

    /// What was pushed, as a batch whose first entry has this index; none if nothing was.
    pub(super) fn seal(&mut self, first: u64, term: u64) -> Option<Batch> {
        let count = std::mem::take(&mut self.count);
        Batch::checked(first, term, count, self.records.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u64, term: u64, proposals: &[&str]) -> Batch {
        Batch::of_proposals(first, term, proposals).unwrap()
    }

    #[test]
    fn the_part_that_is_asked_for_is_shown() {
        let batch = batch(5, 2, &["a", "bb", "ccc", "d"]);
        let shown = |first, last| {
            let mut shown = Vec::new();
            batch.show(first, last, |entry| {
                assert_eq!((entry.term, entry.kind), (2, EntryKind::Proposal));
                shown.push((
                    entry.index,
                    String::from_utf8_lossy(entry.data).into_owned(),
                ));
            });
            shown
        };
        let all: Vec<_> = (5..)
            .zip(["a", "bb", "ccc", "d"].map(str::to_owned))
            .collect();
        assert_eq!(shown(0, 99), all);
        assert_eq!(shown(6, 7), all[1..3]);
        assert_eq!(shown(8, 8), all[3..]);
        assert_eq!(shown(9, 99), []);
        assert_eq!(shown(1, 4), []);
    }

    #[test]
    fn a_part_of_a_batch_is_the_same_whether_it_is_needed_later_or_not() {
        let whole = batch(5, 2, &["a", "bb", "ccc", "d"]);
        for index in 3..=10 {
            assert_eq!(whole.from(index), whole.clone().into_from(index));
            assert_eq!(whole.up_to(index), whole.clone().into_up_to(index));
        }
        assert_eq!(whole.from(7), Some(batch(7, 2, &["ccc", "d"])));
        assert_eq!(whole.up_to(6), Some(batch(5, 2, &["a", "bb"])));
        assert_eq!((whole.from(9), whole.up_to(4)), (None, None));
    }

    #[test]
    fn batches_of_one_term_are_joined_as_if_they_had_been_one() {
        let parts = [
            batch(5, 2, &["a", "bb"]),
            batch(7, 2, &["ccc"]),
            batch(8, 2, &["d"]),
        ];
        assert_eq!(
            Batch::joined(parts.iter()),
            Some(batch(5, 2, &["a", "bb", "ccc", "d"]))
        );
        let others = [batch(5, 2, &["a"]), batch(6, 3, &["b"])];
        assert_eq!(Batch::joined(others.iter()), None);
        assert_eq!(Batch::joined([].iter()), None);
    }
}
