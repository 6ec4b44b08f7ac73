//! Connections in memory, on virtual time.

use streamraft::{MessageKind, Stamp};
use tokio::io::{DuplexStream, duplex};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

fn message() -> streamraft::Message {
    streamraft::Message::new(7, Stamp::new(7, 1), MessageKind::TimeoutNow)
}

async fn sockets() -> (WebSocketStream<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (here, there) = duplex(1024);
    tokio::join!(
        WebSocketStream::from_raw_socket(here, Role::Client, Some(limits())),
        WebSocketStream::from_raw_socket(there, Role::Server, Some(limits())),
    )
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn text(item: Option<Result<streamraft::Message, Failure>>) -> String {
    item.unwrap().unwrap_err().to_string()
}

#[tokio::test(start_paused = true)]
async fn two_that_have_nothing_to_say_stay_connected_and_one_that_is_gone_is_noticed() {
    let (here, there) = sockets().await;
    let (mut here, mut there) = (connection(id("b"), here), connection(id("a"), there));
    let both = futures::future::select(here.from_peer.next(), there.from_peer.next());
    assert!(timeout(SILENCE * 20, both).await.is_err());

    // Its socket stays open, but nobody is there.
    let lost = timeout(SILENCE * 2, here.from_peer.next()).await.unwrap();
    assert_eq!(text(lost), "silent for 3s");
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_and_what_is_none_ends_the_connection() {
    let (here, mut stranger) = sockets().await;
    let mut here = connection(id("b"), here);
    let heard = async {
        loop {
            if let Frame::Binary(bytes) = stranger.next().await.unwrap().unwrap() {
                break bytes::decode(bytes).unwrap();
            }
        }
    };
    // Sends as it is read.
    let heard = tokio::select! {
        (sent, heard) = futures::future::join(here.to_peer.send(message()), heard) => {
            sent.unwrap();
            heard
        }
        item = here.from_peer.next() => panic!("{item:?}"),
    };
    assert_eq!(heard, Some(message()));

    let mut two = bytes::encode(message()).unwrap().to_vec();
    stranger
        .send(Frame::Binary(two.clone().into()))
        .await
        .unwrap();
    assert_eq!(here.from_peer.next().await.unwrap().unwrap(), message());
    two.extend_from_within(..);
    stranger.send(Frame::Binary(two.into())).await.unwrap();
    let why = text(here.from_peer.next().await);
    assert!(why.contains("bytes behind the message"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_too_long_is_not_kept() {
    let (here, stranger) = sockets().await;
    let mut here = connection(id("b"), here);
    let mut stranger = stranger.into_inner();
    // The head of a binary frame of 1 MiB, unmasked as a server's is.
    let head = [&[0x82, 127][..], &(1_u64 << 20).to_be_bytes()].concat();
    tokio::io::AsyncWriteExt::write_all(&mut stranger, &head)
        .await
        .unwrap();
    let why = text(here.from_peer.next().await);
    assert!(why.contains("too long"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_lost_and_holds_nobody_up() {
    let (here, _there) = sockets().await;
    let mut here = connection(id("b"), here);
    let mut sent = 0;
    let lost = loop {
        tokio::select! {
            biased;
            item = here.from_peer.next() => break item,
            done = here.to_peer.send(message()) => done.unwrap(),
        }
        sent += 1;
    };
    assert_eq!(text(lost), "silent for 3s");
    assert!((2..1000).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_hello_of_this_cluster_gives_the_peers_name() {
    let (here, there) = sockets().await;
    let (here, there) = tokio::join!(
        greet(here, Hello::new(CLUSTER, id("a"))),
        greet(there, Hello::new(CLUSTER, id("b")))
    );
    assert_eq!(
        (here.ok().unwrap().peer, there.ok().unwrap().peer),
        (id("b"), id("a"))
    );
}

/// A connection that says one thing and then nothing more.
fn in_memory(name: &str) -> Greeted {
    Ok(Connection {
        peer: id(name),
        to_peer: Box::pin(futures::sink::drain().sink_map_err(|never| match never {})),
        from_peer: stream::iter([Ok(message())])
            .chain(stream::pending())
            .boxed(),
    })
}

#[tokio::test(start_paused = true)]
async fn who_is_not_awaited_or_answers_for_another_does_not_get_in() {
    // Of `b` and its peers, `a` dials and `c` is dialled.
    let accepted = stream::iter(["c", "stranger", "b", "a"].map(in_memory));
    let dial: Dial = Box::new(|_| async { in_memory("stranger") }.boxed());
    let peers = ["a", "b", "c"].map(id);
    let peers = Peers::new(
        &id("b"),
        peers,
        dial,
        accepted.chain(stream::pending()).boxed(),
    );
    let mut told: Vec<_> = peers
        .take(5)
        .map(|item| match item {
            Ok((from, _)) => format!("{from} was heard"),
            Err(refusal) => refusal.to_string(),
        })
        .collect()
        .await;
    told.sort();
    let no_peer = |name| format!("refused a connection: {name} is no peer that dials this node");
    let expected = [
        "a was heard".to_owned(),
        "cannot reach c (dialling on): stranger answers there".to_owned(),
        no_peer("b"),
        no_peer("c"),
        no_peer("stranger"),
    ];
    assert_eq!(told, expected);
}
