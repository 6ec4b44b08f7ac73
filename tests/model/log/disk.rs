//! A disk that keeps what it is given, entry by entry, and what can be known of a log by it.

use bytes::{Bytes, BytesMut};
use streamraft::raft::{Batch, Entry, EntryKind, Read, Recovered, Snapshot, SnapshotPart, Write};
use streamraft::{HardState, LogPosition};

use crate::log::bounds::PART;

/// What is on a disk, as the contract of `LogStore` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    pub(crate) hard_state: Option<HardState<u8>>,
    snapshot: Option<(Snapshot, Bytes)>,
    partial: Option<(Snapshot, Bytes)>,
    purged: Held,
    entries: Vec<Entry>,
}

/// A position in a log, and a digest of all entries up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) position: LogPosition,
    pub(crate) digest: u32,
}

impl Held {
    /// With one more entry (FNV-1a).
    fn and(self, entry: &Entry) -> Self {
        let kind = u8::from(entry.kind == EntryKind::Proposal);
        let term = entry.term.to_le_bytes();
        let bytes = term.iter().chain([&kind]).chain(&entry.data);
        let start = self.digest ^ 0x811c_9dc5;
        Self {
            position: LogPosition::new(entry.term, entry.index),
            digest: bytes.fold(start, |sum, byte| {
                (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            }),
        }
    }

    /// A state machine that has applied all up to here, in letters.
    pub(crate) fn state(self) -> Bytes {
        let letter = |at: u32| b'a' + u8::try_from(self.digest >> (4 * at) & 15).expect("4 bits");
        (0..8).map(letter).collect()
    }

    fn of_state(snapshot: &Snapshot, state: &[u8]) -> Self {
        let bits = |(at, letter): (usize, &u8)| u32::from(letter - b'a') << (4 * at);
        Self {
            position: snapshot.position,
            digest: state.iter().enumerate().map(bits).sum(),
        }
    }
}

/// What is known of a log: of every entry that is there, and of the last one that is in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// The last entry before the others.
    base: Held,
    held: Vec<Held>,
    /// The end of the installed snapshot.
    pub(crate) snapshot: Held,
}

impl Log {
    pub(crate) fn last(&self) -> Held {
        self.held.last().copied().unwrap_or(self.base)
    }

    pub(crate) fn at(&self, index: u64) -> Option<Held> {
        let mut all = self.all();
        all.find(|held| held.position.index == index)
    }

    /// What is known, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Held> + use<'_> {
        std::iter::once(self.base).chain(self.held.iter().copied())
    }

    /// Whether all up to this is there or in the snapshot.
    pub(crate) fn covers(&self, held: Held) -> bool {
        held.position.index <= self.snapshot.position.index
            || self.at(held.position.index) == Some(held)
    }
}

impl Disk {
    pub(crate) fn log(&self) -> Log {
        let snapshot = self.installed();
        let mut log = Log {
            base: self.purged,
            held: Vec::new(),
            snapshot,
        };
        for entry in &self.entries {
            let held = log.last().and(entry);
            log.held.push(held);
        }
        if log.at(snapshot.position.index).map(|held| held.position) != Some(snapshot.position) {
            // The log goes on from the snapshot: it went down before it could say so.
            (log.base, log.held) = (snapshot, Vec::new());
        }
        log
    }

    fn installed(&self) -> Held {
        self.snapshot
            .as_ref()
            .map_or(Held::default(), |(snapshot, data)| {
                Held::of_state(snapshot, data)
            })
    }

    pub(crate) fn recovered(&self) -> Recovered<u8> {
        let mut recovered = Recovered::default();
        recovered.hard_state = self.hard_state.clone();
        recovered.snapshot = self.snapshot.as_ref().map(|(snapshot, _)| *snapshot);
        recovered.purged = self.purged.position;
        for entry in &self.entries {
            let position = LogPosition::new(entry.term, entry.index);
            if recovered
                .terms
                .last()
                .is_none_or(|run| run.term != entry.term)
            {
                recovered.terms.push(position);
            }
        }
        let last = self.entries.last();
        recovered.last = last.map_or(self.purged.position.index, |entry| entry.index);
        recovered
    }

    pub(crate) fn apply(&mut self, write: &Write<u8>) {
        match write {
            Write::Save(hard_state) => self.hard_state = Some(hard_state.clone()),
            Write::Append(batch) => self.append(batch, usize::MAX),
            Write::Truncate(last) => self.entries.retain(|entry| entry.index <= *last),
            Write::Purge(position) => self.purge(*position),
            Write::WriteSnapshot(part) => self.write_part(part),
            Write::InstallSnapshot(snapshot) => {
                self.snapshot = self.partial.take();
                let installed = self.snapshot.as_ref().map(|(installed, _)| installed);
                assert_eq!(installed, Some(snapshot), "it was written whole");
            }
            Write::Reset(position) => {
                self.purged = self.installed();
                assert_eq!(
                    self.purged.position, *position,
                    "it is where the snapshot ends"
                );
                self.entries.clear();
            }
        }
    }

    /// So many entries of a batch.
    pub(crate) fn append(&mut self, batch: &Batch, count: usize) {
        let next = self
            .entries
            .last()
            .map_or(self.purged.position.index, |entry| entry.index)
            + 1;
        assert_eq!(batch.first(), next, "it follows");
        self.entries.extend(batch.entries().take(count));
    }

    fn purge(&mut self, position: LogPosition) {
        let gone = self
            .entries
            .partition_point(|entry| entry.index <= position.index);
        for entry in self.entries.drain(..gone) {
            self.purged = self.purged.and(&entry);
        }
        assert_eq!(self.purged.position, position, "it was there");
    }

    fn write_part(&mut self, part: &SnapshotPart) {
        let before = self.partial.take().filter(|_| part.offset > 0);
        let (_, data) = before.unwrap_or((part.snapshot, Bytes::new()));
        assert_eq!(data.len() as u64, part.offset, "parts follow");
        let mut data = BytesMut::from(&*data);
        data.extend_from_slice(&part.data);
        self.partial = Some((part.snapshot, data.freeze()));
    }

    /// Loses the entry that was flushed last.
    pub(crate) fn forget(&mut self) {
        self.entries.pop();
    }

    /// All entries of one term from this one on, as far as a message carries them.
    pub(crate) fn read(&self, read: Read) -> Found {
        match read {
            Read::Entries { first, max_bytes } => {
                let at = |entry: &&Entry| entry.index >= first;
                let found = self.entries.iter().filter(at);
                let mut found = found.peekable();
                let term = found.peek().expect("what was flushed can be read").term;
                let same = found.take_while(|entry| entry.term == term);
                let mut records = BytesMut::new();
                for entry in same {
                    let len = u32::try_from(entry.data.len()).expect("short");
                    records.extend_from_slice(&len.to_le_bytes());
                    records.extend_from_slice(&[u8::from(entry.kind == EntryKind::Proposal)]);
                    records.extend_from_slice(&entry.data);
                }
                let batch = Batch::new(first, term, records.freeze()).expect("good records");
                Found::Entries(batch.at_most(max_bytes))
            }
            Read::Snapshot { offset, max_bytes } => {
                let (_, data) = self
                    .snapshot
                    .as_ref()
                    .expect("what was flushed can be read");
                let start = usize::try_from(offset).expect("short");
                let end = data.len().min(start + max_bytes.min(PART));
                Found::Part(offset, data.slice(start..end))
            }
            _ => unreachable!("no other read"),
        }
    }
}

/// What a read gives.
pub(crate) enum Found {
    Entries(Batch),
    Part(u64, Bytes),
}
