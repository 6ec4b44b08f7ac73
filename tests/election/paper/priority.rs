//! `leader_priority`: a stronger rank, and a leader that gives way. Thesis section 3.10: "In some cases, one or more
//! servers may be more suitable to lead the cluster than others."

use streamraft::{Command, LogPosition, MessageKind, NodeType};

use crate::one::{ELECTION_TIMEOUT, One, ask_pre_vote, config, granted, is_pre_vote_request, ping};
use crate::world::{World, ms};

/// With priorities the order is theirs. One leader after the other falls, and the highest that is left leads.
#[test]
fn the_highest_priority_that_is_alive_leads() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| {
            let priority = [1, 4, 2, 5, 3][*config.node_id() as usize - 1];
            config.leader_priority(priority)
        });
        world.delay = (ms(1), ms(8));
        world.settle(ms(5_000));
        world.run(ms(3_000));
        for expected in [4, 2, 5] {
            let leader = world.settle(ms(50));
            assert_eq!(leader, expected, "seed {seed}: {world}");
            let elections = world.history.len();
            world.kill(leader);
            world.run(ms(1_200));
            assert!(world.history.len() <= elections + 1);
        }
    }
}

/// A leader hands over to a better one only after it has seen it for an election timeout, once, and in order.
/// (3.10-8)
#[test]
fn a_leader_hands_over_to_a_higher_priority() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(8));
        let leader = world.settle(ms(5_000));
        let better = leader % 3 + 1;
        world.run(ms(2_000));
        let before = world.history.len();
        world
            .command(better, Command::SetPriority(7))
            .expect("always allowed");

        let took = world.run_until(ms(5_000), |world| world.settled() == Some(better));

        assert!(
            took.is_some_and(|took| took >= ELECTION_TIMEOUT && took <= ms(1_300)),
            "{took:?}"
        );
        world.run(ms(60_000));
        assert_eq!(world.history.len(), before + 1, "no more changes: {world}");
    }
}

/// When that node has led after all, it is worth as much as any other again.
#[test]
fn a_better_node_that_has_led_is_not_kept_waiting() {
    for seed in 0..10 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| config);
        world.delay = (ms(1), ms(8));
        let leader = world.settle(ms(5_000));
        let better = leader % 5 + 1;
        let rest: Vec<u64> = (1..=5)
            .filter(|id| ![leader, better].contains(id))
            .collect();
        for other in &rest {
            world.cut_both(better, *other);
        }
        let set = |world: &mut World, id, priority| {
            world
                .command(id, Command::SetPriority(priority))
                .expect("always allowed");
        };
        // The one leader whom it reaches is to lead each time.
        set(&mut world, leader, 1);
        set(&mut world, better, 2);
        world.run(ms(60_000));
        world.heal();
        let led = world.run_until(ms(120_000), |world| world.settled() == Some(better));
        assert!(led.is_some(), "seed {seed}: {world}");

        set(&mut world, leader, 3);
        let back = world.run_until(ms(20_000), |world| world.settled() == Some(leader));
        assert!(back.is_some(), "seed {seed}: {world}");
        set(&mut world, better, 4);
        let took = world.run_until(ms(120_000), |world| world.settled() == Some(better));

        assert!(
            took.is_some_and(|took| took <= ms(1_300)),
            "seed {seed}: {took:?}"
        );
    }
}

/// A candidate of lower priority gets no pre-vote from a voter that would win instead. That one campaigns at once, and
/// if it fails it stands in nobody's way.
#[test]
fn a_voter_that_would_win_instead_campaigns_once() {
    let mut voter = One::new(config(3, 3).leader_priority(5).bootstrap());

    let out = voter.receive(
        1,
        0,
        MessageKind::PreVoteRequest {
            round: 4,
            position: LogPosition::default(),
            priority: 2,
        },
    );
    assert_eq!(granted(&out.to(1)), [false]);
    assert_eq!(out.receivers(is_pre_vote_request), [1, 2]);

    // Nobody answers it: with its next campaign it has failed once, and yields.
    voter.wait(ELECTION_TIMEOUT * 2);
    assert_eq!(voter.state().node_type(), NodeType::Candidate);
    let out = voter.receive(1, 0, ask_pre_vote(5));
    assert_eq!(granted(&out.to(1)), [true]);

    // A leader makes a new beginning.
    voter.receive(2, 1, ping(0));
    voter.wait(ELECTION_TIMEOUT);
    let out = voter.receive(1, 1, ask_pre_vote(6));
    assert_eq!(granted(&out.to(1)), [false]);
}

/// Priority counts for nothing against a log that reaches further.
#[test]
fn a_voter_that_is_behind_does_not_stand_in_the_way() {
    let mut voter = One::new(config(3, 3).leader_priority(5).bootstrap());
    let out = voter.receive(
        1,
        0,
        MessageKind::PreVoteRequest {
            round: 4,
            position: LogPosition::new(1, 1),
            priority: 2,
        },
    );
    assert_eq!(granted(&out.to(1)), [true]);
}
