//! The tables of rounds and of first elections.

use std::time::Instant;

use allocation_counter::measure;

use super::{Cluster, at_work, make};
use crate::report::{Report, figure, median};

/// All that have an election in logical time.
pub const NAMES: [&str; 5] = [
    "streamraft",
    "streamraft-nodeid",
    "raft-io",
    "raft-rs",
    "omnipaxos",
];

/// What each is compared with.
const YARDSTICK: &str = "raft-io";

const SIZES: [u64; 2] = [3, 5];

/// Slices of each peer's work, one after the other; each figure is the median of its slices.
const SLICES: usize = 41;

const ROUNDS: usize = 2_000;

const ELECTIONS: usize = 200;

struct Row {
    name: &'static str,
    nodes: u64,
    slices: Vec<f64>,
    allocations: u64,
    bytes: u64,
}

impl Row {
    fn made(&self) -> Box<dyn Cluster> {
        make(self.name, self.nodes).expect("a known name")
    }
}

pub fn compare(report: &mut Report) {
    rounds(report);
    colds(report);
}

fn rounds(report: &mut Report) {
    let mut rows = rows();
    let at_work = |row: &Row| at_work(row.name, row.nodes).expect("a known name");
    let mut clusters: Vec<_> = rows.iter().map(at_work).collect();
    for (row, cluster) in rows.iter_mut().zip(&mut clusters) {
        let counted = measure(|| (0..100).for_each(|_| cluster.round()));
        (row.allocations, row.bytes) = (counted.count_total / 100, counted.bytes_total / 100);
    }
    for _ in 0..SLICES {
        for (row, cluster) in rows.iter_mut().zip(&mut clusters) {
            let start = Instant::now();
            (0..ROUNDS).for_each(|_| cluster.round());
            row.slices.push(per(start, ROUNDS));
        }
    }
    let times = print(
        report,
        "Heartbeat round",
        "The leader's timer has rung, every follower answers, the leader has all answers. In memory, on one thread, in \
         logical time, so without timers or the clock. ns are the median of 41 slices of 2,000 rounds, the peers' slices in turn.",
        rows,
    );
    for nodes in SIZES {
        let of = |name| time(&times, name, nodes);
        let what = format!("heartbeat round, {nodes} nodes: share of raft-io's time");
        report.at_most(&what, 0.5, of("streamraft") / of(YARDSTICK));
        let what =
            format!("heartbeat round, {nodes} nodes: with `NodeId`, share of that with `u64`");
        report.at_most(&what, 1.3, of("streamraft-nodeid") / of("streamraft"));
    }
}

fn colds(report: &mut Report) {
    let mut rows = rows();
    for row in &mut rows {
        let mut cluster = row.made();
        let counted = measure(|| cluster.elect());
        (row.allocations, row.bytes) = (counted.count_total, counted.bytes_total);
    }
    for _ in 0..SLICES {
        for row in &mut rows {
            let mut clusters: Vec<_> = (0..ELECTIONS).map(|_| row.made()).collect();
            let start = Instant::now();
            clusters.iter_mut().for_each(|cluster| cluster.elect());
            row.slices.push(per(start, ELECTIONS));
        }
    }
    let times = print(
        report,
        "First election",
        "From the due timer of the first candidate until everyone follows it. The same way.",
        rows,
    );
    for nodes in SIZES {
        let of = |name| time(&times, name, nodes);
        let what = format!("first election, {nodes} nodes: share of raft-io's time");
        report.at_most(&what, 1.0, of("streamraft") / of(YARDSTICK));
    }
}

fn rows() -> Vec<Row> {
    let row = |name, nodes| Row {
        name,
        nodes,
        slices: Vec::with_capacity(SLICES),
        allocations: 0,
        bytes: 0,
    };
    SIZES
        .iter()
        .flat_map(|nodes| NAMES.map(|name| row(name, *nodes)))
        .collect()
}

fn per(start: Instant, times: usize) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / times as f64
}

type Times = Vec<(&'static str, u64, f64)>;

fn time(times: &Times, name: &str, nodes: u64) -> f64 {
    let mut all = times.iter();
    let found = all.find(|(one, size, _)| *one == name && *size == nodes);
    found.map_or(f64::NAN, |(_, _, time)| *time)
}

fn print(report: &mut Report, title: &str, about: &str, mut rows: Vec<Row>) -> Times {
    let timed = |row: &mut Row| {
        let slices = std::mem::take(&mut row.slices);
        (row.name, row.nodes, median(slices))
    };
    let times: Times = rows.iter_mut().map(timed).collect();
    let line = |(row, (_, _, ns)): (&Row, &(_, _, f64))| {
        vec![
            format!("{}, {} nodes", row.name, row.nodes),
            format!("{ns:.0}"),
            figure(ns / time(&times, YARDSTICK, row.nodes)),
            row.allocations.to_string(),
            row.bytes.to_string(),
        ]
    };
    let lines = rows.iter().zip(&times).map(line).collect();
    let against = format!("of {YARDSTICK}'s");
    let columns = ["", "ns", &against, "allocations", "bytes"];
    report.table(title, about, &columns, lines);
    times
}
