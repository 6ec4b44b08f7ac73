//! Nodes come back with what they had saved.

use streamraft::{Config, HardState, Membership, MsgRouter, NodeType, TinyRaft};
use tokio::time::Instant;

use futures::StreamExt;

use crate::cluster::{Cluster, DELAY, ELECTION_TIMEOUT, HEARTBEAT, TIMER, ms};

/// A follower that restarts finds its leader and its term unchanged, and moves nobody.
#[tokio::test(start_paused = true)]
async fn a_restarted_follower_changes_nothing() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(3, seed);
        let leader = cluster.settle(ms(5_000)).await;
        cluster.run(DELAY * 2).await;
        let term = cluster.state(leader).term();
        for (round, down) in [0, 50, 700, 5_000].into_iter().enumerate() {
            let follower = cluster.others(leader)[round % 2];
            let kept = cluster.state(follower).hard_state().clone();
            cluster.drop_node(follower);
            cluster.run(ms(down)).await;
            cluster.start(follower);
            assert_eq!(cluster.state(follower).hard_state(), &kept);
            assert_eq!(cluster.state(follower).leader(), None, "it has to be told");

            let took = cluster
                .until(ms(5_000), |cluster| cluster.agreed() == Some(leader))
                .await;

            assert!(
                took.is_some_and(|took| took <= HEARTBEAT + DELAY),
                "seed {seed}: {took:?}"
            );
            cluster.run(ms(5_000)).await;
            assert_eq!(cluster.agreed(), Some(leader));
            assert_eq!(
                (cluster.state(leader).term(), cluster.elections()),
                (term, 1)
            );
        }
    }
}

/// All followers at once: the lease of the leader survives it, for they keep their votes to themselves at first.
#[tokio::test(start_paused = true)]
async fn a_leader_survives_the_restart_of_all_its_followers() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(5, seed);
        let leader = cluster.settle(ms(5_000)).await;
        cluster.run(ms(seed * 31)).await;
        for follower in cluster.others(leader) {
            cluster.drop_node(follower);
            cluster.start(follower);
        }
        cluster.run(ms(10_000)).await;
        assert_eq!((cluster.agreed(), cluster.elections()), (Some(leader), 1));
    }
}

/// A leader that restarts leads again only if it is elected again, in a newer term.
#[tokio::test(start_paused = true)]
async fn a_restarted_leader_is_a_follower_of_its_old_term() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(3, seed);
        let leader = cluster.settle(ms(5_000)).await;
        cluster.run(ms(300 + seed * 13)).await;
        let term = cluster.state(leader).term();
        cluster.drop_node(leader);
        cluster.start(leader);
        let state = cluster.state(leader);
        assert_eq!(
            (state.node_type(), state.term()),
            (NodeType::Follower, term)
        );

        let took = cluster
            .until(ms(5_000), |cluster| cluster.agreed().is_some())
            .await;

        // It withholds its own vote for one election timeout from its start, and two are enough without it.
        let most = ELECTION_TIMEOUT + ELECTION_TIMEOUT / 3 / 16 + DELAY * 7 + TIMER * 2;
        assert!(
            took.is_some_and(|took| took <= most),
            "seed {seed}: {took:?}"
        );
        let next = cluster.agreed().expect("just seen");
        assert_eq!(cluster.state(next).term(), term + 1);
    }
}

/// The power fails for all: the next leader's term is newer than any before.
#[tokio::test(start_paused = true)]
async fn a_cluster_that_restarts_leads_in_a_newer_term() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(3, seed);
        for expected in 1..6 {
            let leader = cluster.settle(ms(5_000)).await;
            assert_eq!(cluster.state(leader).term(), expected, "seed {seed}");
            cluster.run(ms(777)).await;
            for name in cluster.live() {
                cluster.drop_node(name);
            }
            for name in crate::cluster::NAMES.into_iter().take(3) {
                cluster.start(name);
            }
        }
    }
}

/// A cluster of one that has run before waits: it may have promised its vote to a leader of a larger cluster.
#[tokio::test(start_paused = true)]
async fn a_restarted_cluster_of_one_waits_for_one_election_timeout() {
    for seed in 0..10 {
        let config = Config::new("a", ["a"]).expect("good settings").seed(seed);
        let id = config.node_id().clone();
        let saved = HardState::new(4, Some(id.clone()), Membership::initial([id]));
        let start = Instant::now();
        let mut node = TinyRaft::new(config.bootstrap().restore(saved)).expect("good settings");
        assert!(!node.is_leader());

        let state = loop {
            match node.next().await {
                Some(MsgRouter::ToSelf(state)) if state.node_type() == NodeType::Leader => {
                    break state;
                }
                Some(_) => {}
                None => panic!("it ended"),
            }
        };

        assert_eq!(state.term(), 5, "not the term that it led before");
        let took = start.elapsed();
        let most = ELECTION_TIMEOUT + ELECTION_TIMEOUT / 16 + TIMER;
        assert!((ELECTION_TIMEOUT..=most).contains(&took), "{took:?}");
        assert!(node.is_leader());
    }
}
