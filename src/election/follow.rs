//! The follower: whom it follows, and how it answers (paper section 5.2).

use super::moment::Moment;
use super::outbox::Reply;
use super::receive::Drop;
use super::{Election, Role};
use crate::id::Id;

/// What a pong answers that only tells a leader of an older term that it is over. No ping has it.
pub(super) const NO_ROUND: u64 = u64::MAX;

impl<I: Id> Election<I> {
    /// Hears a leader's ping, follows it, and answers. A leader of an older term learns by the answer that it is
    /// over.
    #[inline]
    pub(super) fn on_ping(
        &mut self,
        now: Moment,
        at: usize,
        term: u64,
        round: u64,
        succession: Option<u32>,
    ) -> Result<(), Drop> {
        if term < self.term() {
            // Its round is one of another term: the same node may lead this one, and have sent that round in it too.
            self.answer_ping(at, NO_ROUND);
            return Err(Drop::Stale);
        }
        if term > self.term() {
            self.take_term(now, term);
        }
        let follows_it = self.follows(at);
        if !follows_it && (self.is_following() || matches!(self.role, Role::Leader(_))) {
            tracing::error!(node = ?self.settings.me, term, "two leaders in one term: the second is not heard");
            return Err(Drop::Malformed);
        }
        if !follows_it {
            self.follow(now, at);
        }
        if self.rank != succession || !follows_it {
            self.rank = succession;
            self.draw_patience();
        }
        self.hear_leader(now);
        self.answer_ping(at, round);
        Ok(())
    }

    fn is_following(&self) -> bool {
        matches!(self.role, Role::Follower) && self.state.leader.is_some()
    }

    fn follows(&self, at: usize) -> bool {
        let leader = self.state.leader.as_ref();
        self.is_following()
            && self
                .peers
                .get(at)
                .is_some_and(|peer| leader == Some(&peer.id))
    }

    fn follow(&mut self, now: Moment, at: usize) {
        if matches!(self.role, Role::Candidate(_)) {
            self.become_follower(now);
        }
        if let Some(peer) = self.peers.get_mut(at) {
            peer.has_led();
            self.state.leader = Some(peer.id.clone());
            self.outbox.announce = true;
        }
    }

    fn answer_ping(&mut self, at: usize, round: u64) {
        if let Some(peer) = self.peers.get_mut(at) {
            self.outbox.reply(peer, Reply::Pong, round, None);
        }
    }
}
