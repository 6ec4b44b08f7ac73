//! How long a cluster is without a leader, in virtual time.
//!
//! ```text
//! cargo bench --bench failover                            # every table, 1,000 trials a row
//! cargo bench --bench failover -- --trials 100 a d        # some of them
//! ```
//! The columns `median, p99, max` count until a node is elected; `lease` and the two after it until a quorum has
//! confirmed it, so that it may act. `split` is the number of terms, over all trials, in which votes were asked for
//! and nobody won.

mod figures;
mod rows;
mod trial;
mod world;

use clap::Parser;

use figures::Report;

/// How long a cluster is without a leader.
#[derive(Debug, Parser)]
struct Args {
    /// The trials of every row.
    #[arg(long)]
    trials: Option<u64>,
    /// The tables to print, by their letters; all without any.
    tables: Vec<char>,
    /// What cargo says when it measures; without it a few trials show that all works.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    let trials = args
        .trials
        .unwrap_or(if args.bench { 1_000 } else { 10 })
        .max(1);
    let wanted = |letter: char| args.tables.is_empty() || args.tables.contains(&letter);
    println!("{trials} trials a row");
    let mut report = Report::default();
    for (letter, print) in rows::ALL {
        if wanted(letter) {
            print(&mut report, trials);
        }
    }
    report.finish();
}
