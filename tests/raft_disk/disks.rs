//! A real disk that fills up. It is a small one in memory, in a namespace of its own, where the system allows that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use streamraft::raft::{
    Applied, Client, ClientError, DiskLog, FailureKind, LogLimits, LogStore, Raft, RaftMessage,
    RaftOutput,
};
use streamraft::{Config, Leadership};
use tokio::sync::mpsc;

use crate::tools::{CLUSTER, Folder, Store, batch, noise, parts, snapshot, when_free};

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

/// Runs a test of this file in a namespace with a small disk; false where the system does not allow that.
fn on_a_small_disk(test: &str) -> bool {
    let disk = Folder::new();
    let inside =
        r#"mount -t tmpfs -o size=32m none "$0" && exec "$1" --exact "$2" --ignored --nocapture"#;
    let namespace = ["--user", "--map-root-user", "--mount"];
    let allowed = Command::new("unshare").args(namespace).arg("true").status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!(
            "no namespaces here: left to `a_full_disk_is_told_again_and_again_and_costs_nothing`"
        );
        return false;
    }
    let output = Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", inside])
        .arg(&*disk)
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(DISK, &*disk)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("done"), "{text}");
    true
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again() {
    on_a_small_disk("disks::fills_its_disk");
}

/// One of three nodes, in a task.
struct Site {
    client: Client<u64>,
    leadership: Leadership<u64>,
    /// What its state machine was given.
    applied: Arc<Mutex<Vec<u64>>>,
    /// What it said of its store.
    failures: Arc<Mutex<Vec<(FailureKind, String)>>>,
    task: tokio::task::JoinHandle<DiskLog<u64>>,
}

type Letter = (u64, RaftMessage<u64>);

/// Runs a node until it ends: what it says goes to the others.
async fn drive(
    mut raft: Raft<DiskLog<u64>, u64>,
    mut inbox: mpsc::UnboundedReceiver<Letter>,
    others: BTreeMap<u64, mpsc::UnboundedSender<Letter>>,
    failures: Arc<Mutex<Vec<(FailureKind, String)>>>,
) -> DiskLog<u64> {
    let me = *raft.node_id();
    loop {
        tokio::select! {
            output = raft.next() => match output {
                Some(RaftOutput::ToNode(to, message)) => drop(others[&to].send((me, message))),
                Some(RaftOutput::Failed(failure)) => {
                    let failure = (failure.kind(), failure.to_string());
                    failures.lock().unwrap().push(failure);
                }
                Some(_) => {}
                None => return raft.into_store(),
            },
            Some((from, message)) = inbox.recv() => raft.on_receive(&from, message),
        }
    }
}

fn number(data: &[u8]) -> u64 {
    u64::from_le_bytes(*data.first_chunk().unwrap())
}

fn start(folders: [&Path; 3]) -> BTreeMap<u64, Site> {
    let (mut senders, mut inboxes) = (BTreeMap::new(), Vec::new());
    for id in 1..=3 {
        let (sender, inbox) = mpsc::unbounded_channel();
        senders.insert(id, sender);
        inboxes.push(inbox);
    }
    let mut sites = BTreeMap::new();
    for ((id, folder), inbox) in (1..).zip(folders).zip(inboxes) {
        let store = when_free(|| DiskLog::open(folder, &id, CLUSTER)).unwrap();
        let config = Config::with_id(id, 1..=3).unwrap().cluster(CLUSTER);
        let config = config
            .election_timeout(Duration::from_millis(300))
            .heartbeat_interval(Duration::from_millis(30))
            // The one with the small disk leads, if it can.
            .leader_priority(u64::from(id == 1));
        let mut raft = Raft::new(config, LogLimits::default(), store).unwrap();
        let (applied, failures) = (Arc::<Mutex<Vec<u64>>>::default(), Arc::default());
        let (mut stream, seen) = (raft.applied(0), Arc::clone(&applied));
        tokio::spawn(async move {
            while let Some(item) = stream.next().await {
                match item {
                    Applied::Entry(entry) => seen.lock().unwrap().push(number(&entry.data)),
                    other => panic!("{other:?}"),
                }
            }
        });
        let site = Site {
            client: raft.client(),
            leadership: raft.leadership(),
            applied,
            failures: Arc::clone(&failures),
            task: tokio::spawn(drive(raft, inbox, senders.clone(), failures)),
        };
        sites.insert(id, site);
    }
    sites
}

async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(done.is_ok(), "{what}");
}

/// Proposes this number to whoever leads. False: it was taken by one who leads no more, and nobody knows what came of it.
async fn propose(sites: &BTreeMap<u64, Site>, number: u64) -> bool {
    let mut data = noise(60_000);
    data[..8].copy_from_slice(&number.to_le_bytes());
    for _ in 0..30_000 {
        for site in sites.values() {
            match site.client.propose(data.clone()).await {
                Ok(_) => return true,
                Err(ClientError::NotTaken(_)) => {}
                Err(_) => return false,
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("nobody leads");
}

/// Not a test: what the process on the small disk does.
#[test]
#[ignore = "run by `a_leader_on_a_full_disk_steps_down_says_why_and_leads_again_when_there_is_room`"]
fn leads_on_a_disk_that_fills_up() {
    let Ok(disk) = std::env::var(DISK) else {
        return;
    };
    let disk = Path::new(&disk);
    let small = disk.join("node");
    fs::create_dir(&small).unwrap();
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 20 << 20]).unwrap();
    let roomy = [Folder::new(), Folder::new()];
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let acknowledged = runtime.block_on(async {
        let sites = start([&small, &roomy[0], &roomy[1]]);
        let is_full = || !sites[&1].failures.lock().unwrap().is_empty();
        wait_until("it leads", || sites[&1].leadership.is_leader()).await;
        let (mut taken, mut next) = (Vec::new(), 0);
        while !is_full() {
            next += 1;
            if propose(&sites, next).await {
                taken.push(next);
            }
            assert!(next < 1_000, "the disk is small");
        }
        // It says which folder, and leads no more; another does, and takes more than there is room for.
        let (kind, text) = sites[&1].failures.lock().unwrap()[0].clone();
        assert_eq!(kind, FailureKind::Full);
        let folder = fs::canonicalize(&small).unwrap();
        assert!(text.contains(&*folder.to_string_lossy()), "{text}");
        assert!(text.contains("No space left"), "{text}");
        assert!(text.contains("free space there, and it goes on"), "{text}");
        wait_until("another leads", || {
            sites[&2].leadership.is_leader() || sites[&3].leadership.is_leader()
        })
        .await;
        assert!(!sites[&1].leadership.is_leader());
        for _ in 0..40 {
            next += 1;
            if propose(&sites, next).await {
                taken.push(next);
            }
        }
        assert!(!sites[&1].leadership.is_leader(), "it is not up to date");
        assert!(!sites[&1].task.is_finished(), "and waits for room");

        fs::remove_file(&ballast).unwrap();
        wait_until("it leads again", || sites[&1].leadership.is_leader()).await;
        for _ in 0..5 {
            next += 1;
            if propose(&sites, next).await {
                taken.push(next);
            }
        }
        let has_all = |id: u64| {
            let applied = sites[&id].applied.lock().unwrap();
            taken.iter().all(|number| applied.contains(number))
        };
        wait_until("all have all", || (1..=3).all(has_all)).await;
        let logs: Vec<_> = (1..=3)
            .map(|id| sites[&id].applied.lock().unwrap().clone())
            .collect();
        let shortest = logs.iter().map(Vec::len).min().unwrap();
        assert!(
            logs.iter()
                .all(|log| log[..shortest] == logs[0][..shortest]),
            "one order"
        );
        let failures = sites[&1].failures.lock().unwrap();
        let is_full = |(kind, _): &(FailureKind, String)| *kind == FailureKind::Full;
        assert!(failures.iter().all(is_full), "{failures:?}");
        for (_, site) in sites.iter().filter(|(id, _)| **id > 1) {
            assert!(site.failures.lock().unwrap().is_empty());
        }
        for site in sites.values() {
            site.task.abort();
        }
        taken.len() as u64
    });
    drop(runtime);
    // What lies there is whole.
    let mut log = when_free(|| DiskLog::open(&small, &1_u64, CLUSTER)).unwrap();
    assert!(log.recovered().last > acknowledged);
    eprintln!("done");
}

#[test]
fn a_leader_on_a_full_disk_steps_down_says_why_and_leads_again_when_there_is_room() {
    on_a_small_disk("disks::leads_on_a_disk_that_fills_up");
}

/// Not a test: what the process on the small disk does.
#[test]
#[ignore = "run by `a_log_on_a_full_disk_is_opened_or_says_that_there_is_no_room`"]
fn opens_on_a_full_disk() {
    let Ok(disk) = std::env::var(DISK) else {
        return;
    };
    let disk = Path::new(&disk);
    let full = |ballast: &Path| {
        // Until nothing more goes in.
        let mut file = fs::File::create(ballast).unwrap();
        while std::io::Write::write(&mut file, &[1; 4096]).is_ok_and(|written| written > 0) {}
    };
    let folder = disk.join("node");
    fs::create_dir(&folder).unwrap();
    let ballast = disk.join("ballast");
    full(&ballast);
    let refused = Store::open_when_free(&folder).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("free space there, then start"), "{text}");
    assert!(refused.path().starts_with(&folder), "{text}");
    fs::remove_file(&ballast).unwrap();
    let mut store = Store::open(&folder);
    store
        .log
        .append(&batch(1, 1, &vec![b"entry".to_vec(); 100]));
    store.flush();
    // As after a kill, which leaves a log to be repaired, on a disk that is full then.
    let killed = disk.join("killed");
    fs::create_dir(&killed).unwrap();
    for file in ["log", "flushed"] {
        fs::copy(folder.join(file), killed.join(file)).unwrap();
    }
    drop(store);
    full(&ballast);
    for folder in [&folder, &killed] {
        match Store::open_when_free(folder) {
            Ok(mut store) => assert_eq!(store.log.recovered().last, 100),
            Err(refused) => {
                let text = refused.to_string();
                assert!(text.contains("free space there, then start"), "{text}");
            }
        }
    }
    fs::remove_file(&ballast).unwrap();
    for folder in [&folder, &killed] {
        assert_eq!(Store::open(folder).log.recovered().last, 100);
    }
    eprintln!("done");
}

#[test]
fn a_log_on_a_full_disk_is_opened_or_says_that_there_is_no_room() {
    on_a_small_disk("disks::opens_on_a_full_disk");
}
