//! A node votes for one candidate a term (paper 5.2), also over restarts.

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::message::MessageKind;
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// A node votes for one candidate in each term, for ever: by what it saves and by what it says.
///
/// A node whose disk was [wiped](crate::sim::Cluster::wipe) is another voter for this invariant. What it then does to the
/// others is seen by [`OneLeader`](super::OneLeader).
#[derive(Debug)]
pub struct OneVote<I> {
    /// By group, term, voter and its disk.
    votes: BTreeMap<(u64, u64, I, u64), I>,
}

impl<I> Default for OneVote<I> {
    fn default() -> Self {
        let votes = BTreeMap::new();
        Self { votes }
    }
}

impl<I: crate::Id> OneVote<I> {
    fn note<M: Machine<Id = I>>(
        &mut self,
        world: &World<M>,
        (group, term): (u64, u64),
        voter: &I,
        candidate: &I,
    ) -> Result<(), Broken> {
        let vote = (group, term, voter.clone(), world.disks(voter));
        let before = self.votes.entry(vote).or_insert_with(|| candidate.clone());
        if before == candidate {
            return Ok(());
        }
        Err(format!("{voter:?} votes for {before:?} and for {candidate:?} in term {term}").into())
    }
}

impl<M: Machine> Invariant<M> for OneVote<M::Id> {
    fn name(&self) -> &'static str {
        "one vote a term"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        match event {
            Event::Saved { node } => {
                let Some(saved) = world.saved(node) else {
                    return Ok(());
                };
                for (group, hard_state) in M::hard_states(saved) {
                    if let Some(candidate) = hard_state.voted_for() {
                        self.note(world, (group, hard_state.term()), node, candidate)?;
                    }
                }
            }
            Event::Sent { from, to, message } => {
                for (group, message) in M::messages(message) {
                    if let MessageKind::Vote { granted: true, .. } = message.kind {
                        self.note(world, (group, message.term), from, to)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
