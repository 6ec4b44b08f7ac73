//! Single groups that change while the others rest: members, priorities, and groups that come and go.

use futures::SinkExt;
use streamraft::{Command, Config, NodeType};

use crate::hand::{ELECTION, HEARTBEAT, Machine, SPREAD, config, config_of};
use crate::world::{World, now};

async fn send(world: &mut World<Machine>, id: u64, key: u64, command: Command<u64>) {
    world
        .machine(id)
        .send((key, command.into()))
        .await
        .expect("it can be carried out");
}

/// Machines 1 to 4, of which the first three have these groups.
async fn three_of_four(keys: std::ops::Range<u64>) -> World<Machine> {
    let mut world = World::new(4);
    for key in keys.clone() {
        for id in 1..=3 {
            world.insert(now(), id, key, config(id, 3));
        }
    }
    world.rest(keys).await;
    world
}

fn joining(id: u64) -> Config<u64> {
    Config::join(id)
        .election_timeout(ELECTION)
        .random_timeout(SPREAD)
        .heartbeat_interval(HEARTBEAT)
}

#[tokio::test(start_paused = true)]
async fn single_groups_grow_and_shrink_while_the_others_rest() {
    let mut world = three_of_four(0..20).await;
    let terms: Vec<u64> = world
        .saved
        .values()
        .map(streamraft::HardState::term)
        .collect();
    world.spoke.clear();
    for key in [5, 6] {
        world.insert(now(), 4, key, joining(4));
        let leader = world.leader(now(), key).expect("it is led");
        world
            .machine(leader)
            .set_nodes(&key, 1..=4)
            .expect("a good list");
    }
    let has_voters = |world: &World<Machine>, key: u64, voters: &[u64]| {
        voters.iter().all(|id| {
            let state = world.machines[id].state(&key).expect("it is there");
            state.nodes() == voters && state.observers().is_empty()
        })
    };
    world
        .until("four vote", |world| {
            [5, 6]
                .iter()
                .all(|key| has_voters(world, *key, &[1, 2, 3, 4]))
        })
        .await;
    world.rest(0..20).await;
    // One loses a former member, the other the new one.
    for (key, voters) in [(5, [2, 3, 4]), (6, [1, 2, 3])] {
        let leader = world.leader(now(), key).expect("it is led");
        world
            .machine(leader)
            .set_nodes(&key, voters)
            .expect("a good list");
    }
    world
        .until("three vote", |world| {
            has_voters(world, 5, &[2, 3, 4]) && has_voters(world, 6, &[1, 2, 3])
        })
        .await;
    world.run(2 * ELECTION).await;
    for (id, key) in [(1, 5), (4, 6)] {
        let state = world.machines[&id].state(&key).expect("it is there");
        assert_eq!(
            state.node_type(),
            NodeType::Observer,
            "{id} has no vote in {key}"
        );
        world.machine(id).remove(&key).expect("it is there");
    }
    world.rest(0..20).await;
    assert_eq!(world.led(now(), 0..20), 20);
    assert_eq!(
        world.spoke.iter().collect::<Vec<_>>(),
        [&5, &6],
        "the others rested all the while"
    );
    let others = |key: u64| key != 5 && key != 6;
    let later: Vec<u64> = world
        .saved
        .iter()
        .filter(|((id, key), _)| *id < 4 && others(*key))
        .map(|(_, saved)| saved.term())
        .collect();
    assert_eq!(later.len(), 54);
    assert!(later.iter().all(|term| terms.contains(term)));
}

/// No `Ping` comes whose answer could tell the leader of the wish, unless the group is not at rest any more.
#[tokio::test(start_paused = true)]
async fn a_wish_on_a_machine_that_does_not_lead_is_heard_though_the_group_rests() {
    let mut world = three_of_four(0..6).await;
    let leader = world.leader(now(), 3).expect("it is led");
    let follower = (1..=3).find(|id| *id != leader).expect("one of two");
    world.insert(now(), 4, 3, joining(4));
    world
        .machine(follower)
        .set_nodes(&3, 1..=4)
        .expect("a good list");
    world
        .until("four vote", |world| {
            let state = world.machines[&4].state(&3).expect("it is there");
            state.nodes() == [1, 2, 3, 4] && state.observers().is_empty()
        })
        .await;
    world.rest(0..6).await;
}

#[tokio::test(start_paused = true)]
async fn groups_come_and_go_at_run_time() {
    let mut world = World::with(3, 0..5);
    world.rest(0..5).await;
    for key in 5..10 {
        for id in 1..=3 {
            world.insert(now(), id, key, config(id, 3));
        }
    }
    world.rest(0..10).await;
    for key in 0..5 {
        for id in 1..=3 {
            let kept = world.machine(id).remove(&key).expect("it is there");
            assert_eq!(kept, world.saved[&(id, key)]);
            assert_eq!(world.machine(id).remove(&key), None, "once");
        }
    }
    world.spoke.clear();
    world.rest(5..10).await;
    assert!(world.spoke.is_empty(), "{:?}", world.spoke);
    assert_eq!(world.machines[&1].keys().count(), 5);
    // They come back with what they must remember, and go on in a later term.
    let terms: Vec<u64> = (0..5).map(|key| world.saved[&(1, key)].term()).collect();
    for key in 0..5 {
        for id in 1..=3 {
            world.insert(now(), id, key, config(id, 3));
        }
    }
    world.rest(0..10).await;
    for (key, term) in (0..5).zip(terms) {
        assert!(world.saved[&(1, key)].term() > term, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_removed_where_it_is_led_is_led_elsewhere_in_time() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    let kept = world.machine(1).remove(&0).expect("it leads it");
    assert_eq!(kept.voted_for(), Some(&1));
    let took = world
        .until("another leads it", |world| world.leader(now(), 0).is_some())
        .await;
    assert!(took <= 3 * ELECTION, "{took:?}");
    world.run(2 * ELECTION).await;
    assert_eq!(world.led(now(), 0..9), 9);
    // It comes back while the leadership is elsewhere, and is preferred again.
    world.insert(now(), 1, 0, config(1, 3).leader_priority(1));
    world
        .until("it leads again", |world| world.leader(now(), 0) == Some(1))
        .await;
    world.rest(0..9).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_begins_anew_many_times_in_one_life_of_its_machine() {
    let mut world = World::with(3, 0..4);
    world.rest(0..4).await;
    for round in 0..20 {
        let id = 1 + round % 3;
        let kept = world.machine(id).remove(&(round % 4)).expect("it is there");
        assert_eq!(kept, world.saved[&(id, round % 4)]);
        world.insert(now(), id, round % 4, config(id, 3));
        world.run(crate::hand::ms(170)).await;
    }
    world.rest(0..4).await;
    assert_eq!(world.led(now(), 0..4), 4);
}

#[tokio::test(start_paused = true)]
async fn priority_transfer_and_resign_move_one_group_alone() {
    let mut world = World::new(3).filled(0..9, |config, _| config.leader_priority(0));
    world.rest(0..9).await;
    let first = world.leader(now(), 4).expect("it is led");
    let (second, third) = (1 + first % 3, 1 + (first + 1) % 3);
    world.spoke.clear();

    send(&mut world, second, 4, Command::SetPriority(9)).await;
    world
        .until("the higher one leads", |world| {
            world.leader(now(), 4) == Some(second)
        })
        .await;
    world.rest(0..9).await;

    send(&mut world, second, 4, Command::SetPriority(0)).await;
    world.rest(0..9).await;
    world.machine(second).transfer(&4, third).expect("it leads");
    let took = world
        .until("it is handed over", |world| {
            world.leader(now(), 4) == Some(third)
        })
        .await;
    assert!(took < ELECTION / 10, "{took:?}");
    world.rest(0..9).await;

    send(&mut world, third, 4, Command::Resign).await;
    let took = world
        .until("it is handed over", |world| {
            world.leader(now(), 4).is_some_and(|id| id != third)
        })
        .await;
    assert!(took < ELECTION / 10, "{took:?}");
    world.rest(0..9).await;
    assert_eq!(world.spoke.iter().collect::<Vec<_>>(), [&4]);
    assert_eq!(world.led(now(), 0..9), 9);
}

/// Groups whose members are not the same machines share the links that they have in common.
#[tokio::test(start_paused = true)]
async fn groups_of_different_machines_share_what_they_have_in_common() {
    let mut world = World::new(5);
    for key in 0..20 {
        let members = [1 + key % 5, 1 + (key + 1) % 5, 1 + (key + 2) % 5];
        for id in members {
            world.insert(now(), id, key, config_of(id, members));
        }
    }
    world.rest(0..20).await;
    drop(world.kill(3));
    let took = world
        .until("all are led", |world| world.led(now(), 0..20) == 20)
        .await;
    assert!(took <= 3 * ELECTION, "{took:?}");
    world.rest(0..20).await;
}
