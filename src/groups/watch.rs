//! For who shows single groups to the rest of a program: which of them may have changed, and what prolongs their leases.

use std::time::{Duration, Instant};

use super::Elections;
use super::group::Stage;
use crate::id::Id;

/// The links that prolong a leader's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prolonged {
    pub(crate) term: u64,
    pub(crate) span: Duration,
    /// How many links must have answered.
    pub(crate) quorum: usize,
    /// Links to voters, each with the first round that counts.
    pub(crate) links: Vec<(u32, u64)>,
}

/// What a link has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) link: u32,
    pub(crate) session: u64,
    /// Rounds are microseconds from here.
    pub(crate) since: Instant,
    pub(crate) round: Option<u64>,
}

impl<K: Id, I: Id> Elections<K, I> {
    /// From now on this group is told of when it may have changed. False: there is no such group.
    pub(crate) fn watch(&mut self, key: &K) -> bool {
        let place = self.places.get(key).copied();
        let group = place.and_then(|place| self.group_mut(place));
        group.is_some_and(|group| {
            group.is_watched = true;
            true
        })
    }

    /// A watched group that may have changed, or gone, since it was taken last.
    pub(crate) fn take_changed(&mut self) -> Option<K> {
        let key = self.changed.pop()?;
        let place = self.places.get(&key).copied();
        if let Some(group) = place.and_then(|place| self.group_mut(place)) {
            group.is_noted = false;
        }
        Some(key)
    }

    /// Notes that a group may have changed.
    pub(super) fn note_change(&mut self, place: u32) {
        let slot = self.groups.get_mut(place as usize);
        if let Some(group) = slot.and_then(Option::as_deref_mut)
            && group.is_watched
            && !std::mem::replace(&mut group.is_noted, true)
        {
            self.changed.push(group.key.clone());
        }
    }

    /// The links that prolong this group's lease as long as it is not told of.
    pub(crate) fn prolonged(&self, key: &K) -> Option<Prolonged> {
        let group = self.group(*self.places.get(key)?)?;
        let state = group.election.state();
        state.lease()?;
        let membership = state.hard_state().membership();
        let leading = group.attachments.iter().filter_map(|at| match at.stage {
            Stage::Leading { from_round } => Some((at.link, from_round)),
            _ => None,
        });
        let is_voter = |link: &u32| {
            let link = self.links.get(*link as usize);
            link.is_some_and(|link| membership.is_voter(&link.id))
        };
        let links: Vec<_> = leading.filter(|(link, _)| is_voter(link)).collect();
        let quorum = membership.quorum().saturating_sub(1);
        (quorum > 0 && links.len() >= quorum).then(|| Prolonged {
            term: state.term(),
            span: self.common.lease_span,
            quorum,
            links,
        })
    }

    /// What a link has answered so far.
    pub(crate) fn answer_of(&self, link: u32) -> Option<Answer> {
        let speaker = &self.links.get(link as usize)?.speaker;
        Some(speaker.answer(link))
    }

    /// A link that has answered since it was taken last.
    pub(crate) fn take_answered(&mut self) -> Option<Answer> {
        let link = self.answered.pop()?;
        self.answer_of(link)
    }
}
