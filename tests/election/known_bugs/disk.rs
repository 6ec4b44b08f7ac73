//! What a disk may do.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use streamraft::{
    Command, Durable, Inbound, MemoryStore, Message, MessageKind, MsgRouter, NodeType, TinyRaft,
};

use crate::one::{ELECTION_TIMEOUT, config, is_ping, pong, pre_vote, vote};

type Node = Durable<TinyRaft<u64>, MemoryStore<u64>>;

/// All that comes out of it now.
fn drain(node: &mut Node) -> Vec<MsgRouter<u64>> {
    let mut node = pin!(node);
    let mut cx = Context::from_waker(Waker::noop());
    let mut said = Vec::new();
    while let Poll::Ready(Some(item)) = node.as_mut().poll_next(&mut cx) {
        said.push(item.expect("the disk does not fail"));
    }
    said
}

fn pings(said: &[MsgRouter<u64>]) -> usize {
    let is_ping = |item: &&MsgRouter<u64>| matches!(item, MsgRouter::ToNode(_, message) if is_ping(&message.kind));
    said.iter().filter(is_ping).count()
}

/// Node 2 says this, under the membership that node 1 has.
fn hear(node: &mut Node, term: u64, kind: MessageKind<u64>) -> Vec<MsgRouter<u64>> {
    let stamp = node.state().hard_state().membership().stamp();
    let inner = node.get_mut();
    inner.on_receive(2, Message::new(term, stamp, kind));
    drain(node)
}

/// hashicorp/raft#503, #683: the leader's disk hung. Its heartbeats went on, so that nobody took over. Here it says
/// nothing more, and when the disk is back it knows that its time is over.
#[tokio::test(start_paused = true)]
async fn hashicorp_raft_503_a_leader_whose_disk_hangs_sends_no_heartbeat() {
    let disk = MemoryStore::new();
    let mut node = TinyRaft::new(config(1, 3).bootstrap())
        .expect("good settings")
        .durable(disk.clone());
    drain(&mut node);
    tokio::time::advance(Duration::from_millis(100)).await;
    let round = drain(&mut node).iter().find_map(|item| match item {
        MsgRouter::ToNode(_, message) => match message.kind {
            MessageKind::PreVoteRequest { round, .. } => Some(round),
            _ => None,
        },
        _ => None,
    });
    hear(&mut node, 0, pre_vote(round.expect("it asks"), true));
    let said = hear(&mut node, 1, vote(true));
    assert_eq!(pings(&said), 2, "it leads");
    hear(&mut node, 1, pong(0));
    assert!(node.get_ref().is_leader());

    disk.stall();
    let command = Inbound::FromSelf(Command::SetNodes(vec![1, 2]));
    futures::Sink::start_send(pin!(&mut node), command).expect("a good list");
    for _ in 0..20 {
        assert_eq!(drain(&mut node), [], "there is a membership to save");
        tokio::time::advance(ELECTION_TIMEOUT / 10).await;
    }
    assert!(
        !node.get_ref().is_leader(),
        "its lease has run out meanwhile"
    );

    disk.recover();
    let said = drain(&mut node);
    assert_eq!(pings(&said), 0, "{said:?}");
    let last = said.iter().rev().find_map(|item| match item {
        MsgRouter::ToSelf(state) => Some(state.node_type()),
        _ => None,
    });
    assert_eq!(last, Some(NodeType::Follower));
}
