//! One node driven by hand: whoever it speaks to is made up here.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{Stream, StreamExt};
use streamraft::{
    Config, LogPosition, Message, MessageKind, MsgRouter, NodeState, NodeType, TinyRaft,
};
use tokio::time::advance;

pub(crate) type Node = TinyRaft<u64>;
pub(crate) type Output = MsgRouter<u64>;
pub(crate) type Kind = MessageKind<u64>;

/// Something done to a node, and its name.
pub(crate) type Act = (&'static str, fn(&mut Node));

pub(crate) const ELECTION: Duration = Duration::from_secs(1);
pub(crate) const SPREAD: Duration = Duration::from_millis(300);
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);

/// Node `id` of the nodes 1 to `count`.
pub(crate) fn config(id: u64, count: u64) -> Config<u64> {
    Config::with_id(id, 1..=count)
        .expect("distinct ids, its own among them")
        .election_timeout(ELECTION)
        .random_timeout(SPREAD)
        .heartbeat_interval(HEARTBEAT)
        .seed(id)
}

pub(crate) fn node(id: u64, count: u64) -> Node {
    start(config(id, count))
}

pub(crate) fn start(config: Config<u64>) -> Node {
    TinyRaft::new(config).expect("good settings")
}

/// One poll by a task that does not care to be woken.
pub(crate) fn poll(node: &mut Node) -> Poll<Option<Output>> {
    node.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
}

/// Everything that is ready to come out.
pub(crate) fn drain<S: Stream + Unpin>(stream: &mut S) -> Vec<S::Item> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut items = Vec::new();
    while let Poll::Ready(Some(item)) = stream.poll_next_unpin(&mut cx) {
        items.push(item);
    }
    items
}

/// A message under the membership that the node holds.
pub(crate) fn message(node: &Node, term: u64, kind: Kind) -> Message<u64> {
    Message::new(term, node.state().hard_state().membership().stamp(), kind)
}

/// A message that the node must at least hear without an error.
pub(crate) fn hear(node: &mut Node, from: u64, term: u64, kind: Kind) {
    let message = message(node, term, kind);
    node.on_receive(from, message);
}

/// What a willing peer answers.
pub(crate) fn willing(message: &Message<u64>) -> Option<Message<u64>> {
    let answer = match &message.kind {
        Kind::PreVoteRequest { round, .. } => pre_vote(*round),
        Kind::VoteRequest { .. } => vote(),
        Kind::Ping { round, .. } => pong(*round),
        _ => return None,
    };
    Some(Message::new(message.term, message.stamp, answer))
}

/// Takes out what comes, and answers it with what `answer` says for the peer, until nothing more comes. All that
/// came.
pub(crate) fn serve(
    node: &mut Node,
    answer: impl Fn(u64, &Message<u64>) -> Option<Message<u64>>,
) -> Vec<Output> {
    let mut items = Vec::new();
    while let Poll::Ready(Some(item)) = poll(node) {
        if let MsgRouter::ToNode(to, message) = &item
            && let Some(answer) = answer(*to, message)
        {
            node.on_receive(*to, answer);
        }
        items.push(item);
    }
    items
}

/// Serves the node by willing peers alone until it leads.
pub(crate) async fn crown(node: &mut Node) {
    crown_by(node, |_, message| willing(message)).await;
}

pub(crate) async fn crown_by(
    node: &mut Node,
    answer: impl Fn(u64, &Message<u64>) -> Option<Message<u64>>,
) {
    for _ in 0..300 {
        serve(node, &answer);
        if node.is_leader() {
            return;
        }
        advance(Duration::from_millis(10)).await;
    }
    panic!("nobody objects, yet it does not lead: {node:?}");
}

/// Node 1 of three, which leads with a lease. Nothing waits in it.
pub(crate) async fn leader() -> Node {
    let mut node = start(config(1, 3).bootstrap());
    crown(&mut node).await;
    node
}

/// Node 1 of three, which follows node 2 in term 5. Nothing waits in it.
pub(crate) fn follower() -> Node {
    let mut node = node(1, 3);
    hear(&mut node, 2, 5, ping(0));
    drain(&mut node);
    node
}

/// Node 1 of three, which asks whether it would win. Nothing waits in it.
pub(crate) async fn asking() -> Node {
    let mut node = start(config(1, 3).bootstrap());
    while node.state().node_type() != NodeType::Candidate {
        advance(Duration::from_millis(10)).await;
        drain(&mut node);
    }
    assert_eq!(node.state().term(), 0);
    node
}

/// Node 1 of three, which asks for votes. Nothing waits in it.
pub(crate) async fn candidate() -> Node {
    let mut node = start(config(1, 3).bootstrap());
    let pre_votes = |_, message: &Message<u64>| {
        willing(message).filter(|answer| matches!(answer.kind, Kind::PreVote { .. }))
    };
    while node.state().term() == 0 {
        advance(Duration::from_millis(10)).await;
        serve(&mut node, pre_votes);
    }
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    node
}

pub(crate) fn ping(round: u64) -> Kind {
    Kind::Ping {
        round,
        succession: Some(0),
    }
}

pub(crate) fn pong(round: u64) -> Kind {
    Kind::Pong {
        round,
        position: LogPosition::default(),
        priority: 0,
    }
}

pub(crate) fn pre_vote_request(round: u64) -> Kind {
    Kind::PreVoteRequest {
        round,
        position: LogPosition::default(),
        priority: 0,
    }
}

pub(crate) fn pre_vote(round: u64) -> Kind {
    Kind::PreVote {
        round,
        granted: true,
        leader: None,
    }
}

pub(crate) fn vote_request() -> Kind {
    // With the transfer mark, so that no voter withholds its answer.
    Kind::VoteRequest {
        position: LogPosition::default(),
        transfer: true,
    }
}

pub(crate) fn vote() -> Kind {
    Kind::Vote {
        granted: true,
        leader: None,
    }
}

/// The state, if it is one.
pub(crate) fn shown(item: &Output) -> Option<&NodeState<u64>> {
    match item {
        MsgRouter::ToSelf(state) => Some(state),
        _ => None,
    }
}

/// The receiver and what it is told, if it is a message.
pub(crate) fn sent(item: &Output) -> Option<(u64, &Message<u64>)> {
    match item {
        MsgRouter::ToNode(to, message) => Some((*to, message)),
        _ => None,
    }
}

/// To whom leadership is handed over among these.
pub(crate) fn orders(items: &[Output]) -> Vec<u64> {
    let messages = items.iter().filter_map(sent);
    messages
        .filter(|(_, message)| message.kind == Kind::TimeoutNow)
        .map(|(to, _)| to)
        .collect()
}
