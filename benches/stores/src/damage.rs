//! Flipped bits and cut files: an error, or silent loss?

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::log::{Result, names, open};
use crate::script::{Dice, Script, act};
use crate::table;

const STEPS: u64 = 40;
const SEED: u64 = 3;

/// Writes a log and closes it.
pub fn write(name: &str, folder: &Path) -> Result<()> {
    let mut log = open(name, folder)?;
    let mut script = Script::new(SEED);
    for _ in 0..STEPS {
        act(&mut *log, &script.next())?;
    }
    Ok(())
}

/// Says in a word what a damaged log turns out to hold.
pub fn check(name: &str, folder: &Path) {
    let mut script = Script::new(SEED);
    for _ in 0..STEPS {
        script.next();
    }
    let right = script.content;
    let word = match open(name, folder).and_then(|log| log.read()) {
        Err(_) => "error",
        Ok(found) if found == right => "unharmed",
        Ok(found) => {
            let mut script = Script::new(SEED);
            let older = (0..STEPS).any(|_| {
                script.next();
                script.content == found
            });
            if older || found.entries.is_empty() {
                "SILENT LOSS"
            } else {
                "WRONG CONTENT"
            }
        }
    };
    println!("{word}");
}

/// The files of a folder, with the places in them that are not zero.
fn files(folder: &Path, found: &mut Vec<(PathBuf, Vec<usize>)>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
            continue;
        }
        let used: Vec<usize> = fs::read(&path)?
            .iter()
            .enumerate()
            .filter_map(|(at, byte)| (*byte != 0).then_some(at))
            .collect();
        if !used.is_empty() {
            found.push((path, used));
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().ok_or("no name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Runs `check` in a process of its own, since it may panic, abort, or never end.
fn checked(name: &str, folder: &Path) -> Result<String> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["check", name])
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > Duration::from_secs(20) {
            child.kill()?;
            child.wait()?;
            return Ok("HANG".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output()?;
    let word = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(match (output.status.code(), word.is_empty()) {
        (Some(101), _) => "PANIC".into(),
        (Some(0), false) => word,
        _ => "CRASH".into(),
    })
}

fn trials(name: &str, source: &Path, times: u64, cut: bool) -> Result<String> {
    let place = source.with_extension("copy");
    let mut words = Vec::new();
    for seed in 1..=times {
        copy(source, &place)?;
        let mut files_used = Vec::new();
        files(&place, &mut files_used)?;
        files_used.sort();
        let mut dice = Dice::new(seed + 100);
        dice.below(2);
        // Every byte that is in use is as likely to be hit as any other.
        let total: usize = files_used.iter().map(|(_, used)| used.len()).sum();
        let mut hit = dice.below(total as u64) as usize;
        for (path, used) in &files_used {
            if hit >= used.len() {
                hit -= used.len();
                continue;
            }
            let mut bytes = fs::read(path)?;
            if cut {
                bytes.truncate(used[hit]);
            } else {
                bytes[used[hit]] ^= 1 << dice.below(8);
            }
            fs::write(path, bytes)?;
            break;
        }
        words.push(checked(name, &place)?);
        fs::remove_dir_all(&place)?;
    }
    Ok(table::tally(&words))
}

pub fn run(folder: &Path, times: u64) -> Result<()> {
    let mut rows = Vec::new();
    for name in names() {
        let closed = folder.join("closed");
        write(name, &closed)?;
        let crashed = folder.join("crashed");
        Command::new(std::env::current_exe()?)
            .args(["work", name])
            .arg(&crashed)
            .args([SEED.to_string(), STEPS.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        let mut cells = Vec::new();
        for cut in [false, true] {
            for source in [&closed, &crashed] {
                cells.push(trials(name, source, times, cut)?);
            }
        }
        fs::remove_dir_all(closed)?;
        fs::remove_dir_all(crashed)?;
        rows.push((name.to_owned(), cells));
    }
    let columns = [
        "a bit flipped, closed",
        "a bit flipped, killed",
        "cut, closed",
        "cut, killed",
    ]
    .map(String::from);
    table::print(
        &format!("{times} times damaged, in places in use"),
        &columns,
        &rows,
    );
    Ok(())
}
