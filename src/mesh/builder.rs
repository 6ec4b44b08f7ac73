//! The settings of a mesh.

use std::fmt;
use std::marker::PhantomData;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::Encoder;

use super::Mesh;
use super::addr::PeerAddr;
use super::error::MeshBuildError;
use super::local::Local;
use super::sockets::Sockets;
use super::system::System;
#[cfg(feature = "tls")]
use super::tls::{MeshTls, Secure};
use crate::clock;
use crate::codec::{DEFAULT_MAX_FRAME_LEN, Hello, HelloCodec, Wire};
use crate::id::{Id, NodeId};
use crate::message::Message;

/// tokio's timer resolves no less.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// No timeout is longer, so that adding a few of them to an instant cannot overflow.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings of a [`Mesh`]; made by [`Mesh::builder`]. All but the hello have a default, and nothing happens before
/// [`build`](Self::build), which also checks them.
#[must_use = "settings do nothing; build makes the mesh"]
pub struct MeshBuilder<I = NodeId, M = Message<I>> {
    settings: Settings<I>,
    payload: PhantomData<fn() -> M>,
}

/// All that can be set.
#[derive(Clone, Debug)]
struct Settings<I> {
    hello: Hello<I>,
    listen: Option<PeerAddr>,
    #[cfg(feature = "tls")]
    tls: Option<Secure<I>>,
    peers: Vec<(I, PeerAddr)>,
    max_pending: usize,
    max_strangers: usize,
    max_frame_len: usize,
    handshake_timeout: Duration,
    idle_timeout: Duration,
    min_backoff: Duration,
    max_backoff: Duration,
    report_transient: bool,
    seed: Option<u64>,
}

impl<I> Settings<I> {
    fn new(hello: Hello<I>) -> Self {
        Self {
            hello,
            listen: None,
            #[cfg(feature = "tls")]
            tls: None,
            peers: Vec::new(),
            max_pending: 16,
            max_strangers: 0,
            max_frame_len: DEFAULT_MAX_FRAME_LEN,
            handshake_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(5),
            min_backoff: Duration::from_millis(20),
            max_backoff: Duration::from_secs(1),
            report_transient: false,
            seed: None,
        }
    }
}

impl<I> MeshBuilder<I> {
    pub(super) fn new(hello: Hello<I>) -> Self {
        Self {
            settings: Settings::new(hello),
            payload: PhantomData,
        }
    }
}

impl<I, M> MeshBuilder<I, M> {
    /// Makes it a mesh for another payload than a node's [`Message`]s. How such a payload waits for a peer is
    /// [its own choice](crate::Payload), and so is its [form on the wire](Wire). A node of the cluster whose mesh carries
    /// something else is refused, and counted ([`foreign_payload`](crate::MeshStats::foreign_payload)).
    ///
    /// Whatever it is, some of it can get lost: with a connection that breaks, or that gives way to another one as when
    /// both nodes dial at the same time. So its sender repeats what matters until it is answered.
    ///
    /// ```
    /// use futures::{SinkExt, StreamExt};
    /// use streamraft::codec::Hello;
    /// use streamraft::{Mesh, Message, MessageKind, Stamp};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mesh = |id: u64| {
    ///     let hello = Hello::new("orders", id);
    ///     Mesh::builder(hello).carrying::<(String, Message<u64>)>()
    /// };
    /// let mut there = mesh(2).listen("127.0.0.1:0").accept_strangers(1).build()?;
    /// let mut here = mesh(1).peer(2, there.local_addr().unwrap()).build()?;
    ///
    /// let message = Message::new(7, Stamp::new(7, 1), MessageKind::TimeoutNow);
    /// here.send((2, ("of some group".to_owned(), message))).await?;
    /// let heard = tokio::select! {
    ///     heard = there.next() => heard,
    ///     heard = here.next() => heard, // nothing comes here, but it has to be polled
    /// };
    /// let (from, (group, message)) = heard.expect("a message")?;
    /// assert_eq!((from, &*group, message.term), (1, "of some group", 7));
    /// # Ok(()) }
    /// ```
    pub fn carrying<P: Wire>(self) -> MeshBuilder<I, P> {
        MeshBuilder {
            settings: self.settings,
            payload: PhantomData,
        }
    }

    /// Where to listen, as a `SocketAddr`, as text (`host:port`, `unix:/path`), or as the path of a Unix socket; port 0
    /// for any free port ([`Mesh::local_addr`] tells which). Default: nowhere. Such a mesh reaches only peers that it
    /// dials.
    ///
    /// A host's name is looked up by [`build`](Self::build), which blocks; an address in numbers needs no lookup.
    ///
    /// The file of a Unix socket is made by `build`, and removed when the mesh is closed or dropped. One that a process
    /// has left behind when it died, where nobody answers any more, is replaced. A socket on which somebody answers,
    /// and a file of any other kind, are errors and left alone. Who may connect is for the permissions of the file and
    /// its folder to say. Two processes that start there in the same moment are not kept apart.
    pub fn listen(mut self, addr: impl Into<PeerAddr>) -> Self {
        self.settings.listen = Some(addr.into());
        self
    }

    /// Encrypts all connections and has both sides of each show a certificate: see [`MeshTls`]. A peer's id is what its
    /// `Display` writes. Give it to all nodes: one with and one without do not understand each other. Default:
    /// neither encryption nor authentication.
    #[cfg(feature = "tls")]
    pub fn tls(self, tls: MeshTls) -> Self
    where
        I: fmt::Display + 'static,
    {
        self.tls_named(tls, I::to_string)
    }

    /// The same for ids that stand in certificates otherwise than `Display` writes them. Different ids must have
    /// different names.
    #[cfg(feature = "tls")]
    pub fn tls_named(
        mut self,
        tls: MeshTls,
        name: impl Fn(&I) -> String + Send + Sync + 'static,
    ) -> Self {
        self.settings.tls = Some(Secure::new(tls, Arc::new(name)));
        self
    }

    /// Adds a peer and where it listens, in any form that [`listen`](Self::listen) takes. The last address given for an id
    /// counts, and the node's own id is left out, so that all nodes can be given the same list. See also
    /// [`Mesh::insert_peer`].
    pub fn peer(mut self, id: I, addr: impl Into<PeerAddr>) -> Self {
        self.settings.peers.push((id, addr.into()));
        self
    }

    /// Adds several peers, each as [`peer`](Self::peer) does.
    pub fn peers<A: Into<PeerAddr>>(mut self, peers: impl IntoIterator<Item = (I, A)>) -> Self {
        let peers = peers.into_iter().map(|(id, addr)| (id, addr.into()));
        self.settings.peers.extend(peers);
        self
    }

    /// How many connections may be accepted from those that have not said yet who they are. Default 16, at least 1.
    ///
    /// Each takes a socket and some 16 KiB. One more pushes out the oldest
    /// ([`too_many`](crate::MeshStats::too_many)): strangers that connect and keep silent, however many, do not keep
    /// out a peer, which speaks at once. With TLS it takes some 100 KiB at most, and a peer needs two round trips, in
    /// which others can push it out: set as many as come in that time.
    pub fn max_pending(mut self, count: usize) -> Self {
        self.settings.max_pending = count;
        self
    }

    /// How many nodes that are no peers may be connected at a time; they dial, since nobody knows where they listen.
    /// Default 0: none.
    ///
    /// A node that joins knows the cluster before the cluster knows it. Set this to how many join at a time, or let
    /// whoever adds a node tell the others first, by [`Mesh::insert_peer`]. The node drops what strangers say unless
    /// it belongs to the cluster. Without encryption an id is a mere claim, and anyone can take these places.
    pub fn accept_strangers(mut self, count: usize) -> Self {
        self.settings.max_strangers = count;
        self
    }

    /// The most bytes of payload that a message may have, in both directions. Default
    /// [`DEFAULT_MAX_FRAME_LEN`]; see [`MessageCodec::max_frame_len`](crate::codec::MessageCodec::max_frame_len). A
    /// peer that sends a longer one is disconnected, so give all nodes the same.
    pub fn max_frame_len(mut self, bytes: usize) -> Self {
        self.settings.max_frame_len = bytes;
        self
    }

    /// For how long a connection may take until its peer has said who it is, a dial's lookup and connecting included.
    /// Default 2 s; 1 ms to 1 day.
    ///
    /// Of two connections with one peer, made within this time of each other, the one that the smaller id dialled
    /// stays, as on the other side; later, the newer one does. And closing waits no longer than this.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// For how long nothing may be heard from a peer until its connection is dropped and dialled anew. Default 5 s;
    /// 1 ms to 1 day.
    ///
    /// A mesh that has nothing to say to a peer for a third of this sends it an empty frame (4 bytes), so nodes that
    /// have no messages for each other, as two followers, stay connected. Give all nodes the same: a peer with more
    /// than three times as much sends too seldom. Time in which the mesh was not polled does not count. It does not
    /// bound how soon a failed leader is replaced, which is the node's `election_timeout`, but how soon a connection
    /// that the network has silently forgotten is mended. TCP's own keep-alive is left off: it would tell no more.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = timeout;
        self
    }

    /// The least and the greatest pause between two dials of a peer. Default 20 ms and 1 s; 1 ms to 1 day.
    ///
    /// The first dial is at once. Pauses double from the least to the greatest, each shortened at random by up to a
    /// half. They begin anew after a connection that has lasted for the greatest of them. A listener that fails pauses
    /// alike.
    pub fn backoff(mut self, least: Duration, greatest: Duration) -> Self {
        self.settings.min_backoff = least;
        self.settings.max_backoff = greatest;
        self
    }

    /// Whether errors that the mesh mends by itself ([`MeshError::is_transient`](crate::MeshError::is_transient)) are
    /// items too: every lost connection once, and a listener that fails. Default: no; they are counted and traced, and a
    /// loop that ends at the first error goes on.
    pub fn report_transient(mut self, report: bool) -> Self {
        self.settings.report_transient = report;
        self
    }

    /// Makes the pauses reproducible. Default: they differ from node to node and from run to run.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }
}

impl<I: Id + Serialize + DeserializeOwned, M: Wire> MeshBuilder<I, M> {
    /// Checks the settings, binds the listener and makes the mesh. From here on the system queues whoever connects;
    /// everything else happens as the mesh is polled. Needs no runtime.
    ///
    /// # Errors
    /// [`MeshBuildError`] names the setting, or the address that cannot be listened on.
    pub fn build(mut self) -> Result<Mesh<I, M>, MeshBuildError> {
        self.settings.check::<M>()?;
        let sockets = match self.settings.listen.take() {
            None => System::nowhere(),
            Some(address) => {
                System::bind(&address).map_err(|source| MeshBuildError::Bind { address, source })?
            }
        };
        self.build_over(sockets)
    }

    /// Like [`build`](Self::build), over somebody else's sockets. These know where they listen, so `listen` is not set.
    ///
    /// # Errors
    /// [`MeshBuildError`] names the setting.
    pub fn build_over(self, sockets: impl Sockets) -> Result<Mesh<I, M>, MeshBuildError> {
        let settings = self.settings;
        settings.check::<M>()?;
        if let Some(address) = &settings.listen {
            return Err(MeshBuildError::Setting {
                name: "listen",
                value: address.to_string(),
                rule: "left out with sockets that listen by themselves",
            });
        }
        let local = Local {
            hello: settings.hello.carrying::<M>(),
            #[cfg(feature = "tls")]
            tls: settings.tls,
            max_pending: settings.max_pending,
            max_strangers: settings.max_strangers,
            max_frame_len: settings.max_frame_len,
            handshake_timeout: settings.handshake_timeout,
            idle_timeout: settings.idle_timeout,
            min_backoff: settings.min_backoff,
            max_backoff: settings.max_backoff,
            report_transient: settings.report_transient,
        };
        let seed = settings.seed.unwrap_or_else(clock::seed);
        let mut mesh = Mesh::new(local, Box::new(sockets), seed);
        for (id, addr) in settings.peers {
            mesh.insert_peer(id, addr);
        }
        Ok(mesh)
    }
}

impl<I: Id + Serialize> Settings<I> {
    fn check<M: Wire>(&self) -> Result<(), MeshBuildError> {
        HelloCodec::new()
            .encode(self.hello.clone().carrying::<M>(), &mut BytesMut::new())
            .map_err(|source| MeshBuildError::Hello { source })?;
        #[cfg(feature = "tls")]
        if let Some(secure) = &self.tls {
            let own = secure.check_own(&self.hello.node_id);
            own.map_err(|source| MeshBuildError::Tls { source })?;
        }
        let setting = |name, value: &dyn fmt::Debug, rule| MeshBuildError::Setting {
            name,
            value: format!("{value:?}"),
            rule,
        };
        if self.max_pending == 0 {
            return Err(setting("max_pending", &self.max_pending, "at least 1"));
        }
        let times = [
            ("handshake_timeout", self.handshake_timeout),
            ("idle_timeout", self.idle_timeout),
            ("the least backoff", self.min_backoff),
            ("the greatest backoff", self.max_backoff),
        ];
        for (name, value) in times {
            if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&value) {
                return Err(setting(name, &value, "from 1 ms to 1 day"));
            }
        }
        if self.min_backoff > self.max_backoff {
            let backoff = (self.min_backoff, self.max_backoff);
            return Err(setting(
                "backoff",
                &backoff,
                "the least before the greatest",
            ));
        }
        Ok(())
    }
}

impl<I: Clone, M> Clone for MeshBuilder<I, M> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            payload: PhantomData,
        }
    }
}

impl<I: fmt::Debug, M> fmt::Debug for MeshBuilder<I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MeshBuilder").field(&self.settings).finish()
    }
}
