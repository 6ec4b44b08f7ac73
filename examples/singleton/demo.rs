//! Three members as processes of their own, one killed and one stopped while it leads, and what their file says then.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use super::Failure;
use super::audit::audit;
use super::crew::{Crew, Heard, file_in};
use super::local::on_this_machine;
use super::report::Report;

const OPTIONS: &[&str] = &[
    "--election-timeout",
    "500ms",
    "--heartbeat-interval",
    "50ms",
    // Every entry is on its way for a while, so that one of them is when its writer is stopped.
    "--tick",
    "20ms",
    "--transit",
    "30ms",
];

pub(crate) fn run() -> Result<(), Failure> {
    let folder = Folder::new()?;
    let ids = ["a", "b", "c"];
    let program = env::current_exe()?;
    let starter = on_this_machine(&program, &folder.0, &ids, OPTIONS)?;
    let mut crew = Crew::start(&ids, starter)?;

    let (first, token) = crew.leader(0)?;
    println!("{first} leads with token {token} and writes");
    crew.listen_for(Duration::from_millis(500));

    println!("{first} is killed");
    crew.kill(&first)?;
    let (second, token) = crew.leader(token)?;
    println!("{second} leads with token {token} and writes");
    crew.spawn(&first)?;
    crew.listen_for(Duration::from_millis(500));

    if cfg!(unix) {
        stop_and_wake(&mut crew, &second, token)?;
        crew.listen_for(Duration::from_millis(500));
    }
    for id in ids {
        crew.kill(id)?;
    }
    summary(&crew, &folder.0)
}

/// What a leader does that slept through the end of its leadership.
fn stop_and_wake(crew: &mut Crew, leader: &str, token: u64) -> Result<(), Failure> {
    println!("{leader} is stopped: it neither runs nor dies, and knows nothing of it");
    crew.signal(leader, "STOP")?;
    let (next, newer) = crew.leader(token)?;
    println!("{next} leads with token {newer} and writes");
    let before = crew.heard().len();
    println!("{leader} goes on where it was");
    crew.signal(leader, "CONT")?;
    crew.until("the end of the old leadership", |crew| {
        let since = crew.heard().iter().skip(before);
        let reports = since.filter(|heard| heard.id == leader);
        let mut reports = reports.filter_map(Heard::report);
        reports
            .any(|report| report == Report::Lost { token })
            .then_some(())
    })?;
    for heard in crew.heard().iter().skip(before) {
        match heard.report().filter(|_| heard.id == leader) {
            Some(Report::Refused { token, newest }) => println!(
                "the entry that {leader} had on its way is refused: its token is {token}, the newest {newest}"
            ),
            Some(Report::Lost { token }) => {
                println!("{leader} has lost leadership {token} and writes no more");
            }
            _ => {}
        }
    }
    Ok(())
}

fn summary(crew: &Crew, folder: &Path) -> Result<(), Failure> {
    let audit = audit(&file_in(folder), crew.written())?;
    println!("\nThe file: {audit}");
    for (token, writer) in &audit.writers {
        let entries = audit.entries.iter().filter(|entry| entry.token == *token);
        println!("  token {token}: {} entries by {writer}", entries.count());
    }
    Ok(())
}

/// Gone when the example is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = env::temp_dir().join(format!("streamraft-singleton-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
