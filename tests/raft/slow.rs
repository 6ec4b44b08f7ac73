//! Followers that are slow cost nobody else anything: neither one whose disk hangs nor one whose state machine does.

use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use streamraft::raft::LogLimits;
use tokio::time::Instant;

use crate::ms;
use crate::node::Group;

fn limits() -> LogLimits {
    let limits = LogLimits::default().proposal(1_000).message(4_000);
    limits.window(8_000).unsettled(20_000).cache(0)
}

/// Many more bytes than a node may hold in memory, a proposal at a time for two seconds.
async fn propose_much(group: &mut Group) {
    let (client, term) = (group.client(1), group.nodes[&1].state().term());
    for _ in 0..200 {
        let before = Instant::now();
        group.until(client.propose(vec![0; 1_000])).await.unwrap();
        assert_eq!(
            before.elapsed(),
            Duration::ZERO,
            "who is slow is waited for"
        );
        group.run(ms(10)).await;
        let follower = group.nodes[&3].state();
        assert_eq!(
            (follower.leader(), follower.term()),
            (Some(&1), term),
            "it hears heartbeats all the while"
        );
    }
    assert_eq!(
        (group.leader(), group.nodes[&1].state().term()),
        (Some(1), term)
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_disk_hangs_slows_nobody_holds_little_and_catches_up() {
    let mut group = Group::new(3, limits());
    group.run(ms(100)).await;
    let trouble = Rc::clone(&group.nodes[&3].store().trouble);
    trouble.borrow_mut().stalls = true;
    propose_much(&mut group).await;
    let (follower, leader) = (group.nodes[&3].log(), group.nodes[&1].log());
    assert!(
        follower.last().index < 40 && follower.durable() < 3,
        "it lets go of what its disk does not take: {follower:?}"
    );
    assert_eq!(leader.commit(), leader.last().index);
    trouble.borrow_mut().stalls = false;
    // A stalled flush wakes nobody here: a heartbeat does.
    group.run(ms(500)).await;
    let (follower, leader) = (group.nodes[&3].log(), group.nodes[&1].log());
    assert_eq!(follower.durable(), leader.last().index);
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_state_machine_hangs_slows_nobody_and_misses_nothing() {
    let mut group = Group::new(3, limits());
    let mut slow = group.nodes.get_mut(&3).unwrap().applied(0);
    group.run(ms(100)).await;
    propose_much(&mut group).await;
    let (follower, leader) = (group.nodes[&3].log(), group.nodes[&1].log());
    assert_eq!(
        follower.durable(),
        leader.last().index,
        "its disk is not slow"
    );
    group.run(ms(100)).await;
    let applying = async {
        for _ in 0..200 {
            slow.next().await.unwrap();
        }
    };
    group.until(applying).await;
}
