//! Raft's log as a value: no clock, no randomness, no I/O, no `async`, and no rule of the election.
//!
//! [`Replication`] owns an [`Election`] and stands beside it. The two meet where a leader is elected and nowhere else: the
//! election is told how far the log reaches, that the leader was heard, and whether the membership may change; it says who
//! leads, in which term, and who votes.

mod disk;
mod follow;
mod install;
mod lead;
mod progress;
mod read;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::entry::{Batch, Draft, EntryRef, MAX_INDEX};
use super::error::StartError;
use super::limits::LogLimits;
use super::message::{Head, RaftMessage};
use super::store::{Failure, FailureKind, LogStore, Recovered, Snapshot, Write};
use super::tail::Tail;
use super::terms::Terms;
use crate::config::Config;
use crate::election::Election;
use crate::error::Error;
use crate::id::{Id, NodeId};
use crate::message::{ClusterTag, Command, Inbound, LogPosition, MessageKind, MsgRouter};
use crate::state::{HardState, NodeState, NodeType};

use disk::Disk;
use follow::Follow;
use install::Incoming;
use lead::Lead;
use progress::View;

pub use install::CompactError;
pub use progress::Read;
pub use read::{ReadIndex, ReadState};

/// One node's part in a replicated log.
///
/// The law of its use: **call, write, drain, wait**. After every call that takes `now`, hand everything that
/// [`poll_write`](Self::poll_write) gives to the store, begin a flush if one is [wanted](Self::wants_flush), take out
/// everything that [`poll_output`](Self::poll_output) gives, read what [`poll_read`](Self::poll_read) wants; then wait for
/// input, for the store, or for [`poll_timeout`](Self::poll_timeout). What is [committed](Self::commit) can be applied.
/// Instants must not go backwards. Nothing here panics, whatever is put in.
///
/// ```
/// use std::time::Instant;
/// use streamraft::Config;
/// use streamraft::raft::{LogLimits, Recovered, Replication};
///
/// let now = Instant::now();
/// let mut node = Replication::new(Config::new("a", ["a"])?, LogLimits::default(), Recovered::default(), now)?;
/// node.handle_timeout(now); // a cluster of one leads at once
/// let index = node.propose(b"x = 1")?;
/// while let Some(_write) = node.poll_write() {} // here they go to a store
/// node.begin_flush(now);
/// node.flushed(); // and are durable
/// assert_eq!(node.commit(), index);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Replication<I = NodeId> {
    election: Election<I>,
    limits: LogLimits,
    cluster: ClusterTag,
    /// How long a leader waits for its disk before it lets others lead.
    patience: Duration,
    /// The terms of all entries. Ends where the log ends.
    terms: Terms,
    /// The newest entries, up to those in the draft.
    tail: Tail,
    /// The newest of all, in a leader: taken, and told to nobody.
    draft: Draft,
    commit: u64,
    disk: Disk<I>,
    /// The installed snapshot, durable or not.
    snapshot: Option<Snapshot>,
    /// One of this node's own that is being written.
    own: Option<Incoming>,
    role: Role<I>,
    /// What the election was told last.
    change_allowed: bool,
    stats: LogStats,
}

#[derive(Clone, Debug)]
enum Role<I> {
    /// Also a candidate's and an observer's.
    Follower(Follow),
    Leader(Lead<I>),
}

/// Why a message about the log has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ignored {
    ForeignCluster,
    Stranger,
    Stale,
    Malformed,
    Busy,
}

/// How many messages about the log were dropped, by reason, since the node was made. Those of the election are in
/// [`Election::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LogStats {
    /// Of another cluster.
    pub foreign_cluster: u64,
    /// Of senders that do not belong to the cluster.
    pub strangers: u64,
    /// Of another term, or not of its leader.
    pub stale: u64,
    /// Such as no correct node sends: entries that do not fit, indices of no log, a snapshot that is not what it says.
    pub malformed: u64,
    /// For which there was no room, since the disk does not keep up.
    pub busy: u64,
}

impl<I: Id> Replication<I> {
    /// A node that starts now, from what its store holds. The hard state of the store takes the place of
    /// [`Config::restore`].
    ///
    /// # Errors
    /// The first rule that the settings break, or that the store holds what no node has written.
    pub fn new(
        config: Config<I>,
        limits: LogLimits,
        recovered: Recovered<I>,
        now: Instant,
    ) -> Result<Self, StartError> {
        limits.check()?;
        let mut terms =
            Terms::of(&recovered).ok_or(StartError::Damaged("its terms do not fit its log"))?;
        let term = recovered.hard_state.as_ref().map_or(0, HardState::term);
        let snapshot = recovered.snapshot;
        let start = snapshot.map_or(LogPosition::default(), |snapshot| snapshot.position);
        if terms.last().term.max(start.term) > term {
            return Err(StartError::Damaged(
                "its log is of a newer term than its vote",
            ));
        }
        if start.index < terms.purged().index {
            return Err(StartError::Damaged(
                "entries are gone that are in no snapshot",
            ));
        }
        if start.index >= MAX_INDEX {
            return Err(StartError::Damaged("its snapshot is of no log"));
        }
        let cluster = ClusterTag::new(config.get_cluster());
        let patience = config.get_leadership_timeout();
        let saved = recovered.hard_state;
        let config = match saved.clone() {
            Some(hard_state) => config.restore(hard_state),
            None => config,
        };
        let mut election = Election::new(config, now)?;
        election.allow_membership_change(false);
        let mut disk = Disk::new(saved, terms.last().index);
        if !terms.has(start) {
            // It went down between the snapshot and what follows from it.
            terms.reset(start);
            disk.reset(start, 0);
        }
        election.set_position(terms.last());
        Ok(Self {
            role: Role::Follower(Follow::started(election.state().term())),
            election,
            limits,
            cluster,
            patience,
            terms,
            tail: Tail::default(),
            draft: Draft::default(),
            commit: start.index,
            disk,
            snapshot,
            own: None,
            change_allowed: false,
            stats: LogStats::default(),
        })
    }

    /// Takes a message of another node. What is wrong with it is counted, and is no error.
    pub fn receive(&mut self, now: Instant, from: &I, message: RaftMessage<I>) {
        if self.election.is_stopped() {
            return;
        }
        let result = match message {
            RaftMessage::Election(message) => {
                // Refused only by a stopped node.
                let _ = self
                    .election
                    .handle(now, Inbound::FromNode(from.clone(), message));
                self.meet();
                Ok(())
            }
            RaftMessage::Append(append) => self
                .admit(append.head)
                .and_then(|()| self.on_append(now, from, append)),
            RaftMessage::AppendAck(ack) => self
                .admit(ack.head)
                .and_then(|()| self.on_append_ack(from, &ack)),
            RaftMessage::Snapshot(send) => self
                .admit(send.head)
                .and_then(|()| self.on_snapshot(now, from, &send)),
            RaftMessage::SnapshotAck(ack) => self
                .admit(ack.head)
                .and_then(|()| self.on_snapshot_ack(from, &ack)),
        };
        if let Err(reason) = result {
            self.ignore(from, reason);
        }
    }

    /// Does what its owner asks of the election.
    ///
    /// # Errors
    /// A command that cannot be carried out, which changes nothing; any command after the node was stopped.
    pub fn command(&mut self, now: Instant, command: Command<I>) -> Result<(), Error> {
        self.tell_positions();
        let result = self.election.handle(now, Inbound::FromSelf(command));
        self.meet();
        result
    }

    /// See [`TinyRaft::force_nodes`](crate::TinyRaft::force_nodes). What the lost majority had committed and this node does
    /// not have is lost.
    ///
    /// # Errors
    /// As there.
    pub fn force_nodes(&mut self, now: Instant, nodes: Vec<I>) -> Result<(), Error> {
        let result = self.election.force_nodes(now, nodes);
        self.meet();
        result
    }

    /// Does what has fallen due. Without effect when nothing has.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.stalls_at().is_some_and(|at| at <= now) {
            tracing::warn!(node = ?self.election.node_id(), "the disk of the log has stalled: others must lead");
            self.step_down(now);
        }
        self.election.handle_timeout(now);
        self.meet();
    }

    /// Gives leadership up, as far as there is any.
    fn step_down(&mut self, now: Instant) {
        self.tell_positions();
        // Refused only by a stopped node.
        let _ = self
            .election
            .handle(now, Inbound::FromSelf(Command::Resign));
    }

    /// When it wants [`handle_timeout`](Self::handle_timeout) next. Valid until the next call that takes `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stall = self.stalls_at();
        self.election.poll_timeout().into_iter().chain(stall).min()
    }

    /// The next thing to hand over to the store, until there is none. In the order in which they come.
    pub fn poll_write(&mut self) -> Option<Write<I>> {
        if let Some(write) = self.write_before_entries() {
            return Some(write);
        }
        if let Some(batch) = self.next_entries() {
            return Some(Write::Append(batch.clone()));
        }
        self.write_behind_entries()
    }

    /// Hands everything over to a store: what a loop over [`poll_write`](Self::poll_write) does, without copies on the way.
    pub fn write_to(&mut self, store: &mut impl LogStore<I>) {
        while let Some(write) = self.write_before_entries() {
            write.hand_to(store);
        }
        while let Some(batch) = self.next_entries() {
            store.append(batch);
        }
        if let Some(write) = self.write_behind_entries() {
            write.hand_to(store);
        }
    }

    fn write_before_entries(&mut self) -> Option<Write<I>> {
        let hard_state = self.election.state().hard_state();
        self.disk.next_write(hard_state)
    }

    /// The next entries to hand over, which count as handed over.
    fn next_entries(&mut self) -> Option<&Batch> {
        self.seal();
        let first = self.disk.handed + 1;
        if first > self.terms.last().index {
            return None;
        }
        let batch = self.tail.beginning_with(first)?;
        self.disk.handed = batch.last();
        self.disk.is_dirty = true;
        Some(batch)
    }

    fn write_behind_entries(&mut self) -> Option<Write<I>> {
        let position = self.disk.purge.take()?;
        self.disk.is_dirty = true;
        Some(Write::Purge(position))
    }

    /// Whether something was handed over that no flush has begun for, and none is under way.
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        self.disk.wants_flush()
    }

    /// A flush begins of all that was handed over.
    pub fn begin_flush(&mut self, now: Instant) {
        self.disk.begin(now);
    }

    /// The flush that began last is over. Without effect if none is under way.
    pub fn flushed(&mut self) {
        if self.disk.complete() {
            let stable = self.disk.stable;
            self.tail.join(stable);
            self.tail.shrink(stable, self.limits.cache);
            self.commit_by_quorum();
        }
    }

    /// The flush that began last has failed. What it was to make durable is wanted to be flushed again. A leader lets others
    /// lead.
    pub fn flush_failed(&mut self, now: Instant) {
        self.disk.fail();
        self.step_down(now);
        self.meet();
    }

    /// The next thing that must leave the node, until there is none. A state comes out before everything that depends on it,
    /// and what depends on something that must be durable comes when it is.
    // Never inlined, and what it calls always is: a message is built where the caller wants it, and not moved there.
    #[inline(never)]
    pub fn poll_output(&mut self) -> Option<MsgRouter<I, RaftMessage<I>>> {
        if !self.is_saved() {
            return None;
        }
        if let Some(output) = self.election.poll_output() {
            return Some(match output {
                MsgRouter::ToSelf(state) => MsgRouter::ToSelf(state),
                MsgRouter::ToNode(to, message) => {
                    if let MessageKind::Ping { .. } = message.kind {
                        self.on_ping_sent(&to);
                    }
                    MsgRouter::ToNode(to, RaftMessage::Election(message))
                }
            });
        }
        match &self.role {
            Role::Leader(_) => self.next_to_follower(),
            Role::Follower(_) => self.next_to_leader(),
        }
    }

    /// What should be read from the store for a follower; the same until it was [read](Self::entries_read) or is not wanted any
    /// more.
    pub fn poll_read(&mut self) -> Option<Read> {
        let head = self.head();
        let Role::Leader(lead) = &mut self.role else {
            return None;
        };
        let view = View {
            head,
            commit: self.commit,
            terms: &self.terms,
            tail: &self.tail,
            snapshot: self.snapshot.as_ref().filter(|_| self.disk.has_installed()),
            tells: false,
            limits: &self.limits,
        };
        let before = lead.reading.take();
        let followers = || lead.followers.iter();
        let same = followers().find(|follower| before.as_ref() == Some(&follower.id));
        let mut wanted = same
            .into_iter()
            .chain(followers())
            .filter_map(|follower| Some((follower.wanted(&view)?, &follower.id)));
        let (read, id) = wanted.next()?;
        lead.reading = Some(id.clone());
        Some(read)
    }

    /// What [`poll_read`](Self::poll_read) wanted of the log was read.
    pub fn entries_read(&mut self, batch: Batch) {
        if let Role::Leader(lead) = &mut self.role
            && let Some(id) = lead.reading.take()
            && self.terms.term_at(batch.last()) == Some(batch.term())
            && let Some(follower) = lead.follower(&id)
        {
            follower.take_entries(batch);
        }
    }

    /// What [`poll_read`](Self::poll_read) wanted of the snapshot was read, from this offset on.
    pub fn snapshot_read(&mut self, offset: u64, data: Bytes) {
        let snapshot = self.snapshot;
        if let Role::Leader(lead) = &mut self.role
            && let Some(id) = lead.reading.take()
            && let Some(follower) = lead.follower(&id)
        {
            follower.take_part(snapshot, offset, data);
        }
    }

    /// Committed entries from memory: the one at `first` and those behind it in its batch, up to so many bytes. None if they are
    /// not committed, or are no more in memory: then the store has them.
    #[must_use]
    pub fn committed(&self, first: u64, max_bytes: usize) -> Option<Batch> {
        if first > self.commit {
            return None;
        }
        let (batch, _) = self.tail.get(first, max_bytes)?;
        batch.into_up_to(self.commit)
    }

    /// Shows the committed entries behind this index to a state machine that only looks at them, as far as they are in memory. How
    /// far it got: behind that, [read](LogStore::poll_read) from the store, if there is more [committed](Self::commit).
    ///
    /// ```
    /// # use std::time::Instant;
    /// # use streamraft::{Config, raft::{EntryKind, LogLimits, MemoryLog, Recovered, Replication}};
    /// # let now = Instant::now();
    /// # let mut node = Replication::new(Config::new("a", ["a"])?, LogLimits::default(), Recovered::default(), now)?;
    /// # node.handle_timeout(now);
    /// # let mut store = MemoryLog::new();
    /// node.propose(b"x = 1")?;
    /// node.write_to(&mut store);
    /// node.begin_flush(now);
    /// node.flushed();
    /// let mut seen = Vec::new();
    /// let applied = node.show_committed(0, |entry| {
    ///     if entry.kind == EntryKind::Proposal {
    ///         seen.push(entry.data.to_vec());
    ///     }
    /// });
    /// assert_eq!((applied, seen), (node.commit(), vec![b"x = 1".to_vec()]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn show_committed(&self, behind: u64, mut to: impl FnMut(EntryRef<'_>)) -> u64 {
        let mut shown = behind;
        while shown < self.commit {
            let Some(batch) = self.tail.holding(shown + 1) else {
                break;
            };
            batch.show(shown + 1, self.commit, &mut to);
            shown = batch.last().min(self.commit);
        }
        shown
    }

    /// What was read from the store for the entry at `first`, up to the one at `most`. What is behind it may have been cut off
    /// while it was read, and others have come in its place.
    pub(super) fn in_log(&self, first: u64, batch: &Batch, most: u64) -> Result<Batch, Failure> {
        let last = batch.last().min(most);
        let end = match self.terms.first_other(batch.term(), first, last) {
            Some(other) => other - 1,
            None => last,
        };
        let part = batch.up_to(end).filter(|part| part.first() == first);
        part.ok_or_else(|| {
            let term = self.terms.term_at(first).unwrap_or_default();
            let wanted = LogPosition::new(term, first);
            let what = format!("it gave {batch:?} for the entry at {wanted:?}");
            Failure::new(FailureKind::Damaged, what)
        })
    }

    /// Up to which index the log is committed, as far as this node knows.
    #[must_use]
    pub fn commit(&self) -> u64 {
        self.commit
    }

    /// The position of the last entry.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.terms.last()
    }

    /// The position before the first entry that is not purged.
    #[must_use]
    pub fn purged(&self) -> LogPosition {
        self.terms.purged()
    }

    /// The term of the entry at this index, if it is there and not purged.
    #[must_use]
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.terms.term_at(index)
    }

    /// The installed snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Up to which index the log is durable on this node.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.disk.stable
    }

    /// What the node is and knows now.
    #[must_use]
    pub fn state(&self) -> &NodeState<I> {
        self.election.state()
    }

    /// The election below.
    #[must_use]
    pub fn election(&self) -> &Election<I> {
        &self.election
    }

    /// Whether the election's hard state is durable. Until it is, nothing comes out.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.disk.has_saved(self.election.state().hard_state())
    }

    /// What was dropped of messages about the log, and why.
    #[must_use]
    pub fn stats(&self) -> &LogStats {
        &self.stats
    }

    /// The bounds.
    pub fn limits(&self) -> &LogLimits {
        &self.limits
    }

    /// How long a leader waits for its disk.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether all that there was to write is durable.
    pub(super) fn is_quiet(&self) -> bool {
        self.disk.is_quiet()
    }

    /// Whether the snapshot can be read from the store.
    pub(super) fn has_installed(&self) -> bool {
        self.disk.has_installed()
    }

    /// The election may have changed: whether this node leads, in which term, and who the others are.
    fn meet(&mut self) {
        let state = self.election.state();
        let (leads, term) = (state.node_type() == NodeType::Leader, state.term());
        match &mut self.role {
            Role::Leader(lead) if leads && lead.term == term => {
                let last = self.terms.last().index;
                self.meet_members(last);
                self.press_transfer();
                self.look_at_change();
            }
            _ if leads => self.lead(term),
            Role::Leader(_) => self.follow(term, None),
            Role::Follower(follow) if follow.term != term => {
                let incoming = follow.incoming.take();
                self.follow(term, incoming);
            }
            Role::Follower(_) => {}
        }
    }

    fn follow(&mut self, term: u64, incoming: Option<Incoming>) {
        // What was taken and told to nobody is in the log all the same.
        self.seal();
        self.role = Role::Follower(Follow::anew(term, incoming));
        self.look_at_change();
    }

    /// Whether a message about the log is heard at all.
    fn admit(&self, head: Head) -> Result<(), Ignored> {
        if head.cluster != self.cluster {
            Err(Ignored::ForeignCluster)
        } else if head.term != self.election.state().term() {
            Err(Ignored::Stale)
        } else {
            Ok(())
        }
    }

    fn head(&self) -> Head {
        let round = match &self.role {
            Role::Leader(lead) => lead.reads.round(),
            Role::Follower(follow) => follow.round(),
        };
        Head {
            cluster: self.cluster,
            term: self.election.state().term(),
            round,
        }
    }

    #[cold]
    fn ignore(&mut self, from: &I, reason: Ignored) {
        tracing::debug!(node = ?self.election.node_id(), ?from, ?reason, "message about the log dropped");
        let count = match reason {
            Ignored::ForeignCluster => &mut self.stats.foreign_cluster,
            Ignored::Stranger => &mut self.stats.strangers,
            Ignored::Stale => &mut self.stats.stale,
            Ignored::Malformed => &mut self.stats.malformed,
            Ignored::Busy => &mut self.stats.busy,
        };
        *count = count.saturating_add(1);
    }
}
