//! Instruction counts of streamraft alone, held to limits: `benches/peers/counts` runs it.
//!
//! `counts LIMITS` fails if a piece of work takes more than the file of limits allows; `counts LIMITS --write` sets
//! the limits a little above what it takes now; `counts WORK NAME NODES` is what valgrind runs.

use std::io::Write;
use std::process::ExitCode;
use std::{fs, io};

use peers::callgrind;

/// What is counted, of 3 and of 5 nodes.
const WORKS: [(&str, &str); 9] = [
    ("round", "streamraft"),
    ("round", "streamraft-nodeid"),
    ("round", "streamraft-streams"),
    ("cold", "streamraft"),
    ("cold", "streamraft-nodeid"),
    ("in", "streamraft-streams"),
    ("out", "streamraft-streams"),
    ("propose", "streamraft"),
    ("propose", "streamraft-streams"),
];

const SIZES: [u64; 2] = [3, 5];

/// A limit that is written stands so much, in percent, above the count.
const SLACK: u64 = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [work, name, nodes] => return repeat(work, name, nodes),
        _ if !callgrind::is_installed() => {
            println!("SKIPPED, nothing was counted: valgrind is not installed");
            return ExitCode::SUCCESS;
        }
        [limits] => check(limits),
        [limits, "--write"] => write(limits).map(|()| true),
        _ => Err(io::Error::other("usage: counts LIMITS [--write]")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("counts: {error}");
            ExitCode::FAILURE
        }
    }
}

fn repeat(work: &str, name: &str, nodes: &str) -> ExitCode {
    match nodes.parse() {
        Ok(nodes) if callgrind::repeat(work, name, nodes) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn works() -> Vec<(&'static str, &'static str, u64)> {
    let sized = |nodes| WORKS.map(|(work, name)| (work, name, nodes));
    SIZES.into_iter().flat_map(sized).collect()
}

/// Whether every count is within its limit. A line of the file is WORK NAME NODES LIMIT.
fn check(path: &str) -> io::Result<bool> {
    let text = fs::read_to_string(path)?;
    let works = works();
    let counts = callgrind::count(&works)?;
    let mut all_within = true;
    for ((work, name, nodes), count) in works.iter().zip(counts) {
        let key = format!("{work} {name} {nodes}");
        let limit = text.lines().find_map(|line| {
            let limit = line.strip_prefix(&key)?.trim().parse::<u64>();
            limit.ok()
        });
        let limit = limit.ok_or_else(|| io::Error::other(format!("{path}: no limit for {key}")))?;
        let within = count <= limit;
        all_within &= within;
        let verdict = if within { "ok" } else { "TOO MANY" };
        println!("{key:<32} {count:>8} instructions, limit {limit:>8}: {verdict}");
    }
    Ok(all_within)
}

fn write(path: &str) -> io::Result<()> {
    let works = works();
    let counts = callgrind::count(&works)?;
    let old = fs::read_to_string(path).unwrap_or_default();
    let mut file = fs::File::create(path)?;
    for comment in old.lines().filter(|line| line.starts_with('#')) {
        writeln!(file, "{comment}")?;
    }
    for ((work, name, nodes), count) in works.iter().zip(counts) {
        let limit = count + count * SLACK / 100;
        writeln!(file, "{work} {name} {nodes} {limit}")?;
    }
    Ok(())
}
