//! A node among the other things of a loop: messages, commands, and work that only the leader does. Three of them in
//! memory, each in a loop of its own and all in one task. `cargo run --example select`.

use std::time::Duration;

use futures::channel::mpsc;
use futures::{Sink, SinkExt, StreamExt, future};
use streamraft::{Command, Config, Message, MsgRouter, NodeId, Router, TinyRaft};
use tokio::time::{interval, sleep};

type Failure = Box<dyn std::error::Error>;

/// One node, until it is told to stop.
async fn run(
    mut node: TinyRaft,
    mut router: Router<NodeId, impl Sink<Message> + Unpin>,
    mut inbox: mpsc::Receiver<(NodeId, Message)>,
    mut commands: mpsc::Receiver<Command>,
) -> Result<(), Failure> {
    let me = node.node_id().clone();
    let mut tick = interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            item = node.next() => {
                let Some(item) = item else { return Ok(()) };
                if let MsgRouter::ToSelf(state) = &item {
                    let (role, term) = (state.node_type(), state.term());
                    let leader = state.leader().map_or("nobody", NodeId::as_str);
                    let lease = if state.lease().is_some() { ", with a lease" } else { "" };
                    println!("{me} is {role} in term {term}: {leader} leads{lease}");
                }
                let Ok(()) = router.send(item).await; // never waits
            }
            Some((from, message)) = inbox.next() => node.on_receive(from, message),
            Some(command) = commands.next() => {
                if let Err(error) = node.send(command.into()).await {
                    println!("{me} refuses: {error}");
                }
            }
            (peer, _) = router.failed() => println!("{me} has lost {peer}"),
            _ = tick.tick() => {
                // Asked now and not in an `if` of the branch: that is looked at before the wait, and a lease can end
                // while one waits.
                if node.is_leader() {
                    println!("{me} works, with token {}", node.state().term());
                }
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let ids = ["a", "b", "c"];
    let (to_inbox, inboxes): (Vec<_>, Vec<_>) = ids.map(|_| mpsc::channel(8)).into_iter().unzip();
    let (mut orders, commands): (Vec<_>, Vec<_>) =
        ids.map(|_| mpsc::channel(8)).into_iter().unzip();

    let mut nodes = Vec::new();
    for ((id, inbox), commands) in ids.into_iter().zip(inboxes).zip(commands) {
        let node = TinyRaft::new(Config::new(id, ids)?)?;
        let mut router = Router::new();
        for (peer, to_peer) in ids.iter().zip(&to_inbox).filter(|(peer, _)| **peer != id) {
            let me = node.node_id().clone();
            // The sender's name travels along, as a connection would vouch for it.
            let signed = to_peer.clone().with(move |message| {
                future::ready(Ok::<_, mpsc::SendError>((me.clone(), message)))
            });
            router.insert(NodeId::new(peer)?, signed);
        }
        nodes.push(run(node, router, inbox, commands));
    }

    let story = async {
        for (wait, command) in [(1700, Command::Resign), (700, Command::Stop)] {
            sleep(Duration::from_millis(wait)).await;
            println!("-- all are told to {command:?}");
            for order in &mut orders {
                order.send(command.clone()).await?;
            }
        }
        Ok(())
    };
    tokio::try_join!(future::try_join_all(nodes), story)?;
    Ok(())
}
