//! When all faults are over there is one leader that all know, soon (paper 5.2), and the voters that were wished for.

use std::time::Duration;

use super::{Broken, Event, Invariant};
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// How many campaigns a cluster has, after its faults are over, until it is settled.
const CAMPAIGNS: u32 = 10;

/// When all faults are over, within ten campaigns (election timeout and spread) each election has one leader with a lease,
/// known to all of its voters that run; its voters are those wished for, and no other node takes itself for one.
///
/// Not asked of a run in which so many disks are gone that a membership has no quorum left.
#[derive(Debug, Default)]
pub struct Settles {
    healed: Option<Duration>,
    is_settled: bool,
}

impl Settles {
    /// How long a cluster with these durations has.
    #[must_use]
    pub fn limit(timing: &crate::sim::Timing) -> Duration {
        timing.patience() * CAMPAIGNS
    }

    /// Whether the run is as it should end.
    pub fn is_settled<M: Machine>(world: &World<M>) -> bool {
        let mut leaders = 0;
        for (leader, state) in world.lease_holders() {
            let membership = &state.membership;
            let has_arrived =
                membership.voters == membership.target && membership.observers.is_empty();
            if !has_arrived || !world.follow(leader, state) {
                return false;
            }
            leaders += 1;
        }
        // Every election that any node knows has its leader, and nobody campaigns who does not belong to it.
        let mut groups: Vec<u64> = Vec::new();
        for (id, _) in world.running() {
            for shown in world.shown(id) {
                let mut holders = world.lease_holders();
                let holder = holders.find(|(_, leader)| leader.group == shown.group);
                let in_place = holder.is_some_and(|(_, leader)| {
                    leader.membership.is_voter(id) == shown.membership.is_voter(id)
                });
                if !in_place {
                    return false;
                }
                if !groups.contains(&shown.group) {
                    groups.push(shown.group);
                }
            }
        }
        leaders == groups.len()
    }
}

impl<M: Machine> Invariant<M> for Settles {
    fn name(&self) -> &'static str {
        "a healed cluster settles"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        match event {
            Event::Healed => self.healed = Some(world.now()),
            Event::Drained { .. } if !self.is_settled => {
                let in_time = self.healed.is_some_and(|healed| {
                    world.now().saturating_sub(healed) <= Self::limit(world.timing())
                });
                self.is_settled = in_time && Self::is_settled(world);
            }
            Event::Ended if self.healed.is_some() && !self.is_settled && world.could_settle() => {
                return Err(format!(
                    "{:?} after the last fault there is no leader that all know, or not the voters wished for",
                    world.now().saturating_sub(self.healed.unwrap_or_default())
                )
                .into());
            }
            _ => {}
        }
        Ok(())
    }
}
