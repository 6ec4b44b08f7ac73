//! The names in a certificate, and the one that an id has there.
//!
//! Absent here: whether a certificate is to be trusted.

use std::fmt;

use tokio_rustls::rustls::pki_types::{CertificateDer, DnsName};
use tokio_rustls::rustls::{CertificateError, Error};
use webpki::EndEntityCert;

use super::error::ForeignId;

/// A certificate's subject alternative names as far as ids can stand in them, each as OpenSSL writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::mesh) struct Names(Vec<String>);

impl Names {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let certificate = EndEntityCert::try_from(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let dns = certificate.valid_dns_names().map(dns);
        let uris = certificate
            .valid_uri_names()
            .map(|name| format!("URI:{name}"));
        Ok(Self(dns.chain(uris).collect()))
    }

    /// Whether one of them is this id, to the letter. What DNS takes for equal, as `A` and `a`, are two nodes.
    pub(super) fn check(&self, id: &str) -> Result<(), ForeignId> {
        if self.0.contains(&dns(id)) || self.0.contains(&uri(id)) {
            return Ok(());
        }
        Err(ForeignId {
            names: self.clone(),
            id: id.to_owned(),
        })
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            [] => f.write_str("nobody (it has no subject alternative name of DNS or URI)"),
            names => f.write_str(&names.join(", ")),
        }
    }
}

pub(super) fn written(id: &str) -> String {
    match DnsName::try_from(id) {
        Ok(_) => dns(id),
        Err(_) => uri(id),
    }
}

fn dns(id: &str) -> String {
    format!("DNS:{id}")
}

fn uri(id: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let written = id.bytes().map(|byte| match byte {
        byte if unreserved(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    format!("URI:streamraft:{}", written.collect::<String>())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn names(alt_names: Vec<SanType>) -> Names {
        let mut params = CertificateParams::default();
        params.subject_alt_names = alt_names;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Names::of(certificate.der()).unwrap()
    }

    fn dns_name(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri_name(name: &str) -> SanType {
        SanType::URI(name.try_into().unwrap())
    }

    #[test]
    fn an_id_stands_in_a_certificate_to_the_letter() {
        let names = names(vec![
            dns_name("a"),
            dns_name("*.b.c"),
            uri_name("c"),
            uri_name("streamraft:7"),
            uri_name("streamraft:Stra%C3%9Fe"),
            uri_name("streamraft:10.0.0.2%3A7000"),
        ]);
        for id in ["a", "7", "Straße", "10.0.0.2:7000"] {
            assert_eq!(names.check(id), Ok(()), "{id}");
        }
        for id in [
            "A",
            "a.",
            "aa",
            "x.b.c",
            "c",
            "streamraft:7",
            "77",
            "strasse",
            "",
        ] {
            let foreign = names.check(id).unwrap_err();
            assert_eq!(foreign.id, id);
        }
    }

    #[test]
    fn the_common_name_is_nobodys_id() {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "a");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names = Names::of(certificate.der()).unwrap();
        assert!(names.check("a").unwrap_err().to_string().contains("nobody"));
    }

    #[test]
    fn every_id_has_a_form_that_is_found_again() {
        for id in [
            "a",
            "orders-2",
            "A",
            "7",
            "10.0.0.2",
            "[::1]:7000",
            "Straße",
            "%41",
            "a/b?c#d",
            "*",
        ] {
            let written = written(id);
            let name = match written.split_once(':').unwrap() {
                ("DNS", name) => dns_name(name),
                (_, name) => uri_name(name),
            };
            let names = names(vec![name]);
            assert_eq!(names.0, [written]);
            assert_eq!(names.check(id), Ok(()), "{id}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        let nothing = CertificateDer::from(vec![1, 2, 3]);
        assert!(Names::of(&nothing).is_err());
    }
}
