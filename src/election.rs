//! Raft's election rules as a value: no clock, no randomness of its own, no I/O, no `async`.
//!
//! [`Election`] is told what happened and when ([`handle`](Election::handle),
//! [`handle_timeout`](Election::handle_timeout)) and says what must leave
//! ([`poll_output`](Election::poll_output)) and when it wants to be called again
//! ([`poll_timeout`](Election::poll_timeout)). [`TinyRaft`](crate::TinyRaft) drives one with tokio's clock; a
//! simulator drives many with its own.

mod campaign;
mod change;
mod follow;
mod lead;
mod lease;
mod moment;
mod outbox;
mod peer;
mod receive;
mod rest;
mod shared;
mod succession;
mod timer;
mod transfer;
mod vote;

use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, Settings};
use crate::error::{ConfigError, Error};
use crate::id::{Id, NodeId};
use crate::membership::{SharedMembership, Stamp};
use crate::message::{Command, Inbound, LogPosition, Slot};
use crate::state::{HardState, NodeState, NodeType, Stats};

use campaign::Campaign;
use lead::Lead;
use moment::{Moment, Nanos};
use outbox::Outbox;
use peer::{Peer, peers_of};
pub(crate) use shared::{Shared, Start};
use succession::Draws;
use timer::{Timer, Timers};

/// One node's part in the election of a leader.
///
/// The law of its use: **call, drain, wait**. After every call that takes `now`, take out everything that
/// [`poll_output`](Self::poll_output) gives, then wait for input or for [`poll_timeout`](Self::poll_timeout).
/// Instants must not go backwards. Nothing here panics, whatever is put in.
///
/// ```
/// use std::time::Instant;
/// use streamraft::{Config, Election, MsgRouter, NodeType};
///
/// let now = Instant::now();
/// let mut election = Election::new(Config::new("a", ["a"])?, now)?;
/// while election.poll_timeout().is_some_and(|at| at <= now) {
///     election.handle_timeout(now);
/// }
/// let Some(MsgRouter::ToSelf(state)) = election.poll_output() else { panic!("a cluster of one leads at once") };
/// assert_eq!(state.node_type(), NodeType::Leader);
/// # Ok::<(), streamraft::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election<I = NodeId> {
    settings: Arc<Shared<I>>,
    state: NodeState<I>,
    role: Role,
    position: LogPosition,
    priority: u64,
    peers: Vec<Peer<I>>,
    timers: Timers,
    draws: Draws,
    outbox: Outbox,
    /// Until when a leader that was heard, or may have been heard before a restart, keeps this node's vote.
    withhold_until: Option<Moment>,
    /// This node's place among the successors, as the leader last told it.
    rank: Option<u32>,
    /// How long it waits for a leader before it campaigns; drawn anew for every campaign.
    patience: Nanos,
    /// A campaign of its own has failed since it last heard a leader.
    has_failed: bool,
    /// It has let another candidate go first since it last heard a leader.
    stood_aside: bool,
    /// The voters that this node was asked for, until a leader has heard of it.
    wish: Option<Box<[I]>>,
    /// A layer above has no objection to a membership step.
    change_allowed: bool,
    stopped: bool,
    /// None until something is dropped.
    stats: Option<Box<Stats>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// Also an observer's.
    Follower,
    Candidate(Campaign),
    Leader(Lead),
}

impl<I: Id> Election<I> {
    /// A node that starts now.
    ///
    /// Who gives no [`seed`](Config::seed) gets one that depends on the node's id only.
    ///
    /// # Errors
    /// The first rule that the settings break.
    pub fn new(config: Config<I>, now: Instant) -> Result<Self, ConfigError> {
        let (settings, hard_state) = Settings::new(config)?;
        let shared = Arc::new(Shared::new(&settings, now));
        let start = Start {
            hard_state,
            priority: settings.priority,
            seed: settings.seed,
            fresh_cluster: settings.fresh_cluster,
        };
        Ok(Self::with_shared(shared, start, now))
    }

    /// The same for a layer above that has many elections and checks what they start with.
    pub(crate) fn with_shared(shared: Arc<Shared<I>>, start: Start<I>, now: Instant) -> Self {
        let Start {
            hard_state,
            priority,
            seed,
            fresh_cluster,
        } = start;
        let restored = hard_state.term > 0;
        let mut election = Self {
            peers: peers_of(&hard_state.membership, &shared.me),
            draws: Draws::new(seed, &shared.me),
            state: NodeState::new(hard_state),
            role: Role::Follower,
            position: LogPosition::default(),
            priority,
            timers: Timers::default(),
            outbox: Outbox::default(),
            withhold_until: None,
            rank: None,
            patience: 0,
            has_failed: false,
            stood_aside: false,
            wish: None,
            change_allowed: true,
            stopped: false,
            stats: None,
            settings: shared,
        };
        let now = election.moment(now);
        election.start(now, fresh_cluster, restored);
        election
    }

    /// Boots: withholds votes for one election timeout, since it may have promised them to a leader before a
    /// restart (thesis 6.4.1 relies on it), unless nobody can hold a lease.
    fn start(&mut self, now: Moment, fresh_cluster: bool, restored: bool) {
        self.become_follower(now);
        let alone = self.peers.is_empty() && self.is_voter();
        if fresh_cluster || (alone && !restored) {
            let sooner = self.patience.saturating_sub(self.settings.election_timeout);
            let wait = if alone { 0 } else { sooner };
            self.timers.set(Timer::Campaign, now + wait);
        } else {
            self.withhold_until = Some(now + self.settings.election_timeout);
        }
        self.outbox.announce = false;
    }

    /// Takes one input.
    ///
    /// # Errors
    /// Only for a command that cannot be carried out, which changes nothing, and for any input after
    /// [`stop`](Self::stop). Nothing that another node sent is an error: what is wrong is dropped and counted.
    // Never inlined: what is looked at need not be moved for it.
    #[inline(never)]
    pub fn handle(&mut self, now: Instant, input: Inbound<I>) -> Result<(), Error> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        let now = self.moment(now);
        self.expire(now);
        match input {
            // By reference: moving a message about would cost as much as acting on it.
            Inbound::FromNode(ref from, ref message) => {
                self.receive(now, from, message);
                Ok(())
            }
            Inbound::FromSelf(command) => self.obey(now, command),
        }
    }

    fn obey(&mut self, now: Moment, command: Command<I>) -> Result<(), Error> {
        match command {
            Command::SetNodes(nodes) => return self.set_nodes(now, nodes),
            Command::MarkAlive => self.hear_from_above(now),
            Command::SetPriority(priority) => self.priority = priority,
            Command::Transfer(to) => return self.transfer(now, &to),
            Command::Resign => self.resign(now),
            Command::Stop => self.end(now),
        }
        Ok(())
    }

    /// Does what has fallen due. Without effect when nothing has.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.moment(now);
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Expiry => self.expire(now),
                Timer::Handover => self.give_up_transfer(now),
                Timer::Campaign => self.campaign(now),
                Timer::Beat => self.beat(now),
                Timer::Answer => self.answer_withheld(now),
            }
        }
    }

    /// When it wants [`handle_timeout`](Self::handle_timeout) next. Valid until the next call that takes `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = self.timers.next()?;
        Some(next.instant(self.settings.origin))
    }

    /// Ends the node: resigns if it leads, keeps what has to leave, takes no more input.
    pub fn stop(&mut self, now: Instant) {
        let now = self.moment(now);
        self.end(now);
    }

    fn end(&mut self, now: Moment) {
        self.expire(now);
        self.resign(now);
        if !self.stopped && matches!(self.role, Role::Candidate(_)) {
            self.become_follower(now);
        }
        self.stopped = true;
        self.timers = Timers::default();
    }

    /// Whether [`stop`](Self::stop) was called. What has to leave may still be waiting.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What the node is and knows now. Newer than the last state that came out, if that waits.
    #[must_use]
    pub fn state(&self) -> &NodeState<I> {
        &self.state
    }

    /// What was dropped, and why.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        const NONE: &Stats = &Stats::NONE;
        self.stats.as_deref().unwrap_or(NONE)
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> &I {
        &self.settings.me
    }

    /// For a layer above: how far this node's log reaches.
    pub fn set_position(&mut self, position: LogPosition) {
        self.position = position;
    }

    #[inline]
    fn moment(&self, now: Instant) -> Moment {
        Moment::of(now, self.settings.origin)
    }

    fn term(&self) -> u64 {
        self.state.hard_state.term
    }

    fn membership(&self) -> &SharedMembership<I> {
        &self.state.hard_state.membership
    }

    fn stamp(&self) -> Stamp {
        self.membership().stamp()
    }

    fn is_voter(&self) -> bool {
        self.membership().is_voter(&self.settings.me)
    }

    /// Takes a newer term: whoever was voted for, led or campaigned in the old one, it is over (paper section 5.1).
    fn take_term(&mut self, now: Moment, term: u64) {
        let hard_state = &mut self.state.hard_state;
        *hard_state = HardState {
            term,
            voted_for: None,
            membership: Arc::clone(&hard_state.membership),
        };
        self.unsend(Slot::Reply);
        self.become_follower(now);
    }

    /// Follows nobody, in the present term, and waits for a leader.
    fn become_follower(&mut self, now: Moment) {
        self.role = Role::Follower;
        self.unsend(Slot::Request);
        self.state.leader = None;
        self.state.lease = None;
        self.state.clear_leading();
        self.rank = None;
        self.forget_withheld();
        self.timers = Timers::default();
        self.outbox.announce = true;
        if self.is_voter() {
            self.state.node_type = NodeType::Follower;
            self.draw_patience();
            self.timers.set(Timer::Campaign, now + self.patience);
        } else {
            self.state.node_type = NodeType::Observer;
        }
    }
}
