//! The system's sockets: TCP, and Unix sockets where there are any.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::task::{Context, Poll, ready};

use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use super::addr::{Kind, PeerAddr};
use super::sockets::{Opening, Sockets};
#[cfg(unix)]
use super::unix::{self, SocketFile};

/// Listens at one address, or nowhere, and dials all.
pub(super) struct System {
    /// Removed before the listener goes: until then its number is nobody else's.
    #[cfg(unix)]
    _file: Option<SocketFile>,
    listener: Listener,
    at: Option<PeerAddr>,
}

/// One that is bound is not known to a runtime yet: there may be none before the first poll.
enum Listener {
    Nowhere,
    BoundTcp(std::net::TcpListener),
    Tcp(TcpListener),
    #[cfg(unix)]
    BoundUnix(std::os::unix::net::UnixListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl System {
    pub(super) fn nowhere() -> Self {
        Self {
            #[cfg(unix)]
            _file: None,
            listener: Listener::Nowhere,
            at: None,
        }
    }

    pub(super) fn bind(addr: &PeerAddr) -> io::Result<Self> {
        match addr.kind() {
            Kind::Socket(addr) => Self::bound(std::net::TcpListener::bind(addr)?),
            Kind::Name(name) => Self::bound(std::net::TcpListener::bind(name)?),
            #[cfg(unix)]
            Kind::Unix(path) => {
                let (listener, file) = unix::bind(path)?;
                Ok(Self {
                    _file: Some(file),
                    listener: Listener::BoundUnix(listener),
                    at: Some(addr.clone()),
                })
            }
        }
    }

    fn bound(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            at: Some(listener.local_addr()?.into()),
            listener: Listener::BoundTcp(listener),
            ..Self::nowhere()
        })
    }

    /// Makes the listener known to the runtime. One that cannot be is gone.
    fn open(&mut self) -> io::Result<()> {
        let listener = std::mem::replace(&mut self.listener, Listener::Nowhere);
        self.listener = match listener {
            Listener::BoundTcp(bound) => Listener::Tcp(TcpListener::from_std(bound)?),
            #[cfg(unix)]
            Listener::BoundUnix(bound) => Listener::Unix(UnixListener::from_std(bound)?),
            open => open,
        };
        Ok(())
    }
}

impl Sockets for System {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Opening>> {
        self.open()?;
        match &self.listener {
            Listener::Tcp(listener) => {
                let (socket, _) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok(Opening::new(async move { prompt(socket) })))
            }
            #[cfg(unix)]
            Listener::Unix(listener) => {
                let (socket, _) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok(Opening::open(socket)))
            }
            _ => Poll::Pending,
        }
    }

    fn connect(&mut self, addr: &PeerAddr) -> Opening {
        match addr.kind().clone() {
            Kind::Socket(addr) => Opening::new(dial(addr)),
            Kind::Name(name) => {
                Opening::new(async move { prompt(TcpStream::connect(name).await?) })
            }
            #[cfg(unix)]
            Kind::Unix(path) => Opening::new(dial_unix(path)),
        }
    }

    fn listening_at(&self) -> Option<PeerAddr> {
        self.at.clone()
    }
}

async fn dial(addr: SocketAddr) -> io::Result<TcpStream> {
    prompt(TcpStream::connect(addr).await?)
}

#[cfg(unix)]
async fn dial_unix(path: PathBuf) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Heartbeats are small and must not wait to be sent together.
fn prompt(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    Ok(socket)
}
