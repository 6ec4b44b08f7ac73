//! What the random runs get to: a rule that no run needs would be proven by none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use streamraft::raft::RaftMessage;
use streamraft::sim::{Broken, Event, Invariant, LogNode, World};

use crate::random::cluster;

type Counts = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// Counts what is seen. Nothing breaks it.
#[derive(Debug)]
struct Count {
    counts: Counts,
    /// By node: how much of its log, and of what it has applied, was there last.
    seen: BTreeMap<u64, (u64, u64)>,
}

impl Count {
    fn add(&self, what: &'static str, count: u64) {
        *self.counts.lock().unwrap().entry(what).or_default() += count;
    }

    fn sent(&self, message: &RaftMessage<u64>) {
        let what = match message {
            RaftMessage::Append(append) => match &append.entries {
                Some(batch) if batch.len() > 1 => "appends of several",
                Some(_) => "appends of one",
                None => "appends of none",
            },
            RaftMessage::AppendAck(ack) if ack.refused.is_some() => "refused",
            RaftMessage::AppendAck(_) => "answers",
            RaftMessage::Snapshot(send) if send.part.data.is_empty() => "snapshots begun",
            RaftMessage::Snapshot(_) => "parts of snapshots",
            RaftMessage::SnapshotAck(ack) if ack.received == 0 => "snapshots from the beginning",
            RaftMessage::SnapshotAck(_) => "parts taken",
            _ => "election",
        };
        self.add(what, 1);
    }
}

impl Invariant<LogNode<u64>> for Count {
    fn name(&self) -> &'static str {
        "counts"
    }

    fn check(
        &mut self,
        event: &Event<'_, LogNode<u64>>,
        world: &World<LogNode<u64>>,
    ) -> Result<(), Broken> {
        match event {
            Event::Sent { message, .. } => self.sent(message),
            Event::Started { node } => {
                self.seen.remove(*node);
            }
            Event::Drained { node: id } => {
                let Some(node) = world.node(id) else {
                    return Ok(());
                };
                let raft = node.raft();
                let applied = node.applied().last().map_or(0, |held| held.position.index);
                let now = (raft.last().index, applied);
                let before = self.seen.insert(**id, now);
                if let Some((last, before)) = before {
                    self.add("truncated", u64::from(now.0 < last));
                    self.add("applied", applied - before);
                    let leads = raft.state().leader() == Some(*id);
                    self.add("committed", if leads { applied - before } else { 0 });
                }
                self.add(
                    "purged",
                    u64::from(before.is_none() && raft.purged().index > 0),
                );
            }
            Event::Ended => {
                for (_, node) in world.running() {
                    self.add("reads asked", node.reads_asked());
                    self.add("reads answered", node.reads_answered().len() as u64);
                    let stats = node.raft().stats();
                    self.add("busy", stats.busy);
                    self.add("malformed", stats.malformed);
                    self.add("stale", stats.stale);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn random_runs_get_everywhere() {
    let counts = Counts::default();
    for seed in 0..150 {
        let counts = Arc::clone(&counts);
        let count = move || Count {
            counts: Arc::clone(&counts),
            seen: BTreeMap::new(),
        };
        cluster(seed).invariant(count).run(seed).unwrap();
    }
    let counts = counts.lock().unwrap().clone();
    println!("{counts:?}");
    for what in [
        "appends of several",
        "refused",
        "truncated",
        "parts of snapshots",
        "parts taken",
        "purged",
        "committed",
        "reads answered",
    ] {
        assert!(
            counts.get(what).is_some_and(|count| *count > 10),
            "{what}: {counts:?}"
        );
    }
    assert_eq!(counts.get("malformed"), Some(&0), "nobody sends such");
}
