//! Messages about the log as bytes, and batches of entries: what is read is written so that it reads the same again, and what is
//! no batch is an error.

use arbitrary::{Arbitrary, Unstructured};
use bytes::{BufMut, Bytes, BytesMut};
use streamraft::codec::PayloadCodec;
use streamraft::raft::{
    Append, AppendAck, Batch, BatchError, Head, RaftMessage, Refused, Snapshot, SnapshotAck,
    SnapshotPart, SnapshotSend,
};
use streamraft::{Id, LogPosition, MessageKind, NodeId};
use tokio_util::codec::Encoder;

use super::super::codec::{Rewritten, check_stream, damaged, framed};

/// No frame here is longer.
const LIMIT: usize = 1 << 12;

/// The most that a log has (`src/raft/entry.rs`).
const MAX_INDEX: u64 = u64::MAX - (1 << 40);

/// What is put in: a stream of bytes and where it is cut, and records of entries.
#[derive(Arbitrary, Debug)]
struct Input {
    cuts: [u8; 4],
    stream: Stream,
    first: u64,
    term: u64,
    records: Records,
    span: (u64, u64, u16),
}

#[derive(Arbitrary, Debug)]
enum Stream {
    Raw(Vec<u8>),
    /// Payloads that begin with what each sort of message begins with.
    Framed(Vec<(u8, Vec<u8>)>),
    /// What nodes say, and what became of it on the way.
    Said(Vec<Said>, Vec<(u16, u8)>),
}

#[derive(Arbitrary, Debug)]
enum Records {
    Raw(Vec<u8>),
    /// Kinds and data, each with its right length.
    Good(Vec<(bool, Vec<u8>)>),
}

#[derive(Arbitrary, Debug)]
struct Said {
    head: (u64, u64),
    position: (u64, u64),
    numbers: (u64, u64, u32),
    kind: Kind,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Append(Option<(u64, u64, Vec<Vec<u8>>)>),
    AppendAck(Option<(u64, (u64, u64))>),
    Snapshot(Vec<u8>),
    SnapshotAck,
}

impl<I: Id> Rewritten for RaftMessage<I> {
    const OPENS: bool = false;

    fn is_sendable(&self) -> bool {
        !matches!(self, Self::Election(message) if message.kind == MessageKind::Unknown)
    }
}

/// Checks everything that this module promises, on what these bytes stand for.
pub(crate) fn check(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let bytes = input.stream.bytes();
    let numbers = || PayloadCodec::<RaftMessage<u64>>::new().max_frame_len(LIMIT);
    check_stream(numbers, &bytes, &input.cuts, LIMIT);
    let names = || PayloadCodec::<RaftMessage<NodeId>>::new().max_frame_len(LIMIT);
    check_stream(names, &bytes, &input.cuts, LIMIT);
    let is_good = matches!(input.records, Records::Good(_));
    let records = input.records.bytes();
    match Batch::new(input.first, input.term, records.clone()) {
        Ok(batch) => check_batch(&batch, &records, input.span),
        Err(error) => check_error(error, input.first, &records, is_good),
    }
}

/// A batch holds the entries that its records say, and so does each part of it.
fn check_batch(batch: &Batch, records: &Bytes, (from, to, most): (u64, u64, u16)) {
    assert_eq!(batch.records(), records);
    assert_eq!(batch.size(), records.len());
    let entries: Vec<_> = batch.entries().collect();
    assert_eq!(entries.len(), batch.len());
    let indices = batch.first()..=batch.last();
    assert!(entries.iter().map(|entry| entry.index).eq(indices));
    assert!(entries.iter().all(|entry| entry.term == batch.term()));
    let size: usize = entries.iter().map(|entry| entry.data.len() + 5).sum();
    assert_eq!(size, batch.size());
    let len = batch.len() as u64;
    let (from, to) = (
        batch.first().saturating_add(from % (len + 2)),
        batch.first().saturating_add(to % (len + 2)),
    );
    let behind = batch.from(from);
    let expected = entries.iter().filter(|entry| entry.index >= from);
    let found = behind.iter().flat_map(Batch::entries);
    assert!(found.eq(expected.cloned()));
    let before = batch.up_to(to);
    let expected = entries.iter().filter(|entry| entry.index <= to);
    let found = before.iter().flat_map(Batch::entries);
    assert!(found.eq(expected.cloned()));
    let some = batch.at_most(usize::from(most));
    assert!(some.len() == 1 || some.size() <= usize::from(most));
    assert!(some.entries().eq(entries.iter().take(some.len()).cloned()));
    for part in [behind, before, Some(some)].into_iter().flatten() {
        let again = Batch::new(part.first(), part.term(), part.records().clone());
        assert_eq!(again.as_ref(), Ok(&part));
    }
}

fn check_error(error: BatchError, first: u64, records: &Bytes, is_good: bool) {
    match error {
        BatchError::Empty => assert!(records.is_empty()),
        BatchError::Record => assert!(!is_good, "good records are refused"),
        BatchError::Index => assert!(first == 0 || first > MAX_INDEX - records.len() as u64),
        _ => {}
    }
}

impl Records {
    fn bytes(&self) -> Bytes {
        match self {
            Self::Raw(bytes) => Bytes::copy_from_slice(bytes),
            Self::Good(entries) => {
                let mut records = BytesMut::new();
                for (is_proposal, data) in entries {
                    records.put_u32_le(u32::try_from(data.len()).expect("short"));
                    records.put_u8((*is_proposal).into());
                    records.put_slice(data);
                }
                records.freeze()
            }
        }
    }
}

impl Stream {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes,
            Self::Framed(payloads) => {
                let payload = |(tag, rest): &(u8, Vec<u8>)| framed(&[&[tag % 6], &**rest].concat());
                payloads.iter().flat_map(payload).collect()
            }
            Self::Said(said, damage) => {
                let mut bytes = BytesMut::new();
                for said in &said {
                    // Not every message is short enough.
                    let mut codec = PayloadCodec::new().max_frame_len(LIMIT);
                    let _ = codec.encode(said.message(), &mut bytes);
                }
                damaged(bytes.into(), &damage)
            }
        }
    }
}

impl Said {
    fn message(&self) -> RaftMessage<u64> {
        let head = Head::new(self.head.0, self.head.1);
        let position = LogPosition::new(self.position.0, self.position.1);
        let (one, other, sum) = self.numbers;
        let snapshot = Snapshot::new(position, one, sum);
        match &self.kind {
            Kind::Append(batch) => {
                let batch = batch.as_ref().and_then(|(first, term, proposals)| {
                    Batch::of_proposals(*first, *term, proposals)
                });
                RaftMessage::Append(Append::new(head, position, one, batch))
            }
            Kind::AppendAck(refused) => {
                let refused = refused.map(|(previous, (term, index))| {
                    Refused::new(previous, LogPosition::new(term, index))
                });
                RaftMessage::AppendAck(AppendAck::new(head, one, other, refused))
            }
            Kind::Snapshot(data) => {
                let part = SnapshotPart::new(snapshot, other, Bytes::copy_from_slice(data));
                RaftMessage::Snapshot(SnapshotSend::new(head, part))
            }
            Kind::SnapshotAck => RaftMessage::SnapshotAck(SnapshotAck::new(head, snapshot, other)),
        }
    }
}
