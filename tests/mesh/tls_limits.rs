//! Those who connect to an encrypted mesh and do not go through with it.

use std::sync::Arc;

use streamraft::rustls::ClientConnection;
use streamraft::rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;

use crate::certs::{Ca, client, name};
use crate::net::*;
use crate::tls::{add, cluster, secure};

#[tokio::test]
async fn whoever_stops_inside_the_handshake_is_cut_off_in_time() {
    let ca = Ca::new();
    let mut net = Net(Vec::new());
    add(&mut net, secure(1, ca.tls(1)).build().unwrap());
    let addr = net.0[0].addr();
    let connector = TlsConnector::from(Arc::new(client(&ca.pem(), Some(&ca.node(2)))));
    let server = || ServerName::try_from(name(&1)).unwrap();

    // Half of the first record, and TLS to its end without a hello.
    let mut half = net.during("TCP", TcpStream::connect(addr)).await.unwrap();
    half.write_all(&client_hello(&ca)[..100]).await.unwrap();
    let socket = net.during("TCP", TcpStream::connect(addr)).await.unwrap();
    let mut mute = net
        .during("TLS", connector.connect(server(), socket))
        .await
        .unwrap();
    net.until("both ends", |net| net.0[0].mesh.stats().timed_out == 2)
        .await;
    let mut rest = Vec::new();
    assert!(half.read(&mut [0]).await.is_err() || rest.is_empty());
    // What it was told is the hello of the mesh, and then nothing more.
    let _ = mute.read_to_end(&mut rest).await;
    assert_eq!(rest, hello_bytes(Hello::new(CLUSTER, 1)));

    // Whoever is dialled, too.
    let listener = TcpListener::bind(any_port()).await.unwrap();
    net.0[0].mesh.insert_peer(2, listener.local_addr().unwrap());
    let (mut silent, _) = net.during("a dial", listener.accept()).await.unwrap();
    let mut first = vec![0; 4096];
    let read = net.during("a hello", silent.read(&mut first)).await;
    first.truncate(read.unwrap());
    assert!(first.starts_with(b"\x16\x03"), "a handshake of TLS");
    let dialled = name(&2);
    let tells = first
        .windows(dialled.len())
        .any(|part| part == dialled.as_bytes());
    assert!(!tells, "whom it dials is nobody's business");
    net.until("the end", |net| net.0[0].mesh.stats().timed_out == 3)
        .await;
}

/// The first bytes of a client that is as good as any.
fn client_hello(ca: &Ca) -> Vec<u8> {
    let config = Arc::new(client(&ca.pem(), Some(&ca.node(2))));
    let server = ServerName::try_from(name(&1)).unwrap();
    let mut connection = ClientConnection::new(config, server).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn thousands_that_stop_inside_the_handshake_leave_leader_and_memory_as_they_were() {
    const BATCH: usize = 50;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ca = Ca::new();
    let mut net = runtime.block_on(cluster(&ca));
    let (leader, term) = (net.leader(), net.term());
    let at = net.0.iter().position(Site::is_leader).unwrap();
    let addr = net.0[at].addr();
    let hello = client_hello(&ca);
    let says = [&hello[..], b"GET /", &hello[..hello.len() / 2], b""];
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
                    net.0[at].mesh.stats().accepted >= accepted
                }));
                drop(sockets);
            }
        })
    };
    let first = come(&mut net, 10);
    let rest = come(&mut net, 50);
    let stats = *net.0[at].mesh.stats();
    // 16 wait at a time, at some 20 KiB each.
    assert!(rest.bytes_max < 400_000, "{rest:?} after {first:?}");
    assert!(rest.bytes_current < 400_000, "{rest:?} after {first:?}");
    assert!(stats.refused() >= 3_000 - 16, "{stats:?}");
    assert_eq!((net.leader(), net.term()), (leader, term), "undisturbed");
    assert!(net.0.iter().all(|site| site.errors.is_empty()));
}
