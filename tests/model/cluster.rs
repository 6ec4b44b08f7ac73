//! The cluster as a [`Model`]: nodes, messages in flight, clocks, and what may happen next.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use stateright::{Model, Property};
use streamraft::Command;

use crate::bounds::{Bounds, MOST_NODES};
use crate::clocks::Clocks;
use crate::judge::{self, Sights};
use crate::letters::Letter;
use crate::node::{Body, Fault, Input, Node};
use crate::tables::{Outcome, Tables};

/// A cluster within bounds.
pub(crate) struct Cluster {
    pub(crate) bounds: Bounds,
    pub(crate) tables: Arc<Tables>,
    first: World,
}

/// One state of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) nodes: [Option<&'static Node>; MOST_NODES],
    /// Every message that was ever sent, in the order of their numbers. Each may be delivered at any time, any number
    /// of times, or never: that is loss, duplication, delay and reordering without bound.
    pub(crate) post: Arc<[&'static Letter]>,
    clocks: Clocks,
    ticks: u8,
    pub(crate) restarts: u8,
    orders: u8,
    /// The newest term in which a lease was held.
    pub(crate) leased: u64,
    pub(crate) fault: Option<Fault>,
    /// What the step to here has brought. No part of the state.
    pub(crate) sights: Sights,
}

/// What may happen.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Action {
    Deliver(&'static Letter),
    Tick(u8),
    Fire(u8),
    Noise(u8),
    Restart(u8),
    /// This node is given this one of the orders that are next.
    Order(u8, u32),
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
        self.clocks.hash(state);
        (
            self.ticks,
            self.restarts,
            self.orders,
            self.leased,
            self.fault,
        )
            .hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let counts = |world: &Self| {
            (
                world.ticks,
                world.restarts,
                world.orders,
                world.leased,
                world.fault,
            )
        };
        self.nodes == other.nodes
            && self.post == other.post
            && self.clocks == other.clocks
            && counts(self) == counts(other)
    }
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deliver(letter) => {
                let Letter {
                    from, to, message, ..
                } = letter;
                write!(
                    f,
                    "{from} to {to}, term {}: {:?}",
                    message.term, message.kind
                )
            }
            Self::Tick(id) => write!(f, "{id}'s clock ticks"),
            Self::Fire(id) => write!(f, "{id}'s timer fires"),
            Self::Noise(id) => write!(f, "{id} hears a stranger"),
            Self::Restart(id) => write!(f, "{id} restarts"),
            Self::Order(id, number) => write!(f, "{id} is given order {number}"),
        }
    }
}

impl Cluster {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let tables = Arc::new(Tables::default());
        let mut nodes = [None; MOST_NODES];
        let now = Instant::now();
        for id in bounds.nodes() {
            let body = Body::new(&bounds, id, now);
            nodes[usize::from(id) - 1] = Some(tables.node(&bounds, body));
        }
        let first = World {
            nodes,
            post: Arc::new([]),
            clocks: Clocks::default(),
            ticks: 0,
            restarts: 0,
            orders: 0,
            leased: 0,
            fault: None,
            sights: Sights::default(),
        };
        let mut cluster = Self {
            bounds,
            tables,
            first,
        };
        if cluster.bounds.led {
            cluster.first = cluster.led();
        }
        cluster
    }

    /// The first state, once node 1 was elected, all have heard it and answered, and nothing is in flight.
    fn led(&self) -> World {
        let mut world = self.first.clone();
        for _ in 0..self.bounds.timeout {
            for id in self.bounds.nodes() {
                world = self.after(&world, id, Input::Tick).unwrap_or(world);
            }
        }
        world = self.after(&world, 1, Input::Fire).expect("it campaigns");
        let mut delivered = 0;
        while let Some(letter) = self.unread(&world, delivered) {
            delivered = letter.number + 1;
            world = self
                .after(&world, letter.to, Input::Letter(letter))
                .unwrap_or(world);
        }
        let leader = world.node(1).expect("it is there");
        assert!(leader.holds_lease(), "it leads with a lease: {world:?}");
        World {
            leased: leader.term(),
            nodes: world.nodes,
            ..self.first.clone()
        }
    }

    /// The oldest message from this number on.
    fn unread(&self, world: &World, from: u32) -> Option<&'static Letter> {
        world
            .post
            .iter()
            .copied()
            .find(|letter| letter.number >= from)
    }

    fn outcome(&self, world: &World, id: u8, input: Input<'_>) -> Option<&'static Outcome> {
        self.tables.step(&self.bounds, world.node(id)?, input)
    }

    /// The world after this input; none if it is the same.
    fn after(&self, world: &World, id: u8, input: Input<'_>) -> Option<World> {
        let outcome = self.outcome(world, id, input)?;
        let before = world.node(id)?;
        let is_answer = matches!(input, Input::Letter(_)) && outcome.next == before;
        if is_answer && outcome.fault.is_none() {
            // It was given as soon as the letter was sent.
            return None;
        }
        let mut next = world.clone();
        next.nodes[usize::from(id) - 1] = Some(outcome.next);
        next.fault = outcome.fault;
        next.sights = Sights::default();
        judge::look(&self.bounds, world, &mut next, before);
        let mut heard: Vec<_> = if outcome.next == before {
            Vec::new()
        } else {
            next.clear(id);
            next.post
                .iter()
                .copied()
                .filter(|letter| letter.to == id)
                .collect()
        };
        let mut sent = next.put(outcome, id);
        while !(heard.is_empty() && sent.is_empty()) {
            heard.append(&mut sent);
            sent = self.answers(&mut next, &heard);
            heard.clear();
        }
        let same = outcome.next == before && next.post == world.post && next.fault.is_none();
        (!same).then_some(next)
    }

    /// Puts in flight what nodes say to these letters, new to them, without changing by it.
    ///
    /// Such answers are given at once. Nothing is lost by it: a node that could do something without the answer in
    /// flight can do it with the answer too, and the answer need not be delivered.
    fn answers(&self, world: &mut World, letters: &[&'static Letter]) -> Vec<&'static Letter> {
        let mut answers = Vec::new();
        for letter in letters {
            let outcome = self.outcome(world, letter.to, Input::Letter(letter));
            if let Some(outcome) =
                outcome.filter(|outcome| Some(outcome.next) == world.node(letter.to))
            {
                world.fault = world.fault.or(outcome.fault);
                answers.append(&mut world.put(outcome, letter.to));
            }
        }
        answers
    }

    fn ticked(&self, world: &World, id: u8) -> Option<World> {
        let at = usize::from(id) - 1;
        let count = self.bounds.nodes().count();
        let clocks = world.clocks.tick(at, count, self.bounds.drift)?;
        let next = self.after(world, id, Input::Tick);
        // A tick that the node does not notice still lets other clocks go on.
        let next = next.or_else(|| (clocks != world.clocks).then(|| world.clone()))?;
        Some(World {
            clocks,
            ticks: world.ticks + 1,
            ..next
        })
    }

    fn order(&self, world: &World, number: u32) -> Option<&Command<u8>> {
        let next = self.bounds.orders.get(usize::from(world.orders))?;
        let first: usize = self.bounds.orders[..usize::from(world.orders)]
            .iter()
            .map(Vec::len)
            .sum();
        next.get(usize::try_from(number).ok()?.checked_sub(first)?)
    }
}

impl World {
    pub(crate) fn node(&self, id: u8) -> Option<&'static Node> {
        self.nodes[usize::from(id) - 1]
    }

    /// Puts in flight what this node says in this step, and answers with what is new of it.
    fn put(&mut self, outcome: &Outcome, from: u8) -> Vec<&'static Letter> {
        judge::look_at_presumed(self, &outcome.presumed, from);
        let is_new = |letter: &&'static Letter| {
            let receiver = self.node(letter.to);
            !self.post.contains(letter) && receiver.is_some_and(|node| !letter.is_spent(node))
        };
        let new: Vec<_> = outcome.sent.iter().copied().filter(is_new).collect();
        if !new.is_empty() {
            judge::look_at_letters(self, &new);
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
            self.post = self
                .post
                .iter()
                .copied()
                .filter(|letter| !is_spent(letter))
                .collect();
        }
    }
}

impl Model for Cluster {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.first.clone()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(world.post.iter().map(|letter| Action::Deliver(letter)));
        for node in world.nodes.iter().flatten() {
            if world.ticks < self.bounds.ticks && (self.bounds.late || !node.is_due()) {
                actions.push(Action::Tick(node.id));
            }
            if node.is_due() {
                actions.push(Action::Fire(node.id));
                if node.leads() {
                    actions.push(Action::Noise(node.id));
                }
            }
            if world.restarts < self.bounds.restarts {
                actions.push(Action::Restart(node.id));
            }
            if node.leads() {
                let orders = (0..12).filter(|number| self.order(world, *number).is_some());
                actions.extend(orders.map(|number| Action::Order(node.id, number)));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        match action {
            Action::Deliver(letter) => self.after(world, letter.to, Input::Letter(letter)),
            Action::Tick(id) => self.ticked(world, id),
            Action::Fire(id) => self.after(world, id, Input::Fire),
            Action::Noise(id) => self.after(world, id, Input::Noise),
            Action::Restart(id) => Some(World {
                restarts: world.restarts + 1,
                ..self.after(world, id, Input::Restart)?
            }),
            Action::Order(id, number) => Some(World {
                orders: world.orders + 1,
                ..self.after(world, id, Input::Order(number, self.order(world, number)?))?
            }),
        }
    }

    fn within_boundary(&self, world: &World) -> bool {
        let mut nodes = world.nodes.iter().flatten();
        nodes.all(|node| node.term() <= self.bounds.max_term)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        judge::properties(&self.bounds)
    }
}
