//! The leader's side of a membership change (logless section 4), and everyone's wish for one.
//!
//! A leader may install the next membership only when a quorum of the present one has confirmed, by answering pings
//! of this leader in this term, that it holds this very membership. Then no quorum of an older one is left that
//! could elect a leader without meeting a node which knows better.

use std::sync::Arc;
use std::time::Instant;

use super::moment::Moment;
use super::outbox::Reply;
use super::peer::{Knowledge, carry_over, peers_of};
use super::{Election, Role};
use crate::config::MAX_TERM;
use crate::error::Error;
use crate::id::Id;
use crate::membership::{Membership, Step, are_same};
use crate::message::Slot;

/// By how much a forced membership's term grows: more elections than this node can have missed among the survivors, so
/// that none of them holds a newer stamp.
const FORCED_JUMP: u64 = 1 << 20;

impl<I: Id> Election<I> {
    /// Wishes for these voters. A leader makes them the target; any other node keeps the wish, tells the leader
    /// with its answers, and makes it the target if it comes to lead.
    pub(super) fn set_nodes(&mut self, now: Moment, nodes: Vec<I>) -> Result<(), Error> {
        let nodes = checked(nodes)?;
        if matches!(self.role, Role::Leader(_)) {
            self.set_target(now, nodes);
        } else {
            self.wish = (nodes != self.membership().target).then(|| nodes.into());
        }
        Ok(())
    }

    /// The newest wish replaces the target, and who is new begins to hear. The voters stay, so nothing has to be
    /// confirmed first.
    pub(super) fn set_target(&mut self, now: Moment, target: Vec<I>) {
        let before = &**self.membership();
        let Some(version) = before.next_version().filter(|_| before.target != target) else {
            return;
        };
        let observers = target
            .iter()
            .filter(|id| !before.is_voter(id))
            .cloned()
            .collect();
        let next = Membership {
            version,
            observers,
            target,
            target_version: version,
            ..before.clone()
        };
        self.install(now, next);
        self.walk(now);
    }

    /// A leader makes the membership that it was elected with one of its term (logless section 3), with its own wish
    /// as the target.
    pub(super) fn restamp(&mut self) {
        let mut membership = (**self.membership()).clone();
        membership.term = self.term();
        if let (Some(wish), Some(version)) = (self.wish.take(), membership.next_version()) {
            membership.target = wish.into();
            membership.version = version;
            membership.target_version = version;
        }
        self.replace_membership(Arc::new(membership), false);
    }

    /// Takes the next step to the target, if the present membership is confirmed and no layer above objects.
    pub(super) fn walk(&mut self, now: Moment) {
        let Role::Leader(lead) = &self.role else {
            return;
        };
        if self.has_arrived() {
            if !self.state.waiting_for().is_empty() {
                self.show_waiting(Vec::new());
            }
            return;
        }
        // While leadership is handed over, a step would leave the successor behind.
        if lead.handover.is_some() || !self.change_allowed || !self.is_confirmed() {
            return;
        }
        let peer = |id: &I| self.peer_at(id).and_then(|at| self.peers.get(at));
        let live = |id: &I| peer(id).is_some_and(|peer| peer.progress.live);
        let answered = |id: &I| peer(id).is_some_and(|peer| peer.knowledge == Knowledge::Holds);
        let step = self
            .membership()
            .next_step(&self.settings.me, live, answered);
        self.show_waiting(if let Step::Wait(nodes) = &step {
            nodes.clone()
        } else {
            Vec::new()
        });
        match step {
            Step::Install { voters, observers } => {
                let before = &**self.membership();
                let Some(version) = before.next_version() else {
                    return;
                };
                let next = Membership {
                    voters,
                    observers,
                    version,
                    ..before.clone()
                };
                self.install(now, next);
                // A single voter has confirmed it by saying it.
                self.walk(now);
            }
            Step::HandOver => self.hand_over_to_target(now),
            Step::Done | Step::Wait(_) => {}
        }
    }

    pub(super) fn has_arrived(&self) -> bool {
        self.membership().is_at_target()
    }

    fn show_waiting(&mut self, nodes: Vec<I>) {
        if self.state.waiting_for() != nodes {
            self.state.set_waiting_for(nodes);
            self.outbox.announce = true;
        }
    }

    /// Whether a quorum has answered, in this term and since it was installed, that it holds this membership.
    fn is_confirmed(&self) -> bool {
        let Role::Leader(lead) = &self.role else {
            return false;
        };
        let holds = self.peers.iter().filter(|peer| {
            peer.voter
                && peer.knowledge == Knowledge::Holds
                && peer
                    .progress
                    .confirmed
                    .is_some_and(|sent| sent >= lead.installed_at)
        });
        holds.count() + 1 >= self.membership().quorum()
    }

    /// Makes a membership this leader's own and tells everyone, those who leave included.
    fn install(&mut self, now: Moment, next: Membership<I>) {
        self.replace_membership(Arc::new(next), true);
        for at in 0..self.peers.len() {
            if self.peers.get(at).is_some_and(|peer| peer.leaving) {
                self.tell(at, 0);
            }
        }
        self.show_followers();
        self.ping_all(now);
        if let Role::Leader(lead) = &mut self.role {
            lead.installed_at = lead.last_sent;
        }
        self.count_answers();
    }

    /// Tells one who is no member what the present membership is, by a refusal that is true in every term.
    pub(super) fn tell(&mut self, at: usize, round: u64) {
        if let Some(peer) = self.peers.get_mut(at) {
            let refusal = Reply::PreVote { granted: false };
            self.outbox.reply(peer, refusal, round, None);
        }
    }

    /// Puts another membership in the place of the present one. What was known of the peers is kept.
    pub(super) fn replace_membership(
        &mut self,
        membership: Arc<Membership<I>>,
        tell_leavers: bool,
    ) {
        if tell_leavers {
            self.unsend(Slot::Request);
            self.unsend(Slot::Reply);
        }
        if membership.has_members_of(self.membership()) {
            // As most often: a new leader's stamp.
            self.peers.retain(|peer| tell_leavers || !peer.leaving);
            for peer in &mut self.peers {
                peer.knowledge = Knowledge::Untold;
            }
        } else {
            let peers = peers_of(&membership, &self.settings.me);
            let before = std::mem::replace(&mut self.peers, peers);
            carry_over(&mut self.peers, before, tell_leavers);
        }
        self.recount();
        let old = self.membership();
        if old.target_version != membership.target_version
            || !are_same(&old.target, &membership.target)
        {
            // A leader has heard a wish since this one was made.
            self.wish = None;
        }
        self.state.hard_state.membership = membership;
        self.outbox.announce = true;
    }

    /// Installs these voters without asking anybody. See [`TinyRaft::force_nodes`](crate::TinyRaft::force_nodes).
    ///
    /// # Errors
    /// An empty list, one that names a node twice, a stopped node, or one in the last term.
    pub fn force_nodes(&mut self, now: Instant, nodes: Vec<I>) -> Result<(), Error> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        let voters = checked(nodes)?;
        if self.term() >= MAX_TERM {
            return Err(Error::LastTerm);
        }
        let now = self.moment(now);
        let term = self.term().saturating_add(FORCED_JUMP);
        self.take_term(now, term.min(MAX_TERM));
        let version = self.membership().version;
        let forced = Membership {
            term: self.term(),
            version,
            target_version: version,
            target: voters.clone(),
            voters,
            observers: Vec::new(),
        };
        self.wish = None;
        self.replace_membership(Arc::new(forced), false);
        self.become_follower(now);
        Ok(())
    }

    /// For a layer above: whether a membership step may be taken. It is by default.
    pub fn allow_membership_change(&mut self, allowed: bool) {
        self.change_allowed = allowed;
    }
}

/// The voters that are wished for, sorted.
fn checked<I: Id>(mut nodes: Vec<I>) -> Result<Vec<I>, Error> {
    if nodes.is_empty() {
        return Err(Error::NoNodes);
    }
    if nodes.len() > Membership::<I>::MAX_NODES {
        return Err(Error::TooManyNodes { count: nodes.len() });
    }
    nodes.sort();
    match nodes
        .windows(2)
        .find(|pair| matches!(pair, [a, b] if a == b))
    {
        Some([twice, ..]) => Err(Error::DuplicateNode {
            node: format!("{twice:?}"),
        }),
        _ => Ok(nodes),
    }
}
