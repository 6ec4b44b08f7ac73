//! Faults 5, 8, 9 and 10: who leads was elected, in a term of its own.

use rand::RngExt;
use streamraft::{Command, NodeType};

use crate::one::config;
use crate::world::{World, ms};

/// Fault 5: a node of higher priority published itself leader of a term that it never won.
#[test]
fn a_higher_priority_leads_only_terms_that_it_won() {
    for seed in 0..100 {
        let mut world = World::new(seed, &[1, 2, 3], |config| {
            let priority = *config.node_id();
            config.leader_priority(priority)
        });
        world.delay = (ms(0), ms(30));
        world.loss = 5;
        for _ in 0..10 {
            let id = world.rng.random_range(1..=3);
            let priority = world.rng.random_range(0..5);
            world
                .command(id, Command::SetPriority(priority))
                .expect("always allowed");
            world.run(ms(700));
        }
        assert!(!world.history.is_empty());
        for (_, leader, term) in &world.history {
            let votes = world.votes_for(*leader, *term);
            assert!(
                votes >= 2,
                "seed {seed}: {leader} leads term {term} with {votes} votes"
            );
        }
    }
}

/// And the better node does take over, in a term of its own.
#[test]
fn a_higher_priority_takes_over_in_a_newer_term() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3], |config| {
            let priority = *config.node_id();
            config.leader_priority(priority)
        });
        world.delay = (ms(1), ms(10));
        world.kill(3);
        let lower = world.settle(ms(5_000));
        let term = world.state(lower).term();
        world.start(3);

        let took = world.run_until(ms(10_000), |world| world.settled() == Some(3));

        assert!(took.is_some(), "seed {seed}: {world}");
        assert!(world.state(3).term() > term);
        // Its lease begins only after the other's has ended: the world looks at every step.
        assert_eq!(world.leader(), Some(3));
    }
}

/// Fault 8: two leaders in one term after a node restarted, which had forgotten its vote. Here a voter restarts as soon
/// as it has voted, and the candidate as soon as it has stood. The world refuses a second vote, and a second leader.
#[test]
fn a_restart_forgets_no_vote() {
    let mut restarts = 0;
    for seed in 0..200 {
        let mut world = World::new(seed, &[1, 2, 3], |config| {
            config
                .election_timeout(ms(50))
                .heartbeat_interval(ms(20))
                .lottery()
        });
        world.delay = (ms(0), ms(40));
        for _ in 0..12 {
            let voted = |world: &World, id| world.state(id).hard_state().clone();
            let before: Vec<_> = world.ids().iter().map(|id| voted(&world, *id)).collect();
            let mut who = None;
            world.run_until(ms(400), |world| {
                let changed = |(id, before): &(u64, &_)| voted(world, *id) != **before;
                who = world
                    .ids()
                    .into_iter()
                    .zip(&before)
                    .find(changed)
                    .map(|(id, _)| id);
                who.is_some()
            });
            let Some(who) = who else { continue };
            let kept = voted(&world, who);
            world.kill(who);
            let down = [0, 1, 60, 120][world.rng.random_range(0..4)];
            world.run(ms(down));
            world.start(who);
            assert_eq!(world.state(who).hard_state(), &kept);
            restarts += 1;
        }
        world.delay = (ms(0), ms(2));
        world.settle(ms(5_000));
    }
    assert!(restarts > 1_000, "{restarts}");
}

/// Fault 9: a restarted leader led the same term again without an election.
#[test]
fn a_restarted_leader_does_not_lead_its_term_again() {
    for seed in 0..100 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(5_000));
        let term = world.state(leader).term();
        let pause = world.rng.random_range(0..1_000);
        world.run(ms(pause));
        world.kill(leader);
        world.start(leader);

        let state = world.state(leader);
        assert_eq!(
            (state.node_type(), state.term()),
            (NodeType::Follower, term)
        );
        assert_eq!(state.leader(), None);
        assert_eq!(
            state.hard_state().voted_for(),
            Some(&leader),
            "its vote is kept"
        );
        let mut led_again = false;
        world.run_until(ms(10_000), |world| {
            led_again |= world.live().iter().any(|id| {
                let state = world.state(*id);
                state.node_type() == NodeType::Leader && state.term() == term
            });
            world.settled().is_some()
        });

        assert!(!led_again, "seed {seed}");
        let next = world.settled().expect("a leader");
        assert!(world.state(next).term() > term);
    }
}

/// The same with nobody else to ask.
#[test]
fn a_restarted_cluster_of_one_leads_a_newer_term() {
    let mut world = World::new(1, &[1], |config| config);
    for term in 1..5 {
        world.settle(ms(3_000));
        assert_eq!(world.state(1).term(), term);
        world.kill(1);
        world.start(1);
    }
}

/// Fault 10: a stale node that came back deposed a healthy leader.
#[test]
fn a_node_that_comes_back_does_not_depose_the_leader() {
    for seed in 0..32 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| config);
        world.delay = (ms(1), ms(10));
        let first = world.settle(ms(5_000));
        let away = first % 5 + 1;
        let rest: Vec<u64> = world.ids().into_iter().filter(|id| *id != away).collect();
        world.partition(&[&[away], &rest]);
        // It campaigns for a minute; meanwhile the others may elect others, so that its term is older.
        for _ in 0..seed % 4 {
            world
                .command(world.leader().expect("one of four"), Command::Resign)
                .expect("it leads");
            world.run(ms(5_000));
        }
        world.run(ms(60_000));
        let leader = world.leader().expect("four of five");
        let (term, elections) = (world.state(leader).term(), world.history.len());
        let older = world.state(away).term();
        assert_eq!(term - older, seed % 4);

        world.heal();
        let took = world.run_until(ms(5_000), |world| world.settled().is_some());

        assert!(
            took.is_some_and(|took| took <= ms(150)),
            "seed {seed}: {took:?}"
        );
        world.run(ms(10_000));
        assert_eq!(world.settled(), Some(leader), "seed {seed}: {world}");
        assert_eq!(
            (world.state(leader).term(), world.history.len()),
            (term, elections)
        );
    }
}

/// A node that is heard but does not hear asks and asks, and deposes nobody.
#[test]
fn a_node_that_hears_nobody_does_not_depose_the_leader() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(5_000));
        let deaf = leader % 3 + 1;
        for other in world.ids() {
            world.cuts.insert((other, deaf));
        }

        world.run(ms(120_000));

        assert_eq!((world.leader(), world.history.len()), (Some(leader), 1));
        world.heal();
        world.run(ms(200));
        assert_eq!(world.settled(), Some(leader));
    }
}

/// Nor does one that restarts over and over.
#[test]
fn a_node_that_restarts_over_and_over_does_not_depose_the_leader() {
    let mut world = World::new(4, &[1, 2, 3], |config| config);
    world.delay = (ms(1), ms(10));
    let leader = world.settle(ms(5_000));
    for _ in 0..200 {
        let down = world.rng.random_range(0..3_000);
        let up = world.rng.random_range(0..3_000);
        let other = leader % 3 + 1;
        world.kill(other);
        world.run(ms(down));
        world.start(other);
        world.run(ms(up));
    }
    assert_eq!((world.leader(), world.history.len()), (Some(leader), 1));
    // With a fresh disk as well, which no node of a running cluster should have.
    let other = leader % 3 + 1;
    world.kill(other);
    world.add(other, config(other, 3));
    world.run(ms(5_000));
    assert_eq!(world.settled(), Some(leader));
    assert_eq!(world.history.len(), 1);
}
