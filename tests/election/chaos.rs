//! Random faults, and the rules that no fault may break. The world checks at every step: one leader a term, one vote
//! a term, terms that grow, leases that never overlap, nothing sent that was not saved.

use rand::RngExt;
use streamraft::Command;

use crate::world::{World, ms};

/// How many random runs; more by `STREAMRAFT_SEEDS`.
fn seeds() -> u64 {
    std::env::var("STREAMRAFT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

#[test]
fn no_random_fault_makes_two_leaders_in_a_term_or_two_leases() {
    for seed in 0..seeds() {
        let result = std::panic::catch_unwind(|| one_run(seed));
        if let Err(cause) = result {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(cause);
        }
    }
}

fn one_run(seed: u64) {
    let size = 1 + seed % 5;
    let ids: Vec<u64> = (1..=size).collect();
    let mut world = World::new(seed, &ids, |config| {
        config.election_timeout(ms(150)).heartbeat_interval(ms(40)).random_timeout(ms(150))
    });
    world.delay = (ms(0), ms([1, 5, 20, 80][world.rng.random_range(0..4)]));
    world.loss = [0, 0, 5, 20][world.rng.random_range(0..4)];
    world.duplication = [0, 0, 10][world.rng.random_range(0..3)];
    for id in &ids {
        let ppm = world.rng.random_range(-45_000..=45_000);
        world.set_drift(*id, ppm);
    }
    for _ in 0..world.rng.random_range(5..40) {
        let pause = world.rng.random_range(0..200);
        world.run(ms(pause));
        fault(&mut world, &ids);
    }
    recover(&mut world, &ids);
}

fn pick(world: &mut World, ids: &[u64]) -> u64 {
    ids[world.rng.random_range(0..ids.len())]
}

fn fault(world: &mut World, ids: &[u64]) {
    let (a, b) = (pick(world, ids), pick(world, ids));
    let leader = world.leader().unwrap_or(a);
    match world.rng.random_range(0..12) {
        0 => world.kill(a),
        1 => world.kill(leader),
        2 | 3 => {
            world.kill(a);
            world.start(a);
        }
        4 => world.cuts.extend([(a, b)]),
        5 => world.cut_both(a, b),
        6 => world.heal(),
        7 => {
            let time = world.rng.random_range(10..600);
            world.pause(leader, ms(time));
        }
        8 if world.is_up(leader) => {
            // Refused to who does not lead, to itself and to who is on the way already.
            let _ = world.command(leader, Command::Transfer(b));
        }
        9 if world.is_up(leader) => {
            world.command(leader, Command::Resign).expect("always allowed");
        }
        10 if world.is_up(a) => {
            let priority = world.rng.random_range(0..3);
            world.command(a, Command::SetPriority(priority)).expect("always allowed");
        }
        _ => {
            for id in ids.iter().filter(|id| !world.is_up(**id)).copied().collect::<Vec<_>>() {
                world.start(id);
            }
        }
    }
}

/// With all faults gone, one leader is known to all before long.
fn recover(world: &mut World, ids: &[u64]) {
    world.heal();
    world.loss = 0;
    world.delay = (ms(0), ms(5));
    for id in ids {
        if !world.is_up(*id) {
            world.start(*id);
        }
        world.pause(*id, ms(0));
    }
    world.settle(ms(3_000));
}
