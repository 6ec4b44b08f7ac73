//! A node that gets a snapshot, and goes down in the middle of it.

use std::time::Duration;

use futures::StreamExt;
use streamraft::raft::{
    Append, Applied, DiskLog, Head, LogLimits, Raft, RaftMessage, RaftOutput, SnapshotSend,
};
use streamraft::{Config, LogPosition, Message, MessageKind, NodeId, Stamp};
use tokio::time::timeout;

use crate::tools::{CLUSTER, Folder, batch, me, noise, parts, snapshot, when_free};

type Node = Raft<DiskLog, NodeId>;

const TERM: u64 = 5;

fn leader() -> NodeId {
    "b".parse().unwrap()
}

fn node(folder: &Folder) -> Node {
    let store = when_free(|| DiskLog::open(&**folder, &me(), CLUSTER)).unwrap();
    let config = Config::new("a", ["a", "b"]).unwrap().cluster(CLUSTER);
    // It does not campaign as long as this test goes on.
    let config = config.election_timeout(Duration::from_secs(600));
    let limits = LogLimits::default().trailing(0);
    Raft::new(config, limits, store).unwrap()
}

fn head() -> Head {
    let mut head = Head::new(TERM, 0);
    head.cluster = streamraft::ClusterTag::new(CLUSTER);
    head
}

/// Hears its leader, and then this.
fn hear(node: &mut Node, message: RaftMessage) {
    let membership = node.state().hard_state().membership();
    let stamp = membership.stamp().max(Stamp::new(0, 1));
    let (round, succession) = (1, None);
    let mut ping = Message::new(TERM, stamp, MessageKind::Ping { round, succession });
    ping.cluster = head().cluster;
    node.on_receive(&leader(), ping.into());
    node.on_receive(&leader(), message);
}

/// What it answers: how far its log is the leader's, or how much it has of a snapshot.
async fn answer(node: &mut Node) -> (Option<u64>, Option<u64>) {
    let answer = async {
        loop {
            match node.next().await {
                Some(RaftOutput::ToNode(_, RaftMessage::AppendAck(ack))) => {
                    return (Some(ack.matched), None);
                }
                Some(RaftOutput::ToNode(_, RaftMessage::SnapshotAck(ack))) => {
                    return (None, Some(ack.received));
                }
                Some(RaftOutput::Failed(failure)) => panic!("{failure}"),
                Some(_) => {}
                None => panic!("it goes on"),
            }
        }
    };
    let answer = timeout(Duration::from_secs(30), answer).await;
    answer.expect("it answers")
}

#[tokio::test]
async fn a_receiver_that_is_killed_in_the_middle_of_a_snapshot_has_its_log_and_takes_it_anew() {
    let folder = Folder::new();
    let mut raft = node(&folder);
    let entries = batch(1, 3, &vec![b"entry".to_vec(); 10]);
    let append = Append::new(head(), LogPosition::default(), 4, Some(entries));
    hear(&mut raft, RaftMessage::Append(append));
    assert_eq!(answer(&mut raft).await, (Some(10), None));

    let data = noise(500_000);
    let whole = snapshot(TERM, 20, &data);
    let parts = parts(whole, &data, 100_000);
    let send = |part: usize| RaftMessage::Snapshot(SnapshotSend::new(head(), parts[part].clone()));
    for killed_after in 1..=5_usize {
        for (number, part) in parts.iter().enumerate().take(killed_after.min(4)) {
            hear(&mut raft, send(number));
            if number == 0 && killed_after > 1 {
                // Since it was started again it has said nothing: first how little it knows.
                assert_eq!(answer(&mut raft).await, (Some(0), None));
            }
            assert_eq!(answer(&mut raft).await, (None, Some(part.end())));
        }
        if killed_after == 5 {
            break;
        }
        assert!(folder.names().contains(&"snapshot.part".to_owned()));
        // What a kill leaves now. The part that is not whole may have been cut by it, too.
        let left = folder.copy();
        let part = std::fs::File::options()
            .write(true)
            .open(left.join("snapshot.part"))
            .unwrap();
        part.set_len(70_000 * killed_after as u64).unwrap();
        let mut back = node(&left);
        assert_eq!(left.names(), ["flushed", "log"], "tidied up");
        assert_eq!(back.log().last(), LogPosition::new(3, 10));
        assert_eq!(back.log().durable(), 10);
        assert_eq!((back.log().snapshot(), back.log().commit()), (None, 0));
        // It can go on without: with entries.
        let more = batch(11, TERM, &[b"more".to_vec()]);
        let append = Append::new(head(), LogPosition::new(3, 10), 11, Some(more));
        hear(&mut back, RaftMessage::Append(append));
        // First what was there before, which is durable.
        assert_eq!(answer(&mut back).await, (Some(10), None));
        assert_eq!(answer(&mut back).await, (Some(11), None));
        // And what is asked of the snapshot begins anew.
        hear(&mut back, send(killed_after));
        assert_eq!(answer(&mut back).await, (None, Some(0)));
        drop(back);
        drop(raft);
        raft = node(&folder);
    }
    hear(&mut raft, send(4));
    assert_eq!(answer(&mut raft).await, (Some(20), None));
    drop(raft);

    // Whole, it is there for good, and for the state machine.
    let mut raft = node(&folder);
    assert_eq!(raft.log().snapshot(), Some(&whole));
    let mut applied = raft.applied(0);
    let mut state = Vec::new();
    while state.len() < data.len() {
        let item = tokio::select! {
            item = applied.next() => item,
            _ = async { while raft.next().await.is_some() {} } => panic!("it goes on"),
        };
        let Some(Applied::Snapshot(part)) = item else {
            panic!("{item:?}");
        };
        assert_eq!(part.offset, state.len() as u64);
        state.extend_from_slice(&part.data);
    }
    assert!(state == data);
}
