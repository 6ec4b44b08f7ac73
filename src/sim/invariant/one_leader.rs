//! At most one node leads a term (paper figure 3, election safety).

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::message::MessageKind;
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

impl<I: Id> OneLeader<I> {
    fn leads(&mut self, term: (u64, u64), leader: &I) -> Result<(), Broken> {
        match self.leaders.get(&term) {
            Some(known) if known != leader => {
                Err(format!("{known:?} and {leader:?} lead term {}", term.1).into())
            }
            Some(_) => Ok(()),
            None => {
                self.leaders.insert(term, leader.clone());
                Ok(())
            }
        }
    }
}

impl<M: Machine> Invariant<M> for OneLeader<M::Id> {
    fn name(&self) -> &'static str {
        "one leader a term"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        let node = match event {
            Event::Sent { from, message, .. } => {
                // Of many elections on a node, one may have said so before the others are saved.
                for (group, message) in M::messages(message) {
                    if let MessageKind::Ping { .. } = message.kind {
                        self.leads((group, message.term), from)?;
                    }
                }
                return Ok(());
            }
            Event::Drained { node } => node,
            _ => return Ok(()),
        };
        for shown in world.shown(node) {
            let Some(leader) = &shown.leader else {
                continue;
            };
            let term = (shown.group, shown.term);
            if shown.is_leader() {
                self.leads(term, leader)?;
                continue;
            }
            match self.leaders.get(&term) {
                Some(known) if known == leader => {}
                Some(known) => {
                    return Err(format!(
                        "{known:?} leads term {}, and {node:?} takes {leader:?} for its leader",
                        shown.term
                    )
                    .into());
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
