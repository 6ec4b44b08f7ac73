//! No two nodes apply different entries at one index (paper figure 3, state machine safety).

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::sim::log::LogNode;
use crate::sim::world::World;

/// Whatever nodes apply at an index is the same, and so is all that they have applied before it.
#[derive(Debug)]
pub struct AppliedAlike<I> {
    /// By index: the digest of the entry and of all before it.
    states: BTreeMap<u64, u64>,
    /// How much of what each node has applied was looked at.
    seen: BTreeMap<I, usize>,
}

impl<I> Default for AppliedAlike<I> {
    fn default() -> Self {
        let (states, seen) = (BTreeMap::new(), BTreeMap::new());
        Self { states, seen }
    }
}

impl<I: Id> Invariant<LogNode<I>> for AppliedAlike<I> {
    fn name(&self) -> &'static str {
        "state machines are alike"
    }

    fn check(
        &mut self,
        event: &Event<'_, LogNode<I>>,
        world: &World<LogNode<I>>,
    ) -> Result<(), Broken> {
        match event {
            Event::Started { node } => {
                self.seen.remove(*node);
            }
            Event::Drained { node: id } => {
                let Some(node) = world.node(id) else {
                    return Ok(());
                };
                if let Some(cause) = node.broken() {
                    return Err(format!("{id:?}: {cause}").into());
                }
                let applied = node.applied();
                let seen = self.seen.entry((*id).clone()).or_default();
                for held in applied.get(*seen..).unwrap_or_default() {
                    let index = held.position.index;
                    let known = *self.states.entry(index).or_insert(held.digest);
                    if known != held.digest {
                        return Err(format!(
                            "{id:?} has applied another entry {index}, or others before it, than another node"
                        )
                        .into());
                    }
                }
                *seen = applied.len();
            }
            _ => {}
        }
        Ok(())
    }
}
