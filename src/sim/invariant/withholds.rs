//! Who has heard a leader gives its vote to nobody else for an election timeout (thesis 4.2.3, 6.4.1).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::message::{Message, MessageKind};
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// Who has heard a leader's ping gives neither vote nor pre-vote to anyone else for an election timeout by its own clock,
/// over restarts too, unless the leader has ordered the candidate to campaign. And a leader gives none while its lease holds.
#[derive(Debug)]
pub struct Withholds<I> {
    /// By group and voter.
    heard: BTreeMap<(u64, I), Heard<I>>,
}

#[derive(Debug)]
struct Heard<I> {
    leader: I,
    /// By the voter's clock.
    at: Instant,
    disk: u64,
    /// The term in which the voter has voted, and for whom, when it heard it.
    voted: (u64, Option<I>),
    /// It was heard while an answer to somebody else was held up by the disk.
    is_late: bool,
}

impl<I> Default for Withholds<I> {
    fn default() -> Self {
        let heard = BTreeMap::new();
        Self { heard }
    }
}

impl<I: Id> Withholds<I> {
    /// A leader of this term was heard, unless its follower is beyond it.
    fn hears<M: Machine<Id = I>>(
        &mut self,
        world: &World<M>,
        (group, from, to): (u64, &I, &I),
        term: u64,
    ) {
        let mut elections = world.node(to).into_iter().flat_map(Machine::elections);
        let found = elections.find(|(of, _)| *of == group);
        let (Some((_, election)), Some(now)) = (found, world.clock_at(to, world.now())) else {
            return;
        };
        let state = election.state();
        let hard_state = state.hard_state();
        if state.leader() == Some(from) && hard_state.term() == term {
            let heard = Heard {
                leader: from.clone(),
                at: now,
                disk: world.disks(to),
                voted: (hard_state.term(), hard_state.voted_for().cloned()),
                is_late: world.is_writing(to),
            };
            self.heard.insert((group, to.clone()), heard);
        }
    }

    fn received<M: Machine<Id = I>>(
        &mut self,
        world: &World<M>,
        (group, from, to): (u64, &I, &I),
        message: &Message<I>,
    ) -> Result<(), Broken> {
        let asks_for_vote = matches!(
            message.kind,
            MessageKind::VoteRequest {
                transfer: false,
                ..
            }
        );
        let mut elections = world.node(to).into_iter().flat_map(Machine::elections);
        let found = elections.find(|(of, _)| *of == group);
        let Some((_, election)) = found.filter(|_| asks_for_vote) else {
            return Ok(());
        };
        let hard_state = election.state().hard_state();
        let voted = (hard_state.term(), hard_state.voted_for().cloned());
        if voted.0 != message.term || voted.1.as_ref() != Some(from) {
            return Ok(());
        }
        let mut saved = world.saved(to).into_iter().flat_map(M::hard_states);
        let stands = saved.any(|(of, saved)| {
            of == group && (saved.term(), saved.voted_for()) == (voted.0, Some(from))
        });
        self.gives(world, (group, to, from), "vote", |heard| {
            heard.voted != voted && !stands
        })
    }

    fn gives<M: Machine<Id = I>>(
        &self,
        world: &World<M>,
        (group, voter, candidate): (u64, &I, &I),
        what: &str,
        is_new: impl Fn(&Heard<I>) -> bool,
    ) -> Result<(), Broken> {
        let Some(now) = world.clock_at(voter, world.now()) else {
            return Ok(());
        };
        let mut elections = world.node(voter).into_iter().flat_map(Machine::elections);
        // What its disk has held up, it may have said before the lease was prolonged.
        let is_late = world.busy_since(voter) < world.now();
        let holds_lease =
            elections.any(|(of, election)| of == group && election.state().is_leader_at(now));
        if holds_lease && !is_late {
            let cause = format!("{voter:?} holds the lease and gives its {what} to {candidate:?}");
            return Err(cause.into());
        }
        let Some(heard) = self.heard.get(&(group, voter.clone())) else {
            return Ok(());
        };
        let silent = now.saturating_duration_since(heard.at);
        let is_bound = silent < world.timing().election_timeout
            && heard.leader != *candidate
            && heard.disk == world.disks(voter);
        if is_bound && is_new(heard) {
            let silent = silent.max(Duration::ZERO);
            return Err(format!(
                "{voter:?} heard {:?} lead {silent:?} ago and gives its {what} to {candidate:?}",
                heard.leader
            )
            .into());
        }
        Ok(())
    }
}

impl<M: Machine> Invariant<M> for Withholds<M::Id> {
    fn name(&self) -> &'static str {
        "votes withheld"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        match event {
            Event::Received { from, to, message } => {
                let heard = world.node(to).map(|node| node.heard(from, message));
                for (group, term) in heard.into_iter().flatten() {
                    self.hears(world, (group, from, to), term);
                }
                for (group, message) in M::messages(message) {
                    self.received(world, (group, from, to), message)?;
                }
            }
            Event::Sent { from, to, message } => {
                for (group, message) in M::messages(message) {
                    if let MessageKind::PreVote { granted: true, .. } = message.kind {
                        self.gives(world, (group, from, to), "pre-vote", |heard| !heard.is_late)?;
                    }
                }
            }
            Event::Drained { node } if !self.heard.is_empty() => {
                // Elected itself, by order of the leader that it heard: what it promised is over.
                for shown in world.shown(node).iter().filter(|shown| shown.is_leader()) {
                    self.heard.remove(&(shown.group, (*node).clone()));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
