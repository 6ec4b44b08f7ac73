//! What can be seen of a simulated cluster from outside: by its invariants, and by a test.

use std::time::{Duration, Instant};

use super::conditions::Conditions;
use super::dice::nanos;
use super::host::{Host, Shown};
use super::machine::Machine;
use super::summary::Summary;
use super::timing::Timing;

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) is_cut: bool,
    /// When it was cut or mended last.
    pub(super) changed: u64,
    /// How many messages were sent over it.
    pub(super) sent: u64,
    /// When something last arrived over it at a node that runs.
    pub(super) arrived: Option<u64>,
}

/// A simulated cluster as an onlooker sees it who knows the true time: its nodes, their disks and clocks, its links.
///
/// Times are true ones since the run began. Of a node that does not exist nothing is known.
#[derive(Debug)]
pub struct World<M: Machine> {
    pub(super) seed: u64,
    pub(super) now: u64,
    /// Sorted by id.
    pub(super) hosts: Vec<Host<M>>,
    /// By sender, then by receiver.
    pub(super) links: Vec<Link>,
    pub(super) conditions: Conditions,
    /// Since when the conditions are calm, and nothing is on its way from when they were not.
    pub(super) calm_since: Option<u64>,
    pub(super) timing: Timing,
    pub(super) voters: Vec<M::Id>,
    pub(super) summary: Summary,
}

impl<M: Machine> World<M> {
    /// The seed of the run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The true time since the run began.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// The cluster's durations.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// What the network and the disks are like now.
    #[must_use]
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// What has happened so far, counted.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// All nodes, running or not, sorted.
    pub fn ids(&self) -> impl Iterator<Item = &M::Id> {
        self.hosts.iter().map(|host| &host.id)
    }

    /// The nodes that run, paused or not.
    pub fn running(&self) -> impl Iterator<Item = (&M::Id, &M)> {
        let running = |host: &'_ Host<M>| host.machine.is_some();
        self.hosts
            .iter()
            .filter(move |host| running(host))
            .filter_map(|host| Some((&host.id, host.machine.as_ref()?)))
    }

    /// A node that runs.
    #[must_use]
    pub fn node(&self, id: &M::Id) -> Option<&M> {
        self.host(id)?.machine.as_ref()
    }

    /// What a node's disk holds.
    #[must_use]
    pub fn saved(&self, id: &M::Id) -> Option<&M::Saved> {
        self.host(id).map(|host| &host.saved)
    }

    /// How many disks a node has had: one more with every [`wipe`](super::Cluster::wipe).
    #[must_use]
    pub fn disks(&self, id: &M::Id) -> u64 {
        self.host(id).map_or(0, |host| host.disks)
    }

    /// What a running node's application sees of its elections. Empty for one that does not run.
    #[must_use]
    pub fn shown(&self, id: &M::Id) -> &[Shown<M::Id>] {
        self.host(id).map_or(&[], |host| &host.shown)
    }

    /// What a node shows of one election.
    #[must_use]
    pub fn shown_in(&self, id: &M::Id, group: u64) -> Option<&Shown<M::Id>> {
        self.shown(id).iter().find(|shown| shown.group == group)
    }

    /// Whoever shows that it leads, with a lease or without, in whichever election.
    pub fn leaders(&self) -> impl Iterator<Item = (&M::Id, &Shown<M::Id>)> {
        self.hosts.iter().flat_map(|host| {
            let leading = host.shown.iter().filter(|shown| shown.is_leader());
            leading.map(|shown| (&host.id, shown))
        })
    }

    /// Whoever holds the lease of an election now, by its own clock: its application takes itself for the leader.
    pub fn lease_holders(&self) -> impl Iterator<Item = (&M::Id, &Shown<M::Id>)> {
        self.hosts.iter().flat_map(|host| {
            let holds = |shown: &&Shown<M::Id>| {
                shown.is_leader() && shown.holds_lease_at(host.clock.at(self.now))
            };
            host.shown
                .iter()
                .filter(holds)
                .map(|shown| (&host.id, shown))
        })
    }

    /// Whether a node runs, is not paused, and does not wait for its disk.
    #[must_use]
    pub fn is_awake(&self, id: &M::Id) -> bool {
        self.host(id).is_some_and(|host| {
            host.machine.is_some() && host.paused_until <= self.now && !self.is_writing(id)
        })
    }

    /// Whether a node waits for its disk before it says anything.
    #[must_use]
    pub fn is_writing(&self, id: &M::Id) -> bool {
        self.host(id).is_some_and(|host| {
            host.writing.is_some() || host.machine.as_ref().is_some_and(Machine::waits_for_disk)
        })
    }

    /// Since when a node has been at work on what it says next: it was called then, and has had more to say or to save ever
    /// since. Now, if it is at rest.
    #[must_use]
    pub fn busy_since(&self, id: &M::Id) -> Duration {
        let since = self.host(id).and_then(|host| host.busy_since);
        Duration::from_nanos(since.unwrap_or(self.now))
    }

    /// Whether a node has lost its disk for good and never comes back.
    #[must_use]
    pub fn is_gone(&self, id: &M::Id) -> bool {
        self.host(id).is_some_and(|host| host.is_gone)
    }

    /// For how long a node has run without a pause and without a stall of its disk. Zero if it does not.
    #[must_use]
    pub fn well_for(&self, id: &M::Id) -> Duration {
        let host = self.host(id);
        let since = host.filter(|host| host.machine.is_some()).map(|host| {
            host.well_since
                .max(host.paused_until)
                .max(host.stalled_until)
        });
        Duration::from_nanos(since.map_or(0, |since| self.now.saturating_sub(since)))
    }

    /// For how long messages have been able to take this way. Zero if it is cut.
    #[must_use]
    pub fn connected_for(&self, from: &M::Id, to: &M::Id) -> Duration {
        let link = self.link(from, to).filter(|link| !link.is_cut);
        Duration::from_nanos(link.map_or(0, |link| self.now.saturating_sub(link.changed)))
    }

    /// For how long nothing has been lost nor slow, and nothing was on its way that was sent before.
    #[must_use]
    pub fn calm_for(&self) -> Duration {
        let since = self
            .calm_since
            .map_or(0, |since| self.now.saturating_sub(since));
        Duration::from_nanos(since)
    }

    /// When something last arrived on this way.
    #[must_use]
    pub fn last_arrival(&self, from: &M::Id, to: &M::Id) -> Option<Duration> {
        self.link(from, to)?.arrived.map(Duration::from_nanos)
    }

    /// What a node's clock shows at this true time.
    #[must_use]
    pub fn clock_at(&self, id: &M::Id, time: Duration) -> Option<Instant> {
        Some(self.host(id)?.clock.at(nanos(time)))
    }

    /// The first true time at which a node's clock shows this, at the rate at which it runs now.
    #[must_use]
    pub fn time_when(&self, id: &M::Id, shows: Instant) -> Option<Duration> {
        Some(Duration::from_nanos(self.host(id)?.clock.when(shows)))
    }

    /// The leader of group 0 that holds its lease and is known, in its term, to all of its voters that run.
    #[must_use]
    pub fn settled_leader(&self) -> Option<&M::Id> {
        let mut holders = self.lease_holders().filter(|(_, shown)| shown.group == 0);
        let (leader, state) = holders.next()?;
        self.follow(leader, state).then_some(leader)
    }

    /// Whether all the voters that run know this leader, in its term.
    pub(super) fn follow(&self, leader: &M::Id, state: &Shown<M::Id>) -> bool {
        let mut voters = state.membership.voters.iter();
        voters.all(|voter| {
            self.node(voter).is_none()
                || self.shown_in(voter, state.group).is_some_and(|shown| {
                    shown.leader.as_ref() == Some(leader) && shown.term == state.term
                })
        })
    }

    /// Whether every membership that a running node holds could have a leader: a quorum of its voters is not gone for good.
    #[must_use]
    pub fn could_settle(&self) -> bool {
        self.hosts.iter().flat_map(|host| &host.shown).all(|shown| {
            let membership = &shown.membership;
            let left = membership.voters.iter().filter(|id| !self.is_gone(id));
            membership.voters.is_empty() || left.count() >= membership.quorum()
        })
    }

    /// Whether the disks of enough others are left, by every membership that anyone holds, if this one's goes.
    pub(super) fn can_do_without(&self, id: &M::Id) -> bool {
        let goes = |other: &&M::Id| *other == id || self.is_gone(other);
        let disks = self.hosts.iter().flat_map(|host| {
            let saved = M::hard_states(&host.saved).map(|(_, saved)| saved.membership());
            saved.chain(host.shown.iter().map(|shown| &shown.membership))
        });
        let mut memberships = disks.filter(|membership| !membership.voters.is_empty());
        memberships.all(|membership| {
            let named = [
                &membership.voters,
                &membership.observers,
                &membership.target,
            ];
            let mut missing: Vec<&M::Id> = named.into_iter().flatten().filter(goes).collect();
            missing.sort();
            missing.dedup();
            missing.len() * 2 < membership.voters.len()
        }) && self.voters.len() > 2
    }

    pub(super) fn at(&self, id: &M::Id) -> Option<usize> {
        self.hosts.binary_search_by(|host| host.id.cmp(id)).ok()
    }

    pub(super) fn host(&self, id: &M::Id) -> Option<&Host<M>> {
        self.hosts.get(self.at(id)?)
    }

    pub(super) fn host_mut(&mut self, id: &M::Id) -> Option<&mut Host<M>> {
        let at = self.at(id)?;
        self.hosts.get_mut(at)
    }

    fn link(&self, from: &M::Id, to: &M::Id) -> Option<&Link> {
        self.links.get(self.link_at(self.at(from)?, self.at(to)?))
    }

    pub(super) fn link_at(&self, from: usize, to: usize) -> usize {
        from * self.hosts.len() + to
    }

    /// Sets what the network and the disks are like from now on.
    pub(super) fn set_conditions(&mut self, conditions: Conditions) {
        let before = std::mem::replace(&mut self.conditions, conditions);
        let was_calm = before.is_calm(&self.timing);
        self.calm_since = match (conditions.is_calm(&self.timing), was_calm) {
            (false, _) => None,
            (true, true) => self.calm_since,
            (true, false) => Some(self.now + nanos(before.longest())),
        };
    }
}
