//! A healthy leader that a quorum can reach is never deposed (thesis 4.2.3, 9.6).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::membership::Stamp;
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// A leader stays while it and a quorum are well, connected both ways and in calm conditions, and have been for two whole
/// campaigns; unless it hands over, or was asked to do something.
///
/// A higher term that was there before still ends it, as in all of Raft: what must not happen is that one comes into
/// being.
#[derive(Debug)]
pub struct LeaderStays<I> {
    /// By group and term: when the first node took it.
    terms: BTreeMap<(u64, u64), Duration>,
    /// By group: who leads as far as was seen, and how.
    leading: BTreeMap<(u64, I), Leading>,
    /// When a node was last asked something.
    asked: BTreeMap<I, Duration>,
}

#[derive(Debug)]
struct Leading {
    term: u64,
    stamp: Stamp,
    /// Since when nothing of its own doing could end it.
    since: Duration,
    is_transferring: bool,
    quorum: usize,
}

impl<I> Default for LeaderStays<I> {
    fn default() -> Self {
        Self {
            terms: BTreeMap::new(),
            leading: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }
}

impl<I: Id> LeaderStays<I> {
    /// For how long the leader of these voters and a quorum of them have been fit to go on.
    fn fit_for<M: Machine<Id = I>>(world: &World<M>, leader: &I, voters: &[I]) -> Duration {
        let mut fit: Vec<Duration> = voters
            .iter()
            .map(|id| {
                if id == leader {
                    return Duration::MAX;
                }
                world
                    .well_for(id)
                    .min(world.connected_for(leader, id))
                    .min(world.connected_for(id, leader))
            })
            .collect();
        fit.sort_unstable();
        // The quorum that has been fit for longest.
        let of_quorum = fit.iter().rev().nth(voters.len() / 2).copied();
        of_quorum
            .unwrap_or_default()
            .min(world.well_for(leader))
            .min(world.calm_for())
    }

    fn drained<M: Machine<Id = I>>(&mut self, world: &World<M>, node: &I) -> Result<(), Broken> {
        let now = world.now();
        for shown in world.shown(node) {
            let key = (shown.group, node.clone());
            self.terms.entry((shown.group, shown.term)).or_insert(now);
            let before = self.leading.get_mut(&key);
            if shown.is_leader() {
                let stamp = shown.membership.stamp();
                let quorum = shown.membership.quorum();
                match before {
                    Some(before) if before.term == shown.term && before.stamp == stamp => {
                        before.is_transferring |= shown.is_transferring;
                    }
                    _ => {
                        let is_transferring = shown.is_transferring;
                        self.leading.insert(
                            key,
                            Leading {
                                term: shown.term,
                                stamp,
                                since: now,
                                is_transferring,
                                quorum,
                            },
                        );
                    }
                }
                continue;
            }
            let Some(before) = self.leading.remove(&key) else {
                continue;
            };
            let enough = world.timing().settled_after();
            let asked = self.asked.get(node).copied();
            let led = now.saturating_sub(before.since.max(asked.unwrap_or_default()));
            let voters = &shown.membership.voters;
            let fit = Self::fit_for(world, node, voters).min(led);
            if before.is_transferring || fit < enough || shown.membership.stamp() != before.stamp {
                continue;
            }
            let came = self.terms.get(&(shown.group, shown.term));
            let age = came.map_or(Duration::ZERO, |came| now.saturating_sub(*came));
            if shown.term > before.term && age + enough > fit {
                continue;
            }
            return Err(format!(
                "{node:?} leads term {} no more, although it and a quorum of {} were fit for {fit:?}",
                before.term, before.quorum
            )
            .into());
        }
        Ok(())
    }
}

impl<M: Machine> Invariant<M> for LeaderStays<M::Id> {
    fn name(&self) -> &'static str {
        "a healthy leader stays"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        match event {
            Event::Asked { node, .. } => {
                self.asked.insert((*node).clone(), world.now());
            }
            Event::Started { node } => self.leading.retain(|(_, id), _| id != *node),
            Event::Drained { node } => return self.drained(world, node),
            _ => {}
        }
        Ok(())
    }
}
