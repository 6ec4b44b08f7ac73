//! Rules of the log that a random run needs too seldom to prove them.

use bytes::Bytes;
use futures::StreamExt;
use streamraft::raft::{
    Append, Batch, ClientError, CompactError, Head, LogLimits, MemoryLog, ProposeError, Raft,
    RaftMessage, RaftOutput, Refused, Snapshot, SnapshotPart, SnapshotSend, Write,
};
use streamraft::{ClusterTag, Command, Config, LogPosition, Message, MessageKind, NodeType};

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

/// Found by the model check of the log: a first part and an entry that fits, both again and again, made the store hold more and
/// more.
#[test]
fn parts_of_a_snapshot_come_no_faster_than_the_disk_writes_them() {
    let mut node = One::new(3).follow(2, 5);
    let snapshot = Snapshot::new(at(5, 7), 9, 0xcbf4_3926);
    let first = SnapshotPart::new(snapshot, 0, b"1234"[..].into());
    let first = RaftMessage::Snapshot(SnapshotSend::new(Head::new(5, 0), first));
    let asks = node.append(at(0, 0), 0, None);
    let mut parts = 0;
    for _ in 0..10 {
        node.take(2, first.clone());
        node.take(2, asks.clone());
        while let Some(write) = node.raft.poll_write() {
            parts += usize::from(matches!(write, Write::WriteSnapshot(_)));
            write.hand_to(&mut node.store);
        }
        if node.raft.wants_flush() {
            node.raft.begin_flush(node.now);
        }
    }
    assert_eq!((parts, node.raft.stats().busy), (1, 9));
    node.raft.flushed();
    node.settle();
    node.take(2, first);
    assert!(matches!(
        node.raft.poll_write(),
        Some(Write::WriteSnapshot(_))
    ));
}

#[test]
fn a_leader_sends_no_more_than_the_window_ahead_of_the_answers() {
    // Each entry has 6 bytes, and goes alone.
    let limits = LogLimits::default().message(6).window(30);
    let mut node = One::with(3, MemoryLog::new(), limits).lead();
    let ack = node.ack(1);
    node.receive(2, ack);
    let mut sent = Vec::new();
    for _ in 0..20 {
        node.propose(1);
        sent.extend(appends(&node.settle(), 2));
    }
    assert_eq!(sent.len(), 5, "{sent:?}");
    let ack = node.ack(4);
    let more = appends(&node.receive(2, ack), 2);
    assert_eq!(more.len(), 3, "as many as were answered: {more:?}");
    assert_eq!(more.last(), Some(&(at(1, 8), 9)));
}

#[test]
fn a_message_has_no_more_entries_than_the_bound_on_its_bytes_allows() {
    let limits = LogLimits::default().message(30);
    let mut node = One::with(3, MemoryLog::new(), limits).lead();
    let ack = node.ack(1);
    node.receive(2, ack);
    // Entries of 6 bytes, all in one batch.
    node.propose(20);
    let said = node.settle();
    let sizes = said.iter().filter_map(|(to, message)| match message {
        RaftMessage::Append(append) if *to == 2 => append.entries.as_ref().map(Batch::size),
        _ => None,
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [30; 4]);
}

/// Paper 5.3: "the protocol can be optimized to reduce the number of rejected `AppendEntries` RPCs".
#[test]
fn one_refusal_tells_where_the_logs_may_agree() {
    let mut node = One::new(3).follow(2, 4);
    let append = node.append(at(0, 0), 0, entries(1, 4, 3));
    node.receive(2, append);
    let mut node = node.follow(2, 6);
    let append = node.append(at(5, 9), 0, None);
    let said = node.receive(2, append);
    let refused = said.iter().find_map(|(_, message)| match message {
        RaftMessage::AppendAck(ack) => ack.refused,
        _ => None,
    });
    assert_eq!(refused, Some(Refused::new(9, at(4, 3))));
}

#[test]
fn a_leader_goes_back_as_far_as_a_refusal_says_in_one_step() {
    for (hint, previous) in [(at(5, 3), at(5, 3)), (at(4, 8), at(0, 0))] {
        let mut node = One::new(3).follow(2, 5);
        let append = node.append(at(0, 0), 0, entries(1, 5, 10));
        node.receive(2, append);
        let mut node = node.lead();
        let refusal = node.refusal(10, hint);
        let sent = appends(&node.receive(2, refusal), 2);
        assert_eq!(sent.first().map(|sent| sent.0), Some(previous), "{hint:?}");
    }
}

#[test]
fn what_was_acknowledged_is_not_taken_back_by_what_comes_late() {
    let mut node = One::new(5).lead();
    node.propose(3);
    node.settle();
    for matched in [4, 1] {
        let ack = node.ack(matched);
        node.receive(2, ack);
    }
    let refusal = node.refusal(3, at(0, 0));
    assert_eq!(appends(&node.receive(2, refusal), 2), []);
    let ack = node.ack(4);
    node.receive(3, ack);
    assert_eq!(node.raft.commit(), 4);
    node.propose(1);
    assert_eq!(appends(&node.settle(), 2), [(at(1, 4), 5)]);
}

#[test]
fn a_leader_takes_nothing_while_it_hands_over() {
    let mut node = One::new(3).lead();
    let last = node.propose(5);
    let said = node.wait(ms(40));
    node.answer_pings(2, &said);
    // It is alive, and behind.
    node.raft.command(node.now, Command::Transfer(2)).unwrap();
    let refused = node.raft.propose(b"x");
    assert_eq!(refused, Err(ProposeError::Transferring { to: 2 }));
    assert_eq!(node.raft.last().index, last);
}

#[test]
fn only_the_next_part_of_a_snapshot_is_taken() {
    let mut node = One::new(3).follow(2, 5);
    let middle = SnapshotPart::new(Snapshot::new(at(5, 7), 9, 0xcbf4_3926), 4, b"56"[..].into());
    let middle = RaftMessage::Snapshot(SnapshotSend::new(Head::new(5, 0), middle));
    let said = node.receive(2, middle);
    assert!(node.raft.poll_write().is_none() && node.raft.snapshot().is_none());
    let received = said.iter().find_map(|(_, message)| match message {
        RaftMessage::SnapshotAck(ack) => Some(ack.received),
        _ => None,
    });
    assert_eq!(received, Some(0), "the leader is told where to begin");
}

#[test]
fn no_snapshot_is_of_a_newer_term_than_its_leader() {
    let mut node = One::new(3).follow(2, 5);
    node.receive(2, snapshot_send(at(6, 7)));
    assert_eq!(
        (node.raft.last(), node.raft.stats().malformed),
        (at(0, 0), 1)
    );
    node.receive(2, snapshot_send(at(5, 7)));
    assert_eq!(node.raft.last(), at(5, 7));
}

#[test]
fn a_snapshot_that_ends_before_what_is_committed_is_not_taken() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 4, entries(1, 5, 4));
    node.receive(2, append);
    assert_eq!(node.raft.commit(), 4);
    node.receive(2, snapshot_send(at(5, 3)));
    assert_eq!((node.raft.snapshot(), node.raft.commit()), (None, 4));
    assert_eq!(node.raft.last(), at(5, 4));
}

/// All of a snapshot of its own at this position.
fn own(position: LogPosition) -> SnapshotPart {
    let data = Bytes::from_static(b"123456789");
    SnapshotPart::new(Snapshot::new(position, 9, 0xcbf4_3926), 0, data)
}

#[test]
fn a_snapshot_holds_what_is_committed_and_takes_no_others_place() {
    let mut node = One::new(3).lead();
    node.propose(3);
    node.settle();
    let ack = node.ack(2);
    node.receive(2, ack);
    let refused = node.raft.compact(&own(at(1, 3)));
    assert!(
        matches!(refused, Err(CompactError::Position { commit: 2, .. })),
        "{refused:?}"
    );
    assert_eq!(node.raft.compact(&own(at(1, 2))), Ok(()));

    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 4, entries(1, 5, 4));
    node.receive(2, append);
    let first = SnapshotPart::new(
        Snapshot::new(at(5, 7), 9, 0xcbf4_3926),
        0,
        b"1234"[..].into(),
    );
    let first = RaftMessage::Snapshot(SnapshotSend::new(Head::new(5, 0), first));
    node.receive(2, first);
    let refused = node.raft.compact(&own(at(5, 4)));
    assert_eq!(refused, Err(CompactError::Busy));
}

#[test]
fn a_snapshot_is_sent_when_it_is_on_the_disk() {
    let limits = LogLimits::default().trailing(0);
    let mut node = One::with(3, MemoryLog::new(), limits).lead();
    node.propose(3);
    node.settle();
    let ack = node.ack(4);
    node.receive(2, ack);
    let said = node.wait(ms(40));
    node.answer_pings(2, &said);
    node.raft.compact(&own(at(1, 4))).unwrap();
    node.begin_flush();
    node.now += ms(40);
    node.raft.handle_timeout(node.now);
    let is_snapshot =
        |(_, message): &(u64, RaftMessage<u64>)| matches!(message, RaftMessage::Snapshot(_));
    let said = node.say();
    assert!(!said.is_empty() && !said.iter().any(is_snapshot));
    node.raft.flushed();
    node.settle();
    assert!(node.wait(ms(40)).iter().any(is_snapshot));
}

#[test]
fn what_a_flush_that_failed_was_to_write_is_flushed_again() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 2));
    node.take(2, append);
    node.begin_flush();
    node.raft.flush_failed(node.now);
    assert_eq!(node.raft.durable(), 0);
    assert!(node.raft.wants_flush());
    assert_eq!(acked(&node.settle()), [2]);
}

#[test]
fn a_state_machine_is_given_nothing_that_is_not_committed() {
    let mut node = One::new(3).lead();
    node.propose(5);
    node.settle();
    let ack = node.ack(3);
    node.receive(2, ack);
    assert_eq!(node.raft.commit(), 3);
    let last = node.raft.committed(2, usize::MAX).map(|batch| batch.last());
    assert_eq!(last, Some(3));
    assert!(node.raft.committed(4, usize::MAX).is_none());
}

#[test]
fn no_batch_ends_where_no_log_ends() {
    assert!(Batch::of_proposals(u64::MAX - (1 << 41), 1, ["x"]).is_some());
    for first in [0, u64::MAX - (1 << 40), u64::MAX - 5, u64::MAX] {
        assert!(Batch::of_proposals(first, 1, ["x"]).is_none(), "at {first}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_applied_when_the_next_one_is_asked_for() {
    let config = Config::new("a", ["a"]).unwrap();
    let mut raft = Raft::new(config, LogLimits::default(), MemoryLog::new()).unwrap();
    let (client, mut applied) = (raft.client(), raft.applied(0));
    let node = async { while raft.next().await.is_some() {} };
    let test = async {
        let proposed = async {
            while client.propose("x").await.is_err() {
                tokio::time::sleep(ms(1)).await;
            }
        };
        tokio::pin!(proposed);
        tokio::select! {
            item = applied.next() => assert!(item.is_some()),
            () = &mut proposed => panic!("nobody has applied it"),
        }
        let waits = tokio::time::timeout(ms(1_000), &mut proposed).await;
        assert!(waits.is_err(), "who has it may still be at it");
        tokio::select! {
            _ = applied.next() => panic!("there is no more"),
            () = &mut proposed => {}
        }
    };
    tokio::select! { () = node => panic!("it goes on"), () = test => {} }
}

#[tokio::test(start_paused = true)]
async fn who_proposed_an_entry_is_not_told_that_another_one_in_its_place_is_its_own() {
    let config = Config::with_id(1_u64, 1..=3).unwrap();
    let config = config.heartbeat_interval(ms(40)).seed(1);
    let mut raft = Raft::new(config, LogLimits::default(), MemoryLog::new()).unwrap();
    while raft.state().node_type() != NodeType::Leader {
        let Some(RaftOutput::ToNode(2, RaftMessage::Election(asked))) = raft.next().await else {
            continue;
        };
        let (granted, leader) = (true, None);
        let kind = match asked.kind {
            MessageKind::PreVoteRequest { round, .. } => MessageKind::PreVote {
                round,
                granted,
                leader,
            },
            _ => MessageKind::Vote { granted, leader },
        };
        let answer = Message::new(asked.term, asked.stamp, kind);
        raft.on_receive(&2, answer.into());
    }
    let client = raft.client();
    let proposed = client.propose("mine");
    tokio::pin!(proposed);
    while raft.log().last().index < 2 {
        tokio::select! {
            _ = &mut proposed => panic!("nobody else has it"),
            _ = tokio::time::timeout(ms(1), raft.next()) => {}
        }
    }
    // Another is elected, and what it has in its place is committed.
    let term = raft.state().term() + 1;
    let (round, succession) = (1, None);
    let stamp = raft.state().hard_state().membership().stamp();
    let ping = Message::new(term, stamp, MessageKind::Ping { round, succession });
    raft.on_receive(&2, ping.into());
    let append = Append::new(Head::new(term, 0), at(0, 0), 2, entries(1, term, 2));
    raft.on_receive(&2, RaftMessage::Append(append));
    assert_eq!(raft.log().commit(), 2);
    let result = tokio::select! {
        result = proposed => result,
        () = async { while raft.next().await.is_some() {} } => panic!("it goes on"),
    };
    let leader = Some(2);
    assert_eq!(result, Err(ClientError::Unknown { leader }));
}

#[test]
fn entries_are_taken_of_the_leader_and_nobody_else() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 2));
    assert_eq!(acked(&node.receive(3, append.clone())), []);
    assert_eq!((node.raft.last(), node.raft.stats().stale), (at(0, 0), 1));
    assert_eq!(acked(&node.receive(2, append)), [2]);
}

#[test]
fn nothing_is_heard_about_the_log_of_another_cluster() {
    let mut node = One::new(3).follow(2, 5);
    let mut head = Head::new(5, 0);
    head.cluster = ClusterTag::new("another");
    let append = Append::new(head, at(0, 0), 0, entries(1, 5, 2));
    node.receive(2, RaftMessage::Append(append));
    assert_eq!(
        (node.raft.last(), node.raft.stats().foreign_cluster),
        (at(0, 0), 1)
    );
}

/// Terms never fall from one entry to the next, and no entry is of a term that nobody has led yet.
#[test]
fn entries_whose_terms_do_not_follow_are_not_taken() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 4, 2));
    assert_eq!(acked(&node.receive(2, append)), [2]);
    for (term, malformed) in [(3, 1), (6, 2)] {
        let append = node.append(at(4, 2), 0, entries(3, term, 1));
        node.receive(2, append);
        assert_eq!(
            (node.raft.last(), node.raft.stats().malformed),
            (at(4, 2), malformed)
        );
    }
}

#[test]
fn a_read_without_a_lease_waits_for_a_quorum() {
    use streamraft::raft::ReadState;

    let mut node = One::new(5).lead();
    for from in [2, 3] {
        let ack = node.ack(1);
        node.receive(from, ack);
    }
    assert_eq!(node.raft.commit(), 1);
    // No heartbeat of it was ever answered.
    let read = node.raft.read(node.now).unwrap();
    node.settle();
    for (from, state) in [(2, ReadState::Waiting), (3, ReadState::Ready)] {
        assert_eq!(node.raft.read_state(&read), ReadState::Waiting);
        let ack = node.ack_round(1, 1);
        node.receive(from, ack);
        assert_eq!(node.raft.read_state(&read), state, "{from} has answered");
    }
}

#[test]
fn a_read_is_lost_with_the_leadership_that_was_asked() {
    use streamraft::raft::ReadState;

    let mut node = One::new(3).lead();
    let read = node.raft.read(node.now).unwrap();
    node.wait(ms(400));
    assert!(!node.leads());
    let mut node = node.lead();
    let last = node.raft.last().index;
    let ack = node.ack_round(last, 0);
    node.receive(2, ack);
    assert_eq!(node.raft.commit(), last);
    assert_eq!(node.raft.read_state(&read), ReadState::Lost);
}

#[test]
fn a_follower_whose_disk_does_not_keep_up_takes_no_more_than_the_bound() {
    let limits = LogLimits::default().window(50).unsettled(50);
    let mut node = One::with(3, MemoryLog::new(), limits).follow(2, 5);
    for first in 1..=20 {
        let term = if first == 1 { 0 } else { 5 };
        let append = node.append(at(term, first - 1), 0, entries(first, 5, 1));
        node.take(2, append);
        node.write();
    }
    let (last, busy) = (node.raft.last().index, node.raft.stats().busy);
    assert!((5..=8).contains(&last) && busy > 0, "{last}, {busy}");
    node.settle();
    let append = node.append(at(5, last), 0, entries(last + 1, 5, 1));
    node.receive(2, append);
    assert_eq!(node.raft.last().index, last + 1);
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
    use streamraft::raft::{LogStore, Recovered, Replication};

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
