//! The way from one set of voters to another, one voter at a time, so that all quorums of each step overlap with all
//! of the next (logless section 4; thesis 4.1).

use super::Membership;
use crate::id::Id;

/// What comes next on the way to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step<I> {
    /// Nothing: the target is reached.
    Done,
    /// Another membership, which differs by one voter at most.
    Install { voters: Vec<I>, observers: Vec<I> },
    /// All is done but this leader's own leaving: it hands over to a voter of the target, which finishes.
    HandOver,
    /// These must answer first.
    Wait(Vec<I>),
}

impl<I: Id> Membership<I> {
    /// The next step for leader `me`, who knows which other nodes are `live` and which have `answered` it under this
    /// membership.
    pub(crate) fn next_step(
        &self,
        me: &I,
        live: impl Fn(&I) -> bool,
        answered: impl Fn(&I) -> bool,
    ) -> Step<I> {
        let is_live = |id: &I| id == me || live(id);
        let in_target = |id: &I| self.target.binary_search(id).is_ok();
        let leavers = || self.voters.iter().filter(|id| !in_target(id) && *id != me);

        // A dead leaver only makes quorums harder to reach.
        if let Some(dead) = leavers().find(|id| !is_live(id)) {
            return self.without(dead);
        }
        let observers: Vec<I> = self
            .target
            .iter()
            .filter(|id| !self.is_voter(id))
            .cloned()
            .collect();
        if observers != self.observers {
            return Step::Install {
                voters: self.voters.clone(),
                observers,
            };
        }
        if let Some(joiner) = observers.iter().find(|id| is_live(id) && answered(id)) {
            return self.with(joiner);
        }
        if !observers.is_empty() {
            return Step::Wait(observers);
        }
        if let Some(leaver) = leavers().next() {
            let stays = |id: &&I| *id != leaver;
            let left = self.voters.iter().filter(stays);
            let missing: Vec<I> = left.clone().filter(|id| !is_live(id)).cloned().collect();
            let quorum = left.count() / 2 + 1;
            // Nobody leaves whose going would leave the rest without a quorum.
            let alive = self.voters.len() - 1 - missing.len();
            return if alive >= quorum {
                self.without(leaver)
            } else {
                Step::Wait(missing)
            };
        }
        if !in_target(me) {
            let successors = || self.target.iter();
            return if successors().any(is_live) {
                Step::HandOver
            } else {
                Step::Wait(successors().cloned().collect())
            };
        }
        Step::Done
    }

    fn without(&self, leaver: &I) -> Step<I> {
        let voters = self
            .voters
            .iter()
            .filter(|id| *id != leaver)
            .cloned()
            .collect();
        Step::Install {
            voters,
            observers: self.observers.clone(),
        }
    }

    fn with(&self, joiner: &I) -> Step<I> {
        let mut voters = self.voters.clone();
        voters.push(joiner.clone());
        voters.sort();
        let observers = self
            .observers
            .iter()
            .filter(|id| *id != joiner)
            .cloned()
            .collect();
        Step::Install { voters, observers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks from `voters` to `target` under leader 1, with these nodes dead, and gives the voters of every step.
    fn walk(voters: &[u8], target: &[u8], dead: &[u8]) -> (Vec<Vec<u8>>, Step<u8>) {
        let mut membership = Membership::initial(voters.to_vec());
        membership.target = target.to_vec();
        let mut steps = Vec::new();
        loop {
            let alive = |id: &u8| !dead.contains(id);
            match membership.next_step(&1, alive, alive) {
                Step::Install { voters, observers } => {
                    if voters != membership.voters {
                        steps.push(voters.clone());
                    }
                    membership = Membership {
                        voters,
                        observers,
                        ..membership
                    };
                }
                end => return (steps, end),
            }
            assert!(steps.len() < 20, "it walks in circles: {steps:?}");
        }
    }

    /// Voters, target, dead, the voters of every step, the end.
    type Case = (
        &'static [u8],
        &'static [u8],
        &'static [u8],
        &'static [&'static [u8]],
        Step<u8>,
    );

    #[test]
    fn a_larger_change_is_a_walk_of_one_voter_at_a_time() {
        let cases: &[Case] = &[
            (&[1, 2, 3], &[1, 2, 3], &[], &[], Step::Done),
            (&[1, 2, 3], &[1, 2, 3, 4], &[], &[&[1, 2, 3, 4]], Step::Done),
            (&[1, 2, 3], &[1, 2], &[], &[&[1, 2]], Step::Done),
            (
                &[1, 2, 3],
                &[1, 4],
                &[],
                &[&[1, 2, 3, 4], &[1, 3, 4], &[1, 4]],
                Step::Done,
            ),
            // The dead leave first.
            (
                &[1, 2, 3],
                &[1, 2, 4],
                &[3],
                &[&[1, 2], &[1, 2, 4]],
                Step::Done,
            ),
            // A new node that does not answer holds the others' leaving up.
            (&[1, 2, 3], &[1, 2, 4], &[4], &[], Step::Wait(vec![4])),
            // Nobody leaves whose going would leave the rest without a quorum.
            (
                &[1, 2, 3, 4],
                &[1, 2],
                &[2],
                &[&[1, 2, 4]],
                Step::Wait(vec![2]),
            ),
            // The leader itself leaves last, by handing over.
            (&[1, 2, 3], &[2, 3], &[], &[], Step::HandOver),
            (
                &[1, 2, 3],
                &[4],
                &[],
                &[&[1, 2, 3, 4], &[1, 3, 4], &[1, 4]],
                Step::HandOver,
            ),
        ];
        for (voters, target, dead, steps, end) in cases {
            let found = walk(voters, target, dead);
            assert_eq!(
                found,
                (
                    steps.iter().map(|step| step.to_vec()).collect(),
                    end.clone()
                )
            );
        }
    }
}
