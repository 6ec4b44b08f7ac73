//! A leader hands over by order.

use streamraft::{Command, Error, NodeType};

use crate::cluster::{Cluster, DELAY, ELECTION_TIMEOUT, HEARTBEAT, TIMER, ms};

#[tokio::test(start_paused = true)]
async fn a_transfer_takes_a_few_message_delays() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(5, seed);
        let leader = cluster.settle(ms(5_000)).await;
        let to = cluster.others(leader)[seed as usize % 4];
        let term = cluster.state(leader).term();
        cluster.run(HEARTBEAT * 2).await;
        let before = cluster.shown(leader).len();
        cluster.command(leader, Command::Transfer(to.parse().expect("a good name")));
        assert!(
            !cluster.node(leader).is_leader(),
            "the lease is given up at once"
        );

        let took = cluster
            .until(ms(5_000), |cluster| cluster.agreed() == Some(to))
            .await;

        assert!(
            took.is_some_and(|took| took <= DELAY * 5),
            "seed {seed}: {took:?}"
        );
        assert_eq!(cluster.state(to).term(), term + 1);
        let (_, first) = &cluster.shown(leader)[before];
        assert_eq!(
            first.transferring_to().map(streamraft::NodeId::as_str),
            Some(to)
        );
        assert_eq!(first.lease(), None);
        assert_eq!(cluster.state(leader).transferring_to(), None);
    }
}

/// Over within one election timeout, and the state says so.
#[tokio::test(start_paused = true)]
async fn a_transfer_to_a_dead_node_is_over_after_one_election_timeout() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(3, seed);
        let leader = cluster.settle(ms(5_000)).await;
        let dead = cluster.others(leader)[0];
        cluster.drop_node(dead);
        cluster.command(
            leader,
            Command::Transfer(dead.parse().expect("a good name")),
        );

        let took = cluster
            .until(ms(5_000), |cluster| {
                cluster.state(leader).transferring_to().is_none()
            })
            .await;
        assert!(
            took.is_some_and(|took| took <= ELECTION_TIMEOUT + TIMER),
            "seed {seed}: {took:?}"
        );
        assert!(
            took.is_some_and(|took| took >= ELECTION_TIMEOUT),
            "seed {seed}: {took:?}"
        );

        let took = cluster
            .until(ms(5_000), |cluster| cluster.agreed() == Some(leader))
            .await;
        assert!(
            took.is_some_and(|took| took <= DELAY * 4),
            "seed {seed}: {took:?}"
        );
    }
}

/// Resigning is handing over to the best there is; the one that resigned goes on as a follower.
#[tokio::test(start_paused = true)]
async fn resigning_hands_over_and_goes_on() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(3, seed);
        for _ in 0..6 {
            let leader = cluster.settle(ms(5_000)).await;
            let term = cluster.state(leader).term();
            cluster.command(leader, Command::Resign);
            let took = cluster
                .until(ms(5_000), |cluster| {
                    cluster.agreed().is_some_and(|next| next != leader)
                })
                .await;
            assert!(
                took.is_some_and(|took| took <= DELAY * 5),
                "seed {seed}: {took:?}"
            );
            assert_eq!(cluster.state(leader).node_type(), NodeType::Follower);
            assert_eq!(cluster.state(leader).term(), term + 1);
            cluster.run(HEARTBEAT * 2).await;
        }
    }
}

/// What cannot be carried out says so; the node is as it was.
#[tokio::test(start_paused = true)]
async fn a_command_that_makes_no_sense_is_refused() {
    let mut cluster = Cluster::new(3, 1);
    let leader = cluster.settle(ms(5_000)).await;
    let follower = cluster.others(leader)[0];
    let id = |name: &str| name.parse::<streamraft::NodeId>().expect("a good name");

    let refused = cluster.node_mut(follower).transfer(id(leader));
    assert!(
        matches!(refused, Err(Error::NotLeader { leader: Some(_) })),
        "{refused:?}"
    );
    assert_eq!(
        cluster.node_mut(leader).transfer(id(leader)),
        Err(Error::TransferToSelf)
    );
    let refused = cluster.node_mut(leader).transfer(id("z"));
    assert!(
        matches!(refused, Err(Error::TransferToNonVoter { .. })),
        "{refused:?}"
    );
    cluster.node_mut(follower).resign();

    cluster.run(ms(5_000)).await;
    assert_eq!((cluster.agreed(), cluster.elections()), (Some(leader), 1));
    cluster.stop(follower);
    assert_eq!(
        cluster.node_mut(follower).transfer(id(leader)),
        Err(Error::Stopped)
    );
}
