//! Other payloads than a node's messages through the same codec: those of many groups, whose form never changes either,
//! and those of a test.
#![cfg(feature = "codec")]

use allocation_counter::measure;
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use streamraft::codec::{
    CodecError, Decode, Encode, Hello, HelloCodec, PayloadCodec, Reader, WIRE_VERSION, Wire,
    Writer, greet, greet_as,
};
use streamraft::{ClusterTag, Message, MessageKind, Payload, Queue, Queued, Slot, Stamp};
use tokio_util::codec::{Decoder, Encoder};

type OfGroup = (u64, Message);

/// What a log says beside its election.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Election(Message<u64>),
    Append(Append),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Append {
    before: (u64, u64),
    entries: Vec<Vec<u8>>,
}

impl Queued for Said {
    fn slot(&self) -> Option<Slot> {
        match self {
            Self::Election(message) => Some(message.kind.slot()),
            Self::Append(_) => None,
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

impl Payload for Said {
    type Waiting = Queue<Self>;
}

impl Encode for Said {
    fn encode(&self, to: &mut Writer<'_>) -> Result<(), CodecError> {
        match self {
            Self::Election(message) => {
                to.value(&0_u8)?;
                message.encode(to)
            }
            Self::Append(append) => {
                to.value(&1_u8)?;
                to.value(append)
            }
        }
    }
}

impl Decode for Said {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        match from.value::<u8>()? {
            0 => Message::decode(from).map(Self::Election),
            1 => from.value().map(Self::Append),
            _ => Err(from.malformed("a kind that is not known")),
        }
    }
}

impl Wire for Said {
    const NAME: &'static str = "said";
}

/// Bytes as they are.
#[derive(Debug, PartialEq)]
struct Raw(Vec<u8>);

impl Encode for Raw {
    fn encode(&self, to: &mut Writer<'_>) -> Result<(), CodecError> {
        to.bytes(&self.0)
    }
}

impl Decode for Raw {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self(from.rest().to_vec()))
    }
}

fn ping() -> Message {
    let (round, succession) = (1 << 42, Some(1));
    let kind = MessageKind::Ping { round, succession };
    Message::new(1000, Stamp::new(1000, 10), kind).with_cluster(ClusterTag::new("orders"))
}

fn golden_bytes(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/payloads");
    let text = std::fs::read_to_string(format!("{folder}/{name}.hex")).unwrap();
    let lines = text.lines().map(|line| line.split('#').next().unwrap());
    lines
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn encoded<M: Encode>(payload: M) -> BytesMut {
    let mut bytes = BytesMut::new();
    PayloadCodec::new().encode(payload, &mut bytes).unwrap();
    bytes
}

fn decoded<M: Decode>(bytes: &[u8]) -> Result<Option<M>, CodecError> {
    PayloadCodec::new().decode(&mut bytes.into())
}

/// A frame around any payload.
fn framed(payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::from(&u32::try_from(payload.len()).unwrap().to_be_bytes()[..]);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn a_message_of_a_group_has_the_bytes_that_it_always_had() {
    let bytes = golden_bytes("ping_of_a_group");
    assert_eq!(encoded((70_000_u64, ping())), bytes);
    assert_eq!(decoded(&bytes).unwrap(), Some((70_000_u64, ping())));
}

#[test]
fn the_hello_of_a_connection_for_groups_has_the_bytes_that_it_always_had() {
    let hello = Hello::new("orders", "a".to_owned()).carrying::<OfGroup>();
    let mut bytes = BytesMut::new();
    HelloCodec::new().encode(hello.clone(), &mut bytes).unwrap();
    assert_eq!(bytes, golden_bytes("hello_of_groups"));
    assert_eq!(HelloCodec::new().decode(&mut bytes).unwrap(), Some(hello));
}

#[test]
fn a_hello_for_messages_names_no_payload() {
    let plain = Hello::new("orders", 1_u64);
    assert_eq!(
        plain.clone().carrying::<OfGroup>().carrying::<Message>(),
        plain
    );
}

#[test]
fn a_hello_of_a_newer_minor_may_have_more_behind_the_payload() {
    let mut bytes = golden_bytes("hello_of_groups");
    bytes[3] += 2;
    bytes.extend([1, 2]);
    let mut codec = HelloCodec::<String>::new();
    let error = codec.decode(&mut BytesMut::from(&bytes[..])).unwrap_err();
    assert!(
        matches!(error, CodecError::Malformed { offset: 21, .. }),
        "{error:?}"
    );
    bytes[8] = WIRE_VERSION + 1;
    let hello = codec
        .decode(&mut BytesMut::from(&bytes[..]))
        .unwrap()
        .unwrap();
    assert_eq!(
        (&*hello.payload, hello.version),
        ("groups", WIRE_VERSION + 1)
    );
}

#[test]
fn an_unknown_kind_keeps_its_group() {
    let mut bytes = golden_bytes("ping_of_a_group");
    bytes[17] = 0x7f;
    let mut unknown = ping();
    unknown.kind = MessageKind::Unknown;
    assert_eq!(
        decoded(&bytes).unwrap(),
        Some((70_000_u64, unknown.clone()))
    );
    let error = PayloadCodec::new().encode((1_u64, unknown), &mut BytesMut::new());
    assert!(matches!(error, Err(CodecError::NotSendable { .. })));
}

#[test]
fn every_payload_has_the_version_of_its_frame() {
    for bytes in [
        encoded((1_u64, ping())),
        encoded(Said::Append(append(2, 3))),
    ] {
        let mut other = bytes.clone();
        other[4] = 0x20;
        let error = decoded::<OfGroup>(&other).unwrap_err();
        assert!(
            matches!(error, CodecError::Version { found: 0x20 }),
            "{error:?}"
        );
    }
    // What a newer minor appends is skipped, what this one appends is nobody's.
    let mut payload = encoded(Said::Append(append(2, 3))).split_off(4).to_vec();
    payload.push(9);
    let error = decoded::<Said>(&framed(&payload)).unwrap_err();
    assert!(matches!(error, CodecError::Malformed { .. }), "{error:?}");
    payload[0] = WIRE_VERSION + 1;
    assert_eq!(
        decoded(&framed(&payload)).unwrap(),
        Some(Said::Append(append(2, 3)))
    );
}

fn append(count: usize, len: usize) -> Append {
    Append {
        before: (3, 4),
        entries: vec![vec![7; len]; count],
    }
}

/// The writer keeps the newest bytes apart from the others, so every length around its room is tried.
#[test]
fn a_payload_of_any_length_is_itself_again() {
    for len in (0..300).chain([65_534, 65_535]) {
        let raw = (0..len)
            .map(|at: usize| at.to_le_bytes()[0])
            .collect::<Vec<_>>();
        let bytes = encoded(Raw(raw.clone()));
        assert_eq!(bytes, framed(&[&[WIRE_VERSION], &raw[..]].concat()));
        assert_eq!(decoded(&bytes).unwrap(), Some(Raw(raw)));
        let said = Said::Append(append(1, len.min(60_000)));
        assert_eq!(decoded(&encoded(said.clone())).unwrap(), Some(said));
    }
}

#[test]
fn a_megabyte_goes_through_where_the_limit_allows_it() {
    let said = Said::Append(append(1024, 1024));
    let mut codec = PayloadCodec::new().max_frame_len(2 << 20);
    let mut bytes = BytesMut::new();
    codec.encode(said.clone(), &mut bytes).unwrap();
    assert_eq!(codec.decode(&mut bytes).unwrap(), Some(said));
}

#[test]
fn what_is_over_the_limit_is_counted_and_takes_no_memory() {
    for said in [
        append(5_000, 1000),
        append(500_000, 1),
        append(1, 5_000_000),
    ] {
        let said = Said::Append(said);
        let mut bytes = BytesMut::from("before");
        let mut codec = PayloadCodec::new().max_frame_len(1000);
        let mut error = None;
        let memory = measure(|| error = codec.encode(said, &mut bytes).err());
        assert!(
            matches!(
                error,
                Some(CodecError::FrameTooLong {
                    len: 1_000_000..6_000_000,
                    max: 1000
                })
            ),
            "{error:?}"
        );
        assert_eq!(bytes, "before");
        assert!(memory.bytes_max < 4096, "{memory:?}");
    }
}

#[tokio::test]
async fn a_peer_that_carries_something_else_is_refused_and_both_are_told() {
    let (here, there) = tokio::io::duplex(1024);
    let (a, b) = (Hello::new("orders", 1_u64), Hello::new("orders", 2_u64));
    let (at_a, at_b) = tokio::join!(greet_as::<Said, _, _>(here, &a), greet(there, &b));
    let (at_a, at_b) = (at_a.unwrap_err(), at_b.unwrap_err());
    assert_eq!(
        at_a.to_string(),
        "the peer carries plain messages, this node \"said\": one of them has a wrong address or an older program"
    );
    assert!(
        matches!(&at_b, CodecError::ForeignPayload { found, expected } if found == "said" && expected.is_empty()),
        "{at_b:?}"
    );
}

#[tokio::test]
async fn peers_that_carry_the_same_understand_each_other() {
    use futures::{SinkExt, StreamExt};
    let (here, there) = tokio::io::duplex(1024);
    let (a, b) = (Hello::new("orders", 1_u64), Hello::new("orders", 2_u64));
    let greetings = tokio::join!(
        greet_as::<Said, _, _>(here, &a),
        greet_as::<Said, _, _>(there, &b)
    );
    let ((peer, mut here), (_, mut there)) = (greetings.0.unwrap(), greetings.1.unwrap());
    assert_eq!(peer, 2);
    let said = Said::Append(append(3, 4));
    here.send(said.clone()).await.unwrap();
    assert_eq!(there.next().await.unwrap().unwrap(), said);
}

/// What every payload must be.
fn survives<M: Decode + Encode + std::fmt::Debug>(bytes: &[u8]) {
    let mut src = framed(bytes);
    let mut read = None;
    let memory = measure(|| read = Some(PayloadCodec::<M>::new().decode(&mut src)));
    assert!(src.is_empty(), "the frame is gone, good or bad");
    let most = 4096 + 100 * u64::try_from(bytes.len()).unwrap();
    assert!(memory.bytes_max < most, "{memory:?} for {bytes:02x?}");
    if let Some(Ok(Some(payload))) = read {
        let again = PayloadCodec::new().encode(payload, &mut BytesMut::new());
        assert!(
            matches!(again, Ok(()) | Err(CodecError::NotSendable { .. })),
            "{again:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_of_a_peer_do_harm(mut bytes in vec(any::<u8>(), 1..200), has_version in any::<bool>()) {
        if has_version {
            bytes[0] = WIRE_VERSION;
        }
        survives::<OfGroup>(&bytes);
        survives::<(String, Message<u64>)>(&bytes);
        survives::<Said>(&bytes);
        survives::<Raw>(&bytes);
    }

    #[test]
    fn no_change_of_a_message_of_a_group_does_harm(place in 4..27_usize, to in any::<u8>(), cut in 5..28_usize) {
        let mut bytes = golden_bytes("ping_of_a_group");
        bytes[place] = to;
        bytes.truncate(cut);
        survives::<OfGroup>(&bytes[4..]);
    }

    #[test]
    fn a_message_of_a_group_is_its_key_and_then_the_message(key in any::<String>(), term in any::<u64>()) {
        let mut message = ping();
        message.term = term;
        let whole = encoded((key.clone(), message.clone()));
        let mut expected = vec![WIRE_VERSION];
        expected.extend(postcard::to_extend(&key, Vec::new()).unwrap());
        expected.extend_from_slice(&encoded(message.clone())[5..]);
        prop_assert_eq!(&whole[4..], &expected[..]);
        prop_assert_eq!(decoded(&whole).unwrap(), Some((key, message)));
    }
}
