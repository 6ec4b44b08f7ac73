//! Who campaigns when: the leader ranks its voters in its pings. The paper draws lots (5.2); that a server may
//! campaign at any time without harm is what makes an order of succession safe (thesis 3.10: "equivalent to the target
//! server's clock jumping forwards quickly, which is safe").

use std::collections::BTreeMap;
use std::time::Duration;

use streamraft::{LogPosition, MessageKind};

use crate::one::{ELECTION_TIMEOUT, HEARTBEAT, One, Outputs, is_pre_vote_request, ping_ranked};
use crate::world::{World, ms};

const STEP_OF_FIVE: Duration = Duration::from_millis(200);

/// The ranks that a round of pings gives.
fn ranks(out: &Outputs) -> BTreeMap<u64, Option<u32>> {
    let rank = |(to, message): (u64, streamraft::Message<u64>)| match message.kind {
        MessageKind::Ping { succession, .. } => Some((to, succession)),
        _ => None,
    };
    out.messages().into_iter().filter_map(rank).collect()
}

/// Alive before priority before position before id.
#[test]
fn voters_are_ranked_by_life_then_priority_then_log_then_id() {
    let mut node = One::leader(7);
    let answers = [(2, 1, 9), (3, 0, 9), (4, 2, 5), (5, 2, 6), (6, 0, 9)];
    for (voter, priority, index) in answers {
        let position = LogPosition::new(1, index);
        let kind = MessageKind::Pong {
            round: 0,
            position,
            priority,
        };
        node.receive(voter, 1, kind);
    }

    let ranks = ranks(&node.wait(HEARTBEAT));

    let order = [5, 4, 2, 3, 6, 7];
    for (rank, voter) in (0..).zip(order) {
        assert_eq!(ranks[&voter], Some(rank), "{ranks:?}");
    }
}

/// Whoever has been silent for an election timeout is ranked last, whatever its priority was.
#[test]
fn the_dead_are_ranked_last() {
    let mut node = One::leader(5);
    let best = MessageKind::Pong {
        round: 0,
        position: LogPosition::default(),
        priority: 9,
    };
    node.receive(2, 1, best);
    let first = ranks(&node.wait_answered(HEARTBEAT, &[3, 4, 5]));
    assert_eq!(first[&2], Some(0));

    node.wait_answered(ELECTION_TIMEOUT, &[3, 4, 5]);
    let later = ranks(&node.wait_answered(HEARTBEAT, &[3, 4, 5]));

    assert_eq!((later[&3], later[&2]), (Some(0), Some(3)));
}

/// Steady answers count too: who misses every other ping ranks behind who misses none.
#[test]
fn who_answers_steadily_ranks_before_who_does_not() {
    let mut node = One::leader_with_lease(3);
    for beat in 0..200 {
        let answering: &[u64] = if beat % 2 == 0 { &[2, 3] } else { &[3] };
        node.wait_answered(HEARTBEAT, answering);
    }
    let ranks = ranks(&node.wait_answered(HEARTBEAT, &[2, 3]));
    assert_eq!((ranks[&3], ranks[&2]), (Some(0), Some(1)));
}

/// And lately: who was as steady as any for long ranks behind when it has begun to miss pings.
#[test]
fn who_has_begun_to_miss_pings_ranks_behind() {
    let mut node = One::leader_with_lease(3);
    node.wait_answered(HEARTBEAT * 200, &[2, 3]);
    node.wait_answered(HEARTBEAT * 3, &[3]);
    let ranks = ranks(&node.wait_answered(HEARTBEAT * 2, &[2, 3]));
    assert_eq!((ranks[&3], ranks[&2]), (Some(0), Some(1)));
}

/// A leader fails: its first successor campaigns alone, and wins about one election timeout after the last ping.
#[test]
fn the_first_successor_campaigns_alone() {
    for seed in 0..100 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| config);
        world.delay = (ms(1), ms(8));
        let leader = world.settle(ms(5_000));
        world.run(ms(1_000 + seed));
        world.kill(leader);
        world.traffic.clear();

        let took = world.run_until(ms(3_000), |world| world.settled().is_some());

        // At most: one timeout from the last ping's coming, a sixteenth of a step, six delays.
        let most = ELECTION_TIMEOUT + STEP_OF_FIVE / 16 + ms(7 * 8);
        assert!(
            took.is_some_and(|took| took <= most),
            "seed {seed}: {took:?}"
        );
        let campaigned: Vec<u64> = asked_by(&world);
        assert_eq!(campaigned.len(), 1, "seed {seed}: {campaigned:?}");
        assert_eq!(world.leader(), campaigned.first().copied());
        let first = if leader == 1 { 2 } else { 1 };
        assert_eq!(world.leader(), Some(first), "equals are ranked by id");
    }
}

/// If the first successor died with the leader, the next one is one step behind it.
#[test]
fn the_next_successor_is_one_step_behind() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| config);
        world.delay = (ms(1), ms(8));
        let leader = world.settle(ms(5_000));
        world.run(ms(1_000 + seed));
        let mut others: Vec<u64> = world.ids().into_iter().filter(|id| *id != leader).collect();
        let first = others.remove(0);
        world.kill(leader);
        world.kill(first);

        let took = world.run_until(ms(3_000), |world| world.settled().is_some());

        let least = ELECTION_TIMEOUT + STEP_OF_FIVE - HEARTBEAT;
        let most = ELECTION_TIMEOUT + STEP_OF_FIVE + STEP_OF_FIVE / 16 + ms(7 * 8);
        assert!(
            took.is_some_and(|took| (least..=most).contains(&took)),
            "seed {seed}: {took:?}"
        );
        assert_eq!(world.leader(), Some(others[0]));
    }
}

/// A node that knows no leader takes its turn by its place in the list: a cold start splits no votes.
#[test]
fn a_cold_start_splits_no_votes() {
    for seed in 0..100 {
        for bootstrap in [false, true] {
            let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| {
                if bootstrap {
                    config.bootstrap()
                } else {
                    config
                }
            });
            world.delay = (ms(1), ms(8));
            let wait = if bootstrap { ms(0) } else { ELECTION_TIMEOUT };

            let took = world.run_until(ms(5_000), |world| world.settled().is_some());

            let latest = wait + STEP_OF_FIVE / 16 + ms(7 * 8);
            assert!(
                took.is_some_and(|took| took >= wait && took <= latest),
                "{took:?}"
            );
            assert_eq!(world.history.len(), 1);
            assert_eq!((world.history[0].1, world.history[0].2), (1, 1));
            assert_eq!(asked_by(&world), [1]);
        }
    }
}

/// A rank is given for the case that the leader which gave it fails. If that campaign fails too, the rank is spent: the
/// others may never have had one, or one from another leader, and two that take the same turn would collide for ever.
#[test]
fn a_rank_is_good_for_the_first_campaign_only() {
    let step = ELECTION_TIMEOUT / 3;
    let mut node = One::fresh(3, 3);
    node.receive(1, 1, ping_ranked(0, 0));
    let out = node.wait(ELECTION_TIMEOUT + step / 16);
    assert_eq!(out.receivers(is_pre_vote_request)[..2], [1, 2]);
    let first = out.round_asked();

    // From now on it waits as the last in the list.
    let out = node.wait(ELECTION_TIMEOUT + step * 2 - step / 16);
    assert_eq!(out.round_asked(), first, "not before its place in the list");
    let out = node.wait(step / 16 * 3);
    assert_ne!(out.round_asked(), first);
}

/// Three of five are down, and two ask and ask. One that comes back is enough, and at once: it does not have both of
/// them campaign against each other for the vote that only one can get.
#[test]
fn two_that_wait_for_a_third_do_not_split_its_vote() {
    for seed in 0..100 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| config);
        world.delay = (ms(1), ms(5));
        let first = world.settle(ms(5_000));
        for _ in 0..3 {
            let leader = world.settle(ms(5_000));
            world.run(ms(1_000));
            world.kill(leader);
        }
        world.run(ms(20_000));
        world.start(first);

        let took = world.run_until(ms(60_000), |world| world.settled().is_some());

        // Its window after the restart, and the delays of pre-vote, vote and ping.
        let most = ELECTION_TIMEOUT + STEP_OF_FIVE / 16 + ms(7 * 5);
        assert!(
            took.is_some_and(|took| took <= most),
            "seed {seed}: {took:?}"
        );
    }
}

/// Who has asked for pre-votes.
fn asked_by(world: &World) -> Vec<u64> {
    let asked = |((id, kind), _): (&(u64, &str), _)| (*kind == "pre-vote request").then_some(*id);
    world.traffic.iter().filter_map(asked).collect()
}
