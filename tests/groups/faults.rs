//! Machines that die, come back, are cut off on one side or both, or are not polled for long.

use std::task::Poll;

use streamraft::NodeType;
use tokio::time::advance;

use crate::hand::{ELECTION, Kind, LEASE, Machine, drain, ms, poll, sent, shown};
use crate::world::{World, now};

const GROUPS: u64 = 60;

async fn at_rest() -> World<Machine> {
    let mut world = World::with(3, 0..GROUPS);
    world.rest(0..GROUPS).await;
    for key in 0..GROUPS {
        assert_eq!(
            world.leader(now(), key),
            Some(1 + key % 3),
            "the preferred one leads"
        );
    }
    world
}

fn led_by(id: u64) -> impl Iterator<Item = u64> {
    (0..GROUPS).filter(move |key| 1 + key % 3 == id)
}

#[tokio::test(start_paused = true)]
async fn when_a_machine_dies_all_its_groups_are_led_again_and_the_others_stay_led() {
    let mut world = at_rest().await;
    // Whenever within an interval.
    world.run(ms(37)).await;
    drop(world.kill(2));
    let took = world
        .until("all are led", |world| {
            for key in led_by(1).chain(led_by(3)) {
                assert!(world.leader(now(), key).is_some(), "{key} lost its leader");
            }
            world.led(now(), 0..GROUPS) as u64 == GROUPS
        })
        .await;
    println!(
        "{} groups of a dead machine were led again after {took:?}",
        led_by(2).count()
    );
    assert!(took >= LEASE && took <= 3 * ELECTION, "{took:?}");
    // Who lives rests: nobody pings the dead one's groups by itself.
    world.rest(0..GROUPS).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_comes_back_from_its_disk_is_attached_and_leads_what_it_is_preferred_for() {
    let mut world = at_rest().await;
    drop(world.kill(2));
    world.rest(0..GROUPS).await;
    world.restart(2, 3);
    world
        .until("it leads its groups", |world| {
            led_by(2).all(|key| world.leader(now(), key) == Some(2))
        })
        .await;
    world.rest(0..GROUPS).await;
    assert_eq!(world.led(now(), 0..GROUPS) as u64, GROUPS);
}

/// The others have not noticed that it was away, but for the names of its sessions.
#[tokio::test(start_paused = true)]
async fn a_machine_that_restarts_at_once_costs_no_other_its_leadership() {
    let mut world = at_rest().await;
    drop(world.kill(2));
    world.restart(2, 3);
    for _ in 0..100 {
        world.run(ms(50)).await;
        for key in led_by(1).chain(led_by(3)) {
            assert_eq!(world.leader(now(), key), Some(1 + key % 3));
        }
    }
    world.rest(0..GROUPS).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_was_silent_and_comes_back_goes_on_without_a_restart() {
    for silence in [ms(150), ELECTION, 3 * ELECTION, 20 * ELECTION] {
        let mut world = at_rest().await;
        world.cut.extend([(1, 2), (2, 1)]);
        // Each of the two still has the third, so that nobody has to step down, and nobody is let stand.
        for _ in 0..10 {
            world.run(silence / 10).await;
            for key in 0..GROUPS {
                assert_eq!(world.leader(now(), key), Some(1 + key % 3), "{silence:?}");
            }
        }
        world.cut.clear();
        world.rest(0..GROUPS).await;
        for key in 0..GROUPS {
            assert_eq!(world.leader(now(), key), Some(1 + key % 3), "{silence:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_cut_in_one_direction_costs_nobody_its_leadership() {
    for cut in [(1, 2), (2, 1)] {
        let mut world = at_rest().await;
        let terms: Vec<u64> = world
            .saved
            .values()
            .map(streamraft::HardState::term)
            .collect();
        world.cut.insert(cut);
        for _ in 0..40 {
            world.run(ELECTION / 2).await;
            for key in 0..GROUPS {
                assert_eq!(world.leader(now(), key), Some(1 + key % 3), "{cut:?}");
            }
        }
        world.cut.clear();
        world.rest(0..GROUPS).await;
        let later: Vec<u64> = world
            .saved
            .values()
            .map(streamraft::HardState::term)
            .collect();
        assert_eq!(terms, later, "{cut:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_cut_off_gives_up_and_takes_back_when_it_is_heard_again() {
    let mut world = at_rest().await;
    world.cut.extend([(1, 2), (2, 1), (1, 3), (3, 1)]);
    world
        .until("its leases end", |world| {
            led_by(1).all(|key| !world.machines[&1].is_leader(&key))
        })
        .await;
    // `leader` looks at every instant that there are not two of them.
    world
        .until("all are led", |world| {
            world.led(now(), 0..GROUPS) as u64 == GROUPS
        })
        .await;
    for key in led_by(1) {
        let state = world.machines[&1].state(&key).expect("it is there");
        assert_ne!(
            state.node_type(),
            NodeType::Leader,
            "a leadership timeout is over"
        );
    }
    world.run(10 * ELECTION).await;
    world.cut.clear();
    world
        .until("it is preferred", |world| {
            led_by(1).all(|key| world.leader(now(), key) == Some(1))
        })
        .await;
    world.rest(0..GROUPS).await;
}

/// Long after its followers are thought to be dead: there is an end to wait for, and it comes.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_cut_off_expires_late_if_it_is_to() {
    let tune = |config: streamraft::Config<u64>| config.leadership_timeout(5 * ELECTION);
    let mut world = World::tuned(3, tune).filled(0..6, |config, _| tune(config));
    world.rest(0..6).await;
    world.cut.extend([(1, 2), (2, 1), (1, 3), (3, 1)]);
    let is_leader = |world: &World<Machine>, key: u64| {
        let state = world.machines[&1].state(&key).expect("it is there");
        state.node_type() == NodeType::Leader
    };
    world.run(4 * ELECTION).await;
    assert!([0, 3].iter().all(|key| is_leader(&world, *key)), "not yet");
    world.run(2 * ELECTION).await;
    assert!(!(0..6).any(|key| is_leader(&world, key)));
}

/// More groups than are looked after in one call.
#[tokio::test(start_paused = true)]
async fn a_machine_that_was_not_polled_leads_nothing_and_says_so_first() {
    const MANY: u64 = 900;
    let mut world = World::with(3, 0..MANY);
    world.rest(0..MANY).await;
    let mut machine = world.kill(1);
    let views: Vec<_> = (0..MANY)
        .map(|key| machine.leadership(&key).expect("it is there"))
        .collect();
    assert_eq!(
        views.iter().filter(|view| view.is_leader()).count() as u64,
        MANY / 3
    );
    advance(10 * ELECTION).await;
    assert!(views.iter().all(|view| !view.is_leader()), "without a poll");
    assert!(
        (0..MANY).all(|key| !machine.is_leader(&key)),
        "without a poll"
    );
    let mut told = std::collections::BTreeSet::new();
    while let Poll::Ready(Some(item)) = poll(&mut machine) {
        assert!(views.iter().all(|view| !view.is_leader()));
        if let Some((key, state)) = shown(&item) {
            assert_ne!(state.node_type(), NodeType::Leader);
            told.insert(key);
        }
        if let Some((key, _, message)) = sent(&item) {
            let is_of_a_leader = matches!(message.kind, Kind::Ping { .. } | Kind::Attach(_));
            assert!(
                !is_of_a_leader,
                "{key}: a heartbeat of a leadership that ran out"
            );
            assert!(
                key % 3 != 0
                    || told.contains(&key)
                    || matches!(message.kind, Kind::Beat(_) | Kind::BeatAck(_))
            );
        }
    }
    assert!(led_by(1).all(|key| told.contains(&key)));
    // The others have elected meanwhile; it finds its way back.
    world.machines.insert(1, machine);
    world.rest(0..MANY).await;
    assert_eq!(world.led(now(), 0..MANY) as u64, MANY);
}

#[tokio::test(start_paused = true)]
async fn beats_that_come_late_revive_nothing() {
    let mut world = at_rest().await;
    let mut machine = world.kill(1);
    world.run(ms(130)).await;
    // What it was sent meanwhile never came; now its own beat is answered ten timeouts later.
    let beats = drain(&mut machine);
    advance(10 * ELECTION).await;
    for item in beats {
        if let Some((key, to, message)) = sent(&item)
            && let Kind::Beat(beat) = &message.kind
        {
            machine.on_receive(
                &key,
                to,
                streamraft::Message::new(0, message.stamp, Kind::BeatAck(beat.clone())),
            );
        }
    }
    assert!((0..GROUPS).all(|key| !machine.is_leader(&key)));
    for item in drain(&mut machine) {
        if let Some((_, state)) = shown(&item) {
            assert_ne!(state.node_type(), NodeType::Leader);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_machines_and_five() {
    for count in [2, 5] {
        let mut world = World::with(count, 0..10);
        world.rest(0..10).await;
        assert_eq!(world.led(now(), 0..10), 10);
        drop(world.kill(count));
        world.run(5 * ELECTION).await;
        let led = world.led(now(), 0..10);
        assert_eq!(
            led,
            if count == 2 { 0 } else { 10 },
            "one of two is no quorum"
        );
        world.restart(count, count);
        world.rest(0..10).await;
    }
}
