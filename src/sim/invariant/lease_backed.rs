//! While a lease lasts, no quorum is free to vote for another (thesis 6.4.1).

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Broken, Event, Invariant};
use crate::message::MessageKind;
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// While a lease lasts, so many voters withhold their votes that the others are no quorum: each from when it last heard its
/// leader in this term, by its own clock. That is why leases stay apart, and is seen to be wrong long before two of them
/// meet.
///
/// A voter has heard a leader when it has got a ping of its term, or a message of a layer above in which there is no
/// election's message at all.
#[derive(Debug)]
pub struct LeaseBacked<I> {
    /// By group, leader, its term and the voter: what the voter's clock showed.
    pings: BTreeMap<(u64, I, I), (u64, Instant)>,
    /// By sender and receiver of a message without elections in it.
    others: BTreeMap<(I, I), Instant>,
}

impl<I> Default for LeaseBacked<I> {
    fn default() -> Self {
        let (pings, others) = (BTreeMap::new(), BTreeMap::new());
        Self { pings, others }
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
                let mut is_other = true;
                for (group, message) in M::messages(message) {
                    is_other = false;
                    if let MessageKind::Ping { .. } = message.kind {
                        let way = (group, (*from).clone(), (*to).clone());
                        let heard = self.pings.entry(way).or_insert((message.term, now));
                        if heard.0 <= message.term {
                            *heard = (message.term, now);
                        }
                    }
                }
                if is_other {
                    let way = ((*from).clone(), (*to).clone());
                    self.others.insert(way, now);
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
                let ping = self.pings.get(&way).filter(|(term, _)| *term == shown.term);
                let ping = ping.map(|(_, at)| *at);
                let heard = ping.max(self.others.get(&(way.1, way.2)).copied());
                let until = heard.and_then(|at| world.time_when(voter, at + timeout));
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
