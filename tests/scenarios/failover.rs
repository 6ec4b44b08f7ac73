//! A leader goes, another comes.

use std::time::Duration;

use streamraft::{Config, NodeType};
use tokio::time::Instant;

use crate::cluster::{Cluster, DELAY, ELECTION_TIMEOUT, HEARTBEAT, Name, TIMER, ms};

/// From a leader's death to the next: at most one election timeout after its last ping came, the first successor's
/// jitter, and the delays of pre-vote, vote and ping. The last ping may be a heartbeat old.
fn failover_bounds(nodes: u32) -> (Duration, Duration) {
    let most = ELECTION_TIMEOUT + ELECTION_TIMEOUT / nodes / 16 + DELAY * 7 + TIMER * 2;
    (ELECTION_TIMEOUT - HEARTBEAT, most)
}

/// A leader that has led for a while.
async fn settled(size: usize, seed: u64) -> (Cluster, Name, u64) {
    let mut cluster = Cluster::new(size, seed);
    let leader = cluster.settle(ms(5_000)).await;
    cluster.run(ms(500 + seed * 13)).await;
    assert_eq!(cluster.agreed(), Some(leader));
    let term = cluster.state(leader).term();
    (cluster, leader, term)
}

/// A leader that is stopped hands over: nobody waits for a timeout.
#[tokio::test(start_paused = true)]
async fn stopping_the_leader_hands_over() {
    for seed in 0..20 {
        for size in [3, 5] {
            let (mut cluster, leader, term) = settled(size, seed).await;
            let (stopped, before) = (Instant::now(), cluster.shown(leader).len());
            cluster.stop(leader);

            let took = cluster
                .until(ms(5_000), |cluster| cluster.agreed().is_some())
                .await;

            // Its order, the vote requests, the votes, the ping and its answer.
            assert!(
                took.is_some_and(|took| took <= DELAY * 5),
                "seed {seed}: {took:?}"
            );
            let next = cluster.agreed().expect("just seen");
            assert_ne!(next, leader);
            assert_eq!(cluster.state(next).term(), term + 1);
            // The stopped one has said so, and its stream has ended.
            assert!(!cluster.is_up(leader));
            let last = &cluster.shown(leader)[before..];
            let [(at, state)] = last else {
                panic!("{last:?}")
            };
            assert_eq!(
                (state.node_type(), state.lease()),
                (NodeType::Follower, None)
            );
            assert_eq!(*at, stopped);
        }
    }
}

/// A stopped leader whose order is lost costs about one election timeout, and no more.
#[tokio::test(start_paused = true)]
async fn stopping_a_leader_that_reaches_nobody_costs_one_election_timeout() {
    for seed in 0..20 {
        let (mut cluster, leader, term) = settled(3, seed).await;
        let others = cluster.others(leader);
        cluster.partition(&[&[leader], &others]);
        cluster.stop(leader);

        let took = cluster
            .until(ms(5_000), |cluster| cluster.agreed().is_some())
            .await;

        let (least, most) = failover_bounds(3);
        assert!(
            took.is_some_and(|took| took >= least && took <= most),
            "seed {seed}: {took:?}"
        );
        let next = cluster.agreed().expect("just seen");
        assert!(cluster.state(next).term() > term);
    }
}

/// A leader that is dropped says nothing: the others miss it.
#[tokio::test(start_paused = true)]
async fn dropping_the_leader_costs_one_election_timeout() {
    for seed in 0..20 {
        for size in [3, 5] {
            let (mut cluster, leader, term) = settled(size, seed).await;
            cluster.drop_node(leader);

            let took = cluster
                .until(ms(5_000), |cluster| cluster.agreed().is_some())
                .await;

            let (least, most) = failover_bounds(u32::try_from(size).expect("few"));
            assert!(
                took.is_some_and(|took| took >= least && took <= most),
                "seed {seed}: {took:?}"
            );
            let next = cluster.agreed().expect("just seen");
            assert_ne!(next, leader);
            assert_eq!(
                cluster.state(next).term(),
                term + 1,
                "the first successor wins at once"
            );
        }
    }
}

/// With plain random timeouts a split vote may cost another round, but somebody leads before long.
#[tokio::test(start_paused = true)]
async fn dropping_the_leader_with_random_timeouts() {
    for seed in 0..30 {
        let mut cluster = Cluster::tuned(3, seed, Config::lottery);
        let leader = cluster.settle(ms(20_000)).await;
        let term = cluster.state(leader).term();
        cluster.drop_node(leader);
        let next = cluster.settle(ms(10_000)).await;
        assert!(next != leader && cluster.state(next).term() > term);
    }
}

/// Followers come and go without a word.
#[tokio::test(start_paused = true)]
async fn stopping_a_follower_changes_no_leader() {
    for seed in 0..10 {
        let (mut cluster, leader, term) = settled(3, seed).await;
        let gone = cluster.others(leader)[0];
        cluster.stop(gone);

        // It is shown among the followers until it has been silent for an election timeout.
        let took = cluster
            .until(ms(5_000), |cluster| {
                cluster.state(leader).followers().len() == 1
            })
            .await;
        assert!(
            took.is_some_and(|took| took >= ELECTION_TIMEOUT - HEARTBEAT - DELAY * 2
                && took <= ELECTION_TIMEOUT + HEARTBEAT * 2),
            "{took:?}"
        );

        cluster.run(ms(20_000)).await;
        assert_eq!((cluster.agreed(), cluster.elections()), (Some(leader), 1));
        assert_eq!(cluster.state(leader).term(), term);
    }
}

/// Five nodes fall one by one. Five, four and three of them have a leader, two have none, and three have one again.
#[tokio::test(start_paused = true)]
async fn a_cluster_of_five_leads_down_to_three_and_again_from_three() {
    for seed in 0..10 {
        let (mut cluster, mut leader, mut term) = settled(5, seed).await;
        let mut gone = Vec::new();
        for alive in [4, 3] {
            cluster.drop_node(leader);
            gone.push(leader);
            assert_eq!(cluster.live().len(), alive);
            leader = cluster.settle(ms(3_000)).await;
            assert!(cluster.state(leader).term() > term, "seed {seed}");
            term = cluster.state(leader).term();
            cluster.run(ms(2_000)).await;
            assert_eq!(
                cluster.agreed(),
                Some(leader),
                "{alive} are a quorum of five"
            );
        }

        let third = cluster.others(leader)[0];
        cluster.drop_node(third);
        gone.push(third);
        let took = cluster
            .until(ms(5_000), |cluster| cluster.leader().is_none())
            .await;
        assert!(
            took.is_some_and(|took| took <= ELECTION_TIMEOUT),
            "two are none: {took:?}"
        );
        let elections = cluster.elections();
        cluster.run(ms(30_000)).await;
        assert_eq!((cluster.leader(), cluster.elections()), (None, elections));
        assert!(
            cluster
                .live()
                .iter()
                .all(|name| cluster.state(name).term() == term)
        );

        cluster.start(gone[0]);
        let took = cluster
            .until(ms(20_000), |cluster| cluster.agreed().is_some())
            .await;
        // It withholds its vote at first. Then it answers who has been asking all the while.
        let (_, most) = failover_bounds(5);
        assert!(
            took.is_some_and(|took| took <= most),
            "seed {seed}: {took:?}"
        );
        let next = cluster.agreed().expect("just seen");
        assert!(cluster.state(next).term() > term);
    }
}
