//! No two leases overlap in true time (thesis 6.4.1).

use super::{Broken, Event, Invariant};
use crate::sim::host::Shown;
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// At no instant of true time do two nodes hold the lease of one election, each by its own clock: not even while one of
/// them is paused and its application still reads the lease.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct LeasesApart;

impl<M: Machine> Invariant<M> for LeasesApart {
    fn name(&self) -> &'static str {
        "leases apart"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        let Event::Drained { node } = event else {
            return Ok(());
        };
        if !world.shown(node).iter().any(Shown::is_leader) {
            return Ok(()); // an overlap begins when a lease does
        }
        let held = || world.lease_holders();
        for (one, mine) in held().filter(|(id, _)| id == node) {
            for (other, theirs) in held().filter(|(id, _)| *id != one) {
                if mine.group == theirs.group {
                    return Err(format!(
                        "{one:?} holds the lease in term {} and {other:?} in term {}",
                        mine.term, theirs.term
                    )
                    .into());
                }
            }
        }
        Ok(())
    }
}
