//! streamraft's log without polling: three `Replication`s and their stores, driven by hand on logical time.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use streamraft::MsgRouter;
use streamraft::raft::{EntryKind, LogLimits, LogStore, MemoryLog, Recovered, Replication};

use super::{Machine, Polled, Proposal};
use crate::election::core::configs;

struct Node {
    raft: Replication<u64>,
    store: MemoryLog<u64>,
    machine: Machine,
    /// The index of the newest entry that its state machine has seen.
    seen: u64,
    /// Something has happened to it that may have consequences.
    is_due: bool,
}

impl Node {
    /// Hands over to the store what there is, and waits for it.
    fn write(&mut self, now: Instant) {
        loop {
            self.raft.write_to(&mut self.store);
            if !self.raft.wants_flush() {
                return;
            }
            self.raft.begin_flush(now);
            let flushed = LogStore::<u64>::poll_flush(
                &mut self.store,
                &mut Context::from_waker(Waker::noop()),
            );
            assert!(matches!(flushed, Poll::Ready(Ok(()))), "it is in memory");
            self.raft.flushed();
        }
    }

    fn apply(&mut self) {
        let machine = &mut self.machine;
        self.seen = self.raft.show_committed(self.seen, |entry| {
            if entry.kind == EntryKind::Proposal {
                machine.apply(entry.data);
            }
        });
        assert_eq!(self.seen, self.raft.commit(), "the newest are in memory");
    }
}

pub struct Nodes {
    now: Instant,
    nodes: Vec<Node>,
    /// Followers are told at once what is committed.
    tells: bool,
}

impl Nodes {
    /// The first node leads.
    pub fn led(nodes: u64) -> Self {
        let now = Instant::now();
        let node = |config| Node {
            raft: Replication::new(config, LogLimits::default(), Recovered::default(), now)
                .expect("good settings"),
            store: MemoryLog::new(),
            machine: Machine::default(),
            seen: 0,
            is_due: false,
        };
        let mut cluster = Self {
            now,
            nodes: configs(nodes).into_iter().map(node).collect(),
            tells: false,
        };
        while cluster.nodes[0].raft.commit() == 0 {
            cluster.now += Duration::from_millis(10);
            cluster.nodes[0].raft.handle_timeout(cluster.now);
            cluster.nodes[0].is_due = true;
            cluster.settle();
        }
        cluster
    }

    pub fn telling(mut self) -> Self {
        self.tells = true;
        self
    }

    /// Everything that comes of what has happened to this node, but for what it means to others.
    fn drain(&mut self, at: usize) {
        let now = self.now;
        self.nodes[at].is_due = false;
        self.nodes[at].write(now);
        if self.tells {
            self.nodes[at].raft.tell_committed();
        }
        while let Some(output) = self.nodes[at].raft.poll_output() {
            if let MsgRouter::ToNode(to, message) = output {
                let other = &mut self.nodes[to as usize - 1];
                other.raft.receive(now, &(at as u64 + 1), message);
                other.is_due = true;
            }
        }
        self.nodes[at].apply();
    }
}

impl Polled for Nodes {
    fn propose(&mut self, proposal: Proposal) {
        let taken = self.nodes[0].raft.propose(&proposal);
        taken.expect("it leads, and there is room");
        self.nodes[0].is_due = true;
    }

    fn settle(&mut self) {
        // In turns, so that the leader is polled once for what both followers say.
        while self.nodes.iter().any(|node| node.is_due) {
            for at in 0..self.nodes.len() {
                if self.nodes[at].is_due {
                    self.drain(at);
                }
            }
        }
    }

    fn applied(&self) -> u64 {
        self.nodes[0].machine.applied
    }
}
