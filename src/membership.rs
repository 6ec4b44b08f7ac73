//! Who votes. A [`Membership`] is ordered by its [`Stamp`]; quorums are counted over its voters and nowhere else.

mod walk;

use std::fmt;
use std::sync::Arc;

use crate::id::Id;

pub(crate) use walk::Step;

/// Names one membership and orders it among all others: first by the term of the leader that installed it, then by
/// its version (logless section 3: a configuration's term and version).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(
    clippy::exhaustive_structs,
    reason = "a pair with an order; a third part would be another order"
)]
pub struct Stamp {
    /// The term of the leader that installed or last confirmed the membership; 0 for one from the settings.
    pub term: u64,
    /// Grows by one with every change of the membership; 0 for a node that belongs to nothing yet.
    pub version: u64,
}

impl Stamp {
    /// A stamp from its two parts.
    #[must_use]
    pub const fn new(term: u64, version: u64) -> Self {
        Self { term, version }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.version)
    }
}

/// The nodes of a cluster: who votes, who only listens, and who is wished to vote.
///
/// The lists are sorted and hold no id twice. A membership is immutable; nodes share one by `Arc`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Membership<I> {
    /// The term of its [`Stamp`].
    pub term: u64,
    /// The version of its [`Stamp`].
    pub version: u64,
    /// Who votes, and of whom a quorum is the majority.
    pub voters: Vec<I>,
    /// Who hears the leader without a vote.
    pub observers: Vec<I>,
    /// The voters that were last wished for. Equal to `voters` when nothing is left to change.
    pub target: Vec<I>,
    /// The version under which the target was set: tells a wish of long ago from one of now.
    pub target_version: u64,
}

impl<I: Id> Membership<I> {
    /// The most nodes that one membership may name, voters and observers together.
    pub const MAX_NODES: usize = 1_024;

    /// No cluster gets there.
    const MAX_VERSION: u64 = u64::MAX - (1 << 40);

    /// The membership that settings describe: these voters under the first stamp, `0.1`. Sorts them.
    #[must_use]
    pub fn initial(voters: impl IntoIterator<Item = I>) -> Self {
        let mut voters: Vec<I> = voters.into_iter().collect();
        voters.sort();
        Self {
            term: 0,
            version: 1,
            target: voters.clone(),
            target_version: 1,
            voters,
            observers: Vec::new(),
        }
    }

    /// The membership of a node that belongs to nothing yet: older than any other and without voters.
    #[must_use]
    pub fn none() -> Self {
        Self {
            term: 0,
            version: 0,
            voters: Vec::new(),
            observers: Vec::new(),
            target: Vec::new(),
            target_version: 0,
        }
    }

    /// Whether this is the other. By hand, for speed: lists of ids are short, and those of one process often one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || self.stamp() == other.stamp()
                && self.target_version == other.target_version
                && self.has_members_of(other)
                && are_same(&self.target, &other.target)
    }

    /// Whether the other has the same voters and observers.
    pub(crate) fn has_members_of(&self, other: &Self) -> bool {
        are_same(&self.voters, &other.voters) && are_same(&self.observers, &other.observers)
    }

    /// Whether nothing is left to change.
    pub(crate) fn is_at_target(&self) -> bool {
        self.observers.is_empty() && are_same(&self.voters, &self.target)
    }

    /// Whether this is the other but for the target: a wish for another target, said under the same stamp.
    pub(crate) fn differs_in_target_only(&self, other: &Self) -> bool {
        self.stamp() == other.stamp()
            && self.voters == other.voters
            && self.observers == other.observers
            && self.target != other.target
    }

    /// What orders it among other memberships.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp::new(self.term, self.version)
    }

    /// Whether this node has a vote.
    #[must_use]
    pub fn is_voter(&self, id: &I) -> bool {
        self.voters.binary_search(id).is_ok()
    }

    /// Whether this node belongs to the cluster, with a vote or without.
    #[must_use]
    pub fn contains(&self, id: &I) -> bool {
        self.is_voter(id) || self.observers.binary_search(id).is_ok()
    }

    /// How many voters make a quorum: more than half. 0 when there are no voters, and then nothing has a quorum.
    #[must_use]
    pub fn quorum(&self) -> usize {
        if self.voters.is_empty() {
            0
        } else {
            self.voters.len() / 2 + 1
        }
    }

    /// Whether it could have come from a node of this crate: lists sorted, nothing twice, not too many, nothing empty
    /// but in a node that belongs to nothing, room in the counter. Checked for everything from a peer or a store.
    pub(crate) fn is_well_formed(&self) -> bool {
        let ascending = |ids: &[I]| ids.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        let lists = ascending(&self.voters)
            && ascending(&self.observers)
            && ascending(&self.target)
            && !self.observers.iter().any(|id| self.is_voter(id));
        let sizes = self.voters.len() + self.observers.len() <= Self::MAX_NODES
            && self.target.len() <= Self::MAX_NODES
            && (self.version == 0 || !(self.voters.is_empty() || self.target.is_empty()));
        lists && sizes && self.target_version <= self.version && self.version <= Self::MAX_VERSION
    }

    /// The version after this one; none when the counter has run out of the room that peers accept.
    pub(crate) fn next_version(&self) -> Option<u64> {
        let next = self.version.checked_add(1)?;
        (next <= Self::MAX_VERSION).then_some(next)
    }
}

/// Whether two lists are the same, one by one: for so few, comparing memory costs more.
pub(crate) fn are_same<I: Eq>(some: &[I], others: &[I]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| one == other)
}

/// Where a count of votes stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// More answers are needed.
    Pending,
    /// A quorum granted.
    Won,
    /// So many refused that no quorum can grant any more.
    Lost,
}

/// Counts votes among `voters` voters, of whom `granted` said yes and `refused` said no.
pub(crate) fn tally(voters: usize, granted: usize, refused: usize) -> Tally {
    let quorum = voters / 2 + 1;
    if granted >= quorum {
        Tally::Won
    } else if voters - refused.min(voters) < quorum {
        Tally::Lost
    } else {
        Tally::Pending
    }
}

/// Shared, since every state and every message that carries one refers to the same membership.
pub(crate) type SharedMembership<I> = Arc<Membership<I>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_counted_as_pending_won_or_lost() {
        let cases = [
            // voters, granted, refused
            (1, 0, 0, Tally::Pending),
            (1, 1, 0, Tally::Won),
            (2, 1, 0, Tally::Pending),
            (2, 1, 1, Tally::Lost),
            (2, 2, 0, Tally::Won),
            (3, 1, 1, Tally::Pending),
            (3, 2, 0, Tally::Won),
            (3, 1, 2, Tally::Lost),
            (4, 2, 1, Tally::Pending),
            (4, 2, 2, Tally::Lost),
            (4, 3, 1, Tally::Won),
            (5, 2, 2, Tally::Pending),
            (5, 3, 2, Tally::Won),
            (5, 2, 3, Tally::Lost),
            (0, 0, 0, Tally::Lost),
        ];
        for (voters, granted, refused, expected) in cases {
            assert_eq!(
                tally(voters, granted, refused),
                expected,
                "{voters} voters, {granted} yes, {refused} no"
            );
        }
    }

    #[test]
    fn a_membership_from_outside_is_well_formed_or_refused() {
        let good = Membership::initial([3, 1, 2]);
        assert!(good.is_well_formed());
        assert_eq!(good.voters, [1, 2, 3]);
        let bad = [
            Membership {
                voters: vec![2, 1, 3],
                ..good.clone()
            },
            Membership {
                voters: vec![1, 1, 3],
                ..good.clone()
            },
            Membership {
                observers: vec![2],
                ..good.clone()
            },
            Membership {
                target: vec![2, 2],
                ..good.clone()
            },
            Membership {
                voters: (0..1_025).collect(),
                ..good.clone()
            },
        ];
        assert!(bad.iter().all(|membership| !membership.is_well_formed()));
    }
}
