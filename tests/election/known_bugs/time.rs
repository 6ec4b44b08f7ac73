//! Leases that overlapped.

use rand::RngExt;
use streamraft::{Command, Error, NodeType};

use crate::one::{
    ELECTION_TIMEOUT, LEASE_SPAN, MOMENT, One, ask_pre_vote, ask_vote, is_ping, just_before, ping,
    pong,
};
use crate::world::{World, ms};

/// sofastack/sofa-jraft#34: leaders looked only every half election timeout whether to step down, so the old one's lease
/// overlapped with the new leader. Here it ends by the clock, however seldom the leader does anything. The world
/// looks for two leases at every step.
#[test]
fn sofa_jraft_34_a_lease_ends_on_time_however_long_the_heartbeat_interval_is() {
    for seed in 0..100 {
        let interval = [50, 400, 499, 999][seed as usize % 4];
        let mut world = World::new(seed, &[1, 2, 3], |config| {
            config.heartbeat_interval(ms(interval))
        });
        world.delay = (ms(0), ms(5));
        world.set_drift(1, -45_000);
        world.set_drift(2, 45_000);
        world.settle(ms(20_000));
        for _ in 0..5 {
            let phase = world.rng.random_range(0..2_000);
            world.run(ms(phase));
            let Some(leader) = world.leader() else {
                continue;
            };
            let term = world.state(leader).term();
            let others: Vec<u64> = world.ids().into_iter().filter(|id| *id != leader).collect();
            world.partition(&[&[leader], &others]);
            // It keeps time by a clock that may be 5 % slow, and its last answer may just have come.
            let gone = world.run_until(ms(1_200), |world| {
                world.state(leader).node_type() != NodeType::Leader
            });
            assert!(gone.is_some(), "seed {seed}: {world}");
            assert!(world.state(leader).term() == term);
            world.run(ms(2_000));
            world.heal();
        }
    }
}

/// tikv/tikv#964, vesoft-inc/nebula#2723: a process that was frozen, or whose clock was set back, held its lease for
/// longer. Here a node that wakes up looks at the clock before anything else.
#[test]
fn tikv_964_a_leader_that_was_frozen_holds_no_lease_when_it_wakes() {
    for (frozen, holds) in [
        (just_before(LEASE_SPAN), true),
        (LEASE_SPAN, false),
        (just_before(ELECTION_TIMEOUT), false),
        (ELECTION_TIMEOUT, false),
        (ms(3_600_000), false),
    ] {
        let mut node = One::leader_with_lease(3);
        node.now += frozen;
        assert_eq!(node.leads(), holds, "before anything is called");
        node.election.handle_timeout(node.now);
        assert_eq!(node.leads(), holds, "after {frozen:?}");
        let still_leader = node.state().node_type() == NodeType::Leader;
        assert_eq!(still_leader, frozen < ELECTION_TIMEOUT);
        let answers = node.drain();
        assert_eq!(answers.messages().is_empty(), !still_leader);
    }
}

/// The first that it does may be to hear a message, or to be told something by its owner.
#[test]
fn tikv_964_a_leader_that_was_frozen_steps_down_before_it_acts() {
    let mut frozen = One::leader_with_lease(3);
    frozen.now += ELECTION_TIMEOUT;
    assert_eq!(
        frozen.state().node_type(),
        NodeType::Leader,
        "not called yet"
    );

    for late in [pong(0), ping(0), ask_vote(), ask_pre_vote(1)] {
        let mut node = frozen.clone();
        let out = node.receive(2, 1, late.clone());
        let state = &out.states()[0];
        assert_eq!((state.node_type(), state.term()), (NodeType::Follower, 1));
        assert_eq!(out.receivers(is_ping), [], "{late:?}");
    }
    let refused = frozen.clone().command(Command::Transfer(2));
    assert!(matches!(refused, Err(Error::NotLeader { .. })));
    let out = frozen
        .command(Command::SetNodes(vec![1, 2]))
        .expect("a wish");
    assert_eq!(out.messages(), []);
}

/// The same among others, who elect a new leader meanwhile: no two leases, wherever the freeze falls.
#[test]
fn tikv_964_a_frozen_leader_and_its_successor_hold_no_lease_together() {
    for seed in 0..200 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(0), ms(40));
        world.set_drift(1, -45_000);
        for _ in 0..4 {
            let leader = world.settle(ms(20_000));
            let (phase, frozen) = (
                world.rng.random_range(0..500),
                world.rng.random_range(700..1_400),
            );
            world.run(ms(phase));
            world.pause(leader, ms(frozen));
            world.run(ms(frozen) + MOMENT);
            world.run(ms(1_000));
        }
    }
}
