//! From a socket to a connection that carries messages, with a peer that has said who it is.
//!
//! Absent here: whether that peer is welcome. This is also the one place that knows what a connection is made of.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::Framed;

use super::frame::FrameCodec;
use super::local::Local;
use super::sockets::{Io, Opening};
#[cfg(feature = "tls")]
use super::tls::ForeignId;
use crate::codec::{CodecError, Wire, greet_as};
use crate::id::Id;

/// Ready for messages.
pub(super) type Connection<M> = Framed<Box<dyn Io>, FrameCodec<M>>;

type Greeted<I, M> = Result<(I, Connection<M>), Refusal>;

/// A handshake under way.
pub(super) struct Handshake<I, M> {
    greeting: Pin<Box<dyn Future<Output = Greeted<I, M>> + Send>>,
    until: Instant,
}

/// What has become of a handshake.
pub(super) enum Outcome<I, M> {
    /// The peer has said who it is.
    Greeted(I, Connection<M>),
    Failed(Refusal),
    TimedOut,
}

/// Why a handshake came to nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The connection failed, TLS included, or there was no hello or none that is welcome.
    Hello(CodecError),
    /// The certificate is not the peer's.
    #[cfg(feature = "tls")]
    ForeignId(ForeignId),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Hello(error.into())
    }
}

impl From<CodecError> for Refusal {
    fn from(error: CodecError) -> Self {
        Self::Hello(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(error) => error.fmt(f),
            #[cfg(feature = "tls")]
            Self::ForeignId(error) => error.fmt(f),
        }
    }
}

impl<I: Id + Serialize + DeserializeOwned, M: Wire> Handshake<I, M> {
    /// Dials a peer.
    pub(super) fn dial(opening: Opening, peer: I, local: Arc<Local<I>>, now: Instant) -> Self {
        Self {
            until: now + local.handshake_timeout,
            greeting: Box::pin(async move { meet(opening, Some(&peer), &local).await }),
        }
    }

    /// Answers whoever has dialled.
    pub(super) fn answer(opening: Opening, local: Arc<Local<I>>, now: Instant) -> Self {
        Self {
            until: now + local.handshake_timeout,
            greeting: Box::pin(async move { meet(opening, None, &local).await }),
        }
    }

    pub(super) fn poll(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<Outcome<I, M>> {
        match self.greeting.as_mut().poll(cx) {
            Poll::Ready(Ok((peer, connection))) => Poll::Ready(Outcome::Greeted(peer, connection)),
            Poll::Ready(Err(error)) => Poll::Ready(Outcome::Failed(error)),
            Poll::Pending if now >= self.until => Poll::Ready(Outcome::TimedOut),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<I, M> Handshake<I, M> {
    /// When it is over at the latest.
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl<I, M> fmt::Debug for Handshake<I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").finish_non_exhaustive()
    }
}

async fn meet<I, M>(opening: Opening, dialled: Option<&I>, local: &Local<I>) -> Greeted<I, M>
where
    I: Id + Serialize + DeserializeOwned,
    M: Wire,
{
    let io = opening.opened().await?;
    #[cfg(feature = "tls")]
    if let Some(secure) = &local.tls {
        let (io, certificate) = match dialled {
            Some(peer) => secure.dial(io, peer).await?,
            None => secure.answer(io).await?,
        };
        let (peer, connection) = hello(io, local).await?;
        secure.check(&certificate, &peer)?;
        return Ok((peer, connection));
    }
    let _ = dialled;
    hello(io, local).await
}

async fn hello<I, M>(io: Box<dyn Io>, local: &Local<I>) -> Greeted<I, M>
where
    I: Id + Serialize + DeserializeOwned,
    M: Wire,
{
    let (peer, connection) = greet_as(io, &local.hello).await?;
    let connection = connection
        .map_codec(|messages| FrameCodec::new(messages.max_frame_len(local.max_frame_len)));
    Ok((peer, connection))
}
