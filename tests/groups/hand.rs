//! One machine by hand, and what it is told.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{Stream, StreamExt};
use streamraft::{
    Config, Elections, Groups, LogPosition, Message, MessageKind, MsgRouter, NodeState,
};

pub(crate) type Machine = Groups<u64, u64>;
pub(crate) type Core = Elections<u64, u64>;
pub(crate) type Output = (u64, MsgRouter<u64>);
pub(crate) type Kind = MessageKind<u64>;

/// Something done to a machine, and its name.
pub(crate) type Act = (&'static str, fn(&mut Machine));

pub(crate) const ELECTION: Duration = Duration::from_secs(1);
pub(crate) const SPREAD: Duration = Duration::from_millis(300);
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
/// How long a lease lasts from the sending of what a quorum answered.
pub(crate) const LEASE: Duration = Duration::from_millis(900);

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Machine `id` of the machines 1 to `count`.
pub(crate) fn config(id: u64, count: u64) -> Config<u64> {
    config_of(id, 1..=count)
}

pub(crate) fn config_of(id: u64, nodes: impl IntoIterator<Item = u64>) -> Config<u64> {
    Config::with_id(id, nodes)
        .expect("distinct ids, its own among them")
        .election_timeout(ELECTION)
        .random_timeout(SPREAD)
        .heartbeat_interval(HEARTBEAT)
}

/// Machine 1, which takes part in no group.
pub(crate) fn empty() -> Machine {
    Groups::new(&config(1, 3)).expect("good settings")
}

/// Machine 1 with these groups, each of which it is alone in and leads at once.
pub(crate) fn alone(keys: impl IntoIterator<Item = u64>) -> Machine {
    let mut machine = empty();
    for key in keys {
        machine.insert(key, config(1, 1)).expect("a new key");
    }
    machine
}

/// Machine 1 with a group 7 of three, in which it follows machine 2 in term 5, and a group 8 of its own, which it leads.
/// Nothing waits in it.
pub(crate) fn busy() -> Machine {
    let mut machine = alone([8]);
    machine.insert(7, config(1, 3)).expect("a new key");
    hear(&mut machine, 7, 2, 5, ping(0));
    drain(&mut machine);
    assert!(machine.is_leader(&8));
    assert_eq!(
        machine.state(&7).and_then(|state| state.leader().copied()),
        Some(2)
    );
    machine
}

/// One poll by a task that does not care to be woken.
pub(crate) fn poll(machine: &mut Machine) -> Poll<Option<Output>> {
    machine.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
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

/// A message under the membership that the machine holds of this group; under the first one if it holds none.
pub(crate) fn message(machine: &Machine, key: u64, term: u64, kind: Kind) -> Message<u64> {
    let state = machine.state(&key);
    let stamp = state.map_or(streamraft::Stamp::new(0, 1), |state| {
        state.hard_state().membership().stamp()
    });
    Message::new(term, stamp, kind)
}

pub(crate) fn hear(machine: &mut Machine, key: u64, from: u64, term: u64, kind: Kind) {
    let message = message(machine, key, term, kind);
    machine.on_receive(&key, from, message);
}

pub(crate) fn ping(round: u64) -> Kind {
    Kind::Ping {
        round,
        succession: Some(0),
    }
}

/// With the transfer mark, so that no voter withholds its answer.
pub(crate) fn vote_request() -> Kind {
    Kind::VoteRequest {
        position: LogPosition::default(),
        transfer: true,
    }
}

/// The state, if it is one.
pub(crate) fn shown(output: &Output) -> Option<(u64, &NodeState<u64>)> {
    match output {
        (key, MsgRouter::ToSelf(state)) => Some((*key, state)),
        _ => None,
    }
}

/// The group, the receiver and what it is told, if it is a message.
pub(crate) fn sent(output: &Output) -> Option<(u64, u64, &Message<u64>)> {
    match output {
        (key, MsgRouter::ToNode(to, message)) => Some((*key, *to, message)),
        _ => None,
    }
}

/// The kind of a message without its fields.
pub(crate) fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::PreVoteRequest { .. } => "PreVoteRequest",
        Kind::PreVote { .. } => "PreVote",
        Kind::VoteRequest { .. } => "VoteRequest",
        Kind::Vote { .. } => "Vote",
        Kind::Ping { .. } => "Ping",
        Kind::Pong { .. } => "Pong",
        Kind::TimeoutNow => "TimeoutNow",
        Kind::Beat(_) => "Beat",
        Kind::BeatAck(_) => "BeatAck",
        Kind::Attach(_) => "Attach",
        Kind::Attached(_) => "Attached",
        _ => "another",
    }
}
