//! The newest entries, in memory: what followers are sent and what state machines are given without a look at the disk.

use std::collections::VecDeque;

use super::entry::Batch;

/// The newest batches of the log, without gaps, and how many bytes went through before each. Everything that is not durable and
/// committed is here; behind that as much as was allowed for.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    batches: VecDeque<Placed>,
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
}

impl Tail {
    /// Where the bytes of the last entry end.
    pub(super) fn end(&self) -> u64 {
        self.end
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

    fn at(&self, index: u64) -> Option<&Placed> {
        // Most often it is one of the last.
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

    /// The entry at `first` and as many of its batch as have no more than so many bytes; and where their bytes end.
    pub(super) fn get(&self, first: u64, max_bytes: usize) -> Option<(Batch, u64)> {
        let placed = self.at(first)?;
        if placed.batch.first() == first && placed.batch.size() <= max_bytes {
            return Some((placed.batch.clone(), placed.end));
        }
        let behind = placed.batch.from(first)?;
        let part = behind.at_most(max_bytes);
        let left = (behind.size() - part.size()) as u64;
        Some((part, placed.end - left))
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
        assert_eq!((tail.end(), tail.end_of(12), tail.end_of(13)), (88, 88, 88));
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
            (tail.end(), indices(tail.get(4, 999))),
            (44, Some((4, 4, 44)))
        );
        push(&mut tail, 5, 2);
        assert_eq!(indices(tail.get(5, 999)), Some((5, 6, 66)));
        tail.truncate(2);
        assert_eq!(
            (tail.end(), indices(tail.get(1, 999))),
            (22, Some((1, 2, 22)))
        );
        tail.truncate(0);
        assert_eq!((tail.end(), tail.first()), (0, None));
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
}
