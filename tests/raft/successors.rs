//! Who succeeds a leader that goes: whoever has caught up, by its answers to entries as well as by its heartbeats.

use streamraft::raft::{LogLimits, RaftMessage};
use streamraft::{Command, MessageKind};

use crate::ms;
use crate::node::Group;
use crate::one::{ELECTION_TIMEOUT, One, at};

/// Who is told to campaign.
fn ordered(said: &[(u64, RaftMessage<u64>)]) -> Vec<u64> {
    let orders = said.iter().filter(|(_, message)| {
        matches!(message, RaftMessage::Election(message)
            if matches!(message.kind, MessageKind::TimeoutNow))
    });
    orders.map(|(to, _)| *to).collect()
}

/// No heartbeat has told yet how far the others are.
#[tokio::test(start_paused = true)]
async fn who_goes_right_after_a_commit_leaves_a_successor_at_once() {
    for command in [Command::Stop, Command::Resign, Command::Transfer(3)] {
        let mut group = Group::new(3, LogLimits::default());
        group.run(ms(100)).await;
        let client = group.client(1);
        let term = group.nodes[&1].state().term();
        group.until(client.propose("x")).await.unwrap();
        let node = group.nodes.get_mut(&1).unwrap();
        node.command(command.clone()).unwrap();
        group.run(ms(1)).await;
        let leader = group.leader().expect("another one leads");
        assert_ne!(leader, 1, "{command:?}");
        let now = group.nodes[&leader].state().term();
        assert_eq!(now, term + 1, "{command:?}");
        if let Command::Transfer(to) = command {
            assert_eq!(leader, to);
        }
    }
}

/// These nodes answer a heartbeat of when the log had one entry.
fn pongs(node: &mut One, from: [u64; 2], said: &[(u64, RaftMessage<u64>)]) {
    for (to, message) in said.iter().filter(|(to, _)| from.contains(to)) {
        if let RaftMessage::Election(message) = message
            && let MessageKind::Ping { round, .. } = message.kind
        {
            let (position, priority) = (at(node.term(), 1), 0);
            let pong = MessageKind::Pong {
                round,
                position,
                priority,
            };
            let pong = node.message(message.term, pong);
            node.take(*to, pong);
        }
    }
}

/// A leader of term 1 with 5 entries, of which followers 2 and 3 have these. They live.
fn leader(matched: [u64; 2]) -> One {
    let mut node = One::new(3).lead();
    let said = node.wait(ms(40));
    pongs(&mut node, [2, 3], &said);
    node.propose(4);
    node.settle();
    for (from, matched) in [2, 3].into_iter().zip(matched) {
        let ack = node.ack(matched);
        node.receive(from, ack);
    }
    node
}

#[test]
fn it_is_who_has_all_entries() {
    for (matched, successor) in [
        ([5, 4], vec![2]),
        ([4, 5], vec![3]),
        ([4, 3], vec![]),
        ([5, 5], vec![2]),
    ] {
        let mut node = leader(matched);
        node.raft.command(node.now, Command::Resign).unwrap();
        assert_eq!(ordered(&node.settle()), successor, "{matched:?}");
        assert!(!node.leads());
    }
}

#[test]
fn an_order_waits_for_the_last_entry_and_for_no_heartbeat() {
    let mut node = leader([5, 4]);
    node.raft.command(node.now, Command::Transfer(3)).unwrap();
    assert_eq!(ordered(&node.settle()), [], "it lacks one");
    let ack = node.ack(5);
    let said = node.receive(2, ack);
    assert_eq!(ordered(&said), [], "it is not the one");
    let ack = node.ack(5);
    let said = node.receive(3, ack);
    assert_eq!(ordered(&said), [3]);
    let ack = node.ack(5);
    let said = node.receive(3, ack);
    assert_eq!(ordered(&said), [], "once, until the next heartbeat");
}

/// What a heartbeat said before the entries came does not take back what the answer to them said.
#[test]
fn an_answer_that_was_overtaken_takes_nothing_back() {
    let mut node = leader([1, 1]);
    let said = node.wait(ms(40));
    for (from, matched) in [(2, 4), (3, 5)] {
        let ack = node.ack(matched);
        node.receive(from, ack);
        pongs(&mut node, [from; 2], &said);
    }
    node.raft.command(node.now, Command::Resign).unwrap();
    assert_eq!(ordered(&node.settle()), [3]);
}

#[test]
fn a_leader_whose_disk_hangs_leaves_one_too() {
    let mut node = leader([5, 5]);
    node.propose(1);
    node.begin_flush();
    let mut said = node.say();
    for _ in 0..15 {
        pongs(&mut node, [2, 3], &said);
        let ack = node.ack(6);
        node.take(3, ack);
        assert!(node.leads());
        node.now += ELECTION_TIMEOUT / 15;
        node.raft.handle_timeout(node.now);
        said = node.say();
    }
    assert!(!node.leads());
    assert_eq!(ordered(&said), [3]);
}

/// Written there, though not yet flushed: it is as long as it says.
#[test]
fn what_a_heartbeat_has_said_counts_as_well() {
    let mut node = leader([4, 4]);
    let said = node.wait(ms(40));
    for (to, message) in said.iter().filter(|(to, _)| *to == 3) {
        if let RaftMessage::Election(message) = message
            && let MessageKind::Ping { round, .. } = message.kind
        {
            let (position, priority) = (at(node.term(), 5), 0);
            let pong = MessageKind::Pong {
                round,
                position,
                priority,
            };
            let pong = node.message(message.term, pong);
            node.take(*to, pong);
        }
    }
    node.raft.command(node.now, Command::Resign).unwrap();
    assert_eq!(ordered(&node.settle()), [3]);
}

/// A leader that is to leave hands over to one that stays, and waits for no heartbeat that says what is known.
#[test]
fn a_leader_that_leaves_the_cluster_finds_one_too() {
    let mut node = leader([5, 5]);
    let leave = Command::SetNodes(vec![2, 3]);
    node.raft.command(node.now, leave).unwrap();
    let mut said = Vec::new();
    for _ in 0..10 {
        said = node.wait(ms(40));
        if !ordered(&said).is_empty() {
            break;
        }
        pongs(&mut node, [2, 3], &said);
        node.settle();
    }
    assert!(matches!(ordered(&said)[..], [2 | 3]), "{said:?}");
}
