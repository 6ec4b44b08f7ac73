//! A cluster in one thread and on virtual time: elections driven by hand, a network with faults, clocks that run at
//! different rates, and the rules that must hold at every step.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use streamraft::{
    Command, Config, Election, Error, HardState, Inbound, LogPosition, Message, MessageKind,
    MsgRouter, NodeState, NodeType, Stamp,
};

/// True time in nanoseconds since the world began.
pub(crate) type Nanos = u64;

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).expect("a short time")
}

/// One node: its election while it runs, its disk always.
#[derive(Debug)]
struct Host {
    config: Config<u64>,
    election: Option<Election<u64>>,
    disk: Option<HardState<u64>>,
    /// How many millionths faster its clock runs.
    drift_ppm: i64,
    /// Until when it does nothing: messages wait for it, and its lease is still read.
    paused_until: Nanos,
    /// The state that came out last.
    shown: Option<NodeState<u64>>,
    /// The term and the membership's stamp that it has saved, or that its settings give.
    written: (u64, Stamp),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Letter {
    /// Negated, so that the heap gives the earliest first.
    at: std::cmp::Reverse<(Nanos, u64)>,
    from: u64,
    to: u64,
    index: usize,
}

/// The cluster, its network and its clock.
#[derive(Debug)]
pub(crate) struct World {
    origin: Instant,
    pub(crate) now: Nanos,
    hosts: BTreeMap<u64, Host>,
    post: BinaryHeap<Letter>,
    letters: Vec<Option<Message<u64>>>,
    free: Vec<usize>,
    sent: u64,
    pub(crate) rng: Xoshiro256PlusPlus,
    /// One-way delay, uniform.
    pub(crate) delay: (Duration, Duration),
    /// Chance of loss and of duplication, in percent.
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    /// Directed links that carry nothing.
    pub(crate) cuts: BTreeSet<(u64, u64)>,
    /// Whoever was seen to lead each term.
    leaders: BTreeMap<u64, u64>,
    /// Every vote ever given: (voter, term) -> candidate.
    votes: BTreeMap<(u64, u64), u64>,
    /// Messages sent, by sender and kind.
    pub(crate) traffic: BTreeMap<(u64, &'static str), u64>,
    /// Every change of leadership seen: (true time, leader, term).
    pub(crate) history: Vec<(Nanos, u64, u64)>,
    /// Whether nodes keep what they save over a restart.
    pub(crate) durable: bool,
}

impl World {
    /// These nodes, started now, with the settings that `tune` makes of the default ones.
    pub(crate) fn new(seed: u64, ids: &[u64], tune: impl Fn(Config<u64>) -> Config<u64>) -> Self {
        let mut world = Self {
            origin: Instant::now(),
            now: 0,
            hosts: BTreeMap::new(),
            post: BinaryHeap::new(),
            letters: Vec::new(),
            free: Vec::new(),
            sent: 0,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            delay: (Duration::ZERO, Duration::ZERO),
            loss: 0,
            duplication: 0,
            cuts: BTreeSet::new(),
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            traffic: BTreeMap::new(),
            history: Vec::new(),
            durable: true,
        };
        for id in ids {
            let config = Config::with_id(*id, ids.iter().copied()).expect("good settings");
            world.add(*id, tune(config.seed(seed)));
        }
        world
    }

    /// Adds a node and starts it.
    pub(crate) fn add(&mut self, id: u64, config: Config<u64>) {
        let host = Host {
            config,
            election: None,
            disk: None,
            drift_ppm: 0,
            paused_until: 0,
            shown: None,
            written: (0, Stamp::default()),
        };
        self.hosts.insert(id, host);
        self.start(id);
    }

    /// Starts a node, from its disk if it has one.
    pub(crate) fn start(&mut self, id: u64) {
        let now = self.local(id, self.now);
        let host = self.hosts.get_mut(&id).expect("a node of this world");
        let mut config = host.config.clone().seed(self.rng.random());
        if let Some(saved) = host.disk.clone().filter(|_| self.durable) {
            config = config.restore(saved);
        }
        let election = Election::new(config, now).expect("good settings");
        let hard_state = election.state().hard_state();
        host.written = (hard_state.term(), hard_state.membership().stamp());
        host.election = Some(election);
        host.shown = None;
        self.drain(id);
    }

    /// Kills a node. What it had not sent is lost, what it had saved is not.
    pub(crate) fn kill(&mut self, id: u64) {
        self.hosts
            .get_mut(&id)
            .expect("a node of this world")
            .election = None;
    }

    pub(crate) fn pause(&mut self, id: u64, time: Duration) {
        let until = self.now + nanos(time);
        self.hosts
            .get_mut(&id)
            .expect("a node of this world")
            .paused_until = until;
    }

    pub(crate) fn set_drift(&mut self, id: u64, ppm: i64) {
        self.hosts
            .get_mut(&id)
            .expect("a node of this world")
            .drift_ppm = ppm;
        self.start(id);
    }

    pub(crate) fn is_up(&self, id: u64) -> bool {
        self.hosts[&id].election.is_some()
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.hosts.keys().copied().collect()
    }

    pub(crate) fn live(&self) -> Vec<u64> {
        self.ids()
            .into_iter()
            .filter(|id| self.is_up(*id))
            .collect()
    }

    pub(crate) fn node(&self, id: u64) -> &Election<u64> {
        self.hosts[&id].election.as_ref().expect("a node that runs")
    }

    pub(crate) fn state(&self, id: u64) -> &NodeState<u64> {
        self.node(id).state()
    }

    /// Cuts the nodes into groups that hear only themselves.
    pub(crate) fn partition(&mut self, groups: &[&[u64]]) {
        self.cuts.clear();
        for group in groups {
            for other in groups.iter().filter(|other| *other != group) {
                for from in *group {
                    self.cuts.extend(other.iter().map(|to| (*from, *to)));
                }
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
    }

    pub(crate) fn cut_both(&mut self, a: u64, b: u64) {
        self.cuts.extend([(a, b), (b, a)]);
    }

    pub(crate) fn command(&mut self, id: u64, command: Command<u64>) -> Result<(), Error> {
        let result = self.call(id, |election, now| {
            election.handle(now, Inbound::FromSelf(command))
        });
        self.drain(id);
        result
    }

    /// Hands a node a message as if it came from the network.
    pub(crate) fn inject(&mut self, from: u64, to: u64, message: Message<u64>) {
        let input = Inbound::FromNode(from, message);
        self.call(to, |election, now| election.handle(now, input))
            .expect("messages are no mistakes");
        self.drain(to);
    }

    /// Who leads by its own account and its lease.
    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |id: &u64| {
            self.node(*id)
                .state()
                .is_leader_at(self.local(*id, self.now))
        };
        self.live().into_iter().find(leads)
    }

    /// One leader, with a lease, whom every running node follows.
    pub(crate) fn settled(&self) -> Option<u64> {
        let leader = self.leader()?;
        let term = self.state(leader).term();
        let agrees = |id: &u64| {
            let state = self.state(*id);
            state.leader() == Some(&leader) && state.term() == term
        };
        self.live().iter().all(agrees).then_some(leader)
    }

    /// Whether these nodes, as far as they run, follow the one leader.
    pub(crate) fn settled_among(&self, nodes: &[u64]) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        let term = self.state(leader).term();
        let agrees = |id: &&u64| {
            let state = self.state(**id);
            state.leader() == Some(&leader) && state.term() == term
        };
        nodes
            .iter()
            .filter(|id| self.is_up(**id))
            .all(|id| agrees(&id))
    }

    /// Starts a node anew with this on its disk.
    pub(crate) fn restart_from(&mut self, id: u64, disk: HardState<u64>) {
        self.hosts.get_mut(&id).expect("a node of this world").disk = Some(disk);
        self.start(id);
    }

    /// Wipes a node's disk.
    pub(crate) fn forget(&mut self, id: u64) {
        self.hosts.get_mut(&id).expect("a node of this world").disk = None;
    }

    /// Sets how far a node's log reaches, until it restarts.
    pub(crate) fn set_position(&mut self, id: u64, position: LogPosition) {
        self.call(id, |election, _| election.set_position(position));
    }

    /// How many nodes have voted for this candidate in this term.
    pub(crate) fn votes_for(&self, candidate: u64, term: u64) -> usize {
        let votes = self.votes.iter();
        votes
            .filter(|((_, voted_in), given)| *voted_in == term && **given == candidate)
            .count()
    }

    pub(crate) fn force_nodes(&mut self, id: u64, nodes: &[u64]) -> Result<(), Error> {
        let result = self.call(id, |election, now| {
            election.force_nodes(now, nodes.to_vec())
        });
        self.drain(id);
        result
    }

    pub(crate) fn allow_membership_change(&mut self, id: u64, allowed: bool) {
        self.call(id, |election, _| election.allow_membership_change(allowed));
    }

    pub(crate) fn settle_among(&mut self, nodes: &[u64], limit: Duration) -> u64 {
        let took = self.run_until(limit, |world| world.settled_among(nodes));
        assert!(took.is_some(), "no leader within {limit:?}: {self}");
        self.leader().expect("just seen")
    }

    /// Runs for this long.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + nanos(time);
        while self.next_event().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
        self.check_leases();
    }

    /// Runs until this holds, which is looked at after every event. Answers how long it took, or nothing after
    /// `limit`.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        let end = start + nanos(limit);
        while !done(self) {
            if self.next_event().is_none_or(|at| at > end) {
                self.now = end;
                return None;
            }
            self.step();
        }
        Some(Duration::from_nanos(self.now - start))
    }

    pub(crate) fn settle(&mut self, limit: Duration) -> u64 {
        let took = self.run_until(limit, |world| world.settled().is_some());
        assert!(took.is_some(), "no leader within {limit:?}: {self}");
        self.settled().expect("just seen")
    }

    fn next_event(&self) -> Option<Nanos> {
        let letter = self.post.peek().map(|letter| letter.at.0.0);
        let timers = self.hosts.iter().filter_map(|(id, host)| {
            let at = host.election.as_ref()?.poll_timeout()?;
            Some(self.true_time(*id, at).max(host.paused_until))
        });
        timers.chain(letter).min().map(|at| at.max(self.now))
    }

    /// Does the next thing that is due.
    pub(crate) fn step(&mut self) {
        let Some(at) = self.next_event() else { return };
        self.now = at;
        self.check_leases();
        if self.post.peek().is_some_and(|letter| letter.at.0.0 <= at) {
            let letter = self.post.pop().expect("just seen");
            return self.deliver(letter);
        }
        let due = |id: &u64| {
            let host = &self.hosts[id];
            let timer = host.election.as_ref().and_then(Election::poll_timeout);
            host.paused_until <= at && timer.is_some_and(|timer| self.true_time(*id, timer) <= at)
        };
        if let Some(id) = self.ids().into_iter().find(due) {
            self.call(id, Election::handle_timeout);
            self.drain(id);
        }
    }

    fn deliver(&mut self, letter: Letter) {
        let host = &self.hosts[&letter.to];
        if host.paused_until > self.now {
            // It waits in the socket.
            let at = std::cmp::Reverse((host.paused_until, letter.at.0.1));
            return self.post.push(Letter { at, ..letter });
        }
        let message = self.letters[letter.index].take().expect("delivered once");
        self.free.push(letter.index);
        if self.is_up(letter.to) && !self.cuts.contains(&(letter.from, letter.to)) {
            let input = Inbound::FromNode(letter.from, message);
            // A stopped node takes nothing any more.
            let _ = self.call(letter.to, |election, now| election.handle(now, input));
            self.drain(letter.to);
        }
    }

    fn call<T>(&mut self, id: u64, act: impl FnOnce(&mut Election<u64>, Instant) -> T) -> T {
        let now = self.local(id, self.now);
        let host = self.hosts.get_mut(&id).expect("a node of this world");
        act(host.election.as_mut().expect("a node that runs"), now)
    }

    fn drain(&mut self, id: u64) {
        while let Some(output) = self.call(id, |election, _| election.poll_output()) {
            match output {
                MsgRouter::ToSelf(state) => self.save(id, state),
                MsgRouter::ToNode(to, message) => self.send(id, to, &message),
                _ => unreachable!("no other output"),
            }
        }
    }

    fn save(&mut self, id: u64, state: NodeState<u64>) {
        let term = state.term();
        if let Some(candidate) = state.hard_state().voted_for() {
            let before = self.votes.insert((id, term), *candidate);
            let same = before.is_none_or(|before| before == *candidate);
            assert!(
                same || !self.durable,
                "{id} votes for {before:?} and {candidate} in term {term}"
            );
        }
        let host = self.hosts.get_mut(&id).expect("a node of this world");
        if let Some(before) = host.disk.as_ref().filter(|_| self.durable) {
            assert!(
                before.term() <= term,
                "{id} falls back from term {} to {term}",
                before.term()
            );
        }
        host.written = (term, state.hard_state().membership().stamp());
        host.disk = Some(state.hard_state().clone());
        if state.node_type() == NodeType::Leader {
            let other = self.leaders.insert(term, id);
            assert!(
                other.is_none_or(|other| other == id),
                "{other:?} and {id} both lead term {term}"
            );
            if other.is_none() {
                self.history.push((self.now, id, term));
            }
        }
        host.shown = Some(state);
    }

    fn send(&mut self, from: u64, to: u64, message: &Message<u64>) {
        self.check_written_ahead(from, message);
        *self.traffic.entry((from, kind(message))).or_default() += 1;
        if self.cuts.contains(&(from, to)) || !self.hosts.contains_key(&to) {
            return;
        }
        let copies = if self.chance(self.loss) {
            0
        } else {
            1 + usize::from(self.chance(self.duplication))
        };
        for _ in 0..copies {
            let delay = self
                .rng
                .random_range(nanos(self.delay.0)..=nanos(self.delay.1));
            self.sent += 1;
            let index = self.free.pop().unwrap_or_else(|| {
                self.letters.push(None);
                self.letters.len() - 1
            });
            self.letters[index] = Some(message.clone());
            let at = std::cmp::Reverse((self.now + delay, self.sent));
            self.post.push(Letter {
                at,
                from,
                to,
                index,
            });
        }
    }

    /// Nothing leaves a node that says more than what it has saved.
    fn check_written_ahead(&self, id: u64, message: &Message<u64>) {
        let written = self.hosts[&id].written;
        let spoken = (message.term, message.stamp);
        assert_eq!(spoken, written, "{id} speaks of what it has not saved");
    }

    fn check_leases(&self) {
        let leads = |id: &u64| self.state(*id).is_leader_at(self.local(*id, self.now));
        let holders: Vec<u64> = self.live().into_iter().filter(leads).collect();
        assert!(
            holders.len() <= 1,
            "leases overlap at {} ns: {holders:?}\n{self}",
            self.now
        );
    }

    fn chance(&mut self, percent: u32) -> bool {
        percent > 0 && self.rng.random_range(0..100) < percent
    }

    fn local(&self, id: u64, at: Nanos) -> Instant {
        let rate = 1_000_000 + self.hosts[&id].drift_ppm;
        let local = i128::from(at) * i128::from(rate) / 1_000_000;
        self.origin + Duration::from_nanos(u64::try_from(local).expect("time goes on"))
    }

    /// The first instant of true time at which the node's clock shows this one.
    fn true_time(&self, id: u64, at: Instant) -> Nanos {
        let rate = 1_000_000 + self.hosts[&id].drift_ppm;
        let local = i128::from(nanos(at.saturating_duration_since(self.origin)));
        u64::try_from((local * 1_000_000 + i128::from(rate) - 1) / i128::from(rate))
            .expect("time goes on")
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "at {:.3} ms, cuts {:?}",
            self.now as f64 / 1e6,
            self.cuts
        )?;
        for id in self.live() {
            let state = self.state(id);
            writeln!(
                f,
                "  {id}: {} term {} leader {:?} lease {:?} followers {:?} voters {:?} {:?}",
                state.node_type(),
                state.term(),
                state.leader(),
                state
                    .lease()
                    .map(|end| end.saturating_duration_since(self.local(id, self.now))),
                state.followers(),
                state.nodes(),
                self.node(id).stats(),
            )?;
        }
        Ok(())
    }
}

fn kind(message: &Message<u64>) -> &'static str {
    match message.kind {
        MessageKind::PreVoteRequest { .. } => "pre-vote request",
        MessageKind::PreVote { .. } => "pre-vote",
        MessageKind::VoteRequest { .. } => "vote request",
        MessageKind::Vote { .. } => "vote",
        MessageKind::Ping { .. } => "ping",
        MessageKind::Pong { .. } => "pong",
        MessageKind::TimeoutNow => "timeout now",
        _ => "other",
    }
}
