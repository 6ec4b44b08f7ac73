//! What the codec promises: one form on the wire that never changes, and nothing from a peer that harms a node.
#![cfg(feature = "codec")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;

use allocation_counter::measure;
use bytes::BytesMut;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use streamraft::codec::{CodecError, Hello, HelloCodec, MessageCodec, WIRE_VERSION};
use streamraft::{
    Attachment, Beat, ClusterTag, Id, LogPosition, Membership, Message, MessageKind, NodeId, Stamp,
};
use tokio_util::codec::{Decoder, Encoder};

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn encoded<I: Id + Serialize>(message: &Message<I>) -> BytesMut {
    let mut bytes = BytesMut::new();
    MessageCodec::new()
        .encode(message.clone(), &mut bytes)
        .unwrap();
    bytes
}

fn decoded<I: Id + DeserializeOwned>(bytes: &[u8]) -> Result<Option<Message<I>>, CodecError> {
    MessageCodec::new().decode(&mut bytes.into())
}

/// A frame around any payload.
fn framed(payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::from(&u32::try_from(payload.len()).unwrap().to_be_bytes()[..]);
    bytes.extend_from_slice(payload);
    bytes
}

/// The payload of a message of a cluster without a name up to its membership, then `rest`.
fn payload(rest: &[u8]) -> Vec<u8> {
    [&[WIRE_VERSION, 0, 0, 0, 0, 7, 0, 1], rest].concat()
}

fn message(stamp_term: u64, kind: MessageKind) -> Message {
    Message::new(1000, Stamp::new(stamp_term, 10), kind).with_cluster(ClusterTag::new("orders"))
}

fn ping() -> Message {
    let (round, succession) = (1 << 42, Some(1));
    message(1000, MessageKind::Ping { round, succession })
}

/// Of two machines and no group: no term, no stamp.
fn of_machine(kind: MessageKind) -> Message {
    Message::new(0, Stamp::default(), kind).with_cluster(ClusterTag::new("orders"))
}

fn beat() -> Beat {
    let mut beat = Beat::new(1 << 42, Some(300), 1 << 35);
    (beat.detached, beat.news, beat.heard) = (2, vec![5, 300], 1);
    beat
}

fn beat_ack() -> Beat {
    let mut answer = Beat::new(1 << 42, Some(300), 1 << 35);
    (answer.detached, answer.heard) = (1, 2);
    answer
}

fn attachment(detached: u64) -> Attachment {
    Attachment::new(1 << 42, 300, 301, detached)
}

/// One message of every kind, by the name of its file in `tests/data/wire/`.
fn golden_messages() -> Vec<(&'static str, Message)> {
    let position = LogPosition::new(6, 300);
    let (round, priority) = (3, 5);
    let mut membership = Membership::initial([id("a"), id("b"), id("c")]);
    (membership.term, membership.version) = (1000, 10);
    membership.observers = vec![id("d")];
    membership.target = vec![id("a"), id("b"), id("d")];
    let request = MessageKind::PreVoteRequest {
        round,
        position,
        priority,
    };
    let (granted, leader) = (true, Some(id("b")));
    let pre_vote = MessageKind::PreVote {
        round,
        granted,
        leader,
    };
    let transfer = true;
    let vote_request = MessageKind::VoteRequest { position, transfer };
    let (granted, leader) = (false, None);
    let round = 1 << 42;
    vec![
        ("pre_vote_request", message(999, request)),
        ("pre_vote", message(1000, pre_vote)),
        ("vote_request", message(999, vote_request)),
        ("vote", message(1000, MessageKind::Vote { granted, leader })),
        ("ping", ping()),
        (
            "pong",
            message(
                1000,
                MessageKind::Pong {
                    round,
                    position,
                    priority,
                },
            ),
        ),
        ("timeout_now", message(1000, MessageKind::TimeoutNow)),
        ("beat", of_machine(MessageKind::Beat(beat().into()))),
        (
            "beat_ack",
            of_machine(MessageKind::BeatAck(beat_ack().into())),
        ),
        ("attach", message(1000, MessageKind::Attach(attachment(2)))),
        (
            "attached",
            message(1000, MessageKind::Attached(attachment(1))),
        ),
        ("membership", ping().with_membership(membership.into())),
    ]
}

fn golden_folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/wire"))
}

fn golden_bytes(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(golden_folder().join(format!("{name}.hex"))).unwrap();
    let lines = text.lines().map(|line| line.split('#').next().unwrap());
    lines
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// The files never change within a major version: nodes of all its minor versions understand each other.
#[test]
fn every_kind_has_the_bytes_that_it_always_had() {
    for (name, message) in golden_messages() {
        let bytes = golden_bytes(name);
        assert_eq!(encoded(&message), bytes, "{name}");
        assert_eq!(decoded(&bytes).unwrap(), Some(message), "{name}");
    }
    let hello = Hello::new("orders", id("a"));
    let mut bytes = BytesMut::new();
    HelloCodec::new().encode(hello.clone(), &mut bytes).unwrap();
    assert_eq!(bytes, golden_bytes("hello"));
    assert_eq!(HelloCodec::new().decode(&mut bytes).unwrap(), Some(hello));
}

#[test]
fn every_golden_file_is_looked_at() {
    let others = ["hello", "newer_minor", "unknown_kind"].map(str::to_owned);
    let known: BTreeSet<_> = golden_messages()
        .into_iter()
        .map(|(name, _)| name.to_owned())
        .chain(others)
        .collect();
    let found: BTreeSet<_> = std::fs::read_dir(golden_folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(known, found);
}

#[test]
fn a_heartbeat_takes_at_most_24_bytes() {
    assert!(encoded(&ping()).len() <= 24, "{}", encoded(&ping()).len());
}

/// It stands for the heartbeats of any number of groups.
#[test]
fn a_beat_without_news_takes_at_most_50_bytes() {
    // As sessions are: drawn at random. Rounds: a year of microseconds.
    let mut beat = Beat::new(u64::MAX - 1, Some(u64::MAX), 31_536_000_000_000);
    (beat.detached, beat.heard) = (1 << 20, 1 << 20);
    for kind in [
        MessageKind::Beat(beat.clone().into()),
        MessageKind::BeatAck(beat.into()),
    ] {
        let len = encoded(&of_machine(kind)).len();
        assert!(len <= 50, "{len}");
    }
}

/// The most that waits to be told before a session begins anew.
#[test]
fn the_longest_news_fit_into_a_frame() {
    let mut beat = beat();
    beat.news = (0..=8_192).map(|number| (1 << 42) + number).collect();
    let long = of_machine(MessageKind::Beat(beat.into()));
    assert_eq!(decoded(&encoded(&long)).unwrap(), Some(long));
}

#[test]
fn a_newer_minor_is_understood_and_what_it_appends_is_skipped() {
    assert_eq!(decoded(&golden_bytes("newer_minor")).unwrap(), Some(ping()));
    // The same bytes in our own version are nobody's.
    let mut bytes = golden_bytes("newer_minor");
    bytes[4] = WIRE_VERSION;
    let error = decoded::<NodeId>(&bytes).unwrap_err();
    assert!(
        matches!(error, CodecError::Malformed { offset: 20, .. }),
        "{error:?}"
    );
}

#[test]
fn an_unknown_kind_is_unknown_with_its_header() {
    let unknown = message(1000, MessageKind::Unknown);
    assert_eq!(
        decoded(&golden_bytes("unknown_kind")).unwrap(),
        Some(unknown)
    );
}

/// The place of a kind is a varint like any other, though one byte is all that it takes today.
#[test]
fn a_kind_in_a_long_varint_is_that_kind() {
    let timeout_now = Message::new(7, Stamp::new(7, 1), MessageKind::TimeoutNow);
    for kind in [&[6][..], &[0x86, 0], &[0x86, 0x80, 0]] {
        let read = decoded::<NodeId>(&framed(&payload(&[&[0], kind].concat())));
        assert_eq!(read.unwrap(), Some(timeout_now.clone()), "{kind:02x?}");
    }
    for kind in [&[0x80][..], &[0xff; 11]] {
        let read = decoded::<NodeId>(&framed(&payload(&[&[0], kind].concat())));
        assert!(
            matches!(read, Err(CodecError::Malformed { .. })),
            "{kind:02x?}"
        );
    }
}

#[test]
fn another_major_is_refused_by_its_version_and_the_next_frame_is_read() {
    for version in [0x00, 0x0f, 0x20, 0x25, 0xf5] {
        let mut bytes = framed(&[version, 1, 2, 3]);
        bytes.extend_from_slice(&encoded(&ping()));
        let mut codec = MessageCodec::new();
        let error = codec.decode(&mut bytes).unwrap_err();
        assert!(matches!(error, CodecError::Version { found } if found == version));
        assert_eq!(codec.decode(&mut bytes).unwrap(), Some(ping()));
    }
}

#[test]
fn a_malformed_frame_is_skipped_and_the_next_is_read() {
    let cases: [(&[u8], usize); 5] = [
        (&[WIRE_VERSION], 1),          // no header
        (&payload(&[2]), 9),           // an option that is neither
        (&payload(&[0]), 9),           // no kind
        (&payload(&[0, 4]), 10),       // a kind without its fields
        (&payload(&[0, 3, 2, 0]), 11), // a bool that is neither
    ];
    for (payload, expected) in cases {
        let mut bytes = framed(payload);
        bytes.extend_from_slice(&encoded(&ping()));
        let mut codec = MessageCodec::new();
        let error = codec.decode(&mut bytes).unwrap_err();
        assert!(
            matches!(error, CodecError::Malformed { offset, .. } if offset == expected),
            "{error:?}"
        );
        assert_eq!(codec.decode(&mut bytes).unwrap(), Some(ping()));
    }
}

#[test]
fn an_invalid_node_id_from_a_peer_is_malformed() {
    for name in ["", "a b", "0123456789012345678901234567890123456"] {
        let (granted, leader) = (false, Some(name.to_owned()));
        let vote = Message::new(1, Stamp::new(1, 1), MessageKind::Vote { granted, leader });
        let error = decoded::<NodeId>(&encoded(&vote)).unwrap_err();
        assert!(
            matches!(error, CodecError::Malformed { .. }),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn a_length_over_the_limit_is_refused_for_good_and_before_any_memory_is_taken() {
    let limit = 65_537_u32.to_be_bytes();
    for bytes in [&limit[..], &[0xff; 4], &[0xff; 8], b"GET / HTTP/1.1\r\n"] {
        let mut src = BytesMut::from(bytes);
        let mut codec = MessageCodec::<NodeId>::new();
        let memory = measure(|| {
            for _ in 0..3 {
                let error = codec.decode(&mut src).unwrap_err();
                assert!(
                    matches!(error, CodecError::FrameTooLong { len, max: 65_536 } if len > 65_536)
                );
                assert!(codec.decode_eof(&mut src).is_err());
            }
        });
        assert_eq!((memory.count_total, &src[..]), (0, bytes));
    }
}

#[test]
fn a_length_within_the_limit_reserves_its_frame_and_no_more() {
    let mut src = BytesMut::from(&65_536_u32.to_be_bytes()[..]);
    assert!(
        MessageCodec::<u64>::new()
            .decode(&mut src)
            .unwrap()
            .is_none()
    );
    assert_eq!(src.capacity(), 4 + 65_536);
}

#[test]
fn a_frame_that_cannot_be_sent_leaves_the_buffer_as_it_was() {
    let mut bytes = BytesMut::from("before");
    let error = MessageCodec::new()
        .max_frame_len(10)
        .encode(ping(), &mut bytes)
        .unwrap_err();
    let len = encoded(&ping()).len() - 4;
    assert!(matches!(error, CodecError::FrameTooLong { len: found, max: 10 } if found == len));
    let unknown = message(1000, MessageKind::Unknown);
    let error = MessageCodec::new().encode(unknown, &mut bytes).unwrap_err();
    assert!(matches!(error, CodecError::NotSendable { .. }));
    let hello = Hello::new("o".repeat(1024), id("a"));
    let error = HelloCodec::new().encode(hello, &mut bytes).unwrap_err();
    assert!(matches!(error, CodecError::FrameTooLong { max: 1024, .. }));
    assert_eq!(bytes, "before");
    MessageCodec::new()
        .max_frame_len(len)
        .encode(ping(), &mut bytes)
        .unwrap();
}

#[test]
fn the_largest_membership_fits_with_names_of_30_bytes() {
    let voters = (0..Membership::<NodeId>::MAX_NODES).map(|n| id(&format!("{n:030}")));
    let full = ping().with_membership(Membership::initial(voters).into());
    assert_eq!(decoded(&encoded(&full)).unwrap(), Some(full));
}

#[test]
fn a_frame_in_pieces_is_the_same_frame() {
    for (name, message) in golden_messages() {
        let bytes = golden_bytes(name);
        for cut in 0..bytes.len() {
            let mut codec = MessageCodec::new();
            let mut src = BytesMut::from(&bytes[..cut]);
            assert!(codec.decode(&mut src).unwrap().is_none(), "{name} at {cut}");
            src.extend_from_slice(&bytes[cut..]);
            assert_eq!(codec.decode(&mut src).unwrap().as_ref(), Some(&message));
            assert!(codec.decode_eof(&mut src).unwrap().is_none());
        }
    }
}

fn truncate_everywhere<D: Decoder<Error = CodecError>>(mut codec: D, bytes: &[u8]) {
    for cut in 1..bytes.len() {
        let mut src = BytesMut::from(&bytes[..cut]);
        let error = codec.decode_eof(&mut src).err().unwrap();
        let expected = if cut < 4 { 4 } else { bytes.len() };
        assert!(
            matches!(error, CodecError::Truncated { have, need } if have == cut && need == expected)
        );
        assert!(
            matches!(codec.decode_eof(&mut src), Ok(None)),
            "it never ends"
        );
    }
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_truncated() {
    for (name, _) in golden_messages() {
        truncate_everywhere(MessageCodec::<NodeId>::new(), &golden_bytes(name));
    }
    truncate_everywhere(HelloCodec::<NodeId>::new(), &golden_bytes("hello"));
}

/// Decodes until there is nothing more or nothing new, and looks at the memory it took.
fn survives<D: Decoder<Error = CodecError>>(mut codec: D, bytes: &[u8], limit: usize) {
    let mut src = BytesMut::from(bytes);
    for _ in 0..=bytes.len() {
        let before = src.len();
        let ended = matches!(codec.decode(&mut src), Ok(None));
        // A BytesMut at least doubles whenever it grows.
        assert!(src.capacity() <= 2 * bytes.len().max(4 + limit));
        if ended || src.len() == before {
            let _ = codec.decode_eof(&mut src);
            return;
        }
    }
    panic!("{bytes:02x?} never ends");
}

#[test]
fn no_single_wrong_byte_does_harm() {
    for name in golden_messages()
        .into_iter()
        .map(|(name, _)| name)
        .chain(["hello"])
    {
        let golden = golden_bytes(name);
        for (place, wrong) in
            (0..golden.len()).flat_map(|place| (1..=255).map(move |by| (place, by)))
        {
            let mut bytes = golden.clone();
            bytes[place] ^= wrong;
            survives(MessageCodec::<NodeId>::new(), &bytes, 65_536);
            survives(HelloCodec::<NodeId>::new(), &bytes, 1024);
        }
    }
}

#[test]
fn a_list_that_announces_more_than_there_is_takes_no_memory() {
    // A beat of a session, to nobody yet, that has ended some, and 2^60 numbers of whom none comes.
    let mut announced = payload(&[0, 7, 1, 0, 1, 1]);
    announced.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
    let bytes = framed(&announced);
    let memory = measure(|| {
        assert!(matches!(
            decoded::<u64>(&bytes),
            Err(CodecError::Malformed { .. })
        ));
    });
    assert!(memory.bytes_total < 512, "{memory:?}");

    // Some membership, its stamp, then 2^60 voters of whom none comes.
    let mut announced = payload(&[1, 7, 1]);
    announced.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
    let bytes = framed(&announced);
    let memory = measure(|| {
        assert!(matches!(
            decoded::<u64>(&bytes),
            Err(CodecError::Malformed { .. })
        ));
    });
    assert!(memory.bytes_total < 256, "{memory:?}");

    // 60,000 voters, and as many bytes, which are no ids.
    announced = payload(&[1, 7, 1, 0xe0, 0xd4, 0x03]);
    announced.resize(announced.len() + 60_000, 0xff);
    let bytes = framed(&announced);
    let memory = measure(|| assert!(decoded::<NodeId>(&bytes).is_err()));
    assert!(memory.bytes_max <= 2 << 20, "{memory:?}");
}

#[test]
fn heartbeats_are_written_and_read_without_allocating() {
    let mut codec = MessageCodec::new();
    let mut bytes = BytesMut::with_capacity(1024);
    let position = LogPosition::new(6, 300);
    let pong = message(
        1000,
        MessageKind::Pong {
            round: 1 << 42,
            position,
            priority: 5,
        },
    );
    let memory = measure(|| {
        for _ in 0..1_000 {
            for heartbeat in [&ping(), &pong] {
                codec.encode(heartbeat.clone(), &mut bytes).unwrap();
                assert_eq!(codec.decode(&mut bytes).unwrap().as_ref(), Some(heartbeat));
            }
        }
    });
    assert_eq!(memory.count_total, 0);
    let memory = measure(|| drop(encoded(&ping())));
    assert!(memory.count_total > 0, "nothing is counted");
}

fn kinds<I: Id>(
    ids: impl Strategy<Value = I> + Clone + 'static,
) -> impl Strategy<Value = MessageKind<I>> {
    let position =
        || (any::<u64>(), any::<u64>()).prop_map(|(term, index)| LogPosition::new(term, index));
    prop_oneof![
        (any::<u64>(), position(), any::<u64>()).prop_map(|(round, position, priority)| {
            MessageKind::PreVoteRequest {
                round,
                position,
                priority,
            }
        }),
        (any::<u64>(), any::<bool>(), option::of(ids.clone())).prop_map(
            |(round, granted, leader)| MessageKind::PreVote {
                round,
                granted,
                leader
            }
        ),
        (position(), any::<bool>())
            .prop_map(|(position, transfer)| MessageKind::VoteRequest { position, transfer }),
        (any::<bool>(), option::of(ids))
            .prop_map(|(granted, leader)| MessageKind::Vote { granted, leader }),
        (any::<u64>(), any::<Option<u32>>())
            .prop_map(|(round, succession)| MessageKind::Ping { round, succession }),
        (any::<u64>(), position(), any::<u64>()).prop_map(|(round, position, priority)| {
            MessageKind::Pong {
                round,
                position,
                priority,
            }
        }),
        Just(MessageKind::TimeoutNow),
        beats().prop_map(|beat| MessageKind::Beat(beat.into())),
        beats().prop_map(|beat| MessageKind::BeatAck(beat.into())),
        attachments().prop_map(MessageKind::Attach),
        attachments().prop_map(MessageKind::Attached),
    ]
}

fn beats() -> impl Strategy<Value = Beat> {
    let numbers = (
        any::<[u64; 4]>(),
        any::<Option<u64>>(),
        vec(any::<u64>(), 0..20),
    );
    numbers.prop_map(|([session, round, detached, heard], listener, news)| {
        let mut beat = Beat::new(session, listener, round);
        (beat.detached, beat.news, beat.heard) = (detached, news, heard);
        beat
    })
}

fn attachments() -> impl Strategy<Value = Attachment> {
    any::<[u64; 4]>().prop_map(|[session, listener, number, detached]| {
        Attachment::new(session, listener, number, detached)
    })
}

fn messages<I: Id>(
    ids: impl Strategy<Value = I> + Clone + 'static,
) -> impl Strategy<Value = Message<I>> {
    let some = || btree_set(ids.clone(), 0..5).prop_map(Vec::from_iter);
    let membership = (any::<(u64, u64)>(), some(), some(), some()).prop_map(
        |(stamp, voters, observers, target)| {
            let mut membership = Membership::initial(voters);
            (membership.term, membership.version) = stamp;
            (membership.observers, membership.target) = (observers, target);
            membership
        },
    );
    (
        any::<[u64; 3]>(),
        any::<String>(),
        option::of(membership),
        kinds(ids.clone()),
    )
        .prop_map(|([term, stamp_term, version], cluster, membership, kind)| {
            let mut message = Message::new(term, Stamp::new(stamp_term, version), kind);
            message.membership = membership.map(Into::into);
            message.with_cluster(ClusterTag::new(&cluster))
        })
}

fn round_trips<I: Id + Serialize + DeserializeOwned>(message: Message<I>) {
    assert_eq!(decoded(&encoded(&message)).unwrap(), Some(message));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_message_round_trips(
        named in messages("[a-z0-9.é-]{1,18}".prop_map(|name| id(&name))),
        numbered in messages(any::<u64>()),
        addressed in messages(any::<(std::net::IpAddr, u16)>().prop_map(SocketAddr::from)),
    ) {
        round_trips(named);
        round_trips(numbered);
        round_trips(addressed);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(prop_oneof![0..8_u8, any::<u8>()], 0..300)) {
        let mut closer = payload(&bytes);
        let close = framed(&closer);
        // The same with a version that may have more behind its fields.
        closer[0] += 1;
        for bytes in [&bytes[..], &framed(&bytes), &close, &framed(&closer)] {
            survives(MessageCodec::<NodeId>::new().max_frame_len(128), bytes, 128);
            survives(MessageCodec::<u64>::new(), bytes, 65_536);
            survives(HelloCodec::<NodeId>::new(), bytes, 1024);
        }
    }

    #[test]
    fn random_bytes_behind_the_magic_do_no_harm(rest in vec(any::<u8>(), 0..64)) {
        survives(HelloCodec::<NodeId>::new(), &framed(&[b"\xf5srh\x10", &rest[..]].concat()), 1024);
    }
}

#[test]
fn every_error_says_what_and_whose() {
    let not_hello = HelloCodec::<NodeId>::new()
        .decode(&mut "GET / HTTP".into())
        .unwrap_err();
    assert_eq!(
        not_hello.to_string(),
        "expected a hello, found \"GET / HT\": the peer is no node of this crate"
    );
    let version = CodecError::Version { found: 0x2a };
    assert_eq!(
        version.to_string(),
        "wire version 2.10: this node understands 1.x; upgrade the older of the two"
    );
}

#[test]
fn codecs_are_send_and_unpin_whatever_the_id() {
    fn check<T: Send + Sync + Unpin + Clone + Debug + Default + 'static>() {}
    check::<MessageCodec>();
    check::<HelloCodec<u64>>();
}

#[test]
fn a_frame_without_payload_is_a_sign_of_life_and_skipped() {
    let mut codec = MessageCodec::<u64>::new();
    let message = Message::new(7, Stamp::new(7, 1), MessageKind::TimeoutNow);
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&[0; 8]);
    codec
        .encode(message.clone(), &mut bytes)
        .expect("it is small");
    bytes.extend_from_slice(&[0; 4]);
    assert_eq!(
        codec.decode(&mut bytes).expect("well formed"),
        Some(message)
    );
    assert_eq!(codec.decode(&mut bytes).expect("well formed"), None);
    assert!(bytes.is_empty());
}

#[test]
fn a_frame_too_short_for_a_hello_is_refused_by_its_length_wherever_the_stream_is_cut() {
    for len in 0..4_u8 {
        let mut bytes = vec![0, 0, 0, len];
        bytes.extend_from_slice(&b"\xf5srh\x01more"[..]);
        for cut in 0..=bytes.len() {
            let decoded = HelloCodec::<u64>::new().decode(&mut BytesMut::from(&bytes[..cut]));
            if cut < 4 {
                assert!(matches!(decoded, Ok(None)), "{len} bytes, cut at {cut}");
            } else {
                let refused = matches!(decoded, Err(CodecError::NotHello { .. }));
                assert!(refused, "{len} bytes, cut at {cut}: {decoded:?}");
            }
        }
    }
}
