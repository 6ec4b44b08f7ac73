//! A message as bytes of its own and back, for what carries whole messages: a WebSocket, a datagram, NATS.

use bytes::{Bytes, BytesMut};
use streamraft::Message;
use streamraft::codec::{CodecError, DEFAULT_MAX_FRAME_LEN, MessageCodec};
use tokio_util::codec::{Decoder, Encoder};

/// The most bytes that a message may have: the codec's limit and the length in front.
pub(crate) const LIMIT: usize = DEFAULT_MAX_FRAME_LEN + 4;

pub(crate) fn encode(message: Message) -> Result<Bytes, CodecError> {
    let mut bytes = BytesMut::new();
    MessageCodec::new().encode(message, &mut bytes)?;
    Ok(bytes.freeze())
}

/// The one message that these bytes are. `None`: a sign of life.
pub(crate) fn decode(bytes: Bytes) -> Result<Option<Message>, CodecError> {
    if bytes.len() > LIMIT {
        let (len, max) = (bytes.len(), LIMIT);
        return Err(CodecError::FrameTooLong { len, max });
    }
    let mut bytes = BytesMut::from(bytes);
    let whole = bytes.len();
    let message = MessageCodec::new().decode_eof(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(message);
    }
    Err(CodecError::Malformed {
        reason: "bytes behind the message",
        offset: whole - bytes.len(),
    })
}
