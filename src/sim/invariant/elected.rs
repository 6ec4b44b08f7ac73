//! Whoever leads was voted for by a quorum (paper 5.2).

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// Whoever leads a term has the votes of a quorum of its voters in this term, each on its voter's disk.
#[derive(Debug)]
pub struct Elected<I> {
    /// By group, term and candidate: who voted for it.
    votes: BTreeMap<(u64, u64, I), Vec<I>>,
    /// By group and leader: the last term for which it was found to have them.
    found: BTreeMap<(u64, I), u64>,
}

impl<I> Default for Elected<I> {
    fn default() -> Self {
        let (votes, found) = (BTreeMap::new(), BTreeMap::new());
        Self { votes, found }
    }
}

impl<M: Machine> Invariant<M> for Elected<M::Id> {
    fn name(&self) -> &'static str {
        "elected by a quorum"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        match event {
            Event::Saved { node } => {
                for (group, hard_state) in world.saved(node).into_iter().flat_map(M::hard_states) {
                    let Some(candidate) = hard_state.voted_for() else {
                        continue;
                    };
                    let vote = (group, hard_state.term(), candidate.clone());
                    let voters = self.votes.entry(vote).or_default();
                    if !voters.contains(node) {
                        voters.push((*node).clone());
                    }
                }
            }
            Event::Drained { node } => {
                for shown in world.shown(node).iter().filter(|shown| shown.is_leader()) {
                    let (group, term) = (shown.group, shown.term);
                    if self.found.insert((group, (*node).clone()), term) == Some(term) {
                        continue;
                    }
                    let votes = self.votes.get(&(group, term, (*node).clone()));
                    let voters = votes.into_iter().flatten();
                    let count = voters.filter(|id| shown.membership.is_voter(id)).count();
                    if count < shown.membership.quorum() {
                        return Err(format!(
                            "{node:?} leads term {term}, and only {votes:?} of {:?} voted for it",
                            shown.membership.voters
                        )
                        .into());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
