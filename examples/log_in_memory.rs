//! The smallest replicated log: three nodes in one process, their logs in memory, and a state machine that adds up. Half way the
//! leader is dropped. `cargo run --example log_in_memory`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use streamraft::Config;
use streamraft::raft::{
    Applied, AppliedStream, Client, ClientError, LogLimits, MemoryLog, Raft, RaftInbound,
    RaftMessage, RaftOutput, Seeker, SessionLimits, Sessions,
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

/// The state machine: the sum of all numbers that were proposed, each once.
async fn add_up(mut applied: AppliedStream, sum: Rc<Cell<u64>>) {
    let mut sessions = Sessions::new(SessionLimits::default());
    while let Some(Applied::Entry(entry)) = applied.next().await {
        sessions.apply(&entry, |numbers| {
            sum.set(sum.get() + numbers.iter().map(|byte| u64::from(*byte)).sum::<u64>());
            Bytes::new()
        });
    }
}

/// Those that can be asked.
type Clients = BTreeMap<u64, Client<u64>>;

fn client(clients: &Clients, id: u64) -> Result<&Client<u64>, ClientError<u64>> {
    clients.get(&id).ok_or(ClientError::Stopped)
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
    let mut seeker = Seeker::new(1..=3).ok_or("there are nodes")?;
    let open = async |id| client(&clients, id)?.session().await;
    let mut session = seeker.ask(open).await?;
    for number in 1..=100 {
        let request = session.request([number]);
        let propose = async |id| client(&clients, id)?.propose(&request).await;
        seeker.ask(propose).await?;
    }
    let leader = *seeker.target();
    println!(
        "node {leader} leads, and its sum is {}",
        sums[&leader].get()
    );
    if let Some(node) = nodes.remove(&leader) {
        node.abort();
    }
    clients.remove(&leader);
    sums.remove(&leader);
    let request = session.request([200]);
    let propose = async |id| client(&clients, id)?.propose(&request).await;
    seeker.ask(propose).await?;
    println!("node {} leads after it", seeker.target());
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
