//! A whole node over its folder.

use std::cell::RefCell;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use streamraft::raft::{Applied, DiskLog, LogLimits, Raft};
use streamraft::{Config, NodeId};

use crate::tools::{CLUSTER, Folder, me, when_free};

fn node(folder: &Folder) -> Raft<DiskLog, NodeId> {
    let store = when_free(|| DiskLog::open(&**folder, &me(), CLUSTER)).unwrap();
    let config = Config::new("a", ["a"])
        .unwrap()
        .cluster(CLUSTER)
        .election_timeout(Duration::from_millis(100))
        .heartbeat_interval(Duration::from_millis(20))
        .bootstrap();
    Raft::new(config, LogLimits::default(), store).unwrap()
}

/// Everything that was proposed comes back, in order, from the folder alone.
#[tokio::test]
async fn what_a_node_has_settled_is_applied_again_after_a_restart() {
    let folder = Folder::new();
    let (mut settled, mut log) = (Vec::new(), Vec::new());
    for life in 0..3_u8 {
        let mut raft = node(&folder);
        let client = raft.client();
        let mut applied = raft.applied(0);
        let found = RefCell::new(Vec::new());
        let apply = async {
            while let Some(Applied::Entry(entry)) = applied.next().await {
                found.borrow_mut().push(entry.data.to_vec());
            }
        };
        let work = async {
            // A restarted node withholds its vote for one election timeout, also from itself.
            while client.propose(vec![life]).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            settled.push(vec![life]);
            // A few at a time, so that flushes have something to gather.
            for round in 0..10_u8 {
                let all: Vec<Vec<u8>> = (0..50).map(|number| vec![life, round, number]).collect();
                let proposals = all.iter().map(|data| client.propose(data.clone()));
                let indices = join_all(proposals).await;
                assert!(indices.iter().all(Result::is_ok), "{indices:?}");
                settled.extend(all);
            }
        };
        tokio::select! {
            () = work => {}
            () = apply => panic!("the node lives"),
            () = async { while raft.next().await.is_some() {} } => panic!("it goes on"),
        }
        let found = found.into_inner();
        assert!(
            found.starts_with(&log),
            "life {life}: another order, or less"
        );
        log = found.clone();
        let mut sorted = found;
        sorted.sort();
        assert!(
            sorted == settled,
            "life {life}: {} of {}",
            sorted.len(),
            settled.len()
        );
    }
}
