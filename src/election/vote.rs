//! The voter: who gets this node's vote, and when it is withheld (paper section 5.2, thesis 4.2.3 and 9.6).

use super::moment::Moment;
use super::outbox::Reply;
use super::peer::{Peer, PreVoteAsk};
use super::timer::Timer;
use super::{Election, Role};
use crate::id::Id;
use crate::membership::Stamp;
use crate::message::LogPosition;

/// What a vote is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VoteAsk {
    pub(super) term: u64,
    pub(super) stamp: Stamp,
    pub(super) position: LogPosition,
    /// The campaign was ordered by the leader, which has given its lease up.
    pub(super) transfer: bool,
}

impl<I: Id> Election<I> {
    /// Says whether it would vote for a candidate. Changes nobody's term (thesis 9.6).
    pub(super) fn on_pre_vote_request(&mut self, now: Moment, at: usize, ask: PreVoteAsk) -> bool {
        let withheld = self.withholds(now);
        if withheld {
            self.count_withheld();
            self.remember(at, ask);
        }
        let should_win = !withheld && self.would_win_instead(&ask);
        let granted = !withheld && !should_win && self.would_vote(at, &ask);
        if granted && self.goes_before(now, at, &ask) {
            // No answer, which is no refusal either: it asks again, or stands aside.
            return false;
        }
        self.answer_pre_vote(at, ask.round, granted);
        if granted {
            self.stand_aside(now);
        }
        if should_win && matches!(self.role, Role::Follower) {
            self.campaign(now);
        }
        granted
    }

    /// Whether this node asks for pre-votes too, since a short time, and of two candidates as good it is the one to go
    /// on: by priority, by log, by id.
    fn goes_before(&self, now: Moment, at: usize, ask: &PreVoteAsk) -> bool {
        let (Role::Candidate(campaign), Some(peer)) = (&self.role, self.peers.get(at)) else {
            return false;
        };
        let mine = (self.priority, self.position);
        let first = (mine, &peer.id) > ((ask.priority, ask.position), &self.settings.me);
        first
            && !self.has_failed
            && !self.settings.lottery
            && campaign.is_young(now, self.settings.heartbeat_interval)
    }

    /// Lets the candidate that it would vote for go first. Once only, so that one who cannot win does not hold back
    /// one who can.
    fn stand_aside(&mut self, now: Moment) {
        if self.stood_aside || self.settings.lottery || !self.is_voter() {
            return;
        }
        match &self.role {
            Role::Leader(_) => return,
            Role::Candidate(campaign) if campaign.has_stood() => return,
            Role::Candidate(_) => {
                self.become_follower(now);
                self.timers.stop(Timer::Campaign);
            }
            Role::Follower => {}
        }
        self.stood_aside = true;
        let wait = now + self.settings.heartbeat_interval;
        if self.timers.get(Timer::Campaign).is_none_or(|at| at < wait) {
            self.timers.set(Timer::Campaign, wait);
        }
    }

    /// Keeps a withheld pre-vote until the window ends. A leader's window ends with its leadership: nothing to
    /// keep there, and the candidate asks again.
    fn remember(&mut self, at: usize, ask: PreVoteAsk) {
        let (Role::Follower, Some(end)) = (&self.role, self.withhold_until) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(at) {
            peer.change_rare(|rare| rare.withheld = Some(ask));
            self.timers.set(Timer::Answer, end);
        }
    }

    /// The window is over: judges anew what was withheld in it. Says yes to one: two who hear it at the same instant
    /// would split the votes. The others ask again soon.
    pub(super) fn answer_withheld(&mut self, now: Moment) {
        let mut granted = false;
        for at in 0..self.peers.len() {
            if let Some(ask) = self.peers.get_mut(at).and_then(Peer::take_withheld) {
                let keeps = granted && !self.settings.lottery;
                granted = keeps || self.on_pre_vote_request(now, at, ask);
            }
        }
    }

    /// Forgets what was withheld: a leader lives, or this node's part has changed.
    pub(super) fn forget_withheld(&mut self) {
        if self.timers.is_set(Timer::Answer) {
            self.timers.stop(Timer::Answer);
            for peer in &mut self.peers {
                peer.take_withheld();
            }
        }
    }

    fn would_vote(&self, at: usize, ask: &PreVoteAsk) -> bool {
        let wanted = ask.term.saturating_add(1);
        let free = wanted > self.term() || (wanted == self.term() && self.may_vote_for(at));
        free && self.is_as_good(ask.stamp, ask.position)
    }

    /// Whether this node's vote of the present term is this peer's or still to be given. Who hears the term's
    /// leader needs no other.
    fn may_vote_for(&self, at: usize) -> bool {
        match self.state.hard_state.voted_for {
            Some(_) => self.has_voted_for(at),
            None => self.state.leader.is_none() || matches!(self.role, Role::Candidate(_)),
        }
    }

    /// A candidate must not be behind in its membership (logless section 4) nor in its log (paper 5.4.1).
    fn is_as_good(&self, stamp: Stamp, position: LogPosition) -> bool {
        stamp >= self.stamp() && position >= self.position
    }

    /// Whether this node, of higher priority and no way behind, should lead in the candidate's place. Once only:
    /// if its own campaign has failed it stands in nobody's way.
    fn would_win_instead(&self, ask: &PreVoteAsk) -> bool {
        let asks_for_a_newer_term = ask.term >= self.term();
        let as_good = self.stamp() >= ask.stamp && self.position >= ask.position;
        asks_for_a_newer_term
            && self.priority > ask.priority
            && as_good
            && self.is_voter()
            && !self.has_failed
            && !matches!(self.role, Role::Leader(_))
    }

    fn answer_pre_vote(&mut self, at: usize, round: u64, granted: bool) {
        let leader = self.state.leader.as_ref();
        if let Some(peer) = self.peers.get_mut(at) {
            self.outbox
                .reply(peer, Reply::PreVote { granted }, round, leader);
        }
    }

    /// Votes, or says why not by what it knows. A vote withheld leaves the candidate's term alone, so that a node
    /// which was cut off cannot depose a leader by its term (thesis 4.2.3).
    pub(super) fn on_vote_request(&mut self, now: Moment, at: usize, ask: VoteAsk) {
        if ask.term == self.term() && self.has_voted_for(at) {
            // Its answer was lost: a vote stands, whatever has happened since.
            return self.answer_vote(at, true);
        }
        if !ask.transfer && self.withholds(now) {
            self.count_withheld();
            if ask.term != self.term() {
                self.answer_vote(at, false);
            }
            return;
        }
        if ask.term > self.term() {
            self.take_term(now, ask.term);
        }
        let granted = ask.term == self.term()
            && self.may_vote_for(at)
            && self.is_as_good(ask.stamp, ask.position);
        if granted {
            self.vote_for(now, at);
        }
        self.answer_vote(at, granted);
    }

    fn has_voted_for(&self, at: usize) -> bool {
        let voted_for = self.state.hard_state.voted_for.as_ref();
        self.peers
            .get(at)
            .is_some_and(|peer| voted_for == Some(&peer.id))
    }

    /// Gives the vote, which is for ever in this term, and the candidate the time to win.
    fn vote_for(&mut self, now: Moment, at: usize) {
        let Some(peer) = self.peers.get(at) else {
            return;
        };
        self.state.hard_state.voted_for = Some(peer.id.clone());
        self.become_follower(now);
    }

    fn answer_vote(&mut self, at: usize, granted: bool) {
        let leader = self.state.leader.as_ref();
        if let Some(peer) = self.peers.get_mut(at) {
            self.outbox.reply(peer, Reply::Vote { granted }, 0, leader);
        }
    }

    fn count_withheld(&mut self) {
        let stats = self.stats.get_or_insert_default();
        stats.withheld = stats.withheld.saturating_add(1);
    }
}
