//! From a socket to a connection that carries messages, with a peer that has said who it is.
//!
//! Absent here: whether that peer is welcome. This is also the one place that knows what a connection is made of, and
//! where encryption would wrap it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use super::addr::PeerAddr;
use super::frame::FrameCodec;
use super::local::Local;
use crate::codec::{CodecError, greet};
use crate::id::Id;

/// What a connection runs over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Ready for messages.
pub(super) type Connection<I> = Framed<Box<dyn Io>, FrameCodec<I>>;

type Greeted<I> = Result<(I, Connection<I>), CodecError>;

/// A handshake under way.
pub(super) struct Handshake<I> {
    greeting: Pin<Box<dyn Future<Output = Greeted<I>> + Send>>,
    until: Instant,
}

/// What has become of a handshake.
pub(super) enum Outcome<I> {
    /// The peer has said who it is.
    Greeted(I, Connection<I>),
    Failed(CodecError),
    TimedOut,
}

impl<I: Id + Serialize + DeserializeOwned> Handshake<I> {
    /// Dials.
    pub(super) fn dial(addr: PeerAddr, local: Arc<Local<I>>, now: Instant) -> Self {
        Self {
            until: now + local.handshake_timeout,
            greeting: Box::pin(async move { meet(addr.connect().await?, &local).await }),
        }
    }

    /// Answers a socket that was accepted.
    pub(super) fn answer(socket: TcpStream, local: Arc<Local<I>>, now: Instant) -> Self {
        Self {
            until: now + local.handshake_timeout,
            greeting: Box::pin(async move { meet(socket, &local).await }),
        }
    }

    pub(super) fn poll(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<Outcome<I>> {
        match self.greeting.as_mut().poll(cx) {
            Poll::Ready(Ok((peer, connection))) => Poll::Ready(Outcome::Greeted(peer, connection)),
            Poll::Ready(Err(error)) => Poll::Ready(Outcome::Failed(error)),
            Poll::Pending if now >= self.until => Poll::Ready(Outcome::TimedOut),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<I> Handshake<I> {
    /// When it is over at the latest.
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl<I> fmt::Debug for Handshake<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").finish_non_exhaustive()
    }
}

async fn meet<I>(socket: TcpStream, local: &Local<I>) -> Greeted<I>
where
    I: Id + Serialize + DeserializeOwned,
{
    // Heartbeats are small and must not wait to be sent together.
    socket.set_nodelay(true)?;
    let io: Box<dyn Io> = Box::new(socket);
    let (peer, connection) = greet(io, &local.hello).await?;
    let connection = connection
        .map_codec(|messages| FrameCodec::new(messages.max_frame_len(local.max_frame_len)));
    Ok((peer, connection))
}
