//! What a flush covers, and reads beside it.

use std::task::Poll;

use futures::task::noop_waker_ref;
use streamraft::LogPosition;
use streamraft::raft::{DiskLog, LogStore};

use crate::tools::{Folder, Store, batch, hard_state, parts, snapshot};

#[test]
fn it_can_be_moved_to_another_thread() {
    fn check<T: Send + Unpin + 'static>() {}
    check::<DiskLog>();
}

/// A node hands over more while a flush is under way. The next flush covers that, and does not end with the one before.
#[test]
fn what_is_handed_over_during_a_flush_is_in_the_next() {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    let mut last = 0;
    for round in 1..50 {
        store.log.append(&batch(last + 1, round, &[vec![1; 100]]));
        store.begin_flush();
        store.log.append(&batch(last + 2, round, &[vec![2; 100]]));
        store.log.save(&hard_state(round));
        store.flush();
        last += 2;
        if round.is_multiple_of(10) {
            store.flush();
            // What a kill would leave now.
            let recovered = Store::open(&folder.copy()).log.recovered();
            assert_eq!(recovered.last, last);
            assert_eq!(recovered.hard_state, Some(hard_state(round)));
        }
    }
}

#[test]
fn nothing_to_flush_is_done_at_once_and_without_a_runtime() {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    let mut cx = std::task::Context::from_waker(noop_waker_ref());
    assert!(matches!(store.log.poll_flush(&mut cx), Poll::Ready(Ok(()))));
}

#[test]
fn a_read_with_other_arguments_gives_the_one_before_up() {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    let data: Vec<Vec<u8>> = (0..100).map(|size| vec![7; size * 100]).collect();
    store.log.append(&batch(1, 1, &data));
    store.flush();
    for first in 1..=100 {
        store.begin_read(101 - first, 50);
        let read = store.read(first, 50);
        assert_eq!(read.first(), first);
        assert_eq!(
            read.entries().next().unwrap().data,
            data[first as usize - 1]
        );
    }
    // Also one of the same entry with more room.
    store.begin_read(1, 0);
    assert_eq!(store.read(1, 5 + 105).len(), 2);
}

/// A read never holds a flush up for long, nor the other way round.
#[test]
fn reads_and_flushes_go_on_side_by_side() {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    store.log.append(&batch(1, 1, &vec![vec![3; 1000]; 1000]));
    store.flush();
    for round in 0..20 {
        store
            .log
            .append(&batch(1001 + round, 1, &[vec![4; 100_000]]));
        store.begin_flush();
        let read = store.read(1, 200_000);
        assert!(read.len() > 150 && read.size() <= 200_000);
        store.flush();
    }
    assert_eq!(
        store.read(1020, 1).entries().next().unwrap().data,
        vec![4; 100_000]
    );
}

/// What is read when it comes, and not when it was asked for: nothing that was cut off since.
#[test]
fn a_read_of_what_was_cut_off_meanwhile_begins_anew() {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    let old = vec![b"old".to_vec(); 10];
    for (cut, last) in [(2, 10), (0, 4)] {
        store.log.reset(LogPosition::default());
        store.log.append(&batch(1, 1, &old));
        store.flush();
        store.begin_read(3, 1_000);
        std::thread::sleep(std::time::Duration::from_millis(20));
        if cut > 0 {
            store.log.truncate(cut);
        } else {
            store.log.reset(LogPosition::default());
        }
        let new = vec![b"new".to_vec(); (last - cut) as usize];
        store.log.append(&batch(cut + 1, 2, &new));
        store.flush();
        let read = store.read(3, 1_000);
        assert_eq!((read.term(), read.last()), (2, last));
    }
}

#[test]
fn a_read_of_a_snapshot_that_was_replaced_meanwhile_begins_anew() {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    for index in 1..4 {
        let data = vec![index as u8; 10_000];
        let snapshot = snapshot(1, index, &data);
        for part in parts(snapshot, &data, 5_000) {
            store.log.write_snapshot(&part);
        }
        store.log.install_snapshot(&snapshot);
        store.flush();
        assert_eq!(store.try_read_snapshot(0, 100).unwrap(), data[..100]);
        store.begin_read_snapshot(0, 100);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
