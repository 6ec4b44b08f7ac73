//! Nothing that leaves a node depends on what it has not saved (paper figure 2, thesis 3.8).

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::membership::Stamp;
use crate::message::MessageKind;
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// A message tells of no term, vote or membership that is not on its sender's disk, or in the settings that it was started
/// with.
#[derive(Debug)]
pub struct WrittenAhead<I> {
    /// By group and node: the term and the stamp that it had when it was started.
    started: BTreeMap<(u64, I), (u64, Stamp)>,
}

impl<I> Default for WrittenAhead<I> {
    fn default() -> Self {
        let started = BTreeMap::new();
        Self { started }
    }
}

impl<M: Machine> Invariant<M> for WrittenAhead<M::Id> {
    fn name(&self) -> &'static str {
        "written ahead"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        match event {
            Event::Started { node } => {
                let elections = world.node(node).into_iter().flat_map(Machine::elections);
                for (group, election) in elections {
                    let hard_state = election.state().hard_state();
                    let start = (hard_state.term(), hard_state.membership().stamp());
                    self.started.insert((group, (*node).clone()), start);
                }
            }
            Event::Sent { from, to, message } => {
                for (group, message) in M::messages(message) {
                    let saved = world.saved(from).and_then(|saved| {
                        M::hard_states(saved)
                            .find(|(of, _)| *of == group)
                            .map(|(_, hard_state)| hard_state)
                    });
                    let known = match saved {
                        Some(saved) => Some((saved.term(), saved.membership().stamp())),
                        None => self.started.get(&(group, (*from).clone())).copied(),
                    };
                    let Some((term, stamp)) = known else {
                        continue;
                    };
                    if message.term > term || message.stamp > stamp {
                        return Err(format!(
                            "{from:?} speaks of term {} and membership {}, and has saved term {term} and {stamp}",
                            message.term, message.stamp
                        )
                        .into());
                    }
                    let voted_for = match &message.kind {
                        MessageKind::Vote { granted: true, .. } => to,
                        MessageKind::VoteRequest { .. } => from,
                        _ => continue,
                    };
                    let vote = saved.filter(|saved| saved.term() == message.term);
                    if vote.and_then(|saved| saved.voted_for()) != Some(voted_for) {
                        return Err(format!(
                            "{from:?} speaks of a vote for {voted_for:?} in term {}, which it has not saved",
                            message.term
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
