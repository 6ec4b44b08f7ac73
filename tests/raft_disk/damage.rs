//! Files that are cut and changed: an error that names the file, or all that was flushed. Never less in silence.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use streamraft::LogPosition;
use streamraft::raft::{DiskLogError, Entry, FailureKind, LogStore, Recovered};

use crate::tools::{Folder, Store, batch, hard_state, noise, parts, snapshot};

/// A small log after some flushes, and what is in it.
fn written() -> (Folder, Store, Recovered, Vec<Entry>) {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    let mut next = 1;
    for term in 1..=6 {
        let data: Vec<Vec<u8>> = (0..10).map(|size| noise(size * 11)).collect();
        store.log.save(&hard_state(term));
        store.log.append(&batch(next, term, &data));
        next += 10;
        store.flush();
        store.log.truncate(next - 3);
        store.flush();
        next -= 2;
    }
    store.log.purge(LogPosition::new(1, 5));
    store.flush();
    drop(store);
    let mut store = Store::open(&folder);
    let recovered = store.log.recovered();
    let entries = store.try_entries(&recovered).unwrap();
    assert_eq!((entries.len(), recovered.terms.len()), (43, 6));
    // Something to be lost at the end, by a store that was not closed.
    store.log.append(&batch(next, 6, &[b"the last".to_vec()]));
    store.flush();
    let mut copy = Store::open(&folder.copy());
    let recovered = copy.log.recovered();
    let entries = copy.try_entries(&recovered).unwrap();
    assert_eq!(entries.last().unwrap().data, "the last");
    (folder, store, recovered, entries)
}

/// Opens a damaged copy: says why it cannot be, or checks that nothing is missing.
fn opens(folder: &Path, recovered: &Recovered, entries: &[Entry]) -> Option<DiskLogError> {
    let mut store = match Store::open_when_free(folder) {
        Ok(store) => store,
        Err(error) => {
            let file = folder.join("log");
            assert_eq!(error.path(), file, "{error}");
            assert!(error.to_string().contains(&*file.to_string_lossy()));
            // No other cure would do: not another folder, not another start.
            assert!(matches!(error, DiskLogError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains("join under a new id"), "{error}");
            return Some(error);
        }
    };
    assert_eq!(store.log.recovered(), *recovered);
    assert_eq!(store.try_entries(recovered).unwrap(), entries);
    None
}

/// Places in the head, at the ends of pages, and all over the file.
fn places(len: usize) -> Vec<usize> {
    let step = (len / 80).max(1);
    let pages = (4096..len).step_by(4096).flat_map(|page| [page - 1, page]);
    let mut places: Vec<usize> = (0..32).chain((32..330).step_by(3)).collect();
    places.extend(pages.take(50));
    places.extend((0..len).step_by(step).map(|at| at + at % 7));
    places.retain(|at| *at < len);
    places.sort_unstable();
    places.dedup();
    places
}

fn each_damage(damage: impl Fn(&mut Vec<u8>, usize), must_fail: bool) {
    let (folder, store, recovered, entries) = written();
    let killed = folder.copy();
    drop(store);
    let (mut refused, mut unharmed) = (0, 0);
    for source in [killed, folder] {
        let written = fs::read(source.log()).unwrap();
        let place = source.copy();
        for at in places(written.len()) {
            let mut bytes = written.clone();
            damage(&mut bytes, at);
            fs::write(place.log(), bytes).unwrap();
            match opens(&place, &recovered, &entries) {
                Some(_) => refused += 1,
                None if must_fail => panic!("damaged at {at}, and opened"),
                None => unharmed += 1,
            }
            // It may have been repaired, and counts its flushes then.
            fs::copy(source.join("flushed"), place.join("flushed")).unwrap();
        }
    }
    assert!(refused > 100, "{refused} refused, {unharmed} unharmed");
}

#[test]
fn a_log_that_was_cut_is_refused_wherever_it_was_cut() {
    each_damage(Vec::truncate, true);
}

#[test]
fn a_bit_that_was_changed_is_found_or_was_in_use_for_nothing() {
    each_damage(|bytes, at| bytes[at] ^= 1 << (at % 8), false);
}

#[test]
fn a_page_that_was_lost_is_found_or_was_in_use_for_nothing() {
    let zero = |bytes: &mut Vec<u8>, at: usize| {
        let page = at / 4096 * 4096;
        let end = bytes.len().min(page + 4096);
        bytes[page..end].fill(0);
    };
    each_damage(zero, false);
}

/// A store that was killed cannot be told from one whose newest pages are damaged: but for the count of what was told.
#[test]
fn the_last_flush_is_not_taken_back_in_silence() {
    let (folder, _store, recovered, entries) = written();
    let written = fs::read(folder.log()).unwrap();
    let at = written.windows(8).rposition(|window| window == b"the last");
    let place = folder.copy();
    let mut bytes = written.clone();
    bytes[at.unwrap()] ^= 1;
    fs::write(place.log(), bytes).unwrap();
    let error = opens(&place, &recovered, &entries).expect("it was flushed");
    assert!(matches!(error, DiskLogError::Damaged { .. }), "{error}");
    assert!(
        error.to_string().contains("flushes were durable"),
        "{error}"
    );
    assert!(error.to_string().contains("join under a new id"), "{error}");
    // Nor at the second try.
    let error = opens(&place, &recovered, &entries).expect("it was flushed");
    assert!(
        error.to_string().contains("flushes were durable"),
        "{error}"
    );
}

/// The count of flushes is written last, and may be behind.
#[test]
fn a_flush_that_nobody_was_told_of_may_be_there() {
    let (folder, mut store, recovered, _) = written();
    let before = fs::read(folder.join("flushed")).unwrap();
    let next = recovered.last + 1;
    store.log.append(&batch(next, 6, &[b"one more".to_vec()]));
    store.flush();
    let place = folder.copy();
    fs::write(place.join("flushed"), before).unwrap();
    let mut copy = Store::open(&place);
    assert_eq!(copy.log.recovered().last, next);
    copy.log.append(&batch(next + 1, 6, &[b"and one".to_vec()]));
    copy.flush();
    drop(copy);
    Store::open(&place);
}

#[test]
fn a_count_of_flushes_that_is_damaged_or_missing_is_refused() {
    let (folder, ..) = written();
    let file = folder.join("flushed");
    let count = fs::read(&file).unwrap();
    for at in 0..count.len() {
        let mut bytes = count.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, bytes).unwrap();
        let refused = Store::open_when_free(&folder).unwrap_err();
        assert_eq!(refused.path(), file, "{refused}");
        fs::write(&file, &count[..at]).unwrap();
        let refused = Store::open_when_free(&folder).unwrap_err();
        assert_eq!(refused.path(), file, "{refused}");
    }
    fs::remove_file(&file).unwrap();
    let refused = Store::open_when_free(&folder).unwrap_err();
    assert!(matches!(refused, DiskLogError::Damaged { .. }), "{refused}");
    fs::write(&file, count).unwrap();
    Store::open(&folder);
}

/// Of files that belong together one was put back to an older state.
#[test]
fn an_older_log_beside_the_newer_count_of_its_flushes_is_refused() {
    let (folder, mut store, recovered, _) = written();
    let older = folder.copy();
    let next = recovered.last + 1;
    store.log.append(&batch(next, 6, &[b"one more".to_vec()]));
    store.flush();
    drop(store);
    fs::copy(older.log(), folder.log()).unwrap();
    let refused = Store::open_when_free(&folder).unwrap_err();
    assert_eq!(refused.path(), folder.log(), "{refused}");
    assert!(
        refused.to_string().contains("flushes were durable, and"),
        "{refused}"
    );
}

/// Another node's log, with all that belongs to it, and just its log.
#[test]
fn the_log_of_another_node_is_refused_with_and_without_its_other_files() {
    let (folder, store, ..) = written();
    drop(store);
    let other = Folder::new();
    let b: streamraft::NodeId = "b".parse().unwrap();
    drop(streamraft::raft::DiskLog::open(&*other, &b, crate::tools::CLUSTER).unwrap());
    let before = fs::read(folder.log()).unwrap();
    fs::copy(other.log(), folder.log()).unwrap();
    for file in ["log", "flushed"] {
        fs::copy(other.join(file), folder.join(file)).unwrap();
        let refused = Store::open_when_free(&folder).unwrap_err();
        assert_eq!(refused.path(), folder.log(), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("node b, this is a"), "{text}");
    }
    // Its own again, beside the other's count.
    fs::write(folder.log(), before).unwrap();
    assert_eq!(Store::open(&folder).log.recovered().last, 49);
}

/// Something else has the name.
#[test]
fn a_folder_in_the_place_of_a_file_is_named() {
    for name in ["lock", "log", "flushed", "snapshot.part", "log.new"] {
        let folder = Folder::new();
        let is_new = name == "log.new";
        if !is_new {
            drop(Store::open(&folder));
            let _ = fs::remove_file(folder.join(name));
        }
        fs::create_dir(folder.join(name)).unwrap();
        let refused = Store::open_when_free(&folder).unwrap_err();
        assert_eq!(refused.path(), folder.join(name), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
    }
}

/// A log that was deleted is no new one.
#[test]
fn a_log_that_is_gone_is_missed() {
    let (folder, store, ..) = written();
    drop(store);
    fs::remove_file(folder.log()).unwrap();
    let refused = Store::open_when_free(&folder).unwrap_err();
    assert_eq!(refused.path(), folder.log(), "{refused}");
    assert!(refused.to_string().contains("missing"), "{refused}");
}

fn places_of(bytes: &[u8], needle: &[u8]) -> Vec<usize> {
    let starts = (0..bytes.len()).filter(|at| bytes[*at] == needle[0]);
    starts
        .filter(|at| bytes[*at..].starts_with(needle))
        .collect()
}

/// A page that is no more in the memory of the database, and is read from a disk that has lost it meanwhile.
#[test]
fn an_entry_that_is_damaged_while_the_store_is_open_is_not_handed_out() {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    let data = vec![noise(3000); 8000];
    for (first, data) in (1..).step_by(1000).zip(data.chunks(1000)) {
        store.log.append(&batch(first, 1, data));
        store.flush();
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(folder.log())
        .unwrap();
    let bytes = fs::read(folder.log()).unwrap();
    let needle = &data[0][1000..1064];
    let found: Vec<usize> = places_of(&bytes, needle);
    assert!(found.len() > 4000);
    for at in found {
        file.write_all_at(b"?", at as u64).unwrap();
    }
    let (mut damaged, mut right) = (0, 0);
    for first in (1..8000).step_by(50) {
        match store.try_read(first, 1) {
            Ok(batch) => {
                assert_eq!(batch.entries().next().unwrap().data, data[0]);
                right += 1;
            }
            Err(failure) => {
                assert_eq!(failure.kind(), FailureKind::Damaged, "{failure}");
                assert!(
                    failure.to_string().contains("the entries from"),
                    "{failure}"
                );
                damaged += 1;
            }
        }
    }
    assert!(damaged > 50, "{damaged} damaged, {right} right");
}

#[test]
fn a_damaged_snapshot_names_the_bytes_and_a_cut_one_is_refused() {
    let folder = Folder::new();
    let data = noise(150_000);
    let snapshot = snapshot(1, 10, &data);
    let mut store = Store::open(&folder);
    for part in parts(snapshot, &data, 10_000) {
        store.log.write_snapshot(&part);
    }
    store.log.install_snapshot(&snapshot);
    store.flush();
    let name = folder.names().pop().unwrap();
    let file = folder.join(&name);

    for at in [0, 65_535, 65_536, 149_999] {
        let mut changed = data.clone();
        changed[at] ^= 4;
        fs::write(&file, changed).unwrap();
        let failure = store.try_read_snapshot(at as u64, 1).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Damaged);
        let from = at / 65_536 * 65_536;
        let text = failure.to_string();
        let place = format!("bytes {from} to {}", (from + 65_536).min(150_000));
        assert!(text.contains(&place) && text.contains(&name), "{text}");
        let other = (from + 65_536) % 131_072;
        let found = store.try_read_snapshot(other as u64, 100).unwrap();
        assert_eq!(found, data[other..other + 100]);
    }
    fs::write(&file, &data[..149_000]).unwrap();
    assert!(
        store.try_read_snapshot(148_999, 1).is_err(),
        "its block is cut"
    );
    drop(store);

    for len in [0, 1, 65_536, 149_999, 150_001] {
        let mut bytes = data.clone();
        bytes.resize(len, 0);
        fs::write(&file, bytes).unwrap();
        let refused = Store::open_when_free(&folder).unwrap_err();
        assert_eq!(refused.path(), file, "{refused}");
    }
    // Another one of the same length is found where it is read.
    fs::write(&file, vec![7; 150_000]).unwrap();
    let mut store = Store::open(&folder);
    let failure = store.try_read_snapshot(140_000, 10).unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Damaged);
    assert!(
        failure.to_string().contains("bytes 131072 to 150000"),
        "{failure}"
    );
    drop(store);
    fs::remove_file(&file).unwrap();
    let refused = Store::open_when_free(&folder).unwrap_err();
    assert!(matches!(refused, DiskLogError::Damaged { .. }), "{refused}");
}
