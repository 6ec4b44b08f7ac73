//! This crate's own store, which is redb in two phases with pieces of entries as its values, on tokio's blocking pool.

use std::future::poll_fn;
use std::path::Path;

use streamraft::raft::{Batch, DiskLog as Store, LogStore, Recovered};
use streamraft::{HardState, LogPosition, Membership, NodeId};
use tokio::runtime::{Builder, Runtime};

use crate::log::{Content, Log, Result};

pub struct DiskLog {
    store: std::cell::RefCell<Store>,
    recovered: Recovered,
    runtime: Runtime,
    hard_state: HardState,
}

impl DiskLog {
    pub fn open(folder: &Path) -> Result<Self> {
        let me: NodeId = "a".parse()?;
        let mut store = Store::open(folder, &me, "bench")?;
        Ok(Self {
            recovered: store.recovered(),
            store: store.into(),
            runtime: Builder::new_current_thread().build()?,
            hard_state: HardState::new(0, Some(me.clone()), Membership::initial([me])),
        })
    }

    fn flush(&mut self) -> Result<()> {
        let store = self.store.get_mut();
        Ok(self.runtime.block_on(poll_fn(|cx| store.poll_flush(cx)))?)
    }
}

impl Log for DiskLog {
    fn append(&mut self, first: u64, entries: &[Vec<u8>], hard: u64) -> Result<()> {
        let mut records = Vec::new();
        for entry in entries {
            records.extend((entry.len() as u32).to_le_bytes());
            records.push(1);
            records.extend(entry);
        }
        let membership = self.hard_state.membership().clone();
        let voted_for = self.hard_state.voted_for().cloned();
        let store = self.store.get_mut();
        store.save(&HardState::new(hard, voted_for, membership));
        if first <= self.recovered.last {
            store.truncate(first - 1);
        }
        let batch = Batch::new(first, 1, records.into())?;
        store.append(&batch);
        self.recovered.last = batch.last();
        self.flush()
    }

    fn purge(&mut self, through: u64) -> Result<()> {
        self.store.get_mut().purge(LogPosition::new(1, through));
        self.recovered.purged.index = through;
        self.flush()
    }

    fn read(&self) -> Result<Content> {
        let hard = self
            .recovered
            .hard_state
            .as_ref()
            .map_or(0, HardState::term);
        let first = self.recovered.purged.index + 1;
        let mut content = Content {
            hard,
            first,
            entries: Vec::new(),
        };
        let store = &mut *self.store.borrow_mut();
        let mut next = first;
        while next <= self.recovered.last {
            let batch = self
                .runtime
                .block_on(poll_fn(|cx| store.poll_read(cx, next, 1 << 20)))?;
            next = batch.last() + 1;
            content
                .entries
                .extend(batch.entries().map(|entry| entry.data.to_vec()));
        }
        Ok(content)
    }
}
