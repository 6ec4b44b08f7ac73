//! Random faults, and the rules that no fault may break. The world checks at every step: one leader a term, one vote
//! a term, terms that grow, leases that never overlap, nothing sent that was not saved.

use std::panic::{catch_unwind, resume_unwind};

use rand::RngExt;
use rand::seq::IndexedRandom;
use streamraft::{Command, Config, NodeType};

use crate::world::{World, ms};

#[test]
fn no_random_fault_makes_two_leaders_in_a_term_or_two_leases() {
    for_each_seed(|seed| {
        let voters: Vec<u64> = (1..=1 + seed % 5).collect();
        let mut world = disturbed(seed, &voters, &[]);
        for _ in 0..world.rng.random_range(5..40) {
            let pause = world.rng.random_range(0..200);
            world.run(ms(pause));
            fault(&mut world, &voters);
        }
        recover(&mut world);
        world.settle(ms(3_000));
    });
}

#[test]
fn no_random_fault_breaks_a_membership_change_and_every_cluster_ends_at_its_target() {
    for_each_seed(|seed| {
        let voters: Vec<u64> = (1..=1 + seed % 5).collect();
        let joiners: Vec<u64> = (voters.len() as u64 + 1..=7).collect();
        let mut world = disturbed(seed, &voters, &joiners);
        let all = world.ids();
        for _ in 0..world.rng.random_range(5..60) {
            let pause = world.rng.random_range(0..200);
            world.run(ms(pause));
            if world.rng.random_range(0..4) == 0 {
                wish(&mut world, &all);
            } else {
                fault(&mut world, &all);
            }
        }
        recover(&mut world);
        arrive(&mut world);
        let target = subset(&mut world, &all);
        let leader = world.leader().expect("it has arrived");
        world
            .command(leader, Command::SetNodes(target.clone()))
            .expect("a good list");
        arrive(&mut world);
        let leader = world.leader().expect("it has arrived");
        assert_eq!(
            world.state(leader).nodes(),
            target,
            "the last wish is the one that counts\n{world}"
        );
    });
}

/// Runs a test with many seeds, 1,000 or as many as `STREAMRAFT_SEEDS` says, and names the one that fails.
fn for_each_seed(test: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let seeds = std::env::var("STREAMRAFT_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(1_000) {
        if let Err(cause) = catch_unwind(|| test(seed)) {
            eprintln!("it was seed {seed}");
            resume_unwind(cause);
        }
    }
}

/// A world whose network and clocks are as bad as its seed says.
fn disturbed(seed: u64, voters: &[u64], joiners: &[u64]) -> World {
    let tune = |config: Config<u64>| {
        config
            .election_timeout(ms(150))
            .heartbeat_interval(ms(40))
            .random_timeout(ms(150))
    };
    let mut world = World::new(seed, voters, tune);
    for id in joiners {
        world.add(*id, tune(Config::join(*id)));
    }
    world.delay = (
        ms(0),
        ms(*[1, 5, 20, 80].choose(&mut world.rng).expect("not empty")),
    );
    world.loss = *[0, 0, 5, 20].choose(&mut world.rng).expect("not empty");
    world.duplication = *[0, 0, 10].choose(&mut world.rng).expect("not empty");
    for id in world.ids() {
        // Together less than the 10 % that a lease allows for.
        let ppm = world.rng.random_range(-45_000..=45_000);
        world.set_drift(id, ppm);
    }
    world
}

fn pick(world: &mut World, ids: &[u64]) -> u64 {
    *ids.choose(&mut world.rng).expect("not empty")
}

fn subset(world: &mut World, ids: &[u64]) -> Vec<u64> {
    let size = world.rng.random_range(1..=5.min(ids.len()));
    let mut nodes: Vec<u64> = ids.sample(&mut world.rng, size).copied().collect();
    nodes.sort_unstable();
    nodes
}

/// Says to one node, or as an orchestrator does to every one that runs, who shall vote.
fn wish(world: &mut World, ids: &[u64]) {
    let nodes = subset(world, ids);
    let one = pick(world, ids);
    let to_all = world.rng.random();
    for id in world.live().into_iter().filter(|id| to_all || *id == one) {
        world
            .command(id, Command::SetNodes(nodes.clone()))
            .expect("a good list");
    }
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
            world
                .command(leader, Command::Resign)
                .expect("always allowed");
        }
        10 if world.is_up(a) => {
            let priority = world.rng.random_range(0..3);
            world
                .command(a, Command::SetPriority(priority))
                .expect("always allowed");
        }
        _ => start_all(world),
    }
}

fn start_all(world: &mut World) {
    for id in world.ids() {
        if !world.is_up(id) {
            world.start(id);
        }
    }
}

/// Ends all faults.
fn recover(world: &mut World) {
    world.heal();
    world.loss = 0;
    world.delay = (ms(0), ms(5));
    for id in world.ids() {
        world.pause(id, ms(0));
    }
    start_all(world);
}

/// Waits until one leader is known to all voters, these are the ones wished for, and nobody else campaigns.
fn arrive(world: &mut World) {
    let arrived = |world: &World| {
        let Some(leader) = world.leader() else {
            return false;
        };
        let state = world.state(leader);
        let follows = |id: &u64| {
            let voter = world.state(*id);
            voter.leader() == Some(&leader)
                && voter.hard_state().membership() == state.hard_state().membership()
        };
        let in_place = |id: &u64| {
            state.nodes().contains(id) == (world.state(*id).node_type() != NodeType::Observer)
        };
        state.nodes() == state.target()
            && state.nodes().iter().all(follows)
            && world.ids().iter().all(in_place)
    };
    assert!(
        world.run_until(ms(10_000), arrived).is_some(),
        "not at the target: {world}"
    );
}
