//! How messages of nodes with a log wait for a peer, and what they are as bytes.
//!
//! Absent here: the form of the election's messages, which is that of `codec/payload.rs`.

use super::message::RaftMessage;
use crate::message::{Slot, Slotted};
use crate::waiting::{Payload, Queue, Queued};

/// The election's messages wait in their [`Slot`]s and go first; what is about the log waits in line. What finds no room
/// there is let go: the leader hears of it by an answer, or asks with its next heartbeat.
impl<I> Queued for RaftMessage<I> {
    /// Twice the default [window](super::LogLimits::window), so that a line that moves has room for all of it.
    const MAX_BYTES: usize = 8 << 20;

    /// As many small messages as a leader of many short proposals has on the way.
    const MAX_COUNT: usize = 1_024;

    fn slot(&self) -> Option<Slot> {
        match self {
            Self::Election(message) => Some(message.slot()),
            _ => None,
        }
    }

    fn size(&self) -> usize {
        self.size()
    }
}

impl<I> Payload for RaftMessage<I> {
    type Waiting = Queue<Self>;
}

#[cfg(feature = "codec")]
mod bytes {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use crate::codec::{CodecError, DEFAULT_MAX_FRAME_LEN, Decode, Encode, Reader, Wire, Writer};
    use crate::id::Id;
    use crate::message::Message;
    use crate::raft::entry::HEADER;
    use crate::raft::{LogLimits, RaftMessage};

    // What a message begins with. Behind it comes, of an election's, what it is without a log, and of all others what serde
    // writes.
    const ELECTION: u8 = 0;
    const APPEND: u8 = 1;
    const APPEND_ACK: u8 = 2;
    const SNAPSHOT: u8 = 3;
    const SNAPSHOT_ACK: u8 = 4;

    impl<I: Id + Serialize> Encode for RaftMessage<I> {
        fn encode(&self, to: &mut Writer<'_>) -> Result<(), CodecError> {
            match self {
                Self::Election(message) => {
                    to.bytes(&[ELECTION])?;
                    message.encode(to)
                }
                Self::Append(append) => tagged(to, APPEND, append),
                Self::AppendAck(ack) => tagged(to, APPEND_ACK, ack),
                Self::Snapshot(send) => tagged(to, SNAPSHOT, send),
                Self::SnapshotAck(ack) => tagged(to, SNAPSHOT_ACK, ack),
            }
        }
    }

    fn tagged(to: &mut Writer<'_>, tag: u8, said: &impl Serialize) -> Result<(), CodecError> {
        to.bytes(&[tag])?;
        to.value(said)
    }

    impl<I: Id + DeserializeOwned> Decode for RaftMessage<I> {
        fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
            Ok(match from.value()? {
                ELECTION => Self::Election(Message::decode(from)?),
                APPEND => Self::Append(from.value()?),
                APPEND_ACK => Self::AppendAck(from.value()?),
                SNAPSHOT => Self::Snapshot(from.value()?),
                SNAPSHOT_ACK => Self::SnapshotAck(from.value()?),
                _ => return Err(from.malformed("a kind of message that is not known")),
            })
        }
    }

    impl<I: Id + Serialize + DeserializeOwned> Wire for RaftMessage<I> {
        const NAME: &'static str = "log";
    }

    /// What a message about the log has beside entries or a part of a snapshot, with the largest numbers that there are, the
    /// frame's version and the tag.
    const BESIDE: usize = 88;

    impl LogLimits {
        /// The most bytes that a frame of a node with these limits has: what the [`max_frame_len`] of its
        /// [`Mesh`](crate::Mesh) or codec must be at least. With the defaults some more than 1 MiB, for a proposal of that
        /// length. Give all nodes the same, and what fits the largest limits of all while they differ.
        ///
        /// [`max_frame_len`]: crate::codec::PayloadCodec::max_frame_len
        #[must_use]
        pub fn frame_len(&self) -> usize {
            let entry = self.proposal.saturating_add(HEADER);
            let longest = self.message.max(entry).saturating_add(BESIDE);
            // Room for a membership, whatever the log needs.
            longest.max(DEFAULT_MAX_FRAME_LEN)
        }
    }
}
