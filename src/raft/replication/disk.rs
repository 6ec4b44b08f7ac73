//! What was handed over to the store, what waits to be, and what is durable.
//!
//! There is no queue: what waits is one thing of each sort, and the entries between two indices. One flush at a time; what is
//! handed over meanwhile is part of the next (group commit).

use std::sync::Arc;
use std::time::Instant;

use crate::id::Id;
use crate::message::LogPosition;
use crate::raft::store::{Snapshot, SnapshotPart, Write};
use crate::state::HardState;

#[derive(Clone, Debug)]
pub(super) struct Disk<I> {
    /// The hard state that was handed over last; none before the first.
    saved: Option<HardState<I>>,
    stage: Stage,
    /// How far the snapshot is that was installed last.
    installed: Stage,
    /// The last entry that was handed over.
    pub(super) handed: u64,
    /// The last entry that is durable, with all before it.
    pub(super) stable: u64,
    /// The store holds entries behind this index that are no more in the log.
    pub(super) truncate: Option<u64>,
    pub(super) part: Option<SnapshotPart>,
    pub(super) install: Option<Snapshot>,
    pub(super) reset: Option<LogPosition>,
    pub(super) purge: Option<LogPosition>,
    /// Something was handed over since the last flush began.
    pub(super) is_dirty: bool,
    flush: Option<Flush>,
}

/// How far something is that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handed,
    Flushing,
    Durable,
}

impl Stage {
    fn turn(&mut self, from: Self, to: Self) {
        if *self == from {
            *self = to;
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Flush {
    began: Instant,
    /// The last entry that is durable when it is over.
    last: u64,
}

impl<I: Id> Disk<I> {
    /// A store that holds this, and entries up to here.
    pub(super) fn new(saved: Option<HardState<I>>, last: u64) -> Self {
        Self {
            saved,
            stage: Stage::Durable,
            installed: Stage::Durable,
            handed: last,
            stable: last,
            truncate: None,
            part: None,
            install: None,
            reset: None,
            purge: None,
            is_dirty: false,
            flush: None,
        }
    }

    /// The next thing to hand over before any entries. First of all the hard state: nothing is durable of a term that is not.
    pub(super) fn next_write(&mut self, hard_state: &HardState<I>) -> Option<Write<I>> {
        let write = if let Some(hard_state) = self.save(hard_state) {
            Write::Save(hard_state)
        } else if let Some(part) = self.part.take() {
            Write::WriteSnapshot(part)
        } else if let Some(snapshot) = self.install.take() {
            self.installed = Stage::Handed;
            Write::InstallSnapshot(snapshot)
        } else if let Some(position) = self.reset.take() {
            Write::Reset(position)
        } else if let Some(last) = self.truncate.take() {
            Write::Truncate(last)
        } else {
            return None;
        };
        self.is_dirty = true;
        Some(write)
    }

    /// Takes a hard state to be handed over, unless it was.
    fn save(&mut self, hard_state: &HardState<I>) -> Option<HardState<I>> {
        if self.has_handed(hard_state) {
            return None;
        }
        self.saved = Some(hard_state.clone());
        self.stage = Stage::Handed;
        self.saved.clone()
    }

    /// Whether this hard state is durable.
    pub(super) fn has_saved(&self, hard_state: &HardState<I>) -> bool {
        self.stage == Stage::Durable && self.has_handed(hard_state)
    }

    /// Whether this hard state is the one that was handed over last. Asked at every step, and most often it is the very same.
    #[inline]
    fn has_handed(&self, hard_state: &HardState<I>) -> bool {
        self.saved.as_ref().is_some_and(|saved| {
            let is_same = Arc::ptr_eq(saved.membership(), hard_state.membership());
            saved.term() == hard_state.term()
                && saved.voted_for() == hard_state.voted_for()
                && (is_same || saved.membership() == hard_state.membership())
        })
    }

    /// Whether the newest snapshot is installed and durable.
    pub(super) fn has_installed(&self) -> bool {
        self.install.is_none() && self.installed == Stage::Durable
    }

    /// Entries behind this index are no more in the log.
    pub(super) fn truncate(&mut self, last: u64) {
        if self.handed > last {
            self.truncate = Some(self.truncate.map_or(last, |before| before.min(last)));
            self.handed = last;
        }
        self.forget(last);
    }

    /// The log goes on behind this position, and has nothing of what it had behind `kept`.
    pub(super) fn reset(&mut self, position: LogPosition, kept: u64) {
        self.truncate = None;
        self.reset = Some(position);
        self.handed = position.index;
        self.forget(kept);
    }

    /// What is or becomes durable behind this index is of no log any more: another entry at the same index is not
    /// durable with it.
    fn forget(&mut self, last: u64) {
        self.stable = self.stable.min(last);
        if let Some(flush) = &mut self.flush {
            flush.last = flush.last.min(last);
        }
    }

    pub(super) fn wants_flush(&self) -> bool {
        self.is_dirty && self.flush.is_none()
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.is_dirty = false;
        for stage in [&mut self.stage, &mut self.installed] {
            stage.turn(Stage::Handed, Stage::Flushing);
        }
        self.flush = Some(Flush {
            began: now,
            last: self.handed,
        });
    }

    /// The flush is over. Whether there was one.
    pub(super) fn complete(&mut self) -> bool {
        let Some(flush) = self.flush.take() else {
            return false;
        };
        for stage in [&mut self.stage, &mut self.installed] {
            stage.turn(Stage::Flushing, Stage::Durable);
        }
        self.stable = self.stable.max(flush.last);
        true
    }

    /// The flush has failed: all that it was to make durable still has to be.
    pub(super) fn fail(&mut self) {
        if self.flush.take().is_some() {
            self.is_dirty = true;
            for stage in [&mut self.stage, &mut self.installed] {
                stage.turn(Stage::Flushing, Stage::Handed);
            }
        }
    }

    /// Since when a flush is under way.
    pub(super) fn flushing_since(&self) -> Option<Instant> {
        self.flush.as_ref().map(|flush| flush.began)
    }

    /// Whether all that there was to write is durable.
    pub(super) fn is_quiet(&self) -> bool {
        self.part.is_none() && self.install.is_none() && !self.is_dirty && self.flush.is_none()
    }
}
