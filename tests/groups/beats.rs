//! What beats stand for: all that groups at rest say. When a group's is over, and what a lost or late message costs.

use std::collections::BTreeMap;

use futures::SinkExt;
use streamraft::{Command, Inbound};

use crate::hand::{ELECTION, HEARTBEAT, config, ms};
use crate::world::{World, now};

/// How many intervals a while has.
const ROUNDS: u64 = 100;

async fn a_while(
    world: &mut World<crate::hand::Machine>,
) -> BTreeMap<(u64, u64, &'static str), u64> {
    world.counts.clear();
    world
        .run(HEARTBEAT * u32::try_from(ROUNDS).expect("few"))
        .await;
    std::mem::take(&mut world.counts)
}

#[tokio::test(start_paused = true)]
async fn groups_at_rest_say_one_beat_and_one_answer_an_interval_for_each_machine_that_leads() {
    for groups in [1, 3, 30] {
        let mut world = World::with(3, 0..groups);
        world.rest(0..groups).await;
        // One group: one machine leads. Three and more: all do.
        let leading = if groups == 1 { vec![1] } else { vec![1, 2, 3] };
        let counts = a_while(&mut world).await;
        let mut expected = BTreeMap::new();
        for from in leading {
            for to in (1..=3).filter(|to| *to != from) {
                expected.insert((from, to, "Beat"), ROUNDS);
                expected.insert((to, from, "BeatAck"), ROUNDS);
            }
        }
        assert_eq!(counts, expected, "{groups}");
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_prolonged_and_terms_stay_while_only_beats_are_said() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    let terms = |world: &World<_>| {
        let states = world
            .saved
            .iter()
            .map(|(at, saved): (_, &streamraft::HardState<u64>)| (*at, saved.term()));
        states.collect::<BTreeMap<_, _>>()
    };
    let before = terms(&world);
    world.spoke.clear();
    for _ in 0..600 {
        world.run(ELECTION).await;
        assert_eq!(world.led(now(), 0..9), 9);
    }
    assert_eq!((terms(&world), world.spoke.len()), (before, 0));
}

#[tokio::test(start_paused = true)]
async fn who_leads_nothing_any_more_is_silent() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    for id in 1..=3 {
        for key in 0..9 {
            world.machine(id).remove(&key).expect("it is there");
        }
    }
    // What was ended is told until it was heard of.
    world.run(ELECTION).await;
    assert_eq!(a_while(&mut world).await, BTreeMap::new());
    let dues = world
        .machines
        .values()
        .filter_map(|machine| machine.get_ref().poll_timeout());
    assert_eq!(dues.count(), 0, "there is nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn a_group_removed_at_its_follower_is_pinged_and_the_others_still_rest() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    let follower = (1..=3)
        .find(|id| world.leader(now(), 4) != Some(*id))
        .expect("one of two");
    let kept = world.machine(follower).remove(&4).expect("it is there");
    assert_eq!(
        kept,
        world.saved[&(follower, 4)],
        "all that must be remembered"
    );
    world.spoke.clear();
    world.run(5 * ELECTION).await;
    assert_eq!(
        (
            world.led(now(), 0..9),
            world.spoke.iter().copied().collect::<Vec<_>>()
        ),
        (9, vec![4])
    );
    assert!(
        world.machines[&follower].stats().unknown_groups > 0,
        "pings that nobody answers"
    );
    world.insert(now(), follower, 4, config(follower, 3));
    world.rest(0..9).await;
}

/// Commands that end an attachment and not the leadership.
#[tokio::test(start_paused = true)]
async fn a_follower_that_has_something_to_tell_is_attached_anew() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    let leader = world.leader(now(), 4).expect("it is led");
    let follower = (1..=3).find(|id| *id != leader).expect("one of two");
    let term = world.saved[&(leader, 4)].term();
    let input = Inbound::FromSelf(Command::SetPriority(1));
    world
        .machine(follower)
        .send((4, input))
        .await
        .expect("it is there");
    world.spoke.clear();
    world.rest(0..9).await;
    assert_eq!(world.spoke.iter().collect::<Vec<_>>(), [&4]);
    assert_eq!(
        (world.leader(now(), 4), world.saved[&(leader, 4)].term()),
        (Some(leader), term)
    );
}

/// From the first campaign to the rest, any one message may be lost.
#[tokio::test(start_paused = true)]
async fn whichever_message_is_lost_the_groups_come_to_rest() {
    let mut world = World::with(3, 0..2);
    world.rest(0..2).await;
    let needed = world.posted;
    assert!(needed > 40, "{needed}");
    for number in 1..=needed {
        let mut world = World::with(3, 0..2);
        world.lost.insert(number);
        world.rest(0..2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_come_twice_and_late_change_nothing() {
    for late in [0, 1, 30, 250, 1_500, 6_000] {
        let mut world = World::with(3, 0..4);
        world.delay = ms(3);
        world.echo = Some(ms(late));
        world
            .until("all are led", |world| world.led(now(), 0..4) == 4)
            .await;
        world.run(10 * ELECTION).await;
        let terms: Vec<u64> = world
            .saved
            .values()
            .map(streamraft::HardState::term)
            .collect();
        for _ in 0..50 {
            world.run(ELECTION / 5).await;
            assert_eq!(world.led(now(), 0..4), 4, "{late}");
        }
        let later: Vec<u64> = world
            .saved
            .values()
            .map(streamraft::HardState::term)
            .collect();
        assert_eq!(later, terms, "{late}");
        world.echo = None;
        world.run(ms(late)).await;
        world.rest(0..4).await;
    }
}

/// The round trip is longer than an interval, so that the last answer comes when no beat is due any more.
#[tokio::test(start_paused = true)]
async fn who_has_led_nothing_for_a_while_leads_again_by_beats() {
    let mut world = World::with(2, 0..1);
    world.delay = ms(80);
    world.rest(0..1).await;
    for round in 0..3 {
        for id in 1..=2 {
            world.machine(id).remove(&0).expect("it is there");
        }
        world.run(10 * ELECTION).await;
        world.counts.clear();
        world.run(ELECTION).await;
        assert_eq!(
            world.counts,
            BTreeMap::new(),
            "{round}: nobody leads anything"
        );
        for id in 1..=2 {
            world.insert(now(), id, 0, config(id, 2).leader_priority(2 - id));
        }
        world.rest(0..1).await;
    }
}

/// It was overtaken by the news that it is over. Whoever took it up would wait for a leader that there is not, for as long as
/// the machines beat for other groups.
#[tokio::test(start_paused = true)]
async fn an_offer_that_comes_after_its_end_is_not_taken_up() {
    let mut world = World::with(3, 0..9);
    world.held = Some((0, "Attach"));
    let is_led = |world: &mut World<_>| world.leader(now(), 0) == Some(1);
    world.until("it leads", is_led).await;
    world.run(5 * ELECTION).await;
    world.machine(1).remove(&0).expect("it is there");
    world.run(2 * HEARTBEAT).await;
    world.held = None;
    let late = std::mem::take(&mut world.aside);
    assert!(late.len() >= 2, "both followers were asked");
    for letter in late {
        world.post_it(now(), letter);
    }
    let took = world
        .until("it is led", |world| world.leader(now(), 0).is_some())
        .await;
    assert!(took <= 3 * ELECTION, "{took:?}");
}
