//! Terms and memberships only grow, also over restarts, and so do fencing tokens (paper 5.1, logless section 3).

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::membership::Stamp;
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// A node's term never falls, nor does the stamp of its membership; and who gets a lease has a greater term, which is its
/// fencing token, than all who had one before.
#[derive(Debug)]
pub struct TermsGrow<I> {
    /// By group, node and its disk.
    seen: BTreeMap<(u64, I, u64), (u64, Stamp)>,
    /// By group: the greatest term in which anyone held a lease, and who.
    tokens: BTreeMap<u64, (u64, I)>,
}

impl<I> Default for TermsGrow<I> {
    fn default() -> Self {
        let (seen, tokens) = (BTreeMap::new(), BTreeMap::new());
        Self { seen, tokens }
    }
}

impl<M: Machine> Invariant<M> for TermsGrow<M::Id> {
    fn name(&self) -> &'static str {
        "terms grow"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        let (Event::Started { node } | Event::Drained { node }) = event else {
            return Ok(());
        };
        let Some(machine) = world.node(node) else {
            return Ok(());
        };
        let disk = world.disks(node);
        for (group, election) in machine.elections() {
            let hard_state = election.state().hard_state();
            let now = (hard_state.term(), hard_state.membership().stamp());
            let node = (*node).clone();
            let before = self.seen.entry((group, node, disk)).or_insert(now);
            if now.0 < before.0 || now.1 < before.1 {
                let (term, stamp) = *before;
                return Err(format!(
                    "{:?} falls back from term {term} and membership {stamp} to term {} and membership {}",
                    election.node_id(),
                    now.0,
                    now.1
                )
                .into());
            }
            *before = now;
        }
        for shown in world.shown(node).iter().filter(|shown| shown.is_leader()) {
            let Some(clock) = world.clock_at(node, world.now()) else {
                continue;
            };
            if !shown.holds_lease_at(clock) {
                continue;
            }
            let token = self
                .tokens
                .entry(shown.group)
                .or_insert_with(|| (shown.term, (*node).clone()));
            if token.0 > shown.term {
                return Err(format!(
                    "{node:?} gets the lease in term {}, and {:?} had it in term {}",
                    shown.term, token.1, token.0
                )
                .into());
            }
            if token.0 < shown.term {
                *token = (shown.term, (*node).clone());
            }
        }
        Ok(())
    }
}
