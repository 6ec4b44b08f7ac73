//! Nobody votes for a candidate that knows less of who votes (logless section 4).

use super::{Broken, Event, Invariant};
use crate::message::MessageKind;
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// A vote goes to no candidate whose membership bears an older stamp than the voter's. A pre-vote neither.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NewestMembership;

impl<M: Machine> Invariant<M> for NewestMembership {
    fn name(&self) -> &'static str {
        "newest membership"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        let Event::Received { from, to, message } = event else {
            return Ok(());
        };
        for (group, message) in M::messages(message) {
            let MessageKind::VoteRequest { .. } = message.kind else {
                continue;
            };
            let before = world.shown_in(to, group);
            let mut elections = world.node(to).into_iter().flat_map(Machine::elections);
            let Some((_, election)) = elections.find(|(of, _)| *of == group) else {
                continue;
            };
            let hard_state = election.state().hard_state();
            let votes_for_it =
                hard_state.term() == message.term && hard_state.voted_for() == Some(*from);
            // A vote that was given before stands, whatever the voter has learned since.
            let is_new = before.is_none_or(|before| before.term < message.term);
            let stamp = hard_state.membership().stamp();
            if votes_for_it && is_new && !world.is_writing(to) && message.stamp < stamp {
                return Err(format!(
                    "{to:?} holds membership {stamp} and votes in term {} for {from:?}, who holds {}",
                    message.term, message.stamp
                )
                .into());
            }
        }
        Ok(())
    }
}
