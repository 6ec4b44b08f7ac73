//! A transport of connections, whatever they are made of: for the examples `websocket` and `quic`.
//!
//! Of two nodes the one with the smaller id dials and the other accepts, so there is one connection with each peer
//! and never a duel of two. [`Peers`] dials again what breaks. It is polled by its owner and has no task.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, Sink, Stream, StreamExt};
use streamraft::{Message, MsgRouter, NodeId, Router};
use tokio::time::{sleep, timeout};
use tokio_stream::{StreamMap, StreamNotifyClose};

use crate::story::Failure;

/// For how long a peer may take to connect and to say who it is.
pub(crate) const GREETING_LIMIT: Duration = Duration::from_secs(2);

/// How many of those who connect may be about to say who they are.
pub(crate) const MOST_GREETINGS: usize = 16;

/// The pause before a dial that is not the first. It doubles, until a connection has held for as long as the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(640);

/// A connection with a peer that has said, or proved, who it is. When one half fails, both are dropped.
pub(crate) struct Connection {
    pub(crate) peer: NodeId,
    pub(crate) to_peer: ToPeer,
    pub(crate) from_peer: FromPeer,
}

pub(crate) type ToPeer = Pin<Box<dyn Sink<Message, Error = Failure> + Send>>;
pub(crate) type FromPeer = BoxStream<'static, Result<Message, Failure>>;
pub(crate) type Greeted = Result<Connection, Failure>;

/// Makes a connection with a peer, however long that takes.
pub(crate) type Dial = Box<dyn Fn(NodeId) -> BoxFuture<'static, Greeted> + Send>;

/// What is remembered of a peer.
#[derive(Default)]
struct Peer {
    dialled_here: bool,
    pause: Duration,
    connected_at: Option<Instant>,
}

/// One node's connections.
pub(crate) struct Peers {
    peers: BTreeMap<NodeId, Peer>,
    dial: Dial,
    dials: FuturesUnordered<BoxFuture<'static, (NodeId, Greeted)>>,
    accepted: BoxStream<'static, Greeted>,
    /// A socket that is full costs its own peer only.
    to_peers: Router<NodeId, ToPeer>,
    from_peers: StreamMap<NodeId, StreamNotifyClose<FromPeer>>,
}

impl Peers {
    /// The connections of `me` with these peers. `accepted` are those that others make.
    pub(crate) fn new(
        me: &NodeId,
        peers: impl IntoIterator<Item = NodeId>,
        dial: Dial,
        accepted: BoxStream<'static, Greeted>,
    ) -> Self {
        let peers = peers.into_iter().filter(|id| id != me);
        let peers = peers.map(|id| {
            let peer = Peer {
                dialled_here: *me < id,
                ..Peer::default()
            };
            (id, peer)
        });
        let mut it = Self {
            peers: peers.collect(),
            dial,
            dials: FuturesUnordered::new(),
            accepted,
            to_peers: Router::new(),
            from_peers: StreamMap::new(),
        };
        for id in it.peers.keys().cloned().collect::<Vec<_>>() {
            it.redial(id);
        }
        it
    }

    /// Dials after a pause, if that is for this side to do.
    fn redial(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.dialled_here) else {
            return;
        };
        let held = peer.connected_at.take().map(|at| at.elapsed());
        // What broke at once counts as one more failure: two nodes of one name take a connection from each other.
        if held.is_some_and(|held| held > LONGEST_PAUSE) {
            peer.pause = Duration::ZERO;
        }
        let pause = peer.pause;
        peer.pause = (pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let dialled = (self.dial)(id.clone());
        let dial = async move {
            sleep(pause).await;
            let greeted = timeout(GREETING_LIMIT, dialled).await;
            (id, greeted.unwrap_or_else(|late| Err(late.into())))
        };
        self.dials.push(dial.boxed());
    }

    /// A newer connection takes the place of an older one: who dials again has lost that.
    fn connected(&mut self, connection: Connection) {
        let Connection {
            peer: id,
            to_peer,
            from_peer,
        } = connection;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.connected_at = Some(Instant::now());
        }
        self.to_peers.insert(id.clone(), to_peer);
        self.from_peers
            .insert(id, StreamNotifyClose::new(from_peer));
    }

    fn lost(&mut self, id: NodeId, why: &Failure) -> Failure {
        self.to_peers.remove(&id);
        self.from_peers.remove(&id);
        let error = format!("lost {id}: {why}").into();
        self.redial(id);
        error
    }

    fn dialled(&mut self, id: NodeId, greeted: Greeted) -> Result<(), Failure> {
        let error = match greeted {
            Ok(connection) if connection.peer == id => {
                self.connected(connection);
                return Ok(());
            }
            Ok(connection) => format!("{} answers there", connection.peer).into(),
            Err(error) => error,
        };
        let first = self
            .peers
            .get(&id)
            .is_some_and(|peer| peer.pause <= SHORTEST_PAUSE);
        let told = format!("cannot reach {id} (dialling on): {error}");
        self.redial(id);
        // Once for each silence: a peer that is down stays so for many dials.
        if first { Err(told.into()) } else { Ok(()) }
    }

    fn accepted(&mut self, greeted: Greeted) -> Result<(), Failure> {
        let connection = greeted.map_err(|error| format!("refused a connection: {error}"))?;
        let id = &connection.peer;
        if self.peers.get(id).is_some_and(|peer| !peer.dialled_here) {
            self.connected(connection);
            return Ok(());
        }
        Err(format!("refused a connection: {id} is no peer that dials this node").into())
    }

    /// One thing that has happened, if anything has.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<(NodeId, Message)>, Failure>> {
        if let Poll::Ready(Some((id, item))) = self.from_peers.poll_next_unpin(cx) {
            return Poll::Ready(match item {
                Some(Ok(message)) => Ok(Some((id, message))),
                Some(Err(error)) => Err(self.lost(id, &error)),
                None => Err(self.lost(id, &"it has closed the connection".into())),
            });
        }
        // Moves on what waits, too.
        if let Poll::Ready((id, error)) = self.to_peers.poll_failed(cx) {
            return Poll::Ready(Err(self.lost(id, &error)));
        }
        if let Poll::Ready(Some((id, greeted))) = self.dials.poll_next_unpin(cx) {
            return Poll::Ready(self.dialled(id, greeted).map(|()| None));
        }
        if let Poll::Ready(Some(greeted)) = self.accepted.poll_next_unpin(cx) {
            return Poll::Ready(self.accepted(greeted).map(|()| None));
        }
        Poll::Pending
    }
}

impl Stream for Peers {
    type Item = Result<(NodeId, Message), Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::task::ready!(self.poll_event(cx)) {
                Ok(Some(heard)) => return Poll::Ready(Some(Ok(heard))),
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(None) => {} // a connection was made: it may have something to say
            }
        }
    }
}

impl Sink<(NodeId, Message)> for Peers {
    type Error = Failure;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Pin::new(&mut self.to_peers).poll_ready(cx).map_err(never)
    }

    fn start_send(mut self: Pin<&mut Self>, item: (NodeId, Message)) -> Result<(), Failure> {
        let (to, message) = item;
        let item = MsgRouter::ToNode(to, message);
        Pin::new(&mut self.to_peers).start_send(item).map_err(never)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Pin::new(&mut self.to_peers).poll_flush(cx).map_err(never)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Pin::new(&mut self.to_peers).poll_close(cx).map_err(never)
    }
}

fn never(never: Infallible) -> Failure {
    match never {}
}
