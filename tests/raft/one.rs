//! One node with a log, driven by hand.

use std::time::{Duration, Instant};

use streamraft::raft::{
    Append, AppendAck, Batch, Head, LogLimits, LogStore, MemoryLog, RaftMessage, Refused,
    Replication,
};
use streamraft::{Config, LogPosition, Message, MessageKind, MsgRouter, NodeType, Stamp};

use crate::ms;

pub(crate) const ELECTION_TIMEOUT: Duration = Duration::from_millis(150);

type Said = Vec<(u64, RaftMessage<u64>)>;

/// Node 1, its store, and its time.
#[derive(Clone, Debug)]
pub(crate) struct One {
    pub(crate) raft: Replication<u64>,
    pub(crate) store: MemoryLog<u64>,
    pub(crate) now: Instant,
    nodes: u64,
}

pub(crate) fn at(term: u64, index: u64) -> LogPosition {
    LogPosition::new(term, index)
}

/// So many entries of this term, the first with this index.
pub(crate) fn entries(first: u64, term: u64, count: u64) -> Option<Batch> {
    let last = first + count;
    Batch::of_proposals(
        first,
        term,
        (first..last).map(|index| format!("{term}.{index}")),
    )
}

impl One {
    /// Node 1 of so many, with an empty store.
    pub(crate) fn new(nodes: u64) -> Self {
        Self::with(nodes, MemoryLog::new(), LogLimits::default())
    }

    pub(crate) fn with(nodes: u64, mut store: MemoryLog<u64>, limits: LogLimits) -> Self {
        let now = Instant::now();
        let config = Config::with_id(1, 1..=nodes).unwrap();
        let config = config
            .election_timeout(ELECTION_TIMEOUT)
            .heartbeat_interval(ms(40))
            .seed(1);
        let raft = Replication::new(config, limits, store.recovered(), now).unwrap();
        Self {
            raft,
            store,
            now,
            nodes,
        }
    }

    /// The same node after it went down and came back.
    pub(crate) fn restart(self) -> Self {
        let limits = *self.raft.limits();
        Self::with(self.nodes, self.store, limits)
    }

    /// Hands over what is to be written, without a flush.
    pub(crate) fn write(&mut self) {
        while let Some(write) = self.raft.poll_write() {
            write.hand_to(&mut self.store);
        }
    }

    pub(crate) fn begin_flush(&mut self) {
        self.write();
        if self.raft.wants_flush() {
            self.raft.begin_flush(self.now);
        }
    }

    /// What it says now, with a disk that does nothing.
    pub(crate) fn say(&mut self) -> Said {
        let mut said = Vec::new();
        while let Some(output) = self.raft.poll_output() {
            if let MsgRouter::ToNode(to, message) = output {
                said.push((to, message));
            }
        }
        said
    }

    /// What it says, with a disk that is fast.
    pub(crate) fn settle(&mut self) -> Said {
        let mut said = self.say();
        loop {
            self.begin_flush();
            self.raft.flushed();
            let more = self.say();
            if more.is_empty() && !self.raft.wants_flush() {
                return said;
            }
            said.extend(more);
        }
    }

    /// Takes a message and says nothing yet.
    pub(crate) fn take(&mut self, from: u64, message: impl Into<RaftMessage<u64>>) {
        self.raft.receive(self.now, &from, message.into());
    }

    pub(crate) fn receive(&mut self, from: u64, message: impl Into<RaftMessage<u64>>) -> Said {
        self.take(from, message);
        self.settle()
    }

    pub(crate) fn wait(&mut self, time: Duration) -> Said {
        let end = self.now + time;
        let mut said = Vec::new();
        while let Some(due) = self.raft.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.raft.handle_timeout(self.now);
            said.extend(self.settle());
        }
        self.now = end;
        said
    }

    pub(crate) fn message(&self, term: u64, kind: MessageKind<u64>) -> Message<u64> {
        let membership = self.raft.state().hard_state().membership();
        let stamp = membership.stamp().max(Stamp::new(0, 1));
        Message::new(term, stamp, kind)
    }

    pub(crate) fn term(&self) -> u64 {
        self.raft.state().term()
    }

    pub(crate) fn leads(&self) -> bool {
        self.raft.state().node_type() == NodeType::Leader
    }

    /// Is elected by all others.
    pub(crate) fn lead(mut self) -> Self {
        let mut said = Vec::new();
        while !self.leads() {
            for (to, message) in std::mem::take(&mut said) {
                let RaftMessage::Election(message) = message else {
                    continue;
                };
                let (granted, leader) = (true, None);
                let kind = match message.kind {
                    MessageKind::PreVoteRequest { round, .. } => MessageKind::PreVote {
                        round,
                        granted,
                        leader,
                    },
                    MessageKind::VoteRequest { .. } => MessageKind::Vote { granted, leader },
                    _ => continue,
                };
                let answer = self.message(message.term, kind);
                said.extend(self.receive(to, answer));
            }
            if said.is_empty() && !self.leads() {
                said = self.wait(ms(10));
            }
        }
        self.settle();
        self
    }

    /// Follows this leader in this term.
    pub(crate) fn follow(mut self, leader: u64, term: u64) -> Self {
        self.ping(leader, term);
        self
    }

    pub(crate) fn ping(&mut self, leader: u64, term: u64) {
        let round = self.now.elapsed().as_micros() as u64;
        let ping = MessageKind::Ping {
            round,
            succession: None,
        };
        let ping = self.message(term, ping);
        self.receive(leader, ping);
    }

    pub(crate) fn append(
        &self,
        previous: LogPosition,
        commit: u64,
        entries: Option<Batch>,
    ) -> RaftMessage<u64> {
        let head = Head::new(self.term(), 0);
        RaftMessage::Append(Append::new(head, previous, commit, entries))
    }

    pub(crate) fn ack(&self, matched: u64) -> RaftMessage<u64> {
        self.ack_round(matched, 0)
    }

    pub(crate) fn ack_round(&self, matched: u64, round: u64) -> RaftMessage<u64> {
        let head = Head::new(self.term(), round);
        RaftMessage::AppendAck(AppendAck::new(head, matched, self.raft.commit(), None))
    }

    pub(crate) fn refusal(&self, previous: u64, hint: LogPosition) -> RaftMessage<u64> {
        let head = Head::new(self.term(), 0);
        let refused = Some(Refused::new(previous, hint));
        RaftMessage::AppendAck(AppendAck::new(head, 0, 0, refused))
    }

    /// This node has got what was said to it.
    pub(crate) fn answer_pings(&mut self, from: u64, said: &[(u64, RaftMessage<u64>)]) {
        for (to, message) in said {
            if let RaftMessage::Election(message) = message
                && let MessageKind::Ping { round, .. } = message.kind
                && *to == from
            {
                let (position, priority) = (self.raft.last(), 0);
                let kind = MessageKind::Pong {
                    round,
                    position,
                    priority,
                };
                let pong = self.message(message.term, kind);
                self.take(from, pong);
            }
        }
    }

    pub(crate) fn propose(&mut self, count: u64) -> u64 {
        let proposals = (0..count).map(|_| self.raft.propose(b"x").unwrap());
        proposals.last().unwrap()
    }
}

/// The answers to appends: up to where the log matches.
pub(crate) fn acked(said: &[(u64, RaftMessage<u64>)]) -> Vec<u64> {
    let acks = said.iter().filter_map(|(_, message)| match message {
        RaftMessage::AppendAck(ack) if ack.refused.is_none() => Some(ack.matched),
        _ => None,
    });
    acks.collect()
}

/// The appends to this node: the position before, and the last index.
pub(crate) fn appends(said: &[(u64, RaftMessage<u64>)], id: u64) -> Vec<(LogPosition, u64)> {
    let to = said.iter().filter(|(to, _)| *to == id);
    let appends = to.filter_map(|(_, message)| match message {
        RaftMessage::Append(append) => {
            let last = append
                .entries
                .as_ref()
                .map_or(append.previous.index, Batch::last);
            Some((append.previous, last))
        }
        _ => None,
    });
    appends.collect()
}
