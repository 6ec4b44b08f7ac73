//! What a node says of itself as a stream, and to whoever prints it.

use futures::{Stream, StreamExt};
use streamraft::{MsgRouter, NodeType};

use crate::hand::{config, node};

#[tokio::test(start_paused = true)]
async fn a_stream_says_that_it_is_over_only_when_it_is() {
    let mut node = node(1, 1);
    assert_eq!(node.size_hint(), (0, None));
    let Some(MsgRouter::ToSelf(state)) = node.next().await else {
        panic!("a cluster of one leads at once");
    };
    assert_eq!(state.node_type(), NodeType::Leader);
    node.stop();
    assert_eq!(
        node.size_hint(),
        (0, None),
        "it has yet to say that it stopped"
    );
    while node.next().await.is_some() {}
    assert_eq!(node.size_hint(), (0, Some(0)));
}

#[test]
fn a_node_is_printed_with_its_id_and_its_state() {
    let node = streamraft::TinyRaft::new(config(42, 42)).expect("good settings");
    let text = format!("{node:?}");
    assert!(text.contains("42") && text.contains("Follower"), "{text}");
}
