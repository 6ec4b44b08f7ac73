//! Bad input: messages that lie in any field, callers who ask for what cannot be, bounds that no node can keep, stores that
//! give something else. Each is refused by name, or counted; nothing committed is lost, and the node goes on.

use std::ops::RangeInclusive;

use bytes::Bytes;
use streamraft::ClusterTag;
use streamraft::raft::{
    Append, AppendAck, Batch, Head, LogLimits, MemoryLog, RaftMessage, Read, Refused, Snapshot,
    SnapshotAck, SnapshotPart, SnapshotSend,
};

use crate::one::{One, acked, appends, at, entries};

/// Near the ends of what a log can hold, and of what a number can.
const FAR: [u64; 5] = [
    u64::MAX,
    u64::MAX - 1,
    u64::MAX - (1 << 40),
    u64::MAX - (1 << 40) - 1,
    1 << 62,
];

/// So many near ones, and the far ones.
fn numbers(near: RangeInclusive<u64>) -> impl Iterator<Item = u64> + Clone {
    near.chain(FAR)
}

/// Node 1 follows node 2 in term 6. It has entries 1 and 2 of term 3 and 3 to 5 of term 5, of which three are committed.
fn follower() -> One {
    let mut node = One::new(3).follow(3, 3);
    let append = node.append(at(0, 0), 0, entries(1, 3, 2));
    node.receive(3, append);
    let mut node = node.follow(3, 5);
    let append = node.append(at(3, 2), 3, entries(3, 5, 3));
    node.receive(3, append);
    let node = node.follow(2, 6);
    assert_eq!((node.raft.last(), node.raft.commit()), (at(5, 5), 3));
    node
}

/// What no leader can have made it do: it has what was committed, its store holds a log, and it goes on with an honest leader.
fn is_sound(mut node: One, lie: &RaftMessage<u64>) {
    node.settle();
    let terms: Vec<_> = (1..=3).map(|index| node.raft.term_at(index)).collect();
    let committed = [Some(3), Some(3), Some(5)];
    let is_in_snapshot = node.raft.purged().index >= 3;
    assert!(is_in_snapshot || terms == committed, "{lie:?}: {terms:?}");
    let (mut next, mut term) = (node.store.purged().index + 1, node.store.purged().term);
    for batch in node.store.batches() {
        assert!(batch.first() <= next && batch.term() >= term, "{lie:?}");
        (next, term) = (batch.last() + 1, batch.term());
    }
    assert!(node.raft.commit() < next, "{lie:?}");
    let commit = node.raft.commit();
    // It starts again, and an honest leader makes its log its own.
    let mut node = node.restart().follow(2, 9);
    let previous = at(node.raft.term_at(commit).unwrap(), commit);
    let append = node.append(previous, commit, entries(commit + 1, 9, 2));
    if commit < u64::MAX / 2 {
        assert_eq!(
            acked(&node.receive(2, append)).last(),
            Some(&(commit + 2)),
            "{lie:?}"
        );
    }
    // Leading, it can begin its term, which takes an entry.
    let last = node.raft.last().index;
    let node = node.lead();
    assert_eq!(node.raft.last().index, last + 1, "{lie:?}");
    assert_eq!(node.restart().raft.last().index, last + 1, "{lie:?}");
}

#[test]
fn whatever_an_append_says_a_follower_stays_sound() {
    let start = follower();
    let batches: Vec<Option<Batch>> = numbers(1..=7)
        .flat_map(|first| [0, 2, 3, 5, 6, 7, u64::MAX].map(|term| (first, term)))
        .flat_map(|(first, term)| [1, 4].map(|count| (first, term, count)))
        .filter_map(|(first, term, count)| {
            // Beyond the last index there is no batch to send.
            Batch::of_proposals(first, term, vec!["x"; count]).map(Some)
        })
        .chain([None])
        .collect();
    let (mut malformed, mut taken) = (0, 0);
    for index in numbers(0..=6) {
        for term in [0, 3, 5, 6, 7, u64::MAX] {
            for commit in [0, 5, u64::MAX] {
                for batch in &batches {
                    let lie = start.append(at(term, index), commit, batch.clone());
                    let mut node = start.clone();
                    node.receive(2, lie.clone());
                    malformed += node.raft.stats().malformed;
                    taken += u64::from(node.raft.last() != at(5, 5));
                    is_sound(node, &lie);
                }
            }
        }
    }
    assert!(malformed > 1_000 && taken > 50, "{malformed}, {taken}");
}

/// The lies that can be told from the truth, one by one.
#[test]
fn an_append_that_cannot_be_is_counted_and_changes_nothing() {
    let node = follower();
    let of = |previous, first, term| node.append(previous, 0, entries(first, term, 2));
    let lies = [
        ("entries that do not follow", of(at(5, 5), 7, 6)),
        ("entries before those they follow", of(at(5, 5), 5, 6)),
        ("of a newer term than the message", of(at(5, 5), 6, 7)),
        ("of an older term than what is before", of(at(5, 5), 6, 3)),
        (
            "of an older term than what is committed",
            of(at(3, 2), 3, 3),
        ),
        ("behind the last index", of(at(5, u64::MAX), 6, 6)),
    ];
    for (what, lie) in lies {
        let mut node = node.clone();
        node.receive(2, lie);
        assert_eq!(node.raft.stats().malformed, 1, "{what}");
        assert_eq!(
            (node.raft.last(), node.raft.commit()),
            (at(5, 5), 3),
            "{what}"
        );
    }
    let mut new = One::new(3).follow(2, 6);
    let lie = new.append(at(0, 0), 0, entries(1, 0, 2));
    new.receive(2, lie);
    assert_eq!(
        (new.raft.last(), new.raft.stats().malformed),
        (at(0, 0), 1),
        "of no term"
    );
    for commit in [4, 5, 6, u64::MAX] {
        let mut node = node.clone();
        let lie = node.append(at(5, 4), commit, None);
        node.receive(2, lie);
        assert_eq!(
            node.raft.commit(),
            4,
            "no further than the logs are the same"
        );
    }
}

#[test]
fn whatever_a_snapshot_says_a_follower_stays_sound() {
    let start = follower();
    let data = Bytes::from_static(b"123456789");
    let (mut malformed, mut taken) = (0, 0);
    for index in numbers(0..=6) {
        for term in [0, 3, 5, 6, 7, u64::MAX] {
            for len in [0, 3, 9, 10, u64::MAX] {
                for offset in [0, 3, 9, u64::MAX] {
                    for (data, checksum) in [
                        (data.clone(), 0xcbf4_3926),
                        (data.clone(), 1),
                        (Bytes::new(), 0),
                        (Bytes::new(), 1),
                    ] {
                        let snapshot = Snapshot::new(at(term, index), len, checksum);
                        let part = SnapshotPart::new(snapshot, offset, data);
                        let lie = RaftMessage::Snapshot(SnapshotSend::new(Head::new(6, 0), part));
                        let mut node = start.clone();
                        node.receive(2, lie.clone());
                        malformed += node.raft.stats().malformed;
                        taken += u64::from(node.raft.snapshot().is_some());
                        is_sound(node, &lie);
                    }
                }
            }
        }
    }
    assert!(malformed > 1_000 && taken > 10, "{malformed}, {taken}");
}

#[test]
fn a_snapshot_that_cannot_be_is_counted_and_changes_nothing() {
    let sum = 0xcbf4_3926;
    let last = u64::MAX - (1 << 40);
    for (what, position, len, offset, checksum) in [
        ("of no term", at(0, 7), 9, 0, sum),
        ("of a newer term than the message", at(7, 7), 9, 0, sum),
        (
            "of an older term than what is committed",
            at(3, 7),
            9,
            0,
            sum,
        ),
        ("beyond all logs", at(6, last), 9, 0, sum),
        ("of the last index", at(6, u64::MAX), 9, 0, sum),
        ("that leaves no room for a log", at(6, last - 1), 9, 0, sum),
        ("shorter than its part", at(6, 7), 8, 0, sum),
        ("with a part behind its end", at(6, 7), 9, 1, sum),
        (
            "with a part at the end of numbers",
            at(6, 7),
            9,
            u64::MAX,
            sum,
        ),
        ("of another checksum", at(6, 7), 9, 0, sum + 1),
    ] {
        let mut node = follower();
        let part = SnapshotPart::new(
            Snapshot::new(position, len, checksum),
            offset,
            b"123456789"[..].into(),
        );
        let lie = RaftMessage::Snapshot(SnapshotSend::new(Head::new(6, 0), part));
        node.receive(2, lie);
        assert_eq!(node.raft.stats().malformed, 1, "{what}");
        assert_eq!(
            (node.raft.last(), node.raft.commit(), node.raft.snapshot()),
            (at(5, 5), 3, None),
            "{what}"
        );
    }
}

/// Node 1 leads in term 1, with six entries. Node 2 has two of them, and nobody has answered for node 3.
fn leader() -> One {
    let mut node = One::new(3).lead();
    node.propose(5);
    node.settle();
    let ack = node.ack(2);
    node.receive(2, ack);
    assert_eq!((node.raft.last(), node.raft.commit()), (at(1, 6), 2));
    node
}

/// It leads, and its followers get all entries.
fn serves(mut node: One, liar: u64, lie: &RaftMessage<u64>) {
    assert!(node.leads());
    let honest = 5 - liar;
    let ack = node.ack(6);
    node.receive(honest, ack);
    assert_eq!(node.raft.commit(), 6, "{lie:?}");
    // Also the liar, when it tells the truth: that it has nothing.
    for _ in 0..20 {
        let said = node.wait(crate::ms(40));
        node.answer_pings(liar, &said);
        node.answer_pings(honest, &said);
        for (previous, last) in appends(&said, liar) {
            if previous.index <= 2 && last == 6 {
                let ack = node.ack(6);
                node.receive(liar, ack);
                return;
            }
            let refusal = node.refusal(previous.index, at(1, 2));
            node.receive(liar, refusal);
        }
    }
    let matched = match lie {
        RaftMessage::AppendAck(ack) => ack.matched,
        _ => 0,
    };
    assert!(matched > 2, "{lie:?}: it never got what it lacks");
}

#[test]
fn whatever_an_answer_says_a_leader_goes_on() {
    let start = leader();
    let mut malformed = 0;
    for matched in numbers(0..=7) {
        for commit in [0, 2, 6, 7, u64::MAX] {
            for round in [0, 1, u64::MAX] {
                for previous in [None].into_iter().chain(numbers(0..=7).map(Some)) {
                    for hint in [at(0, 0), at(1, 2), at(1, u64::MAX), at(u64::MAX, 4)] {
                        let refused = previous.map(|previous| Refused::new(previous, hint));
                        let lie = AppendAck::new(Head::new(1, round), matched, commit, refused);
                        let lie = RaftMessage::AppendAck(lie);
                        let mut node = start.clone();
                        node.receive(2, lie.clone());
                        let is_lie = matched > 6 || round > 0 || commit > 6;
                        assert_eq!(node.raft.stats().malformed, u64::from(is_lie), "{lie:?}");
                        malformed += u64::from(is_lie);
                        let most = if is_lie { 2 } else { matched.max(2) };
                        assert_eq!(node.raft.commit(), most, "{lie:?}");
                        if previous.is_none() || hint == at(1, 2) {
                            serves(node, 2, &lie);
                        }
                    }
                }
            }
        }
    }
    assert!(malformed > 1_000, "{malformed}");
}

/// Who says that it has more of a snapshot than there is, or has one that nobody sends.
#[test]
fn whatever_an_answer_to_a_snapshot_says_a_leader_goes_on() {
    let mut start = One::with(3, MemoryLog::new(), LogLimits::default().trailing(0)).lead();
    start.propose(9);
    start.settle();
    let ack = start.ack(10);
    start.receive(3, ack);
    let data = Bytes::from_static(b"123456789");
    let snapshot = Snapshot::new(at(1, 10), 9, 0xcbf4_3926);
    let part = SnapshotPart::new(snapshot, 0, data.clone());
    start.raft.compact(&part).unwrap();
    let refusal = start.refusal(1, at(0, 0));
    let said = start.receive(2, refusal);
    // What the leader reads for its followers.
    let read = |node: &mut One| {
        while let Some(Read::Snapshot { offset, .. }) = node.raft.poll_read() {
            let rest = data.slice(usize::try_from(offset).unwrap()..);
            node.raft.snapshot_read(offset, rest);
        }
    };
    let asks = |said: &[(u64, RaftMessage<u64>)]| {
        said.iter()
            .any(|(to, message)| *to == 2 && matches!(message, RaftMessage::Snapshot(_)))
    };
    assert!(asks(&said), "{said:?}");
    let others = [
        snapshot,
        Snapshot::new(at(1, 9), 9, 0xcbf4_3926),
        Snapshot::new(at(u64::MAX, u64::MAX), u64::MAX, 0),
        Snapshot::new(at(1, 10), 0, 0),
    ];
    for other in others {
        for received in [0, 1, 9, 10, u64::MAX] {
            let mut node = start.clone();
            let ack = SnapshotAck::new(Head::new(1, 0), other, received);
            node.receive(2, RaftMessage::SnapshotAck(ack));
            let is_lie = received > other.len;
            assert_eq!(node.raft.stats().malformed, u64::from(is_lie), "{ack:?}");
            // It asks again, and the follower has the last word.
            read(&mut node);
            let said = node.wait(crate::ms(40));
            assert!(asks(&said), "{ack:?}: {said:?}");
            let ack = node.ack(10);
            node.receive(2, ack);
            node.propose(1);
            assert_eq!(appends(&node.settle(), 2), [(at(1, 10), 11)]);
        }
    }
}

/// Every message about the log, from whom it is not heard, each in its counter.
#[test]
fn what_is_not_for_this_node_is_counted_by_its_reason() {
    let all = |head: Head| {
        let snapshot = Snapshot::new(at(1, 1), 9, 0xcbf4_3926);
        let part = SnapshotPart::new(snapshot, 0, b"123456789"[..].into());
        [
            RaftMessage::Append(Append::new(head, at(0, 0), 9, entries(1, 1, 3))),
            RaftMessage::AppendAck(AppendAck::new(head, 1, 1, None)),
            RaftMessage::Snapshot(SnapshotSend::new(head, part)),
            RaftMessage::SnapshotAck(SnapshotAck::new(head, snapshot, 0)),
        ]
    };
    let mut foreign = Head::new(6, 0);
    foreign.cluster = ClusterTag::new("another");
    type Case = (&'static str, One, u64, Head, [u64; 4]);
    // Counted: of a foreign cluster, of strangers, stale, malformed.
    let cases: [Case; 7] = [
        ("another cluster", follower(), 2, foreign, [4, 0, 0, 0]),
        (
            "an older term",
            follower(),
            2,
            Head::new(5, 0),
            [0, 0, 4, 0],
        ),
        ("a newer term", follower(), 2, Head::new(7, 0), [0, 0, 4, 0]),
        (
            "the last term",
            follower(),
            2,
            Head::new(u64::MAX, 0),
            [0, 0, 4, 0],
        ),
        (
            "not the leader",
            follower(),
            3,
            Head::new(6, 0),
            [0, 0, 4, 0],
        ),
        ("nobody", leader(), 9, Head::new(1, 0), [0, 2, 0, 2]),
        ("two leaders", leader(), 2, Head::new(1, 0), [0, 0, 0, 2]),
    ];
    for (what, node, from, head, counted) in cases {
        let mut node = node;
        let before = (node.raft.last(), node.raft.commit());
        for message in all(head) {
            node.receive(from, message);
        }
        let stats = *node.raft.stats();
        let found = [
            stats.foreign_cluster,
            stats.strangers,
            stats.stale,
            stats.malformed,
        ];
        assert_eq!(found, counted, "{what}");
        assert_eq!((node.raft.last(), node.raft.commit()), before, "{what}");
    }
}

/// A snapshot of the end of all logs leaves room for the entries that terms begin with, and for no proposal.
#[test]
fn a_log_that_is_at_its_end_takes_no_proposal_and_can_still_be_led() {
    let end = u64::MAX - (1 << 40) - (1 << 32);
    let mut node = One::new(3).follow(2, 6);
    let snapshot = Snapshot::new(at(6, end - 1), 9, 0xcbf4_3926);
    let part = SnapshotPart::new(snapshot, 0, b"123456789"[..].into());
    node.receive(
        2,
        RaftMessage::Snapshot(SnapshotSend::new(Head::new(6, 0), part)),
    );
    for life in 0..3 {
        node = node.restart().lead();
        assert_eq!(node.raft.last().index, end + life);
        let refused = node.raft.propose(b"x").unwrap_err();
        assert_eq!(refused.to_string(), "the log has no index left");
        let ack = node.ack(end + life);
        node.receive(2, ack);
        assert_eq!(node.raft.commit(), end + life);
    }
}
