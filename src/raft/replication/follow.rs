//! The follower: what it takes of its leader, and when it answers (paper 5.3).

use std::time::Instant;

use super::{Ignored, Replication, Role};
use crate::id::Id;
use crate::message::{LogPosition, MsgRouter};
use crate::raft::entry::Batch;
use crate::raft::message::{
    Append, AppendAck, Head, RaftMessage, Refused, SnapshotAck, SnapshotSend,
};
use crate::raft::store::Snapshot;

use super::install::Incoming;

#[derive(Clone, Debug, Default)]
pub(super) struct Follow {
    pub(super) term: u64,
    /// Up to here its log is the same as this term's leader's.
    pub(super) verified: u64,
    /// What it has answered last.
    acked: u64,
    /// The leader waits for an answer.
    pub(super) owes: bool,
    refused: Option<Refused>,
    /// The newest round of reads that it has heard, and the one that it has answered.
    round: u64,
    acked_round: u64,
    /// A snapshot of which it owes the leader an answer, and how much of it has arrived.
    pub(super) arrived: Option<(Snapshot, u64)>,
    pub(super) incoming: Option<Incoming>,
}

impl Follow {
    /// Was started. The leader may have told it before what is committed: it says that it does not know.
    pub(super) fn started(term: u64) -> Self {
        Self {
            owes: true,
            ..Self::anew(term, None)
        }
    }

    /// In a newer term. What has arrived of a snapshot may be of use to the new leader too.
    pub(super) fn anew(term: u64, incoming: Option<Incoming>) -> Self {
        Self {
            term,
            incoming,
            ..Self::default()
        }
    }

    pub(super) fn round(&self) -> u64 {
        self.round
    }
}

impl<I: Id> Replication<I> {
    /// Takes a leader's entries, or says where the logs may agree.
    // Inlined, so that the message is not moved.
    #[inline(always)]
    pub(super) fn on_append(
        &mut self,
        now: Instant,
        from: &I,
        append: Append,
    ) -> Result<(), Ignored> {
        let Append {
            head,
            previous,
            commit,
            entries,
        } = append;
        self.hear(now, from, head)?;
        let has_entries = entries.is_some();
        let last = entries.as_ref().map_or(previous.index, Batch::last);
        let batch = match entries {
            Some(batch) => self.check(previous, batch)?,
            None => None,
        };
        if previous.index > self.commit && !self.terms.has(previous) {
            self.refuse(previous);
            return Ok(());
        }
        if let Some(batch) = batch {
            self.accept(batch)?;
        }
        let Role::Follower(follow) = &mut self.role else {
            return Err(Ignored::Stale);
        };
        // Its log goes on from here, without a snapshot.
        follow.incoming = None;
        // What it has committed is the same in every leader's log (leader completeness, paper 5.4.3).
        let verified = last.min(self.terms.last().index);
        follow.verified = follow.verified.max(verified);
        // No further than the logs are known to be the same (scylladb#10578).
        let commit = commit.min(follow.verified);
        // What only tells what is committed is not answered: a leader that wants to know asks again with its next heartbeat.
        let only_tells = !has_entries && previous.index == follow.acked && commit > self.commit;
        follow.owes |= !only_tells;
        if commit > self.commit {
            self.commit = commit;
        }
        Ok(())
    }

    /// Hears the leader of this term and nobody else. It lives: as good as its heartbeat.
    pub(super) fn hear(&mut self, now: Instant, from: &I, head: Head) -> Result<(), Ignored> {
        let Role::Follower(follow) = &mut self.role else {
            return Err(Ignored::Malformed);
        };
        if self.election.state().leader() != Some(from) {
            return Err(Ignored::Stale);
        }
        follow.round = follow.round.max(head.round);
        self.election.mark_alive(now);
        Ok(())
    }

    /// The part of a batch that is behind what is committed here; an error if no leader has said it.
    fn check(&self, previous: LogPosition, batch: Batch) -> Result<Option<Batch>, Ignored> {
        let follows =
            batch.first() == previous.index.saturating_add(1) && batch.term() >= previous.term;
        if !follows || batch.term() > self.election.state().term() {
            return Err(Ignored::Malformed);
        }
        let term = batch.term();
        let behind = batch.into_from(self.commit + 1);
        // What is committed is the same in every log, and terms never fall from one entry to the next.
        let least = self.terms.term_at(self.commit).unwrap_or_default().max(1);
        if behind.is_some() && term < least {
            return Err(Ignored::Malformed);
        }
        Ok(behind)
    }

    fn refuse(&mut self, previous: LogPosition) {
        let hint = self.terms.agree(previous);
        let Role::Follower(follow) = &mut self.role else {
            return;
        };
        follow.owes = true;
        follow.refused = Some(Refused {
            previous: previous.index,
            hint,
        });
    }

    /// Takes what is new of a batch, and drops what is not in the leader's log (paper figure 2, receiver's rules 3 and 4).
    fn accept(&mut self, batch: Batch) -> Result<(), Ignored> {
        let known = batch.last().min(self.terms.last().index);
        let mut first = known + 1;
        if batch.first() <= known
            && let Some(other) = self.terms.first_other(batch.term(), batch.first(), known)
        {
            // Nothing that is committed is here: that part was cut off.
            self.truncate(other - 1);
            first = other;
        }
        let Some(new) = batch.into_from(first) else {
            return Ok(());
        };
        let most = self.limits.unsettled.max(1);
        if self.tail.bytes() >= most && self.tail.bytes_behind(self.disk.stable) >= most {
            // The disk does not keep up. The leader says it again.
            return Err(Ignored::Busy);
        }
        self.terms.extend(new.term(), new.len() as u64);
        self.tail.push(new);
        self.election.set_position(self.terms.last());
        Ok(())
    }

    fn truncate(&mut self, last: u64) {
        self.terms.truncate(last);
        self.tail.truncate(last);
        self.disk.truncate(last);
        self.election.set_position(self.terms.last());
    }

    /// The answer that the leader waits for. Only what is durable is said to be there (thesis 10.2.1).
    #[inline(always)]
    pub(super) fn next_to_leader(&mut self) -> Option<MsgRouter<I, RaftMessage<I>>> {
        let head = self.head();
        let Role::Follower(follow) = &mut self.role else {
            return None;
        };
        let matched = follow.verified.min(self.disk.stable);
        let has_news = follow.owes && matched == follow.verified
            || matched > follow.acked
            || follow.round > follow.acked_round
            || follow.refused.is_some();
        let leader = self.election.state().leader()?;
        if has_news {
            follow.owes &= matched < follow.verified;
            follow.acked = matched;
            follow.acked_round = follow.round;
            let ack = AppendAck {
                head,
                matched,
                commit: self.commit,
                refused: follow.refused.take(),
            };
            return Some(MsgRouter::ToNode(
                leader.clone(),
                RaftMessage::AppendAck(ack),
            ));
        }
        // Parts come one at a time, and the next when this one is on the disk.
        let (snapshot, received) = follow.arrived.take_if(|_| self.disk.is_quiet())?;
        let ack = SnapshotAck {
            head,
            snapshot,
            received,
        };
        Some(MsgRouter::ToNode(
            leader.clone(),
            RaftMessage::SnapshotAck(ack),
        ))
    }

    /// Takes a part of the leader's snapshot.
    pub(super) fn on_snapshot(
        &mut self,
        now: Instant,
        from: &I,
        send: &SnapshotSend,
    ) -> Result<(), Ignored> {
        self.hear(now, from, send.head)?;
        let snapshot = send.part.snapshot;
        if snapshot.position.index <= self.commit {
            let Role::Follower(follow) = &mut self.role else {
                return Err(Ignored::Stale);
            };
            // It has all that is in it.
            follow.verified = follow.verified.max(snapshot.position.index);
            follow.owes = true;
            return Ok(());
        }
        self.take_part(&send.part)
    }
}
