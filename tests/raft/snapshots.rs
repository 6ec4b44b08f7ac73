//! Snapshots that are cut off in the middle: by the sender, by the receiver, by another that comes. The log stays usable, and
//! what was sent is not sent again where it need not be.

use bytes::Bytes;
use futures::StreamExt;
use streamraft::raft::{
    Applied, CompactError, Head, LogLimits, Raft, RaftMessage, Snapshot, SnapshotAck, SnapshotPart,
    SnapshotSend,
};

use crate::ms;
use crate::node::{Group, config};
use crate::one::{One, acked, at, entries};

const LEN: usize = 2_000;

/// Parts of a tenth of the snapshot, and no entries for who is behind it.
fn limits() -> LogLimits {
    LogLimits::default().trailing(0).cache(0).message(LEN / 10)
}

/// Three nodes, of which the third is away, and a log of 41 entries.
async fn without_the_third() -> (Group, crate::node::Node) {
    let mut group = Group::new(3, limits());
    group.run(ms(100)).await;
    let away = group.nodes.remove(&3).unwrap();
    let client = group.client(1);
    for number in 0..40_u8 {
        group.until(client.propose(vec![number])).await.unwrap();
    }
    group.run(ms(100)).await;
    (group, away)
}

async fn compact(group: &mut Group, id: u64, index: u64, byte: u8) {
    let state = Bytes::from(vec![byte; LEN]);
    let client = group.client(id);
    assert_eq!(group.until(client.compact(index, state)).await, Ok(()));
}

/// Polls all until the third node was sent so many parts, the last of which gets lost: where they began, in order.
async fn parts_to_the_third(group: &mut Group, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    let some = async {
        std::future::poll_fn(|cx| {
            group.poll_while(cx, |to, message| {
                if let RaftMessage::Snapshot(send) = message
                    && to == 3
                    && !send.part.data.is_empty()
                {
                    offsets.push(send.part.offset);
                }
                offsets.len() < count
            })
        })
        .await;
    };
    let done = tokio::time::timeout(std::time::Duration::from_secs(60), some).await;
    assert!(done.is_ok(), "{offsets:?}");
    offsets
}

/// What the third node's state machine is given until it has this entry.
async fn applied_by_the_third(group: &mut Group, last: u64) -> (Vec<u8>, Vec<u64>) {
    let mut stream = group.nodes.get_mut(&3).unwrap().applied(0);
    let machine = async {
        let (mut state, mut indices) = (Vec::new(), Vec::new());
        while indices.last() != Some(&last) {
            match stream.next().await {
                Some(Applied::Snapshot(part)) => {
                    if part.offset == 0 {
                        state.clear();
                    }
                    assert_eq!(part.offset, state.len() as u64);
                    state.extend_from_slice(&part.data);
                }
                Some(Applied::Entry(entry)) => indices.push(entry.index),
                other => panic!("{other:?}"),
            }
        }
        (state, indices)
    };
    group.until(machine).await
}

/// The leader goes in the middle. The next one has the very same snapshot: the follower gets what it lacks and no more.
#[tokio::test(start_paused = true)]
async fn another_leader_with_the_same_snapshot_goes_on_where_the_first_stopped() {
    let (mut group, away) = without_the_third().await;
    for id in [1, 2] {
        compact(&mut group, id, 30, 7).await;
    }
    group.nodes.insert(3, away);
    let step = LEN as u64 / 10;
    let before = parts_to_the_third(&mut group, 4).await;
    assert_eq!(before, [0, step, 2 * step, 3 * step]);
    group.nodes.remove(&1);
    let after = parts_to_the_third(&mut group, 7).await;
    assert_eq!(group.leader(), Some(2));
    let rest: Vec<u64> = (3..10).map(|part| part * step).collect();
    assert_eq!(after, rest, "nothing twice");
    let (state, indices) = applied_by_the_third(&mut group, 41).await;
    assert_eq!(state, vec![7; LEN]);
    assert_eq!(indices, (31..=41).collect::<Vec<_>>());
}

/// The next one has another: of the first nothing is left.
#[tokio::test(start_paused = true)]
async fn another_leader_with_another_snapshot_begins_anew() {
    let (mut group, away) = without_the_third().await;
    compact(&mut group, 1, 30, 7).await;
    compact(&mut group, 2, 35, 8).await;
    group.nodes.insert(3, away);
    parts_to_the_third(&mut group, 4).await;
    group.nodes.remove(&1);
    let after = parts_to_the_third(&mut group, 10).await;
    assert_eq!(after[0], 0);
    let (state, indices) = applied_by_the_third(&mut group, 41).await;
    assert_eq!(state, vec![8; LEN]);
    assert_eq!(indices, (36..=41).collect::<Vec<_>>());
}

/// The next one has all entries and needs none.
#[tokio::test(start_paused = true)]
async fn another_leader_with_all_entries_sends_them() {
    let (mut group, away) = without_the_third().await;
    compact(&mut group, 1, 30, 7).await;
    group.nodes.insert(3, away);
    parts_to_the_third(&mut group, 4).await;
    group.nodes.remove(&1);
    let (state, indices) = applied_by_the_third(&mut group, 41).await;
    assert_eq!(state, []);
    assert_eq!(indices, (2..=41).collect::<Vec<_>>());
    assert_eq!(group.nodes[&3].log().snapshot(), None);
}

/// The leader has a newer one meanwhile, as soon as it may: not as long as one is on its way to a follower that lives.
#[tokio::test(start_paused = true)]
async fn a_snapshot_on_its_way_is_not_replaced_and_the_next_one_is_taken_when_it_is_there() {
    let (mut group, away) = without_the_third().await;
    compact(&mut group, 1, 30, 7).await;
    group.nodes.insert(3, away);
    // It lives when it has answered a heartbeat.
    parts_to_the_third(&mut group, 4).await;
    let state = Bytes::from(vec![8; LEN]);
    let part = SnapshotPart::new(
        Snapshot::new(at(group.nodes[&1].state().term(), 35), LEN as u64, 0),
        0,
        state.slice(..10),
    );
    let mut core = group.nodes[&1].log().clone();
    assert!(core.state().followers().contains(&3));
    assert_eq!(core.compact(&part), Err(CompactError::Busy));
    let (state, _) = applied_by_the_third(&mut group, 41).await;
    assert_eq!(state, vec![7; LEN]);
    compact(&mut group, 1, 35, 8).await;
}

/// The receiver goes down in the middle and comes back: it has its old log, no half of a snapshot, and gets it from the
/// beginning.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_goes_down_in_the_middle_begins_anew_with_its_old_log() {
    let (mut group, away) = without_the_third().await;
    compact(&mut group, 1, 30, 7).await;
    let before = away.log().last();
    assert!(before.index > 0, "it has something");
    group.nodes.insert(3, away);
    parts_to_the_third(&mut group, 4).await;
    let store = group.nodes.remove(&3).unwrap().into_store();
    let back = Raft::new(config(3, 3), limits(), store).unwrap();
    assert_eq!((back.log().last(), back.log().snapshot()), (before, None));
    assert_eq!(back.log().durable(), before.index);
    group.nodes.insert(3, back);
    let after = parts_to_the_third(&mut group, 11).await;
    assert_eq!(after[..2], [3 * LEN as u64 / 10, 0], "as it answers");
    let (state, indices) = applied_by_the_third(&mut group, 41).await;
    assert_eq!(state, vec![7; LEN]);
    assert_eq!(indices, (31..=41).collect::<Vec<_>>());
}

/// A part of a snapshot of nine bytes.
fn part(snapshot: Snapshot, range: std::ops::Range<usize>) -> RaftMessage<u64> {
    let (offset, data) = (range.start as u64, &b"123456789"[range]);
    let part = SnapshotPart::new(snapshot, offset, Bytes::from_static(data));
    RaftMessage::Snapshot(SnapshotSend::new(Head::new(5, 0), part))
}

fn arrived(said: &[(u64, RaftMessage<u64>)]) -> Vec<u64> {
    let acks = said.iter().filter_map(|(_, message)| match message {
        RaftMessage::SnapshotAck(SnapshotAck { received, .. }) => Some(*received),
        _ => None,
    });
    acks.collect()
}

/// The log behind a snapshot that never came whole takes entries, is read, and votes.
#[test]
fn a_snapshot_that_is_never_finished_leaves_the_log_as_it_was() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 2, entries(1, 5, 4));
    node.receive(2, append);
    let whole = Snapshot::new(at(5, 7), 9, 0xcbf4_3926);
    assert_eq!(arrived(&node.receive(2, part(whole, 0..3))), [3]);
    // The parts that follow come twice, too late, too soon.
    for (range, received) in [(0..3, 3), (6..9, 3), (3..6, 6), (3..6, 6), (0..9, 6)] {
        let said = node.receive(2, part(whole, range.clone()));
        assert_eq!(arrived(&said), [received], "{range:?}");
    }
    assert_eq!(
        (node.raft.last(), node.raft.commit(), node.raft.snapshot()),
        (at(5, 4), 2, None)
    );
    let append = node.append(at(5, 4), 5, entries(5, 5, 3));
    assert_eq!(acked(&node.receive(2, append)), [7]);
    assert_eq!((node.raft.last(), node.raft.commit()), (at(5, 7), 5));
    // What came of it counts no more.
    assert_eq!(arrived(&node.receive(2, part(whole, 6..9))), [0]);
    let node = node.restart();
    assert_eq!((node.raft.last(), node.raft.snapshot()), (at(5, 7), None));
    let mut node = node.lead();
    assert_eq!(node.propose(1), 9);
}

/// What is not what its checksum says is thrown away as a whole, and can come again.
#[test]
fn a_snapshot_with_a_changed_part_is_thrown_away_and_taken_when_it_comes_right() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 2, entries(1, 5, 4));
    node.receive(2, append);
    let whole = Snapshot::new(at(5, 7), 9, 0xcbf4_3926);
    node.receive(2, part(whole, 0..3));
    let changed = SnapshotPart::new(whole, 3, Bytes::from_static(b"45678!"));
    let said = node.receive(
        2,
        RaftMessage::Snapshot(SnapshotSend::new(Head::new(5, 0), changed)),
    );
    assert_eq!(arrived(&said), [0]);
    assert_eq!(
        (node.raft.last(), node.raft.stats().malformed),
        (at(5, 4), 1)
    );
    assert_eq!(arrived(&node.receive(2, part(whole, 0..6))), [6]);
    assert_eq!(acked(&node.receive(2, part(whole, 6..9))), [7]);
    let (kept, data) = node.store.snapshot().unwrap();
    assert_eq!((kept, &data[..]), (&whole, &b"123456789"[..]));
}
