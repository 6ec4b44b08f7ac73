//! The candidate: a pre-vote first, then the vote (paper section 5.2, thesis 9.6).

use std::time::Instant;

use super::peer::Knowledge;
use super::receive::Drop;
use super::timer::Timer;
use super::{Election, Role};
use crate::config::MAX_TERM_JUMP;
use crate::id::Id;
use crate::membership::{Tally, tally};
use crate::message::{MessageKind, Slot};
use crate::state::NodeType;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Campaign {
    /// Names this campaign; pre-votes repeat it, so that one of an older campaign counts for nothing.
    round: u64,
    stage: Stage,
    /// Ordered by `TimeoutNow`: the mark is good for this campaign and for no later one.
    transfer: bool,
    /// A voter has named a leader that it hears.
    leader_named: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    PreVote,
    Vote,
}

impl Campaign {
    /// Whether it asks for votes already, so that another term would take it away from itself.
    pub(super) fn has_stood(&self) -> bool {
        self.stage == Stage::Vote
    }
}

impl<I: Id> Election<I> {
    /// Asks whether it would be elected. Also what a candidate does when the time of its campaign is over.
    pub(super) fn campaign(&mut self, now: Instant) {
        if !self.is_voter() {
            // It has not heard the leader for as long as a voter waits.
            self.outbox.announce |= self.state.leader.take().is_some();
            return;
        }
        if self.term() >= u64::MAX - MAX_TERM_JUMP {
            return;
        }
        self.has_failed |= matches!(self.role, Role::Candidate(_));
        self.enter(now, Stage::PreVote, false);
    }

    /// Asks for votes in the next term; with the transfer mark when the leader has given its lease up for it.
    pub(super) fn stand(&mut self, now: Instant, transfer: bool) {
        let Some(term) = self.term().checked_add(1) else {
            return;
        };
        let hard_state = &mut self.state.hard_state;
        hard_state.term = term;
        hard_state.voted_for = Some(self.settings.me.clone());
        self.unsend(Slot::Reply);
        self.enter(now, Stage::Vote, transfer);
    }

    /// Begins a campaign of either stage and the time that it has.
    fn enter(&mut self, now: Instant, stage: Stage, transfer: bool) {
        let shown = (self.state.node_type, self.state.leader.clone(), stage);
        let announced = self.outbox.announce;
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
            peer.verdict = None;
            // Whoever has lost what it held hears only who tells it anew.
            peer.knowledge = Knowledge::Untold;
        }
        let round = self.draws.next_round();
        self.role = Role::Candidate(Campaign {
            round,
            stage,
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
        tally(
            self.membership().voters.len(),
            answers(true) + 1,
            answers(false),
        )
    }

    fn win(&mut self, now: Instant) {
        match &self.role {
            Role::Candidate(campaign) if campaign.stage == Stage::Vote => self.lead(now),
            _ => self.stand(now, false),
        }
    }

    /// Asks everyone who has not granted yet, and again after every heartbeat interval.
    pub(super) fn ask(&mut self, now: Instant) {
        let Role::Candidate(campaign) = &self.role else {
            return;
        };
        let request = match campaign.stage {
            Stage::PreVote => MessageKind::PreVoteRequest {
                round: campaign.round,
                position: self.position,
                priority: self.settings.priority,
            },
            Stage::Vote => MessageKind::VoteRequest {
                position: self.position,
                transfer: campaign.transfer,
            },
        };
        for at in 0..self.peers.len() {
            if self
                .peers
                .get(at)
                .is_some_and(|peer| peer.voter && peer.verdict != Some(true))
            {
                self.send(at, request.clone());
            }
        }
        self.timers
            .set(Timer::Beat, now + self.settings.heartbeat_interval);
    }

    pub(super) fn on_pre_vote(
        &mut self,
        now: Instant,
        at: usize,
        term: u64,
        round: u64,
        granted: bool,
        leader: Option<I>,
    ) -> Result<(), Drop> {
        match &self.role {
            Role::Candidate(campaign)
                if campaign.stage == Stage::PreVote && campaign.round == round => {}
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
        now: Instant,
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
    fn record(&mut self, now: Instant, at: usize, granted: bool) {
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
                self.become_follower(now);
            }
        }
    }

    /// A voter refuses because it hears a leader: then that one leads, although this node does not hear it.
    fn name_leader(&mut self, leader: Option<I>) {
        let (Role::Candidate(campaign), Some(leader)) = (&mut self.role, leader) else {
            return;
        };
        if self.state.hard_state.membership.contains(&leader) && leader != self.settings.me {
            campaign.leader_named = true;
            if self.state.leader.as_ref() != Some(&leader) {
                self.state.leader = Some(leader);
                self.outbox.announce = true;
            }
        }
    }
}
