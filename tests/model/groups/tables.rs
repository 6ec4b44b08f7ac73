//! Every distinct machine state, message and step, once (`../tables.rs` says why that is enough).

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use streamraft::Message;

use crate::groups::bounds::Bounds;
use crate::groups::judge::{Sights, look_at_vote, see};
use crate::groups::letters::Letter;
use crate::groups::machine::{Body, Input, Machine, Step};
use crate::letters;
use crate::node::Fault;
use crate::tables::Spread;

/// How many states of one view are kept beside the first, to see that they do the same.
const MOST_TWINS: usize = 1;

/// How many pairs of a machine state and a letter are looked at for whether the letter is spent.
const MOST_PAIRS: usize = 1_000;

/// The steps of one machine state that are known.
#[derive(Default)]
pub(crate) struct Memo {
    steps: RwLock<HashMap<u32, Option<&'static Outcome>, BuildHasherDefault<Spread>>>,
    /// States that have the same view and are not equal.
    twins: Mutex<Vec<Body>>,
}

/// What a step comes to. A step that changes nothing and sends nothing has none.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) next: &'static Machine,
    pub(crate) sent: Vec<&'static Letter>,
    pub(crate) presumed: Vec<(u8, u8)>,
    pub(crate) fault: Option<Fault>,
}

type Letters = HashMap<(u8, u8, u8, Message<u8>), &'static Letter>;

/// All that one run has met.
#[derive(Default)]
pub(crate) struct Tables {
    machines: Mutex<HashMap<(u8, String), &'static Machine>>,
    /// By group, sender, receiver and content.
    letters: Mutex<Letters>,
    calls: AtomicU64,
    compared: AtomicU64,
    sights: AtomicU32,
}

/// How much there is of what.
#[derive(Debug)]
pub(crate) struct Sizes {
    pub(crate) machines: usize,
    pub(crate) letters: usize,
    pub(crate) calls: u64,
    pub(crate) compared: u64,
}

impl Tables {
    /// What this input makes of this machine; nothing, if it makes no difference.
    pub(crate) fn step(
        &self,
        bounds: &Bounds,
        machine: &'static Machine,
        input: Input<'_>,
    ) -> Option<&'static Outcome> {
        let code = code(input);
        let steps = &machine.memo.steps;
        let known = steps.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = known.get(&code) {
            return *outcome;
        }
        drop(known);
        let outcome = self.take(bounds, machine, input);
        let mut steps = steps.write().unwrap_or_else(PoisonError::into_inner);
        *steps.entry(code).or_insert(outcome)
    }

    fn take(
        &self,
        bounds: &Bounds,
        machine: &'static Machine,
        input: Input<'_>,
    ) -> Option<&'static Outcome> {
        let step = machine.body.step(bounds, input);
        self.calls.fetch_add(1, Ordering::Relaxed);
        for twin in lock(&machine.memo.twins).clone() {
            self.compare(bounds, &step, &twin, input);
        }
        let vote = look_at_vote(machine, &step, input);
        let Step {
            body,
            sent,
            presumed,
            fault,
        } = step;
        let fault = fault.or(vote);
        let next = self.machine(bounds, body);
        self.saw(see(machine, next, input));
        if next == machine && sent.is_empty() && fault.is_none() {
            return None;
        }
        let letter = |(key, to, message)| self.letter(key, machine.id, to, message);
        let sent = sent.into_iter().map(letter).collect();
        Some(Box::leak(Box::new(Outcome {
            next,
            sent,
            presumed,
            fault,
        })))
    }

    /// States that are taken for one must do the same.
    fn compare(&self, bounds: &Bounds, step: &Step, twin: &Body, input: Input<'_>) {
        let other = twin.step(bounds, input);
        let same = other.body.view(bounds).text == step.body.view(bounds).text
            && other.sent == step.sent
            && other.fault == step.fault;
        assert!(
            same,
            "one view, but two ways on by {input:?}:\n{step:?}\n{other:?}"
        );
        self.compared.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn machine(&self, bounds: &Bounds, body: Body) -> &'static Machine {
        let id = *body.elections.node_id();
        let mut view = body.view(bounds);
        let key = (id, std::mem::take(&mut view.text));
        let mut machines = lock(&self.machines);
        if let Some(machine) = machines.get(&key).copied() {
            drop(machines);
            if machine.body.elections != body.elections {
                let mut twins = lock(&machine.memo.twins);
                if twins.len() < MOST_TWINS {
                    twins.push(body);
                }
            }
            return machine;
        }
        let number = u32::try_from(machines.len()).expect("fewer states of machines");
        let machine = Machine::new(bounds, number, body, &view);
        let machine = Box::leak(Box::new(machine));
        machines.insert(key, machine);
        machine
    }

    fn letter(&self, key: u8, from: u8, to: u8, message: Message<u8>) -> &'static Letter {
        let mut letters = lock(&self.letters);
        let number = u32::try_from(letters.len()).expect("fewer messages");
        letters
            .entry((key, from, to, message))
            .or_insert_with_key(|(key, from, to, message)| {
                Box::leak(Box::new(Letter {
                    key: *key,
                    plain: letters::Letter {
                        number,
                        from: *from,
                        to: *to,
                        message: message.clone(),
                    },
                }))
            })
    }

    /// Notes what was seen.
    pub(crate) fn saw(&self, sights: Sights) {
        if sights.0 & !self.sights.load(Ordering::Relaxed) != 0 {
            self.sights.fetch_or(sights.0, Ordering::Relaxed);
        }
    }

    pub(crate) fn sights(&self) -> Sights {
        Sights(self.sights.load(Ordering::Relaxed))
    }

    /// How often a letter that can do nothing any more was met by a machine state, each of which must let it be.
    pub(crate) fn check_spent(&self, bounds: &Bounds) -> usize {
        let machines: Vec<_> = lock(&self.machines).values().copied().collect();
        let letters: Vec<_> = lock(&self.letters).values().copied().collect();
        let is_met = |machine: &Machine, letter: &Letter| {
            let group = &machine.groups[usize::from(letter.key)];
            // It would make a leader tell a node again what that node has (`main.rs`).
            let is_old = letter.plain.message.stamp < group.standing.stamp;
            letter.to() == machine.id
                && letter.is_spent(machine)
                && !(group.standing.leads && is_old)
        };
        let all = machines.iter().flat_map(|machine| {
            let met = letters.iter().filter(|letter| is_met(machine, letter));
            met.map(move |letter| (*machine, *letter))
        });
        let pairs: Vec<_> = all.collect();
        // All pairs, or as many as a run has time for, spread over all.
        let stride = pairs.len() / MOST_PAIRS + 1;
        let some = pairs.into_iter().step_by(stride);
        some.map(|(machine, letter)| self.check_one_spent(bounds, machine, letter))
            .count()
    }

    fn check_one_spent(&self, bounds: &Bounds, machine: &'static Machine, letter: &'static Letter) {
        let outcome = self.step(bounds, machine, Input::Letter(letter));
        let is_here = machine.groups[usize::from(letter.key)].is_here;
        // No more than any noise does.
        let noise = is_here.then(|| self.step(bounds, machine, Input::Noise(letter.key)));
        let parts = |outcome: &'static Outcome| (outcome.next, &outcome.sent);
        let same = outcome.map(parts) == noise.flatten().map(parts);
        assert!(same, "{letter:?} is not spent for {machine:?}: {outcome:?}");
    }

    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            machines: lock(&self.machines).len(),
            letters: lock(&self.letters).len(),
            calls: self.calls.load(Ordering::Relaxed),
            compared: self.compared.load(Ordering::Relaxed),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for an input, each its own: letters from 64 on.
fn code(input: Input<'_>) -> u32 {
    match input {
        Input::Tick => 0,
        Input::Fire => 1,
        Input::Restart => 2,
        Input::Noise(key) => 4 + u32::from(key),
        Input::Insert(key) => 8 + u32::from(key),
        Input::Order(number, _) => 16 + number,
        Input::Letter(letter) => 64 + letter.number(),
    }
}
