//! Elections without a log: a heartbeat round in a cluster at work, and the first election of a cluster.
//!
//! A round: the leader's timer has rung, every follower answers, the leader has all answers. In memory, on one
//! thread, in logical time; what one node says is at the other at once.

mod omnipaxos;
mod raft_io;
mod raft_rs;
mod streamraft;
mod tokioraft;

use std::hint::black_box;
use std::time::Instant;

use allocation_counter::measure;

use crate::table;

/// A cluster of one of the peers.
trait Cluster {
    /// One that has never run, at the moment at which its first node is to campaign.
    fn due(nodes: u64) -> Self
    where
        Self: Sized;

    /// The first node campaigns and wins, and everyone knows.
    fn elect(&mut self);

    /// One heartbeat round.
    fn round(&mut self);
}

pub const NAMES: [&str; 7] = [
    "streamraft",
    "streamraft-nodeid",
    "streamraft-streams",
    "raft-io",
    "raft-rs",
    "omnipaxos",
    "tokioraft",
];

/// What each is compared with.
const YARDSTICK: &str = "raft-io";

const SIZES: [u64; 2] = [3, 5];

/// Slices of each peer's work, one after the other; each figure is the median of its slices.
const SLICES: usize = 41;

/// After so many rounds nothing changes any more from one to the next.
const TO_SETTLE: usize = 300;

const ROUNDS: usize = 2_000;

const ELECTIONS: usize = 200;

/// tokioraft's round takes so much longer that fewer do; it has no election in logical time.
const SLOW_ROUNDS: usize = 200;

fn make(name: &str, nodes: u64) -> Option<Box<dyn Cluster>> {
    Some(match name {
        "streamraft" => Box::new(streamraft::Core::<u64>::due(nodes)),
        "streamraft-nodeid" => Box::new(streamraft::Core::<::streamraft::NodeId>::due(nodes)),
        "streamraft-streams" => Box::new(streamraft::Streams::due(nodes)),
        "raft-io" => Box::new(raft_io::Nodes::due(nodes)),
        "raft-rs" => Box::new(raft_rs::Nodes::due(nodes)),
        "omnipaxos" => Box::new(omnipaxos::Nodes::due(nodes)),
        "tokioraft" => Box::new(tokioraft::Nodes::due(nodes)),
        _ => return None,
    })
}

fn at_work(name: &str, nodes: u64) -> Option<Box<dyn Cluster>> {
    let mut cluster = make(name, nodes)?;
    cluster.elect();
    for _ in 0..TO_SETTLE {
        cluster.round();
    }
    Some(cluster)
}

/// The work alone. `false`: nobody has this name.
pub fn repeat(work: &str, name: &str, nodes: u64, times: usize) -> bool {
    if work == "round" {
        let Some(mut cluster) = at_work(name, nodes) else {
            return false;
        };
        for _ in 0..times {
            black_box(&mut cluster).round();
        }
        return true;
    }
    for _ in 0..times {
        let Some(mut cluster) = make(name, nodes) else {
            return false;
        };
        black_box(&mut cluster).elect();
    }
    true
}

struct Row {
    name: &'static str,
    nodes: u64,
    slices: Vec<f64>,
    allocations: u64,
    bytes: u64,
}

pub fn compare() {
    let mut rounds = rows();
    for row in &mut rounds {
        let mut cluster = at_work(row.name, row.nodes).expect("a known name");
        let counted = measure(|| (0..100).for_each(|_| cluster.round()));
        (row.allocations, row.bytes) = (counted.count_total / 100, counted.bytes_total / 100);
    }
    let mut clusters: Vec<_> = rounds
        .iter()
        .map(|row| at_work(row.name, row.nodes).expect("a known name"))
        .collect();
    for _ in 0..SLICES {
        for (row, cluster) in rounds.iter_mut().zip(&mut clusters) {
            let times = if row.name == "tokioraft" {
                SLOW_ROUNDS
            } else {
                ROUNDS
            };
            let start = Instant::now();
            (0..times).for_each(|_| cluster.round());
            row.slices.push(per(start, times));
        }
    }
    print("heartbeat round", &mut rounds);

    let mut colds = rows();
    colds.retain(|row| row.name != "tokioraft");
    for row in &mut colds {
        let mut cluster = make(row.name, row.nodes).expect("a known name");
        let counted = measure(|| cluster.elect());
        (row.allocations, row.bytes) = (counted.count_total, counted.bytes_total);
    }
    for _ in 0..SLICES {
        for row in &mut colds {
            let fresh = || make(row.name, row.nodes).expect("a known name");
            let mut clusters: Vec<_> = (0..ELECTIONS).map(|_| fresh()).collect();
            let start = Instant::now();
            clusters.iter_mut().for_each(|cluster| cluster.elect());
            row.slices.push(per(start, ELECTIONS));
        }
    }
    print("cold election", &mut colds);
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

fn print(what: &str, rows: &mut [Row]) {
    let times: Vec<f64> = rows
        .iter_mut()
        .map(|row| table::median(&mut row.slices))
        .collect();
    let yardstick = |nodes| {
        let mut all = rows.iter().zip(&times);
        let found = all.find(|(row, _)| row.name == YARDSTICK && row.nodes == nodes);
        found.map_or(f64::NAN, |(_, time)| *time)
    };
    let lines: Vec<_> = rows
        .iter()
        .zip(&times)
        .map(|(row, time)| {
            let cells = vec![
                format!("{time:.0}"),
                format!("{:.2}", time / yardstick(row.nodes)),
                row.allocations.to_string(),
                row.bytes.to_string(),
            ];
            (format!("{}, {} nodes", row.name, row.nodes), cells)
        })
        .collect();
    let against = format!("of {YARDSTICK}'s");
    table::print(what, &["ns", &against, "allocations", "bytes"], &lines);
}
