//! Machines that share groups as a [`Model`]: messages in flight, clocks, and what may happen next.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use stateright::{Model, Property};
use streamraft::Command;

use crate::clocks::Clocks;
use crate::groups::bounds::{Bounds, MOST_GROUPS, MOST_MACHINES, Order};
use crate::groups::judge::{self, Sight, Sights, at};
use crate::groups::letters::Letter;
use crate::groups::machine::{Body, Input, Machine};
use crate::groups::tables::{Outcome, Tables};
use crate::node::Fault;

/// Heartbeats after which all who were elected at once have met and are attached.
const SETTLED: usize = 2;

/// Machines that share groups, within bounds.
pub(crate) struct Groups {
    pub(crate) bounds: Bounds,
    pub(crate) tables: Arc<Tables>,
    first: World,
}

/// One state of all machines.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) machines: [Option<&'static Machine>; MOST_MACHINES],
    /// Every message that was ever sent, in the order of their numbers (`cluster.rs`).
    pub(crate) post: Arc<[&'static Letter]>,
    pub(crate) clocks: Clocks,
    ticks: u8,
    restarts: u8,
    orders: u8,
    leased: [Leased; MOST_GROUPS],
    pub(crate) fault: Option<Fault>,
}

/// Who held a group's last lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Leased {
    term: u64,
    by: u8,
    /// A beat has prolonged it.
    by_beat: bool,
}

/// What may happen.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Action {
    Deliver(&'static Letter),
    Tick(u8),
    Fire(u8),
    Noise(u8, u8),
    Restart(u8),
    /// This machine's owner carries this one of the orders out that are next.
    Order(u8, u32),
    Insert(u8, u8),
}

impl World {
    pub(crate) fn machine(&self, id: u8) -> Option<&'static Machine> {
        self.machines[at(id)]
    }

    fn counts(&self) -> impl Hash + PartialEq {
        let fault = self.fault;
        (self.ticks, self.restarts, self.orders, self.leased, fault)
    }

    /// Puts in flight what this machine says in this step, and answers with what is new of it.
    fn put(&mut self, outcome: &Outcome, from: u8) -> Vec<&'static Letter> {
        let presumed = judge::look_at_presumed(self, &outcome.presumed, from);
        self.fault = self.fault.or(presumed);
        let is_new = |letter: &&'static Letter| {
            let receiver = self.machine(letter.to());
            !self.post.contains(letter) && receiver.is_some_and(|machine| !letter.is_spent(machine))
        };
        let mut new: Vec<_> = outcome.sent.iter().copied().filter(is_new).collect();
        new.dedup();
        if !new.is_empty() {
            self.fault = self.fault.or(judge::look_at_letters(self, &new));
            let mut post: Vec<_> = self.post.iter().chain(&new).copied().collect();
            post.sort_unstable_by_key(|letter| letter.number());
            self.post = post.into();
        }
        new
    }

    /// Takes out of flight what can do nothing to this machine any more.
    fn clear(&mut self, id: u8) {
        let Some(machine) = self.machine(id) else {
            return;
        };
        let is_spent = |letter: &Letter| letter.to() == id && letter.is_spent(machine);
        if self.post.iter().any(|letter| is_spent(letter)) {
            let kept = self.post.iter().filter(|letter| !is_spent(letter));
            self.post = kept.copied().collect();
        }
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.machines.hash(state);
        for pair in self.post.chunks(2) {
            let both = pair.iter().fold(0, |both, letter| {
                (both << 32) | u64::from(letter.number() + 1)
            });
            state.write_u64(both);
        }
        self.clocks.hash(state);
        self.counts().hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.machines == other.machines
            && self.post == other.post
            && self.clocks == other.clocks
            && self.counts() == other.counts()
    }
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deliver(letter) => {
                let (key, plain) = (letter.key, &letter.plain);
                let (from, to, message) = (plain.from, plain.to, &plain.message);
                let (term, kind) = (message.term, &message.kind);
                write!(f, "{from} to {to}, group {key}, term {term}: {kind:?}")
            }
            Self::Tick(id) => write!(f, "{id}'s clock ticks"),
            Self::Fire(id) => write!(f, "{id} is polled"),
            Self::Noise(id, key) => write!(f, "{id} hears a stranger in group {key}"),
            Self::Restart(id) => write!(f, "{id} restarts"),
            Self::Order(id, number) => write!(f, "{id} carries order {number} out"),
            Self::Insert(id, key) => write!(f, "{id} puts group {key} back"),
        }
    }
}

impl Groups {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let tables = Arc::new(Tables::default());
        let mut machines = [None; MOST_MACHINES];
        let now = Instant::now();
        for id in bounds.ids() {
            let body = Body::new(&bounds, id, now);
            machines[at(id)] = Some(tables.machine(&bounds, body));
        }
        let first = World {
            machines,
            post: Arc::new([]),
            clocks: Clocks::default(),
            ticks: 0,
            restarts: 0,
            orders: 0,
            leased: [Leased::default(); MOST_GROUPS],
            fault: None,
        };
        let mut groups = Self {
            bounds,
            tables,
            first,
        };
        groups.first = groups.attached();
        groups
    }

    /// The first state: every group is led by whom the bounds name, and attached at every follower.
    fn attached(&self) -> World {
        let mut world = self.first.clone();
        for _ in 0..self.bounds.timeout {
            world = self.all_tick(world);
        }
        let mut delivered = Vec::new();
        world = self.try_after(world, 1, Input::Fire);
        world = self.deliver(world, &mut delivered);
        for (key, leader) in self.bounds.keys().zip(&self.bounds.leaders) {
            if *leader != 1 {
                let order = Order::Tell(key, Command::Transfer(*leader));
                world = self.try_after(world, 1, Input::Order(40 + u32::from(key), &order));
                world = self.deliver(world, &mut delivered);
            }
        }
        // To answer a ping once they have met.
        for _ in 0..SETTLED {
            world = self.all_tick(world);
            for leader in &self.bounds.leaders {
                world = self.try_after(world, *leader, Input::Fire);
            }
            world = self.deliver(world, &mut delivered);
        }
        for (key, leader) in self.bounds.keys().zip(&self.bounds.leaders) {
            let group = |id: u8| &world.machine(id).expect("it is there").groups[usize::from(key)];
            let all = usize::from(self.bounds.machines) - 1;
            assert!(
                group(*leader).lease.is_some(),
                "it leads: {:?}",
                world.machines
            );
            assert_eq!(
                group(*leader).leading.len(),
                all,
                "{key} is met: {:?}",
                world.machines
            );
            let follows = |id: &u8| group(*id).following == 1;
            assert_eq!(
                self.bounds.ids().filter(follows).count(),
                all,
                "{:?}",
                world.machines
            );
        }
        let is_kept = |letter: &&&'static Letter| self.bounds.kept && letter.is_of_link();
        let post = world.post.iter().filter(is_kept).copied().collect();
        let mut first = World {
            machines: world.machines,
            post,
            ..self.first.clone()
        };
        for id in self.bounds.ids() {
            first.look_at_last_leases(&self.bounds, id, false);
        }
        first
    }

    fn all_tick(&self, mut world: World) -> World {
        for id in self.bounds.ids() {
            world = self.try_after(world, id, Input::Tick);
        }
        world
    }

    fn try_after(&self, world: World, id: u8, input: Input<'_>) -> World {
        self.after(&world, id, input).unwrap_or(world)
    }

    /// Delivers every message once that was not, the oldest first.
    fn deliver(&self, mut world: World, delivered: &mut Vec<u32>) -> World {
        let unread = |world: &World, delivered: &[u32]| {
            let mut post = world.post.iter().copied();
            post.find(|letter| !delivered.contains(&letter.number()))
        };
        while let Some(letter) = unread(&world, delivered) {
            delivered.push(letter.number());
            world = self.try_after(world, letter.to(), Input::Letter(letter));
        }
        world
    }

    fn outcome(&self, world: &World, id: u8, input: Input<'_>) -> Option<&'static Outcome> {
        self.tables.step(&self.bounds, world.machine(id)?, input)
    }

    /// The world after this input; none if it is the same.
    fn after(&self, world: &World, id: u8, input: Input<'_>) -> Option<World> {
        let outcome = self.outcome(world, id, input)?;
        let before = world.machine(id)?;
        let is_answer = matches!(input, Input::Letter(_)) && outcome.next == before;
        if is_answer && outcome.fault.is_none() {
            // It was given as soon as the letter was sent.
            return None;
        }
        let mut next = world.clone();
        next.machines[at(id)] = Some(outcome.next);
        next.fault = outcome.fault;
        let mut heard: Vec<_> = if outcome.next == before {
            Vec::new()
        } else {
            next.clear(id);
            let to_it = next.post.iter().filter(|letter| letter.to() == id);
            to_it.copied().collect()
        };
        next.fault = next.fault.or(judge::look_at_links(&next, id));
        let mut sent = next.put(outcome, id);
        while !(heard.is_empty() && sent.is_empty()) {
            heard.append(&mut sent);
            sent = self.answers(&mut next, &heard);
            heard.clear();
        }
        let same = outcome.next == before && next.post == world.post && next.fault.is_none();
        (!same).then_some(next)
    }

    /// Puts in flight what machines say to these letters, new to them, without changing by it (`cluster.rs`).
    fn answers(&self, world: &mut World, letters: &[&'static Letter]) -> Vec<&'static Letter> {
        let mut answers = Vec::new();
        for letter in letters {
            let outcome = self.outcome(world, letter.to(), Input::Letter(letter));
            let receiver = world.machine(letter.to());
            if let Some(outcome) = outcome.filter(|outcome| Some(outcome.next) == receiver) {
                world.fault = world.fault.or(outcome.fault);
                answers.append(&mut world.put(outcome, letter.to()));
            }
        }
        answers
    }

    fn ticked(&self, world: &World, id: u8) -> Option<World> {
        let count = usize::from(self.bounds.machines);
        let clocks = world.clocks.tick(at(id), count, self.bounds.drift)?;
        let next = self.after(world, id, Input::Tick);
        // A tick that the machine does not notice still lets other clocks go on.
        let next = next.or_else(|| (clocks != world.clocks).then(|| world.clone()))?;
        Some(World {
            clocks,
            ticks: world.ticks + 1,
            ..next
        })
    }

    fn step(&self, world: &World, action: Action) -> Option<World> {
        match action {
            Action::Deliver(letter) => self.after(world, letter.to(), Input::Letter(letter)),
            Action::Tick(id) => self.ticked(world, id),
            Action::Fire(id) => self.after(world, id, Input::Fire),
            Action::Noise(id, key) => self.after(world, id, Input::Noise(key)),
            Action::Restart(id) => Some(World {
                restarts: world.restarts + 1,
                ..self.after(world, id, Input::Restart)?
            }),
            Action::Order(id, number) => {
                let mut orders = self.bounds.next_orders(world.orders);
                let (_, order) = orders.find(|(other, _)| *other == number)?;
                Some(World {
                    orders: world.orders + 1,
                    ..self.after(world, id, Input::Order(number, order))?
                })
            }
            Action::Insert(id, key) => self.after(world, id, Input::Insert(key)),
        }
    }
}

impl World {
    /// Notes who holds a lease on this machine now. Answers whether it follows on one that beats had prolonged elsewhere.
    fn look_at_last_leases(&mut self, bounds: &Bounds, id: u8, is_beat: bool) -> bool {
        let Some(machine) = self.machine(id) else {
            return false;
        };
        let mut follows = false;
        for key in bounds.keys() {
            let group = &machine.groups[usize::from(key)];
            let last = &mut self.leased[usize::from(key)];
            if group.lease.is_none() || group.standing.term < last.term {
                continue;
            }
            if group.standing.term == last.term {
                last.by_beat |= is_beat;
            } else {
                follows |= last.by_beat && last.by != id;
                *last = Leased {
                    term: group.standing.term,
                    by: id,
                    by_beat: false,
                };
            }
        }
        follows
    }
}

impl Model for Groups {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.first.clone()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(world.post.iter().map(|letter| Action::Deliver(letter)));
        for machine in world.machines.iter().flatten() {
            let id = machine.id;
            let is_due = machine.is_due();
            if world.ticks < self.bounds.ticks && (self.bounds.late || !is_due) {
                actions.push(Action::Tick(id));
            }
            if is_due && self.bounds.polled.contains(&id) {
                actions.push(Action::Fire(id));
            }
            if world.restarts < self.bounds.restarts {
                actions.push(Action::Restart(id));
            }
            for (key, group) in self.bounds.keys().zip(&machine.groups) {
                actions.push(match group.is_here {
                    true => Action::Noise(id, key),
                    false => Action::Insert(id, key),
                });
            }
            for (number, order) in self.bounds.next_orders(world.orders) {
                let group = &machine.groups[usize::from(order.key())];
                let is_to_it =
                    group.is_here && (matches!(order, Order::Remove(_)) || group.standing.leads);
                if is_to_it {
                    actions.push(Action::Order(id, number));
                }
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = self.step(world, action)?;
        let leases = judge::look_at_leases(&self.bounds, &next);
        next.fault = next.fault.or(leases);
        let (id, is_beat) = match action {
            Action::Deliver(letter) => (letter.to(), letter.is_answer_to_a_beat()),
            Action::Tick(id)
            | Action::Fire(id)
            | Action::Noise(id, _)
            | Action::Restart(id)
            | Action::Order(id, _)
            | Action::Insert(id, _) => (id, false),
        };
        let follows = next.look_at_last_leases(&self.bounds, id, is_beat);
        let mut sights = Sights::default();
        sights.add(Sight::NextLease, follows);
        self.tables.saw(sights);
        Some(next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        let is_within = |machine: &&'static Machine| {
            let mut groups = machine.groups.iter();
            let mut ends = machine
                .links
                .iter()
                .flat_map(|link| [&link.speaker, &link.listener]);
            ends.all(|end| end.ended <= self.bounds.endings)
                && machine.renewals <= self.bounds.renewals
                && groups.all(|group| group.standing.term <= self.bounds.max_term)
        };
        world.machines.iter().flatten().all(is_within)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        judge::properties()
    }
}
