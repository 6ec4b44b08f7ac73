//! TLS around the connections of a mesh: both sides show a certificate, and each looks whether it is the other's.
//!
//! Absent here: what is said on the connections.

mod error;
mod names;
mod pem;
mod verify;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::{self, ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use error::MeshTlsError;
pub(super) use error::{Fault, ForeignId, fault};

use super::handshake::Refusal;
use super::sockets::Io;
use names::Names;
use pem::Pem;

/// A node's certificate and key, and the CA of its cluster: with them all connections of a [`Mesh`](crate::Mesh) are
/// encrypted, and both sides of each show that they belong to the cluster and are who they say they are.
///
/// ```no_run
/// use streamraft::codec::Hello;
/// use streamraft::{Mesh, MeshTls, NodeId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = MeshTls::from_pem_files("tls/ca.pem", "tls/a.pem", "tls/a.key")?;
/// let mesh = Mesh::builder(Hello::new("orders", NodeId::new("a")?))
///     .listen("0.0.0.0:7000")
///     .peer(NodeId::new("b")?, "b.internal:7000")
///     .tls(tls)
///     .build()?;
/// # drop(mesh);
/// # Ok(()) }
/// ```
///
/// # What is checked
/// - **Each side's certificate**, at each handshake: signed by the CA, directly or through intermediates that stand
///   behind it in its file, and valid now, by the system's clock (also in tests that pause tokio's). Its purposes, if
///   it names any, must be both client and server: every node is both.
/// - **Its names**: one of the subject alternative names must be the peer's id, to the letter and without wildcards.
///   Whoever dials looks whether it is the id that was dialled before it says anything; both look whether it is the id
///   in the hello. Neither the common name nor the address counts. [`alt_name`](Self::alt_name) tells in which form
///   an id stands in a certificate.
/// - **The own certificate**, when it is loaded: that the key is its own, the CA has signed it and it is valid now; and
///   when the mesh is made: that it is for the node's id.
///
/// What is refused is counted in [`MeshStats`](crate::MeshStats) and traced with the reason. A handshake has the time
/// and the places that every other one has ([`handshake_timeout`](crate::MeshBuilder::handshake_timeout),
/// [`max_pending`](crate::MeshBuilder::max_pending)).
///
/// **A CA of the cluster's own**: whatever it has signed for `a` is node `a`, in every cluster of that CA. A connection
/// that is open stays open when its certificate expires; there is no revocation but another CA.
///
/// # What is spoken
/// TLS 1.3, by rustls with ring. No 0-RTT, since what is sent in it can be replayed, and no resumption, so that each
/// connection checks both certificates anew; nodes connect seldom. No name of a node is sent in clear text.
#[derive(Clone)]
pub struct MeshTls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// Not known of somebody's own settings.
    own: Option<Own>,
}

/// The certificate that a node shows.
#[derive(Clone, Debug)]
struct Own {
    what: String,
    names: Names,
}

impl MeshTls {
    /// From files in PEM: the certificates of the CA (several while one replaces another), the node's own certificate
    /// (followed by its intermediates, if it has any), and its private key (PKCS#8, SEC1 or PKCS#1, not encrypted).
    /// Reads them at once, and never again: see [`Mesh::set_tls`](crate::Mesh::set_tls) for when they are replaced.
    ///
    /// # Errors
    /// [`MeshTlsError`] names the file, what was found in it, and what to do.
    pub fn from_pem_files(
        ca: impl AsRef<Path>,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, MeshTlsError> {
        let ca = Pem::read("the CA", ca.as_ref())?;
        let certificate = Pem::read("the certificate", certificate.as_ref())?;
        let key = Pem::read("the key", key.as_ref())?;
        Self::from_parts(&ca, &certificate, &key)
    }

    /// The same from the content of the three files.
    ///
    /// # Errors
    /// [`MeshTlsError`], where the three are named "the CA", "the certificate" and "the key".
    pub fn from_pem(ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, MeshTlsError> {
        let ca = Pem::new("the CA", ca);
        let certificate = Pem::new("the certificate", certificate);
        Self::from_parts(&ca, &certificate, &Pem::new("the key", key))
    }

    fn from_parts(
        ca: &Pem<'_>,
        certificate: &Pem<'_>,
        key: &Pem<'_>,
    ) -> Result<Self, MeshTlsError> {
        let chain = certificate.certificates()?;
        let trust = verify::Trust::new(ca)?;
        let (server, client) = trust.configs(&chain, certificate, key)?;
        let names = chain.first().and_then(|first| Names::of(first).ok());
        let own = Own {
            what: certificate.to_string(),
            names: names.unwrap_or_default(),
        };
        Ok(Self {
            own: Some(own),
            ..Self::from_configs(server, client)
        })
    }

    /// From one's own settings of rustls, as for a key in hardware, revocation lists, or another provider of
    /// cryptography.
    ///
    /// They say which certificates are trusted. Whatever they say, a peer that shows none is refused, and so is one
    /// whose certificate is not for its id, by the same rule. The client's settings are asked for the dialled peer by
    /// its id as a server name, or by `0.0.0.0` if the id is no DNS name. 0-RTT and resumption are switched off. That
    /// the certificate is for this node is not checked here; its peers will.
    #[must_use]
    pub fn from_configs(mut server: ServerConfig, mut client: ClientConfig) -> Self {
        server.max_early_data_size = 0;
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        client.enable_early_data = false;
        client.resumption = Resumption::disabled();
        Self {
            server: Arc::new(server),
            client: Arc::new(client),
            own: None,
        }
    }

    /// How an id stands among a certificate's subject alternative names, as OpenSSL writes them: `DNS:id` if it is a
    /// DNS name; otherwise, and just as good, as a URI of the scheme `streamraft`, where every byte but unreserved
    /// characters is written as `%XX`.
    ///
    /// ```
    /// use streamraft::MeshTls;
    ///
    /// assert_eq!(MeshTls::alt_name("a"), "DNS:a");
    /// assert_eq!(MeshTls::alt_name("7"), "URI:streamraft:7");
    /// assert_eq!(MeshTls::alt_name("10.0.0.2:7000"), "URI:streamraft:10.0.0.2%3A7000");
    /// ```
    #[must_use]
    pub fn alt_name(id: &str) -> String {
        names::written(id)
    }
}

impl fmt::Debug for MeshTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshTls")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

/// TLS, and how the ids of a mesh are written.
pub(super) struct Secure<I> {
    tls: MeshTls,
    name: Arc<dyn Fn(&I) -> String + Send + Sync>,
}

impl<I> Secure<I> {
    pub(super) fn new(tls: MeshTls, name: Arc<dyn Fn(&I) -> String + Send + Sync>) -> Self {
        Self { tls, name }
    }

    /// The same for another certificate.
    pub(super) fn renewed(&self, tls: MeshTls) -> Self {
        Self::new(tls, Arc::clone(&self.name))
    }

    /// Whether the own certificate is this node's, as far as it is known.
    pub(super) fn check_own(&self, id: &I) -> Result<(), MeshTlsError> {
        let Some(own) = &self.tls.own else {
            return Ok(());
        };
        own.names
            .check(&(self.name)(id))
            .map_err(|ForeignId { names, id }| MeshTlsError::ForeignId {
                what: own.what.clone(),
                names: names.to_string(),
                id,
            })
    }

    /// Secures a connection that was dialled. The peer is the dialled one.
    pub(super) async fn dial(
        &self,
        io: Box<dyn Io>,
        peer: &I,
    ) -> Result<(Box<dyn Io>, Names), Refusal> {
        let id = (self.name)(peer);
        let server = ServerName::try_from(id.clone());
        let server = server.unwrap_or_else(|_| ServerName::from(Ipv4Addr::UNSPECIFIED));
        let connector = TlsConnector::from(Arc::clone(&self.tls.client));
        let stream = connector.connect(server, io).await?;
        let names = shown(stream.get_ref().1.peer_certificates())?;
        names.check(&id)?;
        Ok((Box::new(stream), names))
    }

    /// Secures a connection that was accepted. The peer is of this cluster; who it is its hello must say.
    pub(super) async fn answer(&self, io: Box<dyn Io>) -> Result<(Box<dyn Io>, Names), Refusal> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls.server));
        let stream = acceptor.accept(io).await?;
        let names = shown(stream.get_ref().1.peer_certificates())?;
        Ok((Box::new(stream), names))
    }

    /// Whether a certificate is for the id that its holder claims.
    pub(super) fn check(&self, certificate: &Names, claimed: &I) -> Result<(), ForeignId> {
        certificate.check(&(self.name)(claimed))
    }
}

/// What the peer's certificate says. Settings that were not made here may have let it through without one.
fn shown(chain: Option<&[CertificateDer<'_>]>) -> Result<Names, io::Error> {
    let Some(certificate) = chain.and_then(<[_]>::first) else {
        return Err(io::Error::other(rustls::Error::NoCertificatesPresented));
    };
    Names::of(certificate).map_err(io::Error::other)
}

impl<I> Clone for Secure<I> {
    fn clone(&self) -> Self {
        self.renewed(self.tls.clone())
    }
}

impl<I> fmt::Debug for Secure<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tls.fmt(f)
    }
}
