//! Where a mesh gets its connections from.
//!
//! Absent here: what is said on them.

use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::addr::PeerAddr;

/// What a connection runs over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where a [`Mesh`](crate::Mesh) gets its connections from, if not from the system's TCP and Unix sockets: streams of
/// QUIC, vsock, or a simulated network. Everything else, TLS too, is the same over them.
/// [`build_over`](crate::MeshBuilder::build_over) makes a mesh of it.
///
/// All of it is called by the mesh's poll, from the task that polls the mesh. Nothing may block.
///
/// ```
/// use std::io;
/// use std::net::{Ipv4Addr, SocketAddr};
/// use std::task::{Context, Poll, ready};
///
/// use streamraft::codec::Hello;
/// use streamraft::{Mesh, NodeId, Opening, PeerAddr, Sockets};
/// use tokio::net::{TcpListener, TcpStream};
///
/// /// TCP that nobody but this machine can reach.
/// struct Loopback(TcpListener);
///
/// impl Sockets for Loopback {
///     fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Opening>> {
///         let (socket, _) = ready!(self.0.poll_accept(cx))?;
///         Poll::Ready(Ok(Opening::open(socket)))
///     }
///
///     fn connect(&mut self, addr: &PeerAddr) -> Opening {
///         let addr = addr.as_socket_addr().filter(|addr| addr.ip().is_loopback());
///         Opening::new(async move {
///             let Some(addr) = addr else {
///                 return Err(io::Error::new(io::ErrorKind::Unsupported, "not on this machine"));
///             };
///             TcpStream::connect(addr).await
///         })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
/// let hello = Hello::new("orders", NodeId::new("a")?);
/// let mesh = Mesh::builder(hello).build_over(Loopback(listener))?;
/// # drop(mesh);
/// # Ok(()) }
/// ```
pub trait Sockets: Send + 'static {
    /// The next connection that somebody else has dialled. `Pending` for ever where nobody can.
    ///
    /// An error of the kinds `ConnectionAborted`, `ConnectionReset`, `ConnectionRefused` and `Interrupted` is taken to
    /// be about one connection, and the next is asked for at once. Any other is about the listener: it is reported
    /// ([`MeshError::Listen`](crate::MeshError::Listen)) and tried again after a pause.
    ///
    /// What a connection still needs until bytes can flow, such as a QUIC handshake, belongs into the [`Opening`] and
    /// not here, where it would hold up the next one.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Opening>>;

    /// Dials. An address that these sockets cannot reach, as one of another kind, is an error of the opening.
    fn connect(&mut self, addr: &PeerAddr) -> Opening;

    /// Where others reach them, for [`Mesh::listening_at`](crate::Mesh::listening_at) and for errors. Asked once, when
    /// the mesh is made.
    fn listening_at(&self) -> Option<PeerAddr> {
        None
    }
}

type BoxedOpening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// A connection of [`Sockets`] on its way to be open.
///
/// The mesh waits for no longer than its [`handshake_timeout`](crate::MeshBuilder::handshake_timeout) and then drops
/// it; one that was accepted counts as pending until then ([`max_pending`](crate::MeshBuilder::max_pending)).
#[must_use = "a connection is opened by the mesh that gets it"]
pub struct Opening(BoxedOpening);

impl Opening {
    /// A connection that this future opens.
    pub fn new<F, T>(opening: F) -> Self
    where
        F: Future<Output = io::Result<T>> + Send + 'static,
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(Box::pin(async move {
            let io: Box<dyn Io> = Box::new(opening.await?);
            Ok(io)
        }))
    }

    /// A connection that is open.
    pub fn open<T>(io: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::new(ready(Ok(io)))
    }

    pub(super) async fn opened(self) -> io::Result<Box<dyn Io>> {
        self.0.await
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

/// Of a mesh that is closed.
pub(super) struct Nowhere;

impl Sockets for Nowhere {
    fn poll_accept(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Opening>> {
        Poll::Pending
    }

    fn connect(&mut self, _addr: &PeerAddr) -> Opening {
        let closed = io::Error::new(io::ErrorKind::NotConnected, "the mesh is closed");
        Opening(Box::pin(ready(Err(closed))))
    }
}
