//! What travels on a connection of a mesh: messages, and a sign of life where there are none.

use bytes::{Buf, BufMut, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::codec::{CodecError, Decode, Encode, PayloadCodec};

/// A frame without payload. No message is that short.
const ALIVE: u32 = 0;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame<M> {
    Message(M),
    /// The sender lives and has nothing to say, as one follower to another.
    Alive,
}

/// [`PayloadCodec`], and an empty frame for [`Frame::Alive`].
#[derive(Debug)]
pub(super) struct FrameCodec<M>(PayloadCodec<M>);

impl<M> FrameCodec<M> {
    pub(super) fn new(messages: PayloadCodec<M>) -> Self {
        Self(messages)
    }
}

impl<M: Encode> Encoder<Frame<M>> for FrameCodec<M> {
    type Error = CodecError;

    fn encode(&mut self, frame: Frame<M>, dst: &mut BytesMut) -> Result<(), CodecError> {
        match frame {
            Frame::Message(message) => self.0.encode(message, dst),
            Frame::Alive => {
                dst.put_u32(ALIVE);
                Ok(())
            }
        }
    }
}

impl<M: Decode> Decoder for FrameCodec<M> {
    type Item = Frame<M>;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame<M>>, CodecError> {
        let alive = ALIVE.to_be_bytes();
        if src.starts_with(&alive) {
            src.advance(alive.len());
            return Ok(Some(Frame::Alive));
        }
        let message = self.0.decode(src)?;
        Ok(message.map(Frame::Message))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame<M>>, CodecError> {
        if let Some(frame) = self.decode(src)? {
            return Ok(Some(frame));
        }
        let message = self.0.decode_eof(src)?;
        Ok(message.map(Frame::Message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, MessageKind, Stamp};

    #[test]
    fn signs_of_life_stand_between_messages() {
        let message = Message::<u64>::new(7, Stamp::new(7, 1), MessageKind::TimeoutNow);
        let frames = [
            Frame::Alive,
            Frame::Message(message.clone()),
            Frame::Alive,
            Frame::Alive,
            Frame::Message(message),
        ];
        let mut codec = FrameCodec::new(PayloadCodec::new());
        let mut whole = BytesMut::new();
        for frame in frames.clone() {
            codec.encode(frame, &mut whole).unwrap();
        }
        let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
        for byte in &whole {
            buffer.put_u8(*byte);
            read.extend(codec.decode(&mut buffer).unwrap());
        }
        assert_eq!(read, frames);
        assert_eq!(codec.decode_eof(&mut buffer).unwrap(), None);
    }

    #[test]
    fn half_a_frame_at_the_end_is_truncated() {
        for cut in [&[0][..], &[0, 0, 0], &[0, 0, 0, 9, 16]] {
            let mut codec = FrameCodec::<Message>::new(PayloadCodec::new());
            let error = codec.decode_eof(&mut BytesMut::from(cut)).unwrap_err();
            assert!(matches!(error, CodecError::Truncated { have, .. } if have == cut.len()));
        }
    }
}
