//! Which term the entry at an index is of, for the whole log, in as little room as there were leaders.

use super::store::Recovered;
use crate::message::LogPosition;

/// The terms of all entries, without the entries: one run a term. Terms never fall from one entry to the next, so whether two
/// logs agree at a position is known without a look at an entry (paper 5.3, log matching).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    /// The position before the first entry.
    purged: LogPosition,
    /// The first index of each term. In order of index and of term.
    runs: Vec<LogPosition>,
    last: LogPosition,
}

impl Terms {
    /// What a store holds; none if it cannot have been written by a node.
    pub(super) fn of<I>(recovered: &Recovered<I>) -> Option<Self> {
        let Recovered {
            purged,
            terms,
            last,
            ..
        } = recovered;
        let starts = terms.first().map_or(*last, |run| run.index.wrapping_sub(1)) == purged.index;
        let rises =
            |pair: &[LogPosition]| matches!(pair, [a, b] if a.index < b.index && a.term < b.term);
        let is_sound = starts
            && terms.windows(2).all(rises)
            && terms.first().is_none_or(|run| run.term >= purged.term)
            && terms.last().is_none_or(|run| run.index <= *last)
            && *last < super::entry::MAX_INDEX;
        let term = terms.last().map_or(purged.term, |run| run.term);
        is_sound.then(|| Self {
            purged: *purged,
            runs: terms.clone(),
            last: LogPosition::new(term, *last),
        })
    }

    /// The position of the last entry.
    pub(super) fn last(&self) -> LogPosition {
        self.last
    }

    /// The position before the first entry that is there.
    pub(super) fn purged(&self) -> LogPosition {
        self.purged
    }

    /// The term of the entry at this index, or of the one before the first; none for all others.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        if index > self.last.index || index < self.purged.index {
            return None;
        }
        if index == self.last.index {
            return Some(self.last.term);
        }
        if index == self.purged.index {
            return Some(self.purged.term);
        }
        let behind = self.runs.partition_point(|run| run.index <= index);
        self.runs.get(behind.checked_sub(1)?).map(|run| run.term)
    }

    /// Whether the entry at this position is there, or was before it was purged.
    pub(super) fn has(&self, position: LogPosition) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The last position not behind this one in index nor in term: no later one can be in a log of which this is the last that
    /// may agree.
    pub(super) fn agree(&self, hint: LogPosition) -> LogPosition {
        let mut index = hint.index.min(self.last.index);
        while let Some(term) = self.term_at(index) {
            if term <= hint.term || index == self.purged.index {
                return LogPosition::new(term, index);
            }
            // The whole run is of too new a term.
            let behind = self.runs.partition_point(|run| run.index <= index);
            let start = behind.checked_sub(1).and_then(|at| self.runs.get(at));
            index = start.map_or(self.purged.index, |run| run.index - 1);
        }
        self.purged
    }

    /// The first index from `first` to `last` at which there is no entry of this term; none if all of them are.
    pub(super) fn first_other(&self, term: u64, first: u64, last: u64) -> Option<u64> {
        if self.term_at(last) == Some(term) && self.term_at(first) == Some(term) {
            return None;
        }
        if self.term_at(first) != Some(term) {
            return Some(first);
        }
        let behind = self.runs.partition_point(|run| run.index <= first);
        let end = self
            .runs
            .get(behind)
            .map_or(self.last.index + 1, |run| run.index);
        Some(end)
    }

    /// So many more entries of this term.
    pub(super) fn extend(&mut self, term: u64, count: u64) {
        let first = self.last.index + 1;
        if self.runs.last().is_none_or(|run| run.term != term) {
            self.runs.push(LogPosition::new(term, first));
        }
        self.last = LogPosition::new(term, self.last.index + count);
    }

    /// Drops all entries behind this index, which is not before the first.
    pub(super) fn truncate(&mut self, last: u64) {
        let last = last.max(self.purged.index);
        let kept = self.runs.partition_point(|run| run.index <= last);
        self.runs.truncate(kept);
        let term = self.runs.last().map_or(self.purged.term, |run| run.term);
        self.last = LogPosition::new(term, last.min(self.last.index));
    }

    /// Drops all entries up to and with this index, which is there.
    pub(super) fn purge(&mut self, index: u64) {
        let Some(term) = self.term_at(index) else {
            return;
        };
        self.purged = LogPosition::new(term, index);
        let ended = self.runs.partition_point(|run| run.index <= index);
        self.runs.drain(..ended.saturating_sub(1));
        if let Some(run) = self.runs.first_mut().filter(|run| run.index <= index) {
            run.index = index + 1;
        }
        if index == self.last.index {
            self.runs.clear();
        }
    }

    /// Drops all entries: the log goes on behind this position.
    pub(super) fn reset(&mut self, position: LogPosition) {
        self.runs.clear();
        self.purged = position;
        self.last = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition::new(term, index)
    }

    /// Terms 1 1 1 4 4 5 5 6 6 6 at the indices 1 to 10, as in figure 7 of the paper.
    fn figure_7() -> Terms {
        let mut terms = Terms::of(&Recovered::<u64>::default()).unwrap();
        for (term, count) in [(1, 3), (4, 2), (5, 2), (6, 3)] {
            terms.extend(term, count);
        }
        terms
    }

    #[test]
    fn every_index_has_its_term_and_no_other_has_one() {
        let terms = figure_7();
        let found: Vec<_> = (0..12).map(|index| terms.term_at(index)).collect();
        let expected = [0, 1, 1, 1, 4, 4, 5, 5, 6, 6, 6].map(Some);
        assert_eq!(found, [&expected[..], &[None]].concat());
        assert!(terms.has(at(5, 7)) && !terms.has(at(4, 7)) && !terms.has(at(6, 11)));
    }

    #[test]
    fn where_two_logs_may_agree() {
        let terms = figure_7();
        let cases = [
            (at(6, 10), at(6, 10)),
            (at(6, 99), at(6, 10)),
            (at(5, 9), at(5, 7)),
            (at(4, 9), at(4, 5)),
            (at(3, 9), at(1, 3)),
            (at(3, 2), at(1, 2)),
            (at(0, 9), at(0, 0)),
        ];
        for (hint, expected) in cases {
            assert_eq!(terms.agree(hint), expected, "{hint:?}");
        }
    }

    #[test]
    fn the_first_entry_of_another_term() {
        let terms = figure_7();
        assert_eq!(terms.first_other(6, 8, 10), None);
        assert_eq!(terms.first_other(6, 7, 10), Some(7));
        assert_eq!(terms.first_other(5, 6, 9), Some(8));
        assert_eq!(terms.first_other(6, 9, 12), Some(11), "the log ends");
    }

    #[test]
    fn what_is_dropped_at_either_end_is_gone() {
        let mut terms = figure_7();
        terms.truncate(6);
        assert_eq!(terms.last(), at(5, 6));
        terms.extend(7, 1);
        assert_eq!((terms.last(), terms.term_at(6)), (at(7, 7), Some(5)));
        terms.purge(4);
        assert_eq!(terms.purged(), at(4, 4));
        assert_eq!((terms.term_at(3), terms.term_at(5)), (None, Some(4)));
        assert_eq!(terms.agree(at(4, 9)), at(4, 5));
        assert_eq!(
            terms.agree(at(3, 9)),
            at(4, 4),
            "not before what was purged"
        );
        terms.truncate(2);
        assert_eq!(terms.last(), at(4, 4));
        terms.extend(8, 2);
        terms.purge(6);
        assert_eq!((terms.last(), terms.purged()), (at(8, 6), at(8, 6)));
        terms.extend(8, 1);
        assert_eq!(terms.term_at(7), Some(8));
        terms.reset(at(9, 50));
        assert_eq!((terms.last(), terms.term_at(7)), (at(9, 50), None));
    }

    #[test]
    fn what_no_node_wrote_is_refused() {
        let with = |purged, terms: &[LogPosition], last| {
            let mut recovered = Recovered::<u64>::default();
            (recovered.purged, recovered.terms, recovered.last) = (purged, terms.to_vec(), last);
            Terms::of(&recovered).is_some()
        };
        assert!(with(at(0, 0), &[at(1, 1), at(3, 4)], 4));
        assert!(with(at(2, 7), &[at(2, 8)], 9) && with(at(2, 7), &[], 7));
        assert!(!with(at(0, 0), &[at(1, 0)], 4));
        assert!(!with(at(0, 0), &[at(1, 2)], 4), "a gap");
        assert!(!with(at(0, 0), &[at(3, 1), at(2, 2)], 4), "terms fall");
        assert!(
            !with(at(0, 0), &[at(1, 1), at(3, 4)], 3),
            "a run behind the end"
        );
        assert!(!with(at(2, 7), &[], 9) && !with(at(2, 7), &[at(1, 8)], 9));
    }
}
