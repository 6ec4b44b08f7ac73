//! One node's TCP connections, for the examples `node` and `cluster`: a value that its owner polls, without a task.
//!
//! A node dials every peer whose address it knows and to which it has no way to send. A connection carries both
//! directions, so a peer that dials need not be known beforehand. If two nodes dial each other at the same time they
//! have two connections: each sends on the newest and hears both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures::{FutureExt, SinkExt, StreamExt};
use streamraft::codec::{CodecError, Hello, MessageCodec, greet};
use streamraft::{Message, MsgRouter, NodeId, Router};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_stream::{StreamMap, StreamNotifyClose};
use tokio_util::codec::Framed;

/// For how long a peer may take to connect and to say who it is.
const GREETING_LIMIT: Duration = Duration::from_secs(2);

/// How many strangers may be about to say who they are. More wait in the system's own queue.
const MOST_GREETINGS: usize = 16;

/// How many connections are heard at once. Ids are claims, so one machine could bring any number of them.
const MOST_CONNECTIONS: usize = 128;

/// The pause before a dial that is not the first. It doubles with every dial, up to the longest, until a connection
/// has held for as long as that: two nodes of one name, say, take a connection from each other again and again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(640);

type Connection = Framed<TcpStream, MessageCodec>;
type Greeted = Result<(NodeId, Connection), CodecError>;

/// Who dialled. A node keeps at most one connection of each kind with a peer: the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    Here,
    There,
}

/// A peer whose address is known.
#[derive(Default)]
struct Peer {
    address: String,
    dialling: bool,
    /// How long to wait before the next dial.
    pause: Duration,
    connected_at: Option<Instant>,
}

/// Nothing happens here unless [`recv`](Self::recv) is awaited.
pub(crate) struct Links {
    hello: Hello,
    listener: TcpListener,
    peers: BTreeMap<NodeId, Peer>,
    dials: FuturesUnordered<BoxFuture<'static, (NodeId, Greeted)>>,
    greetings: FuturesUnordered<BoxFuture<'static, Greeted>>,
    /// One sink a peer: its newest connection, dialled on which side.
    router: Router<NodeId, SplitSink<Connection, Message>>,
    newest: BTreeMap<NodeId, Side>,
    incoming: StreamMap<(NodeId, Side), StreamNotifyClose<SplitStream<Connection>>>,
}

impl Links {
    /// The connections of the node that `hello` names.
    pub(crate) fn new(hello: Hello, listener: TcpListener) -> Self {
        Self {
            hello,
            listener,
            peers: BTreeMap::new(),
            dials: FuturesUnordered::new(),
            greetings: FuturesUnordered::new(),
            router: Router::new(),
            newest: BTreeMap::new(),
            incoming: StreamMap::new(),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Makes an address known, `host:port`. An open connection stays as it is.
    pub(crate) fn learn(&mut self, id: NodeId, address: String) {
        self.peers.entry(id).or_default().address = address;
    }

    /// Sends what came out of the node. Never waits: see [`Router`].
    pub(crate) async fn send(&mut self, item: MsgRouter) {
        let Ok(()) = self.router.send(item).await;
    }

    /// Waits for the next message, and meanwhile moves everything else on: sends, dials, accepts, replaces what
    /// breaks. Cancel safe: all that is under way is kept here.
    pub(crate) async fn recv(&mut self) -> (NodeId, Message) {
        loop {
            self.dial_missing();
            let room =
                self.greetings.len() < MOST_GREETINGS && self.incoming.len() < MOST_CONNECTIONS;
            tokio::select! {
                socket = accept(&self.listener), if room => {
                    let hello = self.hello.clone();
                    self.greetings.push(async move { meet(socket, &hello).await }.boxed());
                }
                Some(greeted) = self.greetings.next() => match greeted {
                    Ok((peer, connection)) => self.connect(peer, Side::There, connection),
                    Err(error) => tracing::warn!("refused a connection: {error}"),
                },
                Some((peer, greeted)) = self.dials.next() => self.dialled(peer, greeted),
                Some(((peer, side), item)) = self.incoming.next() => match item {
                    Some(Ok(message)) => return (peer, message),
                    Some(Err(error)) => self.disconnect(peer, side, &error.to_string()),
                    None => self.disconnect(peer, side, "closed by the peer"),
                },
                (peer, error) = self.router.failed() => {
                    if let Some(side) = self.newest.get(&peer).copied() {
                        self.disconnect(peer, side, &error.to_string());
                    }
                }
            }
        }
    }

    /// Lets go of what waits and closes every connection. A peer that does not read is not waited for.
    pub(crate) async fn close(&mut self) {
        if timeout(GREETING_LIMIT, self.router.close()).await.is_err() {
            tracing::warn!("a peer did not take the last messages in time");
        }
    }

    fn dial_missing(&mut self) {
        for (id, peer) in &mut self.peers {
            if peer.dialling || self.router.contains(id) {
                continue;
            }
            peer.dialling = true;
            let connected_at = peer.connected_at.take();
            if connected_at.is_some_and(|at| at.elapsed() > LONGEST_PAUSE) {
                peer.pause = Duration::ZERO;
            }
            let dial = dial(
                self.hello.clone(),
                id.clone(),
                peer.address.clone(),
                peer.pause,
            );
            self.dials.push(dial.boxed());
        }
    }

    fn dialled(&mut self, id: NodeId, greeted: Greeted) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.dialling = false;
        let pause = peer.pause;
        peer.pause = (pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let address = &peer.address;
        let reason = match greeted {
            Ok((found, connection)) if found == id => {
                return self.connect(id, Side::Here, connection);
            }
            Ok((found, _)) => format!("{found} answers there"),
            Err(error) => error.to_string(),
        };
        // Once for each silence: a peer that is down stays so for many dials.
        if pause.is_zero() {
            tracing::info!("cannot reach {id} at {address} (dialling on): {reason}");
        }
    }

    fn connect(&mut self, peer: NodeId, side: Side, connection: Connection) {
        tracing::debug!("connected with {peer}");
        if let Some(known) = self.peers.get_mut(&peer) {
            known.connected_at = Some(Instant::now());
        }
        let (sink, stream) = connection.split();
        self.router.insert(peer.clone(), sink);
        self.newest.insert(peer.clone(), side);
        self.incoming
            .insert((peer, side), StreamNotifyClose::new(stream));
    }

    fn disconnect(&mut self, peer: NodeId, side: Side, reason: &str) {
        if self.newest.get(&peer) == Some(&side) {
            tracing::info!("lost the connection with {peer}: {reason}");
            self.newest.remove(&peer);
            self.router.remove(&peer);
        } else {
            tracing::debug!("lost a spare connection with {peer}: {reason}");
        }
        self.incoming.remove(&(peer, side));
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return socket,
            // Most likely out of file descriptors, which asking again at once would not mend.
            Err(error) => {
                tracing::warn!("cannot accept: {error}");
                sleep(LONGEST_PAUSE).await;
            }
        }
    }
}

async fn dial(hello: Hello, id: NodeId, address: String, pause: Duration) -> (NodeId, Greeted) {
    sleep(pause).await;
    let greeted = async { meet(TcpStream::connect(address).await?, &hello).await };
    let greeted = timeout(GREETING_LIMIT, greeted).await;
    (id, greeted.unwrap_or_else(|_| Err(too_slow())))
}

async fn meet(socket: TcpStream, hello: &Hello) -> Greeted {
    // Heartbeats are small and must not wait to be sent together.
    socket.set_nodelay(true)?;
    let greeted = timeout(GREETING_LIMIT, greet(socket, hello)).await;
    greeted.unwrap_or_else(|_| Err(too_slow()))
}

fn too_slow() -> CodecError {
    std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "the peer did not say who it is in time",
    )
    .into()
}
