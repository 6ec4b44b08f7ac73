//! While a lease lasts, no quorum is free to vote for another (thesis 6.4.1).

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Broken, Event, Invariant};
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// While a lease lasts, so many voters withhold their votes that the others are no quorum: each from when it last heard its
/// leader in this term, by its own clock. That is why leases stay apart, and is seen to be wrong long before two of them
/// meet.
///
/// What counts as hearing a leader, [`Machine::may_have_heard`] says.
#[derive(Debug)]
pub struct LeaseBacked<I> {
    /// By group, leader, its term and the voter: what the voter's clock showed.
    heard: BTreeMap<(u64, I, I), (u64, Instant)>,
}

impl<I> Default for LeaseBacked<I> {
    fn default() -> Self {
        let heard = BTreeMap::new();
        Self { heard }
    }
}

impl<M: Machine> Invariant<M> for LeaseBacked<M::Id> {
    fn name(&self) -> &'static str {
        "lease backed by a quorum"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        match event {
            Event::Received { from, to, message } => {
                let Some(now) = world.clock_at(to, world.now()) else {
                    return Ok(());
                };
                let heard = world
                    .node(to)
                    .map(|node| node.may_have_heard(from, message));
                for (group, term) in heard.into_iter().flatten() {
                    let way = (group, (*from).clone(), (*to).clone());
                    let heard = self.heard.entry(way).or_insert((term, now));
                    if heard.0 <= term {
                        *heard = (term, now);
                    }
                }
                Ok(())
            }
            Event::Drained { node } => self.drained(world, node),
            _ => Ok(()),
        }
    }
}

impl<I: crate::Id> LeaseBacked<I> {
    fn drained<M: Machine<Id = I>>(&self, world: &World<M>, node: &I) -> Result<(), Broken> {
        let timeout = world.timing().election_timeout;
        for shown in world.shown(node).iter().filter(|shown| shown.is_leader()) {
            let Some(end) = shown.lease.and_then(|end| world.time_when(node, end)) else {
                continue;
            };
            if end <= world.now() {
                continue;
            }
            let is_free = |voter: &&I| {
                if *voter == node {
                    return false;
                }
                let way = (shown.group, node.clone(), (*voter).clone());
                let heard = self.heard.get(&way).filter(|(term, _)| *term == shown.term);
                let until = heard.and_then(|(_, at)| world.time_when(voter, *at + timeout));
                until.is_none_or(|until| until < end)
            };
            let membership = &shown.membership;
            let free: Vec<_> = membership.voters.iter().filter(is_free).collect();
            if free.len() >= membership.quorum() {
                return Err(format!(
                    "{node:?} has the lease until {end:?}, and by then {free:?} of {:?} are free to vote",
                    membership.voters
                )
                .into());
            }
        }
        Ok(())
    }
}
