//! Many elections that share links between machines, under the same faults and invariants as single ones.

use std::time::Instant;

use streamraft::sim::{Builder, Cluster, GroupsMachine, Timing};

use crate::ms;
use crate::random::{number, on_all_cores};

/// As many as a plain `cargo test` has time for.
const FEW: u64 = if cfg!(debug_assertions) { 100 } else { 3_000 };

/// Another sort of cluster for every seed: one to four groups on one to five machines, and up to four others.
fn cluster(seed: u64) -> Builder<GroupsMachine<u64>> {
    let voters = 1 + seed % 5;
    let joiners = [0, 1, 2][seed as usize / 3 % 3];
    let spares = seed / 9 % 3;
    let leadership = [150, 150, 100, 300];
    let timing =
        Timing::new(ms(150), ms(40)).leadership_timeout(ms(leadership[seed as usize / 27 % 4]));
    Cluster::groups(1..=voters, 1 + seed / 2 % 4)
        .joiners(voters + 1..=voters + joiners)
        .spares(voters + joiners + 1..=voters + joiners + spares)
        .timing(timing)
}

#[test]
fn no_random_fault_breaks_an_invariant_of_any_group() {
    if let Some(seed) = number("STREAMRAFT_SEED") {
        let lines = number("STREAMRAFT_LINES").unwrap_or(400);
        let summary = cluster(seed).chart_lines(lines as usize).run(seed).unwrap();
        return println!("{summary}");
    }
    let start = Instant::now();
    let first = number("STREAMRAFT_FIRST_SEED").unwrap_or(0);
    let count = number("STREAMRAFT_SEEDS").unwrap_or(FEW);
    let summary = on_all_cores(first..first + count, |seed| cluster(seed).run(seed)).unwrap();
    println!(
        "evidence | simulation of groups | {summary} seconds={:.1}",
        start.elapsed().as_secs_f64()
    );
}
