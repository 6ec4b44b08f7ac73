//! Messages as bytes: [`MessageCodec`] for tokio-util's [`Framed`], and the [`Hello`] that opens a connection.
//!
//! ```
//! use futures::{SinkExt, StreamExt};
//! use streamraft::codec::MessageCodec;
//! use streamraft::{Message, MessageKind, Stamp};
//! use tokio_util::codec::Framed;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (here, there) = tokio::io::duplex(1024);
//! let mut here = Framed::new(here, MessageCodec::new());
//! let mut there = Framed::new(there, MessageCodec::new());
//!
//! let ping = MessageKind::Ping { round: 1, succession: None };
//! let message: Message = Message::new(7, Stamp::new(7, 1), ping);
//! here.send(message.clone()).await?;
//! assert_eq!(there.next().await.transpose()?, Some(message));
//! # Ok(())
//! # }
//! ```
//!
//! # On the wire
//! A frame is the length of its payload (4 bytes, big-endian), then the payload. A message's payload is
//!
//! | field | form |
//! |---|---|
//! | version | 1 byte: major in the high four bits, minor in the low four; now [`WIRE_VERSION`] |
//! | cluster | 4 bytes, big-endian: the [`ClusterTag`](crate::ClusterTag) |
//! | term | varint |
//! | stamp | two varints: the message's term less the stamp's (wrapping; mostly 0), and the stamp's version |
//! | membership | 0, or 1 and the membership |
//! | kind | varint: the place of the kind in [`MessageKind`], counted from 0 |
//! | fields | those of the kind |
//!
//! A frame without payload is a sign of life (`Mesh` sends them) and is skipped.
//!
//! Varints, options, lists and ids are as [postcard] writes them. A heartbeat takes 24 bytes, length included,
//! as long as terms are below 16,384 and the stamp's version is below 128; beyond that, a byte more for each 7 bits.
//! Neither writing nor reading one allocates once the buffers have grown.
//!
//! # Versions
//! - The length and the version byte stay what they are in every version.
//! - Another major version is [`CodecError::Version`].
//! - A newer minor version of the same major may append fields at the end of a payload, which are skipped, and add
//!   kinds. Bytes at the end of a payload of this very version are an error.
//! - A kind that is not known, of whatever minor version, is [`MessageKind::Unknown`] with the term, stamp and
//!   membership it came with. The node counts it and never takes it for a refusal.
//! - The high bits of a version byte are never `1111`: that is how a [`Hello`] begins.
//!
//! # What is checked
//! Form only: lengths, ranges, ids that their type accepts. Whether a message makes sense (its cluster, its term, a
//! membership that is sorted) the node judges, and counts what it drops in its [`stats`](crate::TinyRaft::stats).
//!
//! # After an error
//! Close the connection and open another: nodes send again whatever mattered. [`CodecError`] says of each variant
//! what has become of the bytes. A [`Framed`] gives `None` once after an error, even if the connection still lives.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format
//! [`Framed`]: tokio_util::codec::Framed

mod error;
mod frame;
mod hello;

use std::marker::PhantomData;

use bytes::{Buf, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::codec::{Decoder, Encoder};

pub use error::CodecError;
pub use hello::{Hello, HelloCodec, greet};

use crate::id::{Id, NodeId};
use crate::membership::{SharedMembership, Stamp};
use crate::message::{Message, MessageKind};
use frame::Reader;

/// The version that is written into every frame: 1.0, the major in the high four bits, the minor in the low four.
pub const WIRE_VERSION: u8 = 0x10;

/// The most bytes of payload that a frame may have unless [`MessageCodec::max_frame_len`] says otherwise: 64 KiB.
///
/// A membership names every voter twice (as a voter and in the target), so this is room for 880 voters with names
/// of the greatest length, or for the 1024 of [`MAX_NODES`](crate::Membership::MAX_NODES) with names of up to 30 bytes.
pub const DEFAULT_MAX_FRAME_LEN: usize = 65_536;

/// No limit is above this, so that no sum of lengths overflows on any platform.
const HIGHEST_MAX_FRAME_LEN: usize = 1 << 30;

/// How many kinds of [`MessageKind`] have a form on the wire: all but `Unknown`, which stays the last.
const KNOWN_KINDS: u32 = 7;

/// Writes and reads [`Message`]s as frames; see the [module](self) for their form and an example.
///
/// It keeps nothing between calls but its limit, so a clone is as good as the original and one that gave an error
/// can be used on. Works with any [`Id`] that serializes. Nothing it is given makes it panic.
///
/// # Errors
/// Encoding: [`CodecError::NotSendable`] for [`MessageKind::Unknown`] and for an id that does not serialize,
/// [`CodecError::FrameTooLong`] for a message over the limit. The buffer is then as it was.
///
/// Decoding: [`CodecError::FrameTooLong`], [`CodecError::Version`], [`CodecError::Malformed`], and at the end of the
/// stream [`CodecError::Truncated`].
#[derive(Clone, Debug)]
pub struct MessageCodec<I = NodeId> {
    max_frame_len: usize,
    id: PhantomData<fn() -> I>,
}

impl<I> MessageCodec<I> {
    /// A codec with a limit of [`DEFAULT_MAX_FRAME_LEN`].
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_frame_len: DEFAULT_MAX_FRAME_LEN,
            id: PhantomData,
        }
    }

    /// Sets the most bytes of payload that a frame may have, in both directions; more than 1 GiB counts as 1 GiB.
    ///
    /// It bounds what a peer can make this node hold: a read buffer of this size, and the membership read from it,
    /// which takes some times as much. A limit that is too low for a message (0 is for all) makes it an error.
    #[must_use]
    pub const fn max_frame_len(mut self, bytes: usize) -> Self {
        self.max_frame_len = if bytes < HIGHEST_MAX_FRAME_LEN {
            bytes
        } else {
            HIGHEST_MAX_FRAME_LEN
        };
        self
    }
}

impl<I> Default for MessageCodec<I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Id + Serialize> Encoder<Message<I>> for MessageCodec<I> {
    type Error = CodecError;

    fn encode(&mut self, message: Message<I>, dst: &mut BytesMut) -> Result<(), CodecError> {
        if message.kind == MessageKind::Unknown {
            return Err(CodecError::NotSendable {
                reason: "MessageKind::Unknown stands for what a peer sent and has no form of its own",
            });
        }
        let header = Header {
            cluster: recode::<_, u32>(&message.cluster).to_be_bytes(),
            term: message.term,
            stamp_age: message.term.wrapping_sub(message.stamp.term),
            stamp_version: message.stamp.version,
            membership: message.membership,
        };
        let body = (header, message.kind);
        frame::write(dst, self.max_frame_len, &[WIRE_VERSION], &body)
    }
}

impl<I: Id + DeserializeOwned> Decoder for MessageCodec<I> {
    type Item = Message<I>;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Message<I>>, CodecError> {
        // A frame without payload is a sign of life, as a mesh gives where there is nothing to say.
        while src.starts_with(&NO_PAYLOAD) {
            src.advance(NO_PAYLOAD.len());
        }
        frame::take(src, self.max_frame_len, read_message)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Message<I>>, CodecError> {
        let decoded = self.decode(src)?;
        frame::at_end(decoded, src)
    }
}

/// The length of a frame without payload.
const NO_PAYLOAD: [u8; 4] = [0; 4];

/// What stands before the kind.
#[derive(Serialize, Deserialize)]
struct Header<M> {
    /// Fixed: as a varint, most digests would take five bytes.
    cluster: [u8; 4],
    term: u64,
    /// A leader stamps its membership with its own term, so its heartbeats say 0 here and not a large term again.
    stamp_age: u64,
    stamp_version: u64,
    membership: Option<M>,
}

fn read_message<I: Id + DeserializeOwned>(payload: &[u8]) -> Result<Message<I>, CodecError> {
    let mut reader = Reader::new(payload);
    let version = reader.version()?;
    let header: Header<SharedMembership<I>> = reader.value()?;
    // Looked at before the kind itself is read, which could not tell what is new from what is damaged.
    let kind = if reader.clone().value::<u32>()? < KNOWN_KINDS {
        let kind = reader.value()?;
        reader.end(version)?;
        kind
    } else {
        MessageKind::Unknown
    };
    Ok(Message {
        cluster: recode(&u32::from_be_bytes(header.cluster)),
        term: header.term,
        stamp: Stamp::new(
            header.term.wrapping_sub(header.stamp_age),
            header.stamp_version,
        ),
        membership: header.membership,
        kind,
    })
}

/// A [`ClusterTag`] as its number or the number as a tag, by way of the bytes that both serialize to.
fn recode<A: Serialize, B: DeserializeOwned + Default>(value: &A) -> B {
    const VARINT_U32: usize = 5;
    postcard::to_slice(value, &mut [0; VARINT_U32])
        .and_then(|bytes| postcard::from_bytes(bytes))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ClusterTag;

    #[test]
    fn the_number_of_known_kinds_is_in_step_with_the_enum() {
        for kind in 0..0x80_u8 {
            let mut payload = [0; 32];
            payload[0] = kind;
            let read = postcard::take_from_bytes::<MessageKind<u64>>(&payload);
            assert_eq!(read.is_ok(), u32::from(kind) < KNOWN_KINDS, "kind {kind}");
        }
    }

    #[test]
    fn a_cluster_tag_is_its_number_and_back() {
        for number in [0, 1, 0x7f, 0x80, 0x1234_5678, u32::MAX] {
            let tag: ClusterTag = recode(&number);
            assert_eq!(recode::<_, u32>(&tag), number);
        }
        assert_ne!(recode::<_, u32>(&ClusterTag::new("orders")), 0);
    }
}
