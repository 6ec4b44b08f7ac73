//! What a leader commits is on the disks of a quorum (paper 5.3, thesis 10.2.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::membership::Membership;
use crate::message::LogPosition;
use crate::raft::MemoryLog;
use crate::sim::host::Shown;
use crate::sim::log::LogNode;
use crate::sim::world::World;

/// Whenever a leader commits, the entry is on the disks of a quorum of its voters; and it is of the leader's own term.
#[derive(Debug)]
pub struct CommittedOnQuorum<I> {
    /// By node: its commit index and its membership when it was looked at last.
    seen: BTreeMap<I, (u64, Arc<Membership<I>>)>,
}

impl<I> Default for CommittedOnQuorum<I> {
    fn default() -> Self {
        let seen = BTreeMap::new();
        Self { seen }
    }
}

/// Whether an entry is on a disk, or in the snapshot that is there.
fn is_on<I>(disk: &MemoryLog<I>, position: LogPosition) -> bool {
    let snapshot = disk
        .snapshot()
        .map_or(0, |(snapshot, _)| snapshot.position.index);
    let batches = disk.batches();
    let at = batches.partition_point(|batch| batch.last() < position.index);
    let found = batches
        .get(at)
        .filter(|batch| batch.first() <= position.index);
    position.index <= snapshot || found.is_some_and(|batch| batch.term() == position.term)
}

impl<I: Id> Invariant<LogNode<I>> for CommittedOnQuorum<I> {
    fn name(&self) -> &'static str {
        "committed by a quorum's disks"
    }

    fn check(
        &mut self,
        event: &Event<'_, LogNode<I>>,
        world: &World<LogNode<I>>,
    ) -> Result<(), Broken> {
        match event {
            Event::Started { node } => {
                self.seen.remove(*node);
                Ok(())
            }
            Event::Drained { node } => self.look_at(node, world),
            _ => Ok(()),
        }
    }
}

impl<I: Id> CommittedOnQuorum<I> {
    fn look_at(&mut self, id: &I, world: &World<LogNode<I>>) -> Result<(), Broken> {
        let Some(node) = world.node(id) else {
            return Ok(());
        };
        let state = node.raft().state();
        let (commit, term) = (node.raft().commit(), state.term());
        let membership = state.hard_state().membership();
        let now = (commit, Arc::clone(membership));
        let before = self.seen.insert(id.clone(), now);
        let (before, old) = before.unwrap_or_else(|| (node.base(), Arc::clone(membership)));
        if commit < before {
            return Err(format!("{id:?} had committed {before}, and now {commit}").into());
        }
        let leads = world.shown(id).iter().any(Shown::is_leader);
        let Some(held) = node.held(commit).filter(|_| leads && commit > before) else {
            return Ok(());
        };
        if held.position.term != term {
            return Err(
                format!("{id:?} leads term {term} and commits {held:?} by counting").into(),
            );
        }
        let has_it = |voter: &&I| {
            let disk = world.saved(voter);
            world.is_gone(voter) || disk.is_some_and(|disk| is_on(disk, held.position))
        };
        // The voters may have changed after it was committed.
        let by_quorum = |membership: &Membership<I>| {
            membership.voters.iter().filter(has_it).count() >= membership.quorum()
        };
        if !by_quorum(membership) && !by_quorum(&old) {
            return Err(format!(
                "{id:?} commits {held:?}, which is on the disks of no quorum of {:?}",
                membership.voters
            )
            .into());
        }
        Ok(())
    }
}
