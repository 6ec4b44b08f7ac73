//! The smallest replicated log: three nodes in one process, their logs in memory, and a state machine that adds up. Half way the
//! leader is dropped. `cargo run --example log_in_memory`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use streamraft::Config;
use streamraft::raft::{
    Applied, AppliedStream, Client, LogLimits, MemoryLog, Raft, RaftInbound, RaftMessage,
    RaftOutput,
};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

type Letter = (u64, RaftMessage<u64>);

/// Drives a node: what it says goes to the others, what they say goes into it.
async fn drive(
    mut raft: Raft<MemoryLog<u64>, u64>,
    mut inbox: mpsc::Receiver<Letter>,
    outboxes: BTreeMap<u64, mpsc::Sender<Letter>>,
) {
    let me = *raft.node_id();
    loop {
        tokio::select! {
            output = raft.next() => match output {
                // Full or gone: what is lost is said again.
                Some(RaftOutput::ToNode(to, message)) => drop(outboxes[&to].try_send((me, message))),
                Some(_) => {}
                None => return,
            },
            Some((from, message)) = inbox.recv() => {
                let _ = raft.send(RaftInbound::FromNode(from, message)).await;
            }
        }
    }
}

/// The state machine: the sum of all numbers that were proposed.
async fn add_up(mut applied: AppliedStream, sum: Rc<Cell<u64>>) {
    while let Some(Applied::Entry(entry)) = applied.next().await {
        sum.set(sum.get() + entry.data.iter().map(|byte| u64::from(*byte)).sum::<u64>());
    }
}

/// Proposes to whoever leads, and says who did.
async fn propose(clients: &BTreeMap<u64, Client<u64>>, number: u8) -> u64 {
    let mut ask = clients.keys().copied().cycle();
    let mut leader = None;
    loop {
        let id = leader.or_else(|| ask.next()).unwrap_or_default();
        leader = match clients.get(&id) {
            Some(client) => match client.propose(vec![number]).await {
                Ok(_) => return id,
                // It says who leads, if it knows.
                Err(error) => error.leader().copied(),
            },
            None => None,
        };
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn story() -> Result<Vec<u64>, Box<dyn Error>> {
    let (mut outboxes, mut inboxes) = (BTreeMap::new(), Vec::new());
    for id in 1..=3 {
        let (outbox, inbox) = mpsc::channel(64);
        outboxes.insert(id, outbox);
        inboxes.push((id, inbox));
    }
    let (mut clients, mut nodes, mut sums) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (id, inbox) in inboxes {
        let config = Config::with_id(id, 1..=3)?.bootstrap();
        let mut raft = Raft::new(config, LogLimits::default(), MemoryLog::new())?;
        clients.insert(id, raft.client());
        let sum = Rc::new(Cell::new(0));
        tokio::task::spawn_local(add_up(raft.applied(0), Rc::clone(&sum)));
        sums.insert(id, sum);
        let node = tokio::task::spawn_local(drive(raft, inbox, outboxes.clone()));
        nodes.insert(id, node);
    }
    let mut leader = 0;
    for number in 1..=100 {
        leader = propose(&clients, number).await;
    }
    println!(
        "node {leader} leads, and its sum is {}",
        sums[&leader].get()
    );
    if let Some(node) = nodes.remove(&leader) {
        node.abort();
    }
    clients.remove(&leader);
    sums.remove(&leader);
    let next = propose(&clients, 200).await;
    println!("node {next} leads after it");
    // The other one hears by a heartbeat that it is committed.
    while sums.values().any(|sum| sum.get() != 5_250) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(sums.values().map(|sum| sum.get()).collect())
}

pub(crate) async fn run() -> Result<Vec<u64>, Box<dyn Error>> {
    LocalSet::new().run_until(story()).await
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    println!("the sums of the others: {:?}", run().await?);
    Ok(())
}
