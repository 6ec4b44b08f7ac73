//! A transport over TCP and Unix sockets, and over whatever else brings bytes, with or without TLS: connections with all peers, held by one value that its owner polls.
//!
//! ```text
//!   accept ──▶ pending ──┐ TLS, hello
//!                        ├──────────▶ peer: what waits ──▶ its one connection ──▶ messages, losses
//!   backoff ──▶ dial ────┘    which of two stays: duel
//! ```
//!
//! Absent here: elections, and any task.

mod accept;
mod addr;
mod backoff;
mod builder;
mod duel;
mod error;
mod frame;
mod handshake;
mod local;
mod peer;
mod peers;
mod port;
mod sockets;
mod stats;
mod system;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use addr::PeerAddr;
pub use builder::MeshBuilder;
pub use error::{MeshBuildError, MeshError};
pub use sockets::{Opening, Sockets};
pub use stats::MeshStats;
#[cfg(feature = "tls")]
pub use tls::{MeshTls, MeshTlsError};

use crate::clock::{Alarm, now};
use crate::codec::{Hello, Wire};
use crate::id::{Id, NodeId};
use crate::message::Message;
use crate::waiting::Payload;
use accept::Acceptor;
use local::{Local, Round};
use peers::{Heard, Peers};
use sockets::Nowhere;

/// How often one poll goes round because a timer has rung before it lets others run.
const ROUNDS: usize = 4;

/// A node's connections with its peers: a `Stream` of what they say and a `Sink` of what is for them.
///
/// It listens, dials, and replaces what breaks, all of it while its stream is polled. It spawns no task.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use futures::{SinkExt, StreamExt};
/// use streamraft::codec::Hello;
/// use streamraft::{Config, Mesh, MsgRouter, NodeId, TinyRaft};
///
/// type Failure = Box<dyn std::error::Error>;
///
/// async fn run(mut node: TinyRaft, mut mesh: Mesh) -> Result<NodeId, Failure> {
///     loop {
///         tokio::select! {
///             Some(item) = node.next() => match item {
///                 MsgRouter::ToNode(to, message) => mesh.send((to, message)).await?,
///                 MsgRouter::ToSelf(state) => if let Some(leader) = state.leader() {
///                     return Ok(leader.clone());
///                 },
///                 _ => {}
///             },
///             Some(heard) = mesh.next() => match heard {
///                 Ok((from, message)) => node.on_receive(from, message),
///                 Err(error) => return Err(error.into()), // a lost connection is none: it is dialled again
///             },
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Failure> {
/// let [a, b] = ["a", "b"].map(|id| NodeId::new(id).unwrap());
/// let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); // a real cluster agrees on ports
/// let mut mesh_of_a = Mesh::builder(Hello::new("orders", a.clone())).listen(any_port).build()?;
/// let mut mesh_of_b = Mesh::builder(Hello::new("orders", b.clone())).listen(any_port).build()?;
/// mesh_of_a.insert_peer(b, mesh_of_b.local_addr().unwrap());
/// mesh_of_b.insert_peer(a, mesh_of_a.local_addr().unwrap());
///
/// let node = |id| Ok::<_, Failure>(TinyRaft::new(Config::new(id, ["a", "b"])?.cluster("orders"))?);
/// tokio::select! {
///     leader = run(node("a")?, mesh_of_a) => println!("{} leads", leader?),
///     leader = run(node("b")?, mesh_of_b) => println!("{} leads", leader?),
/// }
/// # Ok(()) }
/// ```
///
/// # What it promises
/// - **One connection a peer**, whoever dialled it. If two nodes dial each other at the same time, both keep the one
///   that the smaller id dialled. Otherwise a newer one replaces the older, so a peer that has restarted is heard at
///   once, even if its old connection does not know yet that it is dead.
/// - **Bounds.** Per peer one request and one reply can wait ([`Slot`](crate::Slot)), where a newer message replaces an
///   older one ([another payload](MeshBuilder::carrying) chooses for itself [what waits](crate::Payload)); they wait for a
///   connection too, as long as there is none. So the sink is always ready, and a peer that never reads costs what waits
///   for it and its connection's buffers (some 16 KiB, with TLS 80, and its longest frame) and holds up nobody. Connections
///   that have not said who they are, and strangers, are limited ([`max_pending`](MeshBuilder::max_pending),
///   [`accept_strangers`](MeshBuilder::accept_strangers)); so the sockets in use are at most those, one listener, and
///   two a peer.
/// - **Fairness.** Each poll gives at most one item, and every peer has its turn, however much another one sends.
/// - **Errors.** What the mesh mends by itself is no item: a lost connection is dialled again, a listener that fails is
///   asked again. It is traced and counted in [`stats`](Self::stats), as is a peer that cannot be reached, and
///   [`connected`](Self::connected) tells who is there. So `?` on an item ends on what needs its owner, which is a
///   message that has no form on the wire ([`MeshError::NotSent`]); the mesh goes on even then. To see every loss, ask
///   for [`report_transient`](MeshBuilder::report_transient).
/// - **Bad input** ends the connection that it came on, and is counted. With [`tls`](MeshBuilder::tls) (feature `tls`) a
///   peer's id is the one in its certificate. Without it there is no authentication: an id is a claim, and whoever
///   claims a peer's replaces its connection by the rule above, until the peer dials again. The cluster's name guards
///   against mistakes only. Listen where only the cluster can connect.
/// - **Wakes.** Sockets, timers and the methods that change peers wake the task that last polled the stream. Sending
///   moves a message on at once; if its socket is full, that task moves it on later. So poll the stream, from one
///   task, for as long as anything is to be sent or heard.
/// - **End.** The stream never ends unless the sink is closed, which gives `None` at once: no more is heard, what waits
///   is sent, and connections are closed, for up to [`handshake_timeout`](MeshBuilder::handshake_timeout). Dropped, a
///   mesh closes everything and takes what waits with it.
/// - **Cancel safety.** `next()`, `send()` and `close()` can be dropped at any await point; nothing is lost.
///
/// It can be made outside a runtime; polling it needs tokio's with I/O and time enabled (without them, tokio panics at
/// the first poll).
#[doc(alias = "tls")]
#[must_use = "a mesh does nothing unless it is polled"]
pub struct Mesh<I = NodeId, M: Payload = Message<I>> {
    local: Arc<Local<I>>,
    sockets: Box<dyn Sockets>,
    listening_at: Option<PeerAddr>,
    acceptor: Acceptor<I, M>,
    peers: Peers<I, M>,
    stats: MeshStats,
    rng: Xoshiro256PlusPlus,
    alarm: Alarm,
    /// When it had to be polled again. Later, silence is this node's own fault.
    due: Option<Instant>,
    /// Of the task that polled the stream last.
    waker: Option<Waker>,
    stage: Stage,
}

/// ```text
///   Open ── poll_close ──▶ Closing ── all is closed, or time is up ──▶ Closed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Until that instant.
    Closing(Instant),
    Closed,
}

impl<I> Mesh<I> {
    /// Settings for the connections of the node that `hello` names. For another payload than its messages see
    /// [`MeshBuilder::carrying`].
    pub fn builder(hello: Hello<I>) -> MeshBuilder<I> {
        MeshBuilder::new(hello)
    }
}

impl<I: Id + Serialize + DeserializeOwned, M: Wire> Mesh<I, M> {
    fn new(local: Local<I>, sockets: Box<dyn Sockets>, seed: u64) -> Self {
        Self {
            acceptor: Acceptor::new(&local),
            local: Arc::new(local),
            listening_at: sockets.listening_at(),
            sockets,
            peers: Peers::new(),
            stats: MeshStats::default(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            alarm: Alarm::default(),
            due: None,
            waker: None,
            stage: Stage::Open,
        }
    }

    /// Adds a peer, or gives it another address. It is dialled at once unless it is connected: an open connection
    /// stays. A stranger with this id is one no longer. Without effect for the node's own id, and after closing.
    pub fn insert_peer(&mut self, id: I, addr: impl Into<PeerAddr>) {
        if id != self.local.hello.node_id && self.stage == Stage::Open {
            self.peers.insert(id, addr.into(), &self.local, now());
            self.wake();
        }
    }

    /// Takes a peer out, closes its connection and lets go of what waits for it. `false`: it was none. If it dials
    /// again, it is a stranger.
    pub fn remove_peer(&mut self, id: &I) -> bool {
        self.peers.remove(id)
    }

    /// Makes these the peers and no others. One that is a peer already keeps its connection, and if its address is the
    /// same, all that is under way; another one's connection is closed, as by [`remove_peer`](Self::remove_peer). The
    /// last address given for an id counts, and the node's own id is left out.
    ///
    /// With it a book of addresses is all that a change of the cluster's membership asks for. A node that was voted out
    /// is told so by the leader, and one that is to come in must be reached before it votes: so go by the addresses of
    /// all nodes that run, and not by [`nodes`](crate::NodeState::nodes) alone.
    ///
    /// ```
    /// # use streamraft::codec::Hello;
    /// use std::collections::BTreeMap;
    /// use streamraft::{Mesh, NodeId};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut mesh = Mesh::builder(Hello::new("orders", NodeId::new("a")?)).build()?;
    /// let mut addresses = BTreeMap::from([(NodeId::new("a")?, "10.0.0.1:7000"), (NodeId::new("b")?, "10.0.0.2:7000")]);
    /// mesh.set_peers(addresses.clone());
    /// addresses.insert(NodeId::new("c")?, "10.0.0.3:7000"); // it joins
    /// mesh.set_peers(addresses);
    /// assert_eq!(mesh.peers().count(), 2);
    /// # Ok(()) }
    /// ```
    pub fn set_peers<A: Into<PeerAddr>>(&mut self, peers: impl IntoIterator<Item = (I, A)>) {
        let own = &self.local.hello.node_id;
        let peers = peers.into_iter().filter(|(id, _)| id != own);
        let peers: BTreeMap<I, PeerAddr> = peers.map(|(id, addr)| (id, addr.into())).collect();
        if self.stage == Stage::Open {
            self.peers.set(peers, &self.local, now());
            self.wake();
        }
    }

    /// Takes another certificate, or another CA, for all connections to come; those that are open stay as they are.
    /// For certificates that are replaced before they expire: load the new files with
    /// [`MeshTls::from_pem_files`], then call this.
    ///
    /// # Errors
    /// [`MeshTlsError::ForeignId`] if the certificate is not for this node, and [`MeshTlsError::PlainText`] if the mesh
    /// was made without TLS. Nothing has changed then.
    #[cfg(feature = "tls")]
    pub fn set_tls(&mut self, tls: MeshTls) -> Result<(), MeshTlsError> {
        let secure = self.local.tls.as_ref().ok_or(MeshTlsError::PlainText)?;
        let secure = secure.renewed(tls);
        secure.check_own(&self.local.hello.node_id)?;
        // Handshakes that are under way go on with the old one.
        Arc::make_mut(&mut self.local).tls = Some(secure);
        Ok(())
    }

    /// Everything once.
    fn poll_round(&mut self, cx: &mut Context<'_>) -> Poll<Heard<I, M>> {
        let now = now();
        let Self { local, peers, .. } = self;
        let late = |due| now.saturating_duration_since(due) > local.idle_timeout / 4;
        if self.due.replace(now).is_some_and(late) {
            peers.excuse(now);
        }
        let round = &mut Round {
            now,
            local,
            sockets: &mut *self.sockets,
            stats: &mut self.stats,
            rng: &mut self.rng,
        };
        let failed = self.acceptor.poll(round, cx, |id, connection, round| {
            peers.welcome(id, connection, round);
        });
        if let Poll::Ready(source) = failed {
            let address = self.listening_at.clone();
            return Poll::Ready(Err(MeshError::Listen { address, source }));
        }
        peers.poll(round, cx)
    }

    /// Ready: the timer has rung.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let accepting = self.acceptor.deadline();
        let peers = self.peers.deadline(&self.local);
        self.due = accepting.into_iter().chain(peers).min();
        match self.due {
            Some(at) => self.alarm.poll(at, cx),
            None => Poll::Pending,
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn keep_waker(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

impl<I, M: Payload> Mesh<I, M> {
    /// Where it listens, if that is over TCP.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listening_at()?.as_socket_addr()
    }

    /// Where it listens.
    #[must_use]
    pub fn listening_at(&self) -> Option<&PeerAddr> {
        self.listening_at.as_ref()
    }

    /// What the node says first on every connection.
    #[must_use]
    pub fn hello(&self) -> &Hello<I> {
        &self.local.hello
    }

    /// The peers and where they listen, in the order of their ids. Strangers are not among them.
    pub fn peers(&self) -> impl Iterator<Item = (&I, &PeerAddr)> {
        self.peers
            .iter()
            .filter_map(|peer| Some((peer.id(), peer.addr()?)))
    }

    /// Who is connected, strangers too, in the order of their ids.
    pub fn connected(&self) -> impl Iterator<Item = &I> {
        let connected = self.peers.iter().filter(|peer| peer.is_connected());
        connected.map(peer::Peer::id)
    }

    /// What was done, and what was refused, and why.
    #[must_use]
    pub fn stats(&self) -> &MeshStats {
        &self.stats
    }
}

impl<I: Id + Serialize + DeserializeOwned, M: Wire> Stream for Mesh<I, M> {
    type Item = Result<(I, M), MeshError<I>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.keep_waker(cx);
        for _ in 0..ROUNDS {
            if this.stage != Stage::Open {
                return Poll::Ready(None);
            }
            match this.poll_round(cx) {
                // Mended already, and counted.
                Poll::Ready(Err(error)) if error.is_transient() && !this.local.report_transient => {
                    continue;
                }
                Poll::Ready(item) => return Poll::Ready(Some(item)),
                Poll::Pending => {}
            }
            ready!(this.poll_alarm(cx));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<I: Id + Serialize + DeserializeOwned, M: Wire> FusedStream for Mesh<I, M> {
    /// True as soon as the sink is closing.
    fn is_terminated(&self) -> bool {
        self.stage != Stage::Open
    }
}

impl<I: Id + Serialize + DeserializeOwned, M: Wire> Sink<(I, M)> for Mesh<I, M> {
    type Error = Infallible;

    /// Always ready.
    fn poll_ready(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Puts the message to those that wait for its peer. One for a node that is neither a peer nor connected is let go and counted.
    fn start_send(self: Pin<&mut Self>, item: (I, M)) -> Result<(), Infallible> {
        let this = self.get_mut();
        let (to, message) = item;
        match this.peers.get_mut(&to) {
            Some(peer) if this.stage == Stage::Open => peer.put(message),
            _ => {
                this.stats.unroutable += 1;
                tracing::trace!(peer = ?to, "a message to nobody was let go");
            }
        }
        Ok(())
    }

    /// Moves what waits as far as the sockets take it. Never pending: the rest leaves as the stream is polled.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let Self { peers, waker, .. } = self.get_mut();
        match waker {
            Some(waker) => peers.drive(&mut Context::from_waker(waker)),
            None => peers.drive(cx),
        }
        Poll::Ready(Ok(()))
    }

    /// Stops to listen and to dial, sends what waits and closes every connection. Pending until then, or until time
    /// is up.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let this = self.get_mut();
        let until = match this.stage {
            Stage::Closed => return Poll::Ready(Ok(())),
            Stage::Closing(until) => until,
            Stage::Open => {
                let until = now() + this.local.handshake_timeout;
                this.stage = Stage::Closing(until);
                this.acceptor = Acceptor::new(&this.local);
                this.sockets = Box::new(Nowhere);
                this.listening_at = None;
                this.wake();
                until
            }
        };
        while this.peers.poll_close(cx).is_pending() && now() < until {
            ready!(this.alarm.poll(until, cx));
        }
        this.peers.clear();
        this.stage = Stage::Closed;
        Poll::Ready(Ok(()))
    }
}

impl<I: fmt::Debug, M: Payload> fmt::Debug for Mesh<I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh")
            .field("hello", &self.local.hello)
            .field("listening_at", &self.listening_at)
            .field("acceptor", &self.acceptor)
            .field("peers", &self.peers)
            .field("stats", &self.stats)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
