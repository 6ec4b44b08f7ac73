//! Followers hear at once what is committed, and a cluster at rest says no more than its heartbeats.

use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::StreamExt;
use streamraft::raft::{
    Applied, LogLimits, MemoryLog, Raft, RaftMessage, RaftOutput, Recovered, Replication,
};
use streamraft::{MessageKind, MsgRouter};

use crate::node::config;

const HEARTBEAT: Duration = Duration::from_millis(40);

/// What was said: an election's message, entries, a message of the leader without entries, an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    pings: u32,
    others: u32,
    entries: u32,
    empty: u32,
    answers: u32,
}

impl Said {
    fn count(&mut self, message: &RaftMessage<u64>) {
        *match message {
            RaftMessage::Election(message) => match message.kind {
                MessageKind::Ping { .. } | MessageKind::Pong { .. } => &mut self.pings,
                _ => &mut self.others,
            },
            RaftMessage::Append(append) if append.entries.is_some() => &mut self.entries,
            RaftMessage::Append(_) => &mut self.empty,
            RaftMessage::AppendAck(_) => &mut self.answers,
            _ => &mut self.others,
        } += 1;
    }
}

/// Three nodes with disks that are fast, and messages that take no time.
struct Three {
    now: Instant,
    nodes: Vec<Replication<u64>>,
    said: Said,
    loses_empty: bool,
}

impl Three {
    /// The first leads, and everything is said.
    fn led() -> Self {
        let now = Instant::now();
        let node = |id| {
            let limits = LogLimits::default();
            Replication::new(config(id, 3), limits, Recovered::default(), now).unwrap()
        };
        let mut three = Self {
            now,
            nodes: (1..=3).map(node).collect(),
            said: Said::default(),
            loses_empty: false,
        };
        three.run(Duration::from_secs(1));
        assert!(three.nodes[0].state().lease().is_some());
        three.said = Said::default();
        three
    }

    fn settle(&mut self) {
        loop {
            let mut letters = Vec::new();
            for (node, from) in self.nodes.iter_mut().zip(1..) {
                while node.poll_write().is_some() {}
                node.begin_flush(self.now);
                node.flushed();
                node.tell_committed();
                while let Some(output) = node.poll_output() {
                    if let MsgRouter::ToNode(to, message) = output {
                        letters.push((from, to, message));
                    }
                }
            }
            if letters.is_empty() {
                return;
            }
            for (from, to, message) in letters {
                self.said.count(&message);
                let is_empty =
                    matches!(&message, RaftMessage::Append(append) if append.entries.is_none());
                if !(is_empty && self.loses_empty) {
                    self.nodes[to as usize - 1].receive(self.now, &from, message);
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let next = self.nodes.iter().filter_map(Replication::poll_timeout);
            let Some(next) = next.min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            for node in &mut self.nodes {
                node.handle_timeout(self.now);
            }
        }
    }

    fn commits(&self) -> Vec<u64> {
        self.nodes.iter().map(Replication::commit).collect()
    }
}

#[test]
fn followers_are_told_at_once_and_do_not_answer_that() {
    let mut three = Three::led();
    let index = three.nodes[0].propose(b"x").unwrap();
    three.settle();
    assert_eq!(three.commits(), [index; 3]);
    let expected = Said {
        entries: 2,
        answers: 2,
        empty: 2,
        ..Said::default()
    };
    assert_eq!(three.said, expected);
}

#[test]
fn a_cluster_at_rest_says_no_more_than_its_heartbeats() {
    let mut three = Three::led();
    three.nodes[0].propose(b"x").unwrap();
    three.settle();
    // With the next heartbeat the leader makes sure that it was heard.
    three.said = Said::default();
    three.run(HEARTBEAT * 2);
    assert_eq!((three.said.empty, three.said.answers), (2, 2));
    three.said = Said::default();
    three.run(HEARTBEAT * 10);
    let Said { pings, .. } = three.said;
    let heartbeats = Said {
        pings,
        ..Said::default()
    };
    assert!((36..=44).contains(&pings), "{pings}");
    assert_eq!(three.said, heartbeats);
}

#[test]
fn what_was_told_and_got_lost_is_told_with_the_next_heartbeat() {
    let mut three = Three::led();
    three.loses_empty = true;
    let index = three.nodes[0].propose(b"x").unwrap();
    three.settle();
    assert_eq!(three.commits(), [index, index - 1, index - 1]);
    three.loses_empty = false;
    three.run(HEARTBEAT * 2);
    assert_eq!(three.commits(), [index; 3]);
}

#[test]
fn what_comes_with_other_entries_is_not_said_twice() {
    let mut three = Three::led();
    three.nodes[0].propose(b"x").unwrap();
    three.settle();
    three.said = Said::default();
    for _ in 0..3 {
        three.nodes[0].propose(b"y").unwrap();
    }
    three.settle();
    assert_eq!((three.said.entries, three.said.empty), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn state_machines_of_followers_wait_for_no_heartbeat() {
    let mut nodes: Vec<_> = (1..=3)
        .map(|id| Raft::new(config(id, 3), LogLimits::default(), MemoryLog::new()).unwrap())
        .collect();
    // Of the followers: a client of the leader would wait for the leader's.
    let followers = nodes.iter_mut().skip(1);
    let mut machines: Vec<_> = followers.map(|node| node.applied(0)).collect();
    let client = nodes[0].client();
    let program = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for number in 0..5_u8 {
            let start = tokio::time::Instant::now();
            client.propose(vec![number]).await.unwrap();
            for machine in &mut machines {
                let Some(Applied::Entry(entry)) = machine.next().await else {
                    panic!("it goes on");
                };
                assert_eq!(entry.data, vec![number]);
            }
            assert_eq!(start.elapsed(), Duration::ZERO);
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
    };
    let mut program = pin!(program);
    std::future::poll_fn(|cx| {
        let over = program.as_mut().poll(cx);
        while poll_all(&mut nodes, cx) {}
        over
    })
    .await;
}

/// Whether anything was said.
fn poll_all(nodes: &mut [Raft<MemoryLog<u64>, u64>], cx: &mut Context<'_>) -> bool {
    let mut letters = Vec::new();
    for (node, from) in nodes.iter_mut().zip(1..) {
        while let Poll::Ready(Some(output)) = node.poll_next_unpin(cx) {
            if let RaftOutput::ToNode(to, message) = output {
                letters.push((from, to, message));
            }
        }
    }
    let is_over = letters.is_empty();
    for (from, to, message) in letters {
        nodes[to as usize - 1].on_receive(&from, message);
    }
    !is_over
}
