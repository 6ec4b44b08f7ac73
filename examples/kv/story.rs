//! Three nodes as processes of their own, clients that write and read all the while, and each node killed in turn. What was
//! acknowledged must be there at the end, on all of them.

mod check;
mod ledger;
mod load;
mod processes;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Failure;
use super::stop;
use check::check;
use ledger::Ledger;
use load::Load;
use processes::Processes;

/// Three nodes can lose one.
const NODES: u64 = 3;

/// How long clients work between two events.
const WORK: Duration = Duration::from_millis(700);

/// Nothing takes that long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(50);

pub(crate) async fn run() -> Result<(), Failure> {
    let mut processes = Processes::new(NODES)?;
    let told = tokio::select! {
        told = timeout(PATIENCE, tell(&mut processes)) => {
            told.unwrap_or_else(|_| Err(format!("not done after {PATIENCE:?}").into()))
        }
        asked = stop::asked() => asked.map_err(Failure::from).and(Err("interrupted".into())),
    };
    if told.is_err() {
        eprintln!("{}", processes.last_words());
    }
    processes.end().await;
    told
}

/// The story so far, line by line.
struct Teller(Instant);

impl Teller {
    fn say(&self, what: &str) {
        println!("{:7.3}s  {what}", self.0.elapsed().as_secs_f64());
    }
}

async fn tell(processes: &mut Processes) -> Result<(), Failure> {
    let teller = Teller(Instant::now());
    for id in 1..=NODES {
        processes.start(id)?;
    }
    let leader = processes.leader(0).await?;
    teller.say(&format!("{} leads in term {}", leader.id, leader.term));

    let ledger = Arc::new(Ledger::default());
    let mut load = Load::start(&processes.addresses(), &ledger).await?;
    let (writers, readers) = load.sizes();
    teller.say(&format!(
        "{writers} clients write and {readers} read, all the while"
    ));
    let course = async {
        sleep(WORK).await;
        // The leader, and then the other two, whoever leads by then.
        let others = (1..=NODES).filter(|id| *id != leader.id);
        for id in [leader.id].into_iter().chain(others) {
            kill_one(&teller, processes, &ledger, id).await?;
        }
        kill_all(&teller, processes, &ledger).await
    };
    tokio::select! {
        done = course => done?,
        fault = load.fault() => return Err(fault),
    }

    let written = load.stop().await?;
    teller.say(&format!(
        "the clients stop: {} writes acknowledged, {} reads, none of which went back",
        ledger.writes(),
        ledger.reads(),
    ));
    for id in 1..=NODES {
        processes.caught_up(id, ledger.newest()).await?;
        let checked = check(&processes.address(id), &written).await?;
        teller.say(&format!("{id} has all of them, each made once: {checked}"));
    }
    Ok(())
}

/// Kills a node, lets the others go on without it, starts it again and waits until it has what it has missed.
async fn kill_one(
    teller: &Teller,
    processes: &mut Processes,
    ledger: &Ledger,
    id: u64,
) -> Result<(), Failure> {
    let before = processes.leader(0).await?;
    let killed = Instant::now();
    processes.kill(id).await?;
    let writes = ledger.writes();
    if before.id == id {
        teller.say(&format!(
            "kill -9 of {id}, which leads; {writes} writes were acknowledged"
        ));
        let after = processes.leader(before.term + 1).await?;
        let without = killed.elapsed().as_millis();
        teller.say(&format!(
            "{} leads in term {}: {without} ms without a leader",
            after.id, after.term
        ));
    } else {
        teller.say(&format!(
            "kill -9 of {id}, which follows; {writes} writes were acknowledged"
        ));
    }
    sleep(WORK).await;
    let pause = ledger.longest_pause(killed).as_millis();
    let more = ledger.writes() - writes;
    teller.say(&format!(
        "{more} writes without {id}; the longest pause was {pause} ms"
    ));
    come_back(teller, processes, ledger, id).await
}

/// The power of all of them goes at once.
async fn kill_all(
    teller: &Teller,
    processes: &mut Processes,
    ledger: &Ledger,
) -> Result<(), Failure> {
    let before = processes.leader(0).await?;
    let killed = Instant::now();
    for id in 1..=NODES {
        processes.kill(id).await?;
    }
    let writes = ledger.writes();
    teller.say(&format!(
        "kill -9 of all three; {writes} writes were acknowledged"
    ));
    for id in 1..=NODES {
        processes.start(id)?;
    }
    let after = processes.leader(before.term + 1).await?;
    let without = killed.elapsed().as_millis();
    teller.say(&format!(
        "started again: {} leads in term {}, {without} ms after the kill",
        after.id, after.term
    ));
    sleep(WORK).await;
    Ok(())
}

async fn come_back(
    teller: &Teller,
    processes: &mut Processes,
    ledger: &Ledger,
    id: u64,
) -> Result<(), Failure> {
    let (started, goal) = (Instant::now(), ledger.newest());
    processes.start(id)?;
    processes.caught_up(id, goal).await?;
    let took = started.elapsed().as_millis();
    let how = processes.restored(id);
    teller.say(&format!(
        "{id} is back: it has entry {goal} after {took} ms, {how}"
    ));
    sleep(WORK).await;
    Ok(())
}
