//! streamraft and its peers on the same work, in one program and in turns: `benches/peers/run` prints the tables.
//!
//! `peers` measures and prints; `peers --write` puts the figures and the plot into the guide too; `peers groups` measures
//! the groups alone, `peers log [NAME..]` the logs; `peers WORK NAME NODES` does one thing only, which valgrind counts.

use std::error::Error;
use std::process::ExitCode;

use peers::report::{self, Report};
use peers::{callgrind, codec, election, groups, growth, instructions, leadership, live, log};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => compare(false)?,
        ["--write"] => compare(true)?,
        ["groups"] => groups::compare(&mut Report::default(), None)?,
        ["log"] => log_alone(&log::NAMES)?,
        ["log", some @ ..] => {
            let is_wanted = |name: &&str| some.contains(name);
            let names: Vec<_> = log::NAMES.into_iter().filter(is_wanted).collect();
            log_alone(&names)?;
        }
        [work, name, nodes] if callgrind::repeat(work, name, nodes.parse()?) => {}
        _ => {
            eprintln!(
                "usage: peers [--write] | peers groups | peers log [NAME..] | peers (round|cold|in|out|propose) NAME NODES"
            );
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn log_alone(names: &[&'static str]) -> Result<(), Box<dyn Error>> {
    let mut report = Report::default();
    log::compare(&mut report, names)?;
    report.close();
    Ok(())
}

fn compare(write: bool) -> Result<(), Box<dyn Error>> {
    let load = report::load();
    let mut report = Report::default();
    election::compare(&mut report);
    instructions::compare(&mut report)?;
    live::compare(&mut report);
    codec::compare(&mut report);
    leadership::compare(&mut report);
    let plot = report::guide("performance-rounds.svg");
    growth::compare(&mut report, write.then_some(&*plot))?;
    let plot = report::guide("performance-groups.svg");
    groups::compare(&mut report, write.then_some(&*plot))?;
    log::compare(&mut report, &log::NAMES)?;
    report.close();
    if write {
        report.write(&report::conditions(&load))?;
    }
    Ok(())
}
