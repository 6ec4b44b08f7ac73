//! Three nodes over `WebSocket`s, which pass through proxies and share a port with a web service.
//! `cargo run --example websocket`.
//!
//! - One connection a peer, one binary message for each of a node's. The first says who speaks, and for which cluster:
//!   a `Hello`, which is a claim. Let the web server authenticate the request, or use TLS with client certificates.
//! - A ping now and then keeps proxies from closing what is idle, and shows a connection that is dead: two followers
//!   have nothing to say to each other.
//! - No task: a connection is a stream that writes while it is read.

#[path = "transports/bytes.rs"]
mod bytes;
#[path = "transports/peers.rs"]
mod peers;
#[path = "transports/story.rs"]
mod story;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use ::bytes::{Bytes, BytesMut};
use futures::channel::mpsc;
use futures::{FutureExt, SinkExt, StreamExt, TryStreamExt, stream};
use streamraft::NodeId;
use streamraft::codec::{CodecError, Hello, HelloCodec};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, sleep, timeout};
use tokio_stream::wrappers::IntervalStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};
use tokio_util::codec::{Decoder, Encoder};

use peers::{Connection, Dial, GREETING_LIMIT, Greeted, MOST_GREETINGS, Peers};
use story::{CLUSTER, Failure, Story, exit_code, nodes};

/// What a `WebSocket` goes over: TCP here, TLS or what a web server hands over as well.
trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// How often a ping is sent, and how much silence is taken for the end.
const PING: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(3);

/// Without limits a peer could have this node keep 64 MiB, and one that does not read any amount.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * bytes::LIMIT)
        .max_message_size(Some(bytes::LIMIT))
        .max_frame_size(Some(bytes::LIMIT))
}

async fn dial(address: SocketAddr, hello: Hello) -> Greeted {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let url = format!("ws://{address}/raft");
    let (socket, _) = client_async_with_config(url, socket, Some(limits())).await?;
    greet(socket, hello).await
}

async fn accept(socket: TcpStream, hello: Hello) -> Greeted {
    socket.set_nodelay(true)?;
    greet(
        accept_async_with_config(socket, Some(limits())).await?,
        hello,
    )
    .await
}

/// Says who this node is and hears who the peer is.
async fn greet(mut socket: WebSocketStream<impl Io>, mine: Hello) -> Greeted {
    let mut bytes = BytesMut::new();
    HelloCodec::new().encode(mine.clone(), &mut bytes)?;
    socket.send(Frame::Binary(bytes.freeze())).await?;
    let first = socket.next().await.ok_or("closed without a word")??;
    let mut bytes = BytesMut::from(first.into_data());
    let hello: Option<Hello> = HelloCodec::new().decode_eof(&mut bytes)?;
    let hello = hello.ok_or("closed without a word")?;
    if hello.cluster != mine.cluster {
        let (found, expected) = (hello.cluster, mine.cluster);
        return Err(CodecError::ForeignCluster { found, expected }.into());
    }
    Ok(connection(hello.node_id, socket))
}

fn connection(peer: NodeId, socket: WebSocketStream<impl Io>) -> Connection {
    let (to_socket, from_socket) = socket.split();

    let (to_peer, messages) = mpsc::channel(0);
    let pings = IntervalStream::new(interval(PING)).map(|_| Frame::Ping(Bytes::new()));
    let writing = stream::select(messages, pings).map(Ok).forward(to_socket);
    let to_peer = to_peer
        .sink_err_into::<Failure>()
        .with(async |message| Ok(Frame::Binary(bytes::encode(message)?)));

    let reading = tokio_stream::StreamExt::timeout(from_socket, SILENCE)
        .map(|frame| Ok(frame.map_err(|_| format!("silent for {SILENCE:?}"))??))
        .try_filter_map(async |frame| match frame {
            Frame::Binary(bytes) => Ok(bytes::decode(bytes)?),
            Frame::Close(why) => Err(format!("closed: {why:?}").into()),
            _ => Ok(None), // tungstenite answers pings itself
        });
    let written = writing.into_stream();
    let from_peer = stream::select(
        reading,
        written.map(|end| Err(end.err().map_or("closed".into(), Failure::from))),
    );
    Connection {
        peer,
        to_peer: Box::pin(to_peer),
        from_peer: from_peer.boxed(),
    }
}

/// Everything that comes in at a listener: at most so many at once that have not said who they are.
fn accepted(listener: TcpListener, hello: Hello) -> impl futures::Stream<Item = Greeted> + Send {
    let sockets = stream::unfold(listener, async |listener| {
        let socket = listener.accept().await;
        if socket.is_err() {
            sleep(PING).await; // out of file descriptors, say: asking again at once would not mend that
        }
        Some((socket, listener))
    });
    sockets
        .map(move |socket| {
            let hello = hello.clone();
            async move {
                let (socket, _) = socket?;
                timeout(GREETING_LIMIT, accept(socket, hello)).await?
            }
        })
        .buffer_unordered(MOST_GREETINGS)
}

async fn run() -> Result<(), Failure> {
    let (mut listeners, mut addresses) = (BTreeMap::new(), BTreeMap::new());
    for id in nodes()? {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.insert(id.clone(), listener.local_addr()?);
        listeners.insert(id, listener);
    }
    let at = addresses.clone();
    let mut story = Story::new(async |me: &NodeId| {
        let hello = Hello::new(CLUSTER, me.clone());
        let listener = match listeners.remove(me) {
            Some(first) => first,
            None => TcpListener::bind(at[me]).await?,
        };
        let (addresses, mine) = (at.clone(), hello.clone());
        let dial: Dial = Box::new(move |peer| dial(addresses[&peer], mine.clone()).boxed());
        let peers = at.keys().cloned();
        Ok(Peers::new(
            me,
            peers,
            dial,
            accepted(listener, hello).boxed(),
        ))
    });

    story.tell().await?;

    let mistaken = Hello::new("bills", NodeId::new("a")?);
    let [_, b, _] = nodes()?;
    let refused = async {
        match dial(addresses[&b], mistaken).await {
            Ok(_) => Err("it was let in".into()),
            Err(refusal) => Ok(format!("it learns: {refusal}")),
        }
    };
    let what = "a node of another cluster dials b by mistake";
    story.meanwhile(what, refused).await?;
    story.summary();
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit_code("websocket", run().await)
}

#[cfg(test)]
#[path = "transports/websocket_tests.rs"]
mod tests;
