//! A replicated log of one's own over `Election`, and its test in the simulator. `cargo run --release --example own_log`.
//!
//! The log is as simple as one that is right can be: with every heartbeat the leader sends each voter its whole log, and
//! what a quorum has saved in the leader's term is acknowledged. The test is at the end: what must hold, and a cluster.

use std::collections::BTreeMap;
use std::time::Instant;

use streamraft::sim::{
    Boot, Broken, Cluster, Event, Failure, Invariant, Machine, Output, StartError, World,
};
use streamraft::{Election, HardState, Inbound, LogPosition, Message, MessageKind, MsgRouter};

/// A value, and the term of the leader that took it.
type Entry = (u64, u64);

/// What nodes say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wire {
    Election(Message<u64>),
    /// The whole log of the leader of a term, and how much of it is acknowledged.
    Append(u64, Vec<Entry>, usize),
    /// So many entries of that leader's log are saved.
    Saved(u64, usize),
}

/// What goes onto the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    Vote(HardState<u64>),
    Log(Vec<Entry>),
}

/// A node: an election, and a log.
#[derive(Debug)]
pub(crate) struct OwnLog {
    election: Election<u64>,
    log: Vec<Entry>,
    acknowledged: usize,
    /// In a leader: how many of its entries each other node has saved.
    saved: BTreeMap<u64, usize>,
    led: u64,
    /// What has to leave before anything that the election says.
    out: Vec<Output<u64, Wire, Write>>,
}

impl OwnLog {
    pub(crate) fn new(boot: &Boot<'_, Self>) -> Result<Self, StartError> {
        let mut node = Self {
            election: Election::new(boot.config()?, boot.now)?,
            log: boot.saved.1.clone(),
            acknowledged: 0,
            saved: BTreeMap::new(),
            led: 0,
            out: Vec::new(),
        };
        node.show_position();
        Ok(node)
    }

    fn term(&self) -> u64 {
        self.election.state().term()
    }

    fn show_position(&mut self) {
        let last = self.log.last().map_or(0, |(term, _)| *term);
        let position = LogPosition::new(last, self.log.len() as u64);
        self.election.set_position(position);
    }

    /// Puts entries behind the first `kept`, and onto the disk.
    fn append(&mut self, kept: usize, entries: &[Entry]) {
        self.log.truncate(kept);
        self.log.extend_from_slice(entries);
        self.show_position();
        self.out.push(Output::Save(Write::Log(self.log.clone())));
    }

    fn on_append(&mut self, now: Instant, from: u64, log: &[Entry], acknowledged: usize) {
        self.election.mark_alive(now);
        // A message that was overtaken by a newer one of the same leader is a beginning of what is here.
        if !self.log.starts_with(log) {
            self.append(0, log);
        }
        self.acknowledged = self.acknowledged.max(acknowledged);
        let saved = Wire::Saved(self.term(), log.len());
        self.out.push(Output::Send(from, saved));
    }

    fn on_saved(&mut self, from: u64, count: usize) {
        let saved = self.saved.entry(from).or_default();
        *saved = count.max(*saved);
        self.acknowledge();
    }

    /// What a quorum has saved is acknowledged, if the last of it is of this term (paper 5.4.2).
    fn acknowledge(&mut self) {
        let membership = self.election.state().hard_state().membership();
        let others = self.saved.iter().filter(|(id, _)| membership.is_voter(id));
        let mut counts: Vec<usize> = others.map(|(_, count)| *count).collect();
        counts.push(self.log.len());
        counts.sort_unstable();
        let by_quorum = counts.len().checked_sub(membership.quorum());
        if let Some(count) = by_quorum.and_then(|at| counts.get(at).copied()) {
            let last = self.log.get(count.wrapping_sub(1));
            if last.is_some_and(|(term, _)| *term == self.term()) {
                self.acknowledged = self.acknowledged.max(count);
            }
        }
    }

    /// What is acknowledged, as far as this node knows.
    fn acknowledged(&self) -> &[Entry] {
        &self.log[..self.acknowledged.min(self.log.len())]
    }

    fn is_leader(&self) -> bool {
        self.election.state().leader() == Some(self.election.node_id())
    }
}

impl Machine for OwnLog {
    type Id = u64;
    type Message = Wire;
    type Input = u64;
    type Write = Write;
    type Saved = (Option<HardState<u64>>, Vec<Entry>);

    fn receive(&mut self, now: Instant, from: &u64, message: Wire) {
        match message {
            Wire::Election(message) => {
                let input = Inbound::FromNode(*from, message);
                let _ = self.election.handle(now, input);
            }
            Wire::Append(term, log, acknowledged) => {
                if term == self.term() && self.election.state().leader() == Some(from) {
                    self.on_append(now, *from, &log, acknowledged);
                }
            }
            Wire::Saved(term, count) => {
                if term == self.term() && self.is_leader() {
                    self.on_saved(*from, count);
                }
            }
        }
    }

    fn ask(&mut self, _: Instant, value: u64) -> bool {
        if self.is_leader() {
            self.append(self.log.len(), &[(self.term(), value)]);
        }
        self.is_leader()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.election.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.election.poll_timeout()
    }

    fn poll_output(&mut self, _: Instant) -> Option<Output<u64, Wire, Write>> {
        if !self.out.is_empty() {
            return Some(self.out.remove(0));
        }
        Some(match self.election.poll_output()? {
            MsgRouter::ToSelf(state) => {
                if self.is_leader() && self.led != state.term() {
                    self.led = state.term();
                    self.saved.clear();
                }
                Output::Save(Write::Vote(state.hard_state().clone()))
            }
            MsgRouter::ToNode(to, message) => {
                if let MessageKind::Ping { .. } = message.kind {
                    let append = Wire::Append(message.term, self.log.clone(), self.acknowledged);
                    self.out.push(Output::Send(to, append));
                }
                Output::Send(to, Wire::Election(message))
            }
            _ => return None,
        })
    }

    fn write(saved: &mut Self::Saved, write: Write) {
        match write {
            Write::Vote(hard_state) => saved.0 = Some(hard_state),
            Write::Log(log) => saved.1 = log,
        }
    }

    fn is_saved(saved: &Self::Saved, write: &Write) -> bool {
        matches!(write, Write::Vote(hard_state) if saved.0.as_ref() == Some(hard_state))
    }

    fn elections(&self) -> impl Iterator<Item = (u64, &Election<u64>)> {
        std::iter::once((0, &self.election))
    }

    fn hard_states(saved: &Self::Saved) -> impl Iterator<Item = (u64, &HardState<u64>)> {
        saved.0.iter().map(|hard_state| (0, hard_state))
    }

    fn messages(message: &Wire) -> impl Iterator<Item = (u64, &Message<u64>)> {
        let election = match message {
            Wire::Election(message) => Some(message),
            Wire::Append(..) | Wire::Saved(..) => None,
        };
        election.into_iter().map(|message| (0, message))
    }
}

/// What was acknowledged once stays, on every node, whatever fails.
#[derive(Debug, Default)]
pub(crate) struct NothingIsLost(Vec<Entry>);

impl Invariant<OwnLog> for NothingIsLost {
    fn name(&self) -> &'static str {
        "nothing is lost"
    }

    fn check(&mut self, event: &Event<'_, OwnLog>, world: &World<OwnLog>) -> Result<(), Broken> {
        for log in world.running().map(|(_, node)| node.acknowledged()) {
            if !log.starts_with(&self.0) && !self.0.starts_with(log) {
                return Err(format!("{log:?}, and {:?} was acknowledged", self.0).into());
            }
            if log.len() > self.0.len() {
                self.0 = log.to_vec();
            }
        }
        match event {
            Event::Ended if self.0.is_empty() => Err("nothing was ever acknowledged".into()),
            _ => Ok(()),
        }
    }
}

pub(crate) fn main() -> Result<(), Failure> {
    let cluster = Cluster::of(1..=5, OwnLog::new).invariant(NothingIsLost::default);
    let cluster = cluster.inputs(|dice, _| Some(dice.up_to(999)));
    let cluster = cluster.last_inputs(|_, _| Some(1_000));
    println!("{}", cluster.check(0..200)?);
    Ok(())
}
