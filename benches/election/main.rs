//! What an election costs: one heartbeat round, one cold election, one message; in time and in allocations.
//!
//! - `core` drives [`Election`](streamraft::Election) by hand on virtual instants. Its figures stand beside those of
//!   PEERS.md: leader's timer, every follower answers, the leader has all answers.
//! - `streams` does the same through the stream and the sink of [`TinyRaft`](streamraft::TinyRaft). A node is polled
//!   until it is pending after every message that is put in, as a task would be that is woken for each. tokio's clock
//!   is paused and moved by hand. Moving it is not measured; reading it is, and costs about what the real one does.
//! - `message` puts one `Ping` into the sink of a follower, and takes the `Pong` out of its stream, on the real clock.
//!
//! An election is measured from the due timer of the first candidate until everyone follows the leader and the
//! leader has everyone's answer.

mod allocations;
mod by_hand;
mod ids;
mod streams;

use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, measurement::WallTime};
use streamraft::NodeId;

use ids::BenchId;
use streams::Clock;

const SIZES: [u64; 2] = [3, 5];

/// So many clusters share one move of the clock, so that reading the stopwatch costs next to nothing.
const BATCH: usize = 32;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    // First, since a clock that was paused once is read more slowly ever after.
    message::<u64>(&mut criterion);
    message::<NodeId>(&mut criterion);
    allocations::print();
    for nodes in SIZES {
        core::<u64>(&mut criterion, nodes);
        core::<NodeId>(&mut criterion, nodes);
        through_streams::<u64>(&mut criterion, nodes);
        through_streams::<NodeId>(&mut criterion, nodes);
    }
    criterion.final_summary();
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    criterion.benchmark_group(name)
}

fn core<I: BenchId>(criterion: &mut Criterion, nodes: u64) {
    let mut group = group(criterion, "core");
    group.bench_function(name::<I>("heartbeat", nodes), |bencher| {
        let mut cluster = by_hand::Cluster::<I>::at_work(nodes);
        bencher.iter(|| cluster.heartbeat());
    });
    group.bench_function(name::<I>("election", nodes), |bencher| {
        let fresh = by_hand::Cluster::<I>::due(nodes);
        bencher.iter_batched_ref(
            || fresh.clone(),
            by_hand::Cluster::elect,
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn through_streams<I: BenchId>(criterion: &mut Criterion, nodes: u64) {
    let clock = Clock::paused();
    let mut group = group(criterion, "streams");
    group.bench_function(name::<I>("heartbeat", nodes), |bencher| {
        let mut clusters = streams::Cluster::<I>::at_work(&clock, nodes, BATCH);
        bencher.iter_custom(|times| {
            in_batches(times, || {
                clock.advance(streams::HEARTBEAT);
                stopwatch(|| clusters.iter_mut().for_each(streams::Cluster::heartbeat))
            })
        });
    });
    group.bench_function(name::<I>("election", nodes), |bencher| {
        bencher.iter_custom(|times| {
            in_batches(times, || {
                let mut clusters = streams::Cluster::<I>::due(&clock, nodes, BATCH);
                stopwatch(|| clusters.iter_mut().for_each(streams::Cluster::elect))
            })
        });
    });
    group.finish();
}

fn message<I: BenchId>(criterion: &mut Criterion) {
    let clock = Clock::real();
    let mut group = group(criterion, "message");
    let mut follower = streams::Follower::<I>::new(&clock);
    group.bench_function(name::<I>("in", 3), |bencher| {
        bencher.iter(|| follower.take());
    });
    group.bench_function(name::<I>("in and out", 3), |bencher| {
        bencher.iter(|| {
            follower.take();
            follower.answer()
        });
    });
    group.finish();
}

fn name<I: BenchId>(what: &str, nodes: u64) -> BenchmarkId {
    BenchmarkId::new(what, format!("{nodes} nodes, {}", I::NAME))
}

/// The time of so many repetitions, of which each batch does [`BATCH`].
fn in_batches(times: u64, mut batch: impl FnMut() -> Duration) -> Duration {
    let batches = times.div_ceil(BATCH as u64);
    let total: Duration = (0..batches).map(|_| batch()).sum();
    total.mul_f64(times as f64 / (batches * BATCH as u64) as f64)
}

fn stopwatch(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
