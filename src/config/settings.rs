//! The rules of [`Config`], and what a node keeps of one that passed them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Config;
use crate::error::ConfigError;
use crate::id::Id;
use crate::membership::Membership;
use crate::message::ClusterTag;
use crate::state::HardState;

/// No timeout is longer, so that adding a few of them to an instant cannot overflow.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// tokio's timer resolves no less.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// How far ahead of a node's own term a message's may be. At a thousand elections a second a cluster takes 34 years
/// to get this far, and a forger needs sixteen million messages to use the counter up.
pub(crate) const MAX_TERM_JUMP: u64 = 1 << 40;

/// The last term. Nobody is heard, restored or elected in a later one, so that the counter never runs over.
pub(crate) const MAX_TERM: u64 = u64::MAX - MAX_TERM_JUMP;

/// Checked settings: what the election rules read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Settings<I> {
    pub(crate) me: I,
    pub(crate) cluster: ClusterTag,
    pub(crate) election_timeout: Duration,
    pub(crate) random_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) leadership_timeout: Duration,
    /// For how long a confirmed heartbeat is a lease, counted from its sending.
    pub(crate) lease_span: Duration,
    pub(crate) priority: u64,
    pub(crate) seed: Option<u64>,
    /// The cluster has never run: nobody can hold a lease.
    pub(crate) fresh_cluster: bool,
    /// The node has run before.
    pub(crate) restored: bool,
    pub(crate) lottery: bool,
}

impl<I: Id> Settings<I> {
    /// Checks the settings and takes them apart.
    pub(crate) fn new(config: Config<I>) -> Result<(Self, HardState<I>), ConfigError> {
        check(&config)?;
        let leadership_timeout = config.get_leadership_timeout();
        let shortened = config
            .election_timeout
            .mul_f64(1.0 - config.max_clock_drift);
        let random_timeout = config.get_random_timeout();
        let membership = match (config.joining, config.nodes.is_empty()) {
            (true, _) => Membership::none(),
            (false, true) => Membership::initial([config.node_id.clone()]),
            (false, false) => Membership::initial(config.nodes),
        };
        let hard_state = config.restore.unwrap_or_else(|| HardState {
            term: 0,
            voted_for: None,
            membership: Arc::new(membership),
        });
        let restored = hard_state.term > 0;
        let settings = Self {
            me: config.node_id,
            cluster: ClusterTag::new(&config.cluster),
            election_timeout: config.election_timeout,
            random_timeout,
            heartbeat_interval: config.heartbeat_interval,
            leadership_timeout,
            lease_span: leadership_timeout.min(shortened),
            priority: config.leader_priority,
            seed: config.seed,
            fresh_cluster: config.bootstrap && !restored,
            restored,
            lottery: config.lottery,
        };
        Ok((settings, hard_state))
    }
}

impl<I: Id> Settings<I> {
    /// Whether an election of these settings can share links with others of those.
    pub(crate) fn check_same(&self, other: &Self) -> Result<(), ConfigError> {
        same("node_id", &self.me, &other.me)?;
        if self.cluster != other.cluster {
            // Only the digest of a name is kept.
            return Err(ConfigError::GroupDiffers {
                field: "cluster",
                value: "another name".into(),
                common: "one name".into(),
            });
        }
        same(
            "election_timeout",
            &self.election_timeout,
            &other.election_timeout,
        )?;
        same(
            "random_timeout",
            &self.random_timeout,
            &other.random_timeout,
        )?;
        same(
            "heartbeat_interval",
            &self.heartbeat_interval,
            &other.heartbeat_interval,
        )?;
        same(
            "leadership_timeout",
            &self.leadership_timeout,
            &other.leadership_timeout,
        )?;
        // The drift is kept as what it leaves of a lease.
        same(
            "max_clock_drift (as the lease)",
            &self.lease_span,
            &other.lease_span,
        )
    }
}

fn same<T: PartialEq + fmt::Debug>(
    field: &'static str,
    common: &T,
    value: &T,
) -> Result<(), ConfigError> {
    if common == value {
        return Ok(());
    }
    Err(ConfigError::GroupDiffers {
        field,
        value: format!("{value:?}"),
        common: format!("{common:?}"),
    })
}

pub(super) fn check<I: Id>(config: &Config<I>) -> Result<(), ConfigError> {
    check_nodes(&config.node_id, &config.nodes)?;
    if config.joining && !config.nodes.is_empty() {
        return Err(ConfigError::JoiningWithNodes {
            count: config.nodes.len(),
        });
    }
    check_times(config)?;
    let drift = config.max_clock_drift;
    if !(0.0..1.0).contains(&drift) {
        return Err(ConfigError::MaxClockDrift { value: drift });
    }
    if config.cluster.len() > Config::<I>::MAX_CLUSTER_LEN {
        return Err(ConfigError::ClusterTooLong {
            len: config.cluster.len(),
        });
    }
    config.restore.as_ref().map_or(Ok(()), check_restored)
}

pub(super) fn check_nodes<I: Id>(node_id: &I, nodes: &[I]) -> Result<(), ConfigError> {
    if nodes.len() > Membership::<I>::MAX_NODES {
        return Err(ConfigError::TooManyNodes { count: nodes.len() });
    }
    let mut sorted: Vec<&I> = nodes.iter().collect();
    sorted.sort();
    if let Some([twice, _]) = sorted
        .windows(2)
        .find(|pair| matches!(pair, [a, b] if a == b))
    {
        return Err(ConfigError::DuplicateNode {
            node: format!("{twice:?}"),
        });
    }
    if !nodes.is_empty() && sorted.binary_search(&node_id).is_err() {
        return Err(ConfigError::SelfMissing {
            node_id: format!("{node_id:?}"),
        });
    }
    Ok(())
}

fn check_times<I: Id>(config: &Config<I>) -> Result<(), ConfigError> {
    let election_timeout = config.election_timeout;
    let heartbeat_interval = config.heartbeat_interval;
    if election_timeout <= MIN_TIMEOUT || election_timeout > MAX_TIMEOUT {
        return Err(ConfigError::ElectionTimeout {
            value: election_timeout,
        });
    }
    let random_timeout = config.get_random_timeout();
    if random_timeout.is_zero() || random_timeout > MAX_TIMEOUT {
        return Err(ConfigError::RandomTimeout {
            value: random_timeout,
        });
    }
    if heartbeat_interval < MIN_TIMEOUT || heartbeat_interval >= election_timeout {
        return Err(ConfigError::HeartbeatInterval {
            value: heartbeat_interval,
            election_timeout,
        });
    }
    let leadership_timeout = config.get_leadership_timeout();
    if leadership_timeout <= heartbeat_interval || leadership_timeout > MAX_TIMEOUT {
        return Err(ConfigError::LeadershipTimeout {
            value: leadership_timeout,
            heartbeat_interval,
        });
    }
    Ok(())
}

fn check_restored<I: Id>(saved: &HardState<I>) -> Result<(), ConfigError> {
    if saved.term > MAX_TERM {
        return Err(ConfigError::RestoredTerm { term: saved.term });
    }
    let membership = &saved.membership;
    if !membership.is_well_formed() || membership.term > saved.term {
        return Err(ConfigError::RestoredMembership {
            stamp: membership.stamp(),
        });
    }
    Ok(())
}
