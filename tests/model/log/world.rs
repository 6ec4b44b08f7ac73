//! Nodes with a log as a [`Model`]: messages in flight, disks that write behind, and what may happen next.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use stateright::{Model, Property};

use crate::log::bounds::{Bounds, MOST_NODES, TIMEOUT};
use crate::log::judge::{self, Committed, Fault, Sight, Sights};
use crate::log::letters::Letter;
use crate::log::node::{Body, Input, Node};
use crate::log::tables::{Outcome, Tables};

/// Terms are less than this.
pub(crate) const MOST_TERMS: usize = 8;

/// Nodes with a log, within bounds.
pub(crate) struct Logs {
    pub(crate) bounds: Bounds,
    pub(crate) tables: Arc<Tables>,
    first: World,
}

/// One state of all nodes.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) nodes: [Option<&'static Node>; MOST_NODES],
    /// Every message about the log that was ever sent, in the order of their numbers. Each may be delivered at any time, any
    /// number of times, or never (`../cluster.rs`).
    pub(crate) post: Arc<[&'static Letter]>,
    pub(crate) count: Counts,
    /// All that was ever known as committed, in order.
    pub(crate) committed: Arc<[Committed]>,
    /// Who has led each term.
    pub(crate) led: [u8; MOST_TERMS],
    pub(crate) fault: Option<Fault>,
}

/// How often what has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Counts {
    proposals: u8,
    beats: u8,
    ticks: u8,
    crashes: u8,
    snapshots: u8,
    reads: u8,
    failures: u8,
    orders: u8,
    /// Only where they have an order.
    campaigns: u8,
}

/// Nodes, by their ids: bit 1 is node 1.
pub(crate) type Group = u8;

/// What may happen.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Action {
    Deliver(&'static Letter),
    Flushed(u8),
    Propose(u8),
    Read(u8),
    Compact(u8),
    /// It is killed, and starts with so much of what was not flushed.
    Crash(u8, u8),
    /// No node does anything for a tick.
    Tick,
    /// An election timeout passes, and this node campaigns, heard by these.
    Elect(u8, Group),
    /// A tick passes, and this leader beats, heard by these.
    Beat(u8, Group),
    /// This leader is told what is next, heard by these.
    Order(u8, Group),
    /// This node's flush fails. What it says then these hear.
    Fail(u8, Group),
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nodes.hash(state);
        for pair in self.post.chunks(2) {
            let both = pair.iter().fold(0, |both, letter| {
                (both << 32) | u64::from(letter.number + 1)
            });
            state.write_u64(both);
        }
        (self.count, &self.committed, self.led, self.fault).hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.nodes == other.nodes
            && self.post == other.post
            && self.committed == other.committed
            && (self.count, self.led, self.fault) == (other.count, other.led, other.fault)
    }
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |group: Group| -> Vec<u8> { members(group).collect() };
        match self {
            Self::Deliver(letter) => {
                let (from, to, message) = (letter.from, letter.to, &letter.message);
                write!(f, "{from} to {to}: {message:?}")
            }
            Self::Flushed(id) => write!(f, "{id}'s flush is over"),
            Self::Propose(id) => write!(f, "{id} takes an entry"),
            Self::Read(id) => write!(f, "{id} is asked to read"),
            Self::Compact(id) => write!(f, "{id} keeps a snapshot"),
            Self::Crash(id, kept) => write!(f, "{id} starts again with {kept} unflushed things"),
            Self::Tick => write!(f, "a tick passes"),
            Self::Elect(id, by) => write!(f, "{id} campaigns, heard by {:?}", names(*by)),
            Self::Beat(id, by) => write!(f, "{id} beats, heard by {:?}", names(*by)),
            Self::Order(id, by) => write!(f, "{id} is told, heard by {:?}", names(*by)),
            Self::Fail(id, by) => write!(f, "{id}'s flush fails, heard by {:?}", names(*by)),
        }
    }
}

fn members(group: Group) -> impl Iterator<Item = u8> {
    (1..8).filter(move |id| group & (1 << id) != 0)
}

fn at(id: u8) -> usize {
    usize::from(id) - 1
}

impl World {
    pub(crate) fn node(&self, id: u8) -> Option<&'static Node> {
        self.nodes.get(at(id)).copied().flatten()
    }

    /// Who leads, and in which term.
    fn leaders(&self) -> Vec<(u8, u64)> {
        let leaders = self.nodes.iter().flatten().filter(|node| node.leads);
        leaders.map(|node| (node.id, node.term)).collect()
    }

    /// Puts in flight what is new of what this step has said about the log.
    fn put(&mut self, sent: &[&'static Letter]) -> Vec<&'static Letter> {
        let is_new = |letter: &&'static Letter| {
            let receiver = self.node(letter.to);
            !letter.is_of_election()
                && !self.post.contains(letter)
                && receiver.is_some_and(|node| !letter.is_spent(node))
        };
        let mut new: Vec<_> = sent.iter().copied().filter(is_new).collect();
        new.dedup();
        if !new.is_empty() {
            let mut post: Vec<_> = self.post.iter().chain(&new).copied().collect();
            post.sort_unstable_by_key(|letter| letter.number);
            self.post = post.into();
        }
        new
    }

    /// Takes out of flight what can do nothing to this node any more.
    fn clear(&mut self, id: u8) {
        let Some(node) = self.node(id) else { return };
        let is_spent = |letter: &Letter| letter.to == id && letter.is_spent(node);
        if self.post.iter().any(|letter| is_spent(letter)) {
            let kept = self.post.iter().filter(|letter| !is_spent(letter));
            self.post = kept.copied().collect();
        }
    }
}

impl Logs {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let tables = Arc::new(Tables::default());
        let mut nodes = [None; MOST_NODES];
        let now = Instant::now();
        for id in bounds.nodes() {
            nodes[at(id)] = Some(tables.node(Body::new(&bounds, id, now)));
        }
        let first = World {
            nodes,
            post: Arc::new([]),
            count: Counts::default(),
            committed: Arc::new([]),
            led: [0; MOST_TERMS],
            fault: None,
        };
        let mut logs = Self {
            bounds,
            tables,
            first,
        };
        if !logs.bounds.cold {
            logs.first = logs.led();
        }
        logs
    }

    /// The first state: node 1 leads in term 1, its first entry is committed and durable everywhere, all know it, and nothing
    /// is in flight.
    fn led(&self) -> World {
        let mut world = self.first.clone();
        let others = self.others(&world, 1);
        self.elect(&mut world, 1, others);
        self.deliver_all(&mut world);
        self.beat(&mut world, 1, others);
        self.deliver_all(&mut world);
        let knows = |id: &u8| world.node(*id).is_some_and(|node| node.commit == 1);
        assert!(self.bounds.voters.iter().all(knows), "{world:?}");
        assert!(world.fault.is_none(), "{world:?}");
        World {
            post: Arc::new([]),
            ..world
        }
    }

    fn deliver_all(&self, world: &mut World) {
        for _ in 0..8 {
            let post = Arc::clone(&world.post);
            for letter in post.iter() {
                self.pump(world, letter.to, Input::Letter(letter), 0);
            }
            for id in self.bounds.nodes() {
                self.pump(world, id, Input::Flushed, 0);
            }
        }
    }

    /// Takes one step of one node, with what it says about the log put in flight. What it says of the election is the answer.
    fn step(&self, world: &mut World, id: u8, input: Input<'_>) -> Vec<&'static Letter> {
        let Some(was) = world.node(id) else {
            return Vec::new();
        };
        let Some(outcome) = self.tables.step(&self.bounds, was, input) else {
            return Vec::new();
        };
        world.nodes[at(id)] = Some(outcome.next);
        world.fault = world.fault.or(outcome.fault);
        if outcome.next != was {
            world.clear(id);
            let sights = judge::look(self.bounds.keeps_voters(), world, was);
            self.tables.saw(sights);
        }
        world.put(&outcome.sent);
        let of_election = outcome.sent.iter().filter(|letter| letter.is_of_election());
        of_election.copied().collect()
    }

    /// Takes one step, and then all that follows of the election between this node and those that hear it, whose disks are quick
    /// with votes.
    fn pump(&self, world: &mut World, id: u8, input: Input<'_>, hearers: Group) {
        let hearers = hearers | 1 << id;
        let mut mail = VecDeque::from(self.step(world, id, input));
        mail.extend(self.save(world, id));
        while let Some(letter) = mail.pop_front() {
            if hearers & (1 << letter.to) != 0 && hearers & (1 << letter.from) != 0 {
                mail.extend(self.step(world, letter.to, Input::Letter(letter)));
                mail.extend(self.save(world, letter.to));
            }
        }
    }

    /// Lets a node's disk get on until what it has to save for the election is there.
    fn save(&self, world: &mut World, id: u8) -> Vec<&'static Letter> {
        let mut said = Vec::new();
        // The flush that is under way, and the next one.
        for _ in 0..2 {
            if world.node(id).is_some_and(|node| !node.is_saved()) {
                said.extend(self.step(world, id, Input::Flushed));
            }
        }
        said
    }

    fn pass(&self, world: &mut World, ticks: u8) {
        for _ in 0..ticks {
            for id in self.bounds.nodes() {
                self.step(world, id, Input::Tick);
            }
        }
    }

    fn elect(&self, world: &mut World, id: u8, hearers: Group) {
        let led = world.leaders();
        // A leader finds out first that its time is over, and who has been away which term it is.
        for _ in 0..3 {
            self.pass(world, TIMEOUT);
            self.pump(world, id, Input::Fire, hearers);
            if world.leaders().iter().any(|leader| !led.contains(leader)) {
                return;
            }
        }
    }

    fn beat(&self, world: &mut World, id: u8, hearers: Group) {
        self.pass(world, 1);
        self.pump(world, id, Input::Fire, hearers);
    }

    /// All groups of nodes without this one.
    fn groups(&self, world: &World, without: u8) -> impl Iterator<Item = Group> + use<> {
        let others = self.others(world, without);
        (0..=others).filter(move |group| group & !others == 0)
    }

    fn others(&self, world: &World, without: u8) -> Group {
        let all = world
            .nodes
            .iter()
            .flatten()
            .filter(|node| node.id != without);
        all.fold(0, |group, node| group | 1 << node.id)
    }

    fn outcome(&self, world: &World, id: u8, input: Input<'_>) -> Option<&'static Outcome> {
        self.tables.step(&self.bounds, world.node(id)?, input)
    }

    /// Puts in flight what nodes say to letters without changing by it: such answers are given as soon as they can be
    /// (`../cluster.rs`).
    fn answer(&self, world: &mut World, before: &World) {
        let has_changed =
            |letter: &&&'static Letter| world.node(letter.to) != before.node(letter.to);
        let is_new = |letter: &&&'static Letter| !before.post.contains(letter);
        let heard = world
            .post
            .iter()
            .filter(|letter| has_changed(letter) || is_new(letter));
        let mut heard: Vec<_> = heard.copied().collect();
        while !heard.is_empty() {
            let mut sent = Vec::new();
            for letter in &heard {
                let outcome = self.outcome(world, letter.to, Input::Letter(letter));
                let outcome = outcome.filter(|said| Some(said.next) == world.node(letter.to));
                if let Some(outcome) = outcome {
                    world.fault = world.fault.or(outcome.fault);
                    sent.extend(world.put(&outcome.sent));
                }
            }
            heard = sent;
        }
    }

    fn act(&self, world: &mut World, action: Action) -> bool {
        let led = world.leaders();
        let is_new = |leader: &(u8, u64)| !led.contains(leader);
        let mut sights = Sights::default();
        match action {
            Action::Deliver(letter) => self.pump(world, letter.to, Input::Letter(letter), 0),
            Action::Flushed(id) => self.pump(world, id, Input::Flushed, 0),
            Action::Propose(id) => {
                let name = b'a' + world.count.proposals;
                world.count.proposals += 1;
                self.pump(world, id, Input::Propose(name), 0);
            }
            Action::Read(id) => {
                world.count.reads += 1;
                let least = u8::try_from(world.committed.len()).expect("few entries");
                self.pump(world, id, Input::Read(least), 0);
            }
            Action::Compact(id) => {
                world.count.snapshots += 1;
                self.pump(world, id, Input::Compact, 0);
            }
            Action::Crash(id, kept) => {
                world.count.crashes += 1;
                sights.add_if(Sight::Torn, kept > 0);
                self.pump(world, id, Input::Crash(kept), 0);
            }
            Action::Tick => {
                world.count.ticks += 1;
                self.pass(world, 1);
            }
            Action::Elect(id, hearers) => {
                self.elect(world, id, hearers);
                world.count.campaigns += u8::from(!self.bounds.campaigns.is_empty());
                // Elections that come to nothing are left out.
                return world.leaders().iter().any(is_new);
            }
            Action::Beat(id, hearers) => {
                world.count.beats += 1;
                self.beat(world, id, hearers);
            }
            Action::Order(id, hearers) => {
                let number = world.count.orders;
                let order = &self.bounds.orders[usize::from(number)];
                world.count.orders += 1;
                self.pump(world, id, Input::Order(number.into(), order), hearers);
                let has_moved = world.leaders().iter().any(is_new);
                sights.add_if(Sight::Transferred, has_moved);
            }
            Action::Fail(id, hearers) => {
                world.count.failures += 1;
                self.pump(world, id, Input::Failed, hearers);
                sights.add_if(Sight::GaveUp, world.leaders().len() < led.len());
            }
        }
        self.tables.saw(sights);
        true
    }

    fn may_campaign(&self, count: &Counts, id: u8, by: Group) -> bool {
        let all = &self.bounds.campaigns;
        let is_next = |(other, hearers): &(u8, Vec<u8>)| {
            let hearers = hearers.iter().fold(0, |group, id| group | 1 << id);
            (*other, hearers) == (id, by)
        };
        all.is_empty() || all.get(usize::from(count.campaigns)).is_some_and(is_next)
    }

    fn add_of_node(&self, world: &World, node: &Node, actions: &mut Vec<Action>) {
        let (count, bounds, id) = (&world.count, &self.bounds, node.id);
        if node.is_flushing() {
            actions.push(Action::Flushed(id));
            if count.failures < bounds.failures {
                actions.extend([0, self.others(world, id)].map(|by| Action::Fail(id, by)));
            }
        }
        if count.crashes < bounds.crashes {
            actions.extend((0..=node.tears).map(|kept| Action::Crash(id, kept)));
        }
        if count.snapshots < bounds.snapshots && node.commit > node.log.snapshot.position.index {
            actions.push(Action::Compact(id));
        }
        let by = || self.groups(world, id).filter(|group| *group != 0);
        if world
            .nodes
            .iter()
            .flatten()
            .all(|node| node.term < bounds.max_term)
        {
            actions.extend(
                by().filter(|by| self.may_campaign(count, id, *by))
                    .map(|by| Action::Elect(id, by)),
            );
        }
        if !node.leads {
            return;
        }
        if count.proposals < bounds.proposals {
            actions.push(Action::Propose(id));
        }
        if count.reads < bounds.reads {
            actions.push(Action::Read(id));
        }
        if count.beats < bounds.beats {
            actions.extend(by().map(|by| Action::Beat(id, by)));
        }
        if usize::from(count.orders) < bounds.orders.len() {
            actions.extend(by().map(|by| Action::Order(id, by)));
        }
    }
}

impl Model for Logs {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.first.clone()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(world.post.iter().map(|letter| Action::Deliver(letter)));
        for node in world.nodes.iter().flatten() {
            self.add_of_node(world, node, actions);
        }
        if world.count.ticks < self.bounds.ticks {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        if let Action::Deliver(letter) = action {
            let outcome = self.outcome(world, letter.to, Input::Letter(letter))?;
            if Some(outcome.next) == world.node(letter.to) && outcome.fault.is_none() {
                // It was answered as soon as it was sent.
                return None;
            }
        }
        if !self.act(&mut next, action) {
            return None;
        }
        self.answer(&mut next, world);
        (next != *world).then_some(next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        let mut nodes = world.nodes.iter().flatten();
        nodes.all(|node| node.term <= self.bounds.max_term)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        judge::properties()
    }
}
