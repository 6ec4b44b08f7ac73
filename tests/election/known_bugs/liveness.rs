//! A leader is found where one can be.

use streamraft::{
    Command, Config, HardState, LogPosition, Membership, Message, MessageKind, NodeType, Stamp,
};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, One, ask_pre_vote, ask_vote, ask_vote_marked, config, granted,
    ping, pong, pre_vote, saved,
};
use crate::world::{World, ms};

/// etcd-io/etcd#8501: with pre-vote, a node of a high term and a short log and one of a low term and a long log dropped
/// each other's messages and never elected anyone.
#[test]
fn etcd_8501_a_high_term_with_a_short_log_and_a_low_term_with_a_long_log_elect_a_leader() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        world.kill(3);
        world.restart_from(1, saved(9, Some(3), 3));
        world.restart_from(2, saved(3, None, 3));
        world.set_position(1, LogPosition::new(1, 1));
        world.set_position(2, LogPosition::new(2, 5));

        let leader = world.settle(ms(4_000));

        assert_eq!(leader, 2, "only its log is long enough");
        assert_eq!(world.state(2).term(), 10);
    }
}

/// etcd-io/etcd#8334: with check-quorum, a follower kept its dead leader beyond its own timeout and ignored the
/// pre-votes of its peers.
#[test]
fn etcd_8334_a_dead_leader_is_kept_for_one_election_timeout_and_no_longer() {
    let mut node = One::follower(3, 3, 1, 1);
    node.wait(ELECTION_TIMEOUT);
    assert_eq!(node.state().leader(), Some(&1), "it knows of no other yet");
    assert_eq!(granted(&node.receive(2, 1, ask_pre_vote(1)).to(2)), [true]);

    // Two followers that hear nothing but each other, whichever times out first.
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3], Config::lottery);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(10_000));
        world.kill(leader);
        // The earlier of two draws is at most two timeouts off; votes split seldom.
        let took = world.run_until(ms(6_000), |world| world.settled().is_some());
        assert!(took.is_some(), "seed {seed}: {world}");
    }
}

/// canonical/raft#279 and #280: a restarted node of a low term was needed for a quorum, but its answers to pre-votes
/// were dropped as stale.
#[test]
fn canonical_raft_279_the_pre_vote_of_a_node_in_a_lower_term_counts() {
    let mut node = One::restored(3, 3, 7, None);
    let out = node.campaign(&[]);
    assert_eq!(out.0, []);
    let round = node.wait(HEARTBEAT).round_asked().expect("it asks again");
    node.receive(1, 0, pre_vote(round, true));
    assert_eq!(node.state().term(), 8);

    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        for _ in 0..3 {
            let leader = world.settle(ms(5_000));
            world.command(leader, Command::Resign).expect("it leads");
            world.run(ms(500));
        }
        let leader = world.settle(ms(5_000));
        // One is gone, another comes back without its disk.
        let (gone, blank) = (leader, leader % 3 + 1);
        world.kill(gone);
        world.restart_from(blank, saved(0, None, 3));
        assert_eq!(world.state(blank).term(), 0);
        world.settle(ms(5_000));
    }
}

/// redpanda-data/redpanda#31547: replies that said no more than "busy" carried no term, so a follower of a higher term
/// never deposed the leader, and never followed it.
#[test]
fn redpanda_31547_every_refusal_bears_the_term() {
    // In the window of a restart it votes for nobody, but it answers.
    let mut node = One::new(config(3, 3).restore(saved(9, None, 3)));
    for kind in [ping(0), ask_vote(), ask_pre_vote(1)] {
        let said = node.receive(1, 2, kind).to(1);
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].0, 9, "{said:?}");
    }

    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(5_000));
        let other = leader % 3 + 1;
        world.restart_from(other, saved(20, Some(other), 3));
        world.run(ms(500));
        world.settle(ms(5_000));
        assert!(
            world.live().iter().all(|id| world.state(*id).term() > 20),
            "{world}"
        );
    }
}

/// redpanda-data/redpanda#2606, hashicorp/raft#487: leadership was handed to a node whose log was behind. It raised the
/// term, lost, and nobody led.
#[test]
fn redpanda_2606_a_transfer_to_a_node_that_is_behind_is_not_ordered() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(5_000));
        let (behind, level) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        for id in [leader, level] {
            world.set_position(id, LogPosition::new(1, 5));
        }
        let term = world.state(leader).term();
        world.run(ms(500));
        world
            .command(leader, Command::Transfer(behind))
            .expect("it leads");
        assert_eq!(world.leader(), None, "it stops serving while it tries");

        let took = world.run_until(ms(5_000), |world| world.settled().is_some());

        assert_eq!(
            (took, world.leader()),
            (Some(ELECTION_TIMEOUT), Some(leader))
        );
        assert_eq!(world.state(leader).term(), term);
        assert!(!world.traffic.contains_key(&(leader, "timeout now")));
        // Resigning looks for one that is level.
        world.command(leader, Command::Resign).expect("it leads");
        let took = world.run_until(ms(200), |world| world.settled() == Some(level));
        assert!(took.is_some(), "seed {seed}: {world}");
    }
}

/// databendlabs/openraft#2088: the order of a transfer was lost; the leader had stopped serving and never began again.
#[test]
fn openraft_2088_a_leader_whose_order_is_lost_leads_again_after_one_election_timeout() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(5_000));
        let to = leader % 3 + 1;
        world.run(ms(500));
        world.cuts.insert((leader, to));
        world
            .command(leader, Command::Transfer(to))
            .expect("it leads");
        assert_eq!(world.state(leader).transferring_to(), Some(&to));

        let took = world.run_until(ms(5_000), |world| world.leader().is_some());

        assert!(
            took.is_some_and(|took| took <= ms(1_050)),
            "seed {seed}: {took:?}"
        );
        let now = world.leader().expect("just seen");
        assert_eq!(world.state(now).transferring_to(), None);
    }
}

/// rqlite/rqlite#1712: a message with the term `u64::MAX` was believed, and no election was possible ever after.
#[test]
fn rqlite_1712_a_forged_term_does_not_use_the_counter_up() {
    for seed in 0..10 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(5_000));
        let forged = |kind| Message::new(u64::MAX, Stamp::new(0, 1), kind);
        for to in [1, 2, 3] {
            for from in [1, 2, 3, 9] {
                world.inject(from, to, forged(ping(0)));
                world.inject(from, to, forged(pong(0)));
                world.inject(from, to, forged(ask_vote_marked()));
                world.inject(from, to, forged(MessageKind::TimeoutNow));
                // A membership of such a term neither.
                let mut membership = Membership::initial([9]);
                membership.term = u64::MAX;
                world.inject(from, to, forged(ping(0)).with_membership(membership.into()));
            }
        }
        assert_eq!((world.leader(), world.history.len()), (Some(leader), 1));
        world.kill(leader);
        let next = world.settle(ms(5_000));
        assert_eq!(world.state(next).term(), 2);
        assert_eq!(world.state(next).nodes(), [1, 2, 3]);
    }
}

/// hashicorp/raft#503 and #683: the leader's disk hung while its heartbeats went on, so nobody took over. Here nothing
/// comes out of a node whose owner has not come back from saving what came out before.
#[test]
fn hashicorp_raft_503_a_leader_that_hangs_is_replaced() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        let leader = world.settle(ms(5_000));
        world.run(ms(500 + seed));
        world.pause(leader, ms(30_000));

        let took = world.run_until(ms(5_000), |world| {
            world.leader().is_some_and(|other| other != leader)
        });

        assert!(
            took.is_some_and(|took| took <= ms(1_100)),
            "seed {seed}: {took:?}"
        );
        let (next, elections) = (world.leader(), world.history.len());
        world.run(ms(40_000));
        assert_eq!((world.settled(), world.history.len()), (next, elections));
        assert_eq!(world.state(leader).node_type(), NodeType::Follower);
    }
}

/// A hard state whose membership is older than the settings': it is what the node goes on from.
#[test]
fn octo_im_42_what_was_saved_counts_and_not_what_is_set() {
    let saved = HardState::new(4, Some(2), Membership::initial([1, 2, 3, 4, 5]));
    let node = One::new(config(3, 3).restore(saved.clone()));
    assert_eq!(node.state().hard_state(), &saved);
    assert_eq!(node.state().nodes(), [1, 2, 3, 4, 5]);
}
