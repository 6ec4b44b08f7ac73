//! What is done where it may block: opening, flushing, reading.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Builder, Database, ReadableDatabase, StorageBackend, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::error::DiskLogError;
use super::mark::Mark;
use super::patient::{Patience, Patient, Stall};
use super::place::Place;
use super::snapshots::{self, Installed, Part};
use super::tables::{self, Fault, Reach, Writing};
use crate::id::Id;
use crate::raft::{Batch, Recovered, Write};
use crate::state::HardState;

/// Bytes of pages that the database keeps in memory, to be read or written. The node keeps new entries itself.
const CACHE: usize = 8 << 20;

/// What reads and flushes share.
#[derive(Debug)]
pub(super) struct Shared {
    database: Database,
    pub(super) place: Place,
    patience: Patience,
}

/// What only a flush needs: how far the log reaches, and what has come of a snapshot.
#[derive(Debug)]
pub(super) struct Work<I> {
    reach: Reach,
    mark: Mark,
    held: Option<HardState<I>>,
    part: Option<Part>,
    pub(super) installed: Option<Arc<Installed>>,
}

/// A log that was opened.
pub(super) struct Opened<I> {
    pub(super) shared: Arc<Shared>,
    pub(super) work: Work<I>,
    pub(super) recovered: Recovered<I>,
    pub(super) stalls: mpsc::Receiver<Stall>,
}

pub(super) fn open<I: Id + Serialize + DeserializeOwned>(
    folder: &Path,
    node_id: &I,
    cluster: &str,
) -> Result<Opened<I>, DiskLogError> {
    let place = Place::open(folder)?;
    if !place.has_log()? {
        create(&place, node_id, cluster)?;
    }
    // Whoever made it may have been killed before it synced the folder.
    place.sync_folder()?;
    let (patience, stalls) = Patience::new();
    let file = OpenOptions::new().read(true).write(true).open(&place.log);
    let file = file.map_err(|error| DiskLogError::io(&place.log, "opening it", error))?;
    let database = Patient::new(file, patience.clone()).and_then(load);
    let database = database.map_err(|error| DiskLogError::of(&place.log, "opening it", error))?;
    let shared = Shared::new(database, place, patience);
    shared.opened(stalls, node_id, cluster)
}

/// Every page is checked: a database that trusts its file can panic on one that was changed.
pub(super) fn load(file: impl StorageBackend) -> Result<Database, redb::DatabaseError> {
    Builder::new()
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true)
        .create_with_backend(file)
}

/// Makes an empty log beside its place, and puts it there when it is whole: a file that is there and empty is damaged.
fn create<I: Id + Serialize>(
    place: &Place,
    node_id: &I,
    cluster: &str,
) -> Result<(), DiskLogError> {
    let path = &place.new_log;
    let (patience, _) = Patience::new();
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| DiskLogError::io(path, "creating it", error))?;
    let database = Patient::new(file, patience)
        .and_then(load)
        .map_err(|error| DiskLogError::of(path, "creating it", error))?;
    let owned = change(&database, Reach::default(), |writing| {
        writing.own(cluster, node_id)
    });
    owned.map_err(|fault| place.fault(fault, "creating it", "", ""))?;
    database
        .close()
        .map_err(|error| DiskLogError::of(path, "closing it", error))?;
    Mark::create(place)?;
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| DiskLogError::io(path, "syncing it", error))?;
    place.rename(path, &place.log)
}

/// Changes the tables as a whole: all of it is durable when this returns, or nothing is.
pub(super) fn change(
    database: &Database,
    reach: Reach,
    change: impl FnOnce(&mut Writing<'_>) -> Result<(), Fault>,
) -> Result<Reach, Fault> {
    let transaction: WriteTransaction = database.begin_write()?;
    let mut writing = Writing::begin(&transaction, reach)?;
    change(&mut writing)?;
    let reach = writing.finish()?;
    transaction.commit()?;
    Ok(reach)
}

impl Place {
    /// A fault of the tables as an error about their file.
    fn fault(
        &self,
        fault: Fault,
        doing: &'static str,
        cluster: &str,
        node_id: &str,
    ) -> DiskLogError {
        let path = self.log.clone();
        match fault {
            Fault::Database(error) => DiskLogError::of(&self.log, doing, error),
            Fault::Damaged(reason) => DiskLogError::Damaged { path, reason },
            Fault::NotALog => DiskLogError::NotALog { path },
            Fault::Version(found) => DiskLogError::Version { path, found },
            Fault::ForeignCluster(found) => DiskLogError::ForeignCluster {
                path,
                found,
                expected: cluster.to_owned(),
            },
            Fault::ForeignNode(found) => DiskLogError::ForeignNode {
                path,
                found,
                expected: node_id.to_owned(),
            },
            Fault::OutOfOrder(reason) => DiskLogError::OutOfOrder { path, reason },
            Fault::NotWritable => DiskLogError::NotWritable { path },
        }
    }
}

impl Shared {
    pub(super) fn new(database: Database, place: Place, patience: Patience) -> Self {
        Self {
            database,
            place,
            patience,
        }
    }

    pub(super) fn opened<I: Id + DeserializeOwned>(
        self,
        stalls: mpsc::Receiver<Stall>,
        node_id: &I,
        cluster: &str,
    ) -> Result<Opened<I>, DiskLogError> {
        let (work, recovered) = self.recover(node_id, cluster)?;
        Ok(Opened {
            shared: Arc::new(self),
            work,
            recovered,
            stalls,
        })
    }

    fn recover<I: Id + DeserializeOwned>(
        &self,
        node_id: &I,
        cluster: &str,
    ) -> Result<(Work<I>, Recovered<I>), DiskLogError> {
        let read = || tables::recover(&self.database.begin_read()?, cluster, node_id);
        let (recovered, reach, installed) = read().map_err(|fault| {
            let node_id = format!("{node_id:?}");
            self.place.fault(fault, "reading it", cluster, &node_id)
        })?;
        let mark = self.check_mark(reach)?;
        let installed = installed.map(Arc::new);
        if let Some(installed) = &installed {
            installed.check(&self.place.snapshot(&installed.snapshot))?;
        }
        snapshots::remove_strays(&self.place, installed.as_ref())?;
        let work = Work {
            reach,
            mark,
            held: recovered.hard_state.clone(),
            part: None,
            installed,
        };
        Ok((work, recovered))
    }

    /// Whether every flush is there that was told to be durable.
    fn check_mark(&self, reach: Reach) -> Result<Mark, DiskLogError> {
        let place = &self.place;
        let Some(told) = Mark::read(place)? else {
            return Err(DiskLogError::damaged(&place.flushed, "it is missing"));
        };
        let Reach { flushes, .. } = reach;
        if flushes < told {
            let reason = format!("{told} flushes were durable, and {flushes} are there");
            return Err(DiskLogError::damaged(&place.log, reason));
        }
        Mark::open(place)
    }

    pub(super) fn read(&self, first: u64, max_bytes: usize) -> Result<Batch, DiskLogError> {
        let read = || tables::read(&self.database.begin_read()?, first, max_bytes);
        read().map_err(|fault| self.place.fault(fault, "reading it", "", ""))
    }

    pub(super) fn read_snapshot(
        &self,
        installed: &Installed,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Bytes, DiskLogError> {
        let path = self.place.snapshot(&installed.snapshot);
        installed.read(&path, offset, max_bytes)
    }
}

impl<I: Id + Serialize> Work<I> {
    /// Does all of this, and makes it durable.
    pub(super) fn flush(
        &mut self,
        shared: &Shared,
        writes: &[Write<I>],
    ) -> Result<(), DiskLogError> {
        shared.patience.set_flushing(true);
        let done = self.write(shared, writes);
        shared.patience.set_flushing(false);
        done
    }

    fn write(&mut self, shared: &Shared, writes: &[Write<I>]) -> Result<(), DiskLogError> {
        let place = &shared.place;
        // Files first: what the log will name is there when it does.
        let installed = self.write_snapshots(shared, writes)?;
        let saved = self.newest(writes, place)?;
        let in_tables = |write: &&Write<I>| !matches!(write, Write::WriteSnapshot(_));
        if writes.iter().any(|write| in_tables(&write)) {
            let changed = change(&shared.database, self.reach, |writing| {
                if let Some(saved) = saved {
                    writing.save(saved)?;
                }
                if let Some(installed) = &installed {
                    writing.install(installed)?;
                }
                for write in writes {
                    match write {
                        Write::Append(batch) => writing.append(batch)?,
                        Write::Truncate(last) => writing.truncate(*last)?,
                        Write::Purge(position) => writing.purge(*position)?,
                        Write::Reset(position) => writing.reset(*position)?,
                        Write::Save(_) | Write::WriteSnapshot(_) | Write::InstallSnapshot(_) => {}
                    }
                }
                Ok(())
            });
            self.reach = changed.map_err(|fault| place.fault(fault, "writing to it", "", ""))?;
            let told = self.reach.flushes;
            self.mark.write(place, &shared.patience, told)?;
        }
        if let Some(saved) = saved {
            self.held = Some(saved.clone());
        }
        if let Some(installed) = installed {
            let replaced = self.installed.replace(Arc::new(installed));
            self.forget(place, replaced.as_deref());
        }
        Ok(())
    }

    /// The hard state that was saved last.
    fn newest<'a>(
        &self,
        writes: &'a [Write<I>],
        place: &Place,
    ) -> Result<Option<&'a HardState<I>>, DiskLogError> {
        let saved = writes.iter().rev().find_map(|write| match write {
            Write::Save(hard_state) => Some(hard_state),
            _ => None,
        });
        match (&self.held, saved) {
            (Some(held), Some(saved)) if saved.term < held.term => Err(DiskLogError::OutOfOrder {
                path: place.log.clone(),
                reason: format!("term {} after term {}", saved.term, held.term),
            }),
            _ => Ok(saved),
        }
    }

    /// Writes the parts of snapshots, and makes those whole that are to be installed: of these the last one.
    fn write_snapshots(
        &mut self,
        shared: &Shared,
        writes: &[Write<I>],
    ) -> Result<Option<Installed>, DiskLogError> {
        let Shared {
            place, patience, ..
        } = shared;
        let mut installed: Option<Installed> = None;
        for write in writes {
            match write {
                Write::WriteSnapshot(part) => Part::write(&mut self.part, place, patience, part)?,
                Write::InstallSnapshot(snapshot) => {
                    let newest = installed.as_ref().or(self.installed.as_deref());
                    if newest.is_some_and(|newest| newest.snapshot == *snapshot) {
                        continue;
                    }
                    let Some(part) = self.part.take() else {
                        return Err(DiskLogError::OutOfOrder {
                            path: place.part.clone(),
                            reason: format!("{snapshot:?} without its parts"),
                        });
                    };
                    if let Some(unnamed) = installed.replace(part.install(place, snapshot)?) {
                        let path = place.snapshot(&unnamed.snapshot);
                        let _ = fs::remove_file(path);
                    }
                }
                _ => {}
            }
        }
        Ok(installed)
    }

    /// Removes the file of a snapshot that no log names any more. If that fails, the next start does it.
    fn forget(&self, place: &Place, replaced: Option<&Installed>) {
        let path = |installed: &Installed| place.snapshot(&installed.snapshot);
        let now = self.installed.as_deref().map(path);
        if let Some(old) = replaced.map(path).filter(|old| Some(old) != now.as_ref()) {
            let _ = fs::remove_file(old);
        }
    }
}
