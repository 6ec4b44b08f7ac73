//! Stores that give something else than what they were given, and reads that were overtaken.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use futures_test::task::noop_context;
use streamraft::raft::{
    Append, AppendAck, Applied, AppliedStream, Batch, ClientError, Failure, FailureKind, Head,
    LogLimits, LogStore, MemoryLog, Raft, RaftMessage, RaftOutput, Recovered, Replication,
    Snapshot, SnapshotAck, SnapshotPart,
};
use streamraft::{HardState, LogPosition, Message, MessageKind, Stamp};

use crate::ms;
use crate::node::config;
use crate::one::{at, entries};

/// What is odd about a store.
#[derive(Default)]
struct Oddity {
    entries: Option<fn(Batch) -> Batch>,
    part: Option<fn(Bytes) -> Bytes>,
    /// Reads do not end, but are done: what they give is of then.
    is_slow: bool,
    late: Option<Result<Batch, Failure>>,
}

/// A store in memory that gives something else.
#[derive(Default)]
struct Odd {
    log: MemoryLog<u64>,
    oddity: Rc<RefCell<Oddity>>,
}

impl LogStore<u64> for Odd {
    fn recovered(&mut self) -> Recovered<u64> {
        self.log.recovered()
    }

    fn save(&mut self, hard_state: &HardState<u64>) {
        self.log.save(hard_state);
    }

    fn append(&mut self, batch: &Batch) {
        self.log.append(batch);
    }

    fn truncate(&mut self, last: u64) {
        self.log.truncate(last);
    }

    fn purge(&mut self, position: LogPosition) {
        self.log.purge(position);
    }

    fn write_snapshot(&mut self, part: &SnapshotPart) {
        self.log.write_snapshot(part);
    }

    fn install_snapshot(&mut self, snapshot: &Snapshot) {
        self.log.install_snapshot(snapshot);
    }

    fn reset(&mut self, position: LogPosition) {
        self.log.reset(position);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.log.poll_flush(cx)
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        first: u64,
        max_bytes: usize,
    ) -> Poll<Result<Batch, Failure>> {
        let mut oddity = self.oddity.borrow_mut();
        let late = oddity.late.take();
        let read = late.map_or_else(|| self.log.poll_read(cx, first, max_bytes), Poll::Ready);
        match (oddity.is_slow, read) {
            (true, Poll::Ready(read)) => {
                oddity.late = Some(read);
                Poll::Pending
            }
            (_, read) => read.map_ok(|batch| oddity.entries.map_or(batch.clone(), |of| of(batch))),
        }
    }

    fn poll_read_snapshot(
        &mut self,
        cx: &mut Context<'_>,
        offset: u64,
        max_bytes: usize,
    ) -> Poll<Result<Bytes, Failure>> {
        let part = self.oddity.borrow().part;
        let read = self.log.poll_read_snapshot(cx, offset, max_bytes);
        read.map_ok(|data| part.map_or(data.clone(), |of| of(data)))
    }
}

/// Node 1 of three, which keeps nothing in memory that it need not, and what it has said of its store.
struct Alone {
    raft: Raft<Odd, u64>,
    oddity: Rc<RefCell<Oddity>>,
    said: Vec<(u64, RaftMessage<u64>)>,
    failures: Vec<Failure>,
    has_ended: bool,
}

impl Alone {
    fn new() -> Self {
        let store = Odd::default();
        let oddity = Rc::clone(&store.oddity);
        let limits = LogLimits::default().cache(0).trailing(0);
        Self {
            raft: Raft::new(config(1, 3), limits, store).unwrap(),
            oddity,
            said: Vec::new(),
            failures: Vec::new(),
            has_ended: false,
        }
    }

    fn poll(&mut self) {
        while let Poll::Ready(output) = self.raft.poll_next_unpin(&mut noop_context()) {
            match output {
                Some(RaftOutput::Failed(failure)) => self.failures.push(failure),
                Some(RaftOutput::ToNode(to, message)) => self.said.push((to, message)),
                Some(_) => {}
                None => {
                    self.has_ended = true;
                    return;
                }
            }
        }
    }

    fn hear(&mut self, from: u64, message: RaftMessage<u64>) {
        self.raft.on_receive(&from, message);
        self.poll();
    }

    fn election(&mut self, from: u64, term: u64, kind: MessageKind<u64>) {
        let membership = self.raft.state().hard_state().membership();
        let stamp = membership.stamp().max(Stamp::new(0, 1));
        self.hear(from, Message::new(term, stamp, kind).into());
    }

    /// Follows this leader in this term, and takes this of it.
    fn append(
        &mut self,
        from: u64,
        term: u64,
        previous: LogPosition,
        commit: u64,
        batch: Option<Batch>,
    ) {
        let (round, succession) = (term, None);
        self.election(from, term, MessageKind::Ping { round, succession });
        let append = Append::new(Head::new(term, 0), previous, commit, batch);
        self.hear(from, RaftMessage::Append(append));
    }

    fn ack(&mut self, from: u64, matched: u64) {
        let head = Head::new(self.raft.state().term(), 0);
        let ack = AppendAck::new(head, matched, 0, None);
        self.hear(from, RaftMessage::AppendAck(ack));
    }

    /// It was told of a store that cannot be believed, and has ended.
    fn is_damaged(&self, what: &str) {
        let [failure] = &self.failures[..] else {
            panic!("{what}: {:?}", self.failures);
        };
        assert_eq!(failure.kind(), FailureKind::Damaged, "{what}");
        assert!(failure.to_string().contains("it gave"), "{what}: {failure}");
        assert!(self.has_ended, "{what}");
    }
}

fn applied(stream: &mut AppliedStream) -> Vec<Bytes> {
    let mut seen = Vec::new();
    while let Some(Some(item)) = stream.next().now_or_never() {
        match item {
            Applied::Entry(entry) => seen.push(entry.data),
            other => panic!("{other:?}"),
        }
    }
    seen
}

/// What it is, and what comes of what is right.
type Change<T> = (&'static str, fn(T) -> T);

const ODD_ENTRIES: [Change<Batch>; 4] = [
    ("entries behind", |batch| {
        entries(batch.first() + 1, batch.term(), 2).unwrap()
    }),
    ("entries before", |batch| {
        entries(batch.first() - 1, batch.term(), 2).unwrap()
    }),
    ("another term's", |batch| {
        entries(batch.first(), 4, 2).unwrap()
    }),
    ("a newer term's", |batch| {
        entries(batch.first(), u64::MAX, 2).unwrap()
    }),
];

#[tokio::test(start_paused = true)]
async fn a_state_machine_is_given_no_entries_but_those_that_were_committed() {
    for (what, odd) in ODD_ENTRIES {
        let mut node = Alone::new();
        node.append(2, 5, at(0, 0), 0, entries(1, 5, 4));
        let mut stream = node.raft.applied(1);
        node.oddity.borrow_mut().entries = Some(odd);
        node.append(2, 5, at(5, 4), 3, None);
        assert_eq!(applied(&mut stream), Vec::<Bytes>::new(), "{what}");
        node.is_damaged(what);
    }
}

/// The disk was read before another leader took the place of the entries behind the first, and gave them after it.
#[tokio::test(start_paused = true)]
async fn what_was_cut_off_while_it_was_read_is_not_applied() {
    let mut node = Alone::new();
    node.append(2, 5, at(0, 0), 0, entries(1, 5, 4));
    let mut stream = node.raft.applied(0);
    node.oddity.borrow_mut().is_slow = true;
    node.append(2, 5, at(5, 4), 1, None);
    assert_eq!(applied(&mut stream), Vec::<Bytes>::new(), "it is read");
    assert!(node.oddity.borrow().late.is_some());
    node.append(3, 6, at(5, 1), 4, entries(2, 6, 3));
    node.oddity.borrow_mut().is_slow = false;
    let mut seen = Vec::new();
    for _ in 0..4 {
        node.poll();
        seen.extend(applied(&mut stream));
    }
    assert_eq!(seen, ["5.1", "6.2", "6.3", "6.4"]);
    assert!(node.failures.is_empty(), "{:?}", node.failures);
}

/// Node 1 leads in term 1, with 9 entries that are no more in memory, of which node 3 has all and node 2 has none.
async fn leader() -> Alone {
    let mut node = Alone::new();
    while node.raft.state().leader() != Some(&1) {
        tokio::time::advance(ms(10)).await;
        node.poll();
        for (from, message) in std::mem::take(&mut node.said) {
            let (granted, leader) = (true, None);
            match message {
                RaftMessage::Election(Message { term, kind, .. }) => match kind {
                    MessageKind::PreVoteRequest { round, .. } => {
                        let vote = MessageKind::PreVote {
                            round,
                            granted,
                            leader,
                        };
                        node.election(from, term, vote);
                    }
                    MessageKind::VoteRequest { .. } => {
                        node.election(from, term, MessageKind::Vote { granted, leader });
                    }
                    _ => {}
                },
                other => panic!("{other:?}"),
            }
        }
    }
    let client = node.raft.client();
    let mut taken: Vec<_> = (0..8).map(|_| Box::pin(client.propose("x"))).collect();
    assert!(taken.iter_mut().all(|taken| taken.now_or_never().is_none()));
    node.poll();
    node.ack(3, 9);
    assert_eq!(node.raft.log().commit(), 9);
    node
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_sent_no_other_entries_than_its_leader_took() {
    for (what, odd) in ODD_ENTRIES {
        let mut node = leader().await;
        node.oddity.borrow_mut().entries = Some(odd);
        node.said.clear();
        node.ack(2, 1);
        let sent = node.said.iter().filter(|(to, message)| {
            *to == 2 && matches!(message, RaftMessage::Append(append) if append.entries.is_some())
        });
        assert_eq!(sent.count(), 0, "{what}: {:?}", node.said);
        node.is_damaged(what);
    }
}

const ODD_PARTS: [Change<Bytes>; 2] = [
    ("nothing", |_| Bytes::new()),
    ("too much", |data| [&data[..], b"!"].concat().into()),
];

/// A leader that has its log's beginning in a snapshot only.
async fn with_snapshot() -> Alone {
    let mut node = leader().await;
    let client = node.raft.client();
    let mut kept = Box::pin(client.compact(9, "123456789"));
    assert!(kept.as_mut().now_or_never().is_none());
    node.poll();
    assert_eq!(kept.now_or_never(), Some(Ok(())));
    node
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_shorter_or_longer_than_it_was_is_not_handed_on() {
    for (what, odd) in ODD_PARTS {
        let mut node = with_snapshot().await;
        let mut stream = node.raft.applied(0);
        node.oddity.borrow_mut().part = Some(odd);
        node.poll();
        let given = stream.next().now_or_never();
        assert!(matches!(given, Some(None)), "{what}: {given:?}");
        node.is_damaged(what);

        let mut node = with_snapshot().await;
        node.oddity.borrow_mut().part = Some(odd);
        node.ack(2, 0);
        let snapshot = *node.raft.log().snapshot().unwrap();
        let head = Head::new(node.raft.state().term(), 0);
        let ack = SnapshotAck::new(head, snapshot, 0);
        node.said.clear();
        node.hear(2, RaftMessage::SnapshotAck(ack));
        assert_eq!(node.said, [], "{what}");
        node.is_damaged(what);
    }
}

/// Its clients are told, and whoever asks later too.
#[tokio::test(start_paused = true)]
async fn who_waits_is_told_when_the_store_cannot_be_believed() {
    let mut node = leader().await;
    let client = node.raft.client();
    let mut waiting = Box::pin(client.propose("y"));
    assert!(waiting.as_mut().now_or_never().is_none());
    node.poll();
    node.oddity.borrow_mut().entries = Some(ODD_ENTRIES[0].1);
    let mut stream = node.raft.applied(0);
    node.poll();
    node.is_damaged("entries behind");
    assert_eq!(waiting.now_or_never(), Some(Err(ClientError::Stopped)));
    assert_eq!(
        client.read().now_or_never(),
        Some(Err(ClientError::Stopped))
    );
    assert!(matches!(stream.next().now_or_never(), Some(None)));
}

/// A node alone, that leads at once, so that its log goes on from whatever it found.
#[test]
fn whatever_a_store_holds_a_node_starts_sound_or_not_at_all() {
    let far = u64::MAX - (1 << 40);
    let positions: Vec<LogPosition> = [0, 1, 5, 9, far - 1, far, u64::MAX]
        .into_iter()
        .flat_map(|index| [0, 3, 5, 9].map(|term| at(term, index)))
        .collect();
    let now = std::time::Instant::now();
    let (mut started, mut refused) = (0, 0);
    for purged in &positions {
        for snapshot in [None].into_iter().chain(positions.iter().map(Some)) {
            for run in [None].into_iter().chain(positions.iter().map(Some)) {
                for last in [0, 5, 9, far - 1, far, u64::MAX] {
                    let mut recovered = Recovered::<u64>::default();
                    let membership = streamraft::Membership::initial([1]);
                    recovered.hard_state = Some(HardState::new(5, Some(1), membership));
                    recovered.purged = *purged;
                    recovered.snapshot = snapshot.map(|position| Snapshot::new(*position, 9, 1));
                    recovered.terms = run.into_iter().copied().collect();
                    recovered.last = last;
                    let what = format!("{recovered:?}");
                    let config = config(1, 1);
                    let limits = LogLimits::default();
                    let Ok(mut node) = Replication::new(config, limits, recovered, now) else {
                        refused += 1;
                        continue;
                    };
                    started += 1;
                    let found = node.last();
                    assert!(found.term <= 5 && found.index < far, "{what}");
                    while let Some(due) = node.poll_timeout().filter(|_| node.state().term() < 6) {
                        node.handle_timeout(due);
                        while node.poll_write().is_some() {}
                        node.begin_flush(due);
                        node.flushed();
                        while node.poll_output().is_some() {}
                    }
                    assert_eq!(node.last(), at(6, found.index + 1), "{what}");
                    assert_eq!(node.commit(), found.index + 1, "{what}");
                }
            }
        }
    }
    assert!(started > 100 && refused > 1_000, "{started}, {refused}");
}

/// It waits for what is behind it, and no log gets there.
#[tokio::test(start_paused = true)]
async fn a_state_machine_that_says_it_is_beyond_all_logs_is_given_nothing() {
    for from in [10, 1 << 62, u64::MAX - 1, u64::MAX] {
        let mut node = leader().await;
        let mut stream = node.raft.applied(from);
        node.poll();
        assert_eq!(applied(&mut stream), Vec::<Bytes>::new(), "{from}");
        let mut from_there = node.raft.applied(8);
        node.poll();
        assert_eq!(applied(&mut from_there), ["x"]);
        assert!(!node.has_ended);
    }
}
