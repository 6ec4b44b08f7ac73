//! Bugs that real implementations of Raft's log shipped, as their public issues tell of them. Each scenario runs against this
//! crate.

use streamraft::raft::{
    Head, LogLimits, RaftMessage, ReadState, Snapshot, SnapshotPart, SnapshotSend,
};
use streamraft::{LogPosition, MessageKind};

use crate::ms;
use crate::one::{ELECTION_TIMEOUT, One, acked, appends, at, entries};

/// databend#16175 (openraft PR 1220): a vote that was only seen was kept as if it had been given, and a candidate with a stale
/// log won.
#[test]
fn databend_16175_a_candidate_with_a_stale_log_gets_no_vote() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 3));
    node.receive(2, append);
    node.wait(ELECTION_TIMEOUT * 2);
    for (position, granted) in [(at(4, 99), false), (at(5, 2), false), (at(5, 3), true)] {
        let term = node.term() + 1;
        let kind = MessageKind::VoteRequest {
            position,
            transfer: false,
        };
        let request = node.message(term, kind);
        let said = node.receive(3, request);
        let voted = node.raft.state().hard_state().voted_for();
        assert_eq!(voted, granted.then_some(&3), "{position:?}");
        let kept = node
            .store
            .hard_state()
            .and_then(|hard_state| hard_state.voted_for());
        assert_eq!(kept, granted.then_some(&3), "{position:?}");
        assert!(said.iter().any(|(to, message)| *to == 3
            && matches!(message, RaftMessage::Election(message)
                if matches!(message.kind, MessageKind::Vote { granted: given, .. } if given == granted))));
    }
}

/// redpanda-data/redpanda#30817: a follower with a gap in its log refused its leader's entries without counting them as a sign
/// of life, and campaigned again and again.
#[test]
fn redpanda_30817_refused_entries_are_a_sign_of_life() {
    let mut node = One::new(3).follow(2, 5);
    for _ in 0..50 {
        let append = node.append(at(5, 40), 0, entries(41, 5, 1));
        let said = node.receive(2, append);
        assert!(said.iter().any(|(_, message)| matches!(message,
            RaftMessage::AppendAck(ack) if ack.refused.is_some_and(|refused| refused.hint == at(0, 0)))));
        let said = node.wait(ELECTION_TIMEOUT - ms(1));
        assert_eq!(said, [], "it does not campaign");
    }
    assert_eq!(node.raft.state().leader(), Some(&2));
}

/// openraft#1808: a snapshot purged a membership that was only in the log. Here none is: the membership has its own way.
#[test]
fn openraft_1808_a_snapshot_does_not_touch_the_membership() {
    let mut node = One::new(3).follow(2, 5);
    let before = node.raft.state().hard_state().clone();
    let snapshot = Snapshot::new(at(4, 90), 3, crc32(b"abc"));
    let part = SnapshotPart::new(snapshot, 0, b"abc"[..].into());
    let send = SnapshotSend::new(Head::new(5, 0), part);
    node.receive(2, RaftMessage::Snapshot(send));
    assert_eq!((node.raft.commit(), node.raft.last()), (90, at(4, 90)));
    assert_eq!(node.raft.state().hard_state(), &before);
    let node = node.restart();
    assert_eq!((node.raft.commit(), node.raft.last()), (90, at(4, 90)));
    assert_eq!(node.raft.state().hard_state(), &before);
}

/// CRC-32, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// openraft#1802: the followers' progress lost its order, and entries were committed that no quorum had.
#[test]
fn openraft_1802_only_what_a_quorum_has_is_committed_in_whatever_order_it_says_so() {
    // The answers of nodes 2 to 5, one after the other, and what is committed after each.
    type Case = &'static [(u64, u64, u64)];
    let cases: [Case; 4] = [
        &[(2, 7, 0), (3, 3, 3), (4, 5, 5), (5, 9, 7)],
        &[(5, 9, 0), (4, 8, 8), (2, 9, 9)],
        &[(2, 2, 0), (2, 9, 0), (3, 1, 1), (3, 4, 4), (4, 9, 9)],
        &[
            (3, 9, 0),
            (2, 1, 1),
            (4, 2, 2),
            (5, 3, 3),
            (2, 3, 3),
            (2, 4, 4),
        ],
    ];
    for case in cases {
        let mut node = One::new(5).lead();
        node.propose(10);
        node.settle();
        for (from, matched, committed) in case {
            let ack = node.ack(*matched);
            node.receive(*from, ack);
            assert_eq!(node.raft.commit(), *committed, "{case:?}");
        }
    }
}

/// microsoft/CCF#5674: a leader that stepped down cut off what it had committed.
#[test]
fn ccf_5674_what_is_committed_is_never_cut_off() {
    let mut node = One::new(3).lead();
    node.propose(4);
    node.settle();
    let ack = node.ack(3);
    node.receive(2, ack);
    assert_eq!((node.raft.commit(), node.raft.last().index), (3, 5));
    let term = node.term();
    let mut node = node.follow(2, term + 1);
    assert_eq!(
        node.raft.last(),
        at(term, 5),
        "nothing is lost by stepping down"
    );
    // A leader that does not have entry 3 cannot be. One that says so is not believed.
    let lie = node.append(at(term, 1), 9, entries(2, term + 1, 5));
    node.receive(2, lie);
    assert_eq!(node.raft.term_at(3), Some(term));
    assert_eq!(
        node.store
            .batches()
            .iter()
            .map(streamraft::raft::Batch::term)
            .min(),
        Some(term)
    );
    // What is not committed gives way.
    let append = node.append(at(term, 3), 3, entries(4, term + 1, 1));
    node.receive(2, append);
    assert_eq!(node.raft.last().term, term + 1);
    assert!(node.raft.commit() >= 3 && node.raft.term_at(3) == Some(term));
}

/// scylladb#10578: a message that carried nothing but a commit index moved a follower's beyond what was known to be the same.
#[test]
fn scylladb_10578_commit_goes_no_further_than_the_logs_match() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 4));
    node.receive(2, append);
    // In the next term its last entries may be of no use.
    let mut node = node.follow(3, 6);
    for (previous, commit, expected) in [(at(0, 0), 4, 0), (at(5, 2), 4, 2), (at(5, 4), 3, 3)] {
        let append = node.append(previous, commit, None);
        node.receive(3, append);
        assert_eq!(node.raft.commit(), expected);
    }
    let append = node.append(at(9, 4), 4, None);
    node.receive(3, append);
    assert_eq!(node.raft.commit(), 3, "and not by what was refused");
}

/// etcd-io/etcd#7331: a new leader answered reads before it had committed an entry of its term, and did not know yet what the one
/// before it had committed.
#[test]
fn etcd_7331_a_new_leader_answers_no_read_before_its_first_commit() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 4));
    node.receive(2, append);
    let mut node = node.lead();
    let read = node.raft.read(node.now).unwrap();
    assert_eq!(node.raft.read_state(&read), ReadState::Waiting);
    assert!(node.settle().iter().any(|(_, message)| matches!(message,
        RaftMessage::Append(append) if append.head.round == 1)));
    // A quorum says that it leads; what was committed before is still not known.
    let ack = node.ack_round(0, 1);
    node.receive(2, ack);
    assert_eq!(
        (node.raft.read_state(&read), node.raft.commit()),
        (ReadState::Waiting, 0)
    );
    let ack = node.ack_round(5, 1);
    node.receive(2, ack);
    assert_eq!(
        (node.raft.read_state(&read), read.index),
        (ReadState::Ready, 5)
    );
    // Another read wants another round, unless the lease holds.
    let read = node.raft.read(node.now + ELECTION_TIMEOUT * 9).unwrap();
    assert_eq!(node.raft.read_state(&read), ReadState::Waiting);
    let term = node.term();
    let mut node = node.follow(3, term + 1);
    assert_eq!(node.raft.read_state(&read), ReadState::Lost);
}

/// A read that comes when its round was sent already needs another one: the answers may be older than it.
#[test]
fn etcd_7331_a_read_joins_no_round_that_was_sent() {
    let mut node = One::new(3).lead();
    let ack = node.ack(1);
    node.receive(2, ack);
    let first = node.raft.read(node.now).unwrap();
    let second = node.raft.read(node.now).unwrap();
    node.settle();
    let third = node.raft.read(node.now).unwrap();
    node.settle();
    let ack = node.ack_round(1, 1);
    node.receive(3, ack);
    let states = [first, second, third].map(|read| node.raft.read_state(&read));
    assert_eq!(
        states,
        [ReadState::Ready, ReadState::Ready, ReadState::Waiting]
    );
    let ack = node.ack_round(1, 2);
    node.receive(3, ack);
    assert_eq!(node.raft.read_state(&third), ReadState::Ready);
}

/// willemt/raft#127, etcd-io/etcd#16220: an index beyond the log in an answer or a heartbeat ended the node.
#[test]
fn willemt_127_indices_that_lie_are_counted_and_nothing_else() {
    let mut node = One::new(3).lead();
    node.propose(3);
    node.settle();
    for matched in [5, 99, u64::MAX] {
        let ack = node.ack(matched);
        node.receive(2, ack);
    }
    let ack = node.ack_round(2, 77);
    node.receive(2, ack);
    assert_eq!((node.raft.commit(), node.raft.stats().malformed), (0, 4));
    for previous in [0, 1, 4, 5, u64::MAX] {
        for hint in [at(0, 0), at(9, u64::MAX), at(u64::MAX, 3), at(1, 2)] {
            let refusal = node.refusal(previous, hint);
            node.receive(2, refusal);
        }
    }
    assert_eq!(node.raft.commit(), 0);

    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 3));
    node.receive(2, append);
    for previous in [
        at(5, u64::MAX),
        at(u64::MAX, u64::MAX),
        at(0, 9),
        LogPosition::default(),
    ] {
        for commit in [0, 99, u64::MAX] {
            let append = node.append(previous, commit, None);
            node.receive(2, append);
            let append = node.append(previous, commit, entries(7, 5, 2));
            node.receive(2, append);
        }
    }
    assert_eq!(node.raft.last(), at(5, 3));
    assert!(node.raft.commit() <= 3);
    assert!(node.raft.stats().malformed > 0);
}

/// etcd-io/etcd#1690: entries were counted as durable when others at the same indices were, which they had taken the place of.
#[test]
fn etcd_1690_durable_is_the_entry_and_not_its_index() {
    let mut node = One::new(3).follow(2, 5);
    let append = node.append(at(0, 0), 0, entries(1, 5, 4));
    node.take(2, append);
    node.begin_flush();
    // While they are being written another leader puts others in their place.
    node.take(
        3,
        node.message(
            6,
            MessageKind::Ping {
                round: 0,
                succession: None,
            },
        ),
    );
    let append = node.append(at(5, 1), 0, entries(2, 6, 3));
    node.take(3, append);
    node.write();
    node.raft.flushed();
    assert_eq!(node.raft.durable(), 1, "of the present log");
    assert_eq!(acked(&node.say()), []);
    assert_eq!(acked(&node.settle()), [4]);
}

/// openraft#1964: of two completions of the store that came in the wrong order the newer was lost, and the node waited for ever.
#[test]
fn openraft_1964_a_completion_too_many_loses_nothing() {
    let mut node = One::new(3).follow(2, 5);
    node.raft.flushed();
    for index in 0..5 {
        let append = node.append(
            at(if index == 0 { 0 } else { 5 }, index),
            0,
            entries(index + 1, 5, 1),
        );
        node.take(2, append);
        node.begin_flush();
        let append = node.append(at(5, index + 1), 0, None);
        node.take(2, append);
        assert_eq!(node.raft.durable(), index);
        node.raft.flushed();
        node.raft.flushed();
        assert_eq!(node.raft.durable(), index + 1);
        assert_eq!(acked(&node.settle()).last(), Some(&(index + 1)));
    }
}

/// hashicorp/raft#503, #683: a leader whose disk hung went on to send heartbeats, and nobody took its place.
#[test]
fn hashicorp_503_a_leader_whose_disk_hangs_lets_others_lead() {
    let mut node = One::new(3).lead();
    for from in [2, 3] {
        let ack = node.ack(1);
        node.receive(from, ack);
    }
    node.propose(1);
    node.begin_flush();
    let mut said = node.say();
    assert_eq!(
        appends(&said, 2),
        [(at(1, 1), 2)],
        "followers need not wait for the disk"
    );
    for beat in 1..20 {
        // Its followers live, and have what it has.
        for from in [2, 3] {
            node.answer_pings(from, &said);
            let ack = node.ack(2);
            node.take(from, ack);
        }
        assert_eq!(node.raft.commit(), 2);
        node.now += ms(10);
        node.raft.handle_timeout(node.now);
        if !node.leads() {
            assert_eq!(beat, 15, "times 10 ms");
            return;
        }
        said = node.say();
    }
    panic!("it still leads");
}

/// A leader with a disk that works goes on.
#[test]
fn hashicorp_503_a_leader_with_a_slow_disk_stays() {
    let mut node = One::new(1).lead();
    for _ in 0..20 {
        node.propose(1);
        node.begin_flush();
        node.now += ms(100);
        node.raft.handle_timeout(node.now);
        node.raft.flushed();
        node.settle();
        assert!(node.leads());
    }
}

/// The rule before all others: no vote, no term and no answer leaves before it is durable (Mininglamp-OSS/octo-im#42).
#[test]
fn octo_im_42_nothing_is_said_before_it_is_durable() {
    let mut node = One::new(3);
    node.wait(ELECTION_TIMEOUT);
    let kind = MessageKind::VoteRequest {
        position: at(0, 0),
        transfer: false,
    };
    let request = node.message(1, kind);
    node.take(2, request);
    node.write();
    assert_eq!(node.say(), [], "its vote is not flushed");
    node.begin_flush();
    assert_eq!(node.say(), []);
    node.raft.flushed();
    assert_eq!(node.say().len(), 1);
    let mut node = node.follow(2, 1);
    let append = node.append(at(0, 0), 0, entries(1, 1, 2));
    node.take(2, append);
    node.begin_flush();
    assert_eq!(acked(&node.say()), []);
    node.raft.flushed();
    assert_eq!(acked(&node.say()), [2]);
}

/// What is not in the limits is not taken; what is too much is let go.
#[test]
fn a_proposal_over_the_limit_or_too_many_of_them_are_refused() {
    let limits = LogLimits::default().proposal(10).unsettled(60).window(60);
    let mut node = One::with(3, streamraft::raft::MemoryLog::new(), limits).lead();
    let refused = node.raft.propose(&[0; 11]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a proposal of 11 bytes: it may have at most 10"
    );
    // The blank entry has 5 bytes, these have 15 each.
    let taken = (0..9).take_while(|_| node.raft.propose(&[0; 10]).is_ok());
    assert_eq!(taken.count(), 3);
    node.settle();
    assert!(node.raft.propose(&[0; 10]).is_err());
    let ack = node.ack(2);
    node.receive(2, ack);
    assert!(node.raft.propose(&[0; 10]).is_ok(), "some of it is settled");
}
