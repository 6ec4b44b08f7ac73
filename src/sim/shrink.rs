//! Makes a failed run smaller: fewer steps, then shorter ones, as long as the same invariant breaks.

use std::time::Duration;

use super::builder::Builder;
use super::failure::Violation;
use super::fault::Step;
use super::machine::Machine;
use super::run;
use super::schedule::Steps;

/// How many steps, and how long they take.
fn size<I, T>(steps: &[Step<I, T>]) -> (usize, Duration) {
    (steps.len(), steps.iter().map(|step| step.after).sum())
}

/// What is left to spend, and what has to break.
struct Shrink<'a, M: Machine> {
    builder: &'a Builder<M>,
    seed: u64,
    invariant: &'static str,
    runs_left: usize,
}

/// The smallest run found that breaks the same invariant.
pub(super) fn shrink<M: Machine>(
    builder: &Builder<M>,
    seed: u64,
    steps: Steps<M>,
    violation: &Violation,
) -> Steps<M> {
    let mut shrink = Shrink {
        builder,
        seed,
        invariant: violation.invariant,
        runs_left: builder.shrinking,
    };
    let mut steps = steps;
    loop {
        let before = size(&steps);
        steps = shrink.drop_steps(steps);
        steps = shrink.shorten(steps);
        if shrink.runs_left == 0 || size(&steps) == before {
            return steps;
        }
    }
}

impl<M: Machine> Shrink<'_, M> {
    fn fails(&mut self, steps: &Steps<M>) -> bool {
        if self.runs_left == 0 {
            return false;
        }
        self.runs_left -= 1;
        let done = run::play(self.builder, self.seed, steps, false);
        let violation = done.ok().and_then(|done| done.violation);
        violation.is_some_and(|violation| violation.invariant == self.invariant)
    }

    /// Leaves out halves, then quarters, then ever fewer steps.
    fn drop_steps(&mut self, mut steps: Steps<M>) -> Steps<M> {
        let mut size = steps.len();
        while size > 0 {
            // From the end: what comes after the failure is never missed.
            let mut end = steps.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let mut fewer = steps.clone();
                // The time stays with what follows, so that it happens when it did.
                let gone: Duration = fewer.drain(start..end).map(|step| step.after).sum();
                if let Some(next) = fewer.get_mut(start) {
                    next.after = gone + next.after;
                }
                if self.fails(&fewer) {
                    steps = fewer;
                }
                end = start;
            }
            size /= 2;
        }
        steps
    }

    /// Makes the waits between the steps shorter: to nothing, or to half.
    fn shorten(&mut self, mut steps: Steps<M>) -> Steps<M> {
        for at in 0..steps.len() {
            for part in [0, 1] {
                let mut shorter = steps.clone();
                let Some(step) = shorter.get_mut(at) else {
                    continue;
                };
                if step.after.is_zero() {
                    break;
                }
                step.after = step.after * part / 2;
                if self.fails(&shorter) {
                    steps = shorter;
                    break;
                }
            }
        }
        steps
    }
}
