//! Followers hear at once what is committed, and a cluster at rest says no more than its heartbeats.

use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use streamraft::raft::{
    Applied, LogLimits, MemoryLog, Raft, RaftMessage, RaftOutput, Recovered, Replication,
};
use streamraft::{MessageKind, MsgRouter};
use tokio_test::task;

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

#[test]
fn who_has_not_answered_yet_is_told_when_it_has() {
    let mut three = Three::led();
    let now = three.now;
    let said = |node: &mut Replication<u64>| {
        while node.poll_write().is_some() {}
        node.begin_flush(now);
        node.flushed();
        node.tell_committed();
        let outputs = std::iter::from_fn(|| node.poll_output());
        let letters = outputs.filter_map(|output| match output {
            MsgRouter::ToNode(to, message) => Some((to, message)),
            _ => None,
        });
        letters.collect::<Vec<_>>()
    };
    let index = three.nodes[0].propose(b"x").unwrap();
    let mut answers = Vec::new();
    for (to, message) in said(&mut three.nodes[0]) {
        let node = &mut three.nodes[to as usize - 1];
        node.receive(now, &1, message);
        answers.extend(said(node).into_iter().map(|(_, message)| (to, message)));
    }
    assert_eq!(answers.len(), 2);
    for (from, message) in answers {
        three.nodes[0].receive(now, &from, message);
        assert_eq!(three.nodes[0].commit(), index);
        let told = said(&mut three.nodes[0]);
        let to: Vec<u64> = told.iter().map(|(to, _)| *to).collect();
        assert_eq!(to, [from]);
    }
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

#[tokio::test(start_paused = true)]
async fn a_client_is_told_when_its_entry_is_applied_and_no_sooner() {
    let raft = Raft::new(config(1, 1), LogLimits::default(), MemoryLog::new()).unwrap();
    let mut nodes = [raft];
    let (client, mut machine) = (nodes[0].client(), nodes[0].applied(0));
    let mut settle = |what: &mut dyn FnMut(&mut Context<'_>)| {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..3 {
            what(&mut cx);
            while poll_all(&mut nodes, &mut cx) {}
        }
    };
    let (first, second) = (client.propose("1"), client.propose("2"));
    let (mut first, mut second) = (task::spawn(first), task::spawn(second));
    let mut read = task::spawn(client.read());
    settle(&mut |_| {
        assert!(first.poll().is_pending() && second.poll().is_pending());
    });
    settle(&mut |_| assert!(read.poll().is_pending()));
    // Has been given the first, and has not come back.
    let mut next = || {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        machine.poll_next_unpin(&mut cx)
    };
    assert!(matches!(next(), Poll::Ready(Some(Applied::Entry(_)))));
    settle(&mut |_| assert!(first.poll().is_pending()));
    assert!(matches!(next(), Poll::Ready(Some(Applied::Entry(_)))));
    settle(&mut |_| {});
    let index = first.poll();
    assert!(matches!(index, Poll::Ready(Ok(2))), "{index:?}");
    assert!(second.poll().is_pending() && read.poll().is_pending());
    assert!(next().is_pending());
    settle(&mut |_| {});
    assert!(second.is_woken() && read.is_woken());
    assert!(matches!(second.poll(), Poll::Ready(Ok(3))));
    assert!(matches!(read.poll(), Poll::Ready(Ok(3))));
    // Gone, it holds up nobody.
    let mut third = task::spawn(client.propose("3"));
    settle(&mut |_| assert!(third.poll().is_pending()));
    drop(machine);
    settle(&mut |_| {});
    assert!(third.is_woken() && matches!(third.poll(), Poll::Ready(Ok(4))));
}

#[tokio::test(start_paused = true)]
async fn clients_for_whom_there_was_no_room_are_heard_as_soon_as_there_is() {
    let mut raft = Raft::new(config(1, 1), LogLimits::default(), MemoryLog::new()).unwrap();
    let (client, mut machine) = (raft.client(), raft.applied(0));
    tokio::spawn(async move { while raft.next().await.is_some() {} });
    tokio::time::sleep(Duration::from_secs(1)).await;
    // More than wait in a node and on the way to it.
    let reads = join_all((0..5_000).map(|_| client.read()));
    let mut machine = pin!(async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = tokio::time::Instant::now();
        tokio::select! {
            _ = machine.next() => panic!("nothing was proposed"),
            () = std::future::pending() => start,
        }
    });
    let start = tokio::time::Instant::now();
    let read = tokio::select! { read = reads => read, _ = &mut machine => panic!("it goes on") };
    assert!(read.iter().all(|read| *read == Ok(1)));
    assert_eq!(start.elapsed(), Duration::from_secs(1));
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
