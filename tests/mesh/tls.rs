//! Meshes that are encrypted: who is let in, who is not, and by which counter it shows.

use std::sync::Arc;

use rcgen::SanType;
use streamraft::rustls::HandshakeKind;
use streamraft::rustls::pki_types::ServerName;
use streamraft::{MeshStats, MeshTls, MeshTlsError, PeerAddr};
use tokio_rustls::TlsConnector;

use crate::certs::{Ca, client, lax_server, name, server};
use crate::net::*;

/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";

pub(crate) fn secure(id: u64, tls: MeshTls) -> MeshBuilder<u64> {
    builder(id).tls_named(tls, name).handshake_timeout(SHORT)
}

/// Three nodes of one CA, of which 1 and 3 run by it and the others call.
pub(crate) async fn cluster(ca: &Ca) -> Net {
    let mut net = Net::cluster([1, 2, 3], |builder| {
        let id = builder.clone().build().unwrap().hello().node_id;
        builder.tls_named(ca.tls(id), name).handshake_timeout(SHORT)
    });
    net.until("a leader", |net| {
        net.leader().is_some() && net.all_connected()
    })
    .await;
    net
}

pub(crate) fn add(net: &mut Net, mesh: Mesh<u64>) {
    net.0.push(Site::new(mesh));
}

#[tokio::test]
async fn three_nodes_with_certificates_elect_a_leader_and_another_when_it_goes() {
    let ca = Ca::new();
    let mut net = cluster(&ca).await;
    let first = net.leader().unwrap();
    net.0.retain(|site| site.id() != first);
    net.until("another leader", |net| net.leader().is_some())
        .await;
    for site in &net.0 {
        let stats = site.mesh.stats();
        let refused = stats.bad_certificate + stats.foreign_id + stats.refused_by_peer;
        assert_eq!(refused + stats.garbage, 0, "{stats:?}");
    }
}

/// Ids that are no DNS names stand in certificates as URIs.
#[tokio::test]
async fn numbers_are_ids_too() {
    let ca = Ca::new();
    let mut net = Net::of([1_u64, 2].map(|id| {
        let alt_name = MeshTls::alt_name(&id.to_string());
        let uri = alt_name.strip_prefix("URI:").unwrap();
        let issued = ca.issue([SanType::URI(uri.try_into().unwrap())], |_| {});
        builder(id).tls(issued.tls(&ca.pem()))
    }));
    net.until("a connection", Net::all_connected).await;
    net.pass(0, 1, 1).await;
    net.pass(1, 0, 2).await;
}

type Count = fn(&MeshStats) -> u64;

/// Certificates for node 2 that are refused, and the counter that tells.
fn bad_certificates(ca: &Ca) -> Vec<(&'static str, MeshTls, Count)> {
    let trusted = ca.pem();
    let foreign = Ca::new().node(2);
    let bad: Count = |stats| stats.bad_certificate;
    let other: Count = |stats| stats.foreign_id;
    let mut all = vec![
        ("of another CA", foreign.unchecked(&trusted), bad),
        ("another node's", ca.node(3).unchecked(&trusted), other),
        ("nobody's", ca.issue([], |_| {}).unchecked(&trusted), other),
    ];
    for (what, issued) in ca.bad(2) {
        all.push((what, issued.unchecked(&trusted), bad));
    }
    all
}

#[tokio::test]
async fn who_dials_with_a_bad_certificate_is_refused_and_the_cluster_undisturbed() {
    let ca = Ca::new();
    let mut net = cluster(&ca).await;
    let (leader, term) = (net.leader(), net.term());
    let at = net.0.iter().position(Site::is_leader).unwrap();
    let target = net.0[at].addr();
    // Each claims to be a node that the leader is connected with.
    let claims = if leader == Some(2) { 7 } else { 2 };
    let before = *net.0[at].mesh.stats();

    let mut bad = bad_certificates(&ca);
    let none = MeshTls::from_configs(server(&ca.pem(), &ca.node(2)), client(&ca.pem(), None));
    bad.push(("missing", none, |stats| stats.bad_certificate));
    for (what, tls, count) in bad {
        let counted = count(net.0[at].mesh.stats());
        let impostor = secure(claims, tls).peer(leader.unwrap(), target);
        add(&mut net, impostor.build().unwrap());
        net.until(what, |net| count(net.0[at].mesh.stats()) > counted)
            .await;
        // A certificate that is refused in the handshake is told by an alert. Another's is only found out later.
        let told: Count = |stats| stats.refused_by_peer + stats.connected;
        net.until(what, |net| told(net.0[3].mesh.stats()) > 0).await;
        net.0.pop();
    }
    let stats = *net.0[at].mesh.stats();
    assert_eq!(stats.connected, before.connected, "{stats:?}");
    assert_eq!((net.leader(), net.term()), (leader, term), "undisturbed");
    assert!(net.0.iter().all(|site| site.errors.is_empty()));
}

#[tokio::test]
async fn who_answers_with_a_bad_certificate_is_not_spoken_to() {
    let ca = Ca::new();
    for (what, tls, count) in bad_certificates(&ca) {
        let mut net = Net(Vec::new());
        add(&mut net, secure(1, ca.tls(1)).build().unwrap());
        add(&mut net, secure(2, tls).build().unwrap());
        let at = net.0[1].addr();
        net.0[0].mesh.insert_peer(2, at);
        net.until(what, |net| count(net.0[0].mesh.stats()) > 0)
            .await;
        net.until(what, |net| {
            let stats = net.0[1].mesh.stats();
            stats.refused_by_peer + stats.broken_off > 0
        })
        .await;
        let [good, bad] = [0, 1].map(|site| *net.0[site].mesh.stats());
        assert_eq!(good.connected + bad.connected, 0, "{what}");
        // That one's hello would have been a stranger's.
        assert_eq!(bad.strangers, 0, "{what}");
    }
}

#[tokio::test]
async fn settings_that_let_everybody_in_do_not() {
    let ca = Ca::new();
    let (own, trusted) = (ca.node(1), ca.pem());
    let lax = MeshTls::from_configs(lax_server(&own), client(&trusted, Some(&own)));
    let mut net = Net(Vec::new());
    add(&mut net, secure(1, lax).peer(2, NOWHERE).build().unwrap());
    let at = net.0[0].addr();
    let none = MeshTls::from_configs(server(&trusted, &own), client(&trusted, None));
    add(&mut net, secure(2, none).peer(1, at).build().unwrap());
    net.until("a refusal", |net| net.0[0].mesh.stats().bad_certificate > 0)
        .await;
    assert_eq!(net.0[0].mesh.stats().connected, 0);
}

#[tokio::test]
async fn one_with_tls_and_one_without_do_not_understand_each_other() {
    let ca = Ca::new();
    let plain = || builder(2).handshake_timeout(SHORT);
    // Which of the two dials.
    for dials in [0, 1] {
        let mut net = Net(Vec::new());
        add(&mut net, secure(1, ca.tls(1)).build().unwrap());
        add(&mut net, plain().build().unwrap());
        let (id, at) = (net.0[1 - dials].id(), net.0[1 - dials].addr());
        net.0[dials].mesh.insert_peer(id, at);
        net.until("refusals", |net| {
            let refused = |site: &Site| {
                let stats = site.mesh.stats();
                stats.garbage + stats.broken_off + stats.unreachable > 0
            };
            net.0.iter().all(refused)
        })
        .await;
        let garbage: u64 = net.0.iter().map(|site| site.mesh.stats().garbage).sum();
        assert!(garbage > 0);
        for site in &net.0 {
            assert_eq!(site.mesh.stats().connected, 0);
            assert_eq!(site.mesh.stats().timed_out, 0, "told at once");
        }
    }
}

#[tokio::test]
async fn no_session_is_resumed() {
    let ca = Ca::new();
    // Settings of rustls that would resume, and the ones that are made here.
    let own = ca.node(1);
    for tls in [own.tls(&ca.pem()), own.unchecked(&ca.pem())] {
        let mut net = Net(Vec::new());
        add(&mut net, secure(1, tls).peer(2, NOWHERE).build().unwrap());
        let addr = net.0[0].addr();
        let connector = TlsConnector::from(Arc::new(client(&ca.pem(), Some(&ca.node(2)))));
        for round in 0..3 {
            let server = ServerName::try_from(name(&1)).unwrap();
            let dial = async {
                let socket = TcpStream::connect(addr).await.unwrap();
                let socket = connector.connect(server, socket).await.unwrap();
                let hello = Hello::new(CLUSTER, 2_u64);
                greet(socket, &hello).await.unwrap().1
            };
            let mut peer = net.during("a handshake", dial).await;
            // A ticket would have come before this.
            net.until("the connection", |net| net.0[0].is_connected(2))
                .await;
            net.0[0].send(2, round);
            let heard = net.during("a message", peer.next()).await;
            assert_eq!(heard.unwrap().unwrap(), ping(round));
            let kind = peer.get_ref().get_ref().1.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn certificates_and_the_ca_are_replaced_while_the_mesh_runs() {
    let (old, new) = (Ca::new(), Ca::new());
    let both = old.pem() + &new.pem();
    let mut net = Net::of([1, 2].map(|id| secure(id, old.tls(id))));
    net.until("a connection", Net::all_connected).await;

    // All trust in both; then each shows its new one; then nobody trusts in the old one.
    for site in &mut net.0 {
        let tls = old.node(site.id()).tls(&both);
        site.mesh.set_tls(tls).unwrap();
    }
    for place in [0, 1] {
        let id = net.0[place].id();
        net.0[place].mesh.set_tls(new.node(id).tls(&both)).unwrap();
        reconnect(&mut net).await;
    }
    for place in [0, 1] {
        let id = net.0[place].id();
        net.0[place].mesh.set_tls(new.tls(id)).unwrap();
        reconnect(&mut net).await;
    }

    // An open connection is left alone, the next one is not made.
    net.0[0].mesh.set_tls(old.tls(1)).unwrap();
    net.pass(0, 1, 1).await;
    net.pass(1, 0, 2).await;
    let at = net.0[1].addr();
    net.0[0].mesh.remove_peer(&2);
    net.0[0].mesh.insert_peer(2, at);
    net.until("a refusal", |net| net.0[0].mesh.stats().bad_certificate > 0)
        .await;
    assert!(!net.0[0].is_connected(2));

    // What is wrong changes nothing.
    let error = net.0[0].mesh.set_tls(new.tls(2)).unwrap_err();
    assert!(matches!(error, MeshTlsError::ForeignId { .. }), "{error}");
    net.0[0].mesh.set_tls(new.tls(1)).unwrap();
    net.until("a connection", Net::all_connected).await;
    let mut plain = builder(1).build().unwrap();
    let error = plain.set_tls(new.tls(1)).unwrap_err();
    assert!(matches!(error, MeshTlsError::PlainText), "{error}");
}

/// The first site lets the second go and takes it in again.
async fn reconnect(net: &mut Net) {
    let at: PeerAddr = net.0[1].addr().into();
    let connected = |net: &Net| net.0.iter().map(|site| site.mesh.stats().connected).sum();
    let before: u64 = connected(net);
    net.0[0].mesh.remove_peer(&2);
    net.until("the loss", |net| !net.0[1].is_connected(1)).await;
    net.0[0].mesh.insert_peer(2, at);
    net.until("a connection", |net| {
        net.all_connected() && connected(net) >= before + 2
    })
    .await;
    net.0[1].errors.clear();
    net.pass(0, 1, 1).await;
    net.pass(1, 0, 2).await;
}
