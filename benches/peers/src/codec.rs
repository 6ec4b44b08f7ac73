//! A heartbeat as bytes and back.

use std::hint::black_box;
use std::time::Instant;

use allocation_counter::measure;
use bytes::BytesMut;
use protobuf::Message as _;
use raft::eraftpb::{Message as RaftRs, MessageType};
use raft_io::{AppendEntries, Message as RaftIo, framing};
use streamraft::codec::MessageCodec;
use streamraft::{Message, MessageKind};
use tokio_util::codec::{Decoder, Encoder};

use crate::election::core::settled_ping;
use crate::report::{Report, figure, median};

const SLICES: usize = 41;

const TIMES: usize = 20_000;

/// Writes a heartbeat, reads it, and says how many bytes it took.
type RoundTrip = Box<dyn FnMut() -> usize>;

pub fn compare(report: &mut Report) {
    let mut peers: [(&str, RoundTrip); 3] = [
        ("streamraft, `MessageCodec`", streamraft()),
        ("raft-io, `framing`", raft_io()),
        ("raft-rs, protobuf", raft_rs()),
    ];
    let mut slices = [const { Vec::new() }; 3];
    for _ in 0..SLICES {
        for ((_, round_trip), slices) in peers.iter_mut().zip(&mut slices) {
            let start = Instant::now();
            for _ in 0..TIMES {
                black_box(round_trip());
            }
            slices.push(start.elapsed().as_secs_f64() * 1e9 / TIMES as f64);
        }
    }
    let mut lines = Vec::new();
    for (at, ((name, round_trip), slices)) in peers.iter_mut().zip(slices).enumerate() {
        let ns = median(slices);
        let bytes = round_trip();
        let counted = measure(|| (0..100).map(|_| round_trip()).for_each(|_| {}));
        let allocations = counted.count_total as f64 / 100.0;
        lines.push(vec![
            (*name).to_owned(),
            figure(ns),
            figure(allocations),
            bytes.to_string(),
        ]);
        if at == 0 {
            report.at_most("a heartbeat encoded and decoded: ns", 60.0, ns);
            report.at_most(
                "a heartbeat encoded and decoded: allocations",
                0.0,
                allocations,
            );
            report.at_most("a heartbeat: bytes on the wire", 24.0, bytes as f64);
        }
    }
    report.table(
        "A heartbeat as bytes",
        "A leader's heartbeat without entries, encoded into a buffer that is kept where the library allows it, and decoded. \
         streamraft's bytes hold the frame's length, the wire's version and the cluster's tag, the others' the message alone. \
         streamraft's ids are `NodeId`s; a `Ping` holds none.",
        &["", "ns", "allocations", "bytes"],
        lines,
    );
}

fn streamraft() -> RoundTrip {
    let ping: Message = settled_ping();
    assert!(matches!(
        ping.kind,
        MessageKind::Ping {
            succession: Some(_),
            ..
        }
    ));
    assert!(ping.membership.is_none());
    let mut codec = MessageCodec::new();
    let mut buffer = BytesMut::with_capacity(4096);
    Box::new(move || {
        codec.encode(ping.clone(), &mut buffer).expect("it fits");
        let bytes = buffer.len();
        let read = codec.decode(&mut buffer).expect("what was written");
        assert!(black_box(read).is_some_and(|read| read.term == ping.term));
        bytes
    })
}

fn raft_io() -> RoundTrip {
    let heartbeat = RaftIo::AppendEntries(AppendEntries {
        term: 1,
        leader: 1,
        prev_log_index: 0,
        prev_log_term: 0,
        entries: Vec::new(),
        leader_commit: 0,
    });
    Box::new(move || {
        let bytes = framing::encode(&heartbeat).expect("it fits");
        let read = framing::decode(&bytes).expect("what was written");
        assert!(matches!(black_box(read), RaftIo::AppendEntries(_)));
        bytes.len()
    })
}

fn raft_rs() -> RoundTrip {
    let mut heartbeat = RaftRs::default();
    heartbeat.set_msg_type(MessageType::MsgHeartbeat);
    heartbeat.from = 1;
    heartbeat.to = 2;
    heartbeat.term = 1;
    let mut buffer = Vec::with_capacity(64);
    Box::new(move || {
        buffer.clear();
        heartbeat.write_to_vec(&mut buffer).expect("it fits");
        let mut read = RaftRs::default();
        read.merge_from_bytes(&buffer).expect("what was written");
        assert_eq!(black_box(read).term, 1);
        buffer.len()
    })
}
