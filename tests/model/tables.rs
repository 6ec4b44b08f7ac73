//! Every distinct node state, message and step, once.
//!
//! The core is a pure function of a node's state and an input, and the nodes of a cluster are in far fewer states
//! than the cluster. So each step is taken by the core once and looked up from then on, and a state of the cluster is
//! a few references. What is kept here is kept until the process ends.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use streamraft::Message;

use crate::bounds::Bounds;
use crate::letters::Letter;
use crate::node::{Body, Fault, Input, Node, Step};

/// How many states of one view are kept beside the first, to see that they do the same.
const MOST_TWINS: usize = 2;

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
    /// Who was taken to hold the sender's membership.
    pub(crate) presumed: Vec<u8>,
    pub(crate) fault: Option<Fault>,
}

type Letters = HashMap<(u8, u8, Message<u8>), &'static Letter>;

/// All that one run has met.
#[derive(Default)]
pub(crate) struct Tables {
    nodes: Mutex<HashMap<(u8, String), &'static Node>>,
    /// By sender, receiver and content.
    letters: Mutex<Letters>,
    calls: AtomicU64,
    compared: AtomicU64,
}

/// How much there is of what.
#[derive(Debug)]
pub(crate) struct Sizes {
    pub(crate) nodes: usize,
    pub(crate) letters: usize,
    /// Steps that the core took.
    pub(crate) calls: u64,
    /// Steps that a second state of the same view took too, to the same end.
    pub(crate) compared: u64,
}

/// Numbers that count up, spread over a table.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u32");
    }

    fn write_u32(&mut self, number: u32) {
        let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
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
        let known = node
            .memo
            .steps
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = known.get(&code) {
            return *outcome;
        }
        drop(known);
        let outcome = self.take(bounds, node, input);
        let mut steps = node
            .memo
            .steps
            .write()
            .unwrap_or_else(PoisonError::into_inner);
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
        let twins = node
            .memo
            .twins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for twin in twins {
            self.compare(bounds, &step, &twin, input);
        }
        let Step {
            body,
            sent,
            presumed,
            fault,
        } = step;
        let next = self.node(bounds, body);
        if next == node && sent.is_empty() && fault.is_none() {
            return None;
        }
        let letter = |(to, message)| self.letter(node.id, to, message);
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
        let same = other.body.view(bounds).0 == step.body.view(bounds).0
            && other.sent == step.sent
            && other.fault == step.fault;
        assert!(
            same,
            "one view, but two ways on by {input:?}:\n{step:?}\n{other:?}"
        );
        self.compared.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn node(&self, bounds: &Bounds, body: Body) -> &'static Node {
        let id = *body.election.node_id();
        let (view, campaign) = body.view(bounds);
        let key = (id, view);
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let number = u32::try_from(nodes.len()).expect("fewer states of nodes");
        if let Some(node) = nodes.get(&key).copied() {
            drop(nodes);
            if node.body.election != body.election {
                let mut twins = node
                    .memo
                    .twins
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if twins.len() < MOST_TWINS {
                    twins.push(body);
                }
            }
            return node;
        }
        let memo = Memo::default();
        let node = Box::leak(Box::new(Node {
            number,
            id,
            body,
            campaign,
            memo,
        }));
        nodes.insert(key, node);
        node
    }

    fn letter(&self, from: u8, to: u8, message: Message<u8>) -> &'static Letter {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// How often a letter that can do nothing any more was met by a node state, each of which must let it be.
    pub(crate) fn check_spent(&self, bounds: &Bounds) -> usize {
        let all = |nodes: &HashMap<_, &'static Node>| nodes.values().copied().collect::<Vec<_>>();
        let nodes = all(&self.nodes.lock().unwrap_or_else(PoisonError::into_inner));
        let letters: Vec<_> = self
            .letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .copied()
            .collect();
        let mut met = 0;
        // All pairs, or as many as a run has time for, spread over all.
        let stride = nodes.len() * letters.len() / MOST_PAIRS + 1;
        let pairs = nodes
            .iter()
            .flat_map(|node| letters.iter().map(move |letter| (*node, *letter)));
        for (node, letter) in pairs.step_by(stride) {
            if letter.to == node.id && letter.is_spent(node) && !node.walks() {
                let outcome = self.step(bounds, node, Input::Letter(letter));
                // No more than any noise does.
                let noise = self.step(bounds, node, Input::Noise);
                let parts = |outcome: &'static Outcome| (outcome.next, &outcome.sent);
                let same = outcome.map(parts) == noise.map(parts);
                assert!(same, "{letter:?} is not spent for {node:?}: {outcome:?}");
                met += 1;
            }
        }
        met
    }

    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            nodes: self
                .nodes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .len(),
            letters: self
                .letters
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .len(),
            calls: self.calls.load(Ordering::Relaxed),
            compared: self.compared.load(Ordering::Relaxed),
        }
    }
}

/// A number for an input, each its own: letters from 16 on.
fn code(input: Input<'_>) -> u32 {
    match input {
        Input::Tick => 0,
        Input::Fire => 1,
        Input::Restart => 2,
        Input::Noise => 3,
        Input::Order(number, _) => 4 + number,
        Input::Letter(letter) => 16 + letter.number,
    }
}
