//! One node with its disk, and what is watched of it.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use streamraft::raft::{
    Batch, Entry, LogLimits, LogStore, MemoryLog, ProposeError, RaftMessage, Read, ReadState,
    Replication, Snapshot, SnapshotPart, Write,
};
use streamraft::{Config, Message, MessageKind, MsgRouter, Stamp};

use super::script::{Damage, Setup};

type Said = Vec<(u8, RaftMessage<u8>)>;

pub(crate) struct Node {
    pub(crate) id: u8,
    pub(crate) raft: Replication<u8>,
    /// Only then a flush takes time.
    pub(crate) is_slow: bool,
    /// Whom it has asked for a vote.
    pub(crate) asked: Vec<(u8, Message<u8>)>,
    setup: Setup,
    starts: u8,
    /// What was flushed, and what was handed over.
    flushed: MemoryLog<u8>,
    store: MemoryLog<u8>,
    pending: Vec<Write<u8>>,
    flushing: Option<usize>,
    /// What it takes for committed, and up to where.
    committed: BTreeMap<u64, Entry>,
    commit: u64,
}

fn config(id: u8, setup: Setup, starts: u8) -> Config<u8> {
    let config = Config::with_id(id, 1..=(setup.voters % 3).max(id - 1) + 1);
    let config = config.expect("good ids");
    config
        .election_timeout(Duration::from_millis(150))
        .heartbeat_interval(Duration::from_millis(40))
        .seed(starts.into())
}

fn start(
    id: u8,
    setup: Setup,
    store: &mut MemoryLog<u8>,
    starts: u8,
    now: Instant,
) -> Replication<u8> {
    let recovered = store.recovered();
    Replication::new(config(id, setup, starts), setup.limits(), recovered, now)
        .expect("it starts from whatever a crash has left")
}

impl Node {
    pub(crate) fn new(id: u8, setup: Setup, now: Instant) -> Self {
        let mut store = MemoryLog::new();
        Self {
            id,
            raft: start(id, setup, &mut store, 0, now),
            is_slow: false,
            asked: Vec::new(),
            setup,
            starts: 0,
            flushed: store.clone(),
            store,
            pending: Vec::new(),
            flushing: None,
            committed: BTreeMap::new(),
            commit: 0,
        }
    }

    fn limits(&self) -> &LogLimits {
        self.raft.limits()
    }

    /// What a node of the same membership would say.
    pub(crate) fn message(&self, term: u64, kind: MessageKind<u8>) -> Message<u8> {
        let membership = self.raft.state().hard_state().membership();
        let stamp = membership.stamp().max(Stamp::new(0, 1));
        Message::new(term, stamp, kind)
    }

    pub(crate) fn hear(&mut self, now: Instant, from: u8, message: RaftMessage<u8>) {
        self.raft.receive(now, &from, message);
        self.watch();
    }

    pub(crate) fn propose(&mut self, len: usize) {
        let last = self.raft.last().index;
        match self.raft.propose(&vec![7; len]) {
            Ok(index) => {
                assert_eq!(index, last + 1);
                assert!(len <= self.limits().get_proposal());
            }
            Err(error) => {
                assert_eq!(self.raft.last().index, last, "it was refused: {error}");
                let is_too_large = len > self.limits().get_proposal();
                assert!(is_too_large || !matches!(error, ProposeError::TooLarge { .. }));
            }
        }
    }

    pub(crate) fn read(&mut self, now: Instant) {
        if let Ok(read) = self.raft.read(now) {
            // What is ready at once rests on a commit of the term, and on the lease.
            if self.raft.read_state(&read) == ReadState::Ready {
                assert!(
                    self.raft.state().is_leader_at(now) || self.raft.state().nodes().len() == 1
                );
                let term = self.raft.term_at(self.raft.commit());
                assert_eq!(term, Some(self.raft.state().term()));
                assert_eq!(read.index, self.raft.commit());
            }
        }
    }

    pub(crate) fn compact(&mut self, damage: Damage) {
        let commit = self.raft.commit();
        let Some(term) = self.raft.term_at(commit) else {
            return;
        };
        let before = self.raft.snapshot().copied();
        let data = Bytes::from(commit.to_be_bytes().to_vec());
        let position = streamraft::LogPosition::new(term, commit);
        let snapshot = Snapshot::new(position, 8, crc32fast::hash(&data));
        for offset in [0, 4] {
            let part = SnapshotPart::new(snapshot, offset as u64, data.slice(offset..offset + 4));
            let part = damage.part(part);
            let result = self.raft.compact(&part);
            let is_good = matches!(damage, Damage::None);
            assert!(is_good || offset == 0 || result.is_err(), "it is damaged");
            self.hand_over();
        }
        let after = self.raft.snapshot().copied();
        assert!(after == before || after == Some(snapshot));
    }

    pub(crate) fn flushed(&mut self) {
        if let Some(count) = self.flushing.take() {
            for write in self.pending.drain(..count) {
                write.hand_to(&mut self.flushed);
            }
            self.raft.flushed();
            self.watch();
        }
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        if self.flushing.take().is_some() {
            self.raft.flush_failed(now);
        }
    }

    /// Starts again with so many of the writes that were not flushed.
    pub(crate) fn restart(&mut self, kept: usize, now: Instant) {
        let mut store = self.flushed.clone();
        for write in self.pending.iter().take(kept) {
            write.hand_to(&mut store);
        }
        if let Some(Write::Append(batch)) = self.pending.get(kept) {
            // A part of it.
            store.append(&batch.at_most(batch.size() / 2));
        }
        self.starts = self.starts.wrapping_add(1);
        self.raft = start(self.id, self.setup, &mut store, self.starts, now);
        self.flushed = store.clone();
        self.store = store;
        self.pending.clear();
        self.flushing = None;
        self.asked.clear();
        // It has forgotten what it knew of others.
        self.commit = self.raft.commit();
        let commit = self.commit;
        self.committed.retain(|index, _| *index <= commit);
    }

    fn hand_over(&mut self) -> bool {
        let before = self.pending.len();
        while let Some(write) = self.raft.poll_write() {
            write.hand_to(&mut self.store);
            self.pending.push(write);
        }
        assert_eq!(self.store.last(), self.raft.last().index);
        self.pending.len() > before
    }

    /// Hands over what is to be written, and takes what is said.
    pub(crate) fn settle(&mut self, now: Instant) -> Said {
        let mut said = Vec::new();
        loop {
            let mut is_idle = !self.hand_over();
            if self.raft.wants_flush() {
                self.raft.begin_flush(now);
                self.flushing = Some(self.pending.len());
                is_idle = false;
            }
            while let Some(output) = self.raft.poll_output() {
                is_idle = false;
                self.look_at_output(&output);
                if let MsgRouter::ToNode(to, message) = output {
                    said.push((to, message));
                }
            }
            is_idle &= !self.read_for_followers();
            if self.flushing.is_some() && !self.is_slow {
                is_idle = false;
                self.flushed();
            }
            self.watch();
            if is_idle {
                return said;
            }
        }
    }

    fn read_for_followers(&mut self) -> bool {
        let mut has_read = false;
        let mut cx = Context::from_waker(Waker::noop());
        // Of what is being written nothing can be read.
        while self.pending.is_empty()
            && let Some(read) = self.raft.poll_read()
        {
            has_read = true;
            match read {
                Read::Entries { first, max_bytes } => {
                    let found = self.flushed.poll_read(&mut cx, first, max_bytes);
                    let Poll::Ready(Ok(batch)) = found else {
                        panic!("what is not in memory is on the disk: {first}");
                    };
                    self.raft.entries_read(batch);
                }
                Read::Snapshot { offset, max_bytes } => {
                    let found = self.flushed.poll_read_snapshot(&mut cx, offset, max_bytes);
                    let Poll::Ready(Ok(data)) = found else {
                        panic!("the snapshot is on the disk: {offset}");
                    };
                    self.raft.snapshot_read(offset, data);
                }
                _ => unreachable!("no other read"),
            }
        }
        has_read
    }

    fn look_at_output(&mut self, output: &MsgRouter<u8, RaftMessage<u8>>) {
        let saved = self.flushed.hard_state();
        assert_eq!(
            saved,
            Some(self.raft.state().hard_state()),
            "it is not saved"
        );
        let MsgRouter::ToNode(to, message) = output else {
            return;
        };
        let most = self.limits().get_message();
        match message {
            RaftMessage::Election(message) => {
                if let MessageKind::PreVoteRequest { .. } | MessageKind::VoteRequest { .. } =
                    message.kind
                {
                    self.asked.retain(|(id, _)| id != to);
                    self.asked.push((*to, message.clone()));
                }
            }
            RaftMessage::Append(append) => {
                let fits = |batch: &Batch| batch.len() == 1 || batch.size() <= most;
                assert!(append.entries.as_ref().is_none_or(fits));
                assert!(append.commit <= self.raft.commit());
            }
            RaftMessage::AppendAck(ack) => {
                assert!(ack.matched <= self.flushed.last(), "it is not on the disk");
            }
            RaftMessage::Snapshot(send) => {
                assert!(send.part.data.len() <= most);
                assert!(send.part.end() <= send.part.snapshot.len);
            }
            _ => {}
        }
    }

    /// Nothing that was committed goes, or changes.
    fn watch(&mut self) {
        let (commit, last) = (self.raft.commit(), self.raft.last());
        assert!(commit >= self.commit, "{commit} after {}", self.commit);
        assert!(commit <= last.index && self.raft.durable() <= last.index);
        assert!(self.raft.purged().index <= commit);
        assert!(last.term <= self.raft.state().term());
        let purged = self.raft.purged().index;
        self.committed.retain(|index, _| *index > purged);
        for (index, entry) in &self.committed {
            assert_eq!(self.raft.term_at(*index), Some(entry.term), "at {index}");
        }
        let mut next = self.commit.max(purged) + 1;
        while let Some(batch) = self.raft.committed(next, usize::MAX) {
            next = batch.last() + 1;
            let entries = batch.entries().map(|entry| (entry.index, entry));
            self.committed.extend(entries);
        }
        self.commit = commit;
        // What is in memory is what was committed.
        let first = self.committed.keys().next().copied();
        let batch = first.and_then(|first| self.raft.committed(first, usize::MAX));
        for entry in batch.iter().flat_map(Batch::entries) {
            let known = self.committed.get(&entry.index);
            assert!(known.is_none_or(|known| *known == entry), "{entry:?}");
        }
    }
}
