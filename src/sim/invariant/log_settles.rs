//! When all faults are over, what is proposed is committed soon, and all voters apply it.

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::sim::log::LogNode;
use crate::sim::world::World;

/// When a run ends, every voter that runs has applied all that the leader had taken when nodes were last asked something, and
/// has it on its disk.
///
/// Not asked of a run in which so many disks are gone that a membership has no quorum left, nor if the leader has changed since.
#[derive(Debug, Default)]
pub struct LogSettles {
    /// The leader's term and its last entry, when nodes were last asked something.
    taken: Option<(u64, u64)>,
}

impl<I: Id> Invariant<LogNode<I>> for LogSettles {
    fn name(&self) -> &'static str {
        "logs settle"
    }

    fn check(
        &mut self,
        event: &Event<'_, LogNode<I>>,
        world: &World<LogNode<I>>,
    ) -> Result<(), Broken> {
        let Some((leader, shown)) = world.lease_holders().next() else {
            return Ok(());
        };
        match event {
            Event::Asked { .. } => {
                let last = world.node(leader).map(|node| node.raft().last().index);
                self.taken = last.map(|last| (shown.term, last));
                Ok(())
            }
            Event::Ended if world.could_settle() => {
                let taken = self.taken.filter(|(term, _)| *term == shown.term);
                let least = taken.map_or(0, |(_, last)| last);
                let voters = shown.membership.voters.iter();
                for (id, node) in voters.filter_map(|id| Some((id, world.node(id)?))) {
                    let applied = node.applied().last();
                    let applied = applied.map_or(0, |held| held.position.index);
                    let durable = node.raft().durable();
                    if applied < least || durable < least {
                        return Err(format!(
                            "{leader:?} had {least} entries long ago, and {id:?} has applied {applied} and saved {durable}"
                        )
                        .into());
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
