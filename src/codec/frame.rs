//! Frames: four bytes of length (big-endian, without themselves), then a payload. Nothing here knows what a payload
//! says: it is written by a [`Writer`] and read by a [`Reader`].

use std::fmt;

use bytes::{Buf, BytesMut};
use postcard::ser_flavors::Flavor;
use postcard::{Deserializer, Error as Postcard, Serializer};
use serde::{Deserialize, Serialize};

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
    read: impl FnOnce(&[u8]) -> Result<Option<T>, CodecError>,
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
    value
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

/// Appends one frame: `head` as it is, then what `body` writes. On an error `dst` is as long as it was.
pub(super) fn write<const N: usize>(
    dst: &mut BytesMut,
    max: usize,
    head: [u8; N],
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let start = dst.len();
    let mut writer = Writer {
        dst,
        max,
        before: 0,
        // The length is put in when it is known.
        newest: [0; NEWEST],
        used: LEN_BYTES,
    };
    writer.extend(&head);
    let written = body(&mut writer);
    writer.settle();
    let Writer { dst, before, .. } = writer;
    let len = before.saturating_sub(LEN_BYTES);
    let length = match (written, u32::try_from(len)) {
        (Ok(()), Ok(length)) if len <= max => length,
        (outcome, _) => {
            dst.truncate(start);
            return Err(outcome
                .err()
                .unwrap_or(CodecError::FrameTooLong { len, max }));
        }
    };
    if let Some(prefix) = dst.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *prefix = length.to_be_bytes();
    }
    Ok(())
}

/// Room for a heartbeat, and for most other messages too.
const NEWEST: usize = 64;

/// Writes a payload behind what a buffer holds. Over the frame's limit it only counts, so that the error can say how long
/// the frame would have been.
pub struct Writer<'a> {
    dst: &'a mut BytesMut,
    max: usize,
    /// The bytes of the frame before `newest`, written or only counted.
    before: usize,
    /// What was written last. postcard writes byte by byte, for each of which the buffer would look for room.
    newest: [u8; NEWEST],
    used: usize,
}

impl Writer<'_> {
    /// Writes a value as postcard does.
    ///
    /// # Errors
    /// [`CodecError::NotSendable`] if it does not serialize, as a list that does not know its length.
    #[inline]
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        let output = Output(self);
        match value.serialize(&mut Serializer { output }) {
            Ok(()) => Ok(()),
            Err(error) => Err(not_sendable(&error)),
        }
    }

    /// Writes bytes as they are. Their length is not written: they are the last, or the reader knows their length.
    ///
    /// # Errors
    /// None of its own: whether the frame is too long is found when all of it is written.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        self.extend(bytes);
        Ok(())
    }

    #[inline]
    fn extend(&mut self, data: &[u8]) {
        let end = self.used.saturating_add(data.len());
        if let Some(room) = self.newest.get_mut(self.used..end) {
            room.copy_from_slice(data);
            self.used = end;
        } else {
            self.extend_past_newest(data);
        }
    }

    #[cold]
    #[inline(never)]
    fn extend_past_newest(&mut self, data: &[u8]) {
        self.settle();
        self.before = self.before.saturating_add(data.len());
        if self.is_within_limit() {
            self.dst.extend_from_slice(data);
        }
    }

    /// Moves what was written last to the others. Over the limit it is only counted.
    fn settle(&mut self) {
        self.before = self.before.saturating_add(self.used);
        if self.is_within_limit() {
            let newest = self.newest.get(..self.used).unwrap_or_default();
            self.dst.extend_from_slice(newest);
        }
        self.used = 0;
    }

    fn is_within_limit(&self) -> bool {
        self.before <= self.max.saturating_add(LEN_BYTES)
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

/// What postcard writes to.
struct Output<'a, 'b>(&'a mut Writer<'b>);

impl Flavor for Output<'_, '_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        // Most of what postcard writes is one byte.
        match data {
            [byte] => self.0.extend(&[*byte]),
            _ => self.0.extend(data),
        }
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.extend(&[byte]);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Reads a payload from its front to its end.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    len: usize,
    rest: &'a [u8],
    version: u8,
}

impl<'a> Reader<'a> {
    /// For a payload whose version is read as its owner finds right.
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self {
            len: payload.len(),
            rest: payload,
            version: WIRE_VERSION,
        }
    }

    /// The next value, as postcard writes it. It may borrow from the frame.
    ///
    /// What it may allocate is bounded by the bytes that are there: postcard passes a sequence's announced length on
    /// as a size hint only if that many bytes follow, and serde never reserves more than 1 MiB for a hint.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] if it is none, or what is left of the frame ends inside it.
    #[inline]
    pub fn value<T: Deserialize<'a>>(&mut self) -> Result<T, CodecError> {
        let mut input = Deserializer::from_bytes(self.rest);
        let value = T::deserialize(&mut input);
        self.rest = input.finalize().unwrap_or_default();
        match value {
            Ok(value) => Ok(value),
            Err(error) => Err(self.malformed(reason(&error))),
        }
    }

    /// All that is left, as it is.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// The version of the frame, in the form of [`WIRE_VERSION`]. Its major is that of this node; a newer minor may have
    /// fields at the end that this node does not know, which are skipped.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The error for what was read last, with the place that was reached.
    #[cold]
    #[must_use]
    pub fn malformed(&self, reason: &'static str) -> CodecError {
        CodecError::Malformed {
            reason,
            offset: self.len - self.rest.len(),
        }
    }

    /// The next value, which is left where it is: a varint, mostly of one byte.
    #[inline]
    pub(super) fn peek(&self) -> Result<u32, CodecError> {
        match self.rest.first() {
            Some(byte @ ..0x80) => Ok(u32::from(*byte)),
            _ => self.clone().value(),
        }
    }

    /// Takes the version byte, of a major that is understood.
    #[inline]
    pub(super) fn take_version(&mut self) -> Result<(), CodecError> {
        let found = self.value()?;
        if found >> 4 != WIRE_VERSION >> 4 {
            return Err(CodecError::Version { found });
        }
        self.version = found;
        Ok(())
    }

    /// Nothing may follow, except what a newer minor version has appended.
    pub(super) fn end(&self) -> Result<(), CodecError> {
        if self.rest.is_empty() || self.version > WIRE_VERSION {
            Ok(())
        } else {
            Err(self.malformed("bytes behind the last field"))
        }
    }
}

#[cold]
fn not_sendable(error: &Postcard) -> CodecError {
    CodecError::NotSendable {
        reason: reason(error),
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
