//! Groups over a transport: one that is stuck, that fails, that ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::FusedStream;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use streamraft::{Command, Error, Groups, GroupsOver, Message, NodeState, NodeType, OverError};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::hand::{ELECTION, config};

type Letter = (u64, (u64, Message<u64>));

/// What one machine's transport does.
struct Port {
    inbox: mpsc::Receiver<Result<Letter, &'static str>>,
    sent: mpsc::Sender<Letter>,
    is_stuck: bool,
    /// The next message cannot be sent.
    fails: bool,
}

impl Stream for Port {
    type Item = Result<Letter, &'static str>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inbox.poll_recv(cx)
    }
}

impl Sink<Letter> for Port {
    type Error = &'static str;

    fn poll_ready(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.is_stuck {
            return Poll::Pending;
        }
        Poll::Ready(if std::mem::take(&mut self.fails) {
            Err("no way out")
        } else {
            Ok(())
        })
    }

    fn start_send(self: Pin<&mut Self>, letter: Letter) -> Result<(), Self::Error> {
        // What nobody takes is lost.
        let _ = self.sent.try_send(letter);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
}

type Over = GroupsOver<u64, u64, Port>;
type Inbox = mpsc::Sender<Result<Letter, &'static str>>;

/// Machine 1, which is alone in group 0 and shares group 1 with two others.
fn machine() -> (Over, Inbox, mpsc::Receiver<Letter>) {
    let (inbox_sender, inbox) = mpsc::channel(64);
    let (sent, letters) = mpsc::channel(64);
    let mut groups = Groups::new(&config(1, 3)).unwrap();
    let alone = config(1, 1);
    groups.insert(0, alone).unwrap();
    groups.insert(1, config(1, 3)).unwrap();
    let port = Port {
        inbox,
        sent,
        is_stuck: false,
        fails: false,
    };
    (groups.over(port), inbox_sender, letters)
}

async fn next(over: &mut Over) -> Option<Result<(u64, NodeState<u64>), String>> {
    let item = timeout(10 * ELECTION, over.next()).await;
    let item = item.expect("it says something within ten election timeouts");
    item.map(|item| item.map_err(|error| error.to_string()))
}

/// The first state of this group that shows it like this.
async fn shows(over: &mut Over, group: u64, node_type: NodeType) {
    loop {
        let (key, state) = next(over).await.expect("it goes on").expect("no error");
        if (key, state.node_type()) == (group, node_type) {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn states_come_out_commands_go_in_and_messages_leave() {
    let (mut over, _inbox, mut letters) = machine();
    shows(&mut over, 0, NodeType::Leader).await;
    shows(&mut over, 1, NodeType::Candidate).await;
    let _ = over.next().now_or_never();
    let (to, (group, _)) = letters.try_recv().expect("it has asked for votes");
    assert_eq!((to, group), (2, 1));
    over.send((0, Command::Resign)).await.unwrap();
    shows(&mut over, 0, NodeType::Follower).await;
    let stranger = over.send((9, Command::Resign)).await;
    assert!(
        matches!(stranger, Err(Error::UnknownGroup { .. })),
        "{stranger:?}"
    );
    over.close().await.unwrap();
    while next(&mut over).await.is_some() {}
    assert!(over.is_terminated());
    assert_eq!(over.send((0, Command::Resign)).await, Err(Error::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_stuck_transport_stops_neither_timers_nor_states() {
    let (mut over, _inbox, mut letters) = machine();
    over.transport_mut().is_stuck = true;
    shows(&mut over, 0, NodeType::Leader).await;
    shows(&mut over, 1, NodeType::Candidate).await;
    over.get_mut().transfer(&0, 1).unwrap_err();
    assert!(letters.try_recv().is_err());
    over.transport_mut().is_stuck = false;
    let _ = timeout(2 * ELECTION, over.next()).await;
    assert!(
        letters.try_recv().is_ok(),
        "what still matters is sent then"
    );
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_transport_are_items_and_the_stream_goes_on() {
    let (mut over, inbox, _letters) = machine();
    inbox.send(Err("no way in")).await.unwrap();
    let mut errors = Vec::new();
    while errors.is_empty() {
        errors.extend(next(&mut over).await.unwrap().err());
    }
    over.transport_mut().fails = true;
    while errors.len() < 2 {
        errors.extend(next(&mut over).await.unwrap().err());
    }
    assert_eq!(
        errors,
        [
            "transport, receiving: no way in",
            "transport, sending: no way out"
        ]
    );
    let _ = timeout(2 * ELECTION, over.next()).await;
    assert!(!over.is_terminated());
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_ends_stops_the_groups_and_then_the_stream_ends() {
    let (mut over, inbox, _letters) = machine();
    shows(&mut over, 0, NodeType::Leader).await;
    drop(inbox);
    let mut items = Vec::new();
    while let Some(item) = timeout(10 * ELECTION, over.next()).await.expect("it ends") {
        items.push(item);
    }
    assert!(items.contains(&Err(OverError::Ended)));
    let resigned = |item: &Result<(u64, NodeState<u64>), _>| matches!(item, Ok((0, state)) if state.node_type() == NodeType::Follower);
    assert!(items.iter().any(resigned), "its leadership is over first");
    assert!(over.is_terminated());
}
