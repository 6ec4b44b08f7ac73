//! Two nodes over one socket, by `forward` alone: what leaves a node goes into the socket, what comes out of the
//! socket goes into the node. `cargo run --example forward`.

use futures::channel::mpsc;
use futures::{SinkExt, StreamExt, TryStreamExt, stream};
use streamraft::codec::{Hello, greet};
use streamraft::{Command, Config, Inbound, MsgRouter, NodeId, TinyRaft, lossy};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

type Failure = Box<dyn std::error::Error>;

/// One node, for as long as the socket works.
async fn run(
    me: &str,
    socket: impl AsyncRead + AsyncWrite + Unpin,
    commands: mpsc::Receiver<Command>,
    leader: watch::Sender<Option<NodeId>>,
) -> Result<(), Failure> {
    let node = TinyRaft::new(Config::new(me, ["a", "b"])?)?;
    let hello = Hello::new("", node.node_id().clone());
    let (peer, connection) = greet(socket, &hello).await?;
    let (to_peer, from_peer) = connection.split();
    let (to_node, from_node) = node.split();

    let outgoing = from_node
        .inspect(|item| {
            if let MsgRouter::ToSelf(state) = item {
                println!("{me} is {} in term {}", state.node_type(), state.term());
                leader.send_replace(state.leader().cloned());
            }
        })
        .map(Ok)
        // A node that had to wait for a full socket would miss its own timeouts.
        .forward(lossy(to_peer));

    let messages = from_peer
        .map_ok(|message| Inbound::FromNode(peer.clone(), message))
        .err_into::<Failure>();
    let commands = commands.map(|command| Ok(command.into()));
    let incoming = stream::select(messages, commands).forward(to_node.sink_err_into());

    tokio::select! {
        done = outgoing => Ok(done?),
        done = incoming => done,
    }
}

/// Waits for a leader other than the old one.
async fn another(
    leader: &mut watch::Receiver<Option<NodeId>>,
    old: Option<&NodeId>,
) -> Result<NodeId, Failure> {
    let is_another = |it: &Option<NodeId>| it.is_some() && it.as_ref() != old;
    let found = leader.wait_for(is_another).await?;
    found.clone().ok_or_else(|| "nobody leads".into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let (socket_a, socket_b) = tokio::io::duplex(64); // TCP does as well
    let (mut to_a, commands_a) = mpsc::channel(1);
    let (mut to_b, commands_b) = mpsc::channel(1);
    let (seen_by_a, mut leader_at_a) = watch::channel(None);
    let (seen_by_b, mut leader_at_b) = watch::channel(None);

    let story = async {
        let first = another(&mut leader_at_a, None).await?;
        let same = another(&mut leader_at_b, None).await?;
        println!("a follows {first}, b follows {same}; the leader resigns");
        let to_leader = if first == "a" { &mut to_a } else { &mut to_b };
        to_leader.send(Command::Resign).await?;
        let second = another(&mut leader_at_a, Some(&first)).await?;
        let same = another(&mut leader_at_b, Some(&first)).await?;
        println!("a follows {second}, b follows {same}");
        Ok(())
    };
    tokio::select! {
        told = story => told,
        ended = run("a", socket_a, commands_a, seen_by_a) => ended,
        ended = run("b", socket_b, commands_b, seen_by_b) => ended,
    }
}
