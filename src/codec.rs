//! Messages as bytes: [`MessageCodec`] for tokio-util's [`Framed`], and the [`Hello`] that opens a connection; and other
//! payloads likewise ([`PayloadCodec`], [`Wire`]).
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
//! | kind | varint: the place of the kind in [`MessageKind`](crate::MessageKind), counted from 0 |
//! | fields | those of the kind |
//!
//! Of a message of one of many groups, `(K, Message<I>)`, the payload has the group's key between version and cluster, as
//! postcard writes it. Of any other payload it is the version, and then what its [`Encode`] writes.
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
//! - A kind that is not known, of whatever minor version, is [`MessageKind::Unknown`](crate::MessageKind::Unknown) with
//!   the term, stamp and membership it came with. The node counts it and never takes it for a refusal.
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
mod payload;

use std::fmt;
use std::marker::PhantomData;

use bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

pub use error::CodecError;
pub use frame::{Reader, Writer};
pub use hello::{Hello, HelloCodec, greet, greet_as};
pub use payload::{Decode, Encode, Wire};

use crate::id::NodeId;
use crate::message::Message;

/// The version that is written into every frame: 1.0, the major in the high four bits, the minor in the low four.
pub const WIRE_VERSION: u8 = 0x10;

/// The most bytes of payload that a frame may have unless [`MessageCodec::max_frame_len`] says otherwise: 64 KiB.
///
/// A membership names every voter twice (as a voter and in the target), so this is room for 880 voters with names
/// of the greatest length, or for the 1024 of [`MAX_NODES`](crate::Membership::MAX_NODES) with names of up to 30 bytes.
pub const DEFAULT_MAX_FRAME_LEN: usize = 65_536;

/// No limit is above this, so that no sum of lengths overflows on any platform.
const HIGHEST_MAX_FRAME_LEN: usize = 1 << 30;

/// Writes and reads [`Message`]s as frames; see the [module](self) for their form and an example, and [`PayloadCodec`] for
/// the rest. Works with any [`Id`](crate::Id) that serializes.
pub type MessageCodec<I = NodeId> = PayloadCodec<Message<I>>;

/// Writes and reads payloads as frames: [`Message`]s ([`MessageCodec`]), those of many groups, or your own ([`Wire`]).
///
/// It keeps nothing between calls but its limit, so a clone is as good as the original and one that gave an error
/// can be used on. Nothing it is given makes it panic.
///
/// # Errors
/// Encoding: [`CodecError::NotSendable`] for [`MessageKind::Unknown`](crate::MessageKind::Unknown) and for what does not
/// serialize, [`CodecError::FrameTooLong`] for a payload over the limit. The buffer is then as it was.
///
/// Decoding: [`CodecError::FrameTooLong`], [`CodecError::Version`], [`CodecError::Malformed`], and at the end of the
/// stream [`CodecError::Truncated`].
pub struct PayloadCodec<M = Message> {
    max_frame_len: usize,
    payload: PhantomData<fn() -> M>,
}

impl<M> PayloadCodec<M> {
    /// A codec with a limit of [`DEFAULT_MAX_FRAME_LEN`].
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_frame_len: DEFAULT_MAX_FRAME_LEN,
            payload: PhantomData,
        }
    }

    /// Sets the most bytes of payload that a frame may have, in both directions; more than 1 GiB counts as 1 GiB.
    ///
    /// It bounds what a peer can make this node hold: a read buffer of this size, and what is read from it (a membership
    /// takes some times as much). A limit that is too low for a message (0 is for all) makes it an error.
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

impl<M> Default for PayloadCodec<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Clone for PayloadCodec<M> {
    fn clone(&self) -> Self {
        Self::new().max_frame_len(self.max_frame_len)
    }
}

impl<M> fmt::Debug for PayloadCodec<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadCodec")
            .field("max_frame_len", &self.max_frame_len)
            .finish_non_exhaustive()
    }
}

impl<M: Encode> Encoder<M> for PayloadCodec<M> {
    type Error = CodecError;

    fn encode(&mut self, payload: M, dst: &mut BytesMut) -> Result<(), CodecError> {
        frame::write(dst, self.max_frame_len, [WIRE_VERSION], |to| {
            payload.encode(to)
        })
    }
}

impl<M: Decode> Decoder for PayloadCodec<M> {
    type Item = M;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<M>, CodecError> {
        // A frame without payload is a sign of life, as a mesh gives where there is nothing to say.
        while src.starts_with(&NO_PAYLOAD) {
            src.advance(NO_PAYLOAD.len());
        }
        frame::take(src, self.max_frame_len, |payload| {
            let mut from = Reader::new(payload);
            from.take_version()?;
            let payload = M::decode(&mut from)?;
            from.end()?;
            Ok(Some(payload))
        })
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<M>, CodecError> {
        let decoded = self.decode(src)?;
        frame::at_end(decoded, src)
    }
}

/// The length of a frame without payload.
const NO_PAYLOAD: [u8; 4] = [0; 4];
