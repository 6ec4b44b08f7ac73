//! What was committed in a term is in the log of every leader of a later term (paper figure 3, leader completeness).

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::sim::log::{Held, LogNode};
use crate::sim::world::World;

/// Every leader's log has all that was committed in the terms before its own.
#[derive(Debug, Default)]
pub struct LeaderComplete {
    /// The last entry that a leader has committed, and its term.
    committed: Option<(u64, Held)>,
}

impl<I: Id> Invariant<LogNode<I>> for LeaderComplete {
    fn name(&self) -> &'static str {
        "leaders are complete"
    }

    fn check(
        &mut self,
        event: &Event<'_, LogNode<I>>,
        world: &World<LogNode<I>>,
    ) -> Result<(), Broken> {
        let Event::Drained { .. } = event else {
            return Ok(());
        };
        for (id, shown) in world.leaders() {
            let Some(node) = world.node(id) else {
                continue;
            };
            let commit = node.raft().commit();
            let is_more = |(_, last): &(u64, Held)| last.position.index < commit;
            if self.committed.as_ref().is_none_or(is_more)
                && let Some(held) = node.held(commit)
            {
                self.committed = Some((shown.term, held));
            }
        }
        let Some((term, last)) = self.committed else {
            return Ok(());
        };
        for (id, shown) in world.leaders() {
            let Some(node) = world.node(id).filter(|_| shown.term > term) else {
                continue;
            };
            let index = last.position.index;
            if index > node.base() && node.held(index) != Some(last) {
                return Err(format!(
                    "{id:?} leads term {} without {last:?}, which was committed in term {term}",
                    shown.term
                )
                .into());
            }
        }
        Ok(())
    }
}
