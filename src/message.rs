//! What nodes say to each other, and what goes in and out of a node.

use crate::id::{Id, NodeId};
use crate::membership::{SharedMembership, Stamp};
use crate::state::NodeState;

/// How far a node's replicated log reaches, ordered as Raft orders logs (paper section 5.4.1): by the term of the
/// last entry, then by its index. Zero for election alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(
    clippy::exhaustive_structs,
    reason = "Raft's own pair; its order is its meaning"
)]
pub struct LogPosition {
    /// The term of the last entry.
    pub term: u64,
    /// The index of the last entry.
    pub index: u64,
}

impl LogPosition {
    /// A position from its two parts.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term, index }
    }
}

/// Stands for a cluster's name in every message, so that nodes of other clusters are not heard.
///
/// A digest of 32 bits (FNV-1a) and not the name: it guards against mistakes, not against forgers. The hello that
/// opens a connection compares whole names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClusterTag(u32);

impl ClusterTag {
    /// The tag of a cluster's name. A cluster without a name (`""`) has the default tag.
    #[must_use]
    pub fn new(cluster: &str) -> Self {
        if cluster.is_empty() {
            return Self::default();
        }
        let digest = cluster.bytes().fold(0x811c_9dc5_u32, |digest, byte| {
            (digest ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Self(digest)
    }

    #[cfg(feature = "codec")]
    pub(crate) const fn to_be_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    #[cfg(feature = "codec")]
    pub(crate) const fn from_be_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }
}

/// One message from one node to another.
///
/// Nodes make their own messages; [`Message::new`] is there for tests and for other implementations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(deserialize = "I: serde::de::DeserializeOwned"))
)]
#[non_exhaustive]
pub struct Message<I = NodeId> {
    /// The cluster of the sender.
    pub cluster: ClusterTag,
    /// The sender's term when it spoke. In a [`MessageKind::PreVoteRequest`] too: what is asked for there is the
    /// term after it.
    pub term: u64,
    /// The stamp of the sender's membership.
    pub stamp: Stamp,
    /// The sender's membership itself, as long as the receiver is not known to hold it.
    pub membership: Option<SharedMembership<I>>,
    /// What it says.
    pub kind: MessageKind<I>,
}

impl<I> Message<I> {
    /// A message of a cluster without a name.
    #[must_use]
    pub fn new(term: u64, stamp: Stamp, kind: MessageKind<I>) -> Self {
        Self {
            cluster: ClusterTag::default(),
            term,
            stamp,
            membership: None,
            kind,
        }
    }

    /// The same message from a node of this cluster.
    #[must_use]
    pub fn with_cluster(mut self, cluster: ClusterTag) -> Self {
        self.cluster = cluster;
        self
    }

    /// The same message with the sender's membership.
    #[must_use]
    pub fn with_membership(mut self, membership: SharedMembership<I>) -> Self {
        self.membership = Some(membership);
        self
    }
}

/// What a [`Message`] says.
///
/// Requests: `PreVoteRequest`, `VoteRequest`, `Ping`, `TimeoutNow`. Replies: `PreVote`, `Vote`, `Pong`. A reply
/// tells what its sender knows (its term, its membership's stamp, the leader), even when it refuses, so that a node
/// which can reach only a follower still learns who leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum MessageKind<I = NodeId> {
    /// Would you vote for me in the term after mine? Changes nobody's term (thesis 9.6).
    PreVoteRequest {
        /// Which of the sender's campaigns asks; the answer repeats it.
        round: u64,
        /// How far the sender's log reaches.
        position: LogPosition,
        /// The sender's `leader_priority`.
        priority: u64,
    },
    /// The answer to a `PreVoteRequest`.
    PreVote {
        /// The campaign that it answers.
        round: u64,
        /// Whether the sender would vote for the receiver.
        granted: bool,
        /// The leader that the sender knows of.
        leader: Option<I>,
    },
    /// Vote for me in this message's term (paper section 5.2).
    VoteRequest {
        /// How far the sender's log reaches.
        position: LogPosition,
        /// The campaign was ordered by the leader's `TimeoutNow`: a vote need not be withheld (thesis 4.2.3).
        transfer: bool,
    },
    /// The answer to a `VoteRequest`. The message's term is the voter's: a refusal in an older term than the
    /// candidate's is a vote withheld, which may yet be given.
    Vote {
        /// Whether the sender voted for the receiver in the message's term.
        granted: bool,
        /// The leader that the sender knows of.
        leader: Option<I>,
    },
    /// The leader's heartbeat.
    Ping {
        /// When it was sent, in microseconds since the sender began to lead; the answer repeats it.
        round: u64,
        /// The receiver's place among the successors, 0 for the first. `None`: it has none.
        succession: Option<u32>,
    },
    /// The answer to a `Ping`.
    Pong {
        /// The round of the newest `Ping` from that leader; `u64::MAX` if that one was of an older term than the
        /// answer, which only tells that it is over.
        round: u64,
        /// How far the sender's log reaches.
        position: LogPosition,
        /// The sender's `leader_priority`.
        priority: u64,
    },
    /// The leader hands over: campaign now, for the next term (thesis 3.10).
    TimeoutNow,
    /// Of one machine to another: stands for a `Ping` to every group that is attached to this link. Only
    /// [`Groups`](crate::Groups) says and hears it; the message's term and stamp are zero.
    Beat(Box<Beat>),
    /// The answer to a `Beat`: stands for the `Pong` of every attached group.
    BeatAck(Box<Beat>),
    /// From now on the sender's beats are to stand for its pings to this group. Asked when the receiver has answered a
    /// `Ping` in this term and at this stamp.
    Attach(Attachment),
    /// The answer to an `Attach`: the receiver's beats stand for its pings.
    Attached(Attachment),
    /// A kind that this version does not know. Never sent; a codec makes it of what it cannot read, and a node
    /// counts and ignores it. It is never taken for a refusal.
    #[cfg_attr(feature = "serde", serde(skip))]
    Unknown,
}

impl<I> MessageKind<I> {
    /// Which of the two places of a peer it takes: at most one message waits in each.
    #[must_use]
    pub fn slot(&self) -> Slot {
        match self {
            Self::PreVote { .. }
            | Self::Vote { .. }
            | Self::Pong { .. }
            | Self::BeatAck(_)
            | Self::Attached(_) => Slot::Reply,
            Self::PreVoteRequest { .. }
            | Self::VoteRequest { .. }
            | Self::Ping { .. }
            | Self::TimeoutNow
            | Self::Beat(_)
            | Self::Attach(_)
            | Self::Unknown => Slot::Request,
        }
    }

    /// Which place it takes where messages of many groups wait for one machine.
    pub(crate) fn place(&self) -> Place {
        match (self, self.slot()) {
            (Self::Beat(_), _) => Place::Beat,
            (Self::BeatAck(_), _) => Place::BeatAck,
            (Self::Attach(_), _) => Place::Attach,
            (Self::Attached(_), _) => Place::Attached,
            (_, Slot::Request) => Place::Request,
            (_, Slot::Reply) => Place::Reply,
        }
    }
}

/// What two machines say to each other for all the groups between them, in a [`Beat`](MessageKind::Beat) and in its
/// answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Beat {
    /// The session of the machine that leads: another one after every restart. The answer repeats it.
    pub session: u64,
    /// The session of the machine that follows, as its last answer named it. `None`: it has not answered in this session.
    pub listener: Option<u64>,
    /// When the beat was sent, in microseconds since the session began. The answer repeats it.
    pub round: u64,
    /// How many attachments the sender has ended in this session.
    pub detached: u64,
    /// The last of them, which the receiver is not known to have heard of.
    pub news: Vec<u64>,
    /// How many of those that the receiver has ended the sender has heard of.
    pub heard: u64,
}

impl Beat {
    /// What is said first in a session.
    #[must_use]
    pub const fn new(session: u64, listener: Option<u64>, round: u64) -> Self {
        Self {
            session,
            listener,
            round,
            detached: 0,
            news: Vec::new(),
            heard: 0,
        }
    }
}

/// One group's attachment to the beats of one machine to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Attachment {
    /// The session of the machine that leads.
    pub session: u64,
    /// The session of the machine that follows.
    pub listener: u64,
    /// Names it. Never used again in the session.
    pub number: u64,
    /// How many attachments the sender had ended when it said this.
    pub detached: u64,
}

impl Attachment {
    /// An attachment from its parts.
    #[must_use]
    pub const fn new(session: u64, listener: u64, number: u64, detached: u64) -> Self {
        Self {
            session,
            listener,
            number,
            detached,
        }
    }
}

/// The two places in which a message to one peer can wait. A newer message replaces an older one of its slot: the
/// protocol tolerates loss and gains nothing from what is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever keeps slots must know that there are two"
)]
pub enum Slot {
    /// For what a node says of its own accord.
    Request,
    /// For what it answers.
    Reply,
}

/// The places in which messages of many groups wait for one machine. A newer message replaces an older one of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Request,
    Reply,
    Attach,
    Attached,
    Beat,
    BeatAck,
}

impl Place {
    /// Whether each group has a place of its own, and not the link between the two machines one for all groups.
    pub(crate) const fn is_of_group(self) -> bool {
        match self {
            Self::Request | Self::Reply | Self::Attach | Self::Attached => true,
            Self::Beat | Self::BeatAck => false,
        }
    }
}

/// A message that knows its [`Slot`], as those of a node do. So it is a [`Payload`](crate::Payload) that waits in two
/// places.
pub trait Slotted {
    /// Which place it takes.
    fn slot(&self) -> Slot;
}

impl<I> Slotted for Message<I> {
    fn slot(&self) -> Slot {
        self.kind.slot()
    }
}

/// What comes out of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MsgRouter<I = NodeId, M = Message<I>> {
    /// To this node's owner: its state has changed. Comes out before every `ToNode` that depends on it.
    ToSelf(NodeState<I>),
    /// To another node. Losing it is allowed.
    ToNode(I, M),
}

/// What goes into a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Inbound<I = NodeId, M = Message<I>> {
    /// From another node, which the transport vouches for.
    FromNode(I, M),
    /// From this node's owner.
    FromSelf(Command<I>),
}

/// What a node's owner can ask of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command<I = NodeId> {
    /// Wishes for these voters, whatever the present ones are. The leader of the day carries it out, one voter at a
    /// time; the newest wish wins.
    SetNodes(Vec<I>),
    /// A layer above heard from the leader: as good as its `Ping` for not campaigning.
    MarkAlive,
    /// Sets this node's `leader_priority`.
    SetPriority(u64),
    /// Hands leadership over to this voter.
    Transfer(I),
    /// Gives leadership up and hands it over to the best successor. No effect on who does not lead.
    Resign,
    /// Resigns, lets go of what still has to leave, and ends the node.
    Stop,
}

impl<I: Id> From<Command<I>> for Inbound<I> {
    fn from(command: Command<I>) -> Self {
        Self::FromSelf(command)
    }
}
