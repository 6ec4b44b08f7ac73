//! What nodes with a log say to each other.

use super::entry::Batch;
use super::store::{Snapshot, SnapshotPart};
use crate::id::NodeId;
use crate::message::{ClusterTag, LogPosition, Message};

/// One message from one node to another: the election's, or one about the log.
///
/// All but the election's are heard only between a leader and its followers in the same term: who leads, and in which term,
/// the election's messages say. Losing, doubling and overtaking are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(deserialize = "I: serde::de::DeserializeOwned"))
)]
#[non_exhaustive]
pub enum RaftMessage<I = NodeId> {
    /// The election's.
    Election(Message<I>),
    /// The leader's entries.
    Append(Append),
    /// How far a follower's log agrees with its leader's.
    AppendAck(AppendAck),
    /// The leader's snapshot, for a follower that needs entries which the leader has no more.
    Snapshot(SnapshotSend),
    /// How much of it a follower has.
    SnapshotAck(SnapshotAck),
}

/// What every message about the log begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Head {
    /// The cluster of the sender.
    pub cluster: ClusterTag,
    /// The sender's term.
    pub term: u64,
    /// From a leader: the newest round of its reads that waits for a quorum. From a follower: the newest that it has heard
    /// of its leader (thesis 6.4).
    pub round: u64,
}

impl Head {
    /// Of a cluster without a name.
    #[must_use]
    pub fn new(term: u64, round: u64) -> Self {
        Self {
            cluster: ClusterTag::default(),
            term,
            round,
        }
    }
}

/// Entries of a leader for a follower (paper 5.3, figure 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Append {
    /// The leader's cluster, term, and round of reads.
    pub head: Head,
    /// The position before the entries. A follower that has another one there refuses them.
    pub previous: LogPosition,
    /// Up to which index the leader knows the log to be committed.
    pub commit: u64,
    /// The entries; none to ask how far the follower is, or to tell it what is committed.
    pub entries: Option<Batch>,
}

impl Append {
    /// Entries behind this position.
    #[must_use]
    pub fn new(head: Head, previous: LogPosition, commit: u64, entries: Option<Batch>) -> Self {
        Self {
            head,
            previous,
            commit,
            entries,
        }
    }
}

/// A follower's answer to [`Append`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct AppendAck {
    /// The follower's cluster, term, and round of reads.
    pub head: Head,
    /// Up to this index its log is durable and the same as this term's leader's.
    pub matched: u64,
    /// Up to which index it knows the log to be committed.
    pub commit: u64,
    /// It has refused entries.
    pub refused: Option<Refused>,
}

impl AppendAck {
    /// The log is the same up to here, as far as it is durable, and committed up to there.
    #[must_use]
    pub fn new(head: Head, matched: u64, commit: u64, refused: Option<Refused>) -> Self {
        Self {
            head,
            matched,
            commit,
            refused,
        }
    }
}

/// Why a follower has refused entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Refused {
    /// The index of the position that it does not have.
    pub previous: u64,
    /// The last of its entries at which the two logs may agree: not behind that position in index nor in term.
    pub hint: LogPosition,
}

impl Refused {
    /// Entries behind this index were refused, and the logs may agree up to that position.
    #[must_use]
    pub fn new(previous: u64, hint: LogPosition) -> Self {
        Self { previous, hint }
    }
}

/// A part of a leader's snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SnapshotSend {
    /// The leader's cluster, term, and round of reads.
    pub head: Head,
    /// The part. Without bytes it asks how much the follower has.
    pub part: SnapshotPart,
}

impl SnapshotSend {
    /// This part.
    #[must_use]
    pub fn new(head: Head, part: SnapshotPart) -> Self {
        Self { head, part }
    }
}

/// A follower's answer to a part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SnapshotAck {
    /// The follower's cluster, term, and round of reads.
    pub head: Head,
    /// Of which snapshot.
    pub snapshot: Snapshot,
    /// How many of its bytes the follower has: the next part begins there.
    pub received: u64,
}

impl SnapshotAck {
    /// So many bytes of this snapshot are there.
    #[must_use]
    pub fn new(head: Head, snapshot: Snapshot, received: u64) -> Self {
        Self {
            head,
            snapshot,
            received,
        }
    }
}

impl<I> RaftMessage<I> {
    /// Roughly how many bytes it has.
    #[must_use]
    pub fn size(&self) -> usize {
        let more = match self {
            Self::Append(append) => append.entries.as_ref().map_or(0, Batch::size),
            Self::Snapshot(send) => send.part.data.len(),
            Self::Election(_) | Self::AppendAck(_) | Self::SnapshotAck(_) => 0,
        };
        64 + more
    }
}

impl<I> From<Message<I>> for RaftMessage<I> {
    fn from(message: Message<I>) -> Self {
        Self::Election(message)
    }
}
