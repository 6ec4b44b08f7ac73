//! A random run, from its seed to its summary or to the report of what broke.

use std::time::Duration;

use super::builder::Builder;
use super::cluster::Cluster;
use super::dice::Dice;
use super::failure::{Failure, Report, Violation};
use super::host::Shown;
use super::machine::Machine;
use super::schedule::{self, Steps};
use super::shrink;
use super::summary::Summary;

/// A run that is over: what it did, or what broke in it.
pub(super) struct Done<M: Machine> {
    pub(super) cluster: Cluster<M>,
    pub(super) violation: Option<Violation>,
}

pub(super) fn run<M: Machine>(builder: &Builder<M>, seed: u64) -> Result<Summary, Failure> {
    let steps = schedule::draw(builder, seed);
    let mut done = play(builder, seed, &steps, false)?;
    let Some(violation) = done.violation.take() else {
        let mut summary = done.cluster.into_summary();
        summary.seeds = 1;
        return Ok(summary);
    };
    let steps_before = steps.len();
    let steps = shrink::shrink(builder, seed, steps, &violation);
    // Once more, with the chart.
    let done = play(builder, seed, &steps, true)?;
    let violation = done.violation.unwrap_or(violation);
    Err(Failure::new(Report {
        seed,
        invariant: violation.invariant,
        cause: violation.cause,
        at: done.cluster.world().now(),
        steps: listed::<M>(&steps),
        steps_before,
        chart: done.cluster.chart(),
    }))
}

/// The run of these steps. An error only if a node cannot be made at its very start.
pub(super) fn play<M: Machine>(
    builder: &Builder<M>,
    seed: u64,
    steps: &Steps<M>,
    is_recorded: bool,
) -> Result<Done<M>, Failure> {
    let mut cluster = Cluster::new(builder, seed, is_recorded)?;
    let violation = act(builder, seed, steps, &mut cluster).err();
    Ok(Done { cluster, violation })
}

fn act<M: Machine>(
    builder: &Builder<M>,
    seed: u64,
    steps: &Steps<M>,
    cluster: &mut Cluster<M>,
) -> Result<(), Violation> {
    for step in steps {
        cluster.pass(step.after)?;
        cluster.suffer(&step.fault)?;
    }
    cluster.recover_all()?;
    cluster.heal()?;
    settle(builder, seed, cluster)?;
    // Then nothing moves any more, and whoever leads can be asked.
    let calm = builder.timing.settled_after();
    cluster.pass(calm)?;
    ask_last(builder, seed, cluster, true)?;
    cluster.pass(calm)?;
    cluster.end()
}

/// Waits until the cluster is settled, no longer than it may take. Asks the last input again and again meanwhile, as an
/// orchestrator does: an election forgets a wish when it learns of another one.
fn settle<M: Machine>(
    builder: &Builder<M>,
    seed: u64,
    cluster: &mut Cluster<M>,
) -> Result<(), Violation> {
    let start = cluster.world().now();
    let patience = builder.timing.settled_after();
    let (mut took, mut is_settled) = (Duration::ZERO, false);
    while took < builder.aftermath() && !is_settled {
        ask_last(builder, seed, cluster, false)?;
        let settled = cluster.pass_until(patience, super::invariant::Settles::is_settled)?;
        took = cluster.world().now().saturating_sub(start);
        is_settled = settled.is_some();
    }
    cluster.note_healing(took);
    Ok(())
}

/// Asks the last input of all; in half of the runs of all but the leader, who has to hear of it from the others.
fn ask_last<M: Machine>(
    builder: &Builder<M>,
    seed: u64,
    cluster: &mut Cluster<M>,
    of_all: bool,
) -> Result<(), Violation> {
    let running = cluster.world().running();
    let living: Vec<M::Id> = running.map(|(id, _)| id.clone()).collect();
    let mut dice = Dice::of(seed, [2, 0, 0]);
    // Of many elections each node may lead one, and then nobody is left to be asked.
    let is_one = cluster.world().leaders().all(|(_, shown)| shown.group == 0);
    let spares_leader = dice.chance(500) && !of_all && is_one;
    let Some(input) = builder.random_last_input(&mut dice, &living) else {
        return Ok(());
    };
    for id in &living {
        let world = cluster.world();
        let can_hear = |shown: &Shown<M::Id>| {
            let mut voters = shown.membership.voters.iter();
            voters.any(|voter| voter != id && living.contains(voter))
        };
        let hears_others = world
            .leaders()
            .any(|(leader, shown)| leader == id && can_hear(shown));
        if !(spares_leader && hears_others) {
            cluster.request(id, input.clone())?;
        }
    }
    Ok(())
}

/// The steps with the times at which they happen.
fn listed<M: Machine>(steps: &Steps<M>) -> Vec<String> {
    let mut at = Duration::ZERO;
    let mut lines = Vec::with_capacity(steps.len());
    for step in steps {
        at += step.after;
        lines.push(format!("{:9.3} ms  {}", at.as_secs_f64() * 1e3, step.fault));
    }
    lines
}
