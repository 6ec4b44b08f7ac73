//! The codecs: bytes of a peer never panic, never take more memory than the limit allows, read the same however they
//! are split, and what was read is written so that it reads the same again.

use std::fmt::Debug;

use allocation_counter::measure;
use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use streamraft::codec::{
    CodecError, DEFAULT_MAX_FRAME_LEN, Hello, HelloCodec, MessageCodec, PayloadCodec,
};
use streamraft::{
    Attachment, Beat, ClusterTag, Id, LogPosition, Membership, Message, MessageKind, NodeId, Stamp,
};
use tokio_util::codec::{Decoder, Encoder};

/// The most that decoding may hold, in bytes, for each byte of a frame: an id of two bytes becomes a reference of 16
/// and a name of its own, and a list that grows is twice as large for an instant.
const MEMORY_PER_BYTE: u64 = 100;

/// What does not depend on the frame.
const MEMORY: u64 = 1_024;

/// The limit of a hello, as its documentation gives it.
const HELLO_LIMIT: usize = 1_024;

/// What is put in: a stream of bytes, where it is cut, and the limit of a frame.
#[derive(Arbitrary, Debug)]
struct Input {
    limit: u16,
    has_default_limit: bool,
    cuts: [u8; 4],
    stream: Stream,
}

#[derive(Arbitrary, Debug)]
enum Stream {
    /// Just bytes.
    Raw(Vec<u8>),
    /// Payloads, each with its right length before it.
    Framed(Vec<Vec<u8>>),
    /// What nodes say, and signs of life between, and then what became of it on the way.
    Said(Vec<Said>, Vec<(u16, u8)>),
    /// A hello, damaged too, and what follows it.
    Greeting {
        cluster: String,
        name: String,
        damage: Vec<(u16, u8)>,
        rest: Vec<u8>,
    },
}

/// A message of any kind.
#[derive(Arbitrary, Debug)]
struct Said {
    /// How many frames without payload come before it.
    idle: u8,
    cluster: bool,
    term: u64,
    stamp: (u64, u64),
    /// Who votes, who listens, who is wished for.
    membership: Option<[Vec<u64>; 3]>,
    kind: Kind,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    PreVoteRequest(u64, (u64, u64), u64),
    PreVote(u64, bool, Option<u64>),
    VoteRequest((u64, u64), bool),
    Vote(bool, Option<u64>),
    Ping(u64, Option<u32>),
    Pong(u64, (u64, u64), u64),
    TimeoutNow,
    Beat(Beats),
    BeatAck(Beats),
    Attach([u64; 4]),
    Attached([u64; 4]),
}

/// What two machines say for all their groups.
#[derive(Arbitrary, Debug)]
struct Beats {
    session: u64,
    listener: Option<u64>,
    round: u64,
    detached: u64,
    news: Vec<u64>,
    heard: u64,
}

/// Checks everything that this module promises, on what these bytes stand for.
pub(crate) fn check(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let limit = if input.has_default_limit {
        DEFAULT_MAX_FRAME_LEN
    } else {
        usize::from(input.limit)
    };
    if let Stream::Said(said, damage) = &input.stream
        && damage.is_empty()
    {
        check_undamaged(said);
    }
    let bytes = input.stream.bytes();
    let cuts = &input.cuts;
    check_stream(
        || MessageCodec::<NodeId>::new().max_frame_len(limit),
        &bytes,
        cuts,
        limit,
    );
    check_stream(
        || MessageCodec::<u64>::new().max_frame_len(limit),
        &bytes,
        cuts,
        limit,
    );
    check_stream(
        || PayloadCodec::<(u64, Message<u64>)>::new().max_frame_len(limit),
        &bytes,
        cuts,
        limit,
    );
    check_stream(HelloCodec::<NodeId>::new, &bytes, cuts, HELLO_LIMIT);
    check_stream(HelloCodec::<u64>::new, &bytes, cuts, HELLO_LIMIT);
}

/// What was said is what is heard, whatever signs of life came between.
fn check_undamaged(said: &[Said]) {
    let bytes = written(said);
    let heard = read(
        MessageCodec::<u64>::new(),
        [&bytes[..]],
        DEFAULT_MAX_FRAME_LEN,
    );
    let expected = said.iter().map(|said| Ok(said.message()));
    assert!(
        heard.into_iter().eq(expected),
        "it was not heard as it was said"
    );
}

/// A value that can be written again. A message of an unknown kind cannot.
pub(crate) trait Rewritten: Clone + PartialEq + Debug {
    /// Any error is the last: it opens a connection, and a peer that cannot do that is not heard further. Which error
    /// it is depends on how much of what follows has come.
    const OPENS: bool;

    fn is_sendable(&self) -> bool;
}

impl<I: Id> Rewritten for Message<I> {
    const OPENS: bool = false;

    fn is_sendable(&self) -> bool {
        self.kind != MessageKind::Unknown
    }
}

impl<I: Id> Rewritten for (u64, Message<I>) {
    const OPENS: bool = false;

    fn is_sendable(&self) -> bool {
        self.1.is_sendable()
    }
}

impl<I: Id> Rewritten for Hello<I> {
    const OPENS: bool = true;

    fn is_sendable(&self) -> bool {
        true
    }
}

pub(crate) fn check_stream<C, T>(codec: impl Fn() -> C, bytes: &[u8], cuts: &[u8], limit: usize)
where
    C: Decoder<Item = T, Error = CodecError> + Encoder<T, Error = CodecError>,
    T: Rewritten,
{
    let whole = read(codec(), [bytes], limit);
    let split = read(
        codec(),
        Pieces {
            bytes,
            cuts: cuts.iter().cycle(),
        },
        limit,
    );
    assert_eq!(whole, split, "it depends on where the stream is cut");
    for value in whole.into_iter().filter_map(Result::ok) {
        if value.is_sendable() {
            check_rewritten(codec(), &value);
        }
    }
}

/// What was read can be written under the same limit, and reads the same.
fn check_rewritten<C, T>(mut codec: C, value: &T)
where
    C: Decoder<Item = T, Error = CodecError> + Encoder<T, Error = CodecError>,
    T: Rewritten,
{
    let mut bytes = BytesMut::new();
    codec
        .encode(value.clone(), &mut bytes)
        .expect("it came in a frame that was not too long");
    let again = codec
        .decode(&mut bytes)
        .expect("a codec reads what it wrote");
    assert_eq!(again.as_ref(), Some(value));
    assert!(bytes.is_empty());
}

/// Reads a stream that comes in these pieces, to its end or to the error after which there is no next frame.
fn read<'a, C, T>(
    mut codec: C,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
) -> Vec<Result<T, String>>
where
    C: Decoder<Item = T, Error = CodecError>,
    T: Rewritten,
{
    let mut found = Vec::new();
    let mut src = BytesMut::new();
    let mut longest = 0;
    for piece in pieces {
        src.extend_from_slice(piece);
        longest = longest.max(piece.len());
        // A buffer doubles when it must grow, with what was read from its front already.
        let room = 4 * (longest + 4 + limit);
        loop {
            let before = src.len();
            let value = measured(room, &mut src, |src| codec.decode(src));
            match value {
                Ok(None) => break,
                Ok(Some(value)) => found.push(Ok(value)),
                Err(CodecError::FrameTooLong { .. } | CodecError::NotHello { .. }) => {
                    check_final(&mut codec, &mut src);
                    found.push(Err("no next frame".to_owned()));
                    return found;
                }
                Err(_) if T::OPENS => {
                    found.push(Err("no next frame".to_owned()));
                    return found;
                }
                Err(error) => {
                    assert!(src.len() < before, "an error that comes again: {error:?}");
                    found.push(Err(format!("{error:?}")));
                }
            }
        }
    }
    match codec.decode_eof(&mut src) {
        Ok(None) => assert!(src.is_empty(), "the end leaves bytes behind"),
        Ok(Some(_)) => panic!("all frames were read before the end"),
        Err(error) => found.push(Err(format!("{error:?}"))),
    }
    assert!(src.is_empty());
    assert!(
        matches!(codec.decode_eof(&mut src), Ok(None)),
        "it never ends"
    );
    found
}

/// After an error that leaves nobody knowing where the next frame begins, nothing is taken and nothing changes.
fn check_final<C: Decoder<Error = CodecError>>(codec: &mut C, src: &mut BytesMut) {
    let before = src.clone();
    assert!(codec.decode(src).is_err() && codec.decode_eof(src).is_err());
    assert_eq!(*src, before);
}

/// Decodes, and looks at the memory that it took.
fn measured<T>(room: usize, src: &mut BytesMut, decode: impl FnOnce(&mut BytesMut) -> T) -> T {
    let held = u64::try_from(src.len()).expect("a small stream");
    let mut value = None;
    let memory = measure(|| value = Some(decode(src)));
    assert!(
        src.capacity() <= room,
        "a buffer of {} in the place of {room}",
        src.capacity()
    );
    let most = MEMORY + MEMORY_PER_BYTE * held + u64::try_from(room).expect("a small limit");
    assert!(
        memory.bytes_max <= most,
        "{} bytes for {held}",
        memory.bytes_max
    );
    value.expect("it was called")
}

/// The bytes in pieces of these lengths, over and over. A piece of none is one of all the rest.
struct Pieces<'a, C> {
    bytes: &'a [u8],
    cuts: C,
}

impl<'a, 'c, C: Iterator<Item = &'c u8>> Iterator for Pieces<'a, C> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.bytes.is_empty() {
            return None;
        }
        let cut = match self.cuts.next() {
            None | Some(0) => self.bytes.len(),
            Some(cut) => usize::from(*cut).min(self.bytes.len()),
        };
        let (piece, rest) = self.bytes.split_at(cut);
        self.bytes = rest;
        Some(piece)
    }
}

impl Stream {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes,
            Self::Framed(payloads) => payloads
                .iter()
                .flat_map(|payload| framed(payload))
                .collect(),
            Self::Said(said, damage) => damaged(written(&said), &damage),
            Self::Greeting {
                cluster,
                name,
                damage,
                rest,
            } => {
                let mut bytes = BytesMut::new();
                // A name that no node can have: whether it is refused is for the decoder to say.
                let _ = HelloCodec::new().encode(Hello::new(cluster, name), &mut bytes);
                [damaged(bytes.into(), &damage), rest].concat()
            }
        }
    }
}

fn written(said: &[Said]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for said in said {
        bytes.extend(framed(&[]).repeat(usize::from(said.idle % 4)));
        let written = MessageCodec::new().encode(said.message(), &mut bytes);
        written.expect("lists as short as these fit into a frame");
    }
    bytes.into()
}

pub(crate) fn framed(payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a small payload");
    [&len.to_be_bytes(), payload].concat()
}

pub(crate) fn damaged(mut bytes: Vec<u8>, damage: &[(u16, u8)]) -> Vec<u8> {
    for (at, mask) in damage {
        if let Some(byte) = bytes.get_mut(usize::from(*at)) {
            *byte ^= mask;
        }
    }
    bytes
}

impl Said {
    fn message(&self) -> Message<u64> {
        let position = |(term, index)| LogPosition::new(term, index);
        let kind = match self.kind {
            Kind::PreVoteRequest(round, at, priority) => MessageKind::PreVoteRequest {
                round,
                position: position(at),
                priority,
            },
            Kind::PreVote(round, granted, leader) => MessageKind::PreVote {
                round,
                granted,
                leader,
            },
            Kind::VoteRequest(at, transfer) => MessageKind::VoteRequest {
                position: position(at),
                transfer,
            },
            Kind::Vote(granted, leader) => MessageKind::Vote { granted, leader },
            Kind::Ping(round, succession) => MessageKind::Ping { round, succession },
            Kind::Pong(round, at, priority) => MessageKind::Pong {
                round,
                position: position(at),
                priority,
            },
            Kind::TimeoutNow => MessageKind::TimeoutNow,
            Kind::Beat(ref beats) => MessageKind::Beat(beats.beat()),
            Kind::BeatAck(ref beats) => MessageKind::BeatAck(beats.beat()),
            Kind::Attach(parts) => MessageKind::Attach(attachment(parts)),
            Kind::Attached(parts) => MessageKind::Attached(attachment(parts)),
        };
        let stamp = Stamp::new(self.stamp.0, self.stamp.1);
        let mut message = Message::new(self.term, stamp, kind);
        if self.cluster {
            message = message.with_cluster(ClusterTag::new("orders"));
        }
        if let Some([voters, observers, target]) = self.membership.clone() {
            let mut membership = Membership::initial(voters);
            (membership.term, membership.version) = self.stamp;
            (membership.observers, membership.target) = (observers, target);
            message = message.with_membership(membership.into());
        }
        message
    }
}

impl Beats {
    fn beat(&self) -> Box<Beat> {
        let mut beat = Beat::new(self.session, self.listener, self.round);
        (beat.detached, beat.news, beat.heard) = (self.detached, self.news.clone(), self.heard);
        Box::new(beat)
    }
}

fn attachment([session, listener, number, detached]: [u64; 4]) -> Attachment {
    Attachment::new(session, listener, number, detached)
}
