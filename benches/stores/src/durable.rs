//! Whole nodes on their disks: proposals that are durable, a second, and syncs a proposal, beside what the disk itself can do
//! at that moment.

use std::cell::Cell;
use std::future::poll_fn;
use std::path::Path;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::{Either, join_all, select};
use streamraft::Config;
use streamraft::raft::{Client, DiskLog, LogLimits, Raft, RaftOutput};
use tokio::runtime::Builder;

use crate::log::Result;
use crate::speed::{AT_ONCE, disk};
use crate::{syncs, table};

const SIZES: [usize; 2] = [16, 1024];
const CLUSTERS: [u64; 2] = [1, 3];
const ROUNDS: usize = 5;
/// For how long the disk is looked at, before and after.
const PROBE: Duration = Duration::from_millis(400);

type Node = Raft<DiskLog<u64>, u64>;

/// What was measured at one time.
struct Sample {
    /// Durable on a quorum, a second.
    proposals: f64,
    /// Of all nodes together, for each of them.
    syncs: f64,
    /// Blocks of 4 KiB, each synced, that the disk itself takes a second: behind each other in a file that grows, and in place.
    appended: f64,
    in_place: f64,
}

fn nodes(folder: &Path, count: u64) -> Result<Vec<Node>> {
    let node = |id: u64| -> Result<Node> {
        let folder = folder.join(id.to_string());
        std::fs::create_dir_all(&folder)?;
        let store = DiskLog::open(&folder, &id, "bench")?;
        // A disk that hangs for a second is still a disk here.
        let config = Config::with_id(id, 1..=count)?.cluster("bench").bootstrap();
        let config = config.election_timeout(Duration::from_secs(10));
        Ok(Raft::new(config, LogLimits::default(), store)?)
    };
    (1..=count).map(node).collect()
}

/// Polls all nodes until none has anything to say, and lets what they say arrive.
fn poll(nodes: &mut [Node], cx: &mut Context<'_>) -> Poll<String> {
    loop {
        let mut letters = Vec::new();
        for node in &mut *nodes {
            let from = *node.node_id();
            while let Poll::Ready(output) = node.poll_next_unpin(cx) {
                match output {
                    Some(RaftOutput::ToNode(to, message)) => letters.push((from, to, message)),
                    Some(RaftOutput::Failed(failure)) => return Poll::Ready(failure.to_string()),
                    Some(_) => {}
                    None => return Poll::Ready(format!("node {from} has ended")),
                }
            }
        }
        if letters.is_empty() {
            return Poll::Pending;
        }
        for (from, to, message) in letters {
            if let Some(node) = nodes.iter_mut().find(|node| *node.node_id() == to) {
                node.on_receive(&from, message);
            }
        }
    }
}

/// Proposes one after the other, so many side by side, and counts what is durable within that time. In which time.
async fn propose(
    client: &Client<u64>,
    size: usize,
    outstanding: usize,
    time: Duration,
) -> (u64, f64) {
    let data = vec![7_u8; size];
    let (start, count) = (Instant::now(), Cell::new(0_u64));
    let one = || async {
        while start.elapsed() < time {
            if client.propose(data.clone()).await.is_ok() {
                count.set(count.get() + 1);
            }
        }
    };
    join_all((0..outstanding).map(|_| one())).await;
    (count.get(), start.elapsed().as_secs_f64())
}

fn measure(
    folder: &Path,
    count: u64,
    size: usize,
    outstanding: usize,
    time: Duration,
) -> Result<Sample> {
    let place = folder.join("durable");
    std::fs::create_dir_all(&place)?;
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let mut nodes = nodes(&place, count)?;
    let probe =
        || -> Result<[f64; 2]> { Ok([disk(&place, true, PROBE)?, disk(&place, false, PROBE)?]) };
    let before = probe()?;
    let (proposals, syncs) = runtime.block_on(async {
        let client = nodes.first().ok_or("no node")?.client();
        let work = async {
            // Until it leads, and the files have grown.
            while client.propose("first").await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            propose(&client, size, outstanding, time / 4).await;
            let before = syncs::count();
            let (durable, seconds) = propose(&client, size, outstanding, time).await;
            let syncs = (syncs::count() - before) as f64 / durable as f64;
            (durable as f64 / seconds, syncs)
        };
        let run = poll_fn(|cx| poll(&mut nodes, cx));
        match select(std::pin::pin!(run), std::pin::pin!(work)).await {
            Either::Left((why, _)) => Err(why),
            Either::Right((measured, _)) => Ok(measured),
        }
    })?;
    drop(nodes);
    drop(runtime);
    let after = probe()?;
    std::fs::remove_dir_all(&place)?;
    Ok(Sample {
        proposals,
        syncs,
        appended: (before[0] + after[0]) / 2.0,
        in_place: (before[1] + after[1]) / 2.0,
    })
}

/// Over all rounds. The speed of a shared disk jumps, and a median would show which of its speeds a row has met more often.
fn mean(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    samples.iter().map(of).sum::<f64>() / samples.len() as f64
}

pub fn run(folder: &Path, time: Duration) -> Result<()> {
    let mut rows = Vec::new();
    for size in SIZES {
        for count in CLUSTERS {
            rows.extend(AT_ONCE.map(|outstanding| (size, count, outstanding, Vec::new())));
        }
    }
    // In turn, so that a busy moment of the machine does not fall on one of them alone.
    for _ in 0..ROUNDS {
        for (size, count, outstanding, samples) in &mut rows {
            samples.push(measure(folder, *count, *size, *outstanding, time)?);
        }
    }
    let rows: Vec<_> = rows
        .iter()
        .map(|(size, count, outstanding, samples)| {
            let nodes = if *count == 1 {
                "one node"
            } else {
                "three nodes"
            };
            let proposals = mean(samples, |sample| sample.proposals);
            let in_place = mean(samples, |sample| sample.in_place);
            let cells = [
                format!("{proposals:.0}"),
                format!("{in_place:.0}"),
                format!("{:.0}", mean(samples, |sample| sample.appended)),
                format!("{:.2}", proposals / in_place),
                format!("{:.4}", mean(samples, |sample| sample.syncs)),
            ];
            let name = format!("{nodes}, {size} B, {outstanding} outstanding");
            (name, cells.to_vec())
        })
        .collect();
    let columns = [
        "proposals/s",
        "disk's syncs/s, in place",
        "appended",
        "proposals for a sync of the disk's",
        "syncs a proposal, of all nodes",
    ];
    table::print(
        "Whole nodes: proposals that are durable on a quorum",
        &columns.map(String::from),
        &rows,
    );
    Ok(())
}
