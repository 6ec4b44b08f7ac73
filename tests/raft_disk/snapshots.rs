//! Snapshots: they come in parts, and are there when all of them were installed, or not at all.

use std::fs;

use streamraft::LogPosition;
use streamraft::raft::{FailureKind, LogStore, SnapshotPart, Write};

use crate::tools::{Folder, Store, batch, noise, parts, snapshot};

#[test]
fn one_that_was_cut_off_in_the_middle_is_not_there() {
    let folder = Folder::new();
    let data = noise(200_000);
    let snapshot = snapshot(3, 50, &data);
    let mut store = Store::open(&folder);
    for part in parts(snapshot, &data, 30_000).into_iter().take(4) {
        store.log.write_snapshot(&part);
    }
    store.flush();
    assert_eq!(folder.names(), ["flushed", "log", "snapshot.part"]);
    assert!(store.try_read_snapshot(0, 10).is_err(), "not installed");
    drop(store);

    let mut store = Store::open(&folder);
    assert_eq!(store.log.recovered().snapshot, None);
    assert_eq!(folder.names(), ["flushed", "log"], "tidied up");
}

/// By whomever, while it is being written.
#[test]
fn one_whose_file_was_cut_while_it_was_written_is_not_installed_and_the_log_is_as_it_was() {
    let data = noise(200_000);
    let whole = snapshot(3, 50, &data);
    for cut in [0, 1, 90_000, 119_999] {
        let folder = Folder::new();
        let mut store = Store::open(&folder);
        store.log.append(&batch(1, 1, &vec![b"entry".to_vec(); 10]));
        let parts = parts(whole, &data, 30_000);
        for part in &parts[..4] {
            store.log.write_snapshot(part);
        }
        store.flush();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(folder.join("snapshot.part"))
            .unwrap();
        file.set_len(cut).unwrap();
        for part in &parts[4..] {
            store.log.write_snapshot(part);
        }
        store.log.install_snapshot(&whole);
        store.log.reset(whole.position);
        // What follows the cut was put where it belongs: the file is long enough, and has a hole.
        store.flush();
        let hole = cut / 65_536 * 65_536;
        let failure = store.try_read_snapshot(hole, 10).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Damaged);
        assert!(
            failure.to_string().contains(&format!("bytes {hole} to")),
            "{failure}"
        );
        let (part, rest) = (1 << 20, 196_608);
        assert_eq!(
            store.try_read_snapshot(rest, part).unwrap(),
            data[rest as usize..]
        );

        // Cut before its end is told.
        let folder = Folder::new();
        let mut store = Store::open(&folder);
        store.log.append(&batch(1, 1, &vec![b"entry".to_vec(); 10]));
        for part in &parts {
            store.log.write_snapshot(part);
        }
        store.flush();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(folder.join("snapshot.part"))
            .unwrap();
        file.set_len(cut).unwrap();
        store.log.install_snapshot(&whole);
        store.log.reset(whole.position);
        let failure = store.try_flush().unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Broken);
        let text = failure.to_string();
        assert!(
            text.contains("snapshot.part")
                && text.contains(&format!("it has {cut} bytes, and 200000 were written")),
            "{text}"
        );
        drop(store);
        let recovered = Store::open(&folder).log.recovered();
        assert_eq!((recovered.last, recovered.snapshot), (10, None));
    }
}

#[test]
fn it_takes_the_place_of_the_one_before_with_the_log_that_follows_it() {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    store.log.append(&batch(1, 1, &vec![vec![1; 100]; 50]));
    for (term, index, len) in [(1, 20, 70_000), (3, 60, 300_000)] {
        let data = noise(len);
        let snapshot = snapshot(term, index, &data);
        for part in parts(snapshot, &data, 65_000) {
            store.log.write_snapshot(&part);
            store.flush();
        }
        store.log.install_snapshot(&snapshot);
        let position = LogPosition::new(term, index);
        if index > 50 {
            store.log.reset(position);
        } else {
            store.log.purge(position);
        }
        store.flush();
        assert_eq!(folder.names().len(), 3, "{:?}", folder.names());
        for piece in [1000, 65_536, 400_000] {
            let found = store.try_read_all(snapshot.len, piece).unwrap();
            assert_eq!(found, data);
        }
        assert!(
            store
                .try_read_snapshot(snapshot.len, 10)
                .unwrap()
                .is_empty()
        );
    }
    store.log.append(&batch(61, 3, &[b"next".to_vec()]));
    store.flush();
    drop(store);

    let mut store = Store::open(&folder);
    let recovered = store.log.recovered();
    assert_eq!(
        recovered.snapshot.unwrap().position,
        LogPosition::new(3, 60)
    );
    assert_eq!(recovered.purged, LogPosition::new(3, 60));
    assert_eq!(
        (recovered.last, recovered.terms),
        (61, vec![LogPosition::new(3, 61)])
    );
    assert_eq!(
        store.try_read_all(300_000, 100_000).unwrap(),
        noise(300_000)
    );
}

/// All in one flush, as it comes when the disk is slow.
#[test]
fn two_of_them_may_come_in_one_flush() {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    let (old, new) = (noise(1000), noise(90_000));
    for (index, data) in [(10, &old), (20, &new)] {
        let snapshot = snapshot(1, index, data);
        for part in parts(snapshot, data, 40_000) {
            store.log.write_snapshot(&part);
        }
        Write::InstallSnapshot(snapshot).hand_to(&mut store.log);
        Write::Reset(snapshot.position).hand_to(&mut store.log);
    }
    store.flush();
    assert_eq!(store.try_read_all(90_000, 50_000).unwrap(), new);
    assert_eq!(folder.names().len(), 3, "{:?}", folder.names());
}

#[test]
fn installing_it_again_changes_nothing() {
    let folder = Folder::new();
    let data = noise(1000);
    let snapshot = snapshot(1, 10, &data);
    let mut store = Store::open(&folder);
    for part in parts(snapshot, &data, 400) {
        store.log.write_snapshot(&part);
    }
    store.log.install_snapshot(&snapshot);
    store.flush();
    store.log.install_snapshot(&snapshot);
    store.flush();
    drop(store);
    let mut store = Store::open(&folder);
    store.log.install_snapshot(&snapshot);
    store.flush();
    assert_eq!(store.try_read_all(1000, 1000).unwrap(), data);
}

#[test]
fn a_part_that_comes_again_changes_nothing() {
    let folder = Folder::new();
    let data = noise(1000);
    let snapshot = snapshot(1, 10, &data);
    let mut store = Store::open(&folder);
    let parts = parts(snapshot, &data, 400);
    for number in [0, 1, 1, 2, 1] {
        store.log.write_snapshot(&parts[number]);
        store.flush();
    }
    store.log.install_snapshot(&snapshot);
    store.flush();
    assert_eq!(store.try_read_all(1000, 1000).unwrap(), data);
}

#[test]
fn one_that_was_not_written_whole_is_not_installed() {
    let data = noise(1000);
    let whole = snapshot(1, 10, &data);
    let all = parts(whole, &data, 400);
    let mut changed = all.clone();
    changed[1] = SnapshotPart::new(whole, 400, vec![0; 400].into());
    let cases = [
        Vec::new(),
        all[..2].to_vec(),
        [&all[..1], &all[2..]].concat(),
        changed,
    ];
    for parts in cases {
        let folder = Folder::new();
        let mut store = Store::open(&folder);
        for part in &parts {
            store.log.write_snapshot(part);
        }
        store.log.install_snapshot(&whole);
        let failure = store.try_flush().unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Broken);
        assert!(failure.to_string().contains("snapshot.part"), "{failure}");
        drop(store);
        assert_eq!(Store::open(&folder).log.recovered().snapshot, None);
    }
}

/// A file that no log names is one that a crash has left.
#[test]
fn what_no_log_names_is_removed_at_the_next_start() {
    let folder = Folder::new();
    drop(Store::open(&folder));
    fs::write(folder.join("snapshot-3-10-0badcafe"), b"left").unwrap();
    fs::write(folder.join("snapshot.part"), b"left").unwrap();
    fs::write(folder.join("notes"), b"somebody else's").unwrap();
    drop(Store::open(&folder));
    assert_eq!(folder.names(), ["flushed", "log", "notes"]);
}
