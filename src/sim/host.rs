//! One simulated machine: the node while it runs, its disk and its clock always.

use std::sync::Arc;
use std::time::Instant;

use super::clock::Clock;
use super::machine::Machine;
use crate::election::Election;
use crate::id::Id;
use crate::membership::Membership;
use crate::state::{NodeState, NodeType};

/// What a node's application can see of one of its elections: as of the last time that the node had nothing more to say
/// and nothing to save. A node that is paused, or waits for its disk, goes on showing it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown<I> {
    /// Which election.
    pub group: u64,
    /// The part that the node plays.
    pub node_type: NodeType,
    /// Its term.
    pub term: u64,
    /// The leader that it knows.
    pub leader: Option<I>,
    /// Until when it holds the lease, by its own clock.
    pub lease: Option<Instant>,
    /// It hands leadership over.
    pub is_transferring: bool,
    /// The membership that it holds.
    pub membership: Arc<Membership<I>>,
}

impl<I: Id> Shown<I> {
    fn of(group: u64, state: &NodeState<I>) -> Self {
        Self {
            group,
            node_type: state.node_type,
            term: state.hard_state.term,
            leader: state.leader.clone(),
            lease: state.lease,
            is_transferring: state.transferring_to().is_some(),
            membership: Arc::clone(&state.hard_state.membership),
        }
    }

    /// Whether it leads, with a lease or without.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.node_type == NodeType::Leader
    }

    /// Whether its lease holds when its node's clock shows this.
    #[must_use]
    pub fn holds_lease_at(&self, shown_by_its_clock: Instant) -> bool {
        self.is_leader() && self.lease.is_some_and(|end| shown_by_its_clock < end)
    }

    /// Whether another state would look the same in a chart: leases are prolonged all the time.
    fn looks_like(&self, other: &Self) -> bool {
        (self.node_type, self.term, &self.leader) == (other.node_type, other.term, &other.leader)
            && self.lease.is_some() == other.lease.is_some()
            && self.membership.stamp() == other.membership.stamp()
    }
}

/// The node while it runs, and what outlives it.
#[derive(Debug)]
pub(super) struct Host<M: Machine> {
    pub(super) id: M::Id,
    pub(super) machine: Option<M>,
    pub(super) saved: M::Saved,
    /// How many disks it has had.
    pub(super) disks: u64,
    pub(super) starts: u64,
    pub(super) clock: Clock,
    /// Until when it does nothing: messages wait for it, and its lease is still read.
    pub(super) paused_until: u64,
    /// Until when its disk completes nothing.
    pub(super) stalled_until: u64,
    /// When it started, or whatever else stopped it from working was over.
    pub(super) well_since: u64,
    /// When it was called first since it last had nothing to say.
    pub(super) busy_since: Option<u64>,
    /// The write that everything waits for, and when it is done.
    pub(super) writing: Option<(u64, M::Write)>,
    /// The writes behind, and when each is done.
    pub(super) appends: Vec<(u64, M::Write)>,
    /// It will never start again.
    pub(super) is_gone: bool,
    pub(super) shown: Vec<Shown<M::Id>>,
    /// When something of its own is due, by true time.
    pub(super) due: Option<u64>,
}

impl<M: Machine> Host<M> {
    pub(super) fn new(id: M::Id, clock: Clock) -> Self {
        Self {
            id,
            machine: None,
            saved: M::Saved::default(),
            disks: 1,
            starts: 0,
            clock,
            paused_until: 0,
            stalled_until: 0,
            well_since: 0,
            busy_since: None,
            writing: None,
            appends: Vec::new(),
            is_gone: false,
            shown: Vec::new(),
            due: None,
        }
    }

    /// Works out anew when something is due. Called after everything that can change it.
    pub(super) fn look_ahead(&mut self, now: u64) {
        let Some(machine) = &self.machine else {
            self.due = None;
            return;
        };
        let append = self.appends.first().map(|(done, _)| *done);
        let next = match &self.writing {
            Some((done, _)) => Some(*done),
            None => machine.poll_timeout().map(|at| self.clock.when(at)),
        };
        let soonest = next.into_iter().chain(append).min();
        self.due = soonest.map(|at| at.max(self.paused_until).max(now));
    }

    /// Shows what the node is now. Whether that looks different, and how many terms it newly leads.
    pub(super) fn show(&mut self) -> (bool, u64) {
        let Some(machine) = &self.machine else {
            return (false, 0);
        };
        let (mut has_changed, mut elected, mut count) = (false, 0, 0);
        for (group, election) in machine.elections() {
            let state = election.state();
            match self.shown.get_mut(count) {
                Some(before) if before.group == group && is_same(before, election) => {
                    before.lease = state.lease;
                }
                before => {
                    let shown = Shown::of(group, state);
                    let led = before
                        .as_ref()
                        .is_some_and(|before| before.is_leader() && before.term == shown.term);
                    elected += u64::from(shown.is_leader() && !led);
                    match before {
                        Some(before) => {
                            has_changed |= !before.looks_like(&shown);
                            *before = shown;
                        }
                        None => {
                            has_changed = true;
                            self.shown.push(shown);
                        }
                    }
                }
            }
            count += 1;
        }
        self.shown.truncate(count);
        (has_changed, elected)
    }
}

/// Whether nothing has changed but how long a lease lasts.
fn is_same<I: Id>(shown: &Shown<I>, election: &Election<I>) -> bool {
    let state = election.state();
    shown.node_type == state.node_type
        && shown.term == state.hard_state.term
        && shown.leader == state.leader
        && shown.lease.is_some() == state.lease.is_some()
        && shown.is_transferring == state.transferring_to().is_some()
        && Arc::ptr_eq(&shown.membership, &state.hard_state.membership)
}
