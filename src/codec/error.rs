//! What can go wrong between a node's messages and a connection's bytes.

use std::{fmt, io};

use super::WIRE_VERSION;

/// Why bytes could not be read or written. No variant carries state: the codec that gave it can be used again, as
/// far as its variant says.
///
/// After [`Malformed`](Self::Malformed) and [`Version`](Self::Version) the bad frame has been taken off the buffer
/// and the next call goes on behind it. After [`FrameTooLong`](Self::FrameTooLong) and [`NotHello`](Self::NotHello)
/// nobody knows where the next frame begins: nothing is taken off and every further call gives the same error.
/// Closing the connection is right after any of them; what was lost with it, nodes send again.
#[derive(Debug)]
#[non_exhaustive]
pub enum CodecError {
    /// The connection itself failed.
    Io(io::Error),
    /// A payload is longer than [`max_frame_len`](super::MessageCodec::max_frame_len) allows. On sending: nothing
    /// was written, and only this message is lost. On receiving: the peer has a higher limit, or is no node; close
    /// the connection.
    FrameTooLong {
        /// The bytes of the payload, as announced or as counted.
        len: usize,
        /// The bytes that are allowed.
        max: usize,
    },
    /// The stream ended inside a frame: the peer or the network broke off. What there was of it has been dropped.
    Truncated {
        /// The bytes of the frame that came, its length included.
        have: usize,
        /// The bytes that the frame has, its length included; 4 as long as not even the length had come.
        need: usize,
    },
    /// The peer speaks another major version, of which nothing can be understood. Upgrade the older of the two.
    Version {
        /// The peer's version: its major in the high four bits, its minor in the low four.
        found: u8,
    },
    /// A payload that no node of this version sends. The peer's fault, or both use ids of different types.
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
        /// How far the payload was read, in bytes.
        offset: usize,
    },
    /// The caller's mistake: a value that has no form on the wire. Nothing was written.
    NotSendable {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A connection that does not open with a [`Hello`](super::Hello): the peer is no node, or its hello was
    /// already read. Close the connection.
    NotHello {
        /// The first bytes instead, at most 8.
        start: Vec<u8>,
    },
    /// The peer belongs to another cluster. One of the two has a wrong address or a wrong cluster name.
    ForeignCluster {
        /// The peer's cluster.
        found: String,
        /// This node's cluster.
        expected: String,
    },
    /// The peer's connection is to carry something else than this node's, as messages of many groups. One of the two has a
    /// wrong address, or is of an older program.
    ForeignPayload {
        /// What the peer carries; `""` for plain messages.
        found: String,
        /// What this node carries.
        expected: String,
    },
    /// The peer has this node's own id: the node dialled itself, or two nodes were given one id.
    OwnId,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "connection: {error}"),
            Self::FrameTooLong { len, max } => write!(
                f,
                "a frame of {len} bytes: there must be at most {max} (raise max_frame_len on every node, or close \
                 the connection of a peer that is none)"
            ),
            Self::Truncated { have, need } => write!(
                f,
                "the stream ended after {have} of {need} bytes of a frame: the peer or the network broke off"
            ),
            Self::Version { found } => write!(
                f,
                "wire version {}.{}: this node understands {}.x; upgrade the older of the two",
                found >> 4,
                found & 0x0f,
                WIRE_VERSION >> 4
            ),
            Self::Malformed { reason, offset } => write!(
                f,
                "malformed payload, read for {offset} bytes: {reason}: the peer is at fault, or uses ids of another type"
            ),
            Self::NotSendable { reason } => write!(f, "not sendable: {reason}"),
            Self::NotHello { start } => write!(
                f,
                "expected a hello, found \"{}\": the peer is no node of this crate",
                start.escape_ascii()
            ),
            Self::ForeignCluster { found, expected } => write!(
                f,
                "the peer belongs to cluster {found:?}, this node to {expected:?}: one of them has a wrong address \
                 or name"
            ),
            Self::ForeignPayload { found, expected } => write!(
                f,
                "the peer carries {}, this node {}: one of them has a wrong address or an older program",
                named(found),
                named(expected)
            ),
            Self::OwnId => f.write_str(
                "the peer has this node's own id: the node dialled itself, or two nodes were given one id",
            ),
        }
    }
}

/// A payload's name in a text.
fn named(payload: &str) -> String {
    match payload {
        "" => "plain messages".to_owned(),
        name => format!("{name:?}"),
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for CodecError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
