//! The first frame of a connection: who speaks, and for which cluster.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::BytesMut;
use futures_core::Stream;
use futures_sink::Sink;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Decoder, Encoder, Framed};

use super::error::CodecError;
use super::frame::{self, LEN_BYTES, Reader};
use super::payload::Wire;
use super::{MessageCodec, PayloadCodec, WIRE_VERSION};
use crate::id::{Id, NodeId};
use crate::message::Message;

/// How the payload of a hello begins. The first byte stands where a message has its version, occurs in no UTF-8
/// text, and is of a major version that will not be.
const MAGIC: [u8; 4] = *b"\xf5srh";

/// The same for a hello that names what its connection carries, other than plain messages.
const NAMED_MAGIC: [u8; 4] = *b"\xf5srn";

/// The most bytes of payload that a hello may have: it is read before anything is known of the peer.
const MAX_HELLO_LEN: usize = 1024;

/// The most bytes that [`CodecError::NotHello`] shows.
const SHOWN: usize = 8;

/// What a node says first on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Hello<I = NodeId> {
    /// The whole name of the cluster; `""` if it has none.
    pub cluster: String,
    /// The sender.
    pub node_id: I,
    /// The version that the sender speaks, in the form of [`WIRE_VERSION`].
    pub version: u8,
    /// What the connection is to carry: the payload's [name](Wire::NAME); `""` for [`Message`]s. [`greet`], [`greet_as`]
    /// and `Mesh` set it themselves.
    pub payload: String,
}

impl<I> Hello<I> {
    /// A hello in the version that this crate speaks.
    #[must_use]
    pub fn new(cluster: impl Into<String>, node_id: I) -> Self {
        Self {
            cluster: cluster.into(),
            node_id,
            version: WIRE_VERSION,
            payload: String::new(),
        }
    }

    /// The same for a connection that is to carry this payload.
    #[must_use]
    pub fn carrying<M: Wire>(mut self) -> Self {
        M::NAME.clone_into(&mut self.payload);
        self
    }
}

/// Writes and reads [`Hello`]s as frames of at most 1 KiB; [`greet`] does all of it.
///
/// The payload is the four bytes `f5 73 72 68`, the version byte, the cluster's name and the id, the last two as
/// postcard writes them. Where the connection is to carry something else than [`Message`]s, the first four bytes are
/// `f5 73 72 6e`, and the name of what it carries stands behind the id. A newer minor version may append to either. It keeps
/// nothing between calls.
///
/// # Errors
/// Encoding: [`CodecError::FrameTooLong`] if name and id take more than 1 KiB, [`CodecError::NotSendable`] for an id
/// that does not serialize. The buffer is then as it was.
///
/// Decoding: [`CodecError::NotHello`] as soon as the first bytes tell (a length under 4 bytes or over 1 KiB, or another
/// start than those), [`CodecError::Version`], [`CodecError::Malformed`], and at the end of the stream
/// [`CodecError::Truncated`].
#[derive(Clone, Debug)]
pub struct HelloCodec<I = NodeId> {
    id: PhantomData<fn() -> I>,
}

impl<I> HelloCodec<I> {
    /// A codec for hellos.
    #[must_use]
    pub const fn new() -> Self {
        Self { id: PhantomData }
    }
}

impl<I> Default for HelloCodec<I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Id + Serialize> Encoder<Hello<I>> for HelloCodec<I> {
    type Error = CodecError;

    fn encode(&mut self, hello: Hello<I>, dst: &mut BytesMut) -> Result<(), CodecError> {
        let body = (hello.version, hello.cluster, hello.node_id);
        if hello.payload.is_empty() {
            return frame::write(dst, MAX_HELLO_LEN, MAGIC, |to| to.value(&body));
        }
        frame::write(dst, MAX_HELLO_LEN, NAMED_MAGIC, |to| {
            to.value(&(body, hello.payload))
        })
    }
}

impl<I: Id + DeserializeOwned> Decoder for HelloCodec<I> {
    type Item = Hello<I>;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Hello<I>>, CodecError> {
        let is_len = |len| (MAGIC.len()..=MAX_HELLO_LEN).contains(&len);
        let wrong_len = frame::announced(src).is_some_and(|len| !is_len(len));
        let start = src.get(LEN_BYTES..).unwrap_or_default();
        let begins = |magic: [u8; 4]| start.iter().zip(&magic).all(|(found, byte)| found == byte);
        if wrong_len || !(begins(MAGIC) || begins(NAMED_MAGIC)) {
            return Err(CodecError::NotHello {
                start: src.iter().copied().take(SHOWN).collect(),
            });
        }
        frame::take(src, MAX_HELLO_LEN, read_hello)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Hello<I>>, CodecError> {
        let decoded = self.decode(src)?;
        frame::at_end(decoded, src)
    }
}

fn read_hello<I: Id + DeserializeOwned>(payload: &[u8]) -> Result<Option<Hello<I>>, CodecError> {
    let mut reader = Reader::new(payload);
    let magic: [u8; MAGIC.len()] = reader.value()?;
    reader.take_version()?;
    let (cluster, node_id) = reader.value()?;
    let payload = if magic == NAMED_MAGIC {
        reader.value()?
    } else {
        String::new()
    };
    reader.end()?;
    Ok(Some(Hello {
        cluster,
        node_id,
        version: reader.version(),
        payload,
    }))
}

/// Opens a connection for messages: sends `hello` and reads the peer's, both at once. Gives the peer's id and the
/// connection, ready for messages; bytes that came behind the peer's hello are kept. For another limit than
/// [`DEFAULT_MAX_FRAME_LEN`](super::DEFAULT_MAX_FRAME_LEN): `connection.map_codec(|codec| codec.max_frame_len(..))`.
///
/// The peer's id is a claim: this is no authentication. Whether that id is known, and what becomes of a second
/// connection with it, is for the caller to decide.
///
/// Waits for as long as the peer is silent; how long that may be is the caller's to say:
///
/// ```
/// use std::time::Duration;
/// use streamraft::NodeId;
/// use streamraft::codec::{CodecError, Hello, greet};
/// use tokio::time::timeout;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (here, there) = tokio::io::duplex(1024);
/// let a = Hello::new("orders", NodeId::new("a")?);
/// let b = Hello::new("orders", NodeId::new("b")?);
/// let limit = Duration::from_secs(1);
/// let (at_a, at_b) = tokio::join!(
///     timeout(limit, greet(here, &a)),
///     timeout(limit, greet(there, &b)),
/// );
/// let (peer_of_a, connection) = at_a??;
/// let (peer_of_b, _) = at_b??;
/// assert_eq!((peer_of_a, peer_of_b), (b.node_id, a.node_id));
/// # drop(connection);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`CodecError::ForeignCluster`], [`CodecError::ForeignPayload`] and [`CodecError::OwnId`] once both hellos are through,
/// so that both sides learn of it. At once: [`CodecError::NotHello`], [`CodecError::Malformed`], [`CodecError::Version`],
/// [`CodecError::Truncated`] (also for a peer that closes without a word) and [`CodecError::Io`].
/// [`CodecError::FrameTooLong`] and [`CodecError::NotSendable`] are about `hello` itself. After any of them the
/// connection is closed.
///
/// # Cancel safety
/// Not cancel safe: dropping the future closes the connection, which may have carried a part of a hello.
pub async fn greet<T, I>(
    io: T,
    hello: &Hello<I>,
) -> Result<(I, Framed<T, MessageCodec<I>>), CodecError>
where
    T: AsyncRead + AsyncWrite + Unpin,
    I: Id + Serialize + DeserializeOwned,
{
    greet_as::<Message<I>, _, _>(io, hello).await
}

/// Opens a connection for another payload than [`Message`]s; all else is as for [`greet`]. The payload's name goes into
/// the hello, and the peer must have named the same.
///
/// ```
/// use streamraft::codec::{CodecError, Hello, greet, greet_as};
/// use streamraft::{Message, NodeId};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// type OfManyGroups = (u64, Message);
///
/// let (here, there) = tokio::io::duplex(1024);
/// let a = Hello::new("orders", NodeId::new("a")?);
/// let b = Hello::new("orders", NodeId::new("b")?);
/// let (at_a, at_b) = tokio::join!(greet_as::<OfManyGroups, _, _>(here, &a), greet(there, &b));
/// let error = at_b.unwrap_err();
/// assert!(matches!(&error, CodecError::ForeignPayload { found, .. } if found == "groups"), "{error}");
/// # assert!(at_a.is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As of [`greet`].
///
/// # Cancel safety
/// Not cancel safe, like [`greet`].
pub async fn greet_as<M, T, I>(
    io: T,
    hello: &Hello<I>,
) -> Result<(I, Framed<T, PayloadCodec<M>>), CodecError>
where
    M: Wire,
    T: AsyncRead + AsyncWrite + Unpin,
    I: Id + Serialize + DeserializeOwned,
{
    let hello = hello.clone().carrying::<M>();
    let mut framed = Framed::new(io, HelloCodec::new());
    poll_fn(|cx| Pin::new(&mut framed).poll_ready(cx)).await?;
    Pin::new(&mut framed).start_send(hello.clone())?;

    let mut heard: Option<Hello<I>> = None;
    // Both at once: two nodes that first send and then read could wait for each other over a small pipe.
    let peer = poll_fn(|cx| {
        let sent = Pin::new(&mut framed).poll_flush(cx)?;
        let peer = match heard.take() {
            Some(peer) => peer,
            None => match ready!(Pin::new(&mut framed).poll_next(cx)?) {
                Some(peer) => peer,
                None => return Poll::Ready(Err(closed_without_a_word())),
            },
        };
        if sent.is_pending() {
            heard = Some(peer);
            return Poll::Pending;
        }
        Poll::Ready(Ok(peer))
    })
    .await?;

    if peer.cluster != hello.cluster {
        return Err(CodecError::ForeignCluster {
            found: peer.cluster,
            expected: hello.cluster,
        });
    }
    if peer.payload != hello.payload {
        return Err(CodecError::ForeignPayload {
            found: peer.payload,
            expected: hello.payload,
        });
    }
    if peer.node_id == hello.node_id {
        return Err(CodecError::OwnId);
    }
    Ok((peer.node_id, framed.map_codec(|_| PayloadCodec::new())))
}

fn closed_without_a_word() -> CodecError {
    CodecError::Truncated {
        have: 0,
        need: LEN_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::{Message, MessageKind, Stamp};

    type Greeting = Result<(u64, Framed<DuplexStream, MessageCodec<u64>>), CodecError>;

    const LIMIT: Duration = Duration::from_secs(5);

    fn message() -> Message<u64> {
        Message::new(7, Stamp::new(7, 1), MessageKind::TimeoutNow)
    }

    fn frame_of<M, C: Encoder<M, Error = CodecError>>(mut codec: C, message: M) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        codec.encode(message, &mut bytes).unwrap();
        bytes.into()
    }

    fn hello_bytes() -> Vec<u8> {
        frame_of(HelloCodec::new(), Hello::new("orders", 1_u64))
    }

    async fn meet(pipe: usize, here: Hello<u64>, there: Hello<u64>) -> (Greeting, Greeting) {
        let (io_here, io_there) = duplex(pipe);
        let both = async { tokio::join!(greet(io_here, &here), greet(io_there, &there)) };
        timeout(LIMIT, both).await.unwrap()
    }

    /// Greets a peer that says `bytes`, and then closes or falls silent.
    async fn greet_stranger(bytes: &[u8], closes: bool) -> Greeting {
        let (here, mut there) = duplex(1024);
        there.write_all(bytes).await.unwrap();
        if closes {
            there.shutdown().await.unwrap();
        }
        timeout(LIMIT, greet(here, &Hello::new("orders", 26)))
            .await
            .unwrap()
    }

    fn assert_err(greeting: Greeting, expected: impl FnOnce(&CodecError) -> bool) {
        let error = greeting.unwrap_err();
        assert!(expected(&error), "{error:?}");
    }

    #[tokio::test]
    async fn two_nodes_learn_of_each_other_and_go_on_with_messages() {
        // Over the smallest pipe too: neither waits for the other to read first.
        for pipe in [1, 1024] {
            let (at_1, at_2) = meet(pipe, Hello::new("orders", 1), Hello::new("orders", 2)).await;
            let ((peer_of_1, mut io_1), (peer_of_2, mut io_2)) = (at_1.unwrap(), at_2.unwrap());
            assert_eq!((peer_of_1, peer_of_2), (2, 1));
            let (sent, received) = tokio::join!(io_1.send(message()), io_2.next());
            sent.unwrap();
            assert_eq!(received.unwrap().unwrap(), message());
        }
    }

    #[tokio::test]
    async fn a_foreign_cluster_is_refused_on_both_sides() {
        // Also where the hellos need many writes.
        for pipe in [1, 1024] {
            let (at_1, at_2) = meet(pipe, Hello::new("orders", 1), Hello::new("bills", 2)).await;
            let foreign = |error: &CodecError, theirs: &str, ours: &str| {
                matches!(error, CodecError::ForeignCluster { found, expected }
                    if found == theirs && expected == ours)
            };
            assert_err(at_1, |error| foreign(error, "bills", "orders"));
            assert_err(at_2, |error| foreign(error, "orders", "bills"));
        }
    }

    #[tokio::test]
    async fn the_own_id_is_refused_as_a_peer() {
        let (at_1, at_2) = meet(1024, Hello::new("orders", 1), Hello::new("orders", 1)).await;
        assert_err(at_1, |error| matches!(error, CodecError::OwnId));
        assert_err(at_2, |error| matches!(error, CodecError::OwnId));
    }

    #[tokio::test]
    async fn another_major_is_refused_and_a_newer_minor_is_not() {
        let (mut newer, mut other) = (Hello::new("orders", 2), Hello::new("orders", 2));
        (newer.version, other.version) = (WIRE_VERSION + 1, 0x20);
        let (at_1, _) = meet(1024, Hello::new("orders", 1), other).await;
        assert_err(at_1, |error| {
            matches!(error, CodecError::Version { found: 0x20 })
        });
        let (at_1, at_2) = meet(1024, Hello::new("orders", 1), newer).await;
        assert!(at_1.is_ok() && at_2.is_ok());
    }

    #[tokio::test]
    async fn a_stranger_is_refused_by_its_first_bytes() {
        let message = frame_of(MessageCodec::new(), message());
        let strangers = [
            &b"GET "[..],
            b"SSH-2.0",
            b"\x16\x03\x01\x02",
            &[0xff; 4],
            &message[..5],
            b"\0\0\0\x08\xf5s_",
        ];
        for bytes in strangers {
            assert_err(
                greet_stranger(bytes, false).await,
                |error| matches!(error, CodecError::NotHello { start } if start == bytes),
            );
        }
    }

    #[tokio::test]
    async fn half_a_hello_is_truncated() {
        let hello = hello_bytes();
        for cut in 0..hello.len() {
            assert_err(
                greet_stranger(&hello[..cut], true).await,
                |error| matches!(error, CodecError::Truncated { have, .. } if *have == cut),
            );
        }
    }

    #[tokio::test]
    async fn a_hello_of_another_id_type_is_malformed() {
        let named = frame_of(HelloCodec::new(), Hello::new("orders", "a".to_owned()));
        assert_err(greet_stranger(&named, false).await, |error| {
            matches!(error, CodecError::Malformed { .. })
        });
    }

    #[tokio::test]
    async fn what_comes_behind_the_hello_in_one_piece_is_kept() {
        let (here, mut there) = duplex(1024);
        let both = [hello_bytes(), frame_of(MessageCodec::new(), message())].concat();
        there.write_all(&both).await.unwrap();
        let ours = Hello::new("orders", 2);
        let (peer, mut connection) = greet(here, &ours).await.unwrap();
        assert_eq!(peer, 1);
        assert_eq!(connection.next().await.unwrap().unwrap(), message());
        let mut sent = [0; 64];
        let len = there.read(&mut sent).await.unwrap();
        assert_eq!(sent[..len], frame_of(HelloCodec::new(), ours));
    }
}
