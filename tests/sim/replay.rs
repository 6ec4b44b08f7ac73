//! One seed, one run.

use streamraft::Command;
use streamraft::sim::{Cluster, Conditions, Fault, Who};

use crate::ms;
use crate::random::cluster;

/// A run with a bit of everything, and what stands for all that happened in it.
fn digest_of(seed: u64, gap: u64) -> u64 {
    let mut cluster = cluster(seed).build(seed).unwrap();
    let bad = Conditions::good()
        .loss(200)
        .duplication(200)
        .late(100, ms(300))
        .disk(ms(0), ms(3));
    let faults = [
        Fault::Conditions(bad),
        Fault::Rate(Who::Node(1), 50_000),
        Fault::Pause(Who::Leader, ms(200)),
        Fault::Restart(Who::Node(2)),
        Fault::Ask(Who::Leader, Command::Resign),
        Fault::Crash(Who::Leader),
        Fault::Stall(Who::Node(1), ms(100)),
        Fault::Isolate(Who::Node(3)),
    ];
    for fault in faults {
        cluster.run(ms(gap)).unwrap();
        cluster.apply(&fault).unwrap();
    }
    cluster.recover().unwrap();
    cluster.run(ms(2_000)).unwrap();
    cluster.digest()
}

#[test]
fn a_seed_replays_a_run_exactly() {
    for seed in 0..50 {
        assert_eq!(digest_of(seed, 150), digest_of(seed, 150), "seed {seed}");
    }
}

#[test]
fn another_seed_or_another_step_is_another_run() {
    for seed in 0..20 {
        assert_ne!(digest_of(seed, 150), digest_of(seed + 45, 150));
        assert_ne!(digest_of(seed, 150), digest_of(seed, 151));
    }
}

#[test]
fn random_runs_of_a_seed_are_the_same_to_the_last_message() {
    for seed in 0..50 {
        let [one, other] = [(), ()].map(|()| cluster(seed).run(seed).unwrap());
        assert_eq!(one.digest, other.digest, "seed {seed}");
        assert_eq!(one, other, "seed {seed}");
    }
    let mut cluster = Cluster::elections([1, 2, 3]).build(1).unwrap();
    cluster.run(ms(1_000)).unwrap();
    let idle = cluster.digest();
    cluster.run(ms(1)).unwrap();
    cluster.run(ms(39)).unwrap();
    assert_ne!(cluster.digest(), idle, "heartbeats are events");
}
