//! Where a peer listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

/// How the text of a Unix socket's address begins.
#[cfg(unix)]
const UNIX: &str = "unix:";

/// Where a peer listens: a socket address, `host:port` that is looked up anew at every dial, or, on Unix, the path of a
/// socket as `unix:/path`.
///
/// Nothing is looked up or checked before the dial. tokio looks names up on its blocking pool; an address in numbers
/// needs no lookup.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use std::path::{Path, PathBuf};
/// use streamraft::PeerAddr;
///
/// let by_name = PeerAddr::from("orders-2.internal:7000");
/// let in_numbers = PeerAddr::from("10.0.0.2:7000");
/// assert_eq!(in_numbers, SocketAddr::from((Ipv4Addr::new(10, 0, 0, 2), 7000)).into());
/// assert_eq!(by_name.to_string(), "orders-2.internal:7000");
/// # #[cfg(unix)] {
/// let by_path = PeerAddr::from("unix:/run/orders/2.sock");
/// assert_eq!(by_path, PathBuf::from("/run/orders/2.sock").into());
/// assert_eq!(by_path.as_unix_path(), Some(Path::new("/run/orders/2.sock")));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Socket(SocketAddr),
    Name(String),
    #[cfg(unix)]
    Unix(PathBuf),
}

impl PeerAddr {
    pub(super) fn kind(&self) -> &Kind {
        &self.0
    }

    /// The address, if it is one in numbers.
    #[must_use]
    pub fn as_socket_addr(&self) -> Option<SocketAddr> {
        match self.0 {
            Kind::Socket(addr) => Some(addr),
            _ => None,
        }
    }

    /// The path, if it is one of a Unix socket.
    #[must_use]
    pub fn as_unix_path(&self) -> Option<&Path> {
        match &self.0 {
            #[cfg(unix)]
            Kind::Unix(path) => Some(path),
            _ => None,
        }
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(addr: SocketAddr) -> Self {
        Self(Kind::Socket(addr))
    }
}

impl From<String> for PeerAddr {
    fn from(name: String) -> Self {
        #[cfg(unix)]
        if let Some(path) = name.strip_prefix(UNIX) {
            return Path::new(path).into();
        }
        Self(match name.parse() {
            Ok(addr) => Kind::Socket(addr),
            Err(_) => Kind::Name(name),
        })
    }
}

impl From<&str> for PeerAddr {
    fn from(name: &str) -> Self {
        name.to_owned().into()
    }
}

#[cfg(unix)]
impl From<PathBuf> for PeerAddr {
    fn from(path: PathBuf) -> Self {
        Self(Kind::Unix(path))
    }
}

#[cfg(unix)]
impl From<&Path> for PeerAddr {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Socket(addr) => addr.fmt(f),
            Kind::Name(name) => f.pad(name),
            #[cfg(unix)]
            Kind::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}
