//! At most one node leads a term (paper figure 3, election safety).

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// At most one node leads each term of each election, and whoever names a leader of a term names that one.
#[derive(Debug)]
pub struct OneLeader<I> {
    /// By group and term.
    leaders: BTreeMap<(u64, u64), I>,
}

impl<I> Default for OneLeader<I> {
    fn default() -> Self {
        let leaders = BTreeMap::new();
        Self { leaders }
    }
}

impl<M: Machine> Invariant<M> for OneLeader<M::Id> {
    fn name(&self) -> &'static str {
        "one leader a term"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        let Event::Drained { node } = event else {
            return Ok(());
        };
        for shown in world.shown(node) {
            let Some(leader) = &shown.leader else {
                continue;
            };
            let term = (shown.group, shown.term);
            match self.leaders.get(&term) {
                Some(known) if known == leader => {}
                Some(known) => {
                    return Err(format!(
                        "{known:?} leads term {}, and {node:?} takes {leader:?} for its leader",
                        shown.term
                    )
                    .into());
                }
                None if shown.is_leader() => {
                    self.leaders.insert(term, leader.clone());
                }
                None => {
                    return Err(format!(
                        "{node:?} takes {leader:?} for the leader of term {}, which nobody leads",
                        shown.term
                    )
                    .into());
                }
            }
        }
        Ok(())
    }
}
