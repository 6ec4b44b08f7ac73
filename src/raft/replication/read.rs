//! Reads that see all that was committed before them, without an entry of their own (thesis 6.4).

use std::time::Instant;

use super::{Replication, Role};
use crate::id::Id;
use crate::raft::error::ProposeError;

/// Rounds of questions to the followers whether this node still leads. Reads that come before a round is sent share it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reads {
    /// The newest round.
    round: u64,
    /// It was sent to nobody yet.
    is_open: bool,
    /// The newest round that a quorum has answered.
    confirmed: u64,
}

impl Reads {
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// The round that a read of now waits for.
    fn join(&mut self) -> u64 {
        if !std::mem::replace(&mut self.is_open, true) {
            self.round += 1;
        }
        self.round
    }

    pub(super) fn send(&mut self) {
        self.is_open = false;
    }
}

/// A read that was asked for. It may be answered from a state machine that has applied [`index`](Self::index), as soon as
/// [`Replication::read_state`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ReadIndex {
    /// The term of the leader that was asked.
    pub term: u64,
    /// The round that must be answered by a quorum; 0 if the leader's lease vouches for it.
    round: u64,
    /// What must have been applied.
    pub index: u64,
}

/// How far a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadState {
    /// It waits for a quorum to answer, or for the first commit of the term.
    Waiting,
    /// Whoever has applied its index may answer it.
    Ready,
    /// The leader that was asked leads no more.
    Lost,
}

impl<I: Id> Replication<I> {
    /// Asks for a read. Where the lease holds, it is ready at once; else it waits for a quorum's answers.
    ///
    /// # Errors
    /// A node that does not lead, or was stopped.
    pub fn read(&mut self, now: Instant) -> Result<ReadIndex, ProposeError<I>> {
        let has_lease = self.election.state().is_leader_at(now);
        if self.election.is_stopped() {
            return Err(ProposeError::Stopped);
        }
        let Role::Leader(lead) = &mut self.role else {
            let leader = self.election.state().leader().cloned();
            return Err(ProposeError::NotLeader { leader });
        };
        let round = if has_lease { 0 } else { lead.reads.join() };
        if round > 0 {
            for follower in &mut lead.followers {
                follower.is_due = true;
            }
        }
        Ok(ReadIndex {
            term: lead.term,
            round,
            // Before its first commit a leader does not know what is committed.
            index: self.commit.max(lead.first),
        })
    }

    /// How far a read is.
    pub fn read_state(&mut self, read: &ReadIndex) -> ReadState {
        let me = self.election.node_id();
        let Role::Leader(lead) = &mut self.role else {
            return ReadState::Lost;
        };
        if lead.term != read.term {
            return ReadState::Lost;
        }
        let (round, confirmed) = (lead.reads.round, lead.reads.confirmed);
        if read.round > confirmed {
            // What was not sent was answered by nobody, and by this node only if it is alone.
            lead.reads.confirmed = lead.by_quorum(me, round, |follower| follower.round);
        }
        if read.round > lead.reads.confirmed || self.commit < lead.first {
            ReadState::Waiting
        } else {
            ReadState::Ready
        }
    }
}
