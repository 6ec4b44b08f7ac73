//! Beats and attachments with any contents, in any order, at machines that share groups: no panic, no vote given twice, no
//! second leader in a term, and no memory that grows with what is said.

use std::time::Instant;

use allocation_counter::measure;
use proptest::collection::vec;
use proptest::prelude::*;
use streamraft::{Attachment, Beat, Command, Inbound, Message, Stamp};

use crate::hand::{Core, ELECTION, Kind, config, ms};
use crate::world::{Letter, World};

const GROUPS: u64 = 3;

/// A number of a beat, mostly one that means something.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// What was last said there, and so much more or less.
    Near(i8),
    Any(u64),
}

#[derive(Clone, Debug)]
struct Forged {
    to: u64,
    from: u64,
    key: u64,
    kind: u8,
    session: Number,
    listener: Option<Number>,
    round: Number,
    number: Number,
    detached: Number,
    heard: Number,
    news: Vec<Number>,
}

#[derive(Clone, Debug)]
enum Step {
    Forge(Forged),
    /// What was said before, so many ago.
    Again(usize),
    Run(u16),
    Ask(u64, u64, Command<u64>),
    Restart(u64, u64),
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        8 => Just(Number::Near(0)),
        3 => (-3..4_i8).prop_map(Number::Near),
        1 => prop_oneof![Just(0), Just(u64::MAX), 0..9_u64, any::<u64>()].prop_map(Number::Any),
    ]
}

fn forged() -> impl Strategy<Value = Forged> {
    let who = (
        1..=3_u64,
        prop_oneof![9 => 1..=3_u64, 1 => Just(77)],
        0..GROUPS + 1,
        0..4_u8,
    );
    let names = (
        number(),
        proptest::option::weighted(0.9, number()),
        number(),
        number(),
    );
    let lists = (number(), number(), vec(number(), 0..5));
    (who, names, lists).prop_map(|(who, names, lists)| {
        let ((to, from, key, kind), (session, listener, round, number)) = (who, names);
        let (detached, heard, news) = lists;
        Forged {
            to,
            from,
            key,
            kind,
            session,
            listener,
            round,
            number,
            detached,
            heard,
            news,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let commands = prop_oneof![
        Just(Command::Resign),
        (0..3_u64).prop_map(Command::SetPriority),
        (1..=3_u64).prop_map(Command::Transfer),
    ];
    prop_oneof![
        12 => forged().prop_map(Step::Forge),
        4 => (0..60_usize).prop_map(Step::Again),
        4 => (0..300_u16).prop_map(Step::Run),
        1 => (1..=3_u64, 0..GROUPS, commands).prop_map(|(id, key, command)| Step::Ask(id, key, command)),
        1 => (1..=3_u64, 0..GROUPS).prop_map(|(id, key)| Step::Restart(id, key)),
    ]
}

impl Number {
    fn of(self, real: u64) -> u64 {
        match self {
            Self::Near(by) => real.wrapping_add_signed(i64::from(by)),
            Self::Any(number) => number,
        }
    }
}

struct Forger {
    world: World<Core>,
    now: Instant,
    said: Vec<Letter>,
    forged: u64,
}

impl Forger {
    fn new() -> Self {
        let mut now = Instant::now();
        let mut world = World::cores(3);
        world.overheard = Some(Vec::new());
        for key in 0..GROUPS {
            for id in 1..=3 {
                world.insert(
                    now,
                    id,
                    key,
                    config(id, 3)
                        .bootstrap()
                        .leader_priority(u64::from(id == 1 + key)),
                );
            }
        }
        world.run(&mut now, 3 * ELECTION);
        Self {
            world,
            now,
            said: Vec::new(),
            forged: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Forge(forged) => self.forge(&forged),
            Step::Again(ago) => {
                let letter = self
                    .said
                    .len()
                    .checked_sub(ago + 1)
                    .and_then(|at| self.said.get(at))
                    .cloned();
                if let Some(letter) = letter {
                    self.put(letter);
                }
            }
            Step::Run(millis) => self.world.run(&mut self.now, ms(u64::from(millis))),
            Step::Ask(id, key, command) => {
                // Who does not lead cannot hand over.
                let _ = self
                    .world
                    .machine(id)
                    .handle(self.now, &key, command.into());
                self.world.settle(self.now);
            }
            Step::Restart(id, key) => {
                self.world
                    .machine(id)
                    .remove(self.now, &key)
                    .expect("it is there");
                self.world.insert(self.now, id, key, config(id, 3));
                self.world.settle(self.now);
            }
        }
        self.said
            .append(self.world.overheard.as_mut().expect("somebody listens"));
        let old = self.said.len().saturating_sub(200);
        self.said.drain(..old);
    }

    /// How much all machines have dropped, by reason.
    fn counted(&self) -> [u64; 5] {
        self.world.machines.values().fold([0; 5], |sum, core| {
            let stats = core.stats();
            let new = [
                stats.unknown_groups,
                stats.strangers,
                stats.foreign_cluster,
                stats.malformed,
                stats.stale,
            ];
            std::array::from_fn(|at| sum[at] + new[at])
        })
    }

    fn put(&mut self, letter: Letter) {
        self.forged += 1;
        let core = self.world.machine(letter.to);
        let input = Inbound::FromNode(letter.from, letter.message);
        core.handle(self.now, &letter.key, input)
            .expect("it was not stopped");
        self.world.settle(self.now);
    }

    /// Something like what was last said from one to the other.
    fn forge(&mut self, forged: &Forged) {
        let between = |letter: &&Letter| (letter.from, letter.to) == (forged.from, forged.to);
        let mut said = self.said.iter().rev().filter(between);
        let is_answer = forged.kind % 2 == 1;
        let beat = said.find_map(|letter| match &letter.message.kind {
            Kind::Beat(beat) if !is_answer => Some((**beat).clone()),
            Kind::BeatAck(beat) if is_answer => Some((**beat).clone()),
            _ => None,
        });
        let real = beat.unwrap_or_else(|| Beat::new(0, None, 0));
        let session = forged.session.of(real.session);
        let listener = forged
            .listener
            .map(|listener| listener.of(real.listener.unwrap_or_default()));
        let detached = forged.detached.of(real.detached);
        let number = forged.number.of(1 + forged.key);
        let beat = || {
            let mut beat = Beat::new(session, listener, forged.round.of(real.round));
            beat.detached = detached;
            beat.heard = forged.heard.of(real.heard);
            beat.news = forged.news.iter().map(|number| number.of(2)).collect();
            Box::new(beat)
        };
        let attachment = Attachment::new(session, listener.unwrap_or_default(), number, detached);
        let kind = match forged.kind {
            0 => Kind::Beat(beat()),
            1 => Kind::BeatAck(beat()),
            2 => Kind::Attach(attachment),
            _ => Kind::Attached(attachment),
        };
        let state = self.world.machines[&forged.to].state(&forged.key);
        let (term, stamp) = state.map_or((0, Stamp::default()), |state| {
            (state.term(), state.hard_state().membership().stamp())
        });
        let message = Message::new(term, stamp, kind);
        self.put(Letter {
            key: forged.key,
            from: forged.from,
            to: forged.to,
            message,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_said_of_links_breaks_a_machine(steps in vec(step(), 1..150)) {
        let mut forger = Forger::new();
        for step in steps {
            forger.step(step);
        }
        let said = forger.forged + forger.world.posted;
        prop_assert!(forger.counted().iter().sum::<u64>() <= said, "each is counted once");
        // All goes on: every group is led again, however long it was lied to.
        forger.world.run(&mut forger.now, 20 * ELECTION);
        let led = forger.world.led(forger.now, 0..GROUPS);
        prop_assert_eq!(led as u64, GROUPS);
    }
}

#[test]
fn memory_does_not_grow_with_what_is_said() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut forger = Forger::new();
    let mut in_use = Vec::new();
    for _ in 0..20 {
        let memory = measure(|| {
            for _ in 0..500 {
                let forged = forged().new_tree(&mut runner).expect("a value").current();
                forger.step(Step::Forge(forged));
            }
            forger.step(Step::Run(299));
            forger.said.clear();
            forger.said.shrink_to_fit();
        });
        in_use.push(memory.bytes_current);
    }
    println!("bytes after each 500 forged messages: {in_use:?}");
    let grown: i64 = in_use[5..].iter().sum();
    assert!(grown < 32_768, "{grown} bytes in 15 rounds: {in_use:?}");
    let [unknown, strangers, foreign, malformed, stale] = forger.counted();
    assert_eq!(foreign, 0);
    assert!(
        [unknown, strangers, malformed, stale]
            .iter()
            .all(|count| *count > 100),
        "all kinds of nonsense were said"
    );
}
