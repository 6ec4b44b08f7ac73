//! Three nodes over QUIC, whose certificates say who they are. `cargo run --example quic`.
//!
//! - **Datagrams**, not a stream: what an election says is outdated by what it says next. A stream would send a lost
//!   heartbeat again and hold back the newer ones behind it; a datagram that is lost is lost, and of those that cannot
//!   leave quinn drops the oldest. What is too long for a datagram (a membership of many voters) goes by a stream of its
//!   own, which holds up nothing.
//! - **Mutual TLS**: the name in a peer's certificate is `ID.CLUSTER`, so who a peer is, and that it belongs here, is
//!   proved and not claimed. A certificate of the same authority for another cluster does not get in.
//! - quinn drives its sockets with tasks of its own. The node, its transport and this program have none.

#[path = "transports/bytes.rs"]
mod bytes;
#[path = "transports/peers.rs"]
mod peers;
#[path = "transports/story.rs"]
mod story;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, TryStreamExt, sink, stream};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls::client::verify_server_name;
use quinn::rustls::crypto::ring::default_provider;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use quinn::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use quinn::rustls::version::TLS13;
use quinn::rustls::{ClientConfig, RootCertStore, ServerConfig};
use quinn::{Endpoint, Incoming, SendDatagramError, TransportConfig, VarInt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use streamraft::{Message, NodeId};
use tokio::time::{sleep, timeout};

use peers::{Connection, Dial, GREETING_LIMIT, Greeted, MOST_GREETINGS, Peers};
use story::{CLUSTER, Failure, Story, exit_code, nodes};

/// The version of what is spoken. Who speaks another does not get in.
const PROTOCOL: &[u8] = b"streamraft/1";

/// How often a connection shows that it lives, and how much silence is taken for its end. Until then a peer that was
/// killed and has come back cannot be reached by the old connection.
const KEEP_ALIVE: Duration = Duration::from_millis(250);
const SILENCE: Duration = Duration::from_secs(1);

/// Signs certificates, as the authority of a company does. In a service, certificates and keys come from files.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Result<Authority, Failure> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// The name in a node's certificate.
fn name(id: &NodeId, cluster: &str) -> String {
    format!("{id}.{cluster}")
}

/// One node's socket, with a certificate for this name by this signer.
fn endpoint(
    at: SocketAddr,
    name: String,
    signer: &Authority,
    trusted: &Authority,
) -> Result<Endpoint, Failure> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([name])?.signed_by(&key, signer)?;
    let key = || PrivateKeyDer::try_from(key.serialize_der());
    let chain = vec![certificate.der().clone()];
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone())?;
    let (roots, ring) = (Arc::new(roots), Arc::new(default_provider()));

    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), ring.clone());
    let mut server = ServerConfig::builder_with_provider(ring.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(chain.clone(), key()?)?;
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    let mut client = ClientConfig::builder_with_provider(ring)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key()?)?;
    client.alpn_protocols = vec![PROTOCOL.to_vec()];

    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(SILENCE.try_into()?))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .receive_window(VarInt::try_from(2 * bytes::LIMIT)?)
        .datagram_receive_buffer_size(Some(bytes::LIMIT))
        .datagram_send_buffer_size(8 * 1024);
    let transport = Arc::new(transport);
    let mut server =
        quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    server.transport_config(transport.clone());
    let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
    client.transport_config(transport);
    let mut endpoint = Endpoint::server(server, at)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// The handshake checks that the certificate of who answers is that peer's.
async fn dial(endpoint: Endpoint, at: SocketAddr, peer: NodeId) -> Greeted {
    let quic = endpoint.connect(at, &name(&peer, CLUSTER))?.await?;
    Ok(connection(peer, quic))
}

/// The handshake checks that the certificate is of the authority. Of which peer it is, is asked here.
async fn accept(incoming: Incoming, peers: Vec<NodeId>) -> Greeted {
    let quic = incoming.await?;
    match peers.into_iter().find(|id| is(id, &quic)) {
        Some(peer) => Ok(connection(peer, quic)),
        None => {
            quic.close(VarInt::from_u32(1), b"this certificate is no peer's");
            Err(format!(
                "the certificate from {} is no peer's",
                quic.remote_address()
            )
            .into())
        }
    }
}

/// Whether the certificate at the other end is this peer's.
fn is(peer: &NodeId, quic: &quinn::Connection) -> bool {
    let identity = quic.peer_identity();
    let chain = identity.and_then(|it| it.downcast::<Vec<CertificateDer<'_>>>().ok());
    let certificate = chain.as_ref().and_then(|chain| chain.first());
    let certificate = certificate.and_then(|it| ParsedCertificate::try_from(it).ok());
    let name = ServerName::try_from(name(peer, CLUSTER));
    certificate
        .zip(name.ok())
        .is_some_and(|(certificate, name)| verify_server_name(&certificate, &name).is_ok())
}

fn connection(peer: NodeId, quic: quinn::Connection) -> Connection {
    let to_peer = sink::unfold(quic.clone(), async |quic, message: Message| {
        let bytes = bytes::encode(message)?;
        match quic.send_datagram(bytes.clone()) {
            Err(SendDatagramError::TooLarge) => {
                let mut stream = quic.open_uni().await?;
                stream.write_all(&bytes).await?;
                stream.finish()?;
            }
            sent => sent?,
        }
        Ok::<_, Failure>(quic)
    });
    let datagrams = stream::try_unfold(quic.clone(), async |quic| {
        Ok::<_, Failure>(Some((quic.read_datagram().await?, quic)))
    });
    let streams = stream::try_unfold(quic, async |quic| {
        let mut stream = quic.accept_uni().await?;
        Ok(Some((stream.read_to_end(bytes::LIMIT).await?.into(), quic)))
    });
    let from_peer =
        stream::select(datagrams, streams).try_filter_map(async |bytes| Ok(bytes::decode(bytes)?));
    Connection {
        peer,
        to_peer: Box::pin(to_peer),
        from_peer: from_peer.boxed(),
    }
}

/// Everything that comes in at an endpoint: at most so many at once that have not proved who they are.
fn accepted(endpoint: Endpoint, peers: Vec<NodeId>) -> impl Stream<Item = Greeted> + Send {
    let incoming = stream::unfold(endpoint, async |endpoint| {
        Some((endpoint.accept().await?, endpoint))
    });
    incoming
        .map(move |incoming| {
            let accepted = accept(incoming, peers.clone());
            async move { timeout(GREETING_LIMIT, accepted).await? }
        })
        .buffer_unordered(MOST_GREETINGS)
}

/// quinn keeps a socket until the last connection has been taken leave of.
async fn endpoint_again(
    at: SocketAddr,
    name: &str,
    authority: &Authority,
) -> Result<Endpoint, Failure> {
    let again = async {
        loop {
            match endpoint(at, name.to_owned(), authority, authority) {
                Ok(endpoint) => return endpoint,
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let late = |_| format!("{at} is not free again").into();
    timeout(GREETING_LIMIT, again).await.map_err(late)
}

/// How it ends for who should not get in. In TLS 1.3 the dialler is through before its certificate is looked at.
async fn refusal(stranger: Endpoint, at: SocketAddr, peer: &NodeId) -> Result<String, Failure> {
    let why = match stranger.connect(at, &name(peer, CLUSTER))?.await {
        Ok(quic) => timeout(GREETING_LIMIT, quic.closed())
            .await
            .map_err(|_| "it was let in")?,
        Err(error) => error,
    };
    Ok(format!("it learns: {why}"))
}

async fn run() -> Result<(), Failure> {
    let authority = authority()?;
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (mut endpoints, mut addresses) = (BTreeMap::new(), BTreeMap::new());
    for id in nodes()? {
        let endpoint = endpoint(anywhere, name(&id, CLUSTER), &authority, &authority)?;
        addresses.insert(id.clone(), endpoint.local_addr()?);
        endpoints.insert(id, endpoint);
    }
    let at = addresses.clone();
    let mut story = Story::new(async |me: &NodeId| {
        let endpoint = match endpoints.remove(me) {
            Some(first) => first,
            None => endpoint_again(at[me], &name(me, CLUSTER), &authority).await?,
        };
        let peers: Vec<_> = at.keys().filter(|id| *id != me).cloned().collect();
        let accepted = accepted(endpoint.clone(), peers.clone()).boxed();
        let addresses = at.clone();
        let dial: Dial =
            Box::new(move |peer| dial(endpoint.clone(), addresses[&peer], peer).boxed());
        Ok(Peers::new(me, peers, dial, accepted))
    });

    story.tell().await?;

    let [a, b, _] = nodes()?;
    let other = self::authority()?;
    let strangers = [
        (
            "a certificate for another cluster",
            name(&a, "bills"),
            &authority,
        ),
        (
            "a certificate for a by another authority",
            name(&a, CLUSTER),
            &other,
        ),
    ];
    for (what, name, signer) in strangers {
        let stranger = endpoint(anywhere, name, signer, &authority)?;
        let refused = refusal(stranger, addresses[&b], &b);
        story
            .meanwhile(&format!("somebody dials b with {what}"), refused)
            .await?;
    }
    story.summary();
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit_code("quic", run().await)
}

#[cfg(test)]
#[path = "transports/quic_tests.rs"]
mod tests;
