//! A stream and a sink in one: each call reaches the one that it concerns, and nothing else.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::FusedStream;
use futures::task::noop_waker_ref;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt, channel::mpsc, stream};
use futures_test::task::new_count_waker;
use streamraft::both;

#[test]
fn it_gives_what_the_stream_gives_and_takes_what_the_sink_takes() {
    let (to_it, from_outside) = mpsc::channel::<u8>(1);
    let (to_outside, mut from_it) = mpsc::channel::<char>(1);
    let mut it = both(from_outside, to_outside);

    let mut to_it = to_it;
    to_it.try_send(7).unwrap();
    assert_eq!(it.next().now_or_never(), Some(Some(7)));
    assert_eq!(it.send('a').now_or_never(), Some(Ok(())));
    assert_eq!(from_it.next().now_or_never(), Some(Some('a')));
}

#[test]
fn the_task_that_polled_last_is_woken_by_each_side_for_itself() {
    let (mut to_it, from_outside) = mpsc::channel::<u8>(4);
    let (to_outside, mut from_it) = mpsc::channel::<char>(0);
    let mut it = both(from_outside, to_outside);
    let [(reading, read_wakes), (writing, write_wakes)] = [new_count_waker(), new_count_waker()];

    let mut cx = Context::from_waker(&reading);
    assert!(it.poll_next_unpin(&mut cx).is_pending());
    let mut cx = Context::from_waker(&writing);
    assert_eq!(it.poll_ready_unpin(&mut cx), Poll::Ready(Ok(())));
    it.start_send_unpin('a').unwrap();
    assert!(it.poll_ready_unpin(&mut cx).is_pending());

    to_it.try_send(1).unwrap();
    assert_eq!((read_wakes.get(), write_wakes.get()), (1, 0));
    assert_eq!(from_it.next().now_or_never(), Some(Some('a')));
    assert_eq!((read_wakes.get(), write_wakes.get()), (1, 1));
}

#[test]
fn the_end_of_one_side_leaves_the_other() {
    let (to_outside, mut from_it) = mpsc::channel::<char>(1);
    let mut it = both(stream::iter([1]).fuse(), to_outside);
    assert_eq!(it.size_hint(), (1, Some(1)));
    assert_eq!(it.next().now_or_never(), Some(Some(1)));
    assert!(!it.is_terminated());
    assert_eq!(it.next().now_or_never(), Some(None));
    assert!(it.is_terminated());
    assert_eq!(it.send('a').now_or_never(), Some(Ok(())));
    assert_eq!(from_it.next().now_or_never(), Some(Some('a')));

    let (to_outside, from_it) = mpsc::channel::<char>(1);
    let mut it = both(stream::iter([2]), to_outside);
    assert_eq!(it.close().now_or_never(), Some(Ok(())));
    assert_eq!(from_it.collect::<Vec<_>>().now_or_never(), Some(vec![]));
    assert_eq!(it.next().now_or_never(), Some(Some(2)));
}

/// Says which of its functions was called last, as an error.
struct Telling(&'static str);

impl Sink<()> for Telling {
    type Error = &'static str;

    fn poll_ready(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0 = "ready";
        Poll::Ready(Err(self.0))
    }

    fn start_send(mut self: Pin<&mut Self>, (): ()) -> Result<(), Self::Error> {
        self.0 = "send";
        Err(self.0)
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0 = "flush";
        Poll::Ready(Err(self.0))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0 = "close";
        Poll::Ready(Err(self.0))
    }
}

#[test]
fn errors_are_those_of_the_sink_and_both_come_apart_again() {
    let mut it = both(stream::pending::<u8>(), Telling("nothing"));
    let cx = &mut Context::from_waker(noop_waker_ref());
    assert_eq!(it.poll_ready_unpin(cx), Poll::Ready(Err("ready")));
    assert_eq!(it.start_send_unpin(()), Err("send"));
    assert_eq!(it.poll_flush_unpin(cx), Poll::Ready(Err("flush")));
    assert_eq!(it.poll_close_unpin(cx), Poll::Ready(Err("close")));
    assert_eq!(it.get_ref().1.0, "close");
    it.get_mut().1.0 = "changed";
    assert_eq!(Pin::new(&mut it).get_pin_mut().1.0, "changed");
    assert_eq!(it.into_inner().1.0, "changed");
}
