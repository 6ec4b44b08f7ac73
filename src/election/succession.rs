//! Who campaigns when. The leader names its successors in its heartbeats, so that the first campaigns alone instead
//! of drawing lots with the others.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::moment::Nanos;
use super::{Election, Role};
use crate::id::Id;

/// How much of a step two nodes of one rank may differ by, so that they do not collide for ever.
const JITTER_PARTS: Nanos = 64;

impl<I: Id> Election<I> {
    /// Draws how long this node waits for a leader before it campaigns: an election timeout, and then its turn.
    pub(super) fn draw_patience(&mut self) {
        let Self {
            settings, state, ..
        } = self;
        let (timeout, spread) = (settings.election_timeout, settings.random_timeout);
        let voters = &state.hard_state.membership.voters;
        let step = spread / (voters.len() as u64).max(1);
        let turn = match (self.rank, &state.leader) {
            _ if settings.lottery => None,
            (Some(rank), _) => Some(rank),
            // A leader that gave it no rank: it does not know when the others' turns are.
            (None, Some(_)) => None,
            // Nobody leads: its place in the list, which is the same on every node.
            (None, None) => voters
                .binary_search(&settings.me)
                .ok()
                .and_then(|at| u32::try_from(at).ok()),
        };
        self.patience = timeout
            + match turn {
                Some(turn) => {
                    step.saturating_mul(turn.into()).min(spread)
                        + self.draws.up_to(step / JITTER_PARTS)
                }
                None => self.draws.up_to(spread),
            };
    }

    /// Ranks the voters: who is alive and will stay, then by priority, by how far its log reaches, by how steadily it answers,
    /// by id. Done anew only when something of that has changed.
    pub(super) fn rank_successors(&mut self) {
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        if !std::mem::take(&mut lead.ranks_stale) {
            return;
        }
        let target = &self.state.hard_state.membership.target;
        let mut order: Vec<_> = self.peers.iter_mut().filter(|peer| peer.voter).collect();
        // The sort is stable and the peers are sorted by id.
        order.sort_by_key(|peer| {
            let progress = &peer.progress;
            let stays = target.binary_search(&peer.id).is_ok();
            let good = (
                peer.rare().priority,
                peer.rare().position,
                progress.steadiness_class(),
            );
            Reverse((progress.live, stays, good))
        });
        for (rank, peer) in (0..).zip(order) {
            peer.progress.rank = rank;
        }
    }
}

/// The node's own randomness: the seed of the next draw. Small, and comparable as all of the node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Draws {
    seed: u64,
    rounds: u64,
}

impl Draws {
    pub(super) fn new<I: Id>(seed: Option<u64>, id: &I) -> Self {
        // The id is mixed in, so that nodes which are given one seed do not draw the same.
        let mut hasher = DefaultHasher::new();
        (seed.unwrap_or(0), id).hash(&mut hasher);
        let mut draws = Self {
            seed: hasher.finish(),
            rounds: 0,
        };
        // Rounds begin anywhere, so that an answer from before a restart is not taken for one of now.
        draws.rounds = u64::from(draws.generator().random::<u32>());
        draws
    }

    /// A duration from zero to this, each as likely.
    fn up_to(&mut self, most: Nanos) -> Nanos {
        self.generator().random_range(0..=most)
    }

    /// The name of the next campaign.
    pub(super) fn next_round(&mut self) -> u64 {
        self.rounds = self.rounds.wrapping_add(1);
        self.rounds
    }

    fn generator(&mut self) -> Xoshiro256PlusPlus {
        self.seed = self.seed.wrapping_add(1);
        Xoshiro256PlusPlus::seed_from_u64(self.seed)
    }
}
