//! A peer's connection as a sink that is there even while the connection is not.
//!
//! Absent here: dialling, and which of two connections stays.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_core::Stream;
use futures_sink::Sink;

use super::duel::Dialler;
use super::error::MeshError;
use super::frame::Frame;
use super::handshake::Connection;
use crate::clock::now;
use crate::codec::{CodecError, Wire};

/// How many frames without a message one poll reads before it lets others run.
const MOST_FRAMES: usize = 16;

/// In each part of the idle timeout, of so many, something is sent.
const SIGNS_OF_LIFE: u32 = 3;

/// Takes messages while there is a connection. It never fails: what goes wrong comes out of [`poll_next`](Self::poll_next).
pub(super) struct Port<M> {
    pub(super) link: Option<Link<M>>,
    /// A message that could not be written.
    not_sent: Option<CodecError>,
}

/// A connection, and what is known of it.
pub(super) struct Link<M> {
    connection: Connection<M>,
    pub(super) dialler: Dialler,
    pub(super) since: Instant,
    /// When the last frame came, or a part of one.
    heard: Instant,
    /// The bytes of the next frame that have come.
    begun: usize,
    /// When the last frame was sent.
    spoke: Instant,
    /// A sign of life was sent and may be in the buffer yet.
    needs_flush: bool,
    /// What was found wrong in sending.
    fault: Option<CodecError>,
}

impl<M> Link<M> {
    pub(super) fn new(connection: Connection<M>, dialler: Dialler, now: Instant) -> Self {
        Self {
            connection,
            dialler,
            since: now,
            heard: now,
            begun: 0,
            spoke: now,
            needs_flush: false,
            fault: None,
        }
    }

    /// Nobody listened until now, so silence counts from now on.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When it must be polled again, though nothing comes.
    pub(super) fn deadline(&self, idle_timeout: Duration) -> Instant {
        let next_sign = self.spoke + idle_timeout / SIGNS_OF_LIFE;
        next_sign.min(self.heard + idle_timeout)
    }
}

impl<M: Wire> Link<M> {
    /// Says that this node lives, if it has not said anything for a while.
    fn poll_alive(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        idle_timeout: Duration,
    ) -> Result<(), CodecError> {
        let mut connection = Pin::new(&mut self.connection);
        if now >= self.spoke + idle_timeout / SIGNS_OF_LIFE {
            // Whether there is room or not: what has no room waits behind what is on its way.
            self.spoke = now;
            if connection.as_mut().poll_ready(cx)?.is_ready() {
                connection.as_mut().start_send(Frame::Alive)?;
                self.needs_flush = true;
            }
        }
        if self.needs_flush && connection.poll_flush(cx)?.is_ready() {
            self.needs_flush = false;
        }
        Ok(())
    }

    /// The next message. `Err(None)`: the peer has closed the connection.
    fn poll_message(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<M, Option<CodecError>>> {
        for _ in 0..MOST_FRAMES {
            let read = match Pin::new(&mut self.connection).poll_next(cx) {
                Poll::Pending => {
                    // A long frame over a slow network is no silence.
                    let begun = self.connection.read_buffer().len();
                    if std::mem::replace(&mut self.begun, begun) != begun {
                        self.heard = now;
                    }
                    return Poll::Pending;
                }
                Poll::Ready(read) => read,
            };
            match read {
                Some(Ok(Frame::Message(message))) => {
                    self.heard = now;
                    return Poll::Ready(Ok(message));
                }
                Some(Ok(Frame::Alive)) => self.heard = now,
                Some(Err(error)) => return Poll::Ready(Err(Some(error))),
                None => return Poll::Ready(Err(None)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<M: Wire> Port<M> {
    pub(super) fn new() -> Self {
        Self {
            link: None,
            not_sent: None,
        }
    }

    /// The next message, or what went wrong. After a loss the connection is gone.
    pub(super) fn poll_next<I: Clone>(
        &mut self,
        peer: &I,
        now: Instant,
        cx: &mut Context<'_>,
        idle_timeout: Duration,
    ) -> Poll<Result<M, MeshError<I>>> {
        if let Some(source) = self.not_sent.take() {
            let peer = peer.clone();
            return Poll::Ready(Err(MeshError::NotSent { peer, source }));
        }
        let Some(link) = &mut self.link else {
            return Poll::Pending;
        };
        let alive = match link.fault.take() {
            Some(fault) => Err(fault),
            None => link.poll_alive(now, cx, idle_timeout),
        };
        // First what came: a peer that stops says its last before it closes.
        let peer = || peer.clone();
        let error = match (link.poll_message(now, cx), alive) {
            (Poll::Ready(Ok(message)), alive) => {
                link.fault = alive.err();
                return Poll::Ready(Ok(message));
            }
            (Poll::Ready(Err(None)), _) => MeshError::Closed { peer: peer() },
            (Poll::Ready(Err(Some(source))), _) | (Poll::Pending, Err(source)) => {
                MeshError::Broken {
                    peer: peer(),
                    source,
                }
            }
            (Poll::Pending, Ok(())) if now >= link.heard + idle_timeout => MeshError::Silent {
                peer: peer(),
                idle_timeout,
            },
            (Poll::Pending, Ok(())) => return Poll::Pending,
        };
        Poll::Ready(Err(error))
    }
}

impl<M: Wire> Sink<M> for Port<M> {
    type Error = Infallible;

    /// Not ready without a connection: messages wait for the next one.
    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let Some(link) = self.link.as_mut().filter(|link| link.fault.is_none()) else {
            return Poll::Pending;
        };
        match Pin::new(&mut link.connection).poll_ready(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(fault)) => {
                link.fault = Some(fault);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn start_send(mut self: Pin<&mut Self>, message: M) -> Result<(), Infallible> {
        if let Some(link) = &mut self.link {
            link.spoke = now();
            let frame = Frame::Message(message);
            let sent = Pin::new(&mut link.connection).start_send(frame);
            self.not_sent = sent.err().or(self.not_sent.take());
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.not_sent.is_some() {
            cx.waker().wake_by_ref();
        }
        let Some(link) = self.link.as_mut().filter(|link| link.fault.is_none()) else {
            return Poll::Ready(Ok(()));
        };
        match Pin::new(&mut link.connection).poll_flush(cx) {
            Poll::Ready(Err(fault)) => {
                link.fault = Some(fault);
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(()))
            }
            flushed => flushed.map(|_| Ok(())),
        }
    }

    /// Ready when the peer has closed too, or anything fails: to close a socket with something unread in it could take
    /// back what was sent last.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let Some(link) = &mut self.link else {
            return Poll::Ready(Ok(()));
        };
        if ready!(Pin::new(&mut link.connection).poll_close(cx)).is_ok() {
            while ready!(link.poll_message(now(), cx)).is_ok() {}
        }
        Poll::Ready(Ok(()))
    }
}

impl<M> fmt::Debug for Port<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("connected", &self.link.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures_test::task::noop_context;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio_util::codec::Framed;

    use super::super::frame::FrameCodec;
    use super::super::sockets::Io;
    use super::*;
    use crate::Message;
    use crate::codec::PayloadCodec;

    const IDLE: Duration = Duration::from_secs(3);

    const SECOND: Duration = Duration::from_secs(1);

    fn connected(now: Instant) -> (Port<Message<u64>>, DuplexStream) {
        let (here, there) = duplex(1 << 10);
        let io: Box<dyn Io> = Box::new(here);
        let connection = Framed::new(io, FrameCodec::new(PayloadCodec::new()));
        let mut port = Port::new();
        port.link = Some(Link::new(connection, Dialler::Smaller, now));
        (port, there)
    }

    fn poll(
        port: &mut Port<Message<u64>>,
        now: Instant,
    ) -> Poll<Result<Message<u64>, MeshError<u64>>> {
        port.poll_next(&7, now, &mut noop_context(), IDLE)
    }

    #[test]
    fn a_long_frame_that_comes_slowly_is_no_silence_and_half_a_frame_is() {
        let start = Instant::now();
        let (mut port, mut there) = connected(start);
        let mut now = start;
        for byte in [&[0, 0, 9, 9][..], &[0x10], &[0], &[0], &[0], &[0]] {
            now += IDLE - SECOND;
            there.write_all(byte).now_or_never().unwrap().unwrap();
            assert!(poll(&mut port, now).is_pending(), "after {:?}", now - start);
        }
        assert!(poll(&mut port, now + IDLE - SECOND).is_pending());
        let silent = poll(&mut port, now + IDLE);
        assert!(matches!(
            silent,
            Poll::Ready(Err(MeshError::Silent { peer: 7, .. }))
        ));
    }
}
