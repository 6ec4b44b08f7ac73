//! What a node keeps of each other node. Its size is all that a cluster's size costs.

use std::time::Instant;

use crate::id::Id;
use crate::membership::{Membership, Stamp};
use crate::message::{LogPosition, MessageKind, Slot};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer<I> {
    pub(super) id: I,
    pub(super) voter: bool,
    /// The two places in which a message to it can wait.
    pub(super) request: Option<MessageKind<I>>,
    pub(super) reply: Option<MessageKind<I>>,
    pub(super) knowledge: Knowledge,
    /// In a candidate: its answer to the present campaign.
    pub(super) verdict: Option<bool>,
    /// In a candidate: it answered the pre-vote of the present campaign, so it is there.
    pub(super) is_there: bool,
    /// In a follower: a pre-vote that it asked for while votes were withheld.
    pub(super) withheld: Option<PreVoteAsk>,
    /// In a leader: how it answers.
    pub(super) progress: Progress,
    /// It is no member, and only here until it has been told so.
    pub(super) leaving: bool,
    /// How many transfers to it were begun since it led last.
    pub(super) tries: u32,
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
    pub(super) confirmed: Option<Instant>,
    /// When its newest answer came.
    pub(super) heard: Option<Instant>,
    /// It answered within the last election timeout: it stands among the followers.
    pub(super) live: bool,
    /// Rises with every ping answered, halves with every one that was not.
    pub(super) steadiness: u8,
    /// Its place among the successors.
    pub(super) rank: u32,
    pub(super) position: LogPosition,
    pub(super) priority: u64,
    /// Since when it would be the better leader, by priority.
    pub(super) superior_since: Option<Instant>,
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
            voter,
            request: None,
            reply: None,
            knowledge: Knowledge::Untold,
            verdict: None,
            is_there: false,
            withheld: None,
            progress: Progress::default(),
            leaving: false,
            tries: 0,
        }
    }

    /// The same peer under another membership, which it has yet to be told.
    fn anew(self) -> Self {
        Self {
            knowledge: Knowledge::Untold,
            ..self
        }
    }

    pub(super) fn slot(&mut self, slot: Slot) -> &mut Option<MessageKind<I>> {
        match slot {
            Slot::Request => &mut self.request,
            Slot::Reply => &mut self.reply,
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
