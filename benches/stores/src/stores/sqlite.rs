//! SQLite with its write-ahead log, synced at every commit. In C.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use crate::log::{Content, Log, Result, collect};

pub struct Sqlite(Connection);

impl Sqlite {
    pub fn open(folder: &Path) -> Result<Self> {
        let connection = Connection::open(folder.join("log.sqlite"))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA locking_mode = EXCLUSIVE;
             CREATE TABLE IF NOT EXISTS entries (i INTEGER PRIMARY KEY, entry BLOB NOT NULL);
             CREATE TABLE IF NOT EXISTS hard (i INTEGER PRIMARY KEY, hard INTEGER NOT NULL);",
        )?;
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(check.into());
        }
        Ok(Self(connection))
    }
}

impl Log for Sqlite {
    fn append(&mut self, first: u64, entries: &[Vec<u8>], hard: u64) -> Result<()> {
        let transaction = self.0.transaction()?;
        transaction
            .prepare_cached("DELETE FROM entries WHERE i >= ?")?
            .execute([first as i64])?;
        let mut insert = transaction.prepare_cached("INSERT INTO entries VALUES (?, ?)")?;
        for (index, entry) in (first..).zip(entries) {
            insert.execute(params![index as i64, entry])?;
        }
        drop(insert);
        transaction
            .prepare_cached("INSERT OR REPLACE INTO hard VALUES (0, ?)")?
            .execute([hard as i64])?;
        Ok(transaction.commit()?)
    }

    fn purge(&mut self, through: u64) -> Result<()> {
        self.0
            .execute("DELETE FROM entries WHERE i <= ?", [through as i64])?;
        Ok(())
    }

    fn read(&self) -> Result<Content> {
        let hard: Option<i64> = self
            .0
            .query_row("SELECT hard FROM hard", [], |row| row.get(0))
            .optional()?;
        let Some(hard) = hard else {
            return Ok(Content::default());
        };
        let mut select = self.0.prepare("SELECT i, entry FROM entries ORDER BY i")?;
        let rows = select.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)))?;
        collect(hard as u64, rows.map(|row| Ok(row?)))
    }
}
