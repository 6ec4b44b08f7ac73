//! A log-structured merge tree: a journal that is synced, and sorted tables made of it in the background.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::log::{Content, Log, Result, collect};

pub struct Fjall {
    database: Database,
    entries: Keyspace,
    hard: Keyspace,
    last: u64,
    first: u64,
}

impl Fjall {
    pub fn open(folder: &Path) -> Result<Self> {
        let database = Database::builder(folder).cache_size(64 << 20).open()?;
        let entries = database.keyspace("entries", KeyspaceCreateOptions::default)?;
        let hard = database.keyspace("hard", KeyspaceCreateOptions::default)?;
        let index = |guard: Option<fjall::Guard>| -> Result<u64> {
            Ok(match guard {
                Some(guard) => number(&guard.key()?)?,
                None => 0,
            })
        };
        let last = index(entries.last_key_value())?;
        let first = index(entries.first_key_value())?;
        Ok(Self {
            database,
            entries,
            hard,
            last,
            first,
        })
    }
}

fn number(bytes: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(bytes.try_into()?))
}

impl Log for Fjall {
    fn append(&mut self, first: u64, entries: &[Vec<u8>], hard: u64) -> Result<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        let last = first + entries.len() as u64 - 1;
        for index in last + 1..=self.last {
            batch.remove(&self.entries, index.to_be_bytes());
        }
        for (index, entry) in (first..).zip(entries) {
            batch.insert(&self.entries, index.to_be_bytes(), entry.as_slice());
        }
        batch.insert(&self.hard, "hard", hard.to_be_bytes());
        batch.commit()?;
        self.last = last;
        Ok(())
    }

    fn purge(&mut self, through: u64) -> Result<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for index in self.first..=through {
            batch.remove(&self.entries, index.to_be_bytes());
        }
        batch.commit()?;
        self.first = through + 1;
        Ok(())
    }

    fn read(&self) -> Result<Content> {
        let hard = match self.hard.get("hard")? {
            Some(hard) => number(&hard)?,
            None => return Ok(Content::default()),
        };
        collect(
            hard,
            self.entries.iter().map(|guard| {
                let (index, entry) = guard.into_inner()?;
                Ok((number(&index)?, entry.to_vec()))
            }),
        )
    }
}
