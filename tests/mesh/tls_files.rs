//! Certificates and keys that cannot be loaded: each error names the file, what is there, and what to do.

use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair};
use streamraft::{MeshTls, MeshTlsError};

use crate::certs::Ca;
use crate::net::*;
use crate::tls::secure;

/// The three files of a node.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let folder = format!("streamraft-tls-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn read(&self) -> Result<MeshTls, MeshTlsError> {
        let [ca, certificate, key] = ["ca.pem", "a.pem", "a.key"].map(|name| self.0.join(name));
        MeshTls::from_pem_files(ca, certificate, key)
    }

    fn load(&self, ca: &str, certificate: &str, key: &str) -> Result<MeshTls, MeshTlsError> {
        for (name, content) in [("ca.pem", ca), ("a.pem", certificate), ("a.key", key)] {
            std::fs::write(self.0.join(name), content).unwrap();
        }
        self.read()
    }

    /// Each part of what the error must say, and nothing of the key.
    fn assert_tells(&self, [ca, certificate, key]: [&str; 3], parts: &[&str]) {
        let error = self.load(ca, certificate, key).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
        for line in key.lines().filter(|line| !line.starts_with("---")) {
            assert!(!error.contains(line), "{error}");
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const NO_DER: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[test]
fn a_file_that_is_not_there_or_holds_something_else_is_told() {
    let files = Files::new("else");
    let ca = Ca::new();
    let good = ca.node(1);
    let (ca, certificate, key) = (&*ca.pem(), &*good.certificate, &*good.key);
    files.load(ca, certificate, key).unwrap();

    let encrypted = &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cut = &certificate[..certificate.len() / 2];
    let no_pem = "no line of -----BEGIN";
    let cases: [([&str; 3], &[&str]); 9] = [
        ([ca, "", key], &["a.pem", "a certificate", no_pem]),
        ([ca, "hello", key], &["a.pem", "a certificate", no_pem]),
        (
            [ca, key, key],
            &["a.pem", "a certificate", "found PRIVATE KEY"],
        ),
        ([ca, cut, key], &["a.pem", "ends inside a section"]),
        ([ca, NO_DER, key], &["a.pem", "refused by its peers"]),
        (
            [ca, certificate, certificate],
            &["a.key", "a private key", "found CERTIFICATE"],
        ),
        (
            [ca, certificate, encrypted],
            &["a.key", "found ENCRYPTED PRIVATE KEY"],
        ),
        (
            [key, certificate, key],
            &["ca.pem", "a certificate", "found PRIVATE KEY"],
        ),
        (
            [NO_DER, certificate, key],
            &["ca.pem", "cannot be trusted in"],
        ),
    ];
    for (contents, parts) in cases {
        files.assert_tells(contents, parts);
    }

    for (name, part) in [
        ("a.key", "the key"),
        ("a.pem", "the certificate"),
        ("ca.pem", "the CA"),
    ] {
        std::fs::remove_file(files.0.join(name)).unwrap();
        let error = files.read().unwrap_err();
        assert!(matches!(error, MeshTlsError::Read { part: found, .. } if found == part));
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_certificate_that_peers_would_refuse_is_told() {
    let files = Files::new("refused");
    let (ca, other) = (Ca::new(), Ca::new());
    let good = ca.node(1);
    let (trusted, foreign) = (&*ca.pem(), &*other.pem());
    let (certificate, key) = (&*good.certificate, &*good.key);
    let unsigned = [
        "not signed by the CA",
        "ca.pem",
        "give the CA that has signed it",
    ];
    files.assert_tells([foreign, certificate, key], &unsigned);
    // Also by a CA of another name.
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "another");
    let another = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    files.assert_tells([&another.pem(), certificate, key], &unsigned);
    let not_its_key = ["a.key", "does not serve for", "a.pem"];
    files.assert_tells([trusted, certificate, &other.node(1).key], &not_its_key);

    let says: [&[&str]; 3] = [
        &["a.pem", "expired", "new one made, or set the clock"],
        &["a.pem", "not valid yet", "wait, or set the clock"],
        &["a.pem", "another purpose", "both client and server"],
    ];
    for ((_, bad), parts) in ca.bad(1).into_iter().zip(says) {
        files.assert_tells([trusted, &bad.certificate, &bad.key], parts);
    }
}

#[test]
fn a_node_with_somebody_elses_certificate_is_not_made() {
    let error = secure(2, Ca::new().tls(1)).build().unwrap_err();
    assert!(matches!(error, MeshBuildError::Tls { .. }));
    for part in ["DNS:node-1", "\"node-2\"", "DNS:node-2"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}
