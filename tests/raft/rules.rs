//! Rules of the log that a random run needs too seldom to prove them.

use streamraft::raft::{
    Batch, Head, MemoryLog, RaftMessage, Snapshot, SnapshotPart, SnapshotSend, Write,
};
use streamraft::{Command, LogPosition};

use crate::ms;
use crate::one::{One, acked, appends, at, entries};

/// Lets heartbeats go out and be answered by these nodes.
fn beats(node: &mut One, count: u64, others: &[u64]) {
    for _ in 0..count {
        let said = node.wait(ms(40));
        for other in others {
            node.answer_pings(*other, &said);
        }
        node.settle();
    }
}

fn voters(node: &One) -> Vec<u64> {
    node.raft.state().nodes().to_vec()
}

#[test]
fn no_voter_comes_or_goes_before_the_leader_has_committed_in_its_term() {
    let mut node = One::new(3).lead();
    node.raft
        .command(node.now, Command::SetNodes(vec![1, 2]))
        .unwrap();
    beats(&mut node, 10, &[2, 3]);
    assert_eq!((voters(&node), node.raft.commit()), (vec![1, 2, 3], 0));
    let ack = node.ack(1);
    node.receive(2, ack);
    beats(&mut node, 2, &[2, 3]);
    assert_eq!(voters(&node), [1, 2]);
}

#[test]
fn what_was_committed_by_the_old_voters_must_be_committed_by_the_new_ones_before_the_next_step() {
    let mut node = One::new(5).lead();
    node.propose(4);
    node.settle();
    // Committed by 1, 4 and 5.
    for from in [4, 5] {
        let ack = node.ack(5);
        node.receive(from, ack);
    }
    assert_eq!(node.raft.commit(), 5);
    node.raft
        .command(node.now, Command::SetNodes(vec![1, 2, 3]))
        .unwrap();
    beats(&mut node, 10, &[2, 3, 4, 5]);
    assert_eq!(voters(&node), [1, 2, 3, 5], "of these only 1 and 5 have it");
    let ack = node.ack(5);
    node.receive(2, ack);
    beats(&mut node, 3, &[2, 3, 5]);
    assert_eq!(voters(&node), [1, 2, 3]);
}

#[test]
fn an_observer_votes_when_it_has_caught_up() {
    let mut node = One::new(3).lead();
    node.propose(99);
    node.settle();
    let ack = node.ack(100);
    node.receive(2, ack);
    node.raft
        .command(node.now, Command::SetNodes(vec![1, 2, 3, 4]))
        .unwrap();
    beats(&mut node, 20, &[2, 3, 4]);
    assert_eq!(node.raft.state().observers(), [4]);
    let ack = node.ack(60);
    node.receive(4, ack);
    beats(&mut node, 3, &[2, 3, 4]);
    assert_eq!(node.raft.state().observers(), [4]);
    let ack = node.ack(100);
    node.receive(4, ack);
    beats(&mut node, 3, &[2, 3, 4]);
    assert_eq!(voters(&node), [1, 2, 3, 4]);
}

fn snapshot_send(position: LogPosition) -> RaftMessage<u64> {
    // CRC-32 of "123456789", as every table of checksums has it.
    let snapshot = Snapshot::new(position, 9, 0xcbf4_3926);
    let part = SnapshotPart::new(snapshot, 0, b"123456789"[..].into());
    RaftMessage::Snapshot(SnapshotSend::new(Head::new(5, 0), part))
}

#[test]
fn a_snapshot_that_the_log_goes_beyond_takes_nothing_from_it() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 10));
    assert_eq!(acked(&node.receive(2, append)), [10]);
    node.receive(2, snapshot_send(at(5, 4)));
    assert_eq!(
        (node.raft.last(), node.raft.commit(), node.raft.durable()),
        (at(5, 10), 4, 10)
    );
    let node = node.restart();
    assert_eq!((node.raft.last(), node.raft.commit()), (at(5, 10), 4));
}

#[test]
fn a_snapshot_takes_the_place_of_another_log_and_is_answered_when_it_is_durable() {
    let mut node = One::new(3).follow(2, 4);
    let append = node.append(at(0, 0), 0, entries(1, 4, 10));
    node.receive(2, append);
    let mut node = node.follow(2, 5);
    node.take(2, snapshot_send(at(5, 7)));
    node.begin_flush();
    assert_eq!(acked(&node.say()), []);
    assert_eq!(
        (node.raft.last(), node.raft.commit(), node.raft.durable()),
        (at(5, 7), 7, 0)
    );
    node.raft.flushed();
    assert_eq!(acked(&node.say()), [7]);
    let mut node = node.restart();
    assert_eq!(
        (node.raft.last(), node.raft.commit(), node.raft.durable()),
        (at(5, 7), 7, 7)
    );
    node.settle();
    assert_eq!(node.store.purged(), at(5, 7));
}

#[test]
fn a_crash_between_a_snapshot_and_what_follows_from_it_is_mended() {
    let mut node = One::new(3).follow(2, 4);
    let append = node.append(at(0, 0), 0, entries(1, 4, 10));
    node.receive(2, append);
    let mut node = node.follow(2, 5);
    node.take(2, snapshot_send(at(5, 7)));
    // The part and its installing are written, the log's new beginning is not.
    let mut store = node.store.clone();
    for _ in 0..2 {
        node.raft.poll_write().unwrap().hand_to(&mut store);
    }
    assert_eq!((store.purged(), store.last()), (at(0, 0), 10));
    let mut node = One::with(3, store, *node.raft.limits());
    assert_eq!((node.raft.last(), node.raft.commit()), (at(5, 7), 7));
    node.settle();
    assert_eq!((node.store.purged(), node.store.last()), (at(5, 7), 7));
}

#[test]
fn a_snapshot_that_is_not_what_it_says_is_not_taken() {
    let mut node = One::new(3).follow(2, 5);
    let snapshot = Snapshot::new(at(5, 7), 9, 1);
    let part = SnapshotPart::new(snapshot, 0, b"123456789"[..].into());
    node.receive(
        2,
        RaftMessage::Snapshot(SnapshotSend::new(Head::new(5, 0), part)),
    );
    assert_eq!(
        (node.raft.last(), node.raft.stats().malformed),
        (at(0, 0), 1)
    );
    for (position, offset, len) in [
        (at(6, 7), 0, 9),
        (at(5, u64::MAX), 0, 9),
        (at(5, 7), u64::MAX, 9),
        (at(5, 7), 0, 3),
        (at(0, 7), 0, 9),
    ] {
        let snapshot = Snapshot::new(position, len, 1);
        let part = SnapshotPart::new(snapshot, offset, b"123456789"[..].into());
        node.receive(
            2,
            RaftMessage::Snapshot(SnapshotSend::new(Head::new(5, 0), part)),
        );
    }
    assert_eq!(
        (node.raft.last(), node.raft.stats().malformed),
        (at(0, 0), 6)
    );
}

/// What it hands over to its store for entries that come behind this position.
fn writes(node: &mut One, previous: LogPosition, batch: Option<Batch>) -> Vec<Write<u64>> {
    let append = node.append(previous, 0, batch);
    node.take(2, append);
    std::iter::from_fn(|| node.raft.poll_write()).collect()
}

/// Paper figure 2, receiver's rules 3 and 4: "If an existing entry conflicts with a new one (same index but different terms),
/// delete the existing entry and all that follow it. Append any new entries not already in the log."
#[test]
fn an_older_append_that_comes_late_takes_nothing_from_what_follows() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 4));
    assert_eq!(acked(&node.receive(2, append)), [4]);
    for (first, count) in [(1, 1), (1, 4), (2, 2), (4, 1), (5, 0)] {
        let previous = at(if first == 1 { 0 } else { 5 }, first - 1);
        let written = writes(&mut node, previous, entries(first, 5, count));
        assert_eq!(written, [], "{count} from {first}");
        assert_eq!(
            (node.raft.last(), node.raft.durable()),
            (at(5, 4), 4),
            "{count} from {first}"
        );
    }
    assert_eq!(node.restart().raft.last(), at(5, 4));
}

/// A crash between the two would lose what was acknowledged.
#[test]
fn entries_that_match_are_not_dropped_to_be_written_again() {
    for first in 1..=4 {
        let mut node = One::new(3).follow(2, 5);
        let append = node.append(at(0, 0), 0, entries(1, 5, 4));
        assert_eq!(acked(&node.receive(2, append)), [4]);
        let previous = at(if first == 1 { 0 } else { 5 }, first - 1);
        let written = writes(&mut node, previous, entries(first, 5, 8 - first));
        let new = entries(1, 5, 7).and_then(|batch| batch.from(5)).unwrap();
        assert_eq!(written, [Write::Append(new)], "from {first}");
        assert_eq!((node.raft.last(), node.raft.durable()), (at(5, 7), 4));
    }
}

#[test]
fn what_conflicts_is_dropped_from_the_first_entry_that_does() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 3));
    node.receive(2, append);
    let mut node = node.follow(2, 6);
    let append = node.append(at(5, 3), 0, entries(4, 6, 4));
    assert_eq!(acked(&node.receive(2, append)).last(), Some(&7));
    // Another leader has only entries of term 5.
    let mut node = node.follow(2, 7);
    let written = writes(&mut node, at(5, 1), entries(2, 5, 4));
    let new = entries(4, 5, 2).unwrap();
    assert_eq!(written, [Write::Truncate(3), Write::Append(new)]);
    assert_eq!((node.raft.last(), node.raft.durable()), (at(5, 5), 3));
}

#[test]
fn a_leader_of_a_new_term_commits_nothing_old_by_counting() {
    // Paper figure 8: entry 2 is of an older term, and on a quorum.
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 2));
    node.receive(2, append);
    let mut node = node.lead();
    let ack = node.ack(2);
    node.receive(2, ack);
    assert_eq!(node.raft.commit(), 0);
    let ack = node.ack(3);
    node.receive(2, ack);
    assert_eq!(
        node.raft.commit(),
        3,
        "with the first of its own all before it is committed"
    );
}

#[test]
fn a_leader_sends_on_without_waiting_and_goes_back_where_it_has_to() {
    let mut node = One::new(3).lead();
    let ack = node.ack(1);
    node.receive(2, ack);
    for index in 2..5 {
        node.propose(1);
        assert_eq!(appends(&node.settle(), 2), [(at(1, index - 1), index)]);
    }
    // The second was lost.
    let refusal = node.refusal(3, at(1, 2));
    assert_eq!(appends(&node.receive(2, refusal), 2), [(at(1, 2), 3)]);
    let ack = node.ack(3);
    assert_eq!(appends(&node.receive(2, ack), 2), [(at(1, 3), 4)]);
    // The last is lost, too: a heartbeat asks.
    let said = node.wait(ms(40));
    assert_eq!(appends(&said, 2), [(at(1, 4), 4)]);
}

#[test]
fn a_store_that_no_node_has_written_is_refused() {
    use streamraft::Config;
    use streamraft::raft::{LogLimits, LogStore, Recovered, Replication};

    let start = |recovered: Recovered<u64>| {
        let config = Config::with_id(1, 1..=3).unwrap();
        Replication::new(
            config,
            LogLimits::default(),
            recovered,
            std::time::Instant::now(),
        )
    };
    assert!(start(MemoryLog::new().recovered()).is_ok());
    let mut store = MemoryLog::new();
    store.append(&entries(1, 5, 2).unwrap());
    let error = start(store.recovered()).unwrap_err();
    assert!(
        error.to_string().contains("newer term than its vote"),
        "{error}"
    );
    let mut recovered = Recovered::default();
    recovered.purged = at(2, 7);
    recovered.last = 7;
    recovered.hard_state = Some(streamraft::HardState::new(
        5,
        None,
        streamraft::Membership::initial([1, 2, 3]),
    ));
    let error = start(recovered.clone()).unwrap_err();
    assert!(error.to_string().contains("in no snapshot"), "{error}");
    recovered.terms = vec![at(3, 9)];
    let error = start(recovered).unwrap_err();
    assert!(error.to_string().contains("terms do not fit"), "{error}");
}
