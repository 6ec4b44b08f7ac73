//! A leader never overwrites or drops entries of its log (paper figure 3, leader append-only).

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::sim::log::{Held, LogNode};
use crate::sim::world::World;

/// As long as a node leads a term, its log only grows.
#[derive(Debug)]
pub struct LeaderAppendOnly<I> {
    /// By node: the term that it leads, and its last entry.
    leading: BTreeMap<I, (u64, Held)>,
}

impl<I> Default for LeaderAppendOnly<I> {
    fn default() -> Self {
        let leading = BTreeMap::new();
        Self { leading }
    }
}

impl<I: Id> Invariant<LogNode<I>> for LeaderAppendOnly<I> {
    fn name(&self) -> &'static str {
        "a leader's log only grows"
    }

    fn check(
        &mut self,
        event: &Event<'_, LogNode<I>>,
        world: &World<LogNode<I>>,
    ) -> Result<(), Broken> {
        let Event::Drained { node: id } = event else {
            return Ok(());
        };
        let Some(node) = world.node(id) else {
            return Ok(());
        };
        let Some(shown) = world.shown(id).iter().find(|shown| shown.is_leader()) else {
            self.leading.remove(*id);
            return Ok(());
        };
        let last = node.last_held();
        let before = self.leading.insert((*id).clone(), (shown.term, last));
        match before {
            Some((term, before)) if term == shown.term => {
                let index = before.position.index;
                let is_kept = index <= node.base() || node.held(index) == Some(before);
                if !is_kept || last.position.index < index {
                    let cause = format!("{id:?} leads term {term} and has lost {before:?}");
                    return Err(cause.into());
                }
            }
            _ => {}
        }
        Ok(())
    }
}
