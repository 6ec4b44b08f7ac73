//! Nobody takes a new term without the pre-votes of a quorum, or an order (thesis 9.6, 3.10).

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::message::MessageKind;
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// Whoever asks for votes has the pre-votes of a quorum for this very campaign, unless it was ordered to.
#[derive(Debug)]
pub struct PreVoted<I> {
    /// By group and candidate: the round that it asks for, and who has said yes to it.
    rounds: BTreeMap<(u64, I), (u64, Vec<I>)>,
    /// By group and candidate: the term for which it was found to have them.
    stood: BTreeMap<(u64, I), u64>,
}

impl<I> Default for PreVoted<I> {
    fn default() -> Self {
        let (rounds, stood) = (BTreeMap::new(), BTreeMap::new());
        Self { rounds, stood }
    }
}

impl<M: Machine> Invariant<M> for PreVoted<M::Id> {
    fn name(&self) -> &'static str {
        "pre-voted by a quorum"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        let Event::Sent { from, to, message } = event else {
            return Ok(());
        };
        for (group, message) in M::messages(message) {
            match message.kind {
                MessageKind::PreVoteRequest { round, .. } => {
                    let asked = self.rounds.entry((group, (*from).clone())).or_default();
                    if asked.0 != round {
                        *asked = (round, Vec::new());
                    }
                }
                MessageKind::PreVote {
                    round,
                    granted: true,
                    ..
                } => {
                    if let Some((asked, given)) = self.rounds.get_mut(&(group, (*to).clone()))
                        && *asked == round
                        && !given.contains(from)
                    {
                        given.push((*from).clone());
                    }
                }
                MessageKind::VoteRequest {
                    transfer: false, ..
                } => {
                    let candidate = (group, (*from).clone());
                    if self.stood.get(&candidate) == Some(&message.term) {
                        continue;
                    }
                    let machine = world.node(from).into_iter();
                    let mut elections = machine.flat_map(Machine::elections);
                    let Some((_, election)) = elections.find(|(of, _)| *of == group) else {
                        continue;
                    };
                    let membership = election.state().hard_state().membership();
                    let given = self.rounds.get(&candidate).map(|(_, given)| given);
                    let given = given.into_iter().flatten();
                    let count = given.filter(|id| membership.is_voter(id)).count() + 1;
                    if count < membership.quorum() {
                        return Err(format!(
                            "{from:?} asks for votes in term {} with {count} pre-votes of {:?}",
                            message.term, membership.voters
                        )
                        .into());
                    }
                    self.stood.insert(candidate, message.term);
                }
                _ => {}
            }
        }
        Ok(())
    }
}
