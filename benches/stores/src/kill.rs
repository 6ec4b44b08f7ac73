//! SIGKILL at random points: what was acknowledged must be there, in order, and nothing that never was.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::log::{Content, Result, names, open};
use crate::script::{Dice, Script, act};
use crate::table;

/// Works until it is killed, and says after each step how many it has done.
pub fn work(name: &str, folder: &Path, seed: u64, steps: u64) -> Result<()> {
    let mut log = open(name, folder)?;
    let mut script = Script::new(seed);
    let mut out = std::io::stdout().lock();
    for count in 1..=steps {
        act(&mut *log, &script.next())?;
        writeln!(out, "{count}")?;
        out.flush()?;
    }
    // Not closed: a crash does not close either.
    std::process::abort();
}

/// Starts the work, kills it after a random time, and says what was acknowledged.
fn killed(name: &str, folder: &Path, seed: u64) -> Result<u64> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["work", name])
        .arg(folder)
        .args([seed.to_string(), u64::MAX.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let mut dice = Dice::new(seed);
    let mut acknowledged = 0;
    let steps = 1 + dice.below(120);
    while acknowledged < steps {
        match lines.next() {
            Some(line) => acknowledged = line?.parse()?,
            None => break,
        }
    }
    std::thread::sleep(Duration::from_micros(dice.below(3000)));
    child.kill()?;
    for line in lines {
        acknowledged = line?.parse().unwrap_or(acknowledged);
    }
    child.wait()?;
    Ok(acknowledged)
}

/// What a log holds after a kill, in a word.
fn judge(name: &str, folder: &Path, seed: u64, acknowledged: u64) -> String {
    let mut script = Script::new(seed);
    let mut before = script.content.clone();
    for _ in 0..acknowledged {
        script.next();
        before = script.content.clone();
    }
    script.next();
    let found = match open(name, folder).and_then(|log| log.read()) {
        Ok(found) => found,
        Err(error) => return format!("DOES NOT OPEN: {error}"),
    };
    // The step under way when it was killed may have been done.
    if found == script.content || found == before {
        return "right".into();
    }
    let last = |content: &Content| content.first + content.entries.len() as u64;
    format!("WRONG: up to {} of {}", last(&found), last(&before))
}

/// Time to open a log of so many entries of 1 KiB that was not closed.
fn reopening(name: &str, folder: &Path, entries: u64) -> Result<Duration> {
    let place = folder.join("large");
    let status = Command::new(std::env::current_exe()?)
        .args(["fill", name])
        .arg(&place)
        .arg(entries.to_string())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        return Err("the filling process was to abort".into());
    }
    let start = Instant::now();
    let log = open(name, &place)?;
    let time = start.elapsed();
    let found = log.read()?.entries.len() as u64;
    drop(log);
    std::fs::remove_dir_all(&place)?;
    if found == entries {
        Ok(time)
    } else {
        Err(format!("{found} of {entries}").into())
    }
}

pub fn fill(name: &str, folder: &Path, entries: u64) -> Result<()> {
    let mut log = open(name, folder)?;
    let batch: Vec<Vec<u8>> = (0..1000_u64)
        .map(|at| (0..1024).map(|byte| (at * 13 + byte) as u8).collect())
        .collect();
    for first in (0..entries).step_by(1000) {
        log.append(first + 1, &batch, first)?;
    }
    std::process::abort();
}

pub fn run(folder: &Path, times: u64) -> Result<()> {
    let mut rows = Vec::new();
    for name in names() {
        let mut words = Vec::new();
        let mut steps = 0;
        for seed in 1..=times {
            let place = folder.join("killed");
            let acknowledged = killed(name, &place, seed)?;
            steps += acknowledged;
            words.push(judge(name, &place, seed, acknowledged));
            std::fs::remove_dir_all(&place)?;
        }
        let opened = |entries| match reopening(name, folder, entries) {
            Ok(time) => format!("{:.0} ms", time.as_secs_f64() * 1e3),
            Err(error) => format!("FAILED: {error}"),
        };
        rows.push((
            name.to_owned(),
            vec![
                steps.to_string(),
                table::tally(&words),
                opened(10_000),
                opened(100_000),
            ],
        ));
    }
    let columns = [
        "steps",
        "what was found",
        "to open 10 MiB",
        "to open 100 MiB",
    ]
    .map(String::from);
    table::print(
        &format!("Killed {times} times at random points"),
        &columns,
        &rows,
    );
    Ok(())
}
