//! PEM, and where it came from.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::pem::{Error, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::MeshTlsError;

/// One of the three parts that a node needs. Shown by its part, and its file if it has one.
pub(super) struct Pem<'a> {
    part: &'static str,
    path: Option<PathBuf>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Pem<'a> {
    pub(super) fn new(part: &'static str, bytes: &'a [u8]) -> Self {
        Self {
            part,
            path: None,
            bytes: Cow::Borrowed(bytes),
        }
    }

    pub(super) fn read(part: &'static str, path: &Path) -> Result<Self, MeshTlsError> {
        let path = path.to_owned();
        match fs::read(&path) {
            Ok(bytes) => Ok(Self {
                part,
                path: Some(path),
                bytes: Cow::Owned(bytes),
            }),
            Err(source) => Err(MeshTlsError::Read { part, path, source }),
        }
    }

    /// All certificates in it; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, MeshTlsError> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match all {
            Ok(all) if all.is_empty() => Err(self.wrong("a certificate", &Error::NoItemsFound)),
            Ok(all) => Ok(all),
            Err(error) => Err(self.wrong("a certificate", &error)),
        }
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, MeshTlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes)
            .map_err(|error| self.wrong("a private key that is not encrypted", &error))
    }

    fn wrong(&self, expected: &'static str, error: &Error) -> MeshTlsError {
        // A key must not come into a log: only the labels are told.
        let labels = String::from_utf8_lossy(&self.bytes);
        let labels = labels.lines().filter_map(|line| {
            let label = line.trim().strip_prefix("-----BEGIN ")?;
            label.strip_suffix("-----").map(str::to_owned)
        });
        MeshTlsError::Pem {
            what: self.to_string(),
            expected,
            found: labels.take(SHOWN).collect(),
            problem: match error {
                Error::MissingSectionEnd { .. } => "it ends inside a section",
                Error::Base64Decode(_) => "a section is not base64",
                Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
                _ => "there is none",
            },
        }
    }
}

/// How many labels of PEM sections an error shows.
const SHOWN: usize = 4;

impl fmt::Display for Pem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.part)?;
        match &self.path {
            Some(path) => write!(f, " {}", path.display()),
            None => Ok(()),
        }
    }
}
