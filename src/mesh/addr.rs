//! Where a peer listens.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Where a peer listens: a socket address, or `host:port` that is looked up anew at every dial.
///
/// Nothing is looked up or checked before the dial. tokio looks names up on its blocking pool; an address in numbers
/// needs no lookup.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use streamraft::PeerAddr;
///
/// let by_name = PeerAddr::from("orders-2.internal:7000");
/// let in_numbers = PeerAddr::from("10.0.0.2:7000");
/// assert_eq!(in_numbers, SocketAddr::from((Ipv4Addr::new(10, 0, 0, 2), 7000)).into());
/// assert_eq!(by_name.to_string(), "orders-2.internal:7000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Socket(SocketAddr),
    Name(String),
}

impl PeerAddr {
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        match &self.0 {
            Kind::Socket(addr) => TcpStream::connect(addr).await,
            Kind::Name(name) => TcpStream::connect(name).await,
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

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Socket(addr) => addr.fmt(f),
            Kind::Name(name) => f.pad(name),
        }
    }
}
