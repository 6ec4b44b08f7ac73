//! What a node and its parts can be used for, as the compiler sees it.

use std::hash::Hash;

use futures::stream::FusedStream;
use futures::{Sink, Stream};
use streamraft::{
    ClusterTag, Command, Config, ConfigError, Election, Error, HardState, Inbound, LogPosition,
    Membership, Message, MessageKind, MsgRouter, NodeId, NodeIdError, NodeState, NodeType, Stamp,
    Stats, TinyRaft,
};

use crate::hand::{config, node};

const fn movable<T: Send + Unpin + 'static>() {}
const fn shareable<T: Send + Sync + Unpin + 'static>() {}
const fn value<T: Clone + Eq + Hash + Send + Sync + Unpin + 'static>() {}
const fn error<T: std::error::Error + Clone + PartialEq + Send + Sync + 'static>() {}

fn a_stream_and_a_sink<T>(_: &T)
where
    T: Stream<Item = MsgRouter<u64>> + FusedStream + Sink<Inbound<u64>, Error = Error>,
{
}

#[test]
fn a_node_moves_between_threads_and_is_never_pinned() {
    movable::<TinyRaft>();
    movable::<TinyRaft<NodeId>>();
    movable::<TinyRaft<u64>>();
    movable::<TinyRaft<std::net::SocketAddr>>();
    movable::<TinyRaft<String>>();
    // Behind a lock of the user's own.
    shareable::<TinyRaft>();
    shareable::<std::sync::Mutex<TinyRaft>>();
}

#[test]
fn the_core_is_a_value() {
    value::<Election>();
    value::<Election<u64>>();
}

#[test]
fn what_goes_in_and_comes_out_is_plain_data() {
    value::<MsgRouter>();
    value::<Inbound>();
    value::<Command>();
    value::<Message>();
    value::<MessageKind>();
    value::<NodeState>();
    value::<HardState>();
    value::<Membership<u64>>();
    value::<NodeId>();
    value::<NodeType>();
    value::<Stamp>();
    value::<LogPosition>();
    value::<ClusterTag>();
    value::<Stats>();
    shareable::<Config>();
    error::<Error>();
    error::<ConfigError>();
    error::<NodeIdError>();
}

#[test]
fn a_node_is_a_fused_stream_and_a_sink() {
    a_stream_and_a_sink(&node(1, 3));
}

#[test]
fn an_equal_history_makes_an_equal_core() {
    let now = std::time::Instant::now();
    let make = || Election::new(config(1, 3), now).expect("good settings");
    let (mut one, mut two) = (make(), make());
    assert_eq!(one, two);
    one.handle_timeout(now + std::time::Duration::from_secs(9));
    assert_ne!(one, two);
    two.handle_timeout(now + std::time::Duration::from_secs(9));
    assert_eq!(one, two);
    let copy = one.clone();
    while one.poll_output().is_some() {}
    assert_ne!(one, copy, "what waits to come out is part of it");
}
