//! What is wrong with a certificate: the own one ([`MeshTlsError`]), or a peer's.

use std::path::PathBuf;
use std::{error, fmt, io};

use tokio_rustls::rustls::{self, CertificateError};

use super::names::{Names, written};
use crate::mesh::handshake::Refusal;

/// Why a node has no TLS: its files, or what is in them. The caller's mistake; nothing has changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum MeshTlsError {
    /// A file cannot be read.
    Read {
        /// "the CA", "the certificate" or "the key".
        part: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no PEM, or not what is needed.
    Pem {
        /// The part, with its file.
        what: String,
        /// What is needed.
        expected: &'static str,
        /// The labels of the PEM sections that are there instead, such as `PUBLIC KEY`; at most four.
        found: Vec<String>,
        /// What is wrong.
        problem: &'static str,
    },
    /// The CA's certificate is none that can be trusted in.
    Ca {
        /// The part, with its file.
        what: String,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The node's own certificate would be refused by its peers.
    Certificate {
        /// The part, with its file.
        what: String,
        /// The CA, with its file.
        ca: String,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The key is not the one of the certificate, or of a kind that is not supported.
    Key {
        /// The part, with its file.
        what: String,
        /// The certificate, with its file.
        certificate: String,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The certificate is another node's.
    ForeignId {
        /// The part, with its file.
        what: String,
        /// For whom it is: its subject alternative names, as OpenSSL writes them.
        names: String,
        /// The node's id.
        id: String,
    },
    /// The mesh was made without TLS, and its peers expect none.
    PlainText,
}

impl fmt::Display for MeshTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { part, path, source } => {
                write!(f, "cannot read {part} {}: {source}", path.display())
            }
            Self::Pem {
                what,
                expected,
                found,
                problem,
            } => {
                write!(f, "{what} should hold {expected} in PEM: {problem}")?;
                match &**found {
                    [] => write!(f, " (found no line of -----BEGIN ..-----)"),
                    found => write!(f, " (found {})", found.join(", ")),
                }
            }
            Self::Ca { what, source } => {
                write!(
                    f,
                    "{what} cannot be trusted in: {source} (give the certificate that has signed those of the nodes)"
                )
            }
            Self::Certificate { what, ca, source } => {
                write!(f, "{what} would be refused by its peers: ")?;
                explain(source, ca, f)
            }
            Self::Key {
                what,
                certificate,
                source,
            } => write!(
                f,
                "{what} does not serve for {certificate}: {source} (give the key that was made together with it)"
            ),
            Self::ForeignId { what, names, id } => write!(
                f,
                "{what} is for {names}, and this node is {id:?}: have one made with {} among its subject alternative names",
                written(id)
            ),
            Self::PlainText => f.write_str(
                "this mesh was made without TLS: make it with MeshBuilder::tls, on all nodes",
            ),
        }
    }
}

/// Why peers would refuse a certificate, and what to do.
fn explain(error: &rustls::Error, ca: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use CertificateError as E;
    let rustls::Error::InvalidCertificate(problem) = error else {
        return write!(f, "{error} (have another one made)");
    };
    match problem {
        E::Expired | E::ExpiredContext { .. } => {
            f.write_str("it has expired (have a new one made, or set the clock)")
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            f.write_str("it is not valid yet (wait, or set the clock)")
        }
        E::UnknownIssuer | E::BadSignature => write!(
            f,
            "it was not signed by {ca} (have it signed by that one, or give the CA that has signed it)"
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            f.write_str("it is for another purpose (have one made for both client and server)")
        }
        _ => write!(f, "{problem:?} (have another one made)"),
    }
}

impl error::Error for MeshTlsError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Ca { source, .. }
            | Self::Certificate { source, .. }
            | Self::Key { source, .. } => Some(source),
            Self::Pem { .. } | Self::ForeignId { .. } | Self::PlainText => None,
        }
    }
}

/// A certificate is for other nodes than the one that shows it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mesh) struct ForeignId {
    pub(super) names: Names,
    pub(super) id: String,
}

impl fmt::Display for ForeignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the certificate is for {}, not for {:?}",
            self.names, self.id
        )
    }
}

impl From<ForeignId> for Refusal {
    fn from(foreign: ForeignId) -> Self {
        Self::ForeignId(foreign)
    }
}

/// What a failed connection says about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mesh) enum Fault {
    /// Its certificate is missing or not good.
    Certificate,
    /// It does not want to speak with this node.
    RefusedByPeer,
    /// It speaks no TLS, or none that is spoken here.
    Garbage,
}

/// `None`: the connection failed below TLS.
pub(in crate::mesh) fn fault(error: &io::Error) -> Option<Fault> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Fault::Certificate
        }
        rustls::Error::AlertReceived(_) => Fault::RefusedByPeer,
        _ => Fault::Garbage,
    })
}
