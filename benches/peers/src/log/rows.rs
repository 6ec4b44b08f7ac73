//! The tables of replicated logs.

use std::hint::black_box;
use std::io;
use std::thread;
use std::time::Instant;

use allocation_counter::measure;
use cpu_time::ProcessTime;

use super::{make, proposals};
use crate::callgrind;
use crate::report::{Report, figure, median};

/// All that replicate a log: first those that are polled or stepped and have no runtime.
pub const NAMES: [&str; 10] = [
    CORE,
    "streamraft, core, telling",
    "omnipaxos",
    "omnipaxos, `Bytes`",
    "raft-rs",
    "raft-io",
    LITTLE,
    NODE,
    "async-raft",
    "openraft",
];

const CORE: &str = "streamraft, core";

const NODE: &str = "streamraft";

const LITTLE: &str = "little_raft";

/// Those with a runtime, with which the node is compared.
const ASYNC: [&str; 2] = ["async-raft", "openraft"];

const BYTES: [usize; 2] = [16, 1024];

const WINDOWS: [usize; 3] = [1, 64, 1024];

/// Slices of each peer's work, one after the other; each figure is the median of its slices.
const SLICES: usize = 9;

/// How many proposals a slice has: some tenths of a second at most, for the slow too.
fn proposals_of(name: &str, window: usize) -> usize {
    match (name, window) {
        (LITTLE, 1) => 400,
        ("async-raft" | "openraft", 1) => 4 * 1024,
        ("raft-io", 1024) => 16 * 1024,
        _ => 32 * 1024,
    }
}

#[derive(Clone, Default)]
struct Row {
    /// Thousands a second, in the order of [`BYTES`] and of [`WINDOWS`].
    speeds: [[Vec<f64>; 3]; 2],
    /// Microseconds at window 1, of 16 bytes.
    latencies: Vec<f64>,
    /// A proposal, at window 1024 of 16 bytes and of 1 KiB. None of one that works in other threads.
    allocations: Option<[f64; 2]>,
}

impl Row {
    /// Thousands a second of every sort of proposals, in order.
    fn medians(&self) -> impl Iterator<Item = f64> {
        self.speeds.iter().flatten().cloned().map(median)
    }
}

/// Measures the peers of these names, all on one core.
///
/// # Errors
/// valgrind is there and does not run.
///
/// # Panics
/// There is no peer of such a name.
pub fn compare(report: &mut Report, names: &[&'static str]) -> io::Result<()> {
    let rows = thread::scope(|scope| {
        // A thread of its own is bound to the core, with those that it starts, and nothing else.
        scope.spawn(|| measure_all(names)).join()
    });
    let rows = rows.expect("no thread panics");
    table(report, names, &rows);
    targets(report, names, &rows);
    instructions(report, names)
}

fn measure_all(names: &[&'static str]) -> Vec<Row> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores
        .last()
        .map(|core| core_affinity::set_for_current(*core));
    let mut rows = vec![Row::default(); names.len()];
    for (size, bytes) in BYTES.into_iter().enumerate() {
        for (at, window) in WINDOWS.into_iter().enumerate() {
            for _ in 0..SLICES {
                for (row, name) in rows.iter_mut().zip(names) {
                    row.speeds[size][at].push(speed(name, bytes, window));
                }
            }
        }
    }
    for _ in 0..SLICES {
        for (row, name) in rows.iter_mut().zip(names) {
            row.latencies.push(latency(name));
        }
    }
    for (row, name) in rows
        .iter_mut()
        .zip(names)
        .filter(|(_, name)| **name != LITTLE)
    {
        row.allocations = Some(BYTES.map(|bytes| allocations(name, bytes)));
    }
    rows
}

/// Thousands in a second of the processor's.
fn speed(name: &str, bytes: usize, window: usize) -> f64 {
    let mut cluster = make(name).expect("a known name");
    let count = proposals_of(name, window);
    cluster.run(proposals(4 * window, bytes), window, &mut || {});
    let proposals = proposals(count, bytes);
    let start = ProcessTime::now();
    cluster.run(proposals, window, &mut || {});
    count as f64 / start.elapsed().as_secs_f64() / 1e3
}

/// The median of one proposal of 16 bytes at a time, in microseconds.
fn latency(name: &str) -> f64 {
    let mut cluster = make(name).expect("a known name");
    let count = proposals_of(name, 1);
    let mut laps = Vec::with_capacity(count);
    let mut last = Instant::now();
    cluster.run(proposals(count, BYTES[0]), 1, &mut || {
        let now = Instant::now();
        laps.push((now - last).as_secs_f64() * 1e6);
        last = now;
    });
    median(laps)
}

fn allocations(name: &str, bytes: usize) -> f64 {
    let mut cluster = make(name).expect("a known name");
    let window = WINDOWS[2];
    cluster.run(proposals(4 * window, bytes), window, &mut || {});
    let proposals = proposals(4 * window, bytes);
    let counted = measure(|| cluster.run(black_box(proposals), window, &mut || {}));
    counted.count_total as f64 / (4 * window) as f64
}

fn table(report: &mut Report, names: &[&'static str], rows: &[Row]) {
    let line = |(row, name): (&Row, &&'static str)| {
        let mut line = vec![(*name).to_owned()];
        line.extend(row.medians().map(|speed| figure(speed.round())));
        line.push(figure(median(row.latencies.clone())));
        match row.allocations {
            Some(allocations) => line.extend(allocations.map(figure)),
            None => line.extend(["", ""].map(str::to_owned)),
        }
        line
    };
    report.table(
        "Replicated log",
        "Thousand proposals a second that the leader's state machine has applied, and so a quorum has; at the windows 1, 64 and \
         1024: so many are put to the leader at once, and the next when all of those are applied. Three nodes on one core, logs in \
         memory, messages handed over as they are, every proposal in a buffer of its own, which was made before. Seconds are the \
         processor's, so that what else runs counts less; medians of 9 slices of up to 32,768 proposals, each on a new cluster, the \
         peers' slices in turn. p50 is of one proposal of 16 bytes after the other, in us. Allocations are those of a proposal \
         at window 1024. From streamraft's core to `little_raft` no runtime: the core and those from omnipaxos to raft-io are polled \
         or stepped by hand, `little_raft` has a thread a node. Followers of `telling` hear at once what is committed, as those of \
         omnipaxos, raft-rs and of the node do; others with the next entries. `streamraft` is the node with its client, its stream \
         of what is applied, timers and the real clock, as async-raft and openraft are, which run in tasks. Entries are `Bytes` where \
         the user may choose (and `Vec<u8>` in one row of omnipaxos).",
        &["", "16 B: 1", "64", "1024", "1 KiB: 1", "64", "1024", "p50", "allocations, 16 B", "1 KiB"],
        rows.iter().zip(names).map(line).collect(),
    );
}

fn targets(report: &mut Report, names: &[&'static str], rows: &[Row]) {
    let row = |wanted: &str| {
        let at = names.iter().position(|name| *name == wanted)?;
        rows.get(at)
    };
    let is_peer = |name: &str| !name.starts_with(NODE);
    let peers = |is_wanted: &dyn Fn(&str) -> bool| -> Vec<&Row> {
        let all = names.iter().zip(rows);
        all.filter(|(name, _)| is_wanted(name))
            .map(|(_, row)| row)
            .collect()
    };
    let sorts = BYTES
        .iter()
        .flat_map(|bytes| WINDOWS.map(|window| (*bytes, window)));
    for (name, others) in [
        (CORE, peers(&|name| is_peer(name))),
        (NODE, peers(&|name| ASYNC.contains(&name))),
    ] {
        let Some(own) = row(name).filter(|_| !others.is_empty()) else {
            continue;
        };
        for (at, (bytes, window)) in sorts.clone().enumerate() {
            let best = others
                .iter()
                .filter_map(|row| row.medians().nth(at))
                .fold(0.0, f64::max);
            let speed = own.medians().nth(at).unwrap_or_default();
            let what =
                format!("log, `{name}`, {bytes} B at window {window}: time, of the best peer's");
            report.at_most(&what, 1.0, best / speed);
        }
    }
    let Some(own) = row(CORE) else { return };
    let p50 = |row: &Row| median(row.latencies.clone());
    let best = peers(&|name| is_peer(name))
        .into_iter()
        .map(p50)
        .fold(f64::MAX, f64::min);
    report.at_most(
        "log, p50 at window 1: of the best peer's",
        1.0,
        p50(own) / best,
    );
    let [short, long] = own.allocations.unwrap_or_default();
    let what = "log, allocations of a proposal at window 1024";
    report.at_most(what, 1.0, short.max(long));
}

/// Those of one proposal of 16 bytes after the other.
fn instructions(report: &mut Report, names: &[&'static str]) -> io::Result<()> {
    // One that works in other threads is not counted by what the measured one does.
    let is_counted = |name: &&&str| !(**name == LITTLE || ASYNC.contains(*name) || **name == NODE);
    let names: Vec<&str> = names.iter().filter(is_counted).copied().collect();
    if !callgrind::is_installed() {
        report.unknown(
            "log, instructions of a proposal",
            "valgrind is not installed",
        );
        return Ok(());
    }
    let works: Vec<_> = names.iter().map(|name| ("propose", *name, 3)).collect();
    let counts = callgrind::count(&works)?;
    let line = |(name, count): (&&str, &u64)| vec![(*name).to_owned(), count.to_string()];
    report.table(
        "Instructions of a proposal",
        "By callgrind, of 16 bytes at window 1, on all three nodes.",
        &["", "instructions"],
        names.iter().zip(&counts).map(line).collect(),
    );
    Ok(())
}
