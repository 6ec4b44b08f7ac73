//! What a mesh cannot do ([`MeshBuildError`]), and what happens to one ([`MeshError`]).

use std::time::Duration;
use std::{error, fmt, io};

use super::addr::PeerAddr;
#[cfg(feature = "tls")]
use super::tls::MeshTlsError;
use crate::codec::CodecError;
use crate::id::NodeId;

/// What has happened to a [`Mesh`](crate::Mesh), which goes on by itself after all of it. What it
/// [mends](Self::is_transient), too, comes out only if [asked for](crate::MeshBuilder::report_transient).
#[derive(Debug)]
#[non_exhaustive]
pub enum MeshError<I = NodeId> {
    /// Lost: the peer has closed its connection, as it does when it stops.
    Closed {
        /// The peer.
        peer: I,
    },
    /// Lost: nothing was heard on the connection for the idle timeout, though a peer that lives sends something in
    /// every third of it.
    Silent {
        /// The peer.
        peer: I,
        /// The idle timeout.
        idle_timeout: Duration,
    },
    /// Lost: the connection failed, ended inside a frame, or brought bytes that are no frame; in the last case the
    /// peer is at fault and its connection was dropped.
    Broken {
        /// The peer.
        peer: I,
        /// What is wrong.
        source: CodecError,
    },
    /// A message has no form on the wire, most likely because it is over the frame limit, and was let go. This
    /// node's fault: its limit is too low. The connection stays.
    NotSent {
        /// The peer that it was for.
        peer: I,
        /// What is wrong with the message.
        source: CodecError,
    },
    /// The listener cannot accept, most likely because the process is out of file descriptors. It tries again after a
    /// pause, and reports this once until it has accepted again. Connections are not touched.
    Listen {
        /// Where it listens, if that is known.
        address: Option<PeerAddr>,
        /// Why it cannot accept.
        source: io::Error,
    },
}

impl<I> MeshError<I> {
    /// Whether the mesh mends it by itself, all but a message that cannot be sent: it dials again where there is
    /// somebody to dial, and asks its listener again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::NotSent { .. })
    }

    /// The peer whose connection was lost, if that is what has happened.
    #[must_use]
    pub fn lost(&self) -> Option<&I> {
        match self {
            Self::Closed { peer } | Self::Silent { peer, .. } | Self::Broken { peer, .. } => {
                Some(peer)
            }
            Self::NotSent { .. } | Self::Listen { .. } => None,
        }
    }
}

impl<I: fmt::Debug> fmt::Display for MeshError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { peer } => write!(f, "{peer:?} has closed its connection"),
            Self::Silent { peer, idle_timeout } => write!(
                f,
                "lost the connection with {peer:?}: nothing heard for {idle_timeout:?}"
            ),
            Self::Broken { peer, source } => {
                write!(f, "lost the connection with {peer:?}: {source}")
            }
            Self::NotSent { peer, source } => write!(f, "a message to {peer:?}: {source}"),
            Self::Listen { address, source } => {
                f.write_str("cannot accept")?;
                if let Some(address) = address {
                    write!(f, " on {address}")?;
                }
                write!(f, " (trying again after a pause): {source}")
            }
        }
    }
}

impl<I: fmt::Debug> error::Error for MeshError<I> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Broken { source, .. } | Self::NotSent { source, .. } => Some(source),
            Self::Listen { source, .. } => Some(source),
            Self::Closed { .. } | Self::Silent { .. } => None,
        }
    }
}

/// Why there is no mesh. The caller's mistake, or an address that is taken; nothing was kept.
#[derive(Debug)]
#[non_exhaustive]
pub enum MeshBuildError {
    /// The address cannot be listened on.
    Bind {
        /// The address.
        address: PeerAddr,
        /// Why not.
        source: io::Error,
    },
    /// The hello has no form on the wire: the cluster's name and the id take more than 1 KiB, or the id does not
    /// serialize.
    Hello {
        /// What is wrong with it.
        source: CodecError,
    },
    /// A setting is out of its range.
    Setting {
        /// The setting.
        name: &'static str,
        /// The value that was given.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// The certificate is not this node's.
    #[cfg(feature = "tls")]
    Tls {
        /// What is wrong.
        source: MeshTlsError,
    },
}

impl fmt::Display for MeshBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } => {
                write!(
                    f,
                    "cannot listen on {address}: {source} (another process, or a wrong address?)"
                )
            }
            Self::Hello { source } => write!(f, "the hello cannot be sent: {source}"),
            Self::Setting { name, value, rule } => {
                write!(f, "{name} is {value}: it must be {rule}")
            }
            #[cfg(feature = "tls")]
            Self::Tls { source } => source.fmt(f),
        }
    }
}

impl error::Error for MeshBuildError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Hello { source } => Some(source),
            #[cfg(feature = "tls")]
            Self::Tls { source } => Some(source),
            Self::Setting { .. } => None,
        }
    }
}
