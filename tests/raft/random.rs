//! Random runs over many seeds, on all cores. `STREAMRAFT_SEEDS` says how many; `STREAMRAFT_FIRST_SEED` with which to
//! begin; `STREAMRAFT_SEED` runs one of them again and shows all of it if it fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use streamraft::sim::{Builder, Cluster, Failure, LogNode, Summary, Timing};

use crate::ms;

/// As many as a plain `cargo test` has time for.
const FEW: u64 = if cfg!(debug_assertions) { 200 } else { 10_000 };

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Another sort of cluster for every seed: one to five voters, up to two joiners and two spares.
pub(crate) fn cluster(seed: u64) -> Builder<LogNode<u64>> {
    let voters = 1 + seed % 5;
    let joiners = [0, 1, 2][seed as usize / 3 % 3];
    let spares = seed / 9 % 3;
    let leadership = [150, 150, 100, 300];
    let timing =
        Timing::new(ms(150), ms(40)).leadership_timeout(ms(leadership[seed as usize / 27 % 4]));
    Cluster::logs(1..=voters)
        .joiners(voters + 1..=voters + joiners)
        .spares(voters + joiners + 1..=voters + joiners + spares)
        .timing(timing)
}

/// Runs seeds on all cores until none is left or one has failed.
fn work((next, end): (&AtomicU64, u64), stop: &AtomicBool) -> (Summary, Option<Failure>) {
    let mut all = Summary::default();
    while !stop.load(Ordering::Relaxed) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            break;
        }
        match cluster(seed).run(seed) {
            Ok(summary) => all.add(&summary),
            Err(failure) => {
                stop.store(true, Ordering::Relaxed);
                return (all, Some(failure));
            }
        }
    }
    (all, None)
}

#[test]
fn no_random_fault_breaks_an_invariant() {
    if let Some(seed) = number("STREAMRAFT_SEED") {
        // One run again, with all that was said in it.
        let lines = number("STREAMRAFT_LINES").unwrap_or(400);
        let summary = cluster(seed).chart_lines(lines as usize).run(seed).unwrap();
        return println!("{summary}");
    }
    let start = Instant::now();
    let first = number("STREAMRAFT_FIRST_SEED").unwrap_or(0);
    let end = first + number("STREAMRAFT_SEEDS").unwrap_or(FEW);
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut all = Summary::default();
    let mut failures = Vec::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores)
            .map(|_| scope.spawn(|| work((&next, end), &stop)))
            .collect();
        for worker in workers {
            let (summary, failure) = worker.join().unwrap();
            all.add(&summary);
            failures.extend(failure);
        }
    });
    if let Some(failure) = failures.iter().min_by_key(|failure| failure.seed()) {
        panic!("{failure}");
    }
    println!(
        "evidence | simulation of the log | {all} seconds={:.1}",
        start.elapsed().as_secs_f64()
    );
}
