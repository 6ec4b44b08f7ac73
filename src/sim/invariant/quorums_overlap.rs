//! A membership steps only to one whose quorums overlap with its own, and only when it is confirmed (logless section 4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::membership::{Membership, Stamp};
use crate::message::{Message, MessageKind};
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// A leader's next membership has no quorum that misses one of the present membership; and a quorum of the present one
/// holds it, on disk and in this term, before the voters change. One stamp names one membership.
///
/// Who holds a membership counts from when it has heard a ping of the leader since it was installed: its vote is withheld
/// from then on.
#[derive(Debug)]
pub struct QuorumsOverlap<I> {
    /// By group and stamp.
    known: BTreeMap<(u64, Stamp), Known<I>>,
    /// By group and leader.
    led: BTreeMap<(u64, I), Led<I>>,
    /// By group and voter: the term of the newest leader that it has heard, and when it heard it last.
    heard: BTreeMap<(u64, I), (u64, Duration)>,
}

#[derive(Debug)]
struct Known<I> {
    membership: Arc<Membership<I>>,
    /// When its leader can have installed it at the earliest.
    since: Duration,
    saved_by: Vec<I>,
}

/// The membership under which a node led last.
#[derive(Debug)]
struct Led<I> {
    term: u64,
    membership: Arc<Membership<I>>,
}

impl<I> Default for QuorumsOverlap<I> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            led: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }
}

impl<I: Id> QuorumsOverlap<I> {
    fn note(
        &mut self,
        group: u64,
        node: &I,
        membership: &Arc<Membership<I>>,
        since: Duration,
    ) -> Result<(), Broken> {
        let entry = self.known.entry((group, membership.stamp()));
        let known = entry.or_insert_with(|| Known {
            membership: Arc::clone(membership),
            since,
            saved_by: Vec::new(),
        });
        let first = &known.membership;
        if !Arc::ptr_eq(first, membership) && first != membership {
            return Err(format!(
                "two memberships under stamp {}: {first:?} and {node:?}'s {membership:?}",
                membership.stamp()
            )
            .into());
        }
        if !known.saved_by.contains(node) {
            known.saved_by.push(node.clone());
        }
        Ok(())
    }

    fn hear(&mut self, group: u64, node: &I, message: &Message<I>, now: Duration) {
        if let MessageKind::Ping { .. } = message.kind {
            let heard = self.heard.entry((group, node.clone())).or_default();
            if heard.0 <= message.term {
                *heard = (message.term, now);
            }
        }
    }

    fn step(
        &mut self,
        group: u64,
        term: u64,
        leader: &I,
        next: &Arc<Membership<I>>,
    ) -> Result<(), Broken> {
        let now = Led {
            term,
            membership: Arc::clone(next),
        };
        let Some(last) = self.led.insert((group, leader.clone()), now) else {
            return Ok(());
        };
        let before = &last.membership;
        if last.term != term || before.voters == next.voters {
            return Ok(());
        }
        if !overlap(&before.voters, &next.voters) {
            return Err(format!(
                "{leader:?} steps from voters {:?} to {:?}: there are quorums without a common node",
                before.voters, next.voters
            )
            .into());
        }
        let confirmed = self.known.get(&(group, before.stamp())).map_or(0, |known| {
            let has_heard = |id: &&I| {
                let heard = self.heard.get(&(group, (*id).clone()));
                *id == leader || heard.is_some_and(|heard| *heard >= (term, known.since))
            };
            let holders = known.saved_by.iter().filter(|id| before.is_voter(id));
            holders.filter(has_heard).count()
        });
        if confirmed < before.quorum() {
            return Err(format!(
                "{leader:?} steps on from membership {} with voters {:?}, which only {confirmed} of them hold",
                before.stamp(),
                before.voters
            )
            .into());
        }
        Ok(())
    }
}

impl<M: Machine> Invariant<M> for QuorumsOverlap<M::Id> {
    fn name(&self) -> &'static str {
        "quorums overlap"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        match event {
            Event::Saved { node } => {
                for (group, hard_state) in world.saved(node).into_iter().flat_map(M::hard_states) {
                    self.note(group, node, hard_state.membership(), world.busy_since(node))?;
                }
            }
            Event::Received { to, message, .. } => {
                for (group, message) in M::messages(message) {
                    self.hear(group, to, message, world.now());
                }
            }
            Event::Drained { node } => {
                for shown in world.shown(node).iter().filter(|shown| shown.is_leader()) {
                    self.step(shown.group, shown.term, node, &shown.membership)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether every majority of the one has a node in common with every majority of the other. Both are sorted.
fn overlap<I: Ord>(one: &[I], other: &[I]) -> bool {
    let common = one
        .iter()
        .filter(|id| other.binary_search(id).is_ok())
        .count();
    // The fewest common nodes that a majority needs, when it takes all the others first.
    let needs = |voters: usize| (voters / 2 + 1).saturating_sub(voters - common);
    needs(one.len()) + needs(other.len()) > common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majorities_overlap_as_counting_all_of_them_says() {
        let sets: Vec<u32> = (1..32).collect();
        let ids = |set: u32| -> Vec<u32> { (0..5).filter(|id| set & (1 << id) != 0).collect() };
        let majorities = |set: u32| {
            let of = set;
            (1..32_u32)
                .filter(move |part| part & of == *part && part.count_ones() * 2 > of.count_ones())
        };
        for one in &sets {
            for other in &sets {
                let all = majorities(*one).all(|a| majorities(*other).all(|b| a & b != 0));
                assert_eq!(overlap(&ids(*one), &ids(*other)), all, "{one:b} {other:b}");
            }
        }
    }
}
