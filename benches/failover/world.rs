//! A cluster on virtual time: elections driven by hand and a network with delay, loss and cut links. Nothing here
//! checks the rules; the tests' world does that. This one is lean, so that a simulated day takes seconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use streamraft::{Command, Config, Election, Inbound, Message, MessageKind, MsgRouter, NodeType};

/// What a cluster is set to and what its network is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) nodes: u64,
    pub(crate) election_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) random_timeout: Duration,
    pub(crate) leadership_timeout: Duration,
    /// One-way delay of a message, uniform between the two.
    pub(crate) delay: (Duration, Duration),
    /// Chance that a message is lost, in percent.
    pub(crate) loss: u32,
    pub(crate) bootstrap: bool,
    /// Random timeouts in place of the succession.
    pub(crate) lottery: bool,
}

/// A node became leader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elected {
    pub(crate) id: u64,
    pub(crate) term: u64,
}

/// A message on its way. The earliest is the greatest, since the heap gives the greatest first.
#[derive(Debug)]
struct Letter {
    at: Reverse<(Instant, u64)>,
    from: u64,
    to: u64,
    message: Message<u64>,
}

impl PartialEq for Letter {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Letter {}

impl PartialOrd for Letter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Letter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[derive(Debug)]
struct Host {
    election: Option<Election<u64>>,
    /// When its election wants to be called.
    due: Option<Instant>,
    /// Its place among the successors, as its leader last told it.
    rank: Option<u32>,
}

/// The nodes 1, 2, ..., their network and their clock.
#[derive(Debug)]
pub(crate) struct World {
    setting: Setting,
    seed: u64,
    pub(crate) now: Instant,
    hosts: Vec<Host>,
    post: BinaryHeap<Letter>,
    sent: u64,
    rng: Xoshiro256PlusPlus,
    /// The links that carry nothing, by their ends.
    cuts: Vec<(u64, u64)>,
    /// Every leadership, in the order in which they began.
    pub(crate) elected: Vec<Elected>,
}

impl World {
    /// The nodes of this setting, none of which runs.
    pub(crate) fn new(setting: Setting, seed: u64) -> Self {
        let host = || Host {
            election: None,
            due: None,
            rank: None,
        };
        Self {
            setting,
            seed,
            now: Instant::now(),
            hosts: (0..setting.nodes).map(|_| host()).collect(),
            post: BinaryHeap::new(),
            sent: 0,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            cuts: Vec::new(),
            elected: Vec::new(),
        }
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.setting.nodes
    }

    fn host(&mut self, id: u64) -> &mut Host {
        &mut self.hosts[usize::try_from(id).expect("a small number") - 1]
    }

    fn node(&self, id: u64) -> Option<&Election<u64>> {
        self.hosts[usize::try_from(id).expect("a small number") - 1]
            .election
            .as_ref()
    }

    pub(crate) fn start(&mut self, id: u64) {
        let setting = self.setting;
        let mut config = Config::with_id(id, self.ids())
            .expect("different ids")
            .election_timeout(setting.election_timeout)
            .heartbeat_interval(setting.heartbeat_interval)
            .random_timeout(setting.random_timeout)
            .leadership_timeout(setting.leadership_timeout)
            .seed(self.seed);
        if setting.bootstrap {
            config = config.bootstrap();
        }
        if setting.lottery {
            config = config.lottery();
        }
        let election = Election::new(config, self.now).expect("good settings");
        self.host(id).election = Some(election);
        self.drain(id);
    }

    /// Stops a node without a word. What it has sent is still on its way.
    pub(crate) fn kill(&mut self, id: u64) {
        *self.host(id) = Host {
            election: None,
            due: None,
            rank: None,
        };
    }

    pub(crate) fn cut(&mut self, a: u64, b: u64) {
        self.cuts.push((a.min(b), a.max(b)));
    }

    fn is_cut(&self, a: u64, b: u64) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&(a.min(b), a.max(b)))
    }

    pub(crate) fn command(&mut self, id: u64, command: Command<u64>) {
        let now = self.now;
        let election = self.host(id).election.as_mut().expect("a node that runs");
        election
            .handle(now, Inbound::FromSelf(command))
            .expect("a command that can be carried out");
        self.drain(id);
    }

    /// Who leads and holds its lease.
    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |id: &u64| {
            self.node(*id)
                .is_some_and(|node| node.state().is_leader_at(self.now))
        };
        self.ids().find(leads)
    }

    /// The leader that every running node follows, with a lease or without.
    pub(crate) fn settled(&self) -> Option<u64> {
        let leads = |id: &u64| {
            let node = self.node(*id);
            node.is_some_and(|node| node.state().node_type() == NodeType::Leader)
        };
        let mut running = self.hosts.iter().filter_map(|host| host.election.as_ref());
        let leader = self.ids().find(leads)?;
        running
            .all(|node| node.state().leader() == Some(&leader))
            .then_some(leader)
    }

    /// The running node of this rank, 0 for the first successor.
    pub(crate) fn successor(&self, rank: u32) -> Option<u64> {
        let mut ranks = self.ids().zip(&self.hosts);
        ranks
            .find(|(_, host)| host.election.is_some() && host.rank == Some(rank))
            .map(|(id, _)| id)
    }

    /// The newest term that a running node knows.
    pub(crate) fn term(&self) -> u64 {
        let running = self.hosts.iter().filter_map(|host| host.election.as_ref());
        running
            .map(|node| node.state().term())
            .max()
            .unwrap_or_default()
    }

    /// A duration from zero to this.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        self.between((Duration::ZERO, most))
    }

    fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        if least == most {
            return least;
        }
        least + (most - least).mul_f64(self.rng.random_range(0.0..=1.0))
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.next_event().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Runs until this holds, which is looked at after every event. Answers how long it took, or nothing after
    /// `limit`.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            if self.next_event().is_none_or(|at| at > start + limit) {
                self.now = start + limit;
                return None;
            }
            self.step();
        }
        Some(self.now - start)
    }

    fn next_event(&self) -> Option<Instant> {
        let letter = self.post.peek().map(|letter| letter.at.0.0);
        let timers = self.hosts.iter().filter_map(|host| host.due);
        timers.chain(letter).min().map(|at| at.max(self.now))
    }

    /// Does the next thing that is due.
    fn step(&mut self) {
        let Some(now) = self.next_event() else { return };
        self.now = now;
        if self.post.peek().is_some_and(|letter| letter.at.0.0 <= now) {
            let letter = self.post.pop().expect("just seen");
            return self.deliver(letter);
        }
        let is_due = |id: &u64| {
            let host = &self.hosts[usize::try_from(*id).expect("a small number") - 1];
            host.due.is_some_and(|at| at <= now)
        };
        if let Some(id) = self.ids().find(is_due) {
            if let Some(election) = &mut self.host(id).election {
                election.handle_timeout(now);
            }
            self.drain(id);
        }
    }

    fn deliver(&mut self, letter: Letter) {
        let Letter {
            from, to, message, ..
        } = letter;
        if self.is_cut(from, to) {
            return;
        }
        let now = self.now;
        let host = self.host(to);
        let Some(election) = &mut host.election else {
            return;
        };
        if let MessageKind::Ping { succession, .. } = &message.kind {
            host.rank = *succession;
        }
        election
            .handle(now, Inbound::FromNode(from, message))
            .expect("a node that takes input");
        self.drain(to);
    }

    fn drain(&mut self, id: u64) {
        while let Some(output) = self
            .host(id)
            .election
            .as_mut()
            .and_then(Election::poll_output)
        {
            match output {
                MsgRouter::ToSelf(state) if state.node_type() == NodeType::Leader => {
                    self.note_leader(id, state.term());
                }
                MsgRouter::ToNode(to, message) => self.send(id, to, message),
                _ => {}
            }
        }
        let host = self.host(id);
        host.due = host.election.as_ref().and_then(Election::poll_timeout);
    }

    fn note_leader(&mut self, id: u64, term: u64) {
        let known = |elected: &Elected| elected.id == id && elected.term == term;
        if !self.elected.iter().any(known) {
            self.elected.push(Elected { id, term });
        }
    }

    fn send(&mut self, from: u64, to: u64, message: Message<u64>) {
        let loss = self.setting.loss;
        if loss > 0 && self.rng.random_range(0..100) < loss {
            return;
        }
        self.sent += 1;
        let at = Reverse((self.now + self.between(self.setting.delay), self.sent));
        self.post.push(Letter {
            at,
            from,
            to,
            message,
        });
    }
}
