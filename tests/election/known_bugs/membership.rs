//! Who belongs to the cluster, and who does no more.

use streamraft::{Command, HardState, LogPosition, Membership, NodeType};

use crate::one::{ELECTION_TIMEOUT, HEARTBEAT, One, config, pong, vote};
use crate::world::{World, ms};

fn wish(world: &mut World, id: u64, nodes: &[u64]) {
    world
        .command(id, Command::SetNodes(nodes.to_vec()))
        .expect("a good list");
}

/// Four nodes of which one is removed while it is cut off. It has noticed the silence when it is heard again.
fn with_one_removed(seed: u64) -> (World, u64, u64) {
    let mut world = World::new(seed, &[1, 2, 3, 4], |config| config);
    world.delay = (ms(1), ms(5));
    let leader = world.settle(ms(5_000));
    let gone = leader % 4 + 1;
    let rest: Vec<u64> = (1..=4).filter(|id| *id != gone).collect();
    world.partition(&[&rest, &[gone]]);
    wish(&mut world, leader, &rest);
    world.run(ms(10_000));
    assert_eq!(world.state(leader).nodes(), rest);
    assert_eq!(world.state(gone).node_type(), NodeType::Candidate);
    world.traffic.clear();
    (world, leader, gone)
}

/// logcabin/logcabin#56, hashicorp/raft#12: a server that was removed timed out and raised the term of a stable
/// cluster, again and again.
#[test]
fn logcabin_56_a_removed_node_that_is_told_keeps_quiet() {
    for seed in 0..20 {
        let (mut world, leader, gone) = with_one_removed(seed);
        world.heal();

        world.run(ms(30_000));

        assert_eq!(world.history.len(), 1, "seed {seed}: {world}");
        assert_eq!(
            (world.leader(), world.state(leader).term()),
            (Some(leader), 1)
        );
        assert_eq!(world.state(gone).node_type(), NodeType::Observer);
        // It asked until it was told, and then no more.
        world.traffic.clear();
        world.run(ms(30_000));
        let said = world.traffic.keys().filter(|(from, _)| *from == gone);
        assert_eq!(said.count(), 0, "seed {seed}: {:?}", world.traffic);
    }
}

/// The same when it can speak and hears nothing, so that it never learns that it is out.
#[test]
fn logcabin_56_a_removed_node_that_cannot_be_told_disturbs_nobody() {
    for seed in 0..20 {
        let (mut world, leader, gone) = with_one_removed(seed);
        world.heal();
        for other in (1..=4).filter(|id| *id != gone) {
            world.cuts.insert((other, gone));
        }

        world.run(ms(60_000));

        assert!(world.traffic[&(gone, "pre-vote request")] > 100);
        let led = (world.leader(), world.state(leader).term());
        assert_eq!((led, world.history.len()), ((Some(leader), 1), 1));
        assert_eq!(world.state(gone).term(), 1, "nor does it raise its own");
    }
}

/// scylladb/scylladb#10618: a leader that had proposed to make itself a non-voter lost its lead. It was a voter yet,
/// and the others needed its vote, but it did not even vote for itself.
#[test]
fn scylladb_10618_who_is_to_leave_is_a_voter_until_it_has_left() {
    let mut membership = Membership::initial([1, 2, 3]);
    (membership.version, membership.target_version) = (2, 2);
    membership.target = vec![2, 3];
    let saved = HardState::new(5, None, membership);
    let mut node = One::new(config(1, 3).restore(saved));

    node.campaign(&[2]);
    assert_eq!(node.state().hard_state().voted_for(), Some(&1));
    node.receive(2, 6, vote(true));

    assert_eq!(node.state().node_type(), NodeType::Leader);
}

/// The same among others: one is dead, one is behind, and the third is to leave. Nobody else can win.
#[test]
fn scylladb_10618_the_only_one_that_can_win_is_elected_although_it_is_to_leave() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(5));
        let leader = world.settle(ms(5_000));
        let (behind, dead) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        world.set_position(leader, LogPosition::new(1, 5));
        let mut rest = vec![behind, dead];
        rest.sort_unstable();
        wish(&mut world, leader, &rest);
        world.run(ms(50));
        world.kill(dead);
        world.kill(leader);
        world.run(ms(2_000));

        world.start(leader);
        world.set_position(leader, LogPosition::new(1, 5));
        let took = world.run_until(ms(10_000), |world| world.settled() == Some(leader));

        assert!(took.is_some(), "seed {seed}: {world}");
        assert_eq!(
            world.state(leader).target(),
            rest,
            "it knows that it is to leave"
        );
    }
}

/// Ongaro on raft-dev, 2015: a leader added or removed a server before anything of its own term was committed, while a
/// change of an older term went on elsewhere: two majorities that did not meet.
#[test]
fn raft_dev_2015_a_leader_changes_no_voter_before_a_quorum_has_answered_it() {
    let mut node = One::leader(3);
    node.command(Command::SetNodes(vec![1, 2, 3, 4]))
        .expect("a good list");

    // The new node answers, and is no part of a quorum.
    node.wait_answered(ELECTION_TIMEOUT - HEARTBEAT * 3, &[4]);
    assert_eq!(node.state().node_type(), NodeType::Leader);
    assert_eq!(node.state().nodes(), [1, 2, 3]);

    node.wait_answered(HEARTBEAT * 2, &[2, 4]);
    assert_eq!(node.state().nodes(), [1, 2, 3, 4]);
}

/// What the same voters confirmed to the same node in an older term counts for nothing in a newer one.
#[test]
fn raft_dev_2015_what_was_confirmed_in_an_older_term_counts_no_more() {
    let mut node = One::leader_with_lease(3);
    node.wait_answered(HEARTBEAT * 3, &[2, 3]);
    node.wait(ELECTION_TIMEOUT);
    node.campaign(&[2]);
    node.receive(2, 2, vote(true));
    node.command(Command::SetNodes(vec![1, 2]))
        .expect("a good list");
    assert_eq!(
        (node.state().term(), node.state().nodes()),
        (2, &[1, 2, 3][..])
    );

    // Late answers of the older term.
    for round in [200_000, 300_000] {
        node.receive(2, 1, pong(round));
        node.receive(3, 1, pong(round));
    }
    node.wait(HEARTBEAT * 2);
    assert_eq!(node.state().nodes(), [1, 2, 3]);

    node.wait_answered(HEARTBEAT * 2, &[2]);
    assert_eq!(node.state().nodes(), [1, 2]);
}

/// Two memberships that differ by more than one voter may have majorities that do not meet: all who come and all who go
/// do so one after the other, whoever has answered already.
#[test]
fn raft_dev_2015_voters_come_and_go_one_at_a_time() {
    let mut node = One::leader_with_lease(3);
    let everyone: Vec<u64> = (2..=7).collect();
    let mut voters = vec![1, 2, 3];
    for target in [vec![1, 2, 3, 4, 5, 6, 7], vec![1, 4], vec![1, 2, 3]] {
        let told = node
            .command(Command::SetNodes(target.clone()))
            .expect("a good list");
        let walked = node.wait_answered(HEARTBEAT * 40, &everyone);
        for state in told.states().iter().chain(&walked.states()) {
            let next = state.nodes();
            let common = next.iter().filter(|id| voters.contains(id)).count();
            let apart = next.len() + voters.len() - 2 * common;
            assert!(apart <= 1, "from {voters:?} to {next:?}");
            voters = next.to_vec();
        }
        assert_eq!(voters, target);
    }
}
