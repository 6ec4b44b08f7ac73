//! Messages about the log as bytes, and how they wait for a peer.

use bytes::{BufMut, Bytes, BytesMut};
use futures::channel::mpsc;
use futures::{FutureExt, SinkExt};
use proptest::prelude::*;
use streamraft::codec::{CodecError, DEFAULT_MAX_FRAME_LEN, MessageCodec, PayloadCodec, Wire};
use streamraft::raft::{
    Append, AppendAck, Batch, Head, LogLimits, MemoryLog, RaftMessage, Refused, Snapshot,
    SnapshotAck, SnapshotPart, SnapshotSend,
};
use streamraft::{LogPosition, Message, MessageKind, MsgRouter, Payload, Queued, Stamp, Waiting};
use tokio_util::codec::{Decoder, Encoder};

use crate::one::{One, at, entries};

type Codec = PayloadCodec<RaftMessage<u64>>;

fn written(message: RaftMessage<u64>) -> BytesMut {
    let mut frame = BytesMut::new();
    Codec::new().encode(message, &mut frame).unwrap();
    frame
}

fn read(frame: &[u8]) -> Result<Option<RaftMessage<u64>>, CodecError> {
    Codec::new().decode(&mut BytesMut::from(frame))
}

/// A frame with this payload.
fn framed(payload: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(payload.len()).unwrap());
    frame.put_slice(payload);
    frame
}

fn election(kind: MessageKind<u64>) -> Message<u64> {
    Message::new(3, Stamp::new(3, 1), kind)
}

/// One of each.
fn all_kinds() -> Vec<RaftMessage<u64>> {
    let head = Head::new(7, 300);
    let snapshot = Snapshot::new(at(6, 900), 5_000, 0xcbf4_3926);
    let part = SnapshotPart::new(snapshot, 4_096, Bytes::from_static(b"part"));
    vec![
        election(MessageKind::TimeoutNow).into(),
        RaftMessage::Append(Append::new(head, at(6, 4), 3, entries(5, 7, 3))),
        RaftMessage::Append(Append::new(head, at(6, 4), 3, None)),
        RaftMessage::AppendAck(AppendAck::new(head, 8, 5, None)),
        RaftMessage::AppendAck(AppendAck::new(head, 8, 5, Some(Refused::new(9, at(2, 4))))),
        RaftMessage::Snapshot(SnapshotSend::new(head, part)),
        RaftMessage::SnapshotAck(SnapshotAck::new(head, snapshot, 4_100)),
    ]
}

fn positions() -> impl Strategy<Value = LogPosition> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, index)| at(term, index))
}

fn heads() -> impl Strategy<Value = Head> {
    (any::<u64>(), any::<u64>(), "[a-z]{0,3}").prop_map(|(term, round, cluster)| {
        let mut head = Head::new(term, round);
        head.cluster = streamraft::ClusterTag::new(&cluster);
        head
    })
}

fn batches() -> impl Strategy<Value = Option<Batch>> {
    let proposals = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5);
    // No proposals: no batch.
    (1..1_u64 << 60, any::<u64>(), proposals)
        .prop_map(|(first, term, proposals)| Batch::of_proposals(first, term, proposals))
}

fn snapshots() -> impl Strategy<Value = Snapshot> {
    (positions(), any::<u64>(), any::<u32>())
        .prop_map(|(position, len, checksum)| Snapshot::new(position, len, checksum))
}

fn messages() -> impl Strategy<Value = RaftMessage<u64>> {
    let refused = prop::option::of((any::<u64>(), positions()));
    let data = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(term, version, round)| {
            let succession = None;
            let kind = MessageKind::Ping { round, succession };
            Message::new(term, Stamp::new(term / 2, version), kind).into()
        }),
        (heads(), positions(), any::<u64>(), batches()).prop_map(
            |(head, previous, commit, batch)| {
                RaftMessage::Append(Append::new(head, previous, commit, batch))
            }
        ),
        (heads(), any::<u64>(), any::<u64>(), refused).prop_map(
            |(head, matched, commit, refused)| {
                let refused = refused.map(|(previous, hint)| Refused::new(previous, hint));
                RaftMessage::AppendAck(AppendAck::new(head, matched, commit, refused))
            }
        ),
        (heads(), snapshots(), any::<u64>(), data).prop_map(|(head, snapshot, offset, data)| {
            let part = SnapshotPart::new(snapshot, offset, data.into());
            RaftMessage::Snapshot(SnapshotSend::new(head, part))
        }),
        (heads(), snapshots(), any::<u64>()).prop_map(|(head, snapshot, received)| {
            RaftMessage::SnapshotAck(SnapshotAck::new(head, snapshot, received))
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in messages()) {
        prop_assert_eq!(read(&written(message.clone())).unwrap(), Some(message));
    }

    /// Any byte changed, any length: another message or an error.
    #[test]
    fn damaged_bytes_do_not_panic(
        message in messages(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut payload = written(message)[4..].to_vec();
        for (place, byte) in damage {
            let place = place.index(payload.len());
            payload[place] = byte;
        }
        payload.truncate(cut.index(payload.len()) + 1);
        payload.extend(tail);
        if let Ok(Some(message)) = read(&framed(&payload))
            && let RaftMessage::Append(Append { entries: Some(batch), .. }) = &message
        {
            // Whatever was read can be used.
            prop_assert_eq!(batch.entries().count(), batch.len());
            prop_assert!(batch.first() > 0 && batch.last() >= batch.first());
        }
    }

    #[test]
    fn any_bytes_do_not_panic(payload in prop::collection::vec(any::<u8>(), 0..100), tag in 0..6_u8) {
        let _ = read(&framed(&payload));
        let _ = read(&framed(&[&[streamraft::codec::WIRE_VERSION, tag], &*payload].concat()));
    }
}

#[test]
fn the_election_speaks_as_it_does_without_a_log() {
    let message = election(MessageKind::TimeoutNow);
    let mut plain = BytesMut::new();
    MessageCodec::<u64>::new()
        .encode(message.clone(), &mut plain)
        .unwrap();
    let behind_a_tag = [&plain[4..5], &[0], &plain[5..]].concat();
    assert_eq!(written(message.into()), framed(&behind_a_tag));
}

/// Nodes of this release and those of the next one must read each other.
#[test]
fn the_form_stays_as_it_is() {
    let forms = [
        "1000000000000300010006",
        "10010007ac02 0604 03 01 0507 18 0300000001372e35 0300000001372e36 0300000001372e37",
        "10010007ac02 0604 03 00",
        "10020007ac02 08 05 00",
        "10020007ac02 08 05 01 09 0204",
        "10030007ac02 068407 8827 a6f2d0df0c 8020 04 70617274",
        "10040007ac02 068407 8827 a6f2d0df0c 8420",
    ];
    let written: Vec<String> = all_kinds()
        .into_iter()
        .map(|message| {
            let frame = written(message);
            frame[4..]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        })
        .collect();
    assert_eq!(written, forms.map(|form| form.replace(' ', "")));
}

#[test]
fn a_kind_of_the_election_that_is_not_known_is_skipped_and_one_of_the_log_is_an_error() {
    let frame = written(election(MessageKind::TimeoutNow).into());
    let (_, before) = frame[4..].split_last().unwrap();
    // Of a newer release, with fields of its own.
    let newer = [before, &[0x55, 1, 2, 3]].concat();
    let unknown = election(MessageKind::Unknown);
    assert_eq!(read(&framed(&newer)).unwrap(), Some(unknown.clone().into()));
    let mut frame = BytesMut::new();
    let error = Codec::new().encode(unknown.into(), &mut frame).unwrap_err();
    assert!(
        matches!(error, CodecError::NotSendable { .. }) && frame.is_empty(),
        "{error:?}"
    );
    let error = read(&framed(&[streamraft::codec::WIRE_VERSION, 5, 0, 0, 0])).unwrap_err();
    assert!(
        error.to_string().contains("kind of message that is not"),
        "{error}"
    );
}

#[test]
fn what_is_cut_off_or_too_long_is_an_error() {
    for message in all_kinds() {
        let frame = written(message.clone());
        let payload = &frame[4..];
        // One without anything only shows that the peer lives.
        for len in 1..payload.len() {
            let read = read(&framed(&payload[..len]));
            assert!(
                matches!(read, Err(CodecError::Malformed { .. })),
                "{len}: {read:?}"
            );
        }
        let longer = [payload, &[0]].concat();
        let read = read(&framed(&longer));
        assert!(
            matches!(read, Err(CodecError::Malformed { .. })),
            "{message:?}"
        );
    }
}

#[test]
fn entries_that_are_not_what_they_say_are_an_error() {
    // The form of entries 5 to 7, as above: first, term, length of all, then each with its length and kind.
    let good = written(all_kinds().remove(1));
    let records = good.len() - 24;
    for (place, byte, wrong) in [
        (records - 3, 0, "an index that no log has"),
        (records, 4, "a longer entry than there is"),
        (records + 3, 0xff, "one of 4 GiB"),
        (records + 4, 2, "an unknown kind of entry"),
    ] {
        let mut frame = good.clone();
        frame[place] = byte;
        let read = read(&frame);
        assert!(
            matches!(read, Err(CodecError::Malformed { .. })),
            "{wrong}: {read:?}"
        );
    }
}

#[test]
fn the_longest_messages_fit_the_frame_that_the_limits_ask_for() {
    let default = LogLimits::default();
    for limits in [
        default,
        default.proposal(4 << 20),
        default.message(3 << 20),
        default.proposal(0).message(1),
    ] {
        let mut head = Head::new(u64::MAX, u64::MAX);
        head.cluster = streamraft::ClusterTag::new("orders");
        let previous = at(u64::MAX, u64::MAX);
        // One entry of the greatest length, and as many as a message may have, at the end of the longest log.
        let first = u64::MAX - (1 << 41);
        let of = |len: usize| Batch::of_proposals(first, u64::MAX, [vec![0; len]]).unwrap();
        let small = limits.get_message().saturating_sub(5);
        let appends = [of(limits.get_proposal()), of(small)]
            .map(|batch| RaftMessage::Append(Append::new(head, previous, u64::MAX, Some(batch))));
        let snapshot = Snapshot::new(previous, u64::MAX, u32::MAX);
        let part = SnapshotPart::new(snapshot, u64::MAX, vec![0; limits.get_message()].into());
        let part = RaftMessage::Snapshot(SnapshotSend::new(head, part));
        let mut codec = Codec::new().max_frame_len(limits.frame_len());
        for message in appends.into_iter().chain([part]) {
            let mut frame = BytesMut::new();
            codec.encode(message.clone(), &mut frame).unwrap();
            assert_eq!(codec.decode(&mut frame).unwrap(), Some(message));
        }
    }
    assert!(default.frame_len() > DEFAULT_MAX_FRAME_LEN);
    assert_eq!(
        default.proposal(0).message(1).frame_len(),
        DEFAULT_MAX_FRAME_LEN,
        "memberships need room too"
    );
}

#[test]
fn a_leader_with_a_full_window_says_nothing_longer() {
    let limits = LogLimits::default();
    let mut node = One::with(3, MemoryLog::new(), limits).lead();
    let ack = node.ack(1);
    node.receive(2, ack);
    for len in [1 << 20, 100, 300 << 10, 1 << 20, 1 << 20, 1 << 20, 1 << 20] {
        for _ in 0..(1 << 20) / len {
            node.raft.propose(&vec![7; len]).unwrap();
        }
    }
    let mut codec = Codec::new().max_frame_len(limits.frame_len());
    let (mut longest, mut all) = (0, 0);
    for (to, message) in node.settle() {
        let mut frame = BytesMut::new();
        codec.encode(message, &mut frame).unwrap();
        if to == 2 {
            longest = longest.max(frame.len());
            all += frame.len() as u64;
        }
    }
    assert!(longest > 1 << 20, "a proposal of the greatest length");
    assert!(all >= limits.get_window(), "{all}");
}

#[test]
fn what_is_about_the_log_waits_in_line_and_what_is_about_the_election_goes_first() {
    let ping = |round| {
        let succession = None;
        RaftMessage::from(election(MessageKind::Ping { round, succession }))
    };
    let mut waiting = <RaftMessage<u64> as Payload>::Waiting::default();
    let mut said = all_kinds().split_off(1);
    for message in said.iter().cloned().chain([ping(1), ping(2)]) {
        waiting.put(message);
    }
    said.insert(0, ping(2));
    let left: Vec<_> = std::iter::from_fn(|| waiting.take()).collect();
    assert_eq!(left, said);
}

#[test]
fn a_line_for_a_stuck_peer_has_room_for_a_window_and_no_end_of_more() {
    let mut waiting = <RaftMessage<u64> as Payload>::Waiting::default();
    let limits = LogLimits::default();
    let count = limits.get_window() / limits.get_message() as u64;
    let big = |index: u64| {
        let data = vec![0; limits.get_message() - 5];
        let batch = Batch::of_proposals(index, 1, [data]);
        RaftMessage::<u64>::Append(Append::new(Head::new(1, 0), at(1, index - 1), 0, batch))
    };
    for index in 1..=10 * count {
        waiting.put(big(index));
    }
    let left: Vec<_> = std::iter::from_fn(|| waiting.take()).collect();
    let kept = left.len() as u64;
    assert!((count..3 * count).contains(&kept), "{kept} of {count}");
    assert!(left.into_iter().eq((1..=kept).map(big)), "no gap");
    assert_eq!(<RaftMessage<u64> as Queued>::MAX_COUNT, 1_024);
}

#[test]
fn it_travels_by_whatever_carries_payloads() {
    fn is_wire<M: Wire>() -> &'static str {
        M::NAME
    }
    assert_eq!(is_wire::<RaftMessage>(), "log");
    let (to, mut at_peer) = mpsc::unbounded();
    let mut lossy = streamraft::lossy(to);
    for message in all_kinds() {
        let sent = lossy.send(MsgRouter::ToNode(2, message)).now_or_never();
        assert!(matches!(sent, Some(Ok(()))));
    }
    let heard: Vec<RaftMessage<u64>> = std::iter::from_fn(|| at_peer.try_recv().ok()).collect();
    assert_eq!(heard, all_kinds());
}
