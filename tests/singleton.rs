//! The example `singleton`: real processes whose leader writes to a file, killed and stopped. The file tells whether
//! two ever wrote with one token. And the check itself is checked: a file with two writers is found out.
#![cfg(all(unix, feature = "tcp", feature = "file"))]

#[path = "../examples/singleton/audit.rs"]
mod audit;
#[path = "../examples/singleton/crew.rs"]
mod crew;
#[path = "../examples/singleton/entry.rs"]
mod entry;
#[path = "../examples/singleton/ledger.rs"]
mod ledger;
#[path = "../examples/singleton/local.rs"]
mod local;
#[path = "support/program.rs"]
mod program;
#[path = "../examples/singleton/report.rs"]
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use audit::{Audit, Violation, audit};
use crew::{Crew, Heard, file_in};
use ledger::{Outcome, append};
use local::on_this_machine;
use report::Report;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const OPTIONS: &[&str] = &[
    "--election-timeout",
    "500ms",
    "--heartbeat-interval",
    "50ms",
    // Nearly always an entry is on its way, so that one is when its writer is stopped.
    "--tick",
    "10ms",
    "--transit",
    "20ms",
];

const ALL: [&str; 3] = ["a", "b", "c"];

/// A cluster under faults, and what became of entries that stopped leaders had on their way.
struct Trial {
    crew: Crew,
    folder: Folder,
    leader: String,
    token: u64,
    refused: usize,
    unattempted: usize,
}

impl Trial {
    fn new(name: &str) -> Result<Self, Failure> {
        let folder = Folder::new(name)?;
        let program = program::of_example("singleton");
        let starter = on_this_machine(&program, &folder.0, &ALL, OPTIONS)?;
        let mut crew = Crew::start(&ALL, starter)?;
        let (leader, token) = crew.leader(0)?;
        Ok(Self {
            crew,
            folder,
            leader,
            token,
            refused: 0,
            unattempted: 0,
        })
    }

    /// Waits for a writer with a newer token, or for the present one to get on.
    fn progress(&mut self, by_another: bool) -> Result<(), Failure> {
        let after = if by_another {
            self.token
        } else {
            self.token - 1
        };
        let before = self.crew.heard().len();
        let entries = |crew: &Crew| {
            let since = crew.heard().iter().skip(before);
            let entries = since.filter_map(|heard| {
                let (token, _) = heard.report()?.written()?;
                (token > after).then(|| (heard.id.clone(), token))
            });
            entries.collect::<Vec<_>>()
        };
        let (leader, token) = self.crew.until("progress", |crew| {
            let entries = entries(crew);
            let last = entries.last()?.clone();
            let own = entries.iter().filter(|entry| **entry == last);
            (own.count() >= 5).then_some(last)
        })?;
        (self.leader, self.token) = (leader, token);
        Ok(())
    }

    fn kill_leader(&mut self) -> Result<(), Failure> {
        let leader = self.leader.clone();
        self.crew.kill(&leader)?;
        self.progress(true)?;
        self.crew.spawn(&leader)
    }

    fn kill_follower(&mut self) -> Result<(), Failure> {
        let follower = self.follower();
        self.crew.kill(follower)?;
        self.progress(false)?;
        self.crew.spawn(follower)
    }

    fn kill_all(&mut self) -> Result<(), Failure> {
        for id in ALL {
            self.crew.kill(id)?;
        }
        for id in ALL {
            self.crew.spawn(id)?;
        }
        self.progress(true)
    }

    /// Stops the leader until another writes, and notes what it does then with the token that it had.
    fn stop_leader(&mut self) -> Result<(), Failure> {
        let (leader, token) = (self.leader.clone(), self.token);
        self.crew.signal(&leader, "STOP")?;
        self.progress(true)?;
        let before = self.crew.heard().len();
        self.crew.signal(&leader, "CONT")?;
        let since = |crew: &Crew| {
            let reports = crew.heard().iter().skip(before);
            let own = reports.filter(|heard| heard.id == leader);
            own.filter_map(Heard::report).collect::<Vec<_>>()
        };
        self.crew.until("the end of the old leadership", |crew| {
            since(crew).contains(&Report::Lost { token }).then_some(())
        })?;
        let reports = since(&self.crew);
        let was_refused = reports.iter().any(|report| {
            matches!(report, Report::Refused { token: old, newest } if *old == token && *newest > token)
        });
        if was_refused {
            self.refused += 1;
        } else {
            self.unattempted += 1;
        }
        Ok(())
    }

    fn follower(&self) -> &'static str {
        let mut others = ALL.into_iter().filter(|id| *id != self.leader);
        others.next().expect("three members")
    }

    /// Ends all and checks the file, and that everything which was reported as written is there.
    fn check(&mut self) -> Result<Audit, Failure> {
        for id in ALL {
            self.crew.kill(id)?;
        }
        assert!(self.crew.written().count() > 100);
        let file = file_in(&self.folder.0);
        let checked = audit(&file, self.crew.written());
        Ok(checked.map_err(|violation| format!("{violation}\n{}", self.crew.log()))?)
    }
}

#[test]
fn leaders_that_are_killed_and_stopped_never_share_a_token() -> Result<(), Failure> {
    let mut trial = Trial::new("faults")?;
    let started = Instant::now();
    let faults = [
        Trial::kill_leader,
        Trial::stop_leader,
        Trial::kill_follower,
        Trial::stop_leader,
        Trial::kill_all,
        Trial::stop_leader,
    ];
    for (number, fault) in faults.iter().cycle().take(12).enumerate() {
        let before = trial.token;
        fault(&mut trial).unwrap_or_else(|error| panic!("fault {number}: {error}"));
        assert!(trial.token >= before);
        trial.crew.listen_for(Duration::from_millis(200));
    }
    let (refused, unattempted) = (trial.refused, trial.unattempted);
    let audit = trial.check()?;
    println!(
        "12 faults in {:.1?}: {audit}. Entries of stopped leaders: {refused} refused, {unattempted} not attempted",
        started.elapsed()
    );
    assert_eq!(refused + unattempted, 6);
    // Where nothing was refused, the file has not been asked the question.
    assert!(refused > 0);
    // Ten of the faults end a leadership.
    assert!(audit.writers.len() > 10, "{:?}", audit.writers);
    Ok(())
}

/// Two clusters of one that take themselves for the only one: the mistake that the file's check is there to find.
#[test]
fn two_leaders_with_one_token_are_found_out() -> Result<(), Failure> {
    let folder = Folder::new("two")?;
    let program = program::of_example("singleton");
    let alone = |id| {
        let starter = on_this_machine(&program, &folder.0, &[id], OPTIONS)?;
        Crew::start(&[id], starter)
    };
    for mut crew in [alone("a")?, alone("b")?] {
        assert_eq!(crew.leader(0)?.1, 1);
    }
    let violation = audit(&file_in(&folder.0), []).expect_err("two wrote with token 1");
    assert!(
        matches!(violation, Violation::TwoWriters { token: 1, .. }),
        "{violation}"
    );
    Ok(())
}

#[test]
fn every_kind_of_violation_is_found() -> Result<(), Failure> {
    let good = "entry=1 token=1 writer=a what=begin\nentry=2 token=3 writer=b what=begin\n";
    let found = |more: &str| {
        let folder = Folder::new("violations")?;
        let file = file_in(&folder.0);
        fs::write(&file, format!("{good}{more}"))?;
        Ok::<_, Failure>(audit(&file, [("a", 1, 1)]).map(|audit| audit.entries.len()))
    };
    assert!(matches!(found("")?, Ok(2)));
    assert!(matches!(
        found("entry=3 token=3 writer=b what=tick\n")?,
        Ok(3)
    ));
    assert!(matches!(found("entry=3 token=3 wri")?, Ok(2)));
    assert!(matches!(
        found("entry=3 token=3 writer=a what=tick\n")?,
        Err(Violation::TwoWriters { token: 3, .. })
    ));
    assert!(matches!(
        found("entry=3 token=2 writer=a what=tick\n")?,
        Err(Violation::TokenWentBack { from: 3, .. })
    ));
    for number in [2, 4] {
        assert!(matches!(
            found(&format!("entry={number} token=3 writer=b what=tick\n"))?,
            Err(Violation::Gap { expected: 3, .. })
        ));
    }
    assert!(matches!(found("token=3\n")?, Err(Violation::Unreadable(_))));

    let folder = Folder::new("lost")?;
    let file = file_in(&folder.0);
    fs::write(&file, good)?;
    assert!(audit(&file, [("a", 1, 1), ("b", 3, 2)]).is_ok());
    for (writer, token, number) in [("a", 3, 2), ("b", 2, 2), ("b", 3, 3), ("b", 3, 0)] {
        let lost = audit(&file, [("a", 1, 1), (writer, token, number)]);
        assert!(matches!(lost, Err(Violation::Lost { .. })), "{lost:?}");
    }
    Ok(())
}

#[test]
fn a_file_takes_no_entry_with_an_older_token() -> Result<(), Failure> {
    let folder = Folder::new("older")?;
    let file = file_in(&folder.0);
    let accepted = |number| Outcome::Accepted { number };
    assert_eq!(append(&file, 2, "a", "tick")?, accepted(1));
    assert_eq!(append(&file, 2, "a", "tick")?, accepted(2));
    assert_eq!(append(&file, 4, "b", "tick")?, accepted(3));
    let before = fs::read(&file)?;
    for old in [2, 3] {
        let refused = Outcome::Refused { newest: 4 };
        assert_eq!(append(&file, old, "a", "tick")?, refused);
    }
    assert_eq!(fs::read(&file)?, before);

    // A line that was cut off counts for nothing, and the next entry takes its place.
    fs::write(
        &file,
        [
            &before[..],
            b"entry=4 token=9 writer=somebody-with-a-long-name what=ti",
        ]
        .concat(),
    )?;
    assert_eq!(append(&file, 4, "b", "tick")?, accepted(4));
    assert!(fs::read(&file)?.ends_with(b"token=4 writer=b what=tick\n"));
    assert_eq!(audit(&file, [])?.entries.len(), 4);
    // What is no entry at all is not written over.
    fs::write(&file, "a shopping list\n")?;
    assert!(append(&file, 9, "b", "tick").is_err());
    assert_eq!(fs::read(&file)?, b"a shopping list\n");
    Ok(())
}

#[test]
fn no_entry_is_lost_among_writers_at_the_same_time() -> Result<(), Failure> {
    let folder = Folder::new("crowd")?;
    let file = file_in(&folder.0);
    std::thread::scope(|scope| {
        let writers = [(); 8].map(|()| {
            scope.spawn(|| (0..100).try_for_each(|_| append(&file, 1, "a", "tick").map(drop)))
        });
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("no panic"))
    })?;
    assert_eq!(audit(&file, [])?.entries.len(), 800);
    Ok(())
}

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self, Failure> {
        let name = format!("singleton-{}-{name}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
