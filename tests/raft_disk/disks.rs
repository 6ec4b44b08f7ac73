//! A real disk that fills up. It is a small one in memory, in a namespace of its own, where the system allows that.

use std::fs;
use std::path::Path;
use std::process::Command;

use streamraft::raft::{FailureKind, LogStore};

use crate::tools::{Folder, Store, batch, noise, parts, snapshot};

const DISK: &str = "STREAMRAFT_TEST_DISK";

/// Not a test: what the process on the small disk does.
#[test]
#[ignore = "run by `a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again`"]
fn fills_its_disk() {
    let Ok(disk) = std::env::var(DISK) else {
        return;
    };
    let disk = Path::new(&disk);
    let folder = disk.join("node");
    fs::create_dir(&folder).unwrap();
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 20 << 20]).unwrap();
    let mut store = Store::open(&folder);

    let mut last = 0;
    let failure = loop {
        let data: Vec<Vec<u8>> = (last..last + 64)
            .map(|index| noise(index as usize % 2000))
            .collect();
        store.log.append(&batch(last + 1, 1, &data));
        match store.try_flush() {
            Ok(()) => last += 64,
            Err(failure) => break failure,
        }
        assert!(last < 100_000, "the disk is small");
    };
    assert_eq!(failure.kind(), FailureKind::Full, "{failure}");
    let text = failure.to_string();
    assert!(
        text.contains("No space left") && text.contains("node"),
        "{text}"
    );
    let again = store.try_flush().unwrap_err();
    assert_eq!(again.kind(), FailureKind::Full, "still");

    // What a kill would leave now: all that was acknowledged.
    let copy = Folder::new();
    for file in ["log", "flushed"] {
        fs::copy(folder.join(file), copy.join(file)).unwrap();
    }
    assert_eq!(Store::open(&copy).log.recovered().last, last);

    fs::remove_file(&ballast).unwrap();
    store.flush();
    last += 64;

    // A snapshot that does not fit either.
    fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let data = noise(12 << 20);
    let snapshot = snapshot(1, last, &data);
    for part in parts(snapshot, &data, 1 << 20) {
        store.log.write_snapshot(&part);
    }
    store.log.install_snapshot(&snapshot);
    store.log.purge(snapshot.position);
    assert_eq!(store.try_flush().unwrap_err().kind(), FailureKind::Full);
    fs::remove_file(&ballast).unwrap();
    store.flush();
    assert_eq!(store.try_read_all(snapshot.len, 1 << 20).unwrap(), data);
    drop(store);
    let mut store = Store::open(&folder);
    let recovered = store.log.recovered();
    assert_eq!((recovered.last, recovered.snapshot), (last, Some(snapshot)));
    eprintln!("done");
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again() {
    let disk = Folder::new();
    let inside = r#"mount -t tmpfs -o size=32m none "$0" && exec "$1" --exact disks::fills_its_disk --ignored --nocapture"#;
    let namespace = ["--user", "--map-root-user", "--mount"];
    let allowed = Command::new("unshare").args(namespace).arg("true").status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!(
            "no namespaces here: left to `a_full_disk_is_told_again_and_again_and_costs_nothing`"
        );
        return;
    }
    let output = Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", inside])
        .arg(&*disk)
        .arg(std::env::current_exe().unwrap())
        .env(DISK, &*disk)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("done"), "{text}");
}
