//! Meshes, with and without nodes, polled by one task; and peers by hand.

pub(crate) use std::collections::VecDeque;
pub(crate) use std::fmt::Debug;
pub(crate) use std::future::{Future, poll_fn};
pub(crate) use std::io::{Read, Write};
pub(crate) use std::net::{Ipv4Addr, SocketAddr};
pub(crate) use std::pin::{Pin, pin};
pub(crate) use std::task::{Context, Poll};
pub(crate) use std::time::{Duration, Instant};

pub(crate) use bytes::BytesMut;
pub(crate) use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
pub(crate) use futures_test::task::new_count_waker;
pub(crate) use streamraft::codec::{CodecError, Hello, HelloCodec, MessageCodec, greet};
pub(crate) use streamraft::{
    Config, Mesh, MeshBuildError, MeshBuilder, MeshError, Message, MessageKind, MsgRouter, Stamp,
    TinyRaft,
};
pub(crate) use tokio::io::AsyncWriteExt;
pub(crate) use tokio::net::{TcpListener, TcpStream};
pub(crate) use tokio::time::timeout;
pub(crate) use tokio_util::codec::{Encoder, Framed};

/// For how long anything is waited for. Nothing takes that long on a machine that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Short, where a test waits for it; long enough for a handshake on a machine that is busy.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

pub(crate) const CLUSTER: &str = "orders";

pub(crate) type Fake = Framed<TcpStream, MessageCodec<u64>>;

pub(crate) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A peer by hand gives no sign of life, and may have to wait for its turn.
pub(crate) fn builder(id: u64) -> MeshBuilder<u64> {
    Mesh::builder(Hello::new(CLUSTER, id))
        .listen(any_port())
        .idle_timeout(PATIENCE * 2)
        .report_transient(true)
        .seed(id)
}

/// A mesh with its node, if it has one, and what came.
pub(crate) struct Site {
    pub(crate) mesh: Mesh<u64>,
    pub(crate) node: Option<TinyRaft<u64>>,
    pub(crate) heard: VecDeque<(u64, Message<u64>)>,
    pub(crate) errors: Vec<MeshError<u64>>,
}

impl Site {
    pub(crate) fn new(mesh: Mesh<u64>) -> Self {
        Self {
            mesh,
            node: None,
            heard: VecDeque::new(),
            errors: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.mesh.hello().node_id
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.mesh.local_addr().unwrap()
    }

    pub(crate) fn send(&mut self, to: u64, round: u64) {
        let sent = self.mesh.send((to, ping(round))).now_or_never();
        assert_eq!(sent, Some(Ok(())), "always ready");
    }

    pub(crate) fn is_connected(&self, peer: u64) -> bool {
        self.mesh.connected().any(|id| *id == peer)
    }

    pub(crate) fn heard_round(&self, from: u64, round: u64) -> bool {
        self.heard.contains(&(from, ping(round)))
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.node.as_ref().is_some_and(TinyRaft::is_leader)
    }

    /// One item, of the node or of the mesh.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(node) = &mut self.node
            && let Poll::Ready(Some(item)) = node.poll_next_unpin(cx)
        {
            if let MsgRouter::ToNode(to, message) = item {
                let _ = self.mesh.send((to, message)).poll_unpin(cx);
            }
            return Poll::Ready(());
        }
        let Poll::Ready(Some(item)) = self.mesh.poll_next_unpin(cx) else {
            return Poll::Pending;
        };
        match (item, &mut self.node) {
            (Ok((from, message)), Some(node)) => node.on_receive(from, message),
            (Ok(heard), None) => self.heard.push_back(heard),
            (Err(error), _) => self.errors.push(error),
        }
        Poll::Ready(())
    }
}

/// Several sites, polled by one task.
pub(crate) struct Net(pub(crate) Vec<Site>);

impl Net {
    /// Meshes that know each other, without nodes.
    pub(crate) fn of(builders: impl IntoIterator<Item = MeshBuilder<u64>>) -> Self {
        let meshes = builders.into_iter().map(|builder| builder.build().unwrap());
        let mut net = Self(meshes.map(Site::new).collect());
        net.acquaint();
        net
    }

    pub(crate) fn acquaint(&mut self) {
        let at = |site: &Site| site.mesh.listening_at().unwrap().clone();
        let all: Vec<_> = self.0.iter().map(|site| (site.id(), at(site))).collect();
        for site in &mut self.0 {
            for (id, addr) in &all {
                site.mesh.insert_peer(*id, addr.clone());
            }
        }
    }

    /// Three nodes that elect a leader.
    pub(crate) fn cluster(
        ids: [u64; 3],
        settings: impl Fn(MeshBuilder<u64>) -> MeshBuilder<u64>,
    ) -> Self {
        let mut net = Self::of(ids.map(|id| settings(builder(id))));
        for site in &mut net.0 {
            let config = Config::with_id(site.id(), ids).unwrap().cluster(CLUSTER);
            site.node = Some(TinyRaft::new(config).unwrap());
        }
        net
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        self.0.iter().find(|site| site.is_leader()).map(Site::id)
    }

    pub(crate) fn term(&self) -> u64 {
        let nodes = self.0.iter().filter_map(|site| site.node.as_ref());
        nodes.map(|node| node.state().term()).max().unwrap()
    }

    pub(crate) fn all_connected(&self) -> bool {
        let most = self.0.len() - 1;
        self.0
            .iter()
            .all(|site| site.mesh.connected().count() == most)
    }

    /// Polls all for as long as `other` takes.
    pub(crate) async fn during<T>(&mut self, what: &str, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        let both = poll_fn(|cx| {
            if let Poll::Ready(done) = other.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            for site in &mut self.0 {
                for _ in 0..1000 {
                    if site.poll(cx).is_pending() {
                        break;
                    }
                }
            }
            Poll::Pending
        });
        let done = timeout(PATIENCE, both).await;
        done.unwrap_or_else(|_| panic!("waited for: {what}"))
    }

    /// Polls all until something is so.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let all = poll_fn(|cx| {
            while !is_so(self) {
                let mut polls = self.0.iter_mut().map(|site| site.poll(cx));
                if !polls.any(|poll| poll.is_ready()) {
                    return if is_so(self) {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    };
                }
            }
            Poll::Ready(())
        });
        if timeout(PATIENCE, all).await.is_err() {
            let sites: Vec<_> = self
                .0
                .iter()
                .map(|site| (&site.mesh, &site.errors))
                .collect();
            panic!("waited for: {what}: {sites:#?}");
        }
    }

    /// Sends and waits until it is there. Sent once: nothing may be lost.
    pub(crate) async fn pass(&mut self, from: usize, to: usize, round: u64) {
        let (sender, receiver) = (self.0[from].id(), self.0[to].id());
        self.0[from].send(receiver, round);
        self.until("a message", |net| net.0[to].heard_round(sender, round))
            .await;
        self.0[to].heard.clear();
    }
}

pub(crate) fn ping(round: u64) -> Message<u64> {
    let succession = None;
    Message::new(1, Stamp::new(0, 1), MessageKind::Ping { round, succession })
}

pub(crate) fn hello_bytes(hello: Hello<u64>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    HelloCodec::new().encode(hello, &mut bytes).unwrap();
    bytes.into()
}

/// A peer by hand, that dials.
pub(crate) async fn fake(id: u64, addr: SocketAddr) -> Fake {
    let socket = TcpStream::connect(addr).await.unwrap();
    greet(socket, &Hello::new(CLUSTER, id)).await.unwrap().1
}

/// A peer by hand, that is dialled.
pub(crate) async fn fake_dialled(id: u64, listener: &TcpListener) -> Fake {
    let (socket, _) = listener.accept().await.unwrap();
    greet(socket, &Hello::new(CLUSTER, id)).await.unwrap().1
}

/// Whether the other side has closed it, and nothing came before.
pub(crate) async fn is_closed(fake: &mut Fake) -> bool {
    !matches!(fake.next().await, Some(Ok(_)))
}
