//! How often the same work allocates. Counted on this thread alone.

use allocation_counter::{AllocationInfo, measure};
use streamraft::NodeId;

use crate::ids::BenchId;
use crate::streams::{self, Clock};
use crate::{SIZES, by_hand};

/// Over so many repetitions the counts are averaged.
const TIMES: u64 = 100;

pub(crate) fn print() {
    println!("{:<44} {:>12} {:>12}", "", "allocations", "bytes");
    let clock = Clock::real();
    count_message::<u64>(&clock);
    count_message::<NodeId>(&clock);
    let clock = Clock::paused();
    for nodes in SIZES {
        count::<u64>(&clock, nodes);
        count::<NodeId>(&clock, nodes);
    }
    println!();
}

fn count_message<I: BenchId>(clock: &Clock) {
    let mut follower = streams::Follower::<I>::new(clock);
    row::<I>("message, in and out", 3, || {
        measure(|| {
            follower.take();
            follower.answer();
        })
    });
}

fn count<I: BenchId>(clock: &Clock, nodes: u64) {
    let mut cluster = by_hand::Cluster::<I>::at_work(nodes);
    row::<I>("core, heartbeat", nodes, || measure(|| cluster.heartbeat()));
    row::<I>("core, election", nodes, || {
        let mut fresh = by_hand::Cluster::<I>::due(nodes);
        measure(|| fresh.elect())
    });
    let mut cluster = streams::Cluster::<I>::at_work(clock, nodes, 1);
    row::<I>("streams, heartbeat", nodes, || {
        clock.advance(streams::HEARTBEAT);
        measure(|| cluster.iter_mut().for_each(streams::Cluster::heartbeat))
    });
    row::<I>("streams, election", nodes, || {
        let mut fresh = streams::Cluster::<I>::due(clock, nodes, 1);
        measure(|| fresh.iter_mut().for_each(streams::Cluster::elect))
    });
}

fn row<I: BenchId>(what: &str, nodes: u64, mut counted: impl FnMut() -> AllocationInfo) {
    let mut total = AllocationInfo::default();
    for _ in 0..TIMES {
        total += counted();
    }
    let name = format!("{what}, {nodes} nodes, {}", I::NAME);
    let mean = |sum: u64| sum as f64 / TIMES as f64;
    println!(
        "{name:<44} {:>12.2} {:>12.0}",
        mean(total.count_total),
        mean(total.bytes_total)
    );
}
