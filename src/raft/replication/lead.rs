//! The leader: what it takes, what its followers answer, and what is committed by that.

use std::sync::Arc;
use std::time::Instant;

use super::progress::{Progress, View};
use super::read::Reads;
use super::{Ignored, Replication, Role};
use crate::id::Id;
use crate::membership::Membership;
use crate::message::MsgRouter;
use crate::raft::entry::{EntryKind, HEADER, MAX_TAKEN};
use crate::raft::error::ProposeError;
use crate::raft::message::{AppendAck, RaftMessage, SnapshotAck};

#[derive(Clone, Debug)]
pub(super) struct Lead<I> {
    pub(super) term: u64,
    /// The index of the entry that the term begins with.
    pub(super) first: u64,
    /// All other members, sorted by id.
    pub(super) followers: Vec<Progress<I>>,
    /// The membership that they are of.
    membership: Arc<Membership<I>>,
    /// It is not yet the one that is wished for.
    is_changing: bool,
    /// Whom to look at first for the next message.
    cursor: usize,
    /// Followers are told what is committed, even if there is nothing else for them.
    pub(super) tells: bool,
    pub(super) reads: Reads,
    /// For whom something is being read.
    pub(super) reading: Option<I>,
    /// Room for a count.
    counts: Vec<u64>,
}

impl<I: Id> Replication<I> {
    /// Was elected: begins the term with an entry of its own, so that all before it can be committed (paper 5.4.2).
    pub(super) fn lead(&mut self, term: u64) {
        let last = self.terms.last().index;
        self.role = Role::Leader(Lead {
            term,
            first: last + 1,
            followers: Vec::new(),
            membership: Arc::new(Membership::none()),
            is_changing: false,
            cursor: 0,
            tells: false,
            reads: Reads::default(),
            reading: None,
            counts: Vec::new(),
        });
        self.meet_members(last);
        self.take(EntryKind::Blank, &[]);
        self.look_at_change();
    }

    /// The membership is another: whoever was a member before keeps its progress.
    pub(super) fn meet_members(&mut self, last: u64) {
        let membership = self.election.state().hard_state().membership();
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        if Arc::ptr_eq(&lead.membership, membership) {
            return;
        }
        let me = self.election.node_id();
        let mut before = std::mem::take(&mut lead.followers);
        let voters = membership.voters.iter().map(|id| (id, true));
        let observers = membership.observers.iter().map(|id| (id, false));
        for (id, is_voter) in voters.chain(observers).filter(|(id, _)| *id != me) {
            let known = before.binary_search_by(|follower| follower.id.cmp(id));
            let mut progress = match known {
                Ok(at) => before.remove(at),
                Err(_) => Progress::new(id.clone(), is_voter, last),
            };
            progress.is_voter = is_voter;
            lead.followers.push(progress);
        }
        lead.followers.sort_by(|a, b| a.id.cmp(&b.id));
        lead.is_changing =
            membership.voters != membership.target || !membership.observers.is_empty();
        lead.membership = Arc::clone(membership);
        lead.cursor = 0;
    }

    /// Takes an entry into the log. The index that it got.
    ///
    /// # Errors
    /// Why it was not taken, which changes nothing.
    pub fn propose(&mut self, data: &[u8]) -> Result<u64, ProposeError<I>> {
        let state = self.election.state();
        let Role::Leader(_) = &self.role else {
            let leader = state.leader().cloned();
            return Err(ProposeError::NotLeader { leader });
        };
        if self.election.is_stopped() {
            return Err(ProposeError::Stopped);
        }
        if let Some(to) = state.transferring_to() {
            return Err(ProposeError::Transferring { to: to.clone() });
        }
        let (len, most) = (data.len(), self.limits.proposal);
        if len > most {
            return Err(ProposeError::TooLarge { len, most });
        }
        if self.is_full((len + HEADER) as u64) {
            return Err(ProposeError::Busy);
        }
        if self.terms.last().index >= MAX_TAKEN {
            return Err(ProposeError::Full);
        }
        Ok(self.take(EntryKind::Proposal, data))
    }

    /// Whether there is no room for so many more bytes until some of what is there is committed and durable.
    fn is_full(&self, more: u64) -> bool {
        let (most, draft) = (self.limits.unsettled, self.draft.size() as u64);
        // Most often there is room beside all that is in memory.
        if self.tail.bytes() + draft + more <= most {
            return false;
        }
        let settled = self.disk.stable.min(self.commit);
        let unsettled = self.tail.bytes_behind(settled) + draft;
        unsettled > 0 && unsettled + more > most
    }

    fn take(&mut self, kind: EntryKind, data: &[u8]) -> u64 {
        let term = self.election.state().term();
        if !self.draft.has_room(data.len()) {
            self.seal();
        }
        self.draft.push(kind, data);
        self.terms.extend(term, 1);
        let last = self.terms.last();
        self.election.set_position(last);
        last.index
    }

    /// Makes a batch of all that was taken since the last one.
    #[inline]
    pub(super) fn seal(&mut self) {
        if self.draft.len() > 0 {
            self.seal_draft();
        }
    }

    fn seal_draft(&mut self) {
        let last = self.terms.last();
        let first = last.index + 1 - self.draft.len();
        if let Some(batch) = self.draft.seal(first, last.term) {
            self.tail.push(batch);
        }
    }

    pub(super) fn on_append_ack(&mut self, from: &I, ack: &AppendAck) -> Result<(), Ignored> {
        let Role::Leader(lead) = &mut self.role else {
            return Err(Ignored::Stale);
        };
        // A draft was told to nobody.
        let told = self.terms.last().index - self.draft.len();
        if ack.matched.max(ack.commit) > told || ack.head.round > lead.reads.round() {
            return Err(Ignored::Malformed);
        }
        let follower = lead.follower(from).ok_or(Ignored::Stranger)?;
        follower.round = follower.round.max(ack.head.round);
        // Less than before if it was started again since then.
        follower.commit = ack.commit;
        let is_news = follower.on_matched(ack.matched, &self.tail);
        if let Some(refused) = ack.refused {
            follower.on_refused(refused, &self.terms);
        }
        if is_news {
            self.commit_by_quorum();
            self.press_transfer();
        }
        Ok(())
    }

    pub(super) fn on_snapshot_ack(&mut self, from: &I, ack: &SnapshotAck) -> Result<(), Ignored> {
        let Role::Leader(lead) = &mut self.role else {
            return Err(Ignored::Stale);
        };
        let follower = lead.follower(from).ok_or(Ignored::Stranger)?;
        if follower.on_arrived(&ack.snapshot, ack.received) {
            Ok(())
        } else {
            Err(Ignored::Malformed)
        }
    }

    /// What a quorum has is committed, if it is of this term (paper 5.3, 5.4.2).
    pub(super) fn commit_by_quorum(&mut self) {
        let stable = self.disk.stable;
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        if lead.may_commit(self.commit, stable) {
            let me = self.election.node_id();
            let by_quorum = lead.by_quorum(me, stable, |follower| follower.matched);
            if by_quorum >= lead.first && by_quorum > self.commit {
                self.commit = by_quorum;
            }
        }
        self.look_at_change();
    }

    /// Tells the election how far all others are, of which it has heard by their last heartbeats alone: who has caught up since
    /// can succeed this node now.
    pub(super) fn tell_positions(&mut self) {
        if let Role::Leader(lead) = &self.role {
            for follower in &lead.followers {
                follower.tell_position(&self.terms, &mut self.election);
            }
        }
    }

    /// The same of the one that leadership is handed over to, which is waited for.
    pub(super) fn press_transfer(&mut self) {
        if let Role::Leader(lead) = &self.role
            && let Some(to) = self.election.state().transferring_to()
            && let Some(follower) = lead.followers.iter().find(|other| other.id == *to)
        {
            follower.tell_position(&self.terms, &mut self.election);
        }
    }

    /// Lets the membership change, or not: what was committed must first be committed in the present one, in this term
    /// (logless section 5), and whoever is to vote must have caught up (thesis 4.2.1).
    pub(super) fn look_at_change(&mut self) {
        let is_allowed = self.may_change();
        if is_allowed != self.change_allowed {
            self.change_allowed = is_allowed;
            self.election.allow_membership_change(is_allowed);
        }
    }

    fn may_change(&mut self) -> bool {
        let Role::Leader(lead) = &mut self.role else {
            return false;
        };
        if self.commit < lead.first || !lead.is_changing {
            return false;
        }
        let Membership {
            voters,
            observers,
            target,
            ..
        } = &*lead.membership;
        let me = self.election.node_id();
        let lives = self.election.state().followers();
        let is_live = |id: &I| id == me || lives.binary_search(id).is_ok();
        let is_dead_leaver = |id: &I| target.binary_search(id).is_err() && !is_live(id);
        // Whoever goes because it is dead waits for nobody, nor does a change of who listens.
        let has_dead_leaver = voters.iter().any(is_dead_leaver);
        let wished = target.iter().filter(|id| voters.binary_search(id).is_err());
        let may_promote = !has_dead_leaver && wished.eq(observers);
        let joiners = || lead.followers.iter().filter(|other| !other.is_voter);
        let is_behind = |joiner: &Progress<I>| !joiner.has_caught_up();
        // Who is silent may be heard at any time, and be the next: without one that has caught up there is no next.
        let must_wait = joiners().any(|joiner| is_behind(joiner) && is_live(&joiner.id))
            || joiners().next().is_some() && joiners().all(is_behind);
        if may_promote && must_wait {
            return false;
        }
        let stable = self.disk.stable;
        lead.by_quorum(me, stable, |follower| follower.matched) >= self.commit
    }

    /// A heartbeat goes out to this member.
    pub(super) fn on_ping_sent(&mut self, to: &I) {
        let last = self.terms.last().index;
        if let Role::Leader(lead) = &mut self.role
            && let Some(follower) = lead.follower(to)
        {
            follower.beat(last);
        }
        self.look_at_change();
    }

    /// The next message to a follower.
    #[inline(always)]
    pub(super) fn next_to_follower(&mut self) -> Option<MsgRouter<I, RaftMessage<I>>> {
        self.seal();
        let head = self.head();
        let Role::Leader(lead) = &mut self.role else {
            return None;
        };
        lead.reads.send();
        let view = View {
            head,
            commit: self.commit,
            terms: &self.terms,
            tail: &self.tail,
            snapshot: self.snapshot.as_ref().filter(|_| self.disk.has_installed()),
            tells: lead.tells,
            limits: &self.limits,
        };
        while let Some(follower) = lead.followers.get_mut(lead.cursor) {
            if follower.may_want(&view)
                && let Some(message) = follower.next_message(&view)
            {
                return Some(MsgRouter::ToNode(follower.id.clone(), message));
            }
            lead.cursor += 1;
        }
        lead.cursor = 0;
        lead.tells = false;
        None
    }

    /// What is committed is told at once to followers for whom there is nothing else: to be called when no more is to be
    /// [proposed](Self::propose) for now. Else they hear of it with the next entries, or with the next heartbeat, and their state
    /// machines are so much later. It costs one message a follower, which is not answered.
    pub fn tell_committed(&mut self) {
        if let Role::Leader(lead) = &mut self.role {
            lead.tells = true;
        }
    }

    /// Whether anything that depends on the leader's disk has waited for it too long. Then others must lead
    /// (hashicorp/raft#503).
    pub(super) fn stalls_at(&self) -> Option<Instant> {
        let leads = matches!(self.role, Role::Leader(_));
        let since = self.disk.flushing_since().filter(|_| leads)?;
        since.checked_add(self.patience)
    }
}

impl<I: Id> Lead<I> {
    pub(super) fn follower(&mut self, id: &I) -> Option<&mut Progress<I>> {
        let at = self
            .followers
            .binary_search_by(|follower| follower.id.cmp(id))
            .ok()?;
        self.followers.get_mut(at)
    }

    /// Whether so many have more than what is committed that they may be a quorum.
    fn may_commit(&self, commit: u64, mine: u64) -> bool {
        let has_more = |follower: &&Progress<I>| follower.matched > commit;
        let others = self.followers.iter().filter(has_more).count();
        others + usize::from(mine > commit) >= self.membership.quorum()
    }

    /// The most that a quorum of the voters has, counting `mine` for this node.
    pub(super) fn by_quorum(&mut self, me: &I, mine: u64, of: impl Fn(&Progress<I>) -> u64) -> u64 {
        let Self {
            counts,
            followers,
            membership,
            ..
        } = self;
        counts.clear();
        counts.extend(
            followers
                .iter()
                .filter(|follower| follower.is_voter)
                .map(of),
        );
        if membership.is_voter(me) {
            counts.push(mine);
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let quorum = membership.quorum();
        let least = quorum.checked_sub(1).and_then(|at| counts.get(at));
        least.copied().unwrap_or_default()
    }
}
