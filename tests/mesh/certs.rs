//! A CA for tests, and certificates good and bad.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, date_time_ymd,
};
use std::sync::Arc;
use streamraft::MeshTls;
use streamraft::rustls::client::WebPkiServerVerifier;
use streamraft::rustls::crypto::{CryptoProvider, ring};
use streamraft::rustls::pki_types::pem::PemObject;
use streamraft::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use streamraft::rustls::server::WebPkiClientVerifier;
use streamraft::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// How the nodes of these tests are called in certificates: DNS names, so that rustls's own rules fit them too.
pub(crate) fn name(id: &u64) -> String {
    format!("node-{id}")
}

pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(
        &self,
        names: impl IntoIterator<Item = SanType>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.into_iter().collect();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Issued {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A good one.
    pub(crate) fn node(&self, id: u64) -> Issued {
        self.issue([dns(id)], |_| {})
    }

    pub(crate) fn tls(&self, id: u64) -> MeshTls {
        self.node(id).tls(&self.pem())
    }

    /// What a node shows that belongs to this CA and is nevertheless refused.
    pub(crate) fn bad(&self, id: u64) -> [(&'static str, Issued); 3] {
        let (long_ago, far_off) = (date_time_ymd(2001, 1, 1), date_time_ymd(3000, 1, 1));
        let expired = self.issue([dns(id)], |params| params.not_after = long_ago);
        let early = self.issue([dns(id)], |params| params.not_before = far_off);
        let other_use = self.issue([dns(id)], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        });
        [
            ("expired", expired),
            ("not valid yet", early),
            ("for another purpose", other_use),
        ]
    }
}

impl Issued {
    pub(crate) fn tls(&self, ca: &str) -> MeshTls {
        let (certificate, key) = (self.certificate.as_bytes(), self.key.as_bytes());
        MeshTls::from_pem(ca.as_bytes(), certificate, key).unwrap()
    }

    /// Shown whether it is good or not, by somebody who trusts in this CA.
    pub(crate) fn unchecked(&self, ca: &str) -> MeshTls {
        MeshTls::from_configs(server(ca, self), client(ca, Some(self)))
    }

    fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        (vec![certificate], key)
    }
}

pub(crate) fn dns(id: u64) -> SanType {
    SanType::DnsName(name(&id).try_into().unwrap())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(ca: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    Arc::new(roots)
}

/// As rustls makes them; with all of its versions.
pub(crate) fn server(ca: &str, own: &Issued) -> ServerConfig {
    let (chain, key) = own.der();
    let clients = WebPkiClientVerifier::builder_with_provider(roots(ca), provider());
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap()
}

/// Asks for no certificate.
pub(crate) fn lax_server(own: &Issued) -> ServerConfig {
    let (chain, key) = own.der();
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

pub(crate) fn client(ca: &str, own: Option<&Issued>) -> ClientConfig {
    let servers = WebPkiServerVerifier::builder_with_provider(roots(ca), provider());
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_webpki_verifier(servers.build().unwrap());
    match own.map(Issued::der) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    }
}
