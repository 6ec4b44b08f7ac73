//! Machines in one thread that send each other what comes out of them, over links that can be cut. At every item that
//! comes out it checks, for each group, what must hold of the order, of votes and of leaders.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::task::Poll;
use std::time::{Duration, Instant};

use streamraft::{
    Config, Elections, Groups, HardState, Inbound, Message, MsgRouter, NodeState, NodeType,
};
use tokio::time::advance;

use crate::hand::{Core, Kind, Machine, Output, config, name, poll};

/// What the world calls a machine: a core, or a stream and sink.
pub(crate) trait Host {
    fn take(&mut self, now: Instant) -> Option<Output>;
    fn put(&mut self, now: Instant, key: u64, from: u64, message: Message<u64>);
    fn add(&mut self, now: Instant, key: u64, config: Config<u64>);
    fn core(&self) -> &Core;
}

impl Host for Core {
    fn take(&mut self, now: Instant) -> Option<Output> {
        loop {
            if let Some(output) = self.poll_output() {
                return Some(output);
            }
            if self.poll_timeout().is_none_or(|at| at > now) {
                return None;
            }
            self.handle_timeout(now);
        }
    }

    fn put(&mut self, now: Instant, key: u64, from: u64, message: Message<u64>) {
        let taken = self.handle(now, &key, Inbound::FromNode(from, message));
        assert!(taken.is_ok() || self.is_stopped(), "{taken:?}");
    }

    fn add(&mut self, now: Instant, key: u64, config: Config<u64>) {
        self.insert(now, key, config)
            .expect("a new key, good settings");
    }

    fn core(&self) -> &Core {
        self
    }
}

impl Host for Machine {
    fn take(&mut self, _: Instant) -> Option<Output> {
        match poll(self) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        }
    }

    fn put(&mut self, _: Instant, key: u64, from: u64, message: Message<u64>) {
        self.on_receive(&key, from, message);
    }

    fn add(&mut self, _: Instant, key: u64, config: Config<u64>) {
        self.insert(key, config).expect("a new key, good settings");
    }

    fn core(&self) -> &Core {
        self.get_ref()
    }
}

/// What is on its way.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) key: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) message: Message<u64>,
}

#[derive(Debug)]
pub(crate) struct World<H> {
    pub(crate) machines: BTreeMap<u64, H>,
    /// How long a message takes.
    pub(crate) delay: Duration,
    /// From whom to whom nothing comes through.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    /// How many messages of each kind left each machine for each other.
    pub(crate) counts: BTreeMap<(u64, u64, &'static str), u64>,
    /// The groups of which anything but a beat left.
    pub(crate) spoke: BTreeSet<u64>,
    /// For how long anything is waited for.
    pub(crate) patience: Duration,
    /// By number: what is lost on its way, and after how long all comes once more.
    pub(crate) lost: BTreeSet<u64>,
    pub(crate) echo: Option<Duration>,
    /// What is held up on its way, and what was.
    pub(crate) held: Option<(u64, &'static str)>,
    pub(crate) aside: Vec<Letter>,
    /// What was said of links and attachments, if somebody listens.
    pub(crate) overheard: Option<Vec<Letter>>,
    pub(crate) post: BTreeMap<(Instant, u64), Letter>,
    pub(crate) posted: u64,
    /// Each machine's disk: (machine, group).
    pub(crate) saved: BTreeMap<(u64, u64), HardState<u64>>,
    shown: BTreeMap<(u64, u64), NodeState<u64>>,
    /// Every vote that has left its voter: (group, voter, term) -> candidate.
    votes: BTreeMap<(u64, u64, u64), u64>,
    /// Who was seen to lead each term: (group, term).
    leaders: BTreeMap<(u64, u64), u64>,
}

impl<H: Host> World<H> {
    fn of(machines: BTreeMap<u64, H>) -> Self {
        Self {
            machines,
            delay: Duration::ZERO,
            cut: BTreeSet::new(),
            counts: BTreeMap::new(),
            spoke: BTreeSet::new(),
            patience: Duration::from_secs(60),
            lost: BTreeSet::new(),
            echo: None,
            held: None,
            aside: Vec::new(),
            overheard: None,
            post: BTreeMap::new(),
            posted: 0,
            saved: BTreeMap::new(),
            shown: BTreeMap::new(),
            votes: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }

    pub(crate) fn machine(&mut self, id: u64) -> &mut H {
        self.machines.get_mut(&id).expect("it runs")
    }

    /// A group at a machine, from its disk if it was there before.
    pub(crate) fn insert(&mut self, now: Instant, id: u64, key: u64, config: Config<u64>) {
        let config = match self.saved.get(&(id, key)) {
            Some(saved) => config.restore(saved.clone()),
            None => config,
        };
        let config = config.seed(id.wrapping_mul(1_000_003).wrapping_add(key));
        self.machine(id).add(now, key, config);
        let state = self.machines[&id]
            .core()
            .state(&key)
            .expect("it was inserted");
        self.saved.insert((id, key), state.hard_state().clone());
        self.shown.remove(&(id, key));
    }

    /// Passes messages on until nothing more comes out of any machine at this instant.
    pub(crate) fn settle(&mut self, now: Instant) {
        let mut steps = 0_u64;
        loop {
            let ids: Vec<u64> = self.machines.keys().copied().collect();
            let mut is_quiet = true;
            for id in ids {
                while let Some(output) = self.machine(id).take(now) {
                    is_quiet = false;
                    steps += 1;
                    assert!(steps < 5_000_000, "it never comes to rest");
                    self.came_out(now, id, output);
                }
            }
            is_quiet &= !self.deliver(now);
            if is_quiet {
                return;
            }
        }
    }

    fn deliver(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(entry) = self.post.first_entry().filter(|entry| entry.key().0 <= now) {
            let letter = entry.remove();
            any = true;
            if let Some(machine) = self.machines.get_mut(&letter.to)
                && !self.cut.contains(&(letter.from, letter.to))
            {
                machine.put(now, letter.key, letter.from, letter.message);
            }
        }
        any
    }

    /// The disk and the post get what came out.
    pub(crate) fn came_out(&mut self, now: Instant, id: u64, (key, output): Output) {
        match output {
            MsgRouter::ToSelf(state) => {
                self.saved.insert((id, key), state.hard_state().clone());
                if state.node_type() == NodeType::Leader {
                    let first = *self.leaders.entry((key, state.term())).or_insert(id);
                    assert_eq!(first, id, "{key}: two leaders in term {}", state.term());
                }
                self.shown.insert((id, key), state);
            }
            MsgRouter::ToNode(to, message) => {
                self.check(id, key, to, &message);
                *self
                    .counts
                    .entry((id, to, name(&message.kind)))
                    .or_default() += 1;
                if !matches!(message.kind, Kind::Beat(_) | Kind::BeatAck(_)) {
                    self.spoke.insert(key);
                }
                let letter = Letter {
                    key,
                    from: id,
                    to,
                    message,
                };
                self.post_it(now, letter);
            }
            _ => {}
        }
    }

    pub(crate) fn post_it(&mut self, now: Instant, letter: Letter) {
        self.posted += 1;
        if self.held == Some((letter.key, name(&letter.message.kind))) {
            return self.aside.push(letter);
        }
        if let Some(overheard) = &mut self.overheard
            && matches!(
                letter.message.kind,
                Kind::Beat(_) | Kind::BeatAck(_) | Kind::Attach(_) | Kind::Attached(_)
            )
        {
            overheard.push(letter.clone());
        }
        if self.lost.contains(&self.posted) {
            return;
        }
        if let Some(echo) = self.echo {
            self.post
                .insert((now + self.delay + echo, self.posted), letter.clone());
        }
        self.post.insert((now + self.delay, self.posted), letter);
    }

    /// What leaves of a group is backed by what was saved of it. A beat is of no group.
    fn check(&mut self, id: u64, key: u64, to: u64, message: &Message<u64>) {
        if matches!(message.kind, Kind::Beat(_) | Kind::BeatAck(_)) {
            return assert_eq!((message.term, message.stamp), Default::default());
        }
        let saved = &self.saved[&(id, key)];
        let backed = (saved.term(), saved.membership().stamp());
        assert_eq!(
            (message.term, message.stamp),
            backed,
            "{id} says of {key} what it has not saved: {message:?}"
        );
        let shown = self.shown.get(&(id, key));
        let follows = shown.and_then(|state| state.leader().copied());
        let leads = shown.is_some_and(|state| state.node_type() == NodeType::Leader);
        let candidate = match &message.kind {
            Kind::Attached(_) => {
                return assert_eq!(
                    follows,
                    Some(to),
                    "{id} attaches {key} before it says whom it follows"
                );
            }
            Kind::Attach(_) | Kind::Ping { .. } => {
                assert!(leads, "{id} pings of {key} before it says that it leads");
                id
            }
            Kind::VoteRequest { .. } => id,
            Kind::Vote { granted: true, .. } => to,
            _ => return,
        };
        assert_eq!(
            saved.voted_for(),
            Some(&candidate),
            "{id} has not saved this vote in {key}"
        );
        let first = *self
            .votes
            .entry((key, id, message.term))
            .or_insert(candidate);
        assert_eq!(
            first, candidate,
            "{id} votes twice in term {} of {key}",
            message.term
        );
    }

    /// When something happens next.
    fn next(&self) -> Option<Instant> {
        let dues = self
            .machines
            .values()
            .filter_map(|machine| machine.core().poll_timeout());
        let post = self.post.keys().next().map(|(at, _)| *at);
        dues.chain(post).min()
    }

    /// Who leads a group, with a lease.
    pub(crate) fn leader(&self, now: Instant, key: u64) -> Option<u64> {
        let leads = |machine: &H| {
            let state = machine.core().state(&key);
            state.is_some_and(|state| state.is_leader_at(now))
        };
        let leaders: Vec<u64> = self
            .machines
            .iter()
            .filter(|(_, machine)| leads(machine))
            .map(|(id, _)| *id)
            .collect();
        assert!(leaders.len() < 2, "{leaders:?} have a lease of {key}");
        leaders.first().copied()
    }

    /// How many of these groups are led.
    pub(crate) fn led(&self, now: Instant, keys: Range<u64>) -> usize {
        keys.filter(|key| self.leader(now, *key).is_some()).count()
    }

    /// How many of these groups somebody has said to lead with a lease, and not taken it back. Cheaper than
    /// [`led`](Self::led).
    pub(crate) fn said_to_be_led(&self, keys: &Range<u64>) -> usize {
        let leaders = self
            .shown
            .iter()
            .filter(|(_, state)| state.lease().is_some());
        let led: BTreeSet<u64> = leaders
            .map(|((_, key), _)| *key)
            .filter(|key| keys.contains(key))
            .collect();
        led.len()
    }

    /// How many messages of each kind have left all machines since this was asked last.
    pub(crate) fn take_counts(&mut self) -> BTreeMap<&'static str, u64> {
        let mut by_kind = BTreeMap::new();
        for ((_, _, kind), count) in std::mem::take(&mut self.counts) {
            *by_kind.entry(kind).or_default() += count;
        }
        by_kind
    }

    /// Groups that are nowhere any more, and will never be again.
    pub(crate) fn forget(&mut self, keys: Range<u64>) {
        self.saved.retain(|(_, key), _| !keys.contains(key));
        self.shown.retain(|(_, key), _| !keys.contains(key));
        self.votes.retain(|(key, ..), _| !keys.contains(key));
        self.leaders.retain(|(key, _), _| !keys.contains(key));
        self.counts.clear();
        self.spoke.clear();
    }

    /// What a machine said of itself is of its earlier life.
    pub(crate) fn forget_shown(&mut self, id: u64) {
        self.shown.retain(|(machine, _), _| *machine != id);
    }

    /// Loses what is on its way to a machine and from it, which ends without a word.
    pub(crate) fn kill(&mut self, id: u64) -> H {
        self.post
            .retain(|_, letter| letter.from != id && letter.to != id);
        self.forget_shown(id);
        self.machines.remove(&id).expect("it runs")
    }
}

impl World<Core> {
    /// Machines 1 to `count`, with no clock but the caller's.
    pub(crate) fn cores(count: u64) -> Self {
        let mut world = Self::of(BTreeMap::new());
        for id in 1..=count {
            world.start(id, count);
        }
        world
    }

    fn start(&mut self, id: u64, count: u64) {
        let core = Elections::new(&config(id, count), id).expect("good settings");
        self.machines.insert(id, core);
    }

    /// Lets this much time pass.
    pub(crate) fn run(&mut self, now: &mut Instant, time: Duration) {
        let end = *now + time;
        self.settle(*now);
        while let Some(next) = self.next().filter(|next| *next <= end) {
            *now = next.max(*now);
            self.settle(*now);
        }
        *now = end;
    }
}

/// The clock of this test.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl World<Machine> {
    /// Machines 1 to `count`.
    pub(crate) fn new(count: u64) -> Self {
        Self::tuned(count, |config| config)
    }

    pub(crate) fn tuned(count: u64, tune: impl Fn(Config<u64>) -> Config<u64>) -> Self {
        let mut world = Self::of(BTreeMap::new());
        for id in 1..=count {
            let machine = Groups::new(&tune(config(id, count))).expect("good settings");
            world.machines.insert(id, machine);
        }
        world
    }

    /// Machines 1 to `count`, each with all of these groups; machine `1 + key % count` is preferred to lead.
    pub(crate) fn with(count: u64, keys: Range<u64>) -> Self {
        Self::new(count).filled(keys, |config, _| config)
    }

    pub(crate) fn filled(
        mut self,
        keys: Range<u64>,
        tune: impl Fn(Config<u64>, u64) -> Config<u64>,
    ) -> Self {
        let count = self.machines.len() as u64;
        for key in keys {
            for id in 1..=count {
                let priority = u64::from(1 + key % count == id);
                let config = config(id, count).leader_priority(priority);
                self.insert(now(), id, key, tune(config, key));
            }
        }
        self
    }

    /// A machine that was killed, anew from its disk.
    pub(crate) fn restart(&mut self, id: u64, count: u64) {
        let machine = Groups::new(&config(id, count)).expect("good settings");
        self.machines.insert(id, machine);
        let keys: Vec<u64> = self
            .saved
            .keys()
            .filter(|(of, _)| *of == id)
            .map(|(_, key)| *key)
            .collect();
        for key in keys {
            let priority = u64::from(1 + key % count == id);
            self.insert(now(), id, key, config(id, count).leader_priority(priority));
        }
    }

    /// Lets this much time pass.
    pub(crate) async fn run(&mut self, time: Duration) {
        let end = now() + time;
        self.settle(now());
        while let Some(next) = self.next().filter(|next| *next <= end) {
            advance(next.saturating_duration_since(now())).await;
            self.settle(now());
        }
        advance(end.saturating_duration_since(now())).await;
        self.settle(now());
    }

    /// Lets time pass until this holds. How long that took.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Duration {
        let begun = now();
        self.settle(begun);
        while !holds(self) {
            let waited = now().duration_since(begun);
            assert!(waited < self.patience, "not within {waited:?}: {what}");
            let next = self.next().expect("something falls due");
            advance(next.saturating_duration_since(now())).await;
            self.settle(now());
        }
        now().duration_since(begun)
    }

    /// Lets time pass until each of these groups is led and nothing but beats is sent. How long the first took.
    pub(crate) async fn rest(&mut self, keys: Range<u64>) -> Duration {
        let count = keys.clone().count();
        let took = self
            .until("every group is led", |world| {
                world.said_to_be_led(&keys) == count
            })
            .await;
        assert_eq!(self.led(now(), keys), count);
        for _ in 0..20 {
            self.counts.clear();
            self.run(crate::hand::ELECTION).await;
            if self
                .counts
                .keys()
                .all(|(.., kind)| kind.starts_with("Beat"))
            {
                return took;
            }
        }
        panic!("they never rest: {:?}", self.counts);
    }
}
