//! A leader that no quorum answers steps down in time (check-quorum, thesis 6.2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Broken, Event, Invariant};
use crate::membership::Membership;
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// What a node may be late by: its timers are asked in turn.
const SLACK: Duration = Duration::from_millis(1);

/// A leader of which no quorum has been heard for a `leadership_timeout`, by its own clock, leads no more as soon as it is
/// awake.
#[derive(Debug)]
pub struct LeaderStepsDown<I> {
    /// By group and leader.
    trusted: BTreeMap<(u64, I), Trusted<I>>,
}

#[derive(Debug)]
struct Trusted<I> {
    term: u64,
    membership: Arc<Membership<I>>,
    /// When a quorum was last heard, or the leadership began. It stays when the voters change: the answers of the old ones
    /// count until the new ones have had time for theirs.
    at: Duration,
}

impl<I> Default for LeaderStepsDown<I> {
    fn default() -> Self {
        let trusted = BTreeMap::new();
        Self { trusted }
    }
}

/// When a leader has last heard a quorum of these voters.
fn quorum_heard<M: Machine>(
    world: &World<M>,
    leader: &M::Id,
    membership: &Membership<M::Id>,
) -> Option<Duration> {
    let Some(others) = membership.quorum().checked_sub(2) else {
        return Some(world.now());
    };
    let voters = membership.voters.iter().filter(|id| *id != leader);
    let mut heard: Vec<Duration> = voters
        .filter_map(|id| world.last_arrival(id, leader))
        .collect();
    heard.sort_unstable();
    heard.iter().rev().nth(others).copied()
}

impl<M: Machine> Invariant<M> for LeaderStepsDown<M::Id> {
    fn name(&self) -> &'static str {
        "a leader without a quorum steps down"
    }

    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
        let Event::Drained { .. } = event else {
            return Ok(());
        };
        let (now, limit) = (world.now(), world.timing().leadership_timeout);
        for (leader, shown) in world.leaders() {
            let new = || Trusted {
                term: shown.term,
                membership: Arc::clone(&shown.membership),
                at: now,
            };
            let key = (shown.group, leader.clone());
            let trusted = self.trusted.entry(key).or_insert_with(new);
            if trusted.term != shown.term {
                *trusted = new();
            }
            let mut heard = quorum_heard(world, leader, &shown.membership);
            if !Arc::ptr_eq(&trusted.membership, &shown.membership) {
                // The last answer under the old membership may have brought the new one.
                heard = heard.max(quorum_heard(world, leader, &trusted.membership));
                trusted.membership = Arc::clone(&shown.membership);
            }
            trusted.at = trusted.at.max(heard.unwrap_or_default());
            let Some(shows) = world.clock_at(leader, trusted.at) else {
                continue;
            };
            let end = world.time_when(leader, shows + limit).unwrap_or(now) + SLACK;
            if now > end && world.is_awake(leader) && world.well_for(leader) > SLACK {
                return Err(format!(
                    "{leader:?} still leads term {} of group {}, and heard a quorum last at {:?}",
                    shown.term, shown.group, trusted.at
                )
                .into());
            }
        }
        Ok(())
    }
}
