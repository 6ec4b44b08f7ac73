//! What the elections of one node have in common, so that many of them keep it once.

use std::time::Instant;

use super::moment::{Nanos, nanos};
use crate::config::Settings;
use crate::id::Id;
use crate::message::ClusterTag;
use crate::state::HardState;

/// The settings that never change and that every election of a node has the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shared<I> {
    pub(super) me: I,
    pub(super) cluster: ClusterTag,
    pub(super) election_timeout: Nanos,
    pub(super) random_timeout: Nanos,
    pub(super) heartbeat_interval: Nanos,
    pub(super) leadership_timeout: Nanos,
    pub(super) lease_span: Nanos,
    pub(super) lottery: bool,
    /// What moments are counted from.
    pub(super) origin: Instant,
}

impl<I: Id> Shared<I> {
    /// Of checked settings. No election that has them may be told of an instant before `origin`.
    pub(crate) fn new(settings: &Settings<I>, origin: Instant) -> Self {
        Self {
            me: settings.me.clone(),
            cluster: settings.cluster,
            election_timeout: nanos(settings.election_timeout),
            random_timeout: nanos(settings.random_timeout),
            heartbeat_interval: nanos(settings.heartbeat_interval),
            leadership_timeout: nanos(settings.leadership_timeout),
            lease_span: nanos(settings.lease_span),
            lottery: settings.lottery,
            origin,
        }
    }
}

/// What one election starts with besides.
#[derive(Clone, Debug)]
pub(crate) struct Start<I> {
    pub(crate) hard_state: HardState<I>,
    pub(crate) priority: u64,
    pub(crate) seed: Option<u64>,
    /// The cluster has never run: nobody can hold a lease.
    pub(crate) fresh_cluster: bool,
}
