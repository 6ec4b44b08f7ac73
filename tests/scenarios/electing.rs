//! A leader is found.

use streamraft::{Command, Config, MsgRouter, NodeType, TinyRaft};
use tokio::time::Instant;

use futures::StreamExt;

use crate::cluster::{Cluster, DELAY, ELECTION_TIMEOUT, HEARTBEAT, NAMES, TIMER, ms};

/// The first node's turn comes at once; its jitter is a sixteenth of a step (the spread over the voters).
fn first_campaign_after(nodes: u32) -> std::time::Duration {
    ELECTION_TIMEOUT / nodes / 16
}

async fn elects(size: u32, seed: u64) {
    let mut cluster = Cluster::new(size as usize, seed);

    let took = cluster
        .until(ms(10_000), |cluster| cluster.agreed().is_some())
        .await;

    // Pre-vote, vote, ping: two delays each, and what the timer is late.
    let most = ELECTION_TIMEOUT + first_campaign_after(size) + DELAY * 6 + TIMER;
    assert!(
        took.is_some_and(|took| took >= ELECTION_TIMEOUT && took <= most),
        "seed {seed}: {took:?}"
    );
    let leader = cluster.agreed().expect("just seen");
    cluster.run(DELAY * 2).await;
    let state = cluster.state(leader);
    assert_eq!((state.node_type(), state.term()), (NodeType::Leader, 1));
    let others: Vec<&str> = NAMES[..size as usize]
        .iter()
        .copied()
        .filter(|name| *name != leader)
        .collect();
    let followers: Vec<&str> = state
        .followers()
        .iter()
        .map(streamraft::NodeId::as_str)
        .collect();
    assert_eq!(followers, others);
    for other in others {
        let state = cluster.state(other);
        assert_eq!(
            (state.node_type(), state.followers()),
            (NodeType::Follower, &[][..])
        );
    }

    cluster.run(ms(20_000)).await;
    assert_eq!(
        (cluster.agreed(), cluster.elections()),
        (Some(leader), 1),
        "and it stays"
    );
}

#[tokio::test(start_paused = true)]
async fn three_nodes_elect_a_leader() {
    for seed in 0..20 {
        elects(3, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn five_nodes_elect_a_leader() {
    for seed in 0..20 {
        elects(5, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_elect_a_leader() {
    for seed in 0..20 {
        elects(2, seed).await;
    }
}

/// With plain random timeouts, too.
#[tokio::test(start_paused = true)]
async fn random_timeouts_elect_a_leader() {
    for seed in 0..30 {
        let mut cluster = Cluster::tuned(5, seed, Config::lottery);
        let took = cluster
            .until(ms(20_000), |cluster| cluster.agreed().is_some())
            .await;
        assert!(
            took.is_some_and(|took| took >= ELECTION_TIMEOUT),
            "seed {seed}: {took:?}"
        );
    }
}

/// Whoever vouches that the cluster has never run does not wait for an election timeout of silence.
#[tokio::test(start_paused = true)]
async fn bootstrap_elects_without_an_election_timeout_of_silence() {
    for seed in 0..20 {
        for size in [2, 3, 5] {
            let mut cluster = Cluster::tuned(size as usize, seed, Config::bootstrap);
            let took = cluster
                .until(ms(10_000), |cluster| cluster.agreed().is_some())
                .await;
            let most = first_campaign_after(size) + DELAY * 6 + TIMER;
            assert!(
                took.is_some_and(|took| took <= most),
                "{size} nodes, seed {seed}: {took:?}"
            );
        }
    }
}

/// Without it, not before: a leader may have been promised something by nodes that restarted.
#[tokio::test(start_paused = true)]
async fn without_bootstrap_nobody_leads_before_one_election_timeout() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(3, seed);
        cluster.run(ELECTION_TIMEOUT).await;
        assert_eq!((cluster.leader(), cluster.elections()), (None, 0));
    }
}

/// `bootstrap` is for a cluster that has never run. Left in the settings, it does nothing after a restart.
#[tokio::test(start_paused = true)]
async fn bootstrap_has_no_effect_after_a_restart() {
    for seed in 0..10 {
        let mut cluster = Cluster::tuned(3, seed, Config::bootstrap);
        cluster.settle(ms(200)).await;
        for name in cluster.live() {
            cluster.drop_node(name);
            cluster.start(name);
        }
        let took = cluster
            .until(ms(10_000), |cluster| cluster.leader().is_some())
            .await;
        assert!(
            took.is_some_and(|took| took >= ELECTION_TIMEOUT),
            "{took:?}"
        );
    }
}

/// The first thing that comes out.
#[tokio::test(start_paused = true)]
async fn a_cluster_of_one_leads_at_once() {
    for nodes in [&[][..], &["a"]] {
        let start = Instant::now();
        let config = Config::new("a", nodes).expect("good settings");
        let mut node = TinyRaft::new(config).expect("good settings");

        let first = node.next().await;

        let Some(MsgRouter::ToSelf(state)) = first else {
            panic!("{first:?}")
        };
        assert_eq!((state.node_type(), state.term()), (NodeType::Leader, 1));
        assert_eq!(state.leader().map(streamraft::NodeId::as_str), Some("a"));
        assert!(node.is_leader());
        assert_eq!(start.elapsed(), ms(0));
        // It goes on, with nothing to say.
        assert!(tokio::time::timeout(ms(60_000), node.next()).await.is_err());
        assert!(node.is_leader());
    }
}

/// Whichever node wins first, the one of the highest priority leads in the end, and stays.
#[tokio::test(start_paused = true)]
async fn the_highest_priority_leads() {
    for seed in 0..10 {
        let mut cluster = Cluster::tuned(5, seed, |config| {
            let priority = if config.node_id().as_str() == "d" {
                10
            } else {
                1
            };
            config.leader_priority(priority)
        });
        let took = cluster
            .until(ms(10_000), |cluster| cluster.agreed() == Some("d"))
            .await;
        // Another may win without its pre-vote. That one hands over when it has seen it for an election timeout.
        let first = ELECTION_TIMEOUT + first_campaign_after(5) + DELAY * 6 + TIMER;
        let most = first + ELECTION_TIMEOUT + HEARTBEAT * 2 + DELAY * 5;
        assert!(
            took.is_some_and(|took| took <= most),
            "seed {seed}: {took:?}"
        );
        let elections = cluster.elections();
        cluster.run(ms(60_000)).await;
        assert_eq!(
            (cluster.agreed(), cluster.elections()),
            (Some("d"), elections)
        );
    }
}

/// A priority can be set while the node runs.
#[tokio::test(start_paused = true)]
async fn raising_a_priority_moves_the_leadership() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(3, seed);
        let leader = cluster.settle(ms(5_000)).await;
        let better = cluster.others(leader)[0];
        let term = cluster.state(leader).term();
        cluster.command(better, Command::SetPriority(5));

        let took = cluster
            .until(ms(10_000), |cluster| cluster.agreed() == Some(better))
            .await;

        // The leader has to hear of it, to see it for an election timeout, and to come to its next heartbeat.
        let most = ELECTION_TIMEOUT + HEARTBEAT * 3 + DELAY * 7;
        assert!(
            took.is_some_and(|took| took >= ELECTION_TIMEOUT && took <= most),
            "seed {seed}: {took:?}"
        );
        assert_eq!(cluster.state(better).term(), term + 1);
    }
}

/// A node that was set up for another cluster is not heard, and hears nobody.
#[tokio::test(start_paused = true)]
async fn a_node_of_another_cluster_takes_no_part() {
    for seed in 0..10 {
        let mut cluster = Cluster::tuned(3, seed, |config| {
            let name = if config.node_id().as_str() == "c" {
                "other"
            } else {
                "orders"
            };
            config.cluster(name)
        });
        let took = cluster
            .until(ms(10_000), |cluster| {
                cluster.agreed_among(&["a", "b"]).is_some()
            })
            .await;
        assert!(took.is_some(), "two of three are enough");
        cluster.run(ms(10_000)).await;
        assert_eq!(
            (cluster.state("c").leader(), cluster.state("c").term()),
            (None, 0)
        );
        let leader = cluster.leader().expect("one of two");
        assert!(
            cluster
                .state(leader)
                .followers()
                .iter()
                .all(|id| id.as_str() != "c")
        );
        assert!(cluster.node(leader).stats().foreign_cluster > 0);
        assert!(cluster.node("c").stats().foreign_cluster > 0);
    }
}

/// A layer above that hears from the leader keeps a follower from campaigning, without a single ping.
#[tokio::test(start_paused = true)]
async fn marking_the_leader_alive_puts_campaigns_off() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(3, seed);
        let leader = cluster.settle(ms(5_000)).await;
        let deaf = cluster.others(leader)[0];
        cluster.cut(leader, deaf);
        for _ in 0..20 {
            cluster.run(ms(500)).await;
            cluster.command(deaf, Command::MarkAlive);
            assert_eq!(cluster.state(deaf).node_type(), NodeType::Follower);
        }
        let took = cluster
            .until(ms(10_000), |cluster| {
                cluster.state(deaf).node_type() == NodeType::Candidate
            })
            .await;
        assert!(
            took.is_some_and(|took| took >= ELECTION_TIMEOUT),
            "{took:?}"
        );
        assert_eq!(cluster.elections(), 1, "its campaign moves nobody");
    }
}
