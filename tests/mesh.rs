//! The mesh over real sockets of the loopback interface: with its like, with nodes, and with strangers of every kind.
//!
//! Whatever is waited for has a generous limit, and nothing is waited for by sleeping.
#![cfg(feature = "tcp")]

use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use futures_test::task::new_count_waker;
use streamraft::codec::{CodecError, Hello, HelloCodec, MessageCodec, greet};
use streamraft::{
    Config, Mesh, MeshBuildError, MeshBuilder, MeshError, Message, MessageKind, MsgRouter, Stamp,
    TinyRaft,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::codec::{Encoder, Framed};

/// For how long anything is waited for. Nothing takes that long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// Short, where a test waits for it; long enough for a handshake on a machine that is busy.
const SHORT: Duration = Duration::from_millis(300);

const CLUSTER: &str = "orders";

type Fake = Framed<TcpStream, MessageCodec<u64>>;

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A peer by hand gives no sign of life, and may have to wait for its turn.
fn builder(id: u64) -> MeshBuilder<u64> {
    Mesh::builder(Hello::new(CLUSTER, id))
        .listen(any_port())
        .idle_timeout(PATIENCE * 2)
        .seed(id)
}

/// A mesh with its node, if it has one, and what came.
struct Site {
    mesh: Mesh<u64>,
    node: Option<TinyRaft<u64>>,
    heard: VecDeque<(u64, Message<u64>)>,
    errors: Vec<MeshError<u64>>,
}

impl Site {
    fn new(mesh: Mesh<u64>) -> Self {
        Self {
            mesh,
            node: None,
            heard: VecDeque::new(),
            errors: Vec::new(),
        }
    }

    fn id(&self) -> u64 {
        self.mesh.hello().node_id
    }

    fn addr(&self) -> SocketAddr {
        self.mesh.local_addr().unwrap()
    }

    fn send(&mut self, to: u64, round: u64) {
        let sent = self.mesh.send((to, ping(round))).now_or_never();
        assert_eq!(sent, Some(Ok(())), "always ready");
    }

    fn is_connected(&self, peer: u64) -> bool {
        self.mesh.connected().any(|id| *id == peer)
    }

    fn heard_round(&self, from: u64, round: u64) -> bool {
        self.heard.contains(&(from, ping(round)))
    }

    fn is_leader(&self) -> bool {
        self.node.as_ref().is_some_and(TinyRaft::is_leader)
    }

    /// One item, of the node or of the mesh.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
struct Net(Vec<Site>);

impl Net {
    /// Meshes that know each other, without nodes.
    fn of(builders: impl IntoIterator<Item = MeshBuilder<u64>>) -> Self {
        let meshes = builders.into_iter().map(|builder| builder.build().unwrap());
        let mut net = Self(meshes.map(Site::new).collect());
        net.acquaint();
        net
    }

    fn acquaint(&mut self) {
        let all: Vec<_> = self.0.iter().map(|site| (site.id(), site.addr())).collect();
        for site in &mut self.0 {
            for (id, addr) in &all {
                site.mesh.insert_peer(*id, *addr);
            }
        }
    }

    /// Three nodes that elect a leader.
    fn cluster(ids: [u64; 3], settings: impl Fn(MeshBuilder<u64>) -> MeshBuilder<u64>) -> Self {
        let mut net = Self::of(ids.map(|id| settings(builder(id))));
        for site in &mut net.0 {
            let config = Config::with_id(site.id(), ids).unwrap().cluster(CLUSTER);
            site.node = Some(TinyRaft::new(config).unwrap());
        }
        net
    }

    fn leader(&self) -> Option<u64> {
        self.0.iter().find(|site| site.is_leader()).map(Site::id)
    }

    fn term(&self) -> u64 {
        let nodes = self.0.iter().filter_map(|site| site.node.as_ref());
        nodes.map(|node| node.state().term()).max().unwrap()
    }

    fn all_connected(&self) -> bool {
        let most = self.0.len() - 1;
        self.0
            .iter()
            .all(|site| site.mesh.connected().count() == most)
    }

    /// Polls all for as long as `other` takes.
    async fn during<T>(&mut self, what: &str, other: impl Future<Output = T>) -> T {
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
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
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
    async fn pass(&mut self, from: usize, to: usize, round: u64) {
        let (sender, receiver) = (self.0[from].id(), self.0[to].id());
        self.0[from].send(receiver, round);
        self.until("a message", |net| net.0[to].heard_round(sender, round))
            .await;
        self.0[to].heard.clear();
    }
}

fn ping(round: u64) -> Message<u64> {
    let succession = None;
    Message::new(1, Stamp::new(0, 1), MessageKind::Ping { round, succession })
}

fn hello_bytes(hello: Hello<u64>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    HelloCodec::new().encode(hello, &mut bytes).unwrap();
    bytes.into()
}

/// A peer by hand, that dials.
async fn fake(id: u64, addr: SocketAddr) -> Fake {
    let socket = TcpStream::connect(addr).await.unwrap();
    greet(socket, &Hello::new(CLUSTER, id)).await.unwrap().1
}

/// A peer by hand, that is dialled.
async fn fake_dialled(id: u64, listener: &TcpListener) -> Fake {
    let (socket, _) = listener.accept().await.unwrap();
    greet(socket, &Hello::new(CLUSTER, id)).await.unwrap().1
}

/// Whether the other side has closed it, and nothing came before.
async fn is_closed(fake: &mut Fake) -> bool {
    !matches!(fake.next().await, Some(Ok(_)))
}

#[test]
fn a_mesh_is_a_transport() {
    fn transport<T, I, E>(_: &T)
    where
        T: Stream<Item = Result<(I, Message<I>), E>> + Sink<(I, Message<I>)>,
        T: Send + Unpin + Debug + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
    }
    // Outside a runtime.
    transport(&builder(1).build().unwrap());
}

#[tokio::test]
async fn three_nodes_elect_a_leader_and_another_when_it_goes() {
    let mut net = Net::cluster([1, 2, 3], |builder| builder);
    net.until("a leader", |net| net.leader().is_some()).await;
    let first = net.leader().unwrap();
    net.0.retain(|site| site.id() != first);
    net.until("another leader", |net| net.leader().is_some())
        .await;
    for site in &net.0 {
        let lost: Vec<_> = site.errors.iter().filter_map(MeshError::lost).collect();
        assert_eq!(lost, [&first], "once for each loss");
    }
}

#[tokio::test]
async fn a_peer_that_was_killed_is_dialled_again_when_it_is_back() {
    let mut net = Net::of([builder(1), builder(2)]);
    for round in 0..3 {
        net.until("a connection", Net::all_connected).await;
        net.pass(0, 1, round).await;
        net.pass(1, 0, round).await;
        let killed = net.0.pop().unwrap();
        let addr = killed.addr();
        drop(killed);
        net.until("the loss", |net| !net.0[0].is_connected(2)).await;
        let unreachable = net.0[0].mesh.stats().unreachable;
        net.until("dials", |net| {
            net.0[0].mesh.stats().unreachable > unreachable + 1
        })
        .await;
        // It waits for the peer to be back; a newer one takes the place of an older one.
        net.0[0].send(2, 100);
        net.0[0].send(2, 101);
        // Another test's connection may have the port for a moment. It does not know where the other one is.
        let deadline = Instant::now() + PATIENCE;
        let back = loop {
            match builder(2).listen(addr).accept_strangers(1).build() {
                Ok(mesh) => break mesh,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        net.0.push(Site::new(back));
        net.until("what waited", |net| net.0[1].heard_round(1, 101))
            .await;
        assert!(!net.0[1].heard_round(1, 100));
        net.acquaint();
    }
    let stats = net.0[0].mesh.stats();
    assert_eq!((stats.reconnected, stats.lost), (3, 3), "{stats:?}");
    assert_eq!(net.0[0].errors.len(), 3, "{:?}", net.0[0].errors);
}

#[tokio::test]
async fn of_crossing_dials_both_sides_keep_the_same_connection() {
    let mut crossed = 0;
    for round in 0..30 {
        let mut net = Net::of([builder(1), builder(2)]);
        // Both have dialled before either has accepted.
        net.until("dials", |net| {
            net.0.iter().all(|site| site.mesh.stats().dialled > 0)
        })
        .await;
        // The smaller id gives no dial up, so it knows what has become of every connection.
        let settled = |site: &Site| {
            let stats = site.mesh.stats();
            stats.dialled + stats.accepted == stats.connected + stats.refused()
        };
        net.until("one connection", |net| {
            net.all_connected() && settled(&net.0[0])
        })
        .await;
        for message in 0..5 {
            net.pass(0, 1, message).await;
            net.pass(1, 0, message).await;
        }
        for site in &net.0 {
            let stats = site.mesh.stats();
            assert_eq!(
                stats.connected - stats.replaced - stats.lost,
                1,
                "round {round}: {stats:?}"
            );
            assert!(stats.dialled <= 2, "{stats:?}");
            crossed += stats.duplicates + stats.replaced + stats.broken_off;
        }
    }
    assert!(crossed > 0, "dials crossed");
}

#[tokio::test]
async fn a_peer_by_hand_is_replaced_by_itself_but_not_by_a_crossing_dial() {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut net = Net::of([builder(1).peer(2, addr).handshake_timeout(PATIENCE)]);
    let target = net.0[0].addr();
    let mut dialled = net.during("the dial", fake_dialled(2, &listener)).await;
    net.until("the connection", |net| net.0[0].is_connected(2))
        .await;
    // The greater id dials at the same time: its connection goes.
    let mut crossing = net.during("a handshake", fake(2, target)).await;
    assert!(net.during("the refusal", is_closed(&mut crossing)).await);
    assert_eq!(net.0[0].mesh.stats().duplicates, 1);
    // The first one lives.
    dialled.send(ping(7)).await.unwrap();
    net.until("a message", |net| net.0[0].heard_round(2, 7))
        .await;
    assert!(net.0[0].errors.is_empty());
}

#[tokio::test]
async fn a_restarted_peer_replaces_a_connection_that_does_not_know_it_is_dead() {
    // Dialled by the smaller id, and by the greater.
    for (here, there) in [(1, 2), (2, 1)] {
        let listener = TcpListener::bind(any_port()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut net = Net::of([builder(here).peer(there, addr).handshake_timeout(SHORT)]);
        let target = net.0[0].addr();
        // Never says that it is gone.
        let mut dead = net.during("the dial", fake_dialled(there, &listener)).await;
        let mut tries = 0;
        let mut alive = loop {
            tries += 1;
            let mut alive = net.during("a handshake", fake(there, target)).await;
            alive.send(ping(tries)).await.unwrap();
            let heard = net.during("an answer", async {
                let closed = timeout(SHORT / 10, alive.next()).await;
                closed.is_err()
            });
            if heard.await {
                break alive;
            }
        };
        assert!(there == 2 || tries == 1, "{tries}");
        assert!(
            net.during("the end of the old one", is_closed(&mut dead))
                .await
        );
        // And that one by the next, at once: it was dialled by the same node.
        let mut next = net.during("a handshake", fake(there, target)).await;
        assert!(
            net.during("the end of the second", is_closed(&mut alive))
                .await
        );
        next.send(ping(1000)).await.unwrap();
        net.until("a message", |net| net.0[0].heard_round(there, 1000))
            .await;
        assert!(
            net.0[0].errors.is_empty(),
            "a replaced connection is not lost"
        );
        assert_eq!(net.0[0].mesh.stats().replaced, 2);
    }
}

#[test]
fn a_peer_that_never_reads_costs_its_slots_and_holds_up_nobody() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut net = runtime.block_on(async {
        let mut net = Net::of([builder(1), builder(2)]);
        net.0[0].mesh.insert_peer(3, "127.0.0.1:1");
        net.until("a connection", Net::all_connected).await;
        net
    });
    let target = net.0[0].addr();
    let mut mute = runtime.block_on(net.during("a handshake", fake(3, target)));
    let mut round = 0;
    let mut talk = |net: &mut Net, count| {
        allocation_counter::measure(|| {
            runtime.block_on(async {
                for _ in 0..count {
                    for _ in 0..200 {
                        round += 1;
                        net.0[0].send(3, round);
                    }
                    net.pass(0, 1, round).await;
                    net.pass(1, 0, round).await;
                }
            });
        })
    };
    // More than the sockets' buffers take: 16 MB.
    talk(&mut net, 3_000);
    let more = talk(&mut net, 200);
    assert!(
        more.bytes_max < 100_000 && more.bytes_current < 10_000,
        "{more:?}"
    );
    assert!(net.0[0].is_connected(3) && net.0[0].errors.is_empty());
    // What it has missed it has missed: the newest is kept.
    let read = async {
        let (mut count, mut last) = (0, None);
        while last != Some(ping(round)) {
            last = Some(mute.next().await.unwrap().unwrap());
            count += 1;
        }
        count
    };
    let count: u64 = runtime.block_on(net.during("the newest", read));
    assert!(count < round, "{count} of {round}: the sockets were full");
}

#[tokio::test]
async fn a_full_socket_that_drains_wakes_whoever_polls_the_stream() {
    // No timer but those that are a day away.
    let day = Duration::from_secs(24 * 60 * 60);
    let mut net = Net::of([builder(1).idle_timeout(day)]);
    net.0[0].mesh.insert_peer(3, "127.0.0.1:1");
    let target = net.0[0].addr();
    let mut slow = net.during("a handshake", fake(3, target)).await;
    net.until("the connection", |net| net.0[0].is_connected(3))
        .await;
    let (waker, wakes) = new_count_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(net.0[0].poll(&mut cx).is_pending());
    for round in 0..600_000 {
        net.0[0].send(3, round); // by another task
        if round % 64 == 0 {
            tokio::task::coop::consume_budget().await;
        }
    }
    // Whatever is due by now, as the budget of tokio's tasks, has been seen to.
    tokio::task::yield_now().await;
    let before = wakes.get();
    let drained = async {
        while wakes.get() == before {
            assert!(slow.next().await.unwrap().is_ok());
        }
    };
    timeout(PATIENCE, drained).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_never_stops_talking_leaves_turns_to_the_others() {
    const STOCK: usize = 20_000;
    // The talker's turn comes first, and last.
    for talks in [1, 4] {
        let mut net = Net::of([builder(2), builder(3)]);
        net.until("a connection", Net::all_connected).await;
        net.0[0].mesh.insert_peer(talks, "127.0.0.1:1");
        let target = net.0[0].addr();
        let mut talker = net.during("a handshake", fake(talks, target)).await;
        net.until("a connection", |net| net.0[0].is_connected(talks))
            .await;
        for _ in 0..STOCK {
            timeout(PATIENCE, talker.feed(ping(0)))
                .await
                .unwrap()
                .unwrap();
        }
        net.0[1].send(2, 77);
        // Both sockets are known to have something.
        tokio::task::yield_now().await;
        net.until("a message", |net| net.0[0].heard_round(3, 77))
            .await;
        let before = net.0[0].heard.len();
        assert!(before < STOCK / 10, "{before} had their turn before");
    }
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_dialled_ever_more_seldom() {
    let ms = Duration::from_millis;
    let mut net = Net::of([builder(1).peer(2, "127.0.0.1:1").backoff(ms(40), ms(160))]);
    let began = Instant::now();
    net.until("dials", |net| net.0[0].mesh.stats().unreachable == 6)
        .await;
    let least = (ms(40) + ms(80) + ms(160) * 3) / 2;
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    assert_eq!(net.0[0].mesh.stats().dialled, 6);
    assert!(net.0[0].errors.is_empty());
}

/// What a stranger says, and which counter tells.
#[tokio::test]
async fn strangers_are_refused_and_counted() {
    let mut net = Net::cluster([1, 2, 3], |builder| builder.handshake_timeout(SHORT));
    net.until("a leader", |net| {
        net.leader().is_some() && net.all_connected()
    })
    .await;
    let (leader, term) = (net.leader(), net.term());
    let at = net.0.iter().position(Site::is_leader).unwrap();
    let (addr, me) = (net.0[at].addr(), net.0[at].id());

    let mut old = Hello::new(CLUSTER, 9);
    old.version = 0x20;
    let whole = hello_bytes(Hello::new(CLUSTER, 9));
    let half = whole[..whole.len() / 2].to_vec();
    type Count = fn(&streamraft::MeshStats) -> u64;
    let strangers: [(&str, Vec<u8>, bool, Count); 9] = [
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec(), false, |stats| {
            stats.garbage
        }),
        ("noise", vec![0xff; 4096], false, |stats| stats.garbage),
        ("half a hello", half.clone(), true, |stats| stats.broken_off),
        ("not a word", Vec::new(), true, |stats| stats.broken_off),
        ("half a hello, then silence", half, false, |stats| {
            stats.timed_out
        }),
        (
            "another cluster",
            hello_bytes(Hello::new("bills", 9)),
            false,
            |stats| stats.foreign_cluster,
        ),
        ("another version", hello_bytes(old), false, |stats| {
            stats.version
        }),
        (
            "the own id",
            hello_bytes(Hello::new(CLUSTER, me)),
            false,
            |stats| stats.own_id,
        ),
        ("an id that is not known", whole, false, |stats| {
            stats.strangers
        }),
    ];
    for (what, bytes, closes, count) in strangers {
        let before = *net.0[at].mesh.stats();
        let mut socket = net.during(what, TcpStream::connect(addr)).await.unwrap();
        net.during(what, socket.write_all(&bytes)).await.unwrap();
        if closes {
            net.during(what, socket.shutdown()).await.unwrap();
        }
        net.until(what, |net| {
            count(net.0[at].mesh.stats()) == count(&before) + 1
        })
        .await;
        assert_eq!(
            net.0[at].mesh.stats().refused(),
            before.refused() + 1,
            "{what}"
        );
    }
    assert_eq!((net.leader(), net.term()), (leader, term), "undisturbed");
    assert!(net.0.iter().all(|site| site.errors.is_empty()));
}

#[tokio::test]
async fn a_stranger_that_says_one_byte_after_the_other_is_cut_off_in_time() {
    let mut net = Net::of([builder(1).handshake_timeout(SHORT)]);
    let addr = net.0[0].addr();
    let slow = async {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        let began = Instant::now();
        for byte in hello_bytes(Hello::new(CLUSTER, 9)).into_iter().cycle() {
            if socket.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
        began.elapsed()
    };
    // The hello is 18 bytes long, so it would take two times as long as it may.
    let lasted = net.during("the end", slow).await;
    assert!(lasted >= SHORT, "{lasted:?}");
    assert_eq!(net.0[0].mesh.stats().timed_out, 1);
}

#[tokio::test]
async fn a_stranger_that_claims_a_taken_id_does_not_keep_it() {
    let mut net = Net::cluster([1, 2, 3], |builder| builder.handshake_timeout(SHORT));
    net.until("a leader", |net| {
        net.leader().is_some() && net.all_connected()
    })
    .await;
    let (leader, term) = (net.leader(), net.term());
    let at = net.0.iter().position(Site::is_leader).unwrap();
    let addr = net.0[at].addr();
    let id = net
        .0
        .iter()
        .map(Site::id)
        .find(|id| Some(*id) != leader)
        .unwrap();
    for _ in 0..5 {
        let mut claimant = net.during("a handshake", fake(id, addr)).await;
        // Gone, as soon as it is refused or the real one has dialled again.
        while !net.during("the end", is_closed(&mut claimant)).await {}
        net.until("the real one", Net::all_connected).await;
    }
    assert_eq!((net.leader(), net.term()), (leader, term), "undisturbed");
}

#[tokio::test]
async fn strangers_are_accepted_as_far_as_there_is_room() {
    let mut net = Net::of([builder(1).accept_strangers(2)]);
    let addr = net.0[0].addr();
    let mut first = net.during("a handshake", fake(11, addr)).await;
    let second = net.during("a handshake", fake(12, addr)).await;
    net.until("both", |net| net.0[0].mesh.connected().count() == 2)
        .await;
    let mut third = net.during("a handshake", fake(13, addr)).await;
    assert!(net.during("the refusal", is_closed(&mut third)).await);
    assert_eq!(net.0[0].mesh.stats().strangers, 1);
    assert_eq!(net.0[0].mesh.peers().count(), 0);
    // It is heard and answered.
    first.send(ping(5)).await.unwrap();
    net.until("a message", |net| net.0[0].heard_round(11, 5))
        .await;
    net.0[0].send(11, 6);
    let answer = net.during("an answer", first.next()).await;
    assert_eq!(answer.unwrap().unwrap(), ping(6));
    // One that goes leaves room, and what is sent to it is counted.
    drop(second);
    net.until("the loss", |net| net.0[0].mesh.stats().lost == 1)
        .await;
    net.0[0].send(12, 0);
    assert_eq!(net.0[0].mesh.stats().unroutable, 1);
    let _third = net.during("a handshake", fake(13, addr)).await;
    net.until("the third", |net| net.0[0].is_connected(13))
        .await;
}

#[test]
fn ten_thousand_connections_leave_leader_and_memory_as_they_were() {
    const BATCH: usize = 100;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut net = Net::cluster([1, 2, 3], |builder| builder.max_pending(8));
    runtime.block_on(net.until("a leader", |net| {
        net.leader().is_some() && net.all_connected()
    }));
    let (leader, term) = (net.leader(), net.term());
    let at = net.0.iter().position(Site::is_leader).unwrap();
    let addr = net.0[at].addr();
    let hello = hello_bytes(Hello::new("bills", 9));
    let says = [&b""[..], b"GET /", &hello[..hello.len() / 2], &hello];

    let come = |net: &mut Net, batches: usize| {
        allocation_counter::measure(|| {
            for _ in 0..batches {
                let accepted = net.0[at].mesh.stats().accepted + BATCH as u64;
                let sockets: Vec<_> = (0..BATCH)
                    .map(|number| {
                        let mut socket = std::net::TcpStream::connect(addr).unwrap();
                        socket.write_all(says[number % says.len()]).unwrap();
                        socket
                    })
                    .collect();
                runtime.block_on(net.until("all to be accepted", |net| {
                    net.0[at].mesh.stats().accepted == accepted
                }));
                drop(sockets);
            }
        })
    };
    let first = come(&mut net, 10);
    let rest = come(&mut net, 90);
    let stats = *net.0[at].mesh.stats();
    // 8 that say nothing wait, at 16 KiB each; beside them there is what nodes and peers always take.
    assert!(rest.bytes_max < 200_000, "{rest:?} after {first:?}");
    assert!(rest.bytes_current < 20_000, "{rest:?} after {first:?}");
    assert!(stats.refused() >= 10_000 - 8, "{stats:?}");
    for count in [stats.too_many, stats.garbage, stats.foreign_cluster] {
        assert!(count > 1_000, "{stats:?}");
    }
    assert_eq!((net.leader(), net.term()), (leader, term), "undisturbed");
    assert!(net.0.iter().all(|site| site.errors.is_empty()));
}

#[tokio::test]
async fn a_frame_that_is_none_ends_its_connection_and_is_told() {
    let too_long = 65_537_u32.to_be_bytes().to_vec();
    let malformed = [&4_u32.to_be_bytes()[..], b"\x10abc"].concat();
    let version = [&4_u32.to_be_bytes()[..], b"\x20abc"].concat();
    let truncated = vec![0, 0, 0, 9, 16];
    let tell: [fn(&CodecError) -> bool; 4] = [
        |error| matches!(error, CodecError::FrameTooLong { len: 65_537, .. }),
        |error| matches!(error, CodecError::Malformed { .. }),
        |error| matches!(error, CodecError::Version { found: 0x20 }),
        |error| matches!(error, CodecError::Truncated { .. }),
    ];
    let mut net = Net::of([builder(1)]);
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    let addr = net.0[0].addr();
    for (bytes, tells) in [too_long, malformed, version, truncated]
        .into_iter()
        .zip(tell)
    {
        let mut fake = net.during("a handshake", fake(2, addr)).await.into_inner();
        fake.write_all(&bytes).await.unwrap();
        fake.shutdown().await.unwrap();
        net.until("the error", |net| !net.0[0].errors.is_empty())
            .await;
        let errors = std::mem::take(&mut net.0[0].errors);
        assert!(
            matches!(&errors[..], [MeshError::Broken { peer: 2, source }] if tells(source)),
            "{errors:?}"
        );
        assert!(!net.0[0].is_connected(2));
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_told_and_the_connection_stays() {
    let mut net = Net::of([builder(1).max_frame_len(20), builder(2)]);
    net.until("a connection", Net::all_connected).await;
    let long = Message::new(u64::MAX, Stamp::new(1, u64::MAX), MessageKind::TimeoutNow);
    let sent = net.0[0].mesh.send((2, long)).now_or_never();
    assert_eq!(sent, Some(Ok(())));
    net.until("the error", |net| !net.0[0].errors.is_empty())
        .await;
    let errors = &net.0[0].errors;
    assert!(
        matches!(
            &errors[..],
            [MeshError::NotSent {
                peer: 2,
                source: CodecError::FrameTooLong { .. }
            }]
        ),
        "{errors:?}"
    );
    assert_eq!(net.0[0].mesh.stats().not_sent, 1);
    net.pass(0, 1, 3).await;
}

#[tokio::test]
async fn peers_without_messages_stay_connected_and_silent_ones_do_not() {
    let mut net = Net::of([1, 2].map(|id| builder(id).idle_timeout(SHORT)));
    net.until("a connection", Net::all_connected).await;
    net.0[0].mesh.insert_peer(3, "127.0.0.1:1");
    let addr = net.0[0].addr();
    for round in 0..4 {
        let _silent = net.during("a handshake", fake(3, addr)).await;
        net.until("the loss", |net| net.0[0].errors.len() > round)
            .await;
    }
    for error in &net.0[0].errors {
        assert!(
            matches!(error, MeshError::Silent { peer: 3, .. }),
            "{error:?}"
        );
    }
    assert!(net.all_connected() || net.0[0].is_connected(2));
    assert!(net.0[1].errors.is_empty(), "{:?}", net.0[1].errors);
}

#[tokio::test]
async fn silence_while_nobody_listens_is_no_ones_fault() {
    let mut net = Net::of([1, 2].map(|id| builder(id).idle_timeout(SHORT)));
    net.until("a connection", Net::all_connected).await;
    std::thread::sleep(SHORT * 2);
    net.pass(0, 1, 1).await;
    net.pass(1, 0, 1).await;
    assert!(net.0.iter().all(|site| site.errors.is_empty()));
}

#[tokio::test]
async fn peers_come_and_go_at_run_time() {
    let mut net = Net(vec![1, 2]
        .into_iter()
        .map(|id| Site::new(builder(id).build().unwrap()))
        .collect());
    let [one, two] = [0, 1].map(|site| net.0[site].addr());
    net.0[0].send(2, 0);
    assert_eq!(net.0[0].mesh.stats().unroutable, 1);
    net.0[0].mesh.insert_peer(1, one); // itself
    assert_eq!(net.0[0].mesh.peers().count(), 0);

    // A wrong address first.
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    net.0[1].mesh.insert_peer(1, "localhost:1");
    net.until("a dial", |net| net.0[0].mesh.stats().unreachable > 1)
        .await;
    net.0[0]
        .mesh
        .insert_peer(2, format!("localhost:{}", two.port()));
    net.until("a connection", Net::all_connected).await;
    net.pass(0, 1, 1).await;
    // A connection stays, whatever becomes of the address.
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    net.pass(1, 0, 2).await;
    assert!(net.0.iter().all(|site| site.errors.is_empty()));

    assert!(net.0[0].mesh.remove_peer(&2));
    assert!(!net.0[0].mesh.remove_peer(&2));
    net.until("the loss", |net| !net.0[1].is_connected(1)).await;
    net.0[1].mesh.insert_peer(1, one);
    net.until("a stranger", |net| net.0[0].mesh.stats().strangers > 0)
        .await;
    net.0[0].mesh.insert_peer(2, two);
    net.until("a connection", Net::all_connected).await;
    net.pass(0, 1, 3).await;
    // Another node at a peer's address.
    net.0[0].mesh.insert_peer(7, two);
    net.until("the other one", |net| net.0[0].mesh.stats().wrong_id > 0)
        .await;
}

#[tokio::test]
async fn a_mesh_that_is_inserted_a_peer_wakes_its_task() {
    let (addr, hello) = (any_port(), Hello::new(CLUSTER, 1_u64));
    let listener = TcpListener::bind(addr).await.unwrap();
    let mut mesh = Mesh::builder(hello).build().unwrap();
    let (mut count, mut peer) = (0, Some(listener.local_addr().unwrap()));
    let mut inserted = Box::pin(async { fake_dialled(2, &listener).await });
    let met = poll_fn(|cx| {
        count += 1;
        let _ = mesh.poll_next_unpin(cx);
        if let Some(peer) = peer.take() {
            mesh.insert_peer(2, peer);
        }
        inserted.as_mut().poll(cx)
    });
    timeout(PATIENCE, met).await.unwrap();
    assert!(count > 1);
}

#[tokio::test]
async fn dropped_at_any_point_it_leaves_the_other_one_well() {
    let mut net = Net::of([builder(1)]);
    for polls in 0..25 {
        let other = builder(2).peer(1, net.0[0].addr()).build().unwrap();
        net.0[0].mesh.insert_peer(2, other.local_addr().unwrap());
        net.0.push(Site::new(other));
        let mut left = polls;
        let some = poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            for site in &mut net.0 {
                site.send(3 - site.id(), left);
                let _ = site.poll(cx);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        timeout(PATIENCE, some).await.unwrap();
        net.0.truncate(1);
        net.until("the loss", |net| !net.0[0].is_connected(2)).await;
    }
    net.0.push(Site::new(builder(2).build().unwrap()));
    net.acquaint();
    net.until("a connection", Net::all_connected).await;
    net.0[1].heard.clear();
    net.pass(0, 1, 1000).await;
    net.pass(1, 0, 1000).await;
}

#[tokio::test]
async fn closed_it_sends_what_waits_and_ends() {
    let mut net = Net::of([builder(1), builder(2)]);
    net.until("a connection", Net::all_connected).await;
    let mut closing = net.0.remove(0);
    // Unread at the end: must not take back what is sent last.
    net.0[0].send(1, 8);
    let last = Pin::new(&mut closing.mesh).start_send((2, ping(9)));
    assert_eq!(last, Ok(()));
    let closed = net.during("closing", closing.mesh.close()).await;
    assert_eq!(closed, Ok(()));
    assert!(closing.mesh.next().await.is_none());
    assert!(closing.mesh.next().await.is_none());
    net.until("the last message", |net| net.0[0].heard_round(1, 9))
        .await;
    net.until("the loss", |net| !net.0[0].errors.is_empty())
        .await;
    assert!(matches!(
        net.0[0].errors[..],
        [MeshError::Closed { peer: 1 }]
    ));
    closing.send(2, 10);
    assert_eq!(closing.mesh.stats().unroutable, 1);
    assert_eq!(closing.mesh.close().await, Ok(()));
}

#[tokio::test]
async fn closing_takes_back_nothing_that_was_sent() {
    let mut net = Net::of([builder(1).handshake_timeout(PATIENCE)]);
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    let addr = net.0[0].addr();
    let mut slow = net.during("a handshake", fake(2, addr)).await;
    net.until("a connection", |net| net.0[0].is_connected(2))
        .await;
    for round in 0..100_000 {
        net.0[0].send(2, round);
        if round % 64 == 0 {
            tokio::task::coop::consume_budget().await;
        }
    }
    // Never read: the mesh is not polled any more.
    slow.send(ping(0)).await.unwrap();
    let read = async {
        let (mut last, mut ends) = (None, Ok(()));
        while let Some(read) = slow.next().await {
            match read {
                Ok(message) => last = Some(message),
                Err(error) => ends = Err(error),
            }
        }
        drop(slow);
        (last, ends)
    };
    let both = async { tokio::join!(net.0[0].mesh.close(), read) };
    let (closed, (last, ends)) = timeout(PATIENCE, both).await.unwrap();
    assert_eq!(closed, Ok(()));
    assert!(ends.is_ok(), "{ends:?}");
    assert_eq!(last, Some(ping(99_999)));
}

#[tokio::test]
async fn a_peer_that_never_reads_holds_up_closing_for_a_while_only() {
    let mut net = Net::of([builder(1).handshake_timeout(SHORT)]);
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    let addr = net.0[0].addr();
    let mute = net.during("a handshake", fake(2, addr)).await;
    net.until("a connection", |net| net.0[0].is_connected(2))
        .await;
    for round in 0..400_000 {
        net.0[0].send(2, round);
    }
    let closed = timeout(PATIENCE, net.0[0].mesh.close()).await;
    assert_eq!(closed, Ok(Ok(())));
    drop(mute);
}

#[test]
fn what_cannot_be_built_is_told() {
    let taken = std::net::TcpListener::bind(any_port()).unwrap();
    let addr = taken.local_addr().unwrap();
    let error = builder(1).listen(addr).build().unwrap_err();
    assert!(matches!(error, MeshBuildError::Bind { address, .. } if address == addr));
    assert!(error.to_string().contains(&addr.to_string()), "{error}");

    let error = Mesh::builder(Hello::new("x".repeat(2000), 1_u64))
        .build()
        .unwrap_err();
    assert!(matches!(error, MeshBuildError::Hello { .. }), "{error}");

    let (zero, long) = (Duration::ZERO, Duration::MAX);
    for (settings, name) in [
        (builder(1).max_pending(0), "max_pending"),
        (builder(1).handshake_timeout(zero), "handshake_timeout"),
        (builder(1).idle_timeout(long), "idle_timeout"),
        (builder(1).backoff(zero, SHORT), "backoff"),
        (builder(1).backoff(SHORT, long), "backoff"),
        (builder(1).backoff(SHORT * 2, SHORT), "backoff"),
    ] {
        let error = settings.build().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// The second half of the next test, in a process that may have few descriptors.
const FEW: &str = "STREAMRAFT_TEST_FEW_DESCRIPTORS";

#[test]
#[cfg(unix)]
fn without_descriptors_it_says_so_once_and_goes_on_later() {
    let Ok(_) = std::env::var(FEW) else {
        let itself = std::env::current_exe().unwrap();
        let status = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\""])
            .arg(itself)
            .args([
                "--exact",
                "without_descriptors_it_says_so_once_and_goes_on_later",
            ])
            .env(FEW, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut net = Net::of([builder(1)]);
    let addr = net.0[0].addr();
    runtime.block_on(async {
        net.until("the listener", |_| true).await;
        let mut sockets = Vec::new();
        while let Ok(socket) = std::net::TcpStream::connect(addr) {
            sockets.push(socket);
        }
        let began = Instant::now();
        net.until("the error", |net| !net.0[0].errors.is_empty())
            .await;
        let mut polls = 0;
        let spun = poll_fn(|cx| {
            polls += 1;
            let _ = net.0[0].poll(cx);
            Poll::<()>::Pending
        });
        assert!(timeout(Duration::from_secs(2), spun).await.is_err());
        assert!(polls < 100, "{polls} polls in two seconds");
        assert!(
            matches!(net.0[0].errors[..], [MeshError::Listen { address, .. }] if address == addr)
        );
        // Nothing but the end of its pause can wake it.
        let accepted = net.0[0].mesh.stats().accepted;
        let dropped = std::thread::spawn(move || {
            std::thread::sleep(SHORT);
            drop(sockets);
        });
        net.until("more", |net| net.0[0].mesh.stats().accepted > accepted)
            .await;
        dropped.join().unwrap();
        assert!(began.elapsed() < PATIENCE);
        let mut socket = std::net::TcpStream::connect(addr).unwrap();
        socket.write_all(b"GET /").unwrap();
        let garbage = net.0[0].mesh.stats().garbage;
        net.until("garbage", |net| net.0[0].mesh.stats().garbage > garbage)
            .await;
        assert!(socket.read(&mut [0; 8]).is_ok() || socket.peer_addr().is_err() || garbage == 0);
    });
}
