//! Nodes with a log whose connections are encrypted: they elect, commit and lose a leader as others do, and who has a
//! certificate of somebody else gets nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use streamraft::raft::{ClientError, LogLimits, Raft};
use streamraft::{Config, MeshTls, NodeType};
use tokio::time::timeout;

use crate::loopback::{CLUSTER, Carried, Folder, PATIENCE, builder, fill, open, start, three};

/// A CA for tests.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// What this node shows, who trusts in these.
    fn tls(&self, id: u64, trusted: &str) -> MeshTls {
        let alt_name = MeshTls::alt_name(&id.to_string());
        let uri = alt_name.strip_prefix("URI:").unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        let key = key.serialize_pem();
        MeshTls::from_pem(trusted.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    fn mesh(&self, id: u64, trusted: &str, peers: &BTreeMap<u64, SocketAddr>) -> Carried {
        let peers = peers.iter().map(|(id, addr)| (*id, *addr));
        let mesh = builder(id).tls(self.tls(id, trusted)).peers(peers);
        mesh.build().unwrap()
    }
}

#[tokio::test]
async fn three_nodes_over_tls_outlive_their_leader_and_let_nobody_in_who_is_not_of_theirs() {
    let (folder, ca) = (Folder::new("tls"), Ca::new());
    let pem = ca.0.pem();
    let (mut nodes, addrs) = three(&folder, |id| ca.mesh(id, &pem, &BTreeMap::new())).await;
    let (first, last) = fill(&nodes, 0..10).await;
    for node in nodes.values_mut() {
        node.has_applied(&last).await;
    }
    nodes.remove(&first).unwrap().kill().await;
    let (second, last) = fill(&nodes, 10..20).await;
    assert_ne!(second, first);
    let mut logs = Vec::new();
    for node in nodes.values_mut() {
        logs.push(node.has_applied(&last).await);
    }

    // Somebody takes the place of the one that is gone: its id, with a certificate of another CA, who trusts in theirs too.
    let (other, impostors) = (Ca::new(), Folder::new("impostor"));
    let both = other.0.pem() + &pem;
    let peers = addrs.iter().filter(|(id, _)| **id != first);
    let peers: BTreeMap<u64, SocketAddr> = peers.map(|(id, addr)| (*id, *addr)).collect();
    let config = Config::with_id(first, 1..=3).unwrap().cluster(CLUSTER);
    let store = open(&impostors.of(first), first).await;
    let raft = Raft::new(config, LogLimits::default(), store).unwrap();
    let client = raft.client();
    let mut impostor = raft.over(other.mesh(first, &both, &peers));
    let tries = async {
        // Each of the two has refused it more than once.
        while impostor.transport().stats().refused_by_peer < 5 {
            let item = timeout(Duration::from_millis(50), impostor.next()).await;
            if let Ok(Some(Ok(state))) = item {
                assert_eq!(state.leader(), None);
                assert_ne!(state.node_type(), NodeType::Leader);
            }
        }
    };
    timeout(PATIENCE, tries).await.expect("it is refused");
    let stats = impostor.transport().stats();
    assert_eq!(stats.connected, 0, "{stats:?}");
    let log = impostor.get_ref().log();
    assert_eq!((log.last().index, log.commit()), (0, 0));
    assert_eq!(log.state().term(), 0, "nor did it get to campaign");
    let read = async {
        tokio::select! { read = client.read() => read, () = async { while impostor.next().await.is_some() {} } => unreachable!() }
    };
    let read = timeout(PATIENCE, read).await.expect("it is told");
    assert!(matches!(read, Err(ClientError::NotTaken(_))), "{read:?}");
    drop(impostor);

    // The others did not notice, and the one whose place it took comes back.
    let back = ca.mesh(first, &pem, &addrs);
    nodes.insert(first, start(first, back, &folder).await);
    let (_, last) = fill(&nodes, 20..25).await;
    for node in nodes.values_mut() {
        let log = node.has_applied(&last).await;
        assert!(log.starts_with(&logs[0]) || logs[0].starts_with(&log));
    }
    for node in nodes.into_values() {
        node.kill().await;
    }
}
