//! Clients of a simulated cluster: each asks one thing at a time, follows who is said to lead, and has a limit to its patience.

use std::time::Duration;

use streamraft::NodeType;
use streamraft::sim::{Cluster, Dice, Failure, LogInput, LogNode, Machine, World};

use crate::book::{Book, Key};
use crate::history::{Number, Op, Ret};
use crate::kv::{self, Kv};
use crate::ms;

pub(crate) type Nodes = Cluster<LogNode<u64>>;

/// What is wrong with clients, for tests that this is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    Nothing,
    /// Any node answers a read at once.
    LocalReads,
    /// Whoever takes itself for the leader answers a read at once.
    LeaderReads,
    /// A write counts as done when a leader has taken it.
    EarlyAcks,
    /// State machines forget a key when they take a snapshot.
    ForgetfulSnapshots,
}

/// A node that has taken an operation.
#[derive(Clone, Copy, Debug)]
struct At {
    node: u64,
    boot: u64,
    /// Which of its reads it is.
    read: u64,
}

#[derive(Clone, Debug)]
struct Doing {
    key: Key,
    op: Op,
    number: Number,
    by_lease: bool,
    at: Option<At>,
    /// Until when its client waits.
    until: Duration,
}

impl Doing {
    fn what(&self) -> (Key, Op, Number) {
        (self.key, self.op, self.number)
    }

    /// What the node says of it; nothing: nothing yet. An error if the node has gone down.
    fn news(&self, at: At, world: &World<LogNode<u64>>) -> Result<Option<Ret>, ()> {
        let node = world.node(&at.node).ok_or(())?;
        let kv = node.state::<Kv>().ok_or(())?;
        if kv.boot != at.boot {
            return Err(());
        }
        Ok(match self.op.value() {
            Some(value) => kv.ended(value),
            None => {
                let mut answers = node.reads_answered().iter().rev();
                let answer = answers.find(|answer| answer.number == at.read);
                answer.map(|_| Ret::Got(kv.get(self.key)))
            }
        })
    }
}

#[derive(Debug)]
pub(crate) struct Client {
    trick: Trick,
    /// How often it reads, of a thousand times.
    reads: u16,
    doing: Option<Doing>,
    rests_until: Duration,
    believes: u64,
}

impl Client {
    pub(crate) fn new(trick: Trick, dice: &mut Dice) -> Self {
        Self {
            trick,
            reads: dice.pick(&[100, 400, 1_000]).copied().unwrap_or(400),
            doing: None,
            rests_until: Duration::ZERO,
            believes: 1,
        }
    }

    /// When it does something even if it hears nothing.
    pub(crate) fn next_at(&self) -> Duration {
        match &self.doing {
            Some(doing) if doing.at.is_some() => doing.until,
            _ => self.rests_until,
        }
    }

    pub(crate) fn has_news(&self, world: &World<LogNode<u64>>) -> bool {
        let doing = self.doing.as_ref();
        let at = doing.and_then(|doing| Some((doing, doing.at?)));
        at.is_some_and(|(doing, at)| doing.news(at, world) != Ok(None))
    }

    /// Does what it can do now.
    pub(crate) fn step(
        &mut self,
        nodes: &mut Nodes,
        book: &mut Book,
        dice: &mut Dice,
    ) -> Result<(), Failure> {
        let now = nodes.world().now();
        if let Some(doing) = self.doing.take() {
            let news = match doing.at {
                Some(at) => doing.news(at, nodes.world()),
                None => Ok(None),
            };
            match news {
                Ok(Some(ret)) => {
                    let is_leased = doing.by_lease && doing.op == Op::Get;
                    book.counts.leased += u64::from(is_leased);
                    book.told(doing.what(), ret);
                }
                Ok(None) if now < doing.until => self.doing = Some(doing),
                _ => {
                    book.given_up(doing.what(), doing.at.is_some());
                    self.believes = anyone(nodes, dice);
                }
            }
            if self.doing.is_none() {
                self.rests_until = now + ms(dice.up_to(30));
            }
        } else if now >= self.rests_until {
            if dice.chance(300) {
                self.believes = anyone(nodes, dice);
            }
            let key = book.pick(dice);
            let (op, number) = book.ask(key, self.reads, dice);
            self.doing = Some(Doing {
                key,
                op,
                number,
                by_lease: false,
                at: None,
                until: now + ms(dice.pick(&[40, 250, 1_000]).copied().unwrap_or(40)),
            });
        }
        if now >= self.rests_until {
            self.ask(nodes, book, dice)?;
        }
        Ok(())
    }

    /// Asks the node that it takes for the leader, if nobody has taken what it wants.
    fn ask(&mut self, nodes: &mut Nodes, book: &mut Book, dice: &mut Dice) -> Result<(), Failure> {
        let Some(mut doing) = self.doing.take_if(|doing| doing.at.is_none()) else {
            return Ok(());
        };
        let now = nodes.world().now();
        self.rests_until = now + ms(1 + dice.up_to(9));
        let id = self.believes;
        if !nodes.world().is_awake(&id) {
            self.believes = anyone(nodes, dice);
            self.doing = Some(doing);
            return Ok(());
        }
        if let Some(ret) = self.tricked(&doing, nodes.world()) {
            book.told(doing.what(), ret);
            return Ok(());
        }
        let input = kv::entry(doing.key, doing.op).map_or(LogInput::Read, LogInput::Entry);
        // As if the lease had run out: then the others have to be asked.
        let late = ms(if dice.chance(500) { 10_000 } else { 0 });
        let asked = nodes.call(&id, |node, now| {
            let now = if input == LogInput::Read {
                now + late
            } else {
                now
            };
            let has_lease = node.raft().election().state().is_leader_at(now);
            let is_taken = node.ask(now, input);
            let boot = node.state::<Kv>().map_or(0, |kv| kv.boot);
            let read = node.reads_asked();
            let at = is_taken.then_some(At {
                node: id,
                boot,
                read,
            });
            (
                at,
                has_lease,
                node.raft().election().state().leader().copied(),
            )
        })?;
        let (at, has_lease, leader) = asked.unwrap_or_default();
        (doing.at, doing.by_lease) = (at, has_lease);
        if at.is_none() {
            let leader = leader.filter(|leader| *leader != id);
            self.believes = leader.unwrap_or_else(|| anyone(nodes, dice));
        } else if self.trick == Trick::EarlyAcks && matches!(doing.op, Op::Put(_)) {
            book.told(doing.what(), Ret::Done);
            return Ok(());
        }
        self.doing = Some(doing);
        Ok(())
    }

    /// What a read is told without asking.
    fn tricked(&self, doing: &Doing, world: &World<LogNode<u64>>) -> Option<Ret> {
        let node = world.node(&self.believes)?;
        let is_leader = || node.raft().election().state().node_type() == NodeType::Leader;
        let is_told = match self.trick {
            Trick::LocalReads => true,
            Trick::LeaderReads => is_leader(),
            _ => false,
        };
        let kv = node.state::<Kv>()?;
        (is_told && doing.op == Op::Get).then(|| Ret::Got(kv.get(doing.key)))
    }
}

fn anyone(nodes: &Nodes, dice: &mut Dice) -> u64 {
    let ids: Vec<u64> = nodes.world().running().map(|(id, _)| *id).collect();
    dice.pick(&ids).copied().unwrap_or(1)
}

/// Lets time pass, and clients do what they want.
pub(crate) fn pass(
    nodes: &mut Nodes,
    time: Duration,
    clients: &mut [Client],
    book: &mut Book,
    dice: &mut Dice,
) -> Result<(), Failure> {
    let end = nodes.world().now() + time;
    while nodes.world().now() < end {
        let now = nodes.world().now();
        let next = clients.iter().map(Client::next_at).min();
        let next = next.map_or(end, |next| next.min(end));
        nodes.run_until(next.saturating_sub(now), |world| {
            clients.iter().any(|client| client.has_news(world))
        })?;
        for client in &mut *clients {
            client.step(nodes, book, dice)?;
        }
    }
    Ok(())
}
