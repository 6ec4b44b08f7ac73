//! Nodes with a log, and everything that can be done to them, in any order, also by peers that lie: nothing panics, what a node
//! takes for committed stays and stays the same, and nothing is said that is not on the disk.

mod node;
mod script;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use streamraft::raft::{
    Append, AppendAck, Batch, Head, RaftMessage, Refused, Snapshot, SnapshotAck, SnapshotPart,
    SnapshotSend,
};
use streamraft::{Command, LogPosition, Message, MessageKind};

use node::Node;
use script::{Damage, Index, Kind, Order, Said, Script, Setup, Step, Term, Who};

/// How many messages on the way are kept.
const MOST_MAIL: usize = 64;

/// Checks everything that this module promises, on what these bytes stand for.
pub(crate) fn check(data: &[u8]) {
    let Ok(script) = Script::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let mut subject = Subject::new(script.setup);
    for step in &script.steps {
        subject.step(step);
    }
}

struct Subject {
    nodes: [Node; 2],
    now: Instant,
    mail: VecDeque<(u8, u8, RaftMessage<u8>)>,
}

impl Subject {
    fn new(setup: Setup) -> Self {
        let now = Instant::now();
        let nodes = [1, 2].map(|id| Node::new(id, setup, now));
        let mail = VecDeque::new();
        let mut subject = Self { nodes, now, mail };
        for who in [Who(false), Who(true)] {
            subject.settle(who);
        }
        subject
    }

    fn node(&mut self, who: Who) -> &mut Node {
        let [one, other] = &mut self.nodes;
        if who.0 { other } else { one }
    }

    fn step(&mut self, step: &Step) {
        let now = self.now;
        let who = match step {
            Step::Deliver(at) => return self.deliver(*at),
            Step::Exchange => return self.exchange(),
            Step::Sleep(time) => {
                self.now += Duration::from_millis(u64::from(*time) * 10);
                return;
            }
            Step::Grant(who) => {
                self.grant(*who);
                *who
            }
            Step::Ping(who, from, term) => {
                let node = self.node(*who);
                let (round, succession) = (1, None);
                let ping = MessageKind::Ping { round, succession };
                let ping = node.message(node.term(*term), ping);
                node.hear(now, from % 4, ping.into());
                *who
            }
            Step::Hear(who, from, said) => {
                let node = self.node(*who);
                let message = said.message(node);
                node.hear(now, from % 4, message);
                *who
            }
            Step::Propose(who, len) => {
                self.node(*who).propose(usize::from(*len));
                *who
            }
            Step::Read(who) => {
                self.node(*who).read(now);
                *who
            }
            Step::Compact(who, damage) => {
                self.node(*who).compact(*damage);
                *who
            }
            Step::Order(who, order) => {
                let _ = self.node(*who).raft.command(now, order.command());
                *who
            }
            Step::Due(who) => {
                if let Some(due) = self.node(*who).raft.poll_timeout() {
                    self.now = now.max(due);
                    let now = self.now;
                    self.node(*who).raft.handle_timeout(now);
                }
                *who
            }
            Step::Flushed(who) => {
                self.node(*who).flushed();
                *who
            }
            Step::Failed(who) => {
                self.node(*who).failed(now);
                *who
            }
            Step::Restart(who, kept) => {
                self.node(*who).restart(usize::from(*kept), now);
                *who
            }
            Step::Disk(who, is_slow) => {
                self.node(*who).is_slow = *is_slow;
                *who
            }
        };
        self.settle(who);
    }

    fn settle(&mut self, who: Who) {
        let now = self.now;
        let node = self.node(who);
        let (from, said) = (node.id, node.settle(now));
        for (to, message) in said {
            if to != 3 {
                self.mail.push_back((from, to, message));
            }
        }
        while self.mail.len() > MOST_MAIL {
            self.mail.pop_front();
        }
    }

    fn arrive(&mut self, (from, to, message): (u8, u8, RaftMessage<u8>)) {
        let (now, who) = (self.now, Who(to == 2));
        self.node(who).hear(now, from, message);
        self.settle(who);
    }

    fn deliver(&mut self, at: u8) {
        if !self.mail.is_empty() {
            let at = usize::from(at) % self.mail.len();
            if let Some(letter) = self.mail.get(at).cloned() {
                self.arrive(letter);
            }
        }
    }

    fn exchange(&mut self) {
        for _ in 0..MOST_MAIL {
            let Some(letter) = self.mail.pop_front() else {
                return;
            };
            self.arrive(letter);
        }
    }

    fn grant(&mut self, who: Who) {
        let now = self.now;
        // Pre-votes, then votes.
        for _ in 0..2 {
            let node = self.node(who);
            for (from, asked) in std::mem::take(&mut node.asked) {
                let (granted, leader) = (true, None);
                let kind = match asked.kind {
                    MessageKind::PreVoteRequest { round, .. } => MessageKind::PreVote {
                        round,
                        granted,
                        leader,
                    },
                    _ => MessageKind::Vote { granted, leader },
                };
                let answer = Message::new(asked.term, asked.stamp, kind);
                node.hear(now, from, answer.into());
            }
            node.flushed();
            node.flushed();
            self.settle(who);
        }
    }
}

impl Order {
    fn command(self) -> Command<u8> {
        match self {
            Self::Transfer(to) => Command::Transfer(to % 4),
            Self::Resign => Command::Resign,
            Self::SetNodes(group) => {
                Command::SetNodes((1..=3).filter(|id| group & (1 << id) != 0).collect())
            }
            Self::MarkAlive => Command::MarkAlive,
        }
    }
}

impl Said {
    fn message(&self, node: &Node) -> RaftMessage<u8> {
        let head = Head::new(node.term(self.term), self.round.into());
        let index = node.index(self.position.1);
        let term = node.raft.term_at(index).filter(|_| self.is_right);
        let term = term.unwrap_or_else(|| node.term(self.position.0));
        let position = LogPosition::new(term, index);
        let other = node.index(self.index);
        let proposals = |count: u8| (0..count % 16).map(|at| [at; 3]);
        match &self.kind {
            Kind::Append(term, count) => {
                let first = index.saturating_add(1);
                let batch = Batch::of_proposals(first, node.term(*term), proposals(*count));
                RaftMessage::Append(Append::new(head, position, other, batch))
            }
            Kind::Odd(term, first, count) => {
                let first = node.index(*first);
                let batch = Batch::of_proposals(first, node.term(*term), proposals(*count));
                RaftMessage::Append(Append::new(head, position, other, batch))
            }
            Kind::Ack(refused) => {
                let refused = refused.map(|at| Refused::new(node.index(at), position));
                RaftMessage::AppendAck(AppendAck::new(head, index, other, refused))
            }
            Kind::Part(len, from, count, is_right) => {
                let data: Vec<u8> = (0..*len).collect();
                let (from, len) = (usize::from(*from), data.len());
                let sum = crc32fast::hash(&data) ^ u32::from(!is_right);
                let snapshot = Snapshot::new(position, len as u64, sum);
                let end = len.min(from.saturating_add(usize::from(*count)));
                let part = data.get(from..end).unwrap_or_default();
                let part = SnapshotPart::new(snapshot, from as u64, Bytes::copy_from_slice(part));
                RaftMessage::Snapshot(SnapshotSend::new(head, part))
            }
            Kind::PartAck(len, received) => {
                let known = node.raft.snapshot().copied().filter(|_| self.is_right);
                let snapshot = known.unwrap_or_else(|| Snapshot::new(position, *len, 7));
                RaftMessage::SnapshotAck(SnapshotAck::new(head, snapshot, *received))
            }
        }
    }
}

impl Node {
    /// A term from its own.
    fn term(&self, term: Term) -> u64 {
        let own = self.raft.state().term();
        match term {
            Term::Present => own,
            Term::Before(less) => own.saturating_sub(less.into()),
            Term::After(more) => own.saturating_add(more.into()),
            Term::Any(term) => term,
        }
    }

    fn index(&self, index: Index) -> u64 {
        match index {
            Index::Last(more) => self.raft.last().index.saturating_add_signed(more.into()),
            Index::Commit(more) => self.raft.commit().saturating_add_signed(more.into()),
            Index::Any(index) => index,
        }
    }
}

/// What is done to a snapshot of a node's own.
impl Damage {
    fn part(self, part: SnapshotPart) -> SnapshotPart {
        let SnapshotPart {
            mut snapshot,
            mut offset,
            data,
            ..
        } = part;
        match self {
            Self::None => {}
            Self::Checksum => snapshot.checksum ^= 1,
            Self::Offset => offset += 1,
            Self::Position => snapshot.position.index += 1,
        }
        SnapshotPart::new(snapshot, offset, data)
    }
}
