//! Storage crates as the durable log of a Raft node: how fast, how safe, how large.
//!
//! `stores FOLDER [speed|durable|kill|damage|full]...` prints one table for each question; `run` beside this adds what the crates
//! drag in. The other commands are for the processes that it starts itself.

mod damage;
#[cfg(feature = "streamraft")]
mod durable;
mod full;
mod kill;
mod log;
mod script;
mod speed;
mod stores;
mod syncs;
mod table;

use std::path::Path;
use std::time::Duration;

use log::Result;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["work", name, folder, seed, steps] => {
            kill::work(name, Path::new(folder), seed.parse()?, steps.parse()?)
        }
        ["fill", name, folder, entries] => kill::fill(name, Path::new(folder), entries.parse()?),
        ["write", name, folder] => damage::write(name, Path::new(folder)),
        ["check", name, folder] => {
            damage::check(name, Path::new(folder));
            Ok(())
        }
        ["full-child", name, disk] => full::fill(name, Path::new(disk)),
        [folder, ref questions @ ..] => measure(Path::new(folder), questions),
        [] => Err("name a folder on the disk to measure".into()),
    }
}

fn measure(folder: &Path, questions: &[&str]) -> Result<()> {
    let folder = folder.join(format!("stores-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let asked = |question| questions.is_empty() || questions.contains(&question);
    let outcome = (|| {
        if asked("speed") {
            speed::run(&folder, Duration::from_millis(400))?;
        }
        #[cfg(feature = "streamraft")]
        if asked("durable") {
            durable::run(&folder, Duration::from_millis(800))?;
        }
        if asked("kill") {
            kill::run(&folder, 50)?;
        }
        if asked("damage") {
            damage::run(&folder, 300)?;
        }
        if asked("full") {
            full::run(&folder)?;
        }
        Ok(())
    })();
    std::fs::remove_dir_all(&folder)?;
    outcome
}
