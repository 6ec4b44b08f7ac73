//! What many trials came to, and the tables in which it is printed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::trial::Outcome;

/// Times of many trials in one unit, and what else was counted.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    unit: Duration,
    elected: Vec<f64>,
    leased: Vec<f64>,
    pub(crate) split_votes: u64,
    /// Trials that ended without a leader.
    pub(crate) leaderless: u64,
    /// What else a table counts.
    counted: BTreeMap<&'static str, u64>,
}

impl Figures {
    pub(crate) fn in_units_of(unit: Duration) -> Self {
        Self {
            unit,
            elected: Vec::new(),
            leased: Vec::new(),
            split_votes: 0,
            leaderless: 0,
            counted: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else {
            self.leaderless += 1;
            return;
        };
        self.split_votes += outcome.split_votes;
        let unit = self.unit.as_secs_f64();
        insert(&mut self.elected, outcome.elected.as_secs_f64() / unit);
        if let Some(leased) = outcome.leased {
            insert(&mut self.leased, leased.as_secs_f64() / unit);
        }
    }

    /// Something happened so many more times.
    pub(crate) fn count(&mut self, what: &'static str, times: u64) {
        *self.counted.entry(what).or_default() += times;
    }

    pub(crate) fn counted(&self, what: &'static str) -> u64 {
        self.counted.get(what).copied().unwrap_or_default()
    }

    /// A trial of which only the time until all was well is known, or nothing.
    pub(crate) fn add_time(&mut self, time: Option<Duration>) {
        match time {
            Some(time) => insert(
                &mut self.elected,
                time.as_secs_f64() / self.unit.as_secs_f64(),
            ),
            None => self.leaderless += 1,
        }
    }

    pub(crate) fn median(&self) -> f64 {
        quantile(&self.elected, 0.5)
    }

    pub(crate) fn mean(&self) -> f64 {
        self.elected.iter().sum::<f64>() / self.elected.len() as f64
    }

    pub(crate) fn p99(&self) -> f64 {
        quantile(&self.elected, 0.99)
    }

    pub(crate) fn max(&self) -> f64 {
        quantile(&self.elected, 1.0)
    }
}

/// Keeps the times sorted.
fn insert(times: &mut Vec<f64>, time: f64) {
    let at = times.partition_point(|before| *before < time);
    times.insert(at, time);
}

/// The least time that this part of the trials did not exceed.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (part * sorted.len() as f64).ceil() as usize;
    sorted
        .get(at.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

/// A figure that was to be reached.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    what: &'static str,
    measured: f64,
    limit: f64,
}

impl Reach {
    pub(crate) fn at_most(what: &'static str, measured: f64, limit: f64) -> Self {
        Self {
            what,
            measured,
            limit,
        }
    }

    fn is_met(&self) -> bool {
        self.measured <= self.limit
    }
}

impl std::fmt::Display for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.is_met() { "yes" } else { "NO" };
        write!(f, "{} <= {}: {verdict}", self.what, Short(self.limit))
    }
}

/// Up to one digit after the point.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = usize::from(self.0.fract() != 0.0);
        write!(f, "{:.digits$}", self.0)
    }
}

/// Prints rows under one heading, and counts what was reached.
#[derive(Debug, Default)]
pub(crate) struct Report {
    met: usize,
    missed: Vec<String>,
    table: char,
}

impl Report {
    pub(crate) fn table(&mut self, letter: char, heading: &str) {
        self.letter(letter);
        println!("\n({letter}) {heading}");
        println!(
            "{:<44} {:>8} {:>8} {:>8}   {:>8} {:>8} {:>8} {:>6}   reach",
            "", "median", "p99", "max", "lease", "p99", "max", "split"
        );
    }

    /// Which table the figures counted from now on belong to.
    pub(crate) fn letter(&mut self, letter: char) {
        self.table = letter;
    }

    pub(crate) fn row(&mut self, name: &str, figures: &Figures, reach: &[Reach]) {
        let (elected, leased) = (&figures.elected, &figures.leased);
        print!("{name:<44}");
        for times in [elected, leased] {
            for part in [0.5, 0.99, 1.0] {
                print!(" {:>8}", shown(quantile(times, part)));
            }
            print!("  ");
        }
        print!("{:>5}", figures.split_votes);
        let mut notes: Vec<String> = reach.iter().map(Reach::to_string).collect();
        let happened = figures.counted.iter().filter(|(_, times)| **times > 0);
        notes.extend(happened.map(|(what, times)| format!("{times} {what}")));
        if figures.leaderless > 0 {
            notes.push(format!("{} trials without a leader", figures.leaderless));
        }
        println!("   {}", notes.join(", "));
        self.count(name, reach);
    }

    /// What others have measured.
    pub(crate) fn quote(&self, name: &str, text: [&str; 3]) {
        let [median, p99, max] = text;
        println!("{name:<44} {median:>8} {p99:>8} {max:>8}");
    }

    pub(crate) fn note(&self, text: &str) {
        println!("    {text}");
    }

    pub(crate) fn count(&mut self, name: &str, reach: &[Reach]) {
        for one in reach {
            if one.is_met() {
                self.met += 1;
            } else {
                let measured = shown(one.measured);
                self.missed
                    .push(format!("({}) {name}: {one}, it is {measured}", self.table));
            }
        }
    }

    pub(crate) fn finish(&self) {
        let all = self.met + self.missed.len();
        println!("\n{} of {all} figures reached", self.met);
        for missed in &self.missed {
            println!("    {missed}");
        }
    }
}

fn shown(figure: f64) -> String {
    if figure.is_nan() {
        "-".to_owned()
    } else if figure < 10.0 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.1}")
    }
}
