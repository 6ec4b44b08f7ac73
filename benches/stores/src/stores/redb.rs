//! One B-tree file, copied on write. By default a commit is one sync, "2pc" makes it two, "quick" also saves what a
//! restart after a crash would have to work out.

use std::path::Path;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::log::{Content, Log, Result, collect};

const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const HARD: TableDefinition<(), u64> = TableDefinition::new("hard");

pub struct Redb {
    database: Database,
    two_phases: bool,
    quick: bool,
}

impl Redb {
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        let database = Builder::new()
            .set_cache_size(64 << 20)
            .set_check_integrity_on_open(std::env::var_os("TRUSTING").is_none())
            .create(folder.join("log.redb"))?;
        Ok(Self {
            database,
            two_phases: name == "redb 2pc",
            quick: name == "redb quick",
        })
    }

    fn change(&self, change: impl FnOnce(&redb::WriteTransaction) -> Result<()>) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_two_phase_commit(self.two_phases);
        transaction.set_quick_repair(self.quick);
        change(&transaction)?;
        Ok(transaction.commit()?)
    }
}

impl Log for Redb {
    fn append(&mut self, first: u64, entries: &[Vec<u8>], hard: u64) -> Result<()> {
        self.change(|transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            if table.last()?.is_some_and(|(last, _)| last.value() >= first) {
                table.retain_in(first.., |_, _| false)?;
            }
            for (index, entry) in (first..).zip(entries) {
                table.insert(index, entry.as_slice())?;
            }
            transaction.open_table(HARD)?.insert((), hard)?;
            Ok(())
        })
    }

    fn purge(&mut self, through: u64) -> Result<()> {
        self.change(|transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            table.retain_in(..=through, |_, _| false)?;
            Ok(())
        })
    }

    fn read(&self) -> Result<Content> {
        let transaction = self.database.begin_read()?;
        let hard = match transaction.open_table(HARD) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Content::default()),
            table => table?.get(())?.map_or(0, |hard| hard.value()),
        };
        let table = transaction.open_table(ENTRIES)?;
        collect(
            hard,
            table.iter()?.map(|row| {
                row.map(|(index, entry)| (index.value(), entry.value().to_vec()))
                    .map_err(Into::into)
            }),
        )
    }
}
