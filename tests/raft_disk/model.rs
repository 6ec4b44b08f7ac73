//! Anything a node may hand over, in any order, with reads, restarts and flushes given up: the folder holds what the
//! store in memory holds.

use proptest::prelude::*;
use streamraft::LogPosition;
use streamraft::raft::{Entry, LogStore, MemoryLog, Recovered, Write};

use crate::tools::{Folder, Store, batch, hard_state, parts, snapshot};

/// What to do, as numbers that mean something whatever the log holds.
type Act = (u8, u16, u16);

struct World {
    folder: Folder,
    store: Option<Store>,
    /// All that was handed over.
    now: MemoryLog,
    flushed: MemoryLog,
    /// What a flush that was given up may have made.
    begun: Option<MemoryLog>,
    term: u64,
}

impl World {
    fn new() -> Self {
        let folder = Folder::new();
        let store = Some(Store::open(&folder));
        Self {
            folder,
            store,
            now: MemoryLog::new(),
            flushed: MemoryLog::new(),
            begun: None,
            term: 1,
        }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn hand_over(&mut self, write: &Write) {
        write.hand_to(&mut self.now);
        write.hand_to(&mut self.store().log);
    }

    /// An index of the log, by a number.
    fn index(&self, number: u16) -> Option<u64> {
        let purged = self.now.purged().index;
        let len = self.now.last() - purged;
        (len > 0).then(|| purged + 1 + u64::from(number) % len)
    }

    fn act(&mut self, (kind, a, b): Act) {
        match kind % 16 {
            0..=4 => {
                // Now and then longer than a piece, or than a page.
                let size = match b % 16 {
                    0 => 40_000,
                    1 => 5000,
                    size => usize::from(size * 20),
                };
                let data: Vec<Vec<u8>> = (0..1 + a % 20)
                    .map(|number| vec![number.wrapping_add(b) as u8; size])
                    .collect();
                self.term += u64::from(b.is_multiple_of(5));
                let batch = batch(self.now.last() + 1, self.term, &data);
                self.hand_over(&Write::Append(batch));
            }
            5 => {
                if let Some(index) = self.index(a) {
                    self.hand_over(&Write::Truncate(index - 1));
                }
            }
            6 => {
                if let Some(index) = self.index(a) {
                    let holds = entries(&self.now).into_iter().find(|it| it.index == index);
                    let position = LogPosition::new(holds.unwrap().term, index);
                    self.hand_over(&Write::Purge(position));
                }
            }
            7 => {
                self.term += u64::from(a % 2);
                self.hand_over(&Write::Save(hard_state(self.term)));
            }
            8 => self.snapshot(a, b),
            9 | 10 => self.flush(),
            11 => self.restart(),
            12 => {
                let begun = self.now.clone();
                self.store().begin_flush();
                self.begun = Some(begun);
                if a.is_multiple_of(2) {
                    self.restart();
                } else {
                    self.flush();
                }
            }
            _ => self.read(a, b),
        }
    }

    /// A snapshot comes in: in parts, with flushes between them, and perhaps not to its end.
    fn snapshot(&mut self, a: u16, b: u16) {
        let data = vec![a as u8; usize::from(b) * 5];
        let index = self.now.last() + u64::from(a % 3);
        let snapshot = snapshot(self.term, index, &data);
        for part in parts(snapshot, &data, 1 + usize::from(a) * 2) {
            self.hand_over(&Write::WriteSnapshot(part));
            if b.is_multiple_of(7) {
                self.flush();
            }
        }
        if a.is_multiple_of(5) {
            return;
        }
        self.hand_over(&Write::InstallSnapshot(snapshot));
        if index > self.now.last() {
            self.hand_over(&Write::Reset(snapshot.position));
        }
    }

    fn flush(&mut self) {
        self.store().flush();
        self.flushed = self.now.clone();
        self.begun = None;
    }

    /// What was not flushed is gone; what a flush had begun may be there.
    fn restart(&mut self) {
        self.store = None;
        let mut store = Store::open(&self.folder);
        let recovered = store.log.recovered();
        let mut begun = self.begun.take();
        begun.take_if(|begun| begun.recovered() != recovered);
        let held = begun.unwrap_or_else(|| self.flushed.clone());
        self.flushed = held.clone();
        self.now = held;
        self.store = Some(store);
        self.check(&recovered);
    }

    /// All of it, entry by entry.
    fn check(&mut self, recovered: &Recovered) {
        assert_eq!(*recovered, self.now.clone().recovered());
        let store = self.store.as_mut().unwrap();
        let found = store.try_entries(recovered).unwrap();
        assert_eq!(found, entries(&self.now));
        if let Some((snapshot, data)) = self.now.snapshot() {
            let found = store.try_read_all(snapshot.len, 70_000).unwrap();
            assert_eq!(found, data.to_vec());
        }
    }

    fn read(&mut self, a: u16, b: u16) {
        self.flush();
        let Some(first) = self.index(a) else { return };
        let max_bytes = usize::from(b) * 2;
        let found = self.store().read(first, max_bytes);
        assert!(found.size() <= max_bytes || found.len() == 1);
        let found: Vec<Entry> = found.entries().collect();
        let mut wanted = entries(&self.now);
        wanted.retain(|entry| entry.index >= first);
        assert!(wanted.starts_with(&found) && !found.is_empty());
    }
}

fn entries(log: &MemoryLog) -> Vec<Entry> {
    let purged = log.purged().index;
    let entries = log.batches().into_iter().flat_map(|batch| batch.entries());
    entries.filter(|entry| entry.index > purged).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_holds_what_the_store_in_memory_holds(acts in prop::collection::vec(any::<Act>(), 1..40)) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
        }
        world.flush();
        world.restart();
    }
}
