//! A stream and a sink as one value, as `over` wants its transport.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::BoxStream;
use futures::{Sink, Stream, StreamExt};

/// Gives what the stream gives, and takes what the sink takes.
pub(crate) struct Both<R, W, E> {
    stream: BoxStream<'static, R>,
    sink: Pin<Box<dyn Sink<W, Error = E> + Send>>,
}

impl<R, W, E> Both<R, W, E> {
    pub(crate) fn new(
        stream: impl Stream<Item = R> + Send + 'static,
        sink: impl Sink<W, Error = E> + Send + 'static,
    ) -> Self {
        Self {
            stream: stream.boxed(),
            sink: Box::pin(sink),
        }
    }
}

impl<R, W, E> Stream for Both<R, W, E> {
    type Item = R;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<R>> {
        self.stream.poll_next_unpin(cx)
    }
}

impl<R, W, E> Sink<W> for Both<R, W, E> {
    type Error = E;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.sink.as_mut().poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: W) -> Result<(), E> {
        self.sink.as_mut().start_send(item)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.sink.as_mut().poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.sink.as_mut().poll_close(cx)
    }
}
