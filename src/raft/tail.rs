//! The newest entries, in memory: what followers are sent and what state machines are given without a look at the disk.
//!
//! Entries that come one by one come in a batch each. Those that are on the disk are [joined](Batch::joined) after a while: so
//! that they take hardly more room than their bytes, and that who is behind gets many at a time.

use std::collections::VecDeque;

use super::entry::{Batch, JOINED};

/// The newest batches of the log, without gaps, and how many bytes went through before each. Everything that is not durable and
/// committed is here; behind that as much as was allowed for.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    batches: VecDeque<Placed>,
    /// How many of the newest were not looked at yet whether they can be joined.
    loose: usize,
    /// How many bytes were ever pushed, less what was truncated.
    end: u64,
}

#[derive(Clone, Debug)]
struct Placed {
    /// Where its bytes end, counted as [`Tail::end`] is.
    end: u64,
    batch: Batch,
}

impl Placed {
    fn start(&self) -> u64 {
        self.end - self.batch.size() as u64
    }

    fn part(&self, first: u64, max_bytes: usize) -> Option<(Batch, u64)> {
        let behind = self.batch.from(first)?;
        let part = behind.at_most(max_bytes);
        let left = (behind.size() - part.size()) as u64;
        Some((part, self.end - left))
    }
}

impl Tail {
    /// How many bytes are here.
    pub(super) fn bytes(&self) -> u64 {
        self.end - self.batches.front().map_or(self.end, Placed::start)
    }

    /// How many bytes there are behind the batch with this entry.
    pub(super) fn bytes_behind(&self, index: u64) -> u64 {
        self.end - self.end_of(index)
    }

    /// The index of the first entry that is here.
    pub(super) fn first(&self) -> Option<u64> {
        self.batches.front().map(|placed| placed.batch.first())
    }

    /// Puts entries behind the last.
    pub(super) fn push(&mut self, batch: Batch) {
        self.end += batch.size() as u64;
        let end = self.end;
        self.batches.push_back(Placed { end, batch });
        self.loose += 1;
    }

    /// Joins small batches that end by this index, but for the newest: those are on their way.
    pub(super) fn join(&mut self, last: u64) {
        if self.loose < 2 * JOINED {
            return;
        }
        let start = self.batches.len().saturating_sub(self.loose);
        let Some(end) = self.batches.get(start + JOINED - 1) else {
            // Some were dropped.
            self.loose = self.batches.len();
            return;
        };
        if end.batch.last() > last {
            return;
        }
        let end = end.end;
        self.loose -= JOINED;
        let some = self.batches.range(start..start + JOINED);
        if let Some(batch) = Batch::joined(some.map(|placed| &placed.batch)) {
            self.batches.drain(start + 1..start + JOINED);
            if let Some(placed) = self.batches.get_mut(start) {
                *placed = Placed { end, batch };
            }
        }
    }

    /// Drops all entries behind this index.
    pub(super) fn truncate(&mut self, last: u64) {
        while let Some(placed) = self.batches.back_mut() {
            self.end = placed.start();
            if let Some(part) = placed.batch.up_to(last) {
                self.end += part.size() as u64;
                placed.end = self.end;
                placed.batch = part;
                return;
            }
            self.batches.pop_back();
        }
    }

    /// Drops the oldest batches that end by this index, until there are no more bytes than that.
    pub(super) fn shrink(&mut self, last: u64, bytes: u64) {
        while let Some(placed) = self.batches.front() {
            let total = self.end - placed.start();
            if total <= bytes || placed.batch.last() > last {
                return;
            }
            self.batches.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        self.batches.clear();
    }

    #[inline]
    fn at(&self, index: u64) -> Option<&Placed> {
        // Most often it is the last.
        let newest = self.batches.back()?;
        if index >= newest.batch.first() {
            return (index <= newest.batch.last()).then_some(newest);
        }
        self.search(index)
    }

    fn search(&self, index: u64) -> Option<&Placed> {
        // Else one of the last.
        let mut newest = self.batches.iter().rev().take(4);
        if let Some(placed) = newest.find(|placed| placed.batch.first() <= index) {
            return (index <= placed.batch.last()).then_some(placed);
        }
        let at = self
            .batches
            .partition_point(|placed| placed.batch.last() < index);
        self.batches
            .get(at)
            .filter(|placed| placed.batch.first() <= index)
    }

    /// The batch that has this entry.
    pub(super) fn holding(&self, index: u64) -> Option<&Batch> {
        self.at(index).map(|placed| &placed.batch)
    }

    /// The batch that begins with this entry.
    pub(super) fn beginning_with(&self, first: u64) -> Option<&Batch> {
        let placed = self.at(first)?;
        (placed.batch.first() == first).then_some(&placed.batch)
    }

    /// The entry at `first` and as many of its batch as have no more than so many bytes; and where their bytes end.
    #[inline]
    pub(super) fn get(&self, first: u64, max_bytes: usize) -> Option<(Batch, u64)> {
        let placed = self.at(first)?;
        if placed.batch.first() == first && placed.batch.size() <= max_bytes {
            return Some((placed.batch.clone(), placed.end));
        }
        placed.part(first, max_bytes)
    }

    /// Where the bytes of the batch with this entry end; of older ones, where those begin that are here.
    pub(super) fn end_of(&self, index: u64) -> u64 {
        match self.at(index) {
            Some(placed) => placed.end,
            None if self.first().is_none_or(|first| index >= first) => self.end,
            None => self.batches.front().map_or(self.end, Placed::start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Draft, EntryKind};
    use super::*;

    /// So many entries of 11 bytes each, behind those that are there.
    fn push(tail: &mut Tail, first: u64, count: u64) {
        let mut draft = Draft::default();
        for index in first..first + count {
            draft.push(EntryKind::Proposal, format!("{index:06}").as_bytes());
        }
        tail.push(draft.seal(first, 1).unwrap());
    }

    fn indices(found: Option<(Batch, u64)>) -> Option<(u64, u64, u64)> {
        found.map(|(batch, end)| (batch.first(), batch.last(), end))
    }

    #[test]
    fn any_entry_is_found_with_those_behind_it_in_its_batch() {
        let mut tail = Tail::default();
        push(&mut tail, 5, 3);
        push(&mut tail, 8, 1);
        push(&mut tail, 9, 4);
        assert_eq!(indices(tail.get(4, 999)), None);
        assert_eq!(indices(tail.get(5, 999)), Some((5, 7, 33)));
        assert_eq!(indices(tail.get(6, 999)), Some((6, 7, 33)));
        assert_eq!(indices(tail.get(6, 12)), Some((6, 6, 22)));
        assert_eq!(indices(tail.get(8, 1)), Some((8, 8, 44)), "one at least");
        assert_eq!(indices(tail.get(10, 22)), Some((10, 11, 77)));
        assert_eq!(indices(tail.get(13, 999)), None);
        assert_eq!((tail.end, tail.end_of(12), tail.end_of(13)), (88, 88, 88));
        assert_eq!(
            (tail.end_of(8), tail.end_of(6), tail.end_of(2)),
            (44, 33, 0)
        );
    }

    #[test]
    fn it_is_cut_within_batches_and_goes_on() {
        let mut tail = Tail::default();
        push(&mut tail, 1, 3);
        push(&mut tail, 4, 3);
        tail.truncate(4);
        assert_eq!(
            (tail.end, indices(tail.get(4, 999))),
            (44, Some((4, 4, 44)))
        );
        push(&mut tail, 5, 2);
        assert_eq!(indices(tail.get(5, 999)), Some((5, 6, 66)));
        tail.truncate(2);
        assert_eq!(
            (tail.end, indices(tail.get(1, 999))),
            (22, Some((1, 2, 22)))
        );
        tail.truncate(0);
        assert_eq!((tail.end, tail.first()), (0, None));
    }

    #[test]
    fn what_is_old_goes_when_there_is_too_much_and_not_sooner() {
        let mut tail = Tail::default();
        for first in 1..=10 {
            push(&mut tail, first, 1);
        }
        tail.shrink(10, 110);
        assert_eq!(tail.first(), Some(1));
        tail.shrink(3, 22);
        assert_eq!(tail.first(), Some(4), "the others are needed");
        tail.shrink(10, 22);
        assert_eq!((tail.first(), tail.end_of(1)), (Some(9), 88));
    }

    #[test]
    fn short_batches_that_are_on_the_disk_become_one_but_for_the_newest() {
        let mut tail = Tail::default();
        for first in 1..=127 {
            push(&mut tail, first, 1);
        }
        tail.join(127);
        assert_eq!(indices(tail.get(1, 999)), Some((1, 1, 11)), "too few");
        push(&mut tail, 128, 1);
        tail.join(63);
        assert_eq!(indices(tail.get(1, 999)), Some((1, 1, 11)), "not durable");
        tail.join(64);
        assert_eq!(indices(tail.get(1, 999)), Some((1, 64, 704)));
        assert_eq!(indices(tail.get(60, 22)), Some((60, 61, 671)));
        assert_eq!(indices(tail.get(65, 999)), Some((65, 65, 715)));
        let numbers = tail
            .get(1, 999)
            .unwrap()
            .0
            .entries()
            .map(|entry| entry.data);
        assert!(numbers.eq((1..=64).map(|index| format!("{index:06}"))));
        // Cut within what was joined, it goes on as before.
        tail.truncate(60);
        for first in 61..=200 {
            push(&mut tail, first, 1);
            tail.join(first);
            assert_eq!(
                indices(tail.get(first, 999)),
                Some((first, first, 11 * first))
            );
        }
        assert_eq!(tail.bytes(), 2200);
    }

    #[test]
    fn what_is_long_or_of_another_term_is_not_joined() {
        let mut tail = Tail::default();
        for first in 1..=128 {
            let mut draft = Draft::default();
            draft.push(EntryKind::Proposal, b"x");
            tail.push(draft.seal(first, 1 + first / 40).unwrap());
        }
        tail.join(128);
        assert_eq!(indices(tail.get(1, 999)), Some((1, 1, 6)));
        let mut tail = Tail::default();
        for first in 1..=128 {
            let mut draft = Draft::default();
            draft.push(EntryKind::Proposal, &[7; 200]);
            tail.push(draft.seal(first, 1).unwrap());
        }
        tail.join(128);
        assert_eq!(indices(tail.get(1, 999)), Some((1, 1, 205)));
    }
}
