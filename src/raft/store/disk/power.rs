//! Disks that fail: power that is lost at any instant, with writes half done, and room that runs out and comes back.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll, Waker};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, StorageBackend};

use super::mark::Mark;
use super::patient::{Patience, Patient};
use super::place::Place;
use super::tables::{self, Reach};
use super::work::{Shared, change, load};
use super::{DiskLog, Write};
use crate::id::NodeId;
use crate::membership::Membership;
use crate::message::LogPosition;
use crate::raft::{Batch, FailureKind, LogStore, MemoryLog, Recovered};
use crate::state::HardState;

const CLUSTER: &str = "orders";

fn me() -> NodeId {
    "a".parse().unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    Len(u64),
    Sync,
}

/// A disk in memory that tells what is done to it, and may have little room.
#[derive(Debug)]
struct Disk {
    content: InMemoryBackend,
    ops: Sender<Op>,
    room: Arc<AtomicU64>,
    failed_sync: Arc<AtomicBool>,
}

impl Disk {
    fn new() -> (Self, Receiver<Op>) {
        let (ops, told) = mpsc::channel();
        let disk = Self {
            content: InMemoryBackend::new(),
            ops,
            room: Arc::new(AtomicU64::new(u64::MAX)),
            failed_sync: Arc::default(),
        };
        (disk, told)
    }

    fn check(&self, end: u64) -> io::Result<()> {
        if end > self.room.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.content.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.content.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(len)?;
        let _ = self.ops.send(Op::Len(len));
        self.content.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.failed_sync.load(Ordering::Relaxed) {
            return Err(io::Error::other("the device is gone"));
        }
        let _ = self.ops.send(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(offset + data.len() as u64)?;
        let _ = self.ops.send(Op::Write(offset, data.to_vec()));
        self.content.write(offset, data)
    }
}

/// What lies on the disk when the power goes: all that was synced, and of the rest any part, in sectors of 512 bytes.
fn image(ops: &[Op], dice: &mut SmallRng) -> Vec<u8> {
    let synced = ops
        .iter()
        .rposition(|op| matches!(op, Op::Sync))
        .unwrap_or(0);
    let share = f64::from(dice.random_range(0..=4_u8)) / 4.0;
    let mut image = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        let mut lands = || at < synced || dice.random_bool(share);
        match op {
            Op::Len(len) if lands() => image.resize(*len as usize, 0),
            Op::Write(offset, data) => {
                let mut offset = *offset as usize;
                let mut data = data.as_slice();
                while !data.is_empty() {
                    let (sector, rest) = data.split_at((512 - offset % 512).min(data.len()));
                    let end = offset + sector.len();
                    if lands() {
                        // A file system writes the length with the bytes.
                        image.resize(image.len().max(end), 0);
                        image[offset..end].copy_from_slice(sector);
                    }
                    (offset, data) = (end, rest);
                }
            }
            _ => {}
        }
    }
    image
}

fn recover(image: &[u8]) -> Recovered {
    let disk = InMemoryBackend::new();
    disk.set_len(image.len() as u64).unwrap();
    disk.write(0, image).unwrap();
    let database = load(disk).unwrap_or_else(|error| panic!("it does not open: {error}"));
    found(&database)
}

fn found(database: &Database) -> Recovered {
    let transaction = database.begin_read().unwrap();
    let found = tables::recover(&transaction, CLUSTER, &me());
    found.unwrap_or_else(|_| panic!("it is damaged")).0
}

fn record(data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap().to_le_bytes();
    [&len[..], &[1], data].concat()
}

/// What a node could hand over next.
fn draw(dice: &mut SmallRng, model: &MemoryLog, term: &mut u64) -> Write {
    let (purged, last) = (model.purged(), model.last());
    *term += u64::from(dice.random_ratio(1, 8));
    match dice.random_range(0..12_u8) {
        0 => Write::Save(HardState::new(*term, None, Membership::none())),
        1 if last > purged.index => Write::Truncate(dice.random_range(purged.index..last)),
        2 if last > purged.index => {
            let index = dice.random_range(purged.index..last) + 1;
            let mut batches = model.batches().into_iter();
            let holds = batches.rfind(|batch| batch.first() <= index);
            let term = holds.map_or(0, |batch| batch.term());
            Write::Purge(LogPosition::new(term, index))
        }
        _ => {
            let count = dice.random_range(1..40_usize);
            let records: Vec<u8> = (0..count)
                .flat_map(|_| record(&vec![dice.random(); dice.random_range(0..400)]))
                .collect();
            Write::Append(Batch::new(last + 1, *term, records.into()).unwrap())
        }
    }
}

#[test]
fn what_was_flushed_survives_a_loss_of_power_at_any_instant() {
    for seed in 0..6 {
        let mut dice = SmallRng::seed_from_u64(seed);
        let (disk, told) = Disk::new();
        let database = load(disk).unwrap();
        let mut reach = change(&database, Reach::default(), |writing| {
            writing.own(CLUSTER, &me())
        })
        .unwrap_or_else(|_| panic!("an empty disk"));
        let mut ops: Vec<Op> = told.try_iter().collect();

        let (mut model, mut term) = (MemoryLog::default(), 1);
        // How many operations were done when so much was flushed.
        let mut flushed = vec![(ops.len(), model.recovered())];
        for _ in 0..12 {
            let writes: Vec<Write> = (0..dice.random_range(1..6))
                .map(|_| {
                    let write = draw(&mut dice, &model, &mut term);
                    write.hand_to(&mut model);
                    write
                })
                .collect();
            reach = change(&database, reach, |writing| {
                writes.iter().try_for_each(|write| match write {
                    Write::Save(hard_state) => writing.save(hard_state),
                    Write::Append(batch) => writing.append(batch),
                    Write::Truncate(last) => writing.truncate(*last),
                    Write::Purge(position) => writing.purge(*position),
                    _ => Ok(()),
                })
            })
            .unwrap_or_else(|_| panic!("a disk that works"));
            ops.extend(told.try_iter());
            flushed.push((ops.len(), model.recovered()));
        }
        assert_eq!(found(&database), model.recovered());

        let first = flushed[0].0;
        for end in first..=ops.len() {
            let found = recover(&image(&ops[..end], &mut dice));
            let acknowledged = flushed.iter().rposition(|(at, _)| *at <= end).unwrap();
            let allowed = flushed.iter().skip(acknowledged).take(2);
            assert!(
                allowed.into_iter().any(|(_, state)| *state == found),
                "seed {seed}: after {end} of {} operations: {found:?}",
                ops.len()
            );
        }
    }
}

/// A store on a disk in memory, in a real folder with nothing but a lock.
fn on_disk(name: &str) -> (DiskLog, Arc<AtomicU64>, Arc<AtomicBool>, PathBuf) {
    let folder = std::env::temp_dir().join(format!("streamraft-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (disk, _) = Disk::new();
    let (room, failed_sync) = (Arc::clone(&disk.room), Arc::clone(&disk.failed_sync));
    let (patience, stalls) = Patience::new();
    let database = load(Patient::over(disk, patience.clone())).unwrap();
    let owned = change(&database, Reach::default(), |writing| {
        writing.own(CLUSTER, &me())
    });
    assert!(owned.is_ok());
    let place = Place::open(&folder).unwrap();
    Mark::create(&place).unwrap();
    let shared = Shared::new(database, place, patience);
    let opened = shared.opened(stalls, &me(), CLUSTER).unwrap();
    (DiskLog::new(opened), room, failed_sync, folder)
}

fn batch(first: u64, count: usize) -> Batch {
    let records: Vec<u8> = (0..count).flat_map(|_| record(&[7; 1000])).collect();
    Batch::new(first, 1, records.into()).unwrap()
}

#[tokio::test]
async fn a_full_disk_is_told_again_and_again_and_costs_nothing() {
    let (mut store, room, _, folder) = on_disk("full");
    store.append(&batch(1, 100));
    std::future::poll_fn(|cx| store.poll_flush(cx))
        .await
        .unwrap();

    room.store(0, Ordering::Relaxed);
    store.append(&batch(101, 3000));
    for _ in 0..3 {
        let failure = std::future::poll_fn(|cx| store.poll_flush(cx))
            .await
            .unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Full);
        assert!(
            failure.to_string().contains("free space there"),
            "{failure}"
        );
    }
    // A read goes on, or waits for the flush. It does not fail.
    let mut cx = Context::from_waker(Waker::noop());
    assert!(!matches!(
        store.poll_read(&mut cx, 1, 1),
        Poll::Ready(Err(_))
    ));
    // Handed over while there is no room: kept too.
    store.append(&batch(3101, 1));

    room.store(u64::MAX, Ordering::Relaxed);
    std::future::poll_fn(|cx| store.poll_flush(cx))
        .await
        .unwrap();
    let read = std::future::poll_fn(|cx| store.poll_read(cx, 3101, 1)).await;
    assert_eq!(read.unwrap(), batch(3101, 1));
    let read = std::future::poll_fn(|cx| store.poll_read(cx, 1, usize::MAX)).await;
    assert_eq!(read.unwrap(), batch(1, 3101));
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_store_that_is_dropped_while_its_disk_is_full_leaves_no_waiting_thread() {
    let (mut store, room, _, folder) = on_disk("dropped");
    room.store(0, Ordering::Relaxed);
    store.append(&batch(1, 3000));
    let failure = std::future::poll_fn(|cx| store.poll_flush(cx)).await;
    assert_eq!(failure.unwrap_err().kind(), FailureKind::Full);
    drop(store);
    // The folder is free when the thread has given up.
    while Place::open(&folder).is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    let (mut store, _, failed_sync, folder) = on_disk("sync");
    failed_sync.store(true, Ordering::Relaxed);
    store.append(&batch(1, 1));
    let failure = std::future::poll_fn(|cx| store.poll_flush(cx)).await;
    assert_eq!(failure.unwrap_err().kind(), FailureKind::Broken);
    failed_sync.store(false, Ordering::Relaxed);
    // What the first sync was to make durable may be lost, and a second one does not know.
    let failure = std::future::poll_fn(|cx| store.poll_flush(cx)).await;
    assert_eq!(failure.unwrap_err().kind(), FailureKind::Broken);
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_form_of_a_newer_release_is_refused() {
    let database = load(InMemoryBackend::new()).unwrap();
    let transaction = database.begin_write().unwrap();
    let state = redb::TableDefinition::<'_, &str, &[u8]>::new("state");
    let newer = [2_u8, 6, b'o', b'r', b'd', b'e', b'r', b's', 1, b'a'];
    let mut table = transaction.open_table(state).unwrap();
    table.insert("owner", &newer[..]).unwrap();
    drop(table);
    transaction.commit().unwrap();
    let found = tables::recover(&database.begin_read().unwrap(), CLUSTER, &me());
    assert!(matches!(found, Err(tables::Fault::Version(2))));
}

/// A database of another program is well-formed too.
#[test]
fn a_database_of_another_program_is_refused() {
    let database = load(InMemoryBackend::new()).unwrap();
    let found = tables::recover(&database.begin_read().unwrap(), CLUSTER, &me());
    assert!(matches!(found, Err(tables::Fault::NotALog)));
}

#[test]
fn polled_outside_a_runtime_it_says_so() {
    let (mut store, _, _, folder) = on_disk("runtime");
    let mut cx = Context::from_waker(Waker::noop());
    store.append(&batch(1, 1));
    let Poll::Ready(Err(failure)) = store.poll_flush(&mut cx) else {
        panic!("it cannot be done, and not later either");
    };
    assert!(failure.to_string().contains("tokio runtime"), "{failure}");
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}
