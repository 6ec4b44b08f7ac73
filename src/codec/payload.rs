//! What a frame carries: how it is written, read, and named in the hello.
//!
//! Absent here: frames themselves.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::CodecError;
use super::frame::{Reader, Writer};
use crate::id::Id;
use crate::membership::Stamp;
use crate::message::{ClusterTag, Message, MessageKind};
use crate::waiting::Payload;

/// What can be written into a frame.
pub trait Encode {
    /// Writes it.
    ///
    /// # Errors
    /// [`CodecError::NotSendable`] for a value without a form on the wire. Nothing is sent then.
    fn encode(&self, to: &mut Writer<'_>) -> Result<(), CodecError>;
}

/// What can be read from a frame.
pub trait Decode: Sized {
    /// Reads it. What is left then is an error, unless the frame is of a newer minor version ([`PayloadCodec`] looks
    /// after that).
    ///
    /// [`PayloadCodec`]: super::PayloadCodec
    ///
    /// # Errors
    /// [`CodecError::Malformed`]. Nothing that a peer sends may make it panic or take more memory than a small multiple of
    /// the frame.
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError>;
}

/// A payload with a form on the wire: what a `Mesh` and a [`PayloadCodec`](super::PayloadCodec) carry.
///
/// [`Message`]s do, and so do those of many groups, `(K, Message<I>)`, with a key that serializes. Of another type serde
/// does the work, or it is written by hand, field by field:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use streamraft::codec::{CodecError, Decode, Encode, Reader, Wire, Writer};
/// use streamraft::{Slot, Slotted};
///
/// #[derive(Serialize, Deserialize)]
/// enum Gossip {
///     Load(u32),
///     Enough,
/// }
///
/// impl Slotted for Gossip { // how it waits: see `Payload`
///     fn slot(&self) -> Slot {
///         Slot::Request
///     }
/// }
///
/// impl Encode for Gossip {
///     fn encode(&self, to: &mut Writer<'_>) -> Result<(), CodecError> {
///         to.value(self)
///     }
/// }
///
/// impl Decode for Gossip {
///     fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
///         from.value()
///     }
/// }
///
/// impl Wire for Gossip {
///     const NAME: &'static str = "gossip";
/// }
/// ```
pub trait Wire: Payload + Encode + Decode + 'static {
    /// Stands in the [`Hello`](super::Hello) that opens a connection, so that both ends carry the same. Another form of
    /// the same payload has another name. Plain [`Message`]s alone have none (`""`).
    const NAME: &'static str;
}

/// How many kinds of [`MessageKind`] have a form on the wire: all but `Unknown`, which stays the last.
const KNOWN_KINDS: u32 = 11;

impl<I: Id + Serialize> Encode for Message<I> {
    fn encode(&self, to: &mut Writer<'_>) -> Result<(), CodecError> {
        if self.kind == MessageKind::Unknown {
            return Err(CodecError::NotSendable {
                reason: "MessageKind::Unknown stands for what a peer sent and has no form of its own",
            });
        }
        // Fixed: as a varint, most digests would take five bytes.
        to.bytes(&self.cluster.to_be_bytes())?;
        to.value(&self.term)?;
        // A leader stamps its membership with its own term, so its heartbeats say 0 here and not a large term again.
        to.value(&self.term.wrapping_sub(self.stamp.term))?;
        to.value(&self.stamp.version)?;
        to.value(&self.membership)?;
        to.value(&self.kind)
    }
}

impl<I: Id + DeserializeOwned> Decode for Message<I> {
    /// A kind that is not known takes all that is left.
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let cluster = ClusterTag::from_be_bytes(from.value()?);
        let term: u64 = from.value()?;
        let stamp_age = from.value()?;
        let stamp = Stamp::new(term.wrapping_sub(stamp_age), from.value()?);
        let membership = from.value()?;
        // Looked at before the kind itself is read, which could not tell what is new from what is damaged.
        let kind = if from.peek()? < KNOWN_KINDS {
            from.value()?
        } else {
            from.rest();
            MessageKind::Unknown
        };
        Ok(Self {
            cluster,
            term,
            stamp,
            membership,
            kind,
        })
    }
}

impl<I: Id + Serialize + DeserializeOwned> Wire for Message<I> {
    const NAME: &'static str = "";
}

impl<K: Serialize, I: Id + Serialize> Encode for (K, Message<I>) {
    fn encode(&self, to: &mut Writer<'_>) -> Result<(), CodecError> {
        let (key, message) = self;
        to.value(key)?;
        message.encode(to)
    }
}

impl<K: DeserializeOwned, I: Id + DeserializeOwned> Decode for (K, Message<I>) {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok((from.value()?, Message::decode(from)?))
    }
}

impl<K, I> Wire for (K, Message<I>)
where
    K: Clone + Eq + Hash + Serialize + DeserializeOwned + 'static,
    I: Id + Serialize + DeserializeOwned,
{
    const NAME: &'static str = "groups";
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_cluster_tag_is_its_number() {
        let tag = ClusterTag::new("orders");
        assert_eq!(ClusterTag::from_be_bytes(tag.to_be_bytes()), tag);
        assert_eq!(ClusterTag::default().to_be_bytes(), [0; 4]);
        assert_ne!(tag, ClusterTag::default());
    }
}
