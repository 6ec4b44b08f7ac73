//! The network falls apart, and heals.

use std::time::Duration;

use streamraft::NodeType;
use tokio::time::Instant;

use crate::cluster::{Cluster, DELAY, ELECTION_TIMEOUT, HEARTBEAT, LEADERSHIP_TIMEOUT, TIMER, ms};

/// From the cut to the next leader: see `failover`.
fn failover_limit(nodes: u32) -> Duration {
    ELECTION_TIMEOUT + ELECTION_TIMEOUT / nodes / 16 + DELAY * 7 + TIMER * 2
}

/// A healed node follows as soon as the leader's next ping comes, or its own campaign is refused.
const HEALING: Duration = ms(100 + 2 * 5);

/// A leader that is cut off from everyone steps down, says so, and follows the new one when the network is whole.
#[tokio::test(start_paused = true)]
async fn leadership_expires_without_a_quorum() {
    for seed in 0..20 {
        for size in [3, 5] {
            let mut cluster = Cluster::new(size, seed);
            let leader = cluster.settle(ms(5_000)).await;
            cluster.run(ms(1_000 + seed * 17)).await;
            let (term, cut) = (cluster.state(leader).term(), Instant::now());
            let before = cluster.shown(leader).len();
            let others = cluster.others(leader);
            cluster.partition(&[&[leader], &others]);

            let steps_down =
                |cluster: &Cluster| cluster.state(leader).node_type() != NodeType::Leader;
            let took = cluster.until(ms(5_000), steps_down).await;

            // Counted from the last ping that was answered before the cut.
            let least = LEADERSHIP_TIMEOUT - HEARTBEAT - DELAY * 2;
            let most = LEADERSHIP_TIMEOUT + TIMER;
            assert!(
                took.is_some_and(|took| took >= least && took <= most),
                "seed {seed}: {took:?}"
            );
            cluster.run(ms(0)).await;
            let says_so =
                |(_, state): &&(_, streamraft::NodeState)| state.node_type() != NodeType::Leader;
            let shown = &cluster.shown(leader)[before..];
            let (_, state) = shown.iter().find(says_so).expect("it says so");
            assert_eq!(
                (state.node_type(), state.term()),
                (NodeType::Follower, term)
            );
            assert_eq!((state.leader(), state.lease()), (None, None));

            let took = cluster
                .until(ms(5_000), |cluster| cluster.agreed_among(&others).is_some())
                .await;
            assert!(
                took.is_some() && cut.elapsed() <= failover_limit(3),
                "seed {seed}: {took:?}"
            );
            let next = cluster.leader().expect("just seen");
            cluster.run(ms(20_000)).await;

            cluster.heal();
            let took = cluster
                .until(ms(5_000), |cluster| cluster.agreed() == Some(next))
                .await;
            assert!(
                took.is_some_and(|took| took <= HEALING),
                "seed {seed}: {took:?}"
            );
            assert_eq!(cluster.state(leader).term(), term + 1);
            assert_eq!(cluster.elections(), 2, "nobody was deposed");
        }
    }
}

/// Two on one side, three on the other, the leader among the two.
#[tokio::test(start_paused = true)]
async fn a_leader_in_the_minority_steps_down_and_the_majority_elects() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(5, seed);
        let leader = cluster.settle(ms(5_000)).await;
        cluster.run(ms(1_000 + seed * 17)).await;
        let others = cluster.others(leader);
        let (minority, majority) = ([leader, others[0]], &others[1..]);
        cluster.partition(&[&minority, majority]);
        let cut = Instant::now();

        let took = cluster
            .until(ms(10_000), |cluster| {
                cluster.agreed_among(majority).is_some()
            })
            .await;

        // The first successor may be in the minority: then it is the turn of the second, one step on.
        let most = failover_limit(5) + ELECTION_TIMEOUT / 5;
        assert!(
            took.is_some_and(|took| took <= most),
            "seed {seed}: {took:?}"
        );
        let steps_down = |cluster: &Cluster| cluster.state(leader).node_type() != NodeType::Leader;
        cluster.until(ms(5_000), steps_down).await;
        assert!(cut.elapsed() <= LEADERSHIP_TIMEOUT.max(most) + TIMER);
        let next = cluster.leader().expect("just seen");
        cluster.run(ms(20_000)).await;
        assert_eq!(cluster.agreed_among(majority), Some(next));
        assert!(minority.iter().all(|name| !cluster.node(name).is_leader()));

        cluster.heal();
        let took = cluster
            .until(ms(5_000), |cluster| cluster.agreed() == Some(next))
            .await;
        assert!(
            took.is_some_and(|took| took <= HEALING),
            "seed {seed}: {took:?}"
        );
        assert_eq!(cluster.elections(), 2);
    }
}

/// Two out of three: the same with the smallest cluster that has a majority to lose.
#[tokio::test(start_paused = true)]
async fn a_minority_leader_of_three_steps_down_and_the_two_elect() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(3, seed);
        let leader = cluster.settle(ms(5_000)).await;
        let term = cluster.state(leader).term();
        cluster.run(ms(300 + seed * 7)).await;
        let others = cluster.others(leader);
        cluster.partition(&[&[leader], &others]);

        let took = cluster
            .until(ms(5_000), |cluster| cluster.agreed_among(&others).is_some())
            .await;

        assert!(
            took.is_some_and(|took| took <= failover_limit(3)),
            "seed {seed}: {took:?}"
        );
        let next = cluster.leader().expect("just seen");
        assert!(others.contains(&next) && cluster.state(next).term() > term);
        cluster.run(ms(10_000)).await;
        assert!(!cluster.node(leader).is_leader());
        assert_eq!(
            cluster.state(leader).term(),
            term,
            "alone, it raises no term"
        );
    }
}

/// A follower that is cut off disturbs nobody, neither while it is away nor when it comes back.
#[tokio::test(start_paused = true)]
async fn a_minority_follower_disturbs_nobody() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(3, seed);
        let leader = cluster.settle(ms(5_000)).await;
        let term = cluster.state(leader).term();
        let away = cluster.others(leader)[seed as usize % 2];
        let rest = cluster.others(away);
        cluster.partition(&[&[away], &rest]);

        cluster.run(ms(60_000)).await;
        assert_eq!(cluster.agreed_among(&rest), Some(leader));
        let cut_off = cluster.state(away);
        assert_eq!(
            (cut_off.node_type(), cut_off.term()),
            (NodeType::Candidate, term)
        );

        cluster.heal();
        let took = cluster
            .until(ms(5_000), |cluster| cluster.agreed() == Some(leader))
            .await;
        assert!(
            took.is_some_and(|took| took <= HEALING),
            "seed {seed}: {took:?}"
        );
        cluster.run(ms(10_000)).await;
        assert_eq!((cluster.agreed(), cluster.elections()), (Some(leader), 1));
    }
}

/// A leader that is heard but does not hear cannot hold on: nobody could take over from it otherwise.
#[tokio::test(start_paused = true)]
async fn a_leader_that_hears_nobody_steps_down() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(3, seed);
        let leader = cluster.settle(ms(5_000)).await;
        let others = cluster.others(leader);
        for other in &others {
            cluster.cut(other, leader);
        }
        let took = cluster
            .until(ms(10_000), |cluster| {
                cluster.agreed_among(&others).is_some()
            })
            .await;
        // It pings until it steps down, and only then does the others' timeout begin.
        let most = LEADERSHIP_TIMEOUT + TIMER + failover_limit(3);
        assert!(
            took.is_some_and(|took| took <= most),
            "seed {seed}: {took:?}"
        );
    }
}

/// A node that reaches some of the others, but not the leader, learns from them who leads.
#[tokio::test(start_paused = true)]
async fn a_node_that_reaches_only_followers_learns_who_leads() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(5, seed);
        let leader = cluster.settle(ms(5_000)).await;
        let away = cluster.others(leader)[3];
        cluster.cut(leader, away);
        cluster.cut(away, leader);

        cluster.run(ms(10_000)).await;

        let state = cluster.state(away);
        assert_eq!(state.node_type(), NodeType::Candidate);
        assert_eq!(state.leader().map(streamraft::NodeId::as_str), Some(leader));
        assert_eq!(cluster.elections(), 1);
    }
}
