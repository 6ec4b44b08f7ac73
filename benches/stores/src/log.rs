//! What every candidate has to do: keep the log of one node, and its hard state, in one flush.

use std::error::Error;
use std::path::Path;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// All that a log holds. The hard state is a number here: what it is made of is nothing to a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub hard: u64,
    /// The index of the first entry.
    pub first: u64,
    pub entries: Vec<Vec<u8>>,
}

pub trait Log {
    /// Puts these entries from `first` on in the place of whatever is there, and the hard state, durably and as a whole.
    fn append(&mut self, first: u64, entries: &[Vec<u8>], hard: u64) -> Result<()>;

    /// Forgets the entries up to and with this index.
    fn purge(&mut self, through: u64) -> Result<()>;

    fn read(&self) -> Result<Content>;
}

/// The names of those that were built in.
pub fn names() -> Vec<&'static str> {
    let mut names = vec!["own file"];
    if cfg!(feature = "raft-engine") {
        names.push("raft-engine");
    }
    if cfg!(feature = "fjall") {
        names.push("fjall");
    }
    if cfg!(feature = "redb") {
        names.extend(["redb", "redb 2pc", "redb quick"]);
    }
    if cfg!(feature = "rusqlite") {
        names.push("sqlite");
    }
    if cfg!(feature = "streamraft") {
        names.push("DiskLog");
    }
    names
}

pub fn open(name: &str, folder: &Path) -> Result<Box<dyn Log>> {
    use crate::stores;
    std::fs::create_dir_all(folder)?;
    match name {
        "own file" => Ok(Box::new(stores::own::Own::open(folder)?)),
        #[cfg(feature = "raft-engine")]
        "raft-engine" => Ok(Box::new(stores::raft_engine::RaftEngine::open(folder)?)),
        #[cfg(feature = "fjall")]
        "fjall" => Ok(Box::new(stores::fjall::Fjall::open(folder)?)),
        #[cfg(feature = "redb")]
        "redb" | "redb 2pc" | "redb quick" => Ok(Box::new(stores::redb::Redb::open(folder, name)?)),
        #[cfg(feature = "rusqlite")]
        "sqlite" => Ok(Box::new(stores::sqlite::Sqlite::open(folder)?)),
        #[cfg(feature = "streamraft")]
        "DiskLog" => Ok(Box::new(stores::disk_log::DiskLog::open(folder)?)),
        other => Err(format!("no store {other:?} was built in").into()),
    }
}

/// Checks that keys follow each other, and puts the values together.
#[cfg_attr(
    not(any(
        feature = "fjall",
        feature = "raft-engine",
        feature = "redb",
        feature = "rusqlite"
    )),
    expect(dead_code, reason = "the others know their entries")
)]
pub fn collect(hard: u64, rows: impl Iterator<Item = Result<(u64, Vec<u8>)>>) -> Result<Content> {
    let mut content = Content {
        hard,
        first: 1,
        entries: Vec::new(),
    };
    for row in rows {
        let (index, entry) = row?;
        if content.entries.is_empty() {
            content.first = index;
        } else if index != content.first + content.entries.len() as u64 {
            return Err(format!("a hole before entry {index}").into());
        }
        content.entries.push(entry);
    }
    Ok(content)
}
