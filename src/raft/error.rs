//! Why something was not taken, or a node could not be made.

use std::fmt;

use super::limits::LogLimits;
use crate::error::ConfigError;
use crate::id::NodeId;

/// Why a proposal or a read was not taken. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProposeError<I = NodeId> {
    /// This node does not lead: ask the one that does.
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<I>,
    },
    /// It hands leadership over, and takes nothing meanwhile: try again soon.
    Transferring {
        /// To whom.
        to: I,
    },
    /// The proposal is larger than [`LogLimits::proposal`](super::LogLimits::proposal) allows.
    TooLarge {
        /// How many bytes it has.
        len: usize,
        /// How many it may have.
        most: usize,
    },
    /// As much waits as [`LogLimits::unsettled`](super::LogLimits::unsettled) allows: try again when something was committed.
    Busy,
    /// The log has no index left.
    Full,
    /// The node was stopped.
    Stopped,
}

impl<I: fmt::Debug> fmt::Display for ProposeError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader {
                leader: Some(leader),
            } => write!(f, "this node does not lead; {leader:?} does"),
            Self::NotLeader { leader: None } => {
                f.write_str("this node does not lead, and knows nobody who does")
            }
            Self::Transferring { to } => write!(f, "leadership is being handed over to {to:?}"),
            Self::TooLarge { len, most } => {
                write!(f, "a proposal of {len} bytes: it may have at most {most}")
            }
            Self::Busy => f.write_str("too much waits to be committed"),
            Self::Full => f.write_str("the log has no index left"),
            Self::Stopped => f.write_str("the node was stopped"),
        }
    }
}

impl<I: fmt::Debug> std::error::Error for ProposeError<I> {}

/// A bound of [`LogLimits`] that no node can keep. The caller's mistake; no node was made.
///
/// Each names the field, the value that was given and the rule that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitsError {
    /// `proposal` is zero or more than [`LogLimits::MAX_AT_ONCE`].
    Proposal {
        /// The value, in bytes.
        value: usize,
    },
    /// `message` is zero or more than [`LogLimits::MAX_AT_ONCE`].
    Message {
        /// The value, in bytes.
        value: usize,
    },
    /// `window` is more than `unsettled`: followers would let go of what they are sent.
    Window {
        /// The value, in bytes.
        value: u64,
        /// The value of `unsettled` that it must not exceed.
        unsettled: u64,
    },
    /// `unsettled` is zero or more than [`LogLimits::MAX_BYTES`].
    Unsettled {
        /// The value, in bytes.
        value: u64,
    },
    /// `cache` is more than [`LogLimits::MAX_BYTES`].
    Cache {
        /// The value, in bytes.
        value: u64,
    },
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at_once, most) = (LogLimits::MAX_AT_ONCE, LogLimits::MAX_BYTES);
        match self {
            Self::Proposal { value } => {
                write!(f, "proposal: {value}: it must be from 1 to {at_once} bytes")
            }
            Self::Message { value } => {
                write!(f, "message: {value}: it must be from 1 to {at_once} bytes")
            }
            Self::Window { value, unsettled } => {
                write!(
                    f,
                    "window: {value}: it must be at most unsettled ({unsettled})"
                )
            }
            Self::Unsettled { value } => {
                write!(f, "unsettled: {value}: it must be from 1 to {most} bytes")
            }
            Self::Cache { value } => {
                write!(f, "cache: {value}: it must be at most {most} bytes")
            }
        }
    }
}

impl std::error::Error for LimitsError {}

/// Why a node with a log could not be made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StartError {
    /// A setting that no node can work with.
    Config(ConfigError),
    /// A bound that no node can keep.
    Limits(LimitsError),
    /// What the store holds cannot have been written by a node: it is damaged, or somebody else's.
    Damaged(&'static str),
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<LimitsError> for StartError {
    fn from(error: LimitsError) -> Self {
        Self::Limits(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Limits(error) => error.fmt(f),
            Self::Damaged(what) => write!(f, "the store of the log is damaged: {what}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Limits(error) => Some(error),
            Self::Damaged(_) => None,
        }
    }
}
