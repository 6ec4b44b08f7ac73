//! Every distinct node state, message and step, once (`../tables.rs` says why that is enough).

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use streamraft::raft::RaftMessage;

use crate::log::bounds::Bounds;
use crate::log::judge::{Fault, Sights};
use crate::log::letters::Letter;
use crate::log::node::{Body, Input, Node, Step};
use crate::tables::Spread;

/// How many states of one view are kept beside the first, to see that they do the same.
const MOST_TWINS: usize = 1;

/// How many pairs of a node state and a letter are looked at for whether the letter is spent.
const MOST_PAIRS: usize = 20_000;

/// The steps of one node state that are known.
#[derive(Default)]
pub(crate) struct Memo {
    steps: RwLock<HashMap<u32, Option<&'static Outcome>, BuildHasherDefault<Spread>>>,
    /// States that have the same view and are not equal.
    twins: Mutex<Vec<Body>>,
}

/// What a step comes to. A step that changes nothing and sends nothing has none.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) next: &'static Node,
    pub(crate) sent: Vec<&'static Letter>,
    pub(crate) fault: Option<Fault>,
}

type Letters = HashMap<(u8, u8, RaftMessage<u8>), &'static Letter>;

/// All that one run has met.
#[derive(Default)]
pub(crate) struct Tables {
    nodes: Mutex<HashMap<(u8, String), &'static Node>>,
    /// By sender, receiver and content.
    letters: Mutex<Letters>,
    calls: AtomicU64,
    compared: AtomicU64,
    sights: AtomicU32,
}

/// How much there is of what.
#[derive(Debug)]
pub(crate) struct Sizes {
    pub(crate) nodes: usize,
    pub(crate) letters: usize,
    pub(crate) calls: u64,
    pub(crate) compared: u64,
}

impl Tables {
    /// What this input makes of this node; nothing, if it makes no difference.
    pub(crate) fn step(
        &self,
        bounds: &Bounds,
        node: &'static Node,
        input: Input<'_>,
    ) -> Option<&'static Outcome> {
        let code = code(input);
        let steps = &node.memo.steps;
        let known = steps.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = known.get(&code) {
            return *outcome;
        }
        drop(known);
        let outcome = self.take(bounds, node, input);
        let mut steps = steps.write().unwrap_or_else(PoisonError::into_inner);
        *steps.entry(code).or_insert(outcome)
    }

    fn take(
        &self,
        bounds: &Bounds,
        node: &'static Node,
        input: Input<'_>,
    ) -> Option<&'static Outcome> {
        let step = node.body.step(bounds, input);
        self.calls.fetch_add(1, Ordering::Relaxed);
        for twin in lock(&node.memo.twins).clone() {
            self.compare(bounds, &step, &twin, input);
        }
        let Step {
            body,
            sent,
            fault,
            sights,
        } = step;
        self.saw(sights);
        let next = self.node(body);
        if next == node && sent.is_empty() && fault.is_none() {
            return None;
        }
        let letter = |(to, message)| self.letter(node.id, to, message);
        let sent = sent.into_iter().map(letter).collect();
        Some(Box::leak(Box::new(Outcome { next, sent, fault })))
    }

    /// States that are taken for one must do the same.
    fn compare(&self, bounds: &Bounds, step: &Step, twin: &Body, input: Input<'_>) {
        let other = twin.step(bounds, input);
        let same = other.body.view().0 == step.body.view().0
            && other.sent == step.sent
            && other.fault == step.fault;
        assert!(
            same,
            "one view, but two ways on by {input:?}:\n{step:?}\n{other:?}"
        );
        self.compared.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn node(&self, body: Body) -> &'static Node {
        let (view, exact) = body.view();
        let key = (body.id(), view);
        let mut nodes = lock(&self.nodes);
        if let Some(node) = nodes.get(&key).copied() {
            drop(nodes);
            if node.exact != exact {
                let mut twins = lock(&node.memo.twins);
                if twins.len() < MOST_TWINS {
                    twins.push(body);
                }
            }
            return node;
        }
        let number = u32::try_from(nodes.len()).expect("fewer states of nodes");
        let node = Box::leak(Box::new(Node::new(number, exact, body)));
        nodes.insert(key, node);
        node
    }

    fn letter(&self, from: u8, to: u8, message: RaftMessage<u8>) -> &'static Letter {
        let mut letters = lock(&self.letters);
        let number = u32::try_from(letters.len()).expect("fewer messages");
        letters
            .entry((from, to, message))
            .or_insert_with_key(|(from, to, message)| {
                Box::leak(Box::new(Letter {
                    number,
                    from: *from,
                    to: *to,
                    message: message.clone(),
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

    /// How often a letter that can do nothing any more was met by a node state, each of which must let it be.
    pub(crate) fn check_spent(&self, bounds: &Bounds) -> usize {
        let nodes: Vec<_> = lock(&self.nodes).values().copied().collect();
        let letters: Vec<_> = lock(&self.letters).values().copied().collect();
        let mut met = 0;
        // All pairs, or as many as a run has time for, spread over all.
        let stride = nodes.len() * letters.len() / MOST_PAIRS + 1;
        let pairs = nodes
            .iter()
            .flat_map(|node| letters.iter().map(move |letter| (*node, *letter)));
        for (node, letter) in pairs.step_by(stride) {
            if letter.to == node.id && letter.is_spent(node) {
                let outcome = self.step(bounds, node, Input::Letter(letter));
                let is_nothing = outcome.is_none();
                assert!(
                    is_nothing,
                    "{letter:?} is not spent for {node:?}: {outcome:?}"
                );
                met += 1;
            }
        }
        met
    }

    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            nodes: lock(&self.nodes).len(),
            letters: lock(&self.letters).len(),
            calls: self.calls.load(Ordering::Relaxed),
            compared: self.compared.load(Ordering::Relaxed),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for an input, each its own: letters from 1,024 on.
fn code(input: Input<'_>) -> u32 {
    match input {
        Input::Tick => 0,
        Input::Fire => 1,
        Input::Flushed => 2,
        Input::Failed => 3,
        Input::Compact => 4,
        Input::Order(number, _) => 16 + number,
        Input::Crash(kept) => 32 + u32::from(kept),
        Input::Propose(name) => 256 + u32::from(name),
        Input::Read(least) => 512 + u32::from(least),
        Input::Letter(letter) => 1_024 + letter.number,
    }
}
