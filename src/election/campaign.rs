//! The candidate: a pre-vote first, then the vote (paper section 5.2, thesis 9.6).

use super::moment::{Moment, Nanos};
use super::outbox::Request;

use super::peer::{Knowledge, Peer};
use super::receive::Drop;
use super::timer::Timer;
use super::{Election, Role};
use crate::config::MAX_TERM;
use crate::id::Id;
use crate::membership::{Tally, tally};
use crate::message::Slot;
use crate::state::NodeType;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Campaign {
    /// Names this campaign; pre-votes repeat it, so that one of an older campaign counts for nothing.
    pub(super) round: u64,
    stage: Stage,
    /// When this stage began.
    since: Moment,
    /// How often it has asked in this stage.
    asked: u32,
    /// Ordered by `TimeoutNow`: the mark is good for this campaign and for no later one.
    pub(super) transfer: bool,
    /// A voter has named a leader that it hears.
    leader_named: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    PreVote,
    Vote,
}

/// A candidate asks for the second time after this part of a heartbeat interval.
const FIRST_ASK_PART: Nanos = 32;

impl Campaign {
    /// Whether it still asks for pre-votes, for no longer than this.
    pub(super) fn is_young(&self, now: Moment, most: Nanos) -> bool {
        self.stage == Stage::PreVote && now < self.since + most
    }

    /// Whether it asks for votes already, so that another term would take it away from itself.
    pub(super) fn has_stood(&self) -> bool {
        self.stage == Stage::Vote
    }
}

impl<I: Id> Election<I> {
    /// Asks whether it would be elected. Also what a candidate does when the time of its campaign is over.
    pub(super) fn campaign(&mut self, now: Moment) {
        if !self.is_voter() {
            // It has not heard the leader for as long as a voter waits.
            self.outbox.announce |= self.state.leader.take().is_some();
            return;
        }
        if self.term() >= MAX_TERM {
            return;
        }
        self.has_failed |= matches!(self.role, Role::Candidate(_));
        self.enter(now, Stage::PreVote, false);
    }

    /// Asks for votes in the next term; with the transfer mark when the leader has given its lease up for it. `false`:
    /// this is the last term.
    pub(super) fn stand(&mut self, now: Moment, transfer: bool) -> bool {
        if self.term() >= MAX_TERM {
            return false;
        }
        let hard_state = &mut self.state.hard_state;
        hard_state.term += 1;
        hard_state.voted_for = Some(self.settings.me.clone());
        self.unsend(Slot::Reply);
        self.enter(now, Stage::Vote, transfer);
        true
    }

    /// Begins a campaign of either stage and the time that it has.
    fn enter(&mut self, now: Moment, stage: Stage, transfer: bool) {
        let shown = (self.state.node_type, self.state.leader.clone(), stage);
        let announced = self.outbox.announce;
        // Standing goes on with the campaign, so that a late pre-vote still tells that its sender is there.
        let same = match &self.role {
            Role::Candidate(last) if stage == Stage::Vote => Some(last.round),
            _ => None,
        };
        let leader_was_named = matches!(&self.role, Role::Candidate(last) if last.leader_named);
        self.become_follower(now);
        self.state.node_type = NodeType::Candidate;
        self.state.leader = shown
            .1
            .clone()
            .filter(|_| leader_was_named && stage == Stage::PreVote);
        // A candidate that merely asks once more has nothing new to show.
        self.outbox.announce = announced
            || shown
                != (
                    NodeType::Candidate,
                    self.state.leader.clone(),
                    Stage::PreVote,
                );
        for peer in &mut self.peers {
            peer.is_there = stage == Stage::Vote && peer.verdict.is_some();
            peer.verdict = None;
            // Whoever has lost what it held hears only who tells it anew.
            peer.knowledge = Knowledge::Untold;
        }
        let round = same.unwrap_or_else(|| self.draws.next_round());
        self.role = Role::Candidate(Campaign {
            round,
            stage,
            since: now,
            asked: 0,
            transfer,
            leader_named: false,
        });
        match self.tally() {
            Tally::Won => self.win(now),
            Tally::Pending | Tally::Lost => self.ask(now),
        }
    }

    fn tally(&self) -> Tally {
        let answers = |verdict| {
            self.peers
                .iter()
                .filter(|peer| peer.voter && peer.verdict == Some(verdict))
                .count()
        };
        let (granted, refused) = (answers(true) + 1, answers(false));
        if refused > 0 && self.is_split(granted) {
            return Tally::Lost;
        }
        tally(self.membership().voters.len(), granted, refused)
    }

    /// Whether the votes of this term are shared out: those who are there and have not answered yet are too few. Who
    /// answered no pre-vote is taken for dead, as the leader is, for whom this election is held.
    fn is_split(&self, granted: usize) -> bool {
        let is_open = |peer: &&Peer<I>| peer.voter && peer.is_there && peer.verdict.is_none();
        let open = self.peers.iter().filter(is_open).count();
        let stands_unasked = matches!(&self.role, Role::Candidate(campaign) if campaign.has_stood() && !campaign.transfer);
        stands_unasked && !self.settings.lottery && granted + open < self.membership().quorum()
    }

    fn win(&mut self, now: Moment) {
        match &self.role {
            Role::Candidate(campaign) if campaign.stage == Stage::Vote => self.lead(now),
            // A candidate's term is not the last one: there is a next.
            _ => {
                self.stand(now, false);
            }
        }
    }

    /// Asks everyone who has not granted yet, and again: soon at first, then at the pace of heartbeats.
    pub(super) fn ask(&mut self, now: Moment) {
        let Role::Candidate(campaign) = &mut self.role else {
            return;
        };
        let asked = campaign.asked;
        campaign.asked = asked.saturating_add(1);
        let request = match campaign.stage {
            Stage::PreVote => Request::PreVote,
            Stage::Vote => Request::Vote,
        };
        let open = |peer: &&mut Peer<I>| peer.voter && peer.verdict != Some(true);
        for peer in self.peers.iter_mut().filter(open) {
            self.outbox.request(peer, request);
        }
        self.timers
            .set(Timer::Beat, now + self.ask_again_after(asked));
    }

    /// A lost message costs the cluster its leader for as long as it takes to ask again, so soon at first. Each wait is
    /// twice the one before, up to a heartbeat interval.
    fn ask_again_after(&self, asked: u32) -> Nanos {
        let interval = self.settings.heartbeat_interval;
        if self.settings.lottery {
            return interval;
        }
        let times = 1_u64.checked_shl(asked).unwrap_or(u64::MAX);
        (interval / FIRST_ASK_PART)
            .saturating_mul(times)
            .min(interval)
    }

    pub(super) fn on_pre_vote(
        &mut self,
        now: Moment,
        at: usize,
        term: u64,
        round: u64,
        granted: bool,
        leader: Option<&I>,
    ) -> Result<(), Drop> {
        match &self.role {
            Role::Candidate(campaign)
                if campaign.stage == Stage::PreVote && campaign.round == round => {}
            Role::Candidate(campaign) if campaign.round == round => {
                if let Some(peer) = self.peers.get_mut(at) {
                    peer.is_there = true;
                }
                return Err(Drop::Stale);
            }
            _ => return Err(Drop::Stale),
        }
        if granted {
            self.record(now, at, true);
        } else if term > self.term() {
            // The voter is ahead. With its term, this candidate may be the one that can win.
            self.take_term(now, term);
            if leader.is_none() {
                self.campaign(now);
            }
        } else if term == self.term() {
            self.name_leader(leader);
        }
        Ok(())
    }

    pub(super) fn on_vote(
        &mut self,
        now: Moment,
        at: usize,
        term: u64,
        granted: bool,
    ) -> Result<(), Drop> {
        if term > self.term() {
            self.take_term(now, term);
            return Ok(());
        }
        match &self.role {
            Role::Candidate(campaign) if campaign.stage == Stage::Vote => {}
            _ => return Err(Drop::Stale),
        }
        if term == self.term() {
            self.record(now, at, granted);
            Ok(())
        } else if granted {
            Err(Drop::Stale)
        } else {
            // Withheld in an older term: it may yet be given, so it is no refusal.
            Ok(())
        }
    }

    /// Keeps what a voter says of the present campaign. A vote once given is not taken back.
    fn record(&mut self, now: Moment, at: usize, granted: bool) {
        let Some(peer) = self.peers.get_mut(at) else {
            return;
        };
        if peer.verdict != Some(true) {
            peer.verdict = Some(granted);
        }
        match self.tally() {
            Tally::Pending => {}
            Tally::Won => self.win(now),
            Tally::Lost => {
                self.has_failed = true;
                let stood = matches!(&self.role, Role::Candidate(campaign) if campaign.has_stood());
                self.become_follower(now);
                if stood && !self.settings.lottery {
                    // Either another has won, who will be heard, or nobody can: no leader to wait for.
                    let turn = self.patience.saturating_sub(self.settings.election_timeout);
                    self.timers.set(Timer::Campaign, now + turn);
                }
            }
        }
    }

    /// A voter refuses because it hears a leader: then that one leads, although this node does not hear it.
    fn name_leader(&mut self, leader: Option<&I>) {
        let (Role::Candidate(campaign), Some(leader)) = (&mut self.role, leader) else {
            return;
        };
        if self.state.hard_state.membership.contains(leader) && *leader != self.settings.me {
            campaign.leader_named = true;
            if self.state.leader.as_ref() != Some(leader) {
                self.state.leader = Some(leader.clone());
                self.outbox.announce = true;
            }
        }
    }
}
