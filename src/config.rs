//! A node's settings, and every rule that they must keep.

mod settings;

use std::time::Duration;

use crate::error::ConfigError;
use crate::id::{Id, NodeId};
use crate::state::HardState;

pub(crate) use settings::{MAX_TERM, MAX_TERM_JUMP, Settings};

/// The settings of one node. What is not set has a default that works on a local network.
///
/// Everything is checked when a node is made of it ([`TinyRaft::new`](crate::TinyRaft::new)), so the order of the
/// calls does not matter.
///
/// ```
/// use std::time::Duration;
/// use streamraft::{Config, TinyRaft};
///
/// let config = Config::new("a", ["a", "b", "c"])?
///     .election_timeout(Duration::from_millis(500))
///     .heartbeat_interval(Duration::from_millis(50))
///     .cluster("orders");
/// let node = TinyRaft::new(config)?;
///
/// let refused = Config::new("a", ["a", "b"])?.heartbeat_interval(Duration::from_secs(2));
/// assert_eq!(
///     TinyRaft::new(refused).unwrap_err().to_string(),
///     "heartbeat_interval: 2s: it must be at least 1ms and under election_timeout (1s)",
/// );
/// # Ok::<(), streamraft::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[cfg_attr(
    feature = "serde",
    serde(bound(
        serialize = "I: serde::Serialize",
        deserialize = "I: serde::de::DeserializeOwned"
    ))
)]
#[must_use = "settings do nothing until a node is made of them"]
pub struct Config<I = NodeId> {
    node_id: I,
    #[cfg_attr(feature = "serde", serde(default = "Vec::new"))]
    nodes: Vec<I>,
    #[cfg_attr(feature = "serde", serde(default))]
    joining: bool,
    #[cfg_attr(
        feature = "serde",
        serde(default = "default_election_timeout", with = "humantime_serde")
    )]
    election_timeout: Duration,
    #[cfg_attr(feature = "serde", serde(default, with = "humantime_serde"))]
    random_timeout: Option<Duration>,
    #[cfg_attr(
        feature = "serde",
        serde(default = "default_heartbeat_interval", with = "humantime_serde")
    )]
    heartbeat_interval: Duration,
    #[cfg_attr(feature = "serde", serde(default, with = "humantime_serde"))]
    leadership_timeout: Option<Duration>,
    #[cfg_attr(feature = "serde", serde(default))]
    leader_priority: u64,
    #[cfg_attr(feature = "serde", serde(default = "default_clock_drift"))]
    max_clock_drift: f64,
    #[cfg_attr(feature = "serde", serde(default))]
    cluster: String,
    #[cfg_attr(feature = "serde", serde(default))]
    seed: Option<u64>,
    #[cfg_attr(feature = "serde", serde(default))]
    bootstrap: bool,
    #[cfg_attr(feature = "serde", serde(skip))]
    restore: Option<HardState<I>>,
    #[cfg_attr(feature = "serde", serde(skip))]
    lottery: bool,
}

fn default_election_timeout() -> Duration {
    Duration::from_secs(1)
}

fn default_heartbeat_interval() -> Duration {
    Duration::from_millis(100)
}

#[cfg(feature = "serde")]
fn default_clock_drift() -> f64 {
    Config::<u64>::DEFAULT_CLOCK_DRIFT
}

impl Config<NodeId> {
    /// The settings of node `node_id` in a cluster of `nodes`, itself among them. An empty list is a cluster of one.
    ///
    /// # Errors
    /// A name that is no [`NodeId`], one that stands twice, or `node_id` missing from `nodes`.
    pub fn new<S: AsRef<str>>(
        node_id: impl AsRef<str>,
        nodes: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let check = |field: &'static str, name: &str| {
            NodeId::new(name).map_err(|source| ConfigError::InvalidId { field, source })
        };
        let node_id = check("node_id", node_id.as_ref())?;
        let nodes = nodes
            .into_iter()
            .map(|name| check("nodes", name.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        Self::with_id(node_id, nodes)
    }
}

impl<I: Id> Config<I> {
    /// The most bytes that a cluster's name may have.
    pub const MAX_CLUSTER_LEN: usize = 255;

    const DEFAULT_CLOCK_DRIFT: f64 = 0.1;

    /// The same as [`Config::new`] for any other kind of id.
    ///
    /// # Errors
    /// An id that stands twice, or `node_id` missing from `nodes`.
    pub fn with_id(node_id: I, nodes: impl IntoIterator<Item = I>) -> Result<Self, ConfigError> {
        let nodes: Vec<I> = nodes.into_iter().collect();
        settings::check_nodes(&node_id, &nodes)?;
        Ok(Self::bare(node_id, nodes, false))
    }

    /// The settings of a node that joins a cluster later: it belongs to nothing yet, never votes nor campaigns, and
    /// waits to be told by a leader whose `set_nodes` names it.
    pub fn join(node_id: I) -> Self {
        Self::bare(node_id, Vec::new(), true)
    }

    fn bare(node_id: I, nodes: Vec<I>, joining: bool) -> Self {
        Self {
            node_id,
            nodes,
            joining,
            election_timeout: default_election_timeout(),
            random_timeout: None,
            heartbeat_interval: default_heartbeat_interval(),
            leadership_timeout: None,
            leader_priority: 0,
            max_clock_drift: Self::DEFAULT_CLOCK_DRIFT,
            cluster: String::new(),
            seed: None,
            bootstrap: false,
            restore: None,
            lottery: false,
        }
    }

    /// The least silence of a leader before anyone campaigns, and for how long a node that has heard a leader
    /// withholds its vote from all others. Above 1 ms, at most 1 day; default 1 s. It should be several heartbeats and many
    /// round trips long, and the same on every node.
    pub fn election_timeout(mut self, value: Duration) -> Self {
        self.election_timeout = value;
        self
    }

    /// The spread above `election_timeout` over which campaigns are laid out. Above zero, at most 1 day; default:
    /// `election_timeout`.
    pub fn random_timeout(mut self, value: Duration) -> Self {
        self.random_timeout = Some(value);
        self
    }

    /// How often a leader pings, and the longest pause after which a candidate asks again. At least 1 ms (the resolution of tokio's
    /// timer) and under `election_timeout`; default 100 ms.
    pub fn heartbeat_interval(mut self, value: Duration) -> Self {
        self.heartbeat_interval = value;
        self
    }

    /// After how much silence of a quorum a leader steps down (it counts itself). Over `heartbeat_interval`, at most
    /// 1 day; default: `election_timeout`.
    pub fn leadership_timeout(mut self, value: Duration) -> Self {
        self.leadership_timeout = Some(value);
        self
    }

    /// The higher, the rather it leads. Default 0.
    pub fn leader_priority(mut self, value: u64) -> Self {
        self.leader_priority = value;
        self
    }

    /// The most by which the *rates* of two nodes' clocks may differ, as a fraction: a lease ends that much before
    /// the votes that it relies on are free. From 0 to below 1; default 0.1.
    pub fn max_clock_drift(mut self, value: f64) -> Self {
        self.max_clock_drift = value;
        self
    }

    /// The cluster's name, the same on every node; messages of others are dropped. At most 255 bytes; default none.
    pub fn cluster(mut self, value: impl Into<String>) -> Self {
        self.cluster = value.into();
        self
    }

    /// Seeds the node's randomness, for runs that can be repeated. Default: drawn when the node is made.
    pub fn seed(mut self, value: u64) -> Self {
        self.seed = Some(value);
        self
    }

    /// Goes on from what a store kept. Its membership takes the place of `nodes`. `None`, as from a store that holds
    /// nothing yet, is a first start.
    pub fn restore(mut self, value: impl Into<Option<HardState<I>>>) -> Self {
        self.restore = value.into();
        self
    }

    /// Vouches that this cluster has never run, so that nobody can hold a lease: the first campaign starts without
    /// an election timeout of silence. Without effect in a node that was restored with a term above zero.
    pub fn bootstrap(mut self) -> Self {
        self.bootstrap = true;
        self
    }

    /// Random election timeouts in place of the order of succession, as plain Raft has them. Kept for comparison.
    #[doc(hidden)]
    pub fn lottery(mut self) -> Self {
        self.lottery = true;
        self
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> &I {
        &self.node_id
    }

    /// The nodes that were given, in their order.
    #[must_use]
    pub fn nodes(&self) -> &[I] {
        &self.nodes
    }

    /// The value of [`election_timeout`](Self::election_timeout).
    #[must_use]
    pub fn get_election_timeout(&self) -> Duration {
        self.election_timeout
    }

    /// The value of [`random_timeout`](Self::random_timeout), or its default.
    #[must_use]
    pub fn get_random_timeout(&self) -> Duration {
        self.random_timeout.unwrap_or(self.election_timeout)
    }

    /// The value of [`heartbeat_interval`](Self::heartbeat_interval).
    #[must_use]
    pub fn get_heartbeat_interval(&self) -> Duration {
        self.heartbeat_interval
    }

    /// The value of [`leadership_timeout`](Self::leadership_timeout), or its default.
    #[must_use]
    pub fn get_leadership_timeout(&self) -> Duration {
        self.leadership_timeout.unwrap_or(self.election_timeout)
    }

    /// The value of [`leader_priority`](Self::leader_priority).
    #[must_use]
    pub fn get_leader_priority(&self) -> u64 {
        self.leader_priority
    }

    /// The value of [`max_clock_drift`](Self::max_clock_drift).
    #[must_use]
    pub fn get_max_clock_drift(&self) -> f64 {
        self.max_clock_drift
    }

    /// The value of [`cluster`](Self::cluster), empty by default.
    #[must_use]
    pub fn get_cluster(&self) -> &str {
        &self.cluster
    }

    /// The value of [`seed`](Self::seed).
    #[must_use]
    pub fn get_seed(&self) -> Option<u64> {
        self.seed
    }

    /// Checks everything, as making a node does.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        settings::check(self)
    }
}
