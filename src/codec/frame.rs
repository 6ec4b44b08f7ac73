//! Frames: four bytes of length (big-endian, without themselves), then a payload. Nothing here knows what a payload
//! says.

use bytes::{Buf, BufMut, BytesMut};
use postcard::ser_flavors::Flavor;
use postcard::{Deserializer, Error as Postcard, Serializer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WIRE_VERSION;
use super::error::CodecError;

/// The bytes of the length in front of every payload.
pub(super) const LEN_BYTES: usize = 4;

/// The length of the payload at the front, as soon as all of the length has come.
pub(super) fn announced(src: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(*src.first_chunk()?);
    // Where it does not fit into a usize, it is over every limit too.
    Some(usize::try_from(len).unwrap_or(usize::MAX))
}

/// Reads one payload in place and takes its frame off the front, whether `read` likes it or not. `None`: not all of
/// it has come, and there is room for the rest.
pub(super) fn take<T>(
    src: &mut BytesMut,
    max: usize,
    read: impl FnOnce(&[u8]) -> Result<T, CodecError>,
) -> Result<Option<T>, CodecError> {
    let Some(len) = announced(src) else {
        return Ok(None);
    };
    // Before anything is reserved for it: a length is four bytes that anybody can send.
    if len > max {
        return Err(CodecError::FrameTooLong { len, max });
    }
    let whole = LEN_BYTES + len;
    let Some(payload) = src.get(LEN_BYTES..whole) else {
        src.reserve(whole - src.len());
        return Ok(None);
    };
    let value = read(payload);
    src.advance(whole);
    value.map(Some)
}

/// What the end of the stream makes of the last `decoded`: an error if it ended inside a frame, whose bytes are then
/// dropped, so that asking again finds nothing.
pub(super) fn at_end<T>(decoded: Option<T>, src: &mut BytesMut) -> Result<Option<T>, CodecError> {
    if decoded.is_some() || src.is_empty() {
        return Ok(decoded);
    }
    let have = src.len();
    let need = LEN_BYTES + announced(src).unwrap_or(0);
    src.clear();
    Err(CodecError::Truncated { have, need })
}

/// Appends one frame: `head` as it is, then `body`. On an error `dst` is as long as it was.
pub(super) fn write(
    dst: &mut BytesMut,
    max: usize,
    head: &[u8],
    body: &impl Serialize,
) -> Result<(), CodecError> {
    let start = dst.len();
    dst.put_u32(0);
    let mut out = Serializer {
        output: Payload { dst, len: 0, max },
    };
    let written = out
        .output
        .try_extend(head)
        .and_then(|()| body.serialize(&mut out));
    let Payload { dst, len, .. } = out.output;
    let length = match (written, u32::try_from(len)) {
        (Ok(()), Ok(length)) if len <= max => length,
        (outcome, _) => {
            dst.truncate(start);
            return Err(match outcome {
                Ok(()) => CodecError::FrameTooLong { len, max },
                Err(error) => CodecError::NotSendable {
                    reason: reason(&error),
                },
            });
        }
    };
    if let Some(prefix) = dst.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *prefix = length.to_be_bytes();
    }
    Ok(())
}

/// Lets postcard write straight behind what `dst` holds. Over the limit it only counts, so that the error can say
/// how long the frame would have been.
struct Payload<'a> {
    dst: &'a mut BytesMut,
    len: usize,
    max: usize,
}

impl Flavor for Payload<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.len = self.len.saturating_add(data.len());
        if self.len <= self.max {
            self.dst.extend_from_slice(data);
        }
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Reads a payload from its front to its end and knows where it stands.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    len: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self {
            len: payload.len(),
            rest: payload,
        }
    }

    /// The next value.
    ///
    /// What it may allocate is bounded by the bytes that are there: postcard passes a sequence's announced length on
    /// as a size hint only if that many bytes follow, and serde never reserves more than 1 MiB for a hint.
    pub(super) fn value<T: DeserializeOwned>(&mut self) -> Result<T, CodecError> {
        let mut input = Deserializer::from_bytes(self.rest);
        let value = T::deserialize(&mut input);
        self.rest = input.finalize().unwrap_or_default();
        value.map_err(|error| self.malformed(reason(&error)))
    }

    /// The version byte, of a major that is understood.
    pub(super) fn version(&mut self) -> Result<u8, CodecError> {
        let found = self.value()?;
        if found >> 4 == WIRE_VERSION >> 4 {
            Ok(found)
        } else {
            Err(CodecError::Version { found })
        }
    }

    /// Nothing may follow, except what a newer minor version has appended.
    pub(super) fn end(&self, version: u8) -> Result<(), CodecError> {
        if self.rest.is_empty() || version > WIRE_VERSION {
            Ok(())
        } else {
            Err(self.malformed("bytes behind the last field"))
        }
    }

    fn malformed(&self, reason: &'static str) -> CodecError {
        CodecError::Malformed {
            reason,
            offset: self.len - self.rest.len(),
        }
    }
}

/// postcard's own texts speak of its inner workings, and not of what is wrong with the bytes.
fn reason(error: &Postcard) -> &'static str {
    match error {
        Postcard::DeserializeUnexpectedEnd => "it ends inside a field",
        Postcard::DeserializeBadVarint => "an integer that is out of range",
        Postcard::DeserializeBadBool => "a bool that is neither 0 nor 1",
        Postcard::DeserializeBadOption => "an option that is neither 0 nor 1",
        Postcard::DeserializeBadUtf8 | Postcard::DeserializeBadChar => "text that is not UTF-8",
        Postcard::SerdeDeCustom => "a value that its type refuses, such as an invalid node id",
        Postcard::SerializeSeqLengthUnknown
        | Postcard::SerdeSerCustom
        | Postcard::CollectStrError => "its id type does not serialize",
        _ => "a value in a form that is not used here",
    }
}
