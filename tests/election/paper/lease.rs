//! Thesis section 6.4.1: the lease, "start + election timeout / clock drift bound, since the followers shouldn't time
//! out before then" (figure 6.3).

use streamraft::{NodeType, Stamp};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, LEASE_SPAN, MOMENT, One, config, just_before, ping, pong,
    pre_vote, quorum, vote,
};
use crate::world::{World, ms};

/// "start" is the sending of the heartbeat, not the coming of its answers.
/// (6.4.1-2)
#[test]
fn the_lease_is_counted_from_the_sending() {
    let mut node = One::leader(3);
    let elected = node.now;
    node.wait(ms(90));

    let out = node.receive(2, 1, pong(0));

    let [state] = &out.states()[..] else {
        panic!("{out:?}")
    };
    assert_eq!(state.lease(), Some(elected + LEASE_SPAN));

    // Likewise when it is prolonged.
    node.wait(ms(40));
    node.receive(2, 1, pong(100_000));
    assert_eq!(node.state().lease(), Some(elected + HEARTBEAT + LEASE_SPAN));
}

/// An answer that took longer than the lease gives none.
#[test]
fn an_answer_that_took_too_long_gives_no_lease() {
    let mut node = One::leader(3);
    node.wait(LEASE_SPAN);
    node.receive(2, 1, pong(0));
    assert!(!node.leads());
}

/// (6.4.1-1)
#[test]
fn a_new_leader_has_no_lease_before_the_first_confirmation() {
    for size in 2..=7 {
        let mut node = One::leader(size);
        assert_eq!(
            (node.state().node_type(), node.state().lease()),
            (NodeType::Leader, None)
        );
        for voter in 2..quorum(size) {
            node.receive(voter, 1, pong(0));
            assert!(!node.leads(), "{voter} of {size} is no quorum");
        }
        let out = node.receive(size, 1, pong(0));
        assert!(out.states()[0].is_leader_at(node.now), "{size} nodes");
    }
}

/// Nobody can be asked but itself.
#[test]
fn a_leader_alone_has_its_lease_at_once() {
    let mut node = One::fresh(1, 1);
    let out = node.wait(std::time::Duration::ZERO);
    let shown = out.states();
    let last = shown.last().expect("it leads");
    assert!(last.is_leader_at(node.now), "{out:?}");
    node.wait(ms(60_000));
    assert!(node.leads());
}

/// It ends by the clock, whether anything happens or not.
#[test]
fn a_lease_ends_by_the_clock() {
    let mut node = One::leader_with_lease(3);
    node.now += just_before(LEASE_SPAN);
    assert!(node.leads());
    node.now += MOMENT;
    assert!(!node.leads());
}

/// The bound on the drift comes off on the leader's side.
#[test]
fn the_drift_bound_shortens_the_lease() {
    for (drift, span) in [(0.0, 1_000), (0.25, 750), (0.5, 500)] {
        let mut node = One::new(config(1, 2).max_clock_drift(drift).bootstrap());
        let round = node.wait(HEARTBEAT).round_asked().expect("at once");
        node.receive(2, 0, pre_vote(round, true));
        node.receive(2, 1, vote(true));
        node.receive(2, 1, pong(0));
        assert_eq!(node.state().lease(), Some(node.now + ms(span)));
    }
}

/// An answer to a ping that was never sent, or to one already answered, prolongs nothing.
#[test]
fn only_the_answer_to_a_ping_that_was_sent_counts() {
    let mut node = One::leader_with_lease(3);
    let lease = node.state().lease();
    node.wait(ms(50));

    for round in [0, 1_000, 100_000, 10_000_000, u64::MAX] {
        node.receive(2, 1, pong(round));
        node.receive(3, 1, pong(round));
        // A millisecond is after the last ping, but nothing was sent then.
        assert_eq!(node.state().lease(), lease, "round {round}");
    }
    // The last round answers a ping of an older term, by whoever has lived that long.
    assert_eq!(node.election.stats().stale, 4);
    assert_eq!(node.election.stats().malformed, 6);
}

/// An answer to the pings of an earlier leadership is in an earlier term.
#[test]
fn an_answer_of_an_older_term_does_not_count() {
    let mut node = One::leader_with_lease(3);
    node.wait(ELECTION_TIMEOUT);
    node.campaign(&[2]);
    node.receive(2, 2, vote(true));
    assert_eq!(
        (node.state().node_type(), node.state().term()),
        (NodeType::Leader, 2)
    );

    node.receive(2, 1, pong(0));
    node.receive(3, 1, pong(0));

    assert_eq!(node.state().lease(), None);
    assert_eq!(node.election.stats().stale, 2);
}

/// What the lease relies on: the followers' window begins when the ping arrives, so it ends later. The clocks of
/// leader and followers are apart by as much as the bound allows (the world refuses two leases at once).
/// (6.4.1-3)
#[test]
fn no_two_leases_overlap_with_clocks_at_the_bound() {
    for seed in 0..60 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(0), ms(80));
        for (id, ppm) in [(1, -50_000), (2, 50_000), (3, 50_000)] {
            world.set_drift(id, ppm);
        }
        world.settle(ms(5_000));
        for _ in 0..4 {
            world.run(ms(300 + seed * 7));
            let Some(leader) = world.leader() else {
                continue;
            };
            let others: Vec<u64> = world.ids().into_iter().filter(|id| *id != leader).collect();
            world.partition(&[&[leader], &others]);
            let other = world.run_until(ms(5_000), |world| {
                world.leader().is_some_and(|other| other != leader)
            });
            assert!(other.is_some(), "seed {seed}: {world}");
            world.heal();
        }
    }
}

/// The other side of it: an answer says which ping it answers, in the term in which that was heard.
#[test]
fn a_follower_answers_the_round_that_it_heard() {
    let mut node = One::follower(3, 3, 1, 1);
    for round in [0, 100_000, u64::MAX] {
        let out = node.receive(1, 1, ping(round));
        let (to, message) = &out.messages()[0];
        assert_eq!((*to, message.term, message.stamp), (1, 1, Stamp::new(0, 1)));
        assert_eq!(message.kind, pong(round));
    }
}
