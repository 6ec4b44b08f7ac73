//! Who is trusted, and the settings of both sides that follow.
//!
//! Absent here: ids. Whoever uses these settings checks the names in a certificate ([`Names`](super::Names)).

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use super::error::MeshTlsError;
use super::pem::Pem;

/// Certificates of this CA, and no others.
pub(super) struct Trust {
    ca: String,
    provider: Arc<CryptoProvider>,
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<Servers>,
}

impl Trust {
    pub(super) fn new(ca: &Pem<'_>) -> Result<Self, MeshTlsError> {
        let provider = Arc::new(ring::default_provider());
        let broken = |source| MeshTlsError::Ca {
            what: ca.to_string(),
            source,
        };
        let mut roots = RootCertStore::empty();
        for certificate in ca.certificates()? {
            roots.add(certificate).map_err(broken)?;
        }
        let roots = Arc::new(roots);
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| broken(Error::General(error.to_string())))?;
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self {
            ca: ca.to_string(),
            provider,
            clients,
            servers: Arc::new(Servers { roots, algorithms }),
        })
    }

    /// The settings of a node with this certificate, which its peers will accept now.
    pub(super) fn configs(
        &self,
        chain: &[CertificateDer<'static>],
        certificate: &Pem<'_>,
        key: &Pem<'_>,
    ) -> Result<(ServerConfig, ClientConfig), MeshTlsError> {
        self.check(chain)
            .map_err(|source| MeshTlsError::Certificate {
                what: certificate.to_string(),
                ca: self.ca.clone(),
                source,
            })?;
        let secret = key.key()?;
        let wrong = |source| MeshTlsError::Key {
            what: key.to_string(),
            certificate: certificate.to_string(),
            source,
        };
        let server = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(wrong)?
            .with_client_cert_verifier(Arc::clone(&self.clients))
            .with_single_cert(chain.to_vec(), secret.clone_key())
            .map_err(wrong)?;
        let servers: Arc<Servers> = Arc::clone(&self.servers);
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(wrong)?
            .dangerous()
            .with_custom_certificate_verifier(servers)
            .with_client_auth_cert(chain.to_vec(), secret)
            .map_err(wrong)?;
        // The one thing that would tell a listener on the wire who is dialled.
        client.enable_sni = false;
        Ok((server, client))
    }

    /// Whether peers accept it, in both of its roles.
    fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let Some((certificate, intermediates)) = chain.split_first() else {
            return Err(Error::NoCertificatesPresented);
        };
        let now = UnixTime::now();
        self.servers.check(certificate, intermediates, now)?;
        self.clients
            .verify_client_cert(certificate, intermediates, now)
            .map(drop)
    }
}

/// Verifies servers as rustls does, but for the name: not every id has a form that rustls compares. The name is
/// checked as soon as the handshake is through, as the one of a client is.
#[derive(Debug)]
struct Servers {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Servers {
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
