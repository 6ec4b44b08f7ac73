//! What a node is and knows: the state it shows, the part of it that must survive a restart, and its counters.

use std::sync::Arc;
use std::time::Instant;

use crate::id::{Id, NodeId};
use crate::membership::{Membership, SharedMembership};

/// The part a node plays.
///
/// ```text
///              silence for its timeout           a quorum votes
///   Follower ───────────────────────▶ Candidate ─────────────────▶ Leader
///      ▲                                  │                          │
///      ├──── a leader, a higher term ─────┘                          │
///      └──── a higher term, a quorum out of reach, resigned ─────────┘
///
///   Observer: belongs to the cluster without a vote, or does not belong to it.
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum NodeType {
    /// Listens to a leader, or waits for one.
    Follower,
    /// Asks for votes, or whether it would get them.
    Candidate,
    /// Was elected in this term.
    Leader,
    /// Has no vote and never campaigns.
    Observer,
}

impl std::fmt::Display for NodeType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Observer => "observer",
        })
    }
}

/// What a node must remember across a restart (paper figure 2, persistent state): without it a node could vote
/// twice in one term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(deserialize = "I: serde::de::DeserializeOwned"))
)]
pub struct HardState<I = NodeId> {
    pub(crate) term: u64,
    pub(crate) voted_for: Option<I>,
    pub(crate) membership: SharedMembership<I>,
}

impl<I: Id> HardState<I> {
    /// A hard state from its parts, for a store that keeps them apart.
    #[must_use]
    pub fn new(term: u64, voted_for: Option<I>, membership: impl Into<Arc<Membership<I>>>) -> Self {
        Self {
            term,
            voted_for,
            membership: membership.into(),
        }
    }

    /// The newest term that the node knows of.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Whom the node voted for in that term.
    #[must_use]
    pub fn voted_for(&self) -> Option<&I> {
        self.voted_for.as_ref()
    }

    /// The newest membership that the node knows of.
    #[must_use]
    pub fn membership(&self) -> &Arc<Membership<I>> {
        &self.membership
    }
}

/// What a node shows of itself.
///
/// A node emits one (`ToSelf`) whenever anything here changes, except that a lease which is merely prolonged is not
/// announced: read the newest from the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeState<I = NodeId> {
    pub(crate) node_type: NodeType,
    pub(crate) leader: Option<I>,
    pub(crate) lease: Option<Instant>,
    pub(crate) hard_state: HardState<I>,
    leading: Option<Arc<Leading<I>>>,
}

/// What only a leader shows. Changes seldom and is shared, so that a state is small and its copy cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Leading<I> {
    followers: Box<[I]>,
    /// None in a leader that only leads, as nearly all do.
    intent: Option<Box<Intent<I>>>,
}

/// What a leader is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Intent<I> {
    transferring_to: Option<I>,
    waiting_for: Vec<I>,
}

impl<I> Intent<I> {
    const NONE: Self = Self {
        transferring_to: None,
        waiting_for: Vec::new(),
    };
}

impl<I: Id> NodeState<I> {
    /// The state of a node that has just started.
    pub(crate) fn new(hard_state: HardState<I>) -> Self {
        Self {
            node_type: NodeType::Follower,
            leader: None,
            lease: None,
            hard_state,
            leading: None,
        }
    }

    pub(crate) fn set_followers(&mut self, followers: Vec<I>) {
        // Nobody else looks at it if all states that came out are gone.
        let unshared = self.leading.as_mut().and_then(Arc::get_mut);
        if let Some(leading) = unshared.filter(|_| !followers.is_empty()) {
            leading.followers = followers.into();
            return;
        }
        let intent = self.intent().cloned();
        self.show(followers.into(), intent.map(Box::new));
    }

    pub(crate) fn set_transferring_to(&mut self, to: Option<I>) {
        self.intend(|intent| intent.transferring_to = to);
    }

    pub(crate) fn set_waiting_for(&mut self, nodes: Vec<I>) {
        self.intend(|intent| intent.waiting_for = nodes);
    }

    /// No leader any more.
    pub(crate) fn clear_leading(&mut self) {
        self.leading = None;
    }

    fn intend(&mut self, change: impl FnOnce(&mut Intent<I>)) {
        let mut intent = self.intent().cloned().unwrap_or(Intent::NONE);
        change(&mut intent);
        let intends = intent.transferring_to.is_some() || !intent.waiting_for.is_empty();
        self.show(self.followers().into(), intends.then(|| Box::new(intent)));
    }

    fn show(&mut self, followers: Box<[I]>, intent: Option<Box<Intent<I>>>) {
        // Nothing to show has one form, so that states which show the same are equal.
        let shows = !followers.is_empty() || intent.is_some();
        self.leading = shows.then(|| Arc::new(Leading { followers, intent }));
    }

    fn intent(&self) -> Option<&Intent<I>> {
        self.leading.as_ref()?.intent.as_deref()
    }
}

impl<I: Id> NodeState<I> {
    /// The part that the node plays.
    #[must_use]
    pub fn node_type(&self) -> NodeType {
        self.node_type
    }

    /// The node's term. In a leader it is the fencing token: it grows with every leadership, in the whole cluster.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.hard_state.term
    }

    /// Who leads, as far as the node knows: itself, the leader that it hears, or one that others told it of.
    #[must_use]
    pub fn leader(&self) -> Option<&I> {
        self.leader.as_ref()
    }

    /// In a leader: the other nodes that answered within the last election timeout, sorted. Looked at when an
    /// answer comes and at every heartbeat. Empty in all others.
    #[must_use]
    pub fn followers(&self) -> &[I] {
        self.leading
            .as_ref()
            .map_or(&[], |leading| &leading.followers)
    }

    /// The voters.
    #[must_use]
    pub fn nodes(&self) -> &[I] {
        &self.hard_state.membership.voters
    }

    /// Who hears the leader without a vote.
    #[must_use]
    pub fn observers(&self) -> &[I] {
        &self.hard_state.membership.observers
    }

    /// In a leader: until when no other node can lead, as of this state. `None` while a new leader awaits its first
    /// confirmation, while leadership is being handed over, and in all others.
    ///
    /// It is a promise under a bounded error of clock *rates* (`max_clock_drift`). It does not survive a machine
    /// that was suspended with its monotonic clock stopped; the fencing token ([`term`](Self::term)) does.
    #[must_use]
    pub fn lease(&self) -> Option<Instant> {
        self.lease
    }

    /// Whether the node leads at `now`: elected, and its lease not over.
    #[must_use]
    pub fn is_leader_at(&self, now: Instant) -> bool {
        self.node_type == NodeType::Leader && self.lease.is_some_and(|end| now < end)
    }

    /// In a leader: to whom leadership is being handed over. Back to `None` when that is over, taken or not.
    #[must_use]
    pub fn transferring_to(&self) -> Option<&I> {
        self.intent()?.transferring_to.as_ref()
    }

    /// The voters that were last wished for, as far as the wish has come to this node through a leader. Equal to
    /// [`nodes`](Self::nodes) when the change is complete.
    #[must_use]
    pub fn target(&self) -> &[I] {
        &self.hard_state.membership.target
    }

    /// In a leader: the nodes that must answer before it can take the next step towards the
    /// [`target`](Self::target). Empty when it waits for none.
    #[must_use]
    pub fn waiting_for(&self) -> &[I] {
        self.intent().map_or(&[], |intent| &intent.waiting_for)
    }

    /// What must survive a restart. Save it before anything behind it in the stream leaves this machine.
    #[must_use]
    pub fn hard_state(&self) -> &HardState<I> {
        &self.hard_state
    }
}

/// How much a node has dropped, by reason, since it was made. Each is also a `tracing` event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Stats {
    /// Messages of another cluster.
    pub foreign_cluster: u64,
    /// Messages of senders that do not belong to the cluster.
    pub strangers: u64,
    /// Messages that no correct node sends: a term so far ahead that the counter could run out, a round that was
    /// never asked for, a second leader in one term, the receiver's own id as the sender.
    pub malformed: u64,
    /// Messages of a kind that this version does not know.
    pub unsupported: u64,
    /// Messages of nodes that hold a different membership under the same stamp: one of the two was started with a
    /// wrong list.
    pub conflicting: u64,
    /// Messages that came too late to count: of an older term, an older campaign or a round already answered.
    pub stale: u64,
    /// Votes and pre-votes that were withheld for a leader's sake.
    pub withheld: u64,
}

impl Stats {
    /// Nothing dropped yet.
    pub(crate) const NONE: Self = Self {
        foreign_cluster: 0,
        strangers: 0,
        malformed: 0,
        unsupported: 0,
        conflicting: 0,
        stale: 0,
        withheld: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_show_the_same_are_equal_whatever_was_shown_before() {
        let fresh = NodeState::new(HardState::new(1, None, Membership::initial([1, 2, 3])));
        let mut shown = fresh.clone();
        shown.set_followers(vec![2]);
        shown.set_waiting_for(vec![3]);
        assert_eq!(
            (shown.followers(), shown.waiting_for()),
            (&[2][..], &[3][..])
        );
        assert_ne!(shown, fresh);
        shown.set_followers(Vec::new());
        shown.set_waiting_for(Vec::new());
        assert_eq!(shown, fresh);
    }
}
