//! What a node keeps of each other node. Its size is all that a cluster's size costs.

use super::moment::Moment;
use super::outbox::{Reply, Request};
use crate::id::Id;
use crate::membership::{Membership, Stamp};
use crate::message::LogPosition;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer<I> {
    pub(super) id: I,
    /// The campaign or the ping that the waiting reply answers.
    pub(super) reply_round: u64,
    /// In a leader: how it answers.
    pub(super) progress: Progress,
    /// What few peers have.
    rare: Option<Box<Rare<I>>>,
    pub(super) voter: bool,
    /// The two places in which a message to it can wait.
    pub(super) request: Option<Request>,
    pub(super) reply: Option<Reply>,
    pub(super) knowledge: Knowledge,
    /// In a candidate: its answer to the present campaign.
    pub(super) verdict: Option<bool>,
    /// In a candidate: it answered the pre-vote of the present campaign, so it is there.
    pub(super) is_there: bool,
    /// It is no member, and only here until it has been told so.
    pub(super) leaving: bool,
}

/// Whether a peer holds this node's membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Knowledge {
    /// It has not been told.
    #[default]
    Untold,
    /// It was sent it, which may have been lost.
    Told,
    /// It has spoken under the same stamp since it was told.
    Holds,
}

/// What a pre-vote is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PreVoteAsk {
    pub(super) round: u64,
    /// The candidate's term; it asks for the one after it.
    pub(super) term: u64,
    pub(super) stamp: Stamp,
    pub(super) position: LogPosition,
    pub(super) priority: u64,
}

/// How a peer answers a leader's pings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    /// When the newest ping that it answered was sent.
    pub(super) confirmed: Option<Moment>,
    /// When its newest answer came.
    pub(super) heard: Option<Moment>,
    /// Its place among the successors.
    pub(super) rank: u32,
    /// It answered within the last election timeout: it stands among the followers.
    pub(super) live: bool,
    /// Rises with every ping answered, halves with every one that was not.
    pub(super) steadiness: u8,
}

/// What only few peers have, and not for long: nearly all do without the room for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rare<I> {
    /// The leader that the waiting reply names.
    pub(super) reply_leader: Option<I>,
    /// In a follower: a pre-vote that it asked for while votes were withheld.
    pub(super) withheld: Option<PreVoteAsk>,
    /// In a leader: what it last answered of its log and its priority.
    pub(super) position: LogPosition,
    pub(super) priority: u64,
    /// In a leader: since when it would be the better one, by priority.
    pub(super) superior_since: Option<Moment>,
    /// How many transfers to it were begun since it led last.
    pub(super) tries: u32,
}

impl<I> Rare<I> {
    const NOTHING: Self = Self {
        reply_leader: None,
        withheld: None,
        position: LogPosition::new(0, 0),
        priority: 0,
        superior_since: None,
        tries: 0,
    };
}

impl Progress {
    /// How steadily it answers, coarse enough that one lost message changes no rank of a steady peer for long.
    pub(super) fn steadiness_class(&self) -> u8 {
        self.steadiness / 64
    }
}

impl<I: Id> Peer<I> {
    pub(super) fn new(id: I, voter: bool) -> Self {
        Self {
            id,
            reply_round: 0,
            progress: Progress::default(),
            rare: None,
            voter,
            request: None,
            reply: None,
            knowledge: Knowledge::Untold,
            verdict: None,
            is_there: false,
            leaving: false,
        }
    }

    /// One that is no member and is to be told so.
    pub(super) fn stranger(id: I) -> Self {
        Self {
            leaving: true,
            ..Self::new(id, false)
        }
    }

    /// Whether it has anything of the rare.
    #[inline]
    pub(super) fn has_rare(&self) -> bool {
        self.rare.is_some()
    }

    #[inline]
    pub(super) fn rare(&self) -> &Rare<I> {
        self.rare.as_deref().unwrap_or(&Rare::NOTHING)
    }

    /// Changes something of the rare. Nothing of it has one form, so that peers of whom the same is known are equal.
    #[cold]
    pub(super) fn change_rare<T>(&mut self, change: impl FnOnce(&mut Rare<I>) -> T) -> T {
        let rare = self.rare.get_or_insert_with(|| Box::new(Rare::NOTHING));
        let result = change(rare);
        if **rare == Rare::NOTHING {
            self.rare = None;
        }
        result
    }

    /// Another leadership begins: what it answered in an earlier one counts no more.
    pub(super) fn begin_progress(&mut self) {
        self.progress = Progress::default();
        if self.has_rare() {
            self.change_rare(|rare| {
                (rare.position, rare.priority) = (LogPosition::default(), 0);
                rare.superior_since = None;
            });
        }
    }

    /// What it says of its log and its priority. `true`: that is new.
    #[inline]
    pub(super) fn tells(&mut self, position: LogPosition, priority: u64) -> bool {
        let rare = self.rare();
        let is_new = (rare.position, rare.priority) != (position, priority);
        if is_new {
            self.change_rare(|rare| (rare.position, rare.priority) = (position, priority));
        }
        is_new
    }

    /// Takes out the pre-vote that was withheld from it.
    pub(super) fn take_withheld(&mut self) -> Option<PreVoteAsk> {
        let waits = self.rare().withheld.is_some();
        waits.then(|| self.change_rare(|rare| rare.withheld.take()))?
    }

    /// Whoever has led is worth another transfer.
    pub(super) fn has_led(&mut self) {
        if self.rare().tries > 0 {
            self.change_rare(|rare| rare.tries = 0);
        }
    }

    /// The same peer under another membership, which it has yet to be told.
    fn anew(self) -> Self {
        Self {
            knowledge: Knowledge::Untold,
            ..self
        }
    }
}

/// The peers of a membership, sorted by id.
pub(super) fn peers_of<I: Id>(membership: &Membership<I>, me: &I) -> Vec<Peer<I>> {
    let voters = membership.voters.iter().map(|id| (id, true));
    let observers = membership.observers.iter().map(|id| (id, false));
    let members = voters.chain(observers).filter(|(id, _)| *id != me);
    // As large as it has to be: a peer is the larger part of a node's memory.
    let mut peers = Vec::with_capacity(members.clone().count());
    peers.extend(members.map(|(id, voter)| Peer::new(id.clone(), voter)));
    if !membership.observers.is_empty() {
        peers.sort_by(|a, b| a.id.cmp(&b.id));
    }
    peers
}

/// Gives the peers of a new membership what is known of those that were peers before, except what they hold: this is
/// another membership. Those who have left are kept only if they are to be told.
pub(super) fn carry_over<I: Id>(
    peers: &mut Vec<Peer<I>>,
    before: Vec<Peer<I>>,
    tell_leavers: bool,
) {
    for peer in before {
        match peers.binary_search_by(|member| member.id.cmp(&peer.id)) {
            Ok(at) => {
                if let Some(member) = peers.get_mut(at) {
                    *member = Peer {
                        voter: member.voter,
                        leaving: false,
                        ..peer.anew()
                    };
                }
            }
            Err(at) if tell_leavers => peers.insert(
                at,
                Peer {
                    leaving: true,
                    voter: false,
                    ..peer.anew()
                },
            ),
            Err(_) => {}
        }
    }
}
