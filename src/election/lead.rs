//! The leader: its heartbeats and what their answers tell it (paper section 5.2, thesis 6.2).

use super::moment::{Moment, Nanos};
use super::outbox::Request;

use super::follow::NO_ROUND;
use super::peer::Knowledge;
use super::receive::Drop;
use super::timer::Timer;
use super::transfer::Handover;
use super::{Election, Role};
use crate::id::Id;
use crate::message::LogPosition;
use crate::state::NodeType;

/// What rounds are counted in.
const MICROSECOND: Nanos = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lead {
    /// When it was elected. Rounds count from here.
    pub(super) since: Moment,
    /// When it pinged last.
    pub(super) last_sent: Moment,
    /// How many other voters have answered that ping.
    answered: u32,
    /// Something that the ranks depend on has changed since they were given.
    pub(super) ranks_stale: bool,
    /// When the newest ping was sent that a quorum has answered.
    pub(super) confirmed_at: Option<Moment>,
    /// When it first told the others of the present membership.
    pub(super) installed_at: Moment,
    pub(super) handover: Option<Handover>,
}

impl<I: Id> Election<I> {
    /// Won: leads, and says so at once. Who voted for it is taken to be alive.
    pub(super) fn lead(&mut self, now: Moment) {
        self.become_follower(now);
        self.timers.stop(Timer::Campaign);
        self.role = Role::Leader(Lead {
            since: now,
            last_sent: now,
            answered: 0,
            ranks_stale: true,
            confirmed_at: None,
            installed_at: now,
            handover: None,
        });
        self.state.node_type = NodeType::Leader;
        self.state.leader = Some(self.settings.me.clone());
        self.restamp();
        for peer in &mut self.peers {
            peer.begin_progress();
            peer.progress.heard = (peer.verdict == Some(true)).then_some(now);
            peer.progress.live = peer.progress.heard.is_some();
        }
        self.show_followers();
        self.timers
            .set(Timer::Expiry, now + self.settings.leadership_timeout);
        self.beat(now);
    }

    /// The heartbeat of a leader, and of a candidate, who asks again.
    pub(super) fn beat(&mut self, now: Moment) {
        match self.role {
            Role::Leader(_) => {
                self.expire(now);
                self.walk(now);
                self.ping_all(now);
            }
            Role::Candidate(_) => self.ask(now),
            Role::Follower => {}
        }
    }

    /// Tells every member that it leads, and what its place among the successors is.
    pub(super) fn ping_all(&mut self, now: Moment) {
        self.confirm_older();
        self.look_after_followers(now);
        self.prefer_higher(now);
        self.rank_successors();
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        // Whole microseconds, rounded down: what a round is mapped back to is never later than its sending.
        let round = now.since(lead.since) / MICROSECOND;
        let sent = lead.since + round * MICROSECOND;
        if sent > lead.last_sent {
            lead.last_sent = sent;
            lead.answered = 0;
        }
        for peer in self.peers.iter_mut().filter(|peer| !peer.leaving) {
            self.outbox.request(peer, Request::Ping);
        }
        self.order_handover();
        if self.is_alone() {
            self.confirm(sent);
        }
        self.timers
            .set(Timer::Beat, now + self.settings.heartbeat_interval);
    }

    /// An answer to a ping: its sender lives, and has withheld its vote since that ping came.
    #[inline]
    pub(super) fn on_pong(
        &mut self,
        now: Moment,
        at: usize,
        term: u64,
        round: u64,
        position: LogPosition,
        priority: u64,
    ) -> Result<(), Drop> {
        if term > self.term() {
            self.take_term(now, term);
            return Ok(());
        }
        let Role::Leader(lead) = &mut self.role else {
            return Err(Drop::Stale);
        };
        let Some(peer) = self
            .peers
            .get_mut(at)
            .filter(|_| term == self.state.hard_state.term && round != NO_ROUND)
        else {
            return Err(Drop::Stale);
        };
        let after = round.checked_mul(MICROSECOND);
        let sent = after
            .and_then(|after| lead.since.checked_add(after))
            .filter(|sent| *sent <= lead.last_sent)
            .ok_or(Drop::Malformed)?;
        let progress = &mut peer.progress;
        if progress.confirmed.is_some_and(|before| before >= sent) {
            return Err(Drop::Stale);
        }
        progress.confirmed = Some(sent);
        progress.heard = Some(now);
        let newly_live = !std::mem::replace(&mut progress.live, true);
        lead.ranks_stale |= peer.tells(position, priority);
        let of_the_last_round = peer.voter && sent == lead.last_sent;
        lead.answered += u32::from(of_the_last_round);
        let answered = lead.answered as usize;
        let has_quorum = of_the_last_round && answered + 1 >= self.membership().quorum();
        if newly_live {
            self.show_followers();
        }
        if has_quorum {
            self.confirm(sent);
        }
        Ok(())
    }

    /// Notes who answered the last ping, and who has not answered for an election timeout.
    fn look_after_followers(&mut self, now: Moment) {
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let timeout = self.settings.election_timeout;
        let mut gone = false;
        for peer in &mut self.peers {
            let progress = &mut peer.progress;
            let before = progress.steadiness_class();
            if progress
                .confirmed
                .is_some_and(|sent| sent >= lead.last_sent)
            {
                progress.steadiness = progress.steadiness.saturating_add(1);
            } else {
                progress.steadiness /= 2;
            }
            lead.ranks_stale |= before != progress.steadiness_class();
            let is_silent = || {
                let heard = progress.heard;
                heard.is_none_or(|at| at + timeout < now)
            };
            if progress.live && is_silent() {
                progress.live = false;
                // It may come back without what it held, and then hear only who tells it anew.
                peer.knowledge = Knowledge::Untold;
                gone = true;
            }
        }
        if gone {
            self.show_followers();
        }
    }

    /// Counts anew who has answered the last ping, after voters came and went.
    pub(super) fn count_answers(&mut self) {
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let answered = |sent: Option<Moment>| sent.is_some_and(|sent| sent >= lead.last_sent);
        let voters = self.peers.iter().filter(|peer| peer.voter);
        lead.answered = voters
            .map(|peer| u32::from(answered(peer.progress.confirmed)))
            .sum();
    }

    /// Shows who follows, and ranks anew.
    pub(super) fn show_followers(&mut self) {
        if let Role::Leader(lead) = &mut self.role {
            lead.ranks_stale = true;
            let live = self
                .peers
                .iter()
                .filter(|peer| peer.progress.live && !peer.leaving);
            // As large as it has to be: it is kept.
            let mut followers = Vec::with_capacity(live.clone().count());
            followers.extend(live.map(|peer| peer.id.clone()));
            self.state.set_followers(followers);
            self.outbox.announce = true;
        }
    }
}

impl Lead {
    /// The round of the last ping: when it was sent, in whole microseconds since this node began to lead.
    pub(super) fn round(&self) -> u64 {
        self.last_sent.since(self.since) / MICROSECOND
    }
}
