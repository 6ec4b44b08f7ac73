//! A replicated log as a program has it: three nodes over TCP on the loopback, each with its log in a folder of its own. The
//! leader is killed, another one goes on, and the killed one catches up from its folder. `cargo run --example replicated`.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use streamraft::codec::Hello;
use streamraft::raft::{
    Applied, Client, ClientError, DiskLog, DiskLogError, LogLimits, Raft, RaftMessage, Seeker,
    Session, SessionLimits, Sessions,
};
use streamraft::{Config, Mesh};
use tokio::sync::watch;
use tokio::task::JoinHandle;

type Failure = Box<dyn Error>;

struct Node {
    task: JoinHandle<()>,
    client: Client<u64>,
    /// The state machine: all that it has applied.
    log: watch::Receiver<Vec<String>>,
    listens: SocketAddr,
}

/// Starts a node from its folder. The later ones dial the earlier ones.
async fn start(id: u64, others: &BTreeMap<u64, Node>, folder: &Path) -> Result<Node, Failure> {
    let limits = LogLimits::default();
    let mesh = Mesh::builder(Hello::new("orders", id))
        .carrying::<RaftMessage<u64>>()
        .max_frame_len(limits.frame_len())
        .listen("127.0.0.1:0")
        .peers(others.iter().map(|(id, node)| (*id, node.listens)))
        .accept_strangers(2) // those of whom it does not know yet where they listen
        .build()?;
    let listens = mesh.local_addr().ok_or("it listens")?;

    let folder = folder.join(id.to_string());
    std::fs::create_dir_all(&folder)?;
    let store = loop {
        match DiskLog::open(&folder, &id, "orders") {
            // The killed node is about to close it.
            Err(DiskLogError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            opened => break opened?,
        }
    };
    let config = Config::with_id(id, 1..=3)?.cluster("orders");
    let mut raft = Raft::new(config, limits, store)?;
    let (client, mut applied) = (raft.client(), raft.applied(0));

    let (machine, log) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut sessions = Sessions::new(SessionLimits::default());
        while let Some(Applied::Entry(entry)) = applied.next().await {
            sessions.apply(&entry, |data| {
                let text = String::from_utf8_lossy(&data).into_owned();
                machine.send_modify(|log| log.push(text));
                Bytes::new() // nobody asks for an answer
            });
        }
    });
    let mut node = raft.over(mesh);
    let task = tokio::spawn(async move {
        loop {
            match node.try_next().await {
                Ok(Some(state)) => println!("{id}: {} in term {}", state.node_type(), state.term()),
                Ok(None) => return,
                Err(error) => println!("{id}: {error}"),
            }
        }
    });
    Ok(Node {
        task,
        client,
        log,
        listens,
    })
}

/// Has an order carried out once, by whoever leads.
async fn order(
    nodes: &BTreeMap<u64, Node>,
    seeker: &mut Seeker<u64>,
    session: &mut Session,
    number: u64,
) -> Result<(), Failure> {
    let request = session.request(format!("order {number}"));
    let propose = async |id| client(nodes, id)?.propose(&request).await;
    seeker.ask(propose).await?;
    Ok(())
}

fn client(nodes: &BTreeMap<u64, Node>, id: u64) -> Result<&Client<u64>, ClientError<u64>> {
    let node = nodes.get(&id).ok_or(ClientError::Stopped)?;
    Ok(&node.client)
}

/// Waits until all have applied this entry. Their logs are the same.
async fn compare(nodes: &mut BTreeMap<u64, Node>, last: &str) -> Result<usize, Failure> {
    let mut logs = Vec::new();
    for node in nodes.values_mut() {
        let has_it = |log: &Vec<String>| log.iter().any(|text| text == last);
        let log = node.log.wait_for(has_it).await?;
        let up_to_it: Vec<_> = log.split_inclusive(|text| text == last).take(1).collect();
        logs.push(up_to_it.concat());
    }
    assert!(logs.windows(2).all(|two| two[0] == two[1]), "{logs:?}");
    Ok(logs[0].len())
}

async fn story(folder: &Path) -> Result<(), Failure> {
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        let node = start(id, &nodes, folder).await?;
        nodes.insert(id, node);
    }
    let mut seeker = Seeker::new(1..=3).ok_or("there are nodes")?;
    let open = async |id| client(&nodes, id)?.session().await;
    let mut session = seeker.ask(open).await?;
    for number in 1..=100 {
        order(&nodes, &mut seeker, &mut session, number).await?;
    }
    let leader = *seeker.target();
    let len = compare(&mut nodes, "order 100").await?;
    assert_eq!(len, 100, "each once");
    println!("{len} orders are in all three logs; {leader} is killed");

    let killed = nodes.remove(&leader).ok_or("it runs")?;
    killed.task.abort();
    let _ = killed.task.await;
    for number in 101..=200 {
        order(&nodes, &mut seeker, &mut session, number).await?;
    }
    println!("100 orders later {leader} comes back");
    let back = start(leader, &nodes, folder).await?;
    nodes.insert(leader, back);
    let len = compare(&mut nodes, "order 200").await?;
    assert_eq!(len, 200, "each once");
    println!("{len} orders are in all three logs, in the same order");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("streamraft-replicated-{}", std::process::id()));
    let told = story(&folder).await;
    let _ = std::fs::remove_dir_all(&folder);
    told
}
