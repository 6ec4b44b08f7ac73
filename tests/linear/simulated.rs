//! Histories of clients of the simulated log, under random faults, over many seeds.
//!
//! `STREAMRAFT_SEEDS` says how many; `STREAMRAFT_FIRST_SEED` with which to begin; `STREAMRAFT_SEED` runs one of them again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use streamraft::Command;
use streamraft::raft::LogLimits;
use streamraft::sim::{
    Boot, Cluster, Conditions, Dice, Failure, Fault, LogInput, LogNode, Machine, Timing, Who,
};

use crate::book::{Book, Counts};
use crate::clients::{Client, Nodes, Trick, pass};
use crate::history::{Op, Ret};
use crate::kv::Kv;
use crate::{ms, number};

/// As many as a plain `cargo test` has time for.
const FEW: u64 = if cfg!(debug_assertions) { 200 } else { 2_000 };

/// The longest that a cluster may take to be led again when all faults are over.
const HEALING: Duration = Duration::from_secs(20);

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) seeds: u64,
    counts: Counts,
    faults: u64,
    elections: u64,
    /// How often a state machine became what a snapshot held, of its own disk or of its leader.
    restored: u64,
    /// Runs after which there could be no quorum any more.
    stranded: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.faults += other.faults;
        self.elections += other.elections;
        self.restored += other.restored;
        self.stranded += other.stranded;
        self.counts.add(&other.counts);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seeds,
            counts,
            faults,
            elections,
            restored,
            stranded,
        } = self;
        write!(
            f,
            "seeds={seeds} faults={faults} elections={elections} restored={restored} stranded={stranded} {counts}"
        )
    }
}

/// Another sort of cluster for every seed: one to five voters, up to two that may join, up to two in the place of who loses its disk.
fn build(seed: u64, trick: Trick, restored: &Rc<Cell<u64>>) -> Result<Nodes, String> {
    let mut dice = Dice::new(seed ^ 0x11);
    let voters = dice.pick(&[1, 2, 3, 3, 3, 5]).copied().unwrap_or(3);
    let (joiners, spares) = (dice.up_to(2), dice.up_to(2));
    let leadership = dice.pick(&[100, 150, 300, 600]).copied().unwrap_or(150);
    let drift = dice.pick(&[0.1, 0.3, 0.5]).copied().unwrap_or(0.1);
    let slow_disk = dice.pick(&[0, 3, 9]).copied().unwrap_or(0);
    let timing = Timing::new(ms(150), ms(40))
        .leadership_timeout(ms(leadership))
        .max_clock_drift(drift);
    let restored = Rc::clone(restored);
    let make = move |boot: &Boot<'_, LogNode<u64>>| {
        let kv = Kv::new(
            boot.seed,
            Rc::clone(&restored),
            trick == Trick::ForgetfulSnapshots,
        );
        Ok(LogNode::new(boot, limits(boot.seed))?.with_state(kv))
    };
    Cluster::of(1..=voters, make)
        .joiners(voters + 1..=voters + joiners)
        .spares(voters + joiners + 1..=voters + joiners + spares)
        .timing(timing)
        .conditions(Conditions::good().disk(Duration::ZERO, ms(slow_disk)))
        .build(seed)
        .map_err(|failure| failure.to_string())
}

/// Bounds so small that they are met, others at every start.
fn limits(seed: u64) -> LogLimits {
    let mut dice = Dice::new(seed);
    let mut some = |of: &[u64]| dice.pick(of).copied().unwrap_or_default();
    let message = some(&[40, 200, 1_000]) as usize;
    let (window, unsettled) = (some(&[60, 300, 1_000]), some(&[300, 3_000]));
    LogLimits::default()
        .message(message)
        .window(window)
        .unsettled(unsettled.max(window))
        .cache(some(&[0, 100, 10_000]))
        .trailing(some(&[0, 3, 100]))
}

/// One thing that goes wrong, or that is asked of the cluster.
fn fault(nodes: &Nodes, dice: &mut Dice) -> Fault<u64, LogInput<u64>> {
    let timing = *nodes.world().timing();
    let ids: Vec<u64> = nodes.world().running().map(|(id, _)| *id).collect();
    let mut node = || Who::Node(dice.pick(&ids).copied().unwrap_or(1));
    let (one, other) = (node(), node());
    let who = if dice.chance(500) { Who::Leader } else { one };
    let side = |dice: &mut Dice| ids.iter().copied().filter(|_| dice.chance(500)).collect();
    let some = ms(dice.up_to(600));
    match dice.up_to(24) {
        0 => Fault::Crash(who),
        1 => Fault::Restart(who),
        2 => Fault::Restart(Who::All),
        3 => Fault::StartAll,
        4 => Fault::LoseDisk(other),
        5 => Fault::Cut(who, other),
        6 => Fault::Part(who, other),
        7 => Fault::Isolate(who),
        8 => Fault::Split(side(dice)),
        9 => Fault::Mute(who),
        10 | 11 => Fault::Mend,
        12 => Fault::Pause(who, some),
        13 => Fault::Stall(who, some / 2),
        14 => {
            let most = timing.most_ppm();
            let ppm = dice.pick(&[-most, most, 0]).copied().unwrap_or(0);
            Fault::Rate(other, ppm)
        }
        15 => Fault::Conditions(weather(dice)),
        16 => Fault::Ask(Who::Leader, LogInput::Command(Command::Resign)),
        17 => Fault::Ask(Who::All, LogInput::Command(Command::SetNodes(side(dice)))),
        18 => {
            let to = dice.pick(&ids).copied().unwrap_or(1);
            Fault::Ask(Who::Leader, LogInput::Command(Command::Transfer(to)))
        }
        19 | 20 => Fault::Ask(who, LogInput::Compact),
        21 => Fault::Ask(Who::All, LogInput::Compact),
        _ => Fault::Isolate(Who::Leader),
    }
}

fn weather(dice: &mut Dice) -> Conditions {
    let mut some = |of: &[u16]| dice.pick(of).copied().unwrap_or_default();
    let (loss, double, late) = (some(&[0, 0, 50, 200]), some(&[0, 100]), some(&[0, 50, 200]));
    Conditions::good()
        .delay(Duration::ZERO, ms(some(&[1, 5, 20]).into()))
        .loss(loss)
        .duplication(double)
        .late(late, ms(some(&[150, 400]).into()))
        .disk(Duration::ZERO, ms(some(&[0, 2, 20]).into()))
}

/// One run, and the check of all that clients were told in it.
fn run(seed: u64, trick: Trick) -> Result<Summary, String> {
    let mut dice = Dice::new(seed);
    let restored = Rc::default();
    let mut nodes = build(seed, trick, &restored)?;
    let mut book = Book::new();
    let mut summary = Summary {
        seeds: 1,
        ..Summary::default()
    };
    live(&mut nodes, trick, &mut book, &mut dice, &mut summary)?;
    summary.restored = restored.get();
    summary.elections = nodes.world().summary().elections;
    book.check()
        .map_err(|error| format!("seed {seed}: {error}\n{}", nodes.chart()))?;
    summary.counts = book.counts;
    Ok(summary)
}

/// All that happens in a run.
fn live(
    nodes: &mut Nodes,
    trick: Trick,
    book: &mut Book,
    dice: &mut Dice,
    summary: &mut Summary,
) -> Result<(), String> {
    let failed = |failure: Failure| failure.to_string();
    let mut clients: Vec<Client> = (0..2 + dice.up_to(3))
        .map(|_| Client::new(trick, dice))
        .collect();
    let steps = 5 + dice.up_to(40);
    let longest = dice.pick(&[100, 300, 600]).copied().unwrap_or(200);
    pass(nodes, ms(400), &mut clients, book, dice).map_err(failed)?;
    for _ in 0..steps {
        let fault = fault(nodes, dice);
        nodes.apply(&fault).map_err(failed)?;
        summary.faults += 1;
        let gap = ms(dice.up_to(longest));
        pass(nodes, gap, &mut clients, book, dice).map_err(failed)?;
    }
    nodes.recover().map_err(failed)?;
    if settled(nodes)?.is_some() {
        pass(nodes, ms(300), &mut clients, book, dice).map_err(failed)?;
    }
    let is_read = read_all(nodes, book)?;
    summary.stranded += u64::from(!is_read);
    Ok(())
}

/// Who leads now that nothing goes wrong; nobody if a change of the voters that had begun has ended with such as are gone.
fn settled(nodes: &mut Nodes) -> Result<Option<u64>, String> {
    match nodes.settle(HEALING) {
        Ok(leader) => Ok(Some(leader)),
        Err(_) if !nodes.world().could_settle() => Ok(None),
        Err(failure) => Err(failure.to_string()),
    }
}

/// When all is over, one more read of every key: what was acknowledged is there. False if there can be no leader any more.
fn read_all(nodes: &mut Nodes, book: &mut Book) -> Result<bool, String> {
    let failed = |failure: Failure| failure.to_string();
    let end = nodes.world().now() + HEALING;
    while nodes.world().now() < end {
        let Some(leader) = settled(nodes)? else {
            return Ok(false);
        };
        let asked = nodes.call(&leader, |node, now| {
            node.ask(now, LogInput::Read).then(|| node.reads_asked())
        });
        let Some(read) = asked.map_err(failed)?.flatten() else {
            nodes.run(ms(10)).map_err(failed)?;
            continue;
        };
        let is_answered = |node: &LogNode<u64>| {
            let mut answers = node.reads_answered().iter();
            answers.any(|answer| answer.number == read)
        };
        let told = nodes.run_until(ms(1_000), |world| {
            world.node(&leader).is_some_and(is_answered)
        });
        let node = nodes.world().node(&leader);
        let kv = node.and_then(|node| node.state::<Kv>());
        if let (Some(_), Some(kv)) = (told.map_err(failed)?, kv) {
            for (key, history) in book.histories.iter_mut().enumerate() {
                let number = history.asks(Op::Get);
                history.told(number, Ret::Got(kv.get(key)));
            }
            return Ok(true);
        }
    }
    Err(format!(
        "nobody answers a read {HEALING:?} after the faults"
    ))
}

/// Runs seeds on all cores until none is left or, if that is wanted, one has failed. What they did, and who failed.
fn run_all(seeds: Range<u64>, trick: Trick, stops: bool) -> (Summary, BTreeMap<u64, String>) {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let work = || {
        let (mut all, mut failures) = (Summary::default(), BTreeMap::new());
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match run(seed, trick) {
                Ok(summary) => all.add(&summary),
                Err(error) => {
                    failures.insert(seed, error);
                    stop.store(stops, Ordering::Relaxed);
                }
            }
        }
        (all, failures)
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (mut all, mut failures) = (Summary::default(), BTreeMap::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (summary, failed) = worker.join().unwrap();
            all.add(&summary);
            failures.extend(failed);
        }
    });
    (all, failures)
}

#[test]
fn whatever_goes_wrong_clients_see_one_register_a_key() {
    let begun = Instant::now();
    let first = number("STREAMRAFT_FIRST_SEED").unwrap_or(0);
    let seeds = match number("STREAMRAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("STREAMRAFT_SEEDS").unwrap_or(FEW),
    };
    let (all, failures) = run_all(seeds, Trick::Nothing, number("STREAMRAFT_COUNT").is_none());
    if let Some((seed, error)) = failures.first_key_value() {
        let by_checker = failures
            .values()
            .filter(|error| is_of_checker(error))
            .count();
        panic!(
            "{} seeds fail, {by_checker} by the checker; {seed}: {error}",
            failures.len()
        );
    }
    println!(
        "evidence | linearizability, simulated | {all} seconds={:.1}",
        begun.elapsed().as_secs_f64()
    );
    // What a run is for happened.
    let counts = all.counts;
    let each = [
        counts.writes,
        counts.swaps_refused,
        counts.leased,
        counts.reads - counts.leased,
        counts.open,
        all.restored,
    ];
    assert!(
        all.seeds < 100 || each.iter().all(|count| *count > all.seeds),
        "{each:?}"
    );
}

fn is_of_checker(error: &str) -> bool {
    error.contains("no order of these")
}

/// In how many of some seeds the checker finds that something is wrong.
fn found(trick: Trick) -> usize {
    let (_, failures) = run_all(0..40, trick, false);
    println!("{trick:?}: found in {} of 40 seeds", failures.len());
    for error in failures.values() {
        assert!(is_of_checker(error), "{error}");
    }
    failures.len()
}

#[test]
fn what_is_wrong_with_reads_or_writes_is_found() {
    assert!(found(Trick::LocalReads) > 20);
    assert!(found(Trick::LeaderReads) > 4);
    assert!(found(Trick::EarlyAcks) > 10);
    assert!(found(Trick::ForgetfulSnapshots) > 4);
}
