//! Somebody else's sockets: here pipes in memory, which one task connects.

use std::io;

use streamraft::{Opening, Sockets};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::net::*;

/// Dials one other mesh, and is dialled by it.
struct Pipes {
    coming: Receiver<io::Result<DuplexStream>>,
    going: Sender<io::Result<DuplexStream>>,
    /// Whether what is accepted ever opens.
    opens: bool,
}

impl Pipes {
    fn pair() -> [Self; 2] {
        let ((to_1, at_1), (to_2, at_2)) = (channel(8), channel(8));
        [(at_1, to_2), (at_2, to_1)].map(|(coming, going)| Self {
            coming,
            going,
            opens: true,
        })
    }
}

impl Sockets for Pipes {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Opening>> {
        let Poll::Ready(Some(pipe)) = self.coming.poll_recv(cx) else {
            return Poll::Pending;
        };
        let pipe = pipe?;
        Poll::Ready(Ok(if self.opens {
            Opening::open(pipe)
        } else {
            Opening::new(std::future::pending::<io::Result<DuplexStream>>())
        }))
    }

    fn connect(&mut self, addr: &streamraft::PeerAddr) -> Opening {
        let (here, there) = tokio::io::duplex(64);
        let (going, known) = (self.going.clone(), addr.to_string() == "the other one");
        Opening::new(async move {
            if !known || going.send(Ok(there)).await.is_err() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(here)
        })
    }
}

fn plain(id: u64) -> MeshBuilder<u64> {
    Mesh::builder(Hello::new(CLUSTER, id))
        .handshake_timeout(SHORT)
        .report_transient(true)
}

fn net(builders: [MeshBuilder<u64>; 2], pipes: [Pipes; 2]) -> Net {
    let meshes = builders.into_iter().zip(pipes);
    let sites = meshes.map(|(builder, pipes)| Site::new(builder.build_over(pipes).unwrap()));
    Net(sites.collect())
}

#[tokio::test]
async fn meshes_meet_over_pipes_and_lose_each_other_when_one_goes() {
    let mut net = net([plain(1), plain(2)], Pipes::pair());
    assert_eq!(net.0[0].mesh.listening_at(), None);
    net.0[0].mesh.insert_peer(2, "another one");
    net.until("a dial", |net| net.0[0].mesh.stats().unreachable > 0)
        .await;
    for (site, peer) in [(0, 2), (1, 1)] {
        net.0[site].mesh.insert_peer(peer, "the other one");
    }
    net.until("a connection", Net::all_connected).await;
    net.pass(0, 1, 1).await;
    net.pass(1, 0, 2).await;
    // Closed, it has let go of the sockets too.
    let mut gone = net.0.pop().unwrap();
    net.during("closing", gone.mesh.close()).await.unwrap();
    let unreachable = net.0[0].mesh.stats().unreachable;
    net.until("a dial", |net| {
        net.0[0].mesh.stats().unreachable > unreachable
    })
    .await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_runs_over_them_as_over_others() {
    let ca = crate::certs::Ca::new();
    let secure = |id| {
        let tls = ca.tls(id);
        plain(id).tls_named(tls, crate::certs::name)
    };
    let mut good = net(
        [secure(1), secure(2).peer(1, "the other one")],
        Pipes::pair(),
    );
    good.until("a refusal", |net| net.0[0].mesh.stats().strangers > 0)
        .await;
    good.0[0].mesh.insert_peer(2, "the other one");
    good.until("a connection", Net::all_connected).await;
    good.pass(0, 1, 1).await;
    good.pass(1, 0, 2).await;
}

#[tokio::test]
async fn what_never_opens_has_its_time_and_a_listener_that_fails_is_told() {
    let [dials, mut accepts] = Pipes::pair();
    accepts.opens = false;
    let fails = dials.going.clone();
    let pair = [plain(1).peer(2, "the other one"), plain(2)];
    let mut net = net(pair, [dials, accepts]);
    net.until("its time", |net| {
        let stats = net.0[0].mesh.stats();
        net.0[1].mesh.stats().timed_out > 0 && stats.timed_out + stats.broken_off > 0
    })
    .await;
    fails.send(Err(io::Error::other("broken"))).await.unwrap();
    net.until("the error", |net| !net.0[1].errors.is_empty())
        .await;
    assert!(
        matches!(
            &net.0[1].errors[..],
            [MeshError::Listen { address: None, .. }]
        ),
        "{:?}",
        net.0[1].errors
    );
}

#[test]
fn who_brings_sockets_does_not_listen_elsewhere() {
    let [pipes, _other] = Pipes::pair();
    let error = plain(1).listen(any_port()).build_over(pipes).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("listen") && error.contains("127.0.0.1:0"),
        "{error}"
    );
}
