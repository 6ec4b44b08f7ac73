//! A state machine applies what is committed, and nothing that stood in its place on the disk before.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use streamraft::raft::{
    Append, Applied, AppliedStream, Batch, Failure, Head, LogLimits, LogStore, MemoryLog, Raft,
    RaftMessage, Recovered, Snapshot, SnapshotPart,
};
use streamraft::{Config, HardState, LogPosition, Message, MessageKind};

/// A store that reads what was flushed, as one on a disk does, and flushes when it may.
#[derive(Debug, Default)]
struct Behind {
    handed: MemoryLog<u64>,
    flushed: MemoryLog<u64>,
    may_flush: Rc<Cell<bool>>,
}

impl LogStore<u64> for Behind {
    fn recovered(&mut self) -> Recovered<u64> {
        self.flushed.recovered()
    }

    fn save(&mut self, hard_state: &HardState<u64>) {
        self.handed.save(hard_state);
    }

    fn append(&mut self, batch: &Batch) {
        self.handed.append(batch);
    }

    fn truncate(&mut self, last: u64) {
        self.handed.truncate(last);
    }

    fn purge(&mut self, position: LogPosition) {
        self.handed.purge(position);
    }

    fn write_snapshot(&mut self, part: &SnapshotPart) {
        self.handed.write_snapshot(part);
    }

    fn install_snapshot(&mut self, snapshot: &Snapshot) {
        self.handed.install_snapshot(snapshot);
    }

    fn reset(&mut self, position: LogPosition) {
        self.handed.reset(position);
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if !self.may_flush.get() {
            return Poll::Pending;
        }
        self.flushed = self.handed.clone();
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        first: u64,
        max_bytes: usize,
    ) -> Poll<Result<Batch, Failure>> {
        self.flushed.poll_read(cx, first, max_bytes)
    }

    fn poll_read_snapshot(
        &mut self,
        cx: &mut Context<'_>,
        offset: u64,
        max_bytes: usize,
    ) -> Poll<Result<Bytes, Failure>> {
        self.flushed.poll_read_snapshot(cx, offset, max_bytes)
    }
}

fn batch(first: u64, term: u64, entries: &[&'static str]) -> Batch {
    Batch::of_proposals(first, term, entries).unwrap()
}

/// Lets the node do what it can, and says what its state machine has got meanwhile.
fn applied(node: &mut Raft<Behind, u64>, stream: &mut AppliedStream) -> Vec<Bytes> {
    while let Some(Some(_)) = node.next().now_or_never() {}
    let mut all = Vec::new();
    while let Some(Some(Applied::Entry(entry))) = stream.next().now_or_never() {
        all.push(entry.data);
        while let Some(Some(_)) = node.next().now_or_never() {}
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_applies_no_entry_that_was_replaced_before_it_was_committed() {
    let config = || Config::with_id(2_u64, 1..=3).unwrap();
    let new = Raft::new(config(), LogLimits::default(), MemoryLog::new()).unwrap();
    let membership = Arc::clone(new.state().hard_state().membership());
    let stamp = membership.stamp();

    // It has led term 1, and nobody has heard of the last entry.
    let mut behind = Behind::default();
    behind.save(&HardState::new(1, Some(2), membership));
    behind.append(&batch(1, 1, &["a", "b", "never committed"]));
    behind.flushed = behind.handed.clone();
    let may_flush = Rc::clone(&behind.may_flush);
    may_flush.set(true);
    let mut node = Raft::new(config(), LogLimits::default(), behind).unwrap();
    let mut stream = node.applied(0);

    let ping = MessageKind::Ping {
        round: 1,
        succession: None,
    };
    let ping = Message::new(2, stamp, ping);
    node.on_receive(&1, RaftMessage::Election(ping));
    assert_eq!(applied(&mut node, &mut stream), Vec::<Bytes>::new());

    may_flush.set(false);
    let previous = LogPosition::new(1, 2);
    let entries = Some(batch(3, 2, &["committed"]));
    let append = Append::new(Head::new(2, 0), previous, 3, entries);
    node.on_receive(&1, RaftMessage::Append(append));
    let mut all = applied(&mut node, &mut stream);
    may_flush.set(true);
    all.extend(applied(&mut node, &mut stream));
    assert_eq!(all, ["a", "b", "committed"]);
}
