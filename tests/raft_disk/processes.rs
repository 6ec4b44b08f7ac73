//! Real processes: killed at random points, and two of them on one folder.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use streamraft::LogPosition;
use streamraft::raft::{Batch, LogStore, MemoryLog, Write};

use crate::tools::{Folder, Store, batch, hard_state, parts, snapshot};

const FOLDER: &str = "STREAMRAFT_TEST_FOLDER";
const SEED: &str = "STREAMRAFT_TEST_SEED";

/// The work of a node in small: what is handed over before each flush.
struct Script {
    dice: SmallRng,
    term: u64,
    model: MemoryLog,
}

impl Script {
    fn new(seed: u64) -> Self {
        Self {
            dice: SmallRng::seed_from_u64(seed),
            term: 1,
            model: MemoryLog::new(),
        }
    }

    fn next(&mut self) -> Vec<Write> {
        let mut writes = Vec::new();
        for _ in 0..self.dice.random_range(1..5) {
            self.draw(&mut writes);
        }
        writes
    }

    fn hand_over(&mut self, write: Write, writes: &mut Vec<Write>) {
        write.hand_to(&mut self.model);
        writes.push(write);
    }

    /// In one flush with its parts or not, as it comes.
    fn snapshot(&mut self, index: u64, writes: &mut Vec<Write>) {
        let data = vec![self.dice.random(); self.dice.random_range(0..200_000)];
        let snapshot = snapshot(self.term, index, &data);
        for part in parts(snapshot, &data, 50_000) {
            self.hand_over(Write::WriteSnapshot(part), writes);
        }
        self.hand_over(Write::InstallSnapshot(snapshot), writes);
        if index > self.model.last() {
            self.hand_over(Write::Reset(snapshot.position), writes);
        }
    }

    fn draw(&mut self, writes: &mut Vec<Write>) {
        let (purged, last) = (self.model.purged().index, self.model.last());
        let write = match self.dice.random_range(0..8_u8) {
            0 => {
                self.term += 1;
                Write::Save(hard_state(self.term))
            }
            1 if last > purged + 5 => Write::Truncate(last - self.dice.random_range(1..5)),
            2 if self.dice.random_ratio(1, 2) => {
                let index = last + self.dice.random_range(0..3);
                self.snapshot(index, writes);
                return;
            }
            3 if last > purged + 60 => {
                let index = self.dice.random_range(purged + 1..=last);
                let mut batches = self.model.batches().into_iter();
                let holds = batches.find(|batch| batch.last() >= index);
                Write::Purge(LogPosition::new(
                    holds.map_or(0, |batch| batch.term()),
                    index,
                ))
            }
            _ => {
                let count = self.dice.random_range(1..20);
                let data: Vec<Vec<u8>> = (0..count)
                    .map(|_| vec![self.dice.random(); self.dice.random_range(0..300)])
                    .collect();
                Write::Append(batch(last + 1, self.term, &data))
            }
        };
        self.hand_over(write, writes);
    }
}

/// Not a test: what the other process does.
#[test]
#[ignore = "run by `what_was_flushed_survives_a_kill_at_any_point`"]
fn works_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let mut store = Store::open(Path::new(&folder));
    let mut script = Script::new(std::env::var(SEED).unwrap().parse().unwrap());
    for count in 1..10_000 {
        for write in script.next() {
            write.hand_to(&mut store.log);
        }
        store.flush();
        let mut out = std::io::stderr();
        writeln!(out, "flushed {count}").unwrap();
    }
}

/// Not a test: what the other process does.
#[test]
#[ignore = "run by `another_process_finds_the_folder_locked`"]
fn says_whether_it_can_open() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let said = match Store::try_open(Path::new(&folder)) {
        Ok(_) => "opened".to_owned(),
        Err(error) => error.to_string(),
    };
    writeln!(std::io::stderr(), "{said}").unwrap();
}

fn start(what: &str, folder: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", what, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_was_flushed_survives_a_kill_at_any_point() {
    for seed in 0..8 {
        let folder = Folder::new();
        let mut child = start("processes::works_until_it_is_killed", &folder, seed);
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut counts = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("flushed ")?.parse().ok());
        let mut dice = SmallRng::seed_from_u64(seed);
        let flushes = dice.random_range(1..60_usize);
        let mut flushed: usize = counts.by_ref().take(flushes).last().unwrap();
        assert_eq!(flushed, flushes);
        std::thread::sleep(Duration::from_micros(dice.random_range(0..3000)));
        child.kill().unwrap();
        child.wait().unwrap();
        // What was said before it died and not read yet.
        flushed = counts.last().unwrap_or(flushed);

        let mut script = Script::new(seed);
        (0..flushed).for_each(|_| drop(script.next()));
        let mut acknowledged = script.model.clone();
        script.next();
        let mut store = Store::open(&folder);
        let recovered = store.log.recovered();
        let model = if recovered == acknowledged.recovered() {
            acknowledged
        } else {
            script.model
        };
        assert_eq!(recovered, model.clone().recovered(), "seed {seed}");
        let mut wanted: Vec<_> = model.batches().iter().flat_map(Batch::entries).collect();
        wanted.retain(|entry| entry.index > recovered.purged.index);
        assert_eq!(store.try_entries(&recovered).unwrap(), wanted);
        if let Some((snapshot, data)) = model.snapshot() {
            let found = store.try_read_all(snapshot.len, 1 << 20).unwrap();
            assert!(found == data.to_vec(), "seed {seed}");
        }
    }
}

#[test]
fn another_process_finds_the_folder_locked() {
    let folder = Folder::new();
    let said = || {
        let child = start("processes::says_whether_it_can_open", &folder, 0);
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let store = Store::open(&folder);
    let text = said();
    assert!(
        text.contains("another process or another DiskLog"),
        "{text}"
    );
    drop(store);
    assert!(said().contains("opened"));
}
