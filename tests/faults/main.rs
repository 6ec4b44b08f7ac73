//! Real faults: five members of the example `singleton`, each a process with its own network, disk and clock, and a
//! writer per leader to a file that refuses old tokens. Whatever happens, nothing that was written is lost, and no two
//! write with one token.
//!
//! It needs Linux, namespaces (root, or user namespaces that are allowed), `ip`, `iptables`, and for wrong clocks
//! `libfaketime`: `apt-get install iproute2 iptables faketime`. Without them it is skipped, and says so.
//!
//! ```text
//! STREAMRAFT_FAULTS=500 STREAMRAFT_SEED=7 cargo test --test faults -- --nocapture
//! ```
//!
//! runs that many faults (15 by default, each kind once) from that seed (1 by default). The schedule comes out of the
//! seed; what the processes make of it, and so whom a fault hits that is for the leader, does not. With a number of
//! faults given, a machine that cannot run them is an error. If a run fails, its folder stays, with the log.
#![cfg(all(target_os = "linux", feature = "tcp", feature = "file"))]

#[path = "../../examples/singleton/audit.rs"]
mod audit;
#[path = "../../examples/singleton/crew.rs"]
mod crew;
#[path = "../../examples/singleton/entry.rs"]
mod entry;
mod members;
mod network;
mod notes;
mod plan;
#[path = "../support/program.rs"]
mod program;
mod proxy;
#[path = "../../examples/singleton/report.rs"]
mod report;
mod sandbox;
mod trial;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use network::NODES;
use plan::{Kind, Plan};
use trial::Trial;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const FAULTS: &str = "STREAMRAFT_FAULTS";
const SEED: &str = "STREAMRAFT_SEED";

/// After so many faults all of them are ended, and somebody must write again.
const UNTIL_CALM: u64 = 8;

fn number(variable: &str, default: u64) -> u64 {
    let value = env::var(variable).ok();
    value.map_or(default, |value| {
        let number = value.parse();
        number.unwrap_or_else(|_| panic!("{variable}={value} is no number"))
    })
}

#[test]
fn nothing_is_lost_and_no_token_has_two_writers_whatever_fails() {
    if let Some(folder) = sandbox::inside() {
        return run(&folder).unwrap_or_else(|error| panic!("{error}"));
    }
    let options = match sandbox::permitted() {
        Ok(options) => options,
        Err(why) if env::var_os(FAULTS).is_none() => {
            return sandbox::aloud(&format!("skipped | real faults | {why}"));
        }
        Err(why) => panic!("{FAULTS} asks for faults, which cannot be made here: {why}"),
    };
    program::of_example("singleton");
    let name = format!("faults-{}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder for tests");
    let test = "nothing_is_lost_and_no_token_has_two_writers_whatever_fails";
    sandbox::enter(&options, test, &folder)
        .unwrap_or_else(|error| panic!("{error}; see {}", folder.join("log").display()));
    let _ = std::fs::remove_dir_all(&folder);
}

/// What is measured, for the line of evidence.
#[derive(Default)]
struct Figures {
    seed: u64,
    kinds: BTreeMap<Kind, u64>,
    recoveries: Vec<Duration>,
    /// Packets that a cut has swallowed.
    dropped: u64,
    /// Lives long enough to see that their clock was wrong.
    clocks: usize,
}

fn run(folder: &Path) -> Result<(), Failure> {
    let (faults, seed) = (number(FAULTS, 15), number(SEED, 1));
    let started = Instant::now();
    let mut plan = Plan::new(seed, NODES);
    let mut trial = Trial::new(&program::of_example("singleton"), folder, &mut plan)?;
    let mut figures = Figures {
        seed,
        ..Figures::default()
    };
    if sandbox::faketime().is_none() {
        println!("skipped | real faults | wrong clocks: libfaketime is not installed");
    }
    for number in 1..=faults {
        let leader = trial.notes.leader.map(|(leader, _)| leader);
        let fault = plan.fault(leader);
        while !trial.bears(&fault) {
            trial.pass(Duration::from_millis(50))?;
        }
        let who = trial.notes.leader;
        trial
            .notes
            .say(&format!("fault {number}: {fault}; leader {who:?}"))?;
        trial.begin(&fault, &mut plan)?;
        *figures.kinds.entry(fault.kind).or_default() += 1;
        trial.pass(plan.time(200..2000))?;
        if number % UNTIL_CALM == 0 || number == faults {
            let took = trial.settle()?;
            figures.recoveries.push(took);
            let audit = trial.look()?;
            trial
                .notes
                .say(&format!("calm after {took:.1?}: {audit}"))?;
        }
    }
    let audit = trial.check()?;
    assert!(figures.kinds.len() as u64 >= faults.min(15));
    assert!(audit.entries.len() as u64 > faults);
    for node in 1..=NODES {
        figures.dropped += sandbox::dropped(node)?;
    }
    assert!(figures.dropped > 0 || faults < 15);
    figures.clocks = trial.wrong_clocks()?;
    report(&trial, figures, &audit, started.elapsed());
    Ok(())
}

fn report(trial: &Trial, mut figures: Figures, audit: &audit::Audit, time: Duration) {
    let faults: u64 = figures.kinds.values().sum();
    let minutes = time.as_secs_f64() / 60.0;
    let notes = &trial.notes;
    figures.recoveries.sort();
    let recoveries = &figures.recoveries;
    let median = recoveries.get(recoveries.len() / 2).copied();
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let frames = &trial.network.counts;
    println!("kinds: {:?}", figures.kinds);
    println!(
        "packets dropped: {}; frames by proxy: {} passed, {} delayed, {} overtaken, {} duplicated, {} lost",
        figures.dropped,
        count(&frames.passed),
        count(&frames.delayed),
        count(&frames.overtaken),
        count(&frames.duplicated),
        count(&frames.lost),
    );
    println!(
        "lives with a clock seen to be wrong: {}; ended for want of room: {}; entries refused: {}, of writers that had not been stopped: {}; a writer again after all faults had ended: median {:.1?}, most {:.1?}",
        figures.clocks,
        notes.out_of_space.len(),
        notes.refused,
        notes.refused_awake,
        median.unwrap_or_default(),
        recoveries.last().copied().unwrap_or_default(),
    );
    println!(
        "evidence | real faults | faults={faults} kinds={} leaders={} writes={} refused={} violations=0 seed={} minutes={minutes:.1}",
        figures.kinds.len(),
        audit.writers.len(),
        audit.entries.len(),
        notes.refused,
        figures.seed,
    );
}
