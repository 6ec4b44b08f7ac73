//! Callers who ask for what cannot be, and bounds that no node can keep: an error that says what, and a node that goes on.

use bytes::Bytes;
use futures::{FutureExt, SinkExt};
use streamraft::raft::{
    Applied, ClientCompactError, ClientError, CompactError, LimitsError, LogLimits, MemoryLog,
    ProposeError, Raft, RaftInbound, Recovered, Replication, Snapshot, SnapshotPart, StartError,
};
use streamraft::{Command, Config, Error};

use crate::ms;
use crate::node::{Group, Troubled, config};
use crate::one::{One, at};

const AT_ONCE: usize = LogLimits::MAX_AT_ONCE;
const MOST: u64 = LogLimits::MAX_BYTES;

#[test]
fn bounds_that_no_node_can_keep_are_refused_by_name_value_and_rule() {
    let with = LogLimits::default();
    let at_once = format!("it must be from 1 to {AT_ONCE} bytes");
    let some = format!("it must be from 1 to {MOST} bytes");
    let cases = [
        (with.proposal(0), "proposal: 0", &*at_once),
        (
            with.proposal(AT_ONCE + 1),
            "proposal: 1073741697",
            &*at_once,
        ),
        (
            with.proposal(usize::MAX),
            "proposal: 18446744073709551615",
            &*at_once,
        ),
        (with.message(0), "message: 0", &*at_once),
        (with.message(AT_ONCE + 1), "message: 1073741697", &*at_once),
        (with.unsettled(0).window(0), "unsettled: 0", &*some),
        (with.unsettled(MOST + 1), "unsettled: 1099511627777", &*some),
        (
            with.unsettled(u64::MAX).window(u64::MAX),
            "unsettled: 18446744073709551615",
            &*some,
        ),
        (
            with.window(1001).unsettled(1000),
            "window: 1001",
            "it must be at most unsettled (1000)",
        ),
        (
            with.window(u64::MAX),
            "window: 18446744073709551615",
            "it must be at most unsettled (67108864)",
        ),
        (
            with.cache(MOST + 1),
            "cache: 1099511627777",
            "it must be at most 1099511627776 bytes",
        ),
        (
            with.cache(u64::MAX),
            "cache: 18446744073709551615",
            "it must be at most 1099511627776 bytes",
        ),
    ];
    for (limits, value, rule) in cases {
        let refused = Raft::new(config(1, 3), limits, MemoryLog::new()).unwrap_err();
        assert_eq!(refused.to_string(), format!("{value}: {rule}"));
        let StartError::Limits(error) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(limits.check(), Err(error));
        let now = std::time::Instant::now();
        let core = Replication::new(config(1, 3), limits, Recovered::default(), now);
        assert_eq!(core.unwrap_err(), StartError::Limits(error));
    }
    let error = LimitsError::Window {
        value: 2,
        unsettled: 1,
    };
    let source = std::error::Error::source(&StartError::from(error)).map(ToString::to_string);
    assert_eq!(source, Some(error.to_string()));
    let error = Raft::new(
        Config::with_id(1, 2..=3).unwrap_or_else(|_| config(1, 3).heartbeat_interval(ms(0))),
        with,
        MemoryLog::new(),
    );
    assert!(matches!(error, Err(StartError::Config(_))));
}

/// What is accepted only just runs: entries are committed, and who was away catches up, from the log or from a snapshot.
#[tokio::test(start_paused = true)]
async fn bounds_at_their_very_edges_run() {
    let with = LogLimits::default();
    for (what, limits) in [
        ("the least proposal", with.proposal(1)),
        ("the greatest proposal", with.proposal(AT_ONCE)),
        ("the least message", with.message(1)),
        ("the greatest message", with.message(AT_ONCE)),
        ("no window", with.window(0)),
        ("the least unsettled", with.unsettled(1).window(1)),
        (
            "the greatest",
            with.unsettled(MOST).window(MOST).cache(MOST),
        ),
        ("no cache", with.cache(0)),
        ("none trailing", with.trailing(0)),
        ("all trailing", with.trailing(u64::MAX)),
    ] {
        let mut group = Group::new(3, limits);
        group.run(ms(100)).await;
        let away = group.nodes.remove(&3).unwrap();
        let client = group.client(1);
        for _ in 0..20 {
            let taken = group.until(client.propose("x")).await;
            assert!(taken.is_ok(), "{what}: {taken:?}");
        }
        assert_eq!(
            group.until(client.compact(15, "state")).await,
            Ok(()),
            "{what}"
        );
        let purged = group.nodes[&1].log().purged().index;
        let trailing = limits.get_trailing();
        assert_eq!(purged, 15_u64.saturating_sub(trailing), "{what}");
        group.nodes.insert(3, away);
        group.run(ms(5_000)).await;
        assert_eq!(group.nodes[&3].log().last().index, 21, "{what}");
        assert_eq!(group.nodes[&3].log().commit(), 21, "{what}");
    }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, ClientError<u64>>) -> String {
    outcome.unwrap_err().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_proposal_over_the_limit_names_its_length_and_the_limit() {
    let mut group = Group::new(3, LogLimits::default().proposal(100));
    group.run(ms(100)).await;
    // Also of a node that does not lead: it would be refused anywhere.
    for id in [1, 2] {
        let client = group.client(id);
        let outcome = group.until(client.propose(vec![7; 101])).await;
        assert_eq!(
            outcome,
            Err(ClientError::NotTaken(ProposeError::TooLarge {
                len: 101,
                most: 100
            }))
        );
        assert_eq!(
            refused(outcome),
            "a proposal of 101 bytes: it may have at most 100"
        );
    }
    let client = group.client(1);
    assert!(group.until(client.propose(vec![7; 100])).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_proposal_of_nothing_is_one_like_any_other() {
    let mut group = Group::new(3, LogLimits::default());
    let mut streams = [1, 2, 3].map(|id| group.nodes.get_mut(&id).unwrap().applied(0));
    group.run(ms(100)).await;
    let client = group.client(1);
    let proposing = async { client.propose(Bytes::new()).await };
    let applying = async {
        let mut seen = Vec::new();
        for stream in &mut streams {
            seen.push(futures::StreamExt::next(stream).await);
            let _ = futures::StreamExt::next(stream).now_or_never();
        }
        seen
    };
    let both = async { tokio::join!(proposing, applying) };
    let (index, seen) = group.until(both).await;
    let index = index.unwrap();
    for item in seen {
        let Some(Applied::Entry(entry)) = item else {
            panic!("{item:?}");
        };
        assert_eq!((entry.index, entry.data.len()), (index, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_names_who_does_if_it_knows() {
    let mut group = Group::new(3, LogLimits::default());
    let client = group.client(2);
    let nobody = "this node does not lead, and knows nobody who does";
    assert_eq!(refused(group.until(client.propose("x")).await), nobody);
    assert_eq!(refused(group.until(client.read()).await), nobody);
    group.run(ms(100)).await;
    for outcome in [
        group.until(client.propose("x")).await,
        group.until(client.read()).await,
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.leader(), Some(&1));
        assert_eq!(error.to_string(), "this node does not lead; 1 does");
    }
}

/// By whatever way, from whomever.
#[tokio::test(start_paused = true)]
async fn after_a_stop_everything_is_refused_and_nothing_hangs() {
    let mut group = Group::new(1, LogLimits::default());
    group.run(ms(500)).await;
    let client = group.client(1);
    group.until(client.propose("x")).await.unwrap();
    let log = {
        let node = group.nodes.get_mut(&1).unwrap();
        node.stop();
        node.stop();
        assert_eq!(node.command(Command::Resign), Err(Error::Stopped));
        let fed = node.send(RaftInbound::FromSelf(Command::Resign));
        assert_eq!(fed.now_or_never(), Some(Err(Error::Stopped)));
        let before = (*node.log().stats(), node.log().last());
        let message = One::new(3).ack(1);
        let fed = node.send(RaftInbound::FromNode(2, message.clone()));
        assert_eq!(fed.now_or_never(), Some(Err(Error::Stopped)));
        node.on_receive(&2, message);
        assert_eq!((*node.log().stats(), node.log().last()), before);
        assert_eq!(node.close().now_or_never(), Some(Ok(())));
        Error::Stopped.to_string()
    };
    assert!(log.contains("stopped"), "{log}");
    // Asked before its owner polls it to its end, and after.
    for _ in 0..2 {
        assert_eq!(
            refused(group.until(client.propose("y")).await),
            "the node was stopped"
        );
        assert_eq!(
            refused(group.until(client.read()).await),
            "the node was stopped"
        );
        let kept = group.until(client.compact(1, "state")).await;
        assert_eq!(kept.unwrap_err().to_string(), "the node was stopped");
        group.run(ms(10)).await;
        assert_eq!(group.ended, [1]);
    }
    // Of one that was dropped without a stop.
    let node: Raft<Troubled, u64> =
        Raft::new(config(1, 1), LogLimits::default(), Troubled::default()).unwrap();
    let client = node.client();
    drop(node);
    assert_eq!(client.propose("x").await, Err(ClientError::Stopped));
    assert_eq!(client.read().await, Err(ClientError::Stopped));
    assert_eq!(
        client.compact(1, "x").await,
        Err(ClientCompactError::Stopped)
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_another_place_than_it_can_be_of_names_the_places_and_keeps_the_log() {
    let limits = LogLimits::default().trailing(0).message(100);
    let mut group = Group::new(3, limits);
    group.run(ms(100)).await;
    let client = group.client(1);
    for _ in 0..20 {
        group.until(client.propose("x")).await.unwrap();
    }
    group.run(ms(100)).await;
    // On any node.
    for id in [1, 2] {
        let client = group.client(id);
        let state = || Bytes::from(vec![7; 1_000]);
        let position = |index, installed| {
            Err(ClientCompactError::Refused(CompactError::Position {
                index,
                installed,
                commit: 21,
            }))
        };
        for index in [0, 22, u64::MAX] {
            let kept = group.until(client.compact(index, state())).await;
            assert_eq!(kept, position(index, 0), "node {id}");
        }
        assert_eq!(group.until(client.compact(15, state())).await, Ok(()));
        for index in [0, 14, 15, 22] {
            let kept = group.until(client.compact(index, state())).await;
            assert_eq!(kept, position(index, 15), "node {id}");
        }
        assert_eq!(
            position(22, 15).unwrap_err().to_string(),
            "a snapshot of entry 22: it must be of one behind 15, where the installed one ends, and no later than 21, the \
             last that is committed"
        );
        assert_eq!(group.nodes[&id].log().purged().index, 15);
        // Of a state that is nothing.
        assert_eq!(group.until(client.compact(16, "")).await, Ok(()));
        assert_eq!(group.nodes[&id].log().purged().index, 16);
    }
}

/// The parts of a snapshot by hand, as a layer above may hand them over.
#[test]
fn parts_that_do_not_follow_are_refused_and_the_log_is_kept() {
    let mut node = One::new(1).lead();
    node.propose(9);
    node.settle();
    let whole = Snapshot::new(at(1, 5), 9, 0xcbf4_3926);
    let part = |snapshot, offset, data: &'static [u8]| {
        SnapshotPart::new(snapshot, offset, Bytes::from_static(data))
    };
    let other = Snapshot::new(at(1, 6), 9, 0xcbf4_3926);
    let far = Snapshot::new(at(1, 5), u64::MAX, 1);
    let wrong = [
        part(whole, 3, b"456"),
        part(whole, u64::MAX, b"9"),
        part(whole, 0, b"1234567890"),
        part(whole, 0, b""),
        part(far, u64::MAX - 1, b"456"),
    ];
    for part in &wrong {
        assert_eq!(
            node.raft.compact(part),
            Err(CompactError::Order),
            "{part:?}"
        );
        node.settle();
    }
    // In the middle of one.
    assert_eq!(node.raft.compact(&part(whole, 0, b"123")), Ok(()));
    let next = part(whole, 3, b"456789");
    assert_eq!(
        node.raft.compact(&next),
        Err(CompactError::Busy),
        "the first is not written"
    );
    node.settle();
    for part in wrong.iter().skip(1).chain([&part(other, 3, b"456789")]) {
        assert_eq!(
            node.raft.compact(part),
            Err(CompactError::Order),
            "{part:?}"
        );
        node.settle();
    }
    let changed = part(whole, 3, b"45678!");
    assert_eq!(node.raft.compact(&changed), Err(CompactError::Checksum));
    assert_eq!(node.raft.snapshot(), None);
    for wrong in [at(2, 5), at(0, 5), at(u64::MAX, 5)] {
        let wrong = part(Snapshot::new(wrong, 9, 1), 0, b"123");
        let refused = node.raft.compact(&wrong).unwrap_err();
        assert!(
            matches!(refused, CompactError::Position { .. }),
            "another term: {refused}"
        );
    }
    assert_eq!(node.raft.compact(&part(whole, 0, b"123456789")), Ok(()));
    node.settle();
    assert_eq!(node.raft.snapshot(), Some(&whole));
    let node = node.restart();
    assert_eq!(node.raft.snapshot(), Some(&whole));
    assert_eq!(node.raft.last(), at(1, 10));
}
