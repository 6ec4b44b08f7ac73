//! Nodes that run: tokio's timers and the real clock, streamraft's streams and sinks beside tokioraft's tasks.
//!
//! Many clusters at a time. While they wait for their heartbeats the runtime stands still, and nothing is measured;
//! then it rings the timers that are due meanwhile, and all clusters do their rounds.

use std::mem::size_of;
use std::time::Instant;

use allocation_counter::measure;
use streamraft::TinyRaft;

use crate::report::{Report, figure, median};
use crate::{streams, tokioraft};

const SIZES: [u64; 2] = [3, 5];

const CLUSTERS: usize = 64;

const SLICES: usize = 31;

/// Until streamraft's clusters have settled; tokioraft's have by the time that they have a leader.
const TO_SETTLE: usize = 40;

/// So few that tokioraft's nodes miss no leader meanwhile.
const FEW: usize = 8;

pub fn compare(report: &mut Report) {
    rounds(report);
    messages(report);
    heap(report);
}

fn rounds(report: &mut Report) {
    let mut lines = Vec::new();
    for nodes in SIZES {
        // In this order: tokioraft's take seconds until they are at work, and nobody polls the others meanwhile.
        let mut theirs = tokioraft::Clusters::at_work(nodes, CLUSTERS);
        let mut ours = streams::Clusters::at_work(nodes, CLUSTERS, TO_SETTLE);
        let (mut our_slices, mut their_slices) = (Vec::new(), Vec::new());
        let (mut our_allocations, mut their_allocations) = (0, Vec::new());
        for slice in 0..SLICES {
            ours.wait();
            our_slices.push(ns(|| ours.rounds()) / CLUSTERS as f64);
            theirs.wait();
            let mut rounds = 0.0;
            let time = ns(|| rounds = theirs.rounds());
            their_slices.push(time / rounds);
            if slice % 4 == 0 {
                ours.wait();
                our_allocations += ours.rounds_counted();
                theirs.wait();
                let counted = measure(|| rounds = theirs.rounds());
                their_allocations.push(counted.count_total as f64 / rounds);
            }
        }
        let (our_time, their_time) = (median(our_slices), median(their_slices));
        let row = |name: &str, time: f64, allocations: f64| {
            let name = format!("{name}, {nodes} nodes");
            vec![
                name,
                figure(time),
                figure(time / their_time),
                figure(allocations),
            ]
        };
        lines.push(row("streamraft", our_time, our_allocations as f64));
        lines.push(row("tokioraft", their_time, median(their_allocations)));
        let what = |what| format!("heartbeat round with timers and clock, {nodes} nodes: {what}");
        report.at_most(
            &what("share of tokioraft's time"),
            0.05,
            our_time / their_time,
        );
        report.at_most(&what("allocations"), 0.0, our_allocations as f64);
    }
    report.table(
        "Heartbeat round with timers and clock",
        "streamraft's nodes through their streams and sinks, polled by their owner; tokioraft's in their tasks. Clusters wait \
         for their heartbeat, which is not measured; then the runtime rings their timers and 64 clusters do their rounds, \
         which is, waking and arming anew included. A round of tokioraft's is one `Ping` and one `Pong` of each follower.",
        &["", "ns", "of tokioraft's", "allocations"],
        lines,
    );
}

fn messages(report: &mut Report) {
    let theirs = tokioraft::Clusters::at_work(3, CLUSTERS);
    let mut ours = streams::Clusters::at_work(3, CLUSTERS, FEW).followers();
    let mut theirs = theirs.followers();
    let [mut put, mut taken, mut idle, mut answered] = [const { Vec::new() }; 4];
    let (mut our_allocations, mut their_allocations) = (0, 0);
    for slice in 0..10 * SLICES {
        let count = ours.len() as f64;
        put.push(ns(|| ours.put()) / count);
        taken.push(ns(|| ours.take()) / count);
        idle.push(ns(|| ours.wait()) / count);
        theirs.clear();
        let mut answers = 0;
        let time = ns(|| answers = theirs.answer());
        answered.push(time / answers as f64);
        if slice == SLICES {
            let counted = measure(|| {
                ours.put();
                ours.take();
                ours.wait();
            });
            our_allocations = counted.count_total;
            theirs.clear();
            their_allocations = measure(|| answers = theirs.answer()).count_total / CLUSTERS as u64;
        }
    }
    let [put, taken, idle, answered] = [put, taken, idle, answered].map(median);
    report.at_most("one message into the `Sink`: ns", 100.0, put);
    report.at_most("one message out of the `Stream`: ns", 100.0, taken);
    let row = |name: &str, ns, allocations: &str| {
        vec![name.to_owned(), figure(ns), allocations.to_owned()]
    };
    report.table(
        "One message",
        "A leader's `Ping` to a follower of three, and the `Pong` that comes of it; with the real clock. 64 followers in turn.",
        &["", "ns", "allocations"],
        vec![
            row("streamraft: into the `Sink`", put, ""),
            row("streamraft: out of the `Stream`", taken, ""),
            row("streamraft: a poll that finds nothing more", idle, ""),
            row(
                "streamraft: all three",
                put + taken + idle,
                &our_allocations.to_string(),
            ),
            row("tokioraft: in and out", answered, &their_allocations.to_string()),
        ],
    );
}

fn heap(report: &mut Report) {
    let mut lines = Vec::new();
    for nodes in SIZES {
        let of = |bytes: i64| bytes as f64 / nodes as f64;
        let mut ours = streams::Clusters::empty(nodes, 1);
        let counted = measure(|| {
            ours.start();
            ours.elect();
            ours.settle(TO_SETTLE);
        });
        let our_heap = of(counted.bytes_current);
        let mut theirs = tokioraft::Clusters::empty(nodes, 1);
        let counted = measure(|| theirs.start());
        let their_heap = of(counted.bytes_current);
        let row = |name: &str, heap: f64, value: usize, tasks: &str| {
            let name = format!("{name}, of {nodes} nodes");
            vec![name, figure(heap), value.to_string(), tasks.to_owned()]
        };
        lines.push(row("streamraft", our_heap, size_of::<TinyRaft>(), "0"));
        let value = size_of::<::tokioraft::TinyRaft>();
        let tasks = "1, and some for its timers";
        lines.push(row("tokioraft", their_heap, value, tasks));
        if nodes == 3 {
            report.at_most("heap of an idle node of three: bytes", 1024.0, our_heap);
        }
    }
    report.table(
        "An idle node",
        "Live bytes that a node has taken from the allocator after its cluster has been at work for two seconds or more, and \
         the value itself, which lies where its owner puts it. streamraft's ids are `NodeId`s.",
        &["", "heap, bytes", "value, bytes", "tasks"],
        lines,
    );
}

fn ns(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9
}
