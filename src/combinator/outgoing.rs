//! What waits for one transport that carries messages to many peers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;

use crate::id::Id;
use crate::waiting::{Payload, Turns, Waiting};

/// What waits for the transport: for each peer what its payload lets wait. The peers take turns.
#[derive(Debug)]
pub(crate) struct Outgoing<I, M: Payload> {
    /// Only peers for which something waits, the one that has waited longest first.
    peers: Turns<I, M::Waiting>,
    needs_flush: bool,
    /// The last that the node gave was a message, and it may have more. One flush then does for all.
    pub(crate) burst: bool,
}

impl<I: Id, M: Payload> Outgoing<I, M> {
    pub(crate) fn new() -> Self {
        Self {
            peers: Turns::default(),
            needs_flush: false,
            burst: false,
        }
    }

    /// Puts a message to those that wait for its peer.
    pub(crate) fn put(&mut self, to: I, message: M) {
        self.burst = true;
        if let Some(waiting) = self.peers.get_mut(&to) {
            waiting.put(message);
        } else {
            let mut waiting = M::Waiting::default();
            waiting.put(message);
            self.peers.put(to, waiting);
        }
    }

    fn take(&mut self) -> Option<(I, M)> {
        let (_, waiting) = self.peers.first_mut()?;
        let message = waiting.take();
        if message.is_none() || waiting.is_empty() {
            let (to, _) = self.peers.pop()?;
            return Some((to, message?));
        }
        let (to, _) = self.peers.first_mut()?;
        let to = to.clone();
        self.peers.pass();
        Some((to, message?))
    }

    /// Moves what waits into the transport, and flushes it unless there is a `burst`. Ready: nothing waits.
    pub(crate) fn poll_send<T: Sink<(I, M)>>(
        &mut self,
        mut transport: Pin<&mut T>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), T::Error>> {
        while !self.peers.is_empty() {
            if let Err(error) = ready!(transport.as_mut().poll_ready(cx)) {
                return self.give_up(error);
            }
            // Not before the transport is ready: until then a newer message may still take the place of this one.
            if let Some(message) = self.take() {
                self.needs_flush = true;
                transport.as_mut().start_send(message)?;
            }
        }
        if self.needs_flush && !self.burst {
            if let Err(error) = ready!(transport.poll_flush(cx)) {
                return self.give_up(error);
            }
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// It is the transport that is broken, and not one message: what waits would be stale when it recovers.
    fn give_up<E>(&mut self, error: E) -> Poll<Result<(), E>> {
        self.peers = Turns::default();
        self.needs_flush = false;
        Poll::Ready(Err(error))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use allocation_counter::measure;
    use futures_test::task::noop_context;

    use super::*;
    use crate::{Message, MessageKind, Stamp};

    type OfGroup = (u64, Message<u64>);

    fn ping(round: u64) -> Message<u64> {
        let succession = None;
        Message::new(1, Stamp::new(0, 1), MessageKind::Ping { round, succession })
    }

    /// Takes everything.
    struct Transport<M>(Vec<(u64, M)>);

    impl<M: Unpin> Sink<(u64, M)> for Transport<M> {
        type Error = Infallible;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn start_send(self: Pin<&mut Self>, item: (u64, M)) -> Result<(), Infallible> {
            self.get_mut().0.push(item);
            Ok(())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
    }

    fn send<M: Payload + Unpin>(outgoing: &mut Outgoing<u64, M>, transport: &mut Transport<M>) {
        let sent = outgoing.poll_send(Pin::new(transport), &mut noop_context());
        assert!(sent.is_ready());
    }

    #[test]
    fn a_peer_with_much_to_hear_lets_the_others_go_between() {
        let (mut outgoing, mut transport) = (Outgoing::<u64, OfGroup>::new(), Transport(vec![]));
        for (peer, groups) in [(1, 4), (2, 1), (3, 2)] {
            for group in 0..groups {
                outgoing.put(peer, (group, ping(1)));
                outgoing.put(peer, (group, ping(2)));
            }
        }
        send(&mut outgoing, &mut transport);
        let sent: Vec<_> = transport
            .0
            .iter()
            .map(|(to, (group, _))| (*to, *group))
            .collect();
        assert_eq!(
            sent,
            [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (1, 2), (1, 3)]
        );
        assert!(
            transport
                .0
                .iter()
                .all(|(_, (_, message))| *message == ping(2))
        );
    }

    #[test]
    fn a_nodes_messages_allocate_nothing_once_there_is_room() {
        const PEERS: u64 = 100;
        let mut outgoing = Outgoing::<u64, Message<u64>>::new();
        let mut transport = Transport(Vec::new());
        let mut round = |round| {
            transport.0.clear();
            for peer in 0..PEERS {
                outgoing.put(peer, ping(round));
            }
            send(&mut outgoing, &mut transport);
            assert_eq!(transport.0.len(), 100);
        };
        round(0);
        assert_eq!(measure(|| (1..10).for_each(round)).count_total, 0);
    }
}
