//! Priority: who leads among those who can, and what a node that cannot may not unsettle.

use std::time::Duration;

use streamraft::{Command, Config};

use crate::world::{World, ms};

fn tune(config: Config<u64>) -> Config<u64> {
    config
        .election_timeout(ms(150))
        .heartbeat_interval(ms(50))
        .random_timeout(ms(150))
}

fn by_id(config: Config<u64>) -> Config<u64> {
    let id = *config.node_id();
    tune(config).leader_priority(id)
}

fn world(ids: &[u64], tune: impl Fn(Config<u64>) -> Config<u64>) -> World {
    let mut world = World::new(4, ids, tune);
    world.delay = (ms(1), ms(3));
    world
}

#[test]
fn a_higher_node_that_starts_later_takes_over_by_transfer_and_only_once() {
    let mut world = world(&[1, 2, 3], by_id);
    world.kill(3);
    world.settle(ms(2_000));
    assert_eq!(world.leader(), Some(2));
    world.start(3);
    let took = world
        .run_until(ms(2_000), |world| world.leader() == Some(3))
        .expect("it takes over");
    assert!(
        took < ms(150 * 3),
        "alive for an election timeout, then two round trips: {took:?}"
    );
    let changes = world.history.len();
    world.run(Duration::from_secs(600));
    assert_eq!(world.history.len(), changes, "and then nothing changes");
}

#[test]
fn priority_set_while_it_runs_moves_leadership() {
    let mut world = world(&[1, 2, 3], tune);
    let leader = world.settle(ms(2_000));
    let other = leader % 3 + 1;
    world
        .command(other, Command::SetPriority(9))
        .expect("always allowed");
    world
        .run_until(ms(2_000), |world| world.settled() == Some(other))
        .expect("it takes over");
    assert_eq!(world.history.len(), 2);
}

#[test]
fn of_two_followers_the_higher_succeeds_without_a_rival() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], by_id);
        world.delay = (ms(1), ms(3));
        world
            .run_until(ms(5_000), |world| world.settled() == Some(5))
            .expect("the highest leads");
        world.run(ms(300));
        let term = world.state(5).term();
        world.kill(5);
        world
            .run_until(ms(1_000), |world| world.settled() == Some(4))
            .expect("the next one leads");
        assert_eq!(world.state(4).term(), term + 1, "at the first try");
    }
}

#[test]
fn a_higher_node_that_answers_but_cannot_win_is_tried_less_and_less() {
    let mut world = world(&[1, 2, 3, 4, 5], tune);
    let leader = world.settle(ms(2_000));
    let higher = leader % 5 + 1;
    // It hears and answers the leader, and nobody else.
    for id in (1..=5).filter(|id| *id != leader && *id != higher) {
        world.cut_both(higher, id);
    }
    world
        .command(higher, Command::SetPriority(1))
        .expect("always allowed");
    let before = world.history.len();
    world.run(Duration::from_secs(600));
    let tries = world.history.len() - before;
    // A wait of 150 ms that doubles with every try: 600 s hold twelve of them.
    assert!(
        (3..=14).contains(&tries),
        "{tries} changes of term in ten minutes"
    );
    world.heal();
    world
        .run_until(Duration::from_secs(600), |world| {
            world.settled() == Some(higher)
        })
        .expect("healed, it leads");
}

#[test]
fn a_lower_candidate_gets_no_pre_vote_from_who_would_win_instead() {
    let mut world = world(&[1, 2, 3], |config| by_id(config).bootstrap());
    // By their places 1 campaigns first; whoever is asked and higher campaigns at once.
    let led = world.run_until(ms(45), |world| !world.history.is_empty());
    assert!(
        led.is_some(),
        "before the turn of 2 would have come: {world}"
    );
    assert_ne!(world.history[0].1, 1);
    world
        .run_until(ms(1_000), |world| world.settled() == Some(3))
        .expect("in the end the highest leads");
}

#[test]
fn a_higher_node_that_cannot_win_keeps_nobody_from_winning() {
    // 3 hears 2 and 1, but its requests reach nobody; 2 needs its vote.
    let mut world = world(&[1, 2, 3], by_id);
    world.settle(ms(3_000));
    world.kill(1);
    for id in [1, 2] {
        world.cuts.insert((3, id));
    }
    world.run(ms(2_000));
    assert_eq!(
        world.leader(),
        None,
        "3 cannot be counted on: there is no quorum"
    );
    world.cuts.clear();
    // 3 is heard again but hears nobody's answers: it cannot win, and must vote.
    world.cuts.insert((1, 3));
    world
        .run_until(ms(3_000), |world| world.leader().is_some())
        .expect("someone leads");
}
