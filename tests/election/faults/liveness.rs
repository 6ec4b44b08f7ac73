//! Faults 1, 2, 3, 12 and 13: a leader is found, and kept.

use std::time::Duration;

use rand::RngExt;
use streamraft::{Command, Config, ConfigError, Election, MessageKind, NodeType};

use crate::one::{One, ask_vote, ask_vote_marked, is_pre_vote_request, ping, pong};
use crate::world::{World, ms};

/// Fault 1: a leader that stepped down never campaigned again.
#[test]
fn a_leader_that_stepped_down_campaigns_again() {
    let step_downs = [
        "no quorum",
        "a newer term",
        "a newer leader",
        "resigned",
        "handed over",
    ];
    for reason in step_downs {
        let mut node = One::leader_with_lease(3);
        match reason {
            "no quorum" => drop(node.wait(ms(1_000))),
            "a newer term" => drop(node.receive(2, 5, pong(0))),
            "a newer leader" => drop(node.receive(2, 5, ping(0))),
            "resigned" => drop(node.command(Command::Resign).expect("it leads")),
            _ => drop(node.receive(2, 2, ask_vote_marked())),
        }
        assert_ne!(node.state().node_type(), NodeType::Leader, "{reason}");

        let out = node.wait(ms(2_000));

        let asked = out.receivers(is_pre_vote_request);
        assert!(asked.contains(&2) && asked.contains(&3), "{reason}");
    }
}

/// The same as it was measured: one crash in each of many clusters of three.
#[test]
fn every_cluster_has_a_leader_after_one_crash() {
    for seed in 0..200 {
        let mut world = World::new(seed, &[1, 2, 3], Config::lottery);
        world.delay = (ms(1), ms(20));
        let mut leader = world.settle(ms(15_000));
        // Every node has led, or lost an election, by the time of the crash.
        for _ in 0..3 {
            let pause = world.rng.random_range(0..3_000);
            world.run(ms(pause));
            let others: Vec<u64> = world.ids().into_iter().filter(|id| *id != leader).collect();
            world.partition(&[&[leader], &others]);
            world.run(ms(4_000));
            world.heal();
            leader = world.settle(ms(15_000));
        }
        world.kill(leader);

        let took = world.run_until(ms(15_000), |world| world.settled().is_some());

        assert!(took.is_some(), "seed {seed}: {world}");
    }
}

/// Fault 2: every election won started another heartbeat loop.
#[test]
fn a_leader_pings_each_follower_once_an_interval_however_often_it_won() {
    for size in [3, 5] {
        let ids = Vec::from_iter(1..=size);
        let mut world = World::new(size, &ids, |config| config);
        world.delay = (ms(1), ms(3));
        world.settle(ms(5_000));
        for wins in 1..=8 {
            let leader = world.settle(ms(5_000));
            if leader != 1 {
                world
                    .command(leader, Command::Transfer(1))
                    .expect("it leads");
                world.run_until(ms(100), |world| world.settled() == Some(1));
            }
            assert_eq!(world.leader(), Some(1), "{world}");
            world.run(ms(50));
            world.traffic.clear();

            world.run(ms(1_000));

            let pings: u64 = ids
                .iter()
                .filter_map(|id| world.traffic.get(&(*id, "ping")))
                .sum();
            assert_eq!(pings, 10 * (size - 1), "after {wins} wins");
            world.command(1, Command::Resign).expect("always allowed");
            world.run(ms(50));
        }
        let wins = world
            .history
            .iter()
            .filter(|(_, leader, _)| *leader == 1)
            .count();
        assert_eq!(wins, 8);
    }
}

/// Fault 3: a random timeout under a millisecond ended the node silently.
#[test]
fn a_random_timeout_of_any_size_elects_a_leader() {
    for nanos in [1, 2, 999, 1_000, 999_999, 1_000_000] {
        let spread = Duration::from_nanos(nanos);
        for tune in [|config: Config<u64>| config, Config::lottery] {
            let mut world = World::new(nanos, &[1, 2, 3], |config| {
                tune(config.random_timeout(spread))
            });
            world.delay = (ms(0), ms(3));
            world.settle(ms(20_000));
            assert!(world.live().len() == 3);
        }
    }
    let none = Config::with_id(1, [1, 2, 3])
        .expect("good so far")
        .random_timeout(Duration::ZERO);
    let refused = Election::new(none, std::time::Instant::now()).expect_err("it says so at once");
    assert_eq!(
        refused,
        ConfigError::RandomTimeout {
            value: Duration::ZERO
        }
    );
}

/// Fault 12: `leadership_timeout` did not count the leader itself, so a cluster with one of three nodes down elected a
/// leader several times a second.
#[test]
fn with_one_of_three_nodes_down_the_leader_stays() {
    for loss in [0, 5] {
        for down in [2, 3] {
            let mut world = World::new(loss.into(), &[1, 2, 3], |config| config);
            world.delay = (ms(1), ms(10));
            world.loss = loss;
            world.kill(down);
            let leader = world.settle(ms(10_000));
            let (term, elections) = (world.state(leader).term(), world.history.len());

            world.run(Duration::from_secs(3_600));

            assert_eq!(world.settled(), Some(leader), "{world}");
            assert_eq!(world.state(leader).term(), term, "loss {loss} %");
            assert_eq!(world.history.len(), elections);
        }
    }
}

/// Fault 13: a cluster of one never elected itself.
#[test]
fn a_cluster_of_one_elects_itself() {
    for nodes in [vec![], vec![1]] {
        let config = Config::with_id(1, nodes).expect("good settings");
        let mut node = One::new(config);
        let out = node.wait(Duration::ZERO);
        let shown = out.states();
        let last = shown.last().expect("it says so");
        assert_eq!((last.node_type(), last.term()), (NodeType::Leader, 1));
        assert!(last.is_leader_at(node.now));
        assert_eq!(last.hard_state().voted_for(), Some(&1));

        let out = node.wait(ms(60_000));
        assert!(node.leads());
        assert_eq!(out.0, [], "nobody to tell, and nothing new");
    }
}

/// And it does not stop for what others say.
#[test]
fn a_cluster_of_one_does_not_hear_strangers() {
    let mut node = One::fresh(1, 1);
    node.wait(Duration::ZERO);
    for kind in [ping(0), ask_vote(), MessageKind::TimeoutNow] {
        assert_eq!(node.receive(2, 9, kind).0, []);
    }
    assert!(node.leads());
}
