//! What can be refused: settings ([`ConfigError`]) and a caller's commands ([`Error`]). Neither changes any state.

use std::fmt;
use std::time::Duration;

use crate::id::NodeIdError;

/// A setting that no node can work with. The caller's mistake; no node was made.
///
/// Each names the field, the value that was given and the rule that it breaks. Ids are given as their `Debug` text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// `node_id` or one of `nodes` is not a [`NodeId`](crate::NodeId).
    InvalidId {
        /// The field that holds it.
        field: &'static str,
        /// What is wrong with it.
        source: NodeIdError,
    },
    /// `nodes` names one node twice, which would inflate the quorum.
    DuplicateNode {
        /// The id that stands twice.
        node: String,
    },
    /// `nodes` does not name `node_id`.
    SelfMissing {
        /// The node's own id.
        node_id: String,
    },
    /// `nodes` names more than [`Membership::MAX_NODES`](crate::Membership::MAX_NODES) nodes.
    TooManyNodes {
        /// How many.
        count: usize,
    },
    /// `joining` together with `nodes`: a node that joins later is told who the others are.
    JoiningWithNodes {
        /// How many nodes were named.
        count: usize,
    },
    /// `cluster` is longer than [`Config::MAX_CLUSTER_LEN`](crate::Config::MAX_CLUSTER_LEN) bytes.
    ClusterTooLong {
        /// How many bytes it has.
        len: usize,
    },
    /// `election_timeout` is not above 1 ms and at most 1 day: it must leave room for a heartbeat.
    ElectionTimeout {
        /// The value.
        value: Duration,
    },
    /// `random_timeout` is zero or more than 1 day.
    RandomTimeout {
        /// The value.
        value: Duration,
    },
    /// `heartbeat_interval` is not from 1 ms to below `election_timeout`.
    HeartbeatInterval {
        /// The value.
        value: Duration,
        /// The election timeout that it must stay under.
        election_timeout: Duration,
    },
    /// `leadership_timeout` is not from above `heartbeat_interval` to 1 day.
    LeadershipTimeout {
        /// The value.
        value: Duration,
        /// The heartbeat interval that it must exceed.
        heartbeat_interval: Duration,
    },
    /// `max_clock_drift` is not from 0 to below 1.
    MaxClockDrift {
        /// The value.
        value: f64,
    },
    /// `restore` got a term that leaves the counter no room. No cluster gets there: the stored state is damaged.
    RestoredTerm {
        /// The term.
        term: u64,
    },
    /// `restore` got a membership that no node of this crate makes, or one newer than its own term.
    RestoredMembership {
        /// Its stamp.
        stamp: crate::Stamp,
    },
    /// A group that is to differ from the others in what all have in common.
    GroupDiffers {
        /// The setting.
        field: &'static str,
        /// The group's.
        value: String,
        /// That of all groups.
        common: String,
    },
    /// A group under a key that is there already.
    GroupExists {
        /// The key.
        group: String,
    },
    /// A group for `Groups` that were stopped.
    GroupsStopped,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidId { field, source } => write!(f, "{field}: {source}"),
            Self::DuplicateNode { node } => {
                write!(
                    f,
                    "nodes: {node} stands twice: each node must be named once"
                )
            }
            Self::SelfMissing { node_id } => write!(
                f,
                "nodes: {node_id} (node_id) is missing: the list must name the node itself (leave it empty for a \
                 cluster of one)"
            ),
            Self::TooManyNodes { count } => write!(
                f,
                "nodes: {count} nodes: there must be at most {}",
                crate::Membership::<u64>::MAX_NODES
            ),
            Self::JoiningWithNodes { count } => write!(
                f,
                "joining: with {count} nodes: a node that joins later must name none"
            ),
            Self::ClusterTooLong { len } => write!(
                f,
                "cluster: {len} bytes: there must be at most {}",
                crate::Config::<u64>::MAX_CLUSTER_LEN
            ),
            Self::ElectionTimeout { value } => {
                write!(
                    f,
                    "election_timeout: {value:?}: it must be above 1ms and at most 1 day"
                )
            }
            Self::RandomTimeout { value } => {
                write!(
                    f,
                    "random_timeout: {value:?}: it must be above zero and at most 1 day"
                )
            }
            Self::HeartbeatInterval {
                value,
                election_timeout,
            } => write!(
                f,
                "heartbeat_interval: {value:?}: it must be at least 1ms and under election_timeout \
                 ({election_timeout:?})"
            ),
            Self::LeadershipTimeout {
                value,
                heartbeat_interval,
            } => write!(
                f,
                "leadership_timeout: {value:?}: it must be over heartbeat_interval ({heartbeat_interval:?}) and at \
                 most 1 day"
            ),
            Self::MaxClockDrift { value } => {
                write!(
                    f,
                    "max_clock_drift: {value}: it must be at least 0 and under 1 (0.1 is 10 %)"
                )
            }
            Self::RestoredTerm { term } => write!(
                f,
                "restore: term {term} leaves the counter no room: the stored state is damaged"
            ),
            Self::RestoredMembership { stamp } => write!(
                f,
                "restore: membership {stamp} cannot have been saved by a node: the stored state is damaged"
            ),
            Self::GroupDiffers {
                field,
                value,
                common,
            } => write!(
                f,
                "{field}: {value}: it must be the same in all groups of one machine, as it was given to Groups::new \
                 ({common})"
            ),
            Self::GroupExists { group } => {
                write!(f, "group {group}: there is one of this key already")
            }
            Self::GroupsStopped => {
                f.write_str("the groups were stopped: none can be inserted any more")
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InvalidId { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A command that a node does not carry out. The caller's mistake; the node's state is as it was, and it goes on.
///
/// Nothing that comes from a peer is ever an error: it is dropped and counted ([`Stats`](crate::Stats)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The node was stopped or closed: nothing can be put in any more.
    Stopped,
    /// `set_nodes` with an empty list: a cluster needs a voter.
    NoNodes,
    /// `set_nodes` with a list that names one node twice.
    DuplicateNode {
        /// The id that stands twice.
        node: String,
    },
    /// `set_nodes` with more than [`Membership::MAX_NODES`](crate::Membership::MAX_NODES) nodes.
    TooManyNodes {
        /// How many.
        count: usize,
    },
    /// `transfer` on a node that does not lead.
    NotLeader {
        /// Who leads, as far as the node knows.
        leader: Option<String>,
    },
    /// `transfer` to the leader itself.
    TransferToSelf,
    /// `transfer` to a node that has no vote: an observer or a stranger.
    TransferToNonVoter {
        /// The id that was given.
        node: String,
    },
    /// `transfer` while another is under way.
    TransferRunning {
        /// To whom.
        to: String,
    },
    /// Something for a group that this machine does not take part in.
    UnknownGroup {
        /// The key.
        group: String,
    },
    /// `force_nodes` in the last term that there is. Only forged messages lead there.
    LastTerm,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the node was stopped: nothing can be put in any more"),
            Self::NoNodes => {
                f.write_str("set_nodes: the list is empty: a cluster needs at least one voter")
            }
            Self::DuplicateNode { node } => {
                write!(
                    f,
                    "set_nodes: {node} stands twice: each node must be named once"
                )
            }
            Self::TooManyNodes { count } => write!(
                f,
                "set_nodes: {count} nodes: there must be at most {}",
                crate::Membership::<u64>::MAX_NODES
            ),
            Self::NotLeader {
                leader: Some(leader),
            } => {
                write!(f, "transfer: this node does not lead; {leader} does")
            }
            Self::NotLeader { leader: None } => {
                f.write_str("transfer: this node does not lead, and knows nobody who does")
            }
            Self::TransferToSelf => f.write_str("transfer: this node leads already"),
            Self::TransferToNonVoter { node } => {
                write!(f, "transfer: {node} has no vote, so it cannot lead")
            }
            Self::TransferRunning { to } => {
                write!(
                    f,
                    "transfer: leadership is already being handed over to {to}"
                )
            }
            Self::UnknownGroup { group } => {
                write!(f, "group {group}: this machine takes no part in it")
            }
            Self::LastTerm => f.write_str(
                "force_nodes: there is no higher term left: forged messages have used the counter up",
            ),
        }
    }
}

impl std::error::Error for Error {}
