//! A run in which something was wrong, as a report for whoever has to mend it.

use std::fmt;
use std::time::Duration;

/// A run in which an invariant broke. Its `Display` and its `Debug` are the report: the seed, what is wrong, the steps
/// that led there, and a chart of the last messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(Box<Report>);

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) invariant: &'static str,
    pub(super) cause: String,
    pub(super) at: Duration,
    /// When and what, of every step that is left.
    pub(super) steps: Vec<String>,
    /// How many steps the run had before it was made smaller.
    pub(super) steps_before: usize,
    pub(super) chart: String,
}

impl Failure {
    pub(super) fn new(report: Report) -> Self {
        Self(Box::new(report))
    }

    /// The seed of the run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The name of the invariant that broke.
    #[must_use]
    pub fn invariant(&self) -> &'static str {
        self.0.invariant
    }

    /// What was wrong.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.0.cause
    }

    /// When it was seen, by true time since the run began.
    #[must_use]
    pub fn at(&self) -> Duration {
        self.0.at
    }

    /// The faults that are needed to see it, each with its time. Empty for a cluster that was driven by hand.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.0.steps
    }

    /// The last messages, with a column for each node.
    #[must_use]
    pub fn chart(&self) -> &str {
        &self.0.chart
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            seed,
            invariant,
            cause,
            at,
            steps,
            steps_before,
            chart,
        } = &*self.0;
        writeln!(f, "seed {seed}: {invariant}: {cause}, at {at:?}")?;
        if *steps_before > 0 {
            writeln!(f, "{} of {steps_before} steps lead there:", steps.len())?;
        }
        for step in steps {
            writeln!(f, "  {step}")?;
        }
        write!(f, "\n{chart}")
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `unwrap` shows in a test.
        write!(f, "\n{self}")
    }
}

impl std::error::Error for Failure {}

/// An invariant that broke, before it is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) invariant: &'static str,
    pub(super) cause: String,
}
