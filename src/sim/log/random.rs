//! Clusters of logs for random runs.

use super::super::builder::Builder;
use super::super::cluster::Cluster;
use super::super::dice::Dice;
use super::super::election::{last_wish, random_command};
use super::super::invariant::{
    AppliedAlike, CommittedOnQuorum, LeaderAppendOnly, LeaderComplete, LogMatching, LogSettles,
    ReadsSeeAll,
};
use super::super::machine::Boot;
use super::{LogInput, LogNode};
use crate::id::Id;
use crate::raft::LogLimits;

/// Bounds so small that all of them are met, others for every start.
fn small_limits(seed: u64) -> LogLimits {
    let mut dice = Dice::of(seed, [9, 0, 0]);
    let mut some = |of: &[u64]| dice.pick(of).copied().unwrap_or_default();
    let message = usize::try_from(some(&[40, 200, 1_000])).unwrap_or(20);
    let (window, unsettled) = (some(&[60, 300, 1_000]), some(&[300, 3_000]));
    LogLimits::default()
        .message(message)
        .window(window)
        .unsettled(unsettled.max(window))
        .cache(some(&[0, 100, 10_000]))
        .trailing(some(&[0, 3, 100]))
}

/// What a cluster of logs is asked at random.
fn random_input<I: Id>(dice: &mut Dice, ids: &[I]) -> Option<LogInput<I>> {
    Some(match dice.up_to(9) {
        0..=4 => LogInput::Propose(dice.up_to(999), dice.up_to(9)),
        5 => LogInput::Read,
        6 | 7 => LogInput::Compact,
        _ => LogInput::Command(random_command(dice, ids)?),
    })
}

impl<I: Id> Cluster<LogNode<I>> {
    /// A cluster of nodes with a replicated log, with clients, and all the invariants of logs. Random runs also propose
    /// entries, read, take snapshots, change the voters, transfer, resign and change priorities. Every node's bounds are small.
    pub fn logs(voters: impl IntoIterator<Item = I>) -> Builder<LogNode<I>> {
        let make = |boot: &Boot<'_, LogNode<I>>| {
            let mut dice = Dice::of(boot.seed, [10, 0, 0]);
            let mut some = |of: &[u16]| dice.pick(of).copied().unwrap_or_default();
            let clients = [
                some(&[0, 30, 300, 1_000]),
                some(&[0, 20, 100]),
                some(&[0, 10, 50]),
            ];
            Ok(LogNode::new(boot, small_limits(boot.seed))?.with_clients(clients))
        };
        Self::of(voters, make)
            .inputs(random_input)
            .last_inputs(|dice, living| Some(LogInput::All(last_wish(dice, living)?, 1_000)))
            .invariant(LeaderAppendOnly::default)
            .invariant(LogMatching::default)
            .invariant(LeaderComplete::default)
            .invariant(AppliedAlike::default)
            .invariant(CommittedOnQuorum::default)
            .invariant(ReadsSeeAll::default)
            .invariant(LogSettles::default)
    }
}
