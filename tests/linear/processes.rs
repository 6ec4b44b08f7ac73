//! Real processes of the example `kv`, which are killed, stopped and cut off from each other while clients use them.
//!
//! `STREAMRAFT_SECONDS` says for how long things go wrong (12 by default), `STREAMRAFT_SEED` what and when (1 by default).
//! What the processes make of it does not come out of the seed.

mod asking;
mod nodes;
mod ways;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value as Json;
use streamraft::sim::Dice;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep};

use crate::book::Key;
use crate::history::{Op, Ret};
use crate::{ms, number};
use asking::{Asker, Heard, World};
use nodes::Nodes;

/// For how long all nodes may take to have everything when nothing goes wrong any more.
const HEALING: Duration = Duration::from_secs(30);

const CLIENTS: u64 = 6;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Kill,
    KillAll,
    Stop,
    Isolate,
    Mute,
    Deafen,
    /// One is cut off, and another is killed meanwhile.
    IsolateAndKill,
}

const ALL: &[Kind] = &[
    Kind::Kill,
    Kind::Kill,
    Kind::KillAll,
    Kind::Stop,
    Kind::Stop,
    Kind::Isolate,
    Kind::Isolate,
    Kind::Mute,
    Kind::Deafen,
    Kind::IsolateAndKill,
];

/// Each kind as often as it is named, in another order every time round.
#[derive(Debug)]
struct Troubles {
    kinds: &'static [Kind],
    left: Vec<Kind>,
    counts: BTreeMap<Kind, u64>,
    newest_term: u64,
}

impl Troubles {
    fn new(kinds: &'static [Kind]) -> Self {
        Self {
            kinds,
            left: Vec::new(),
            counts: BTreeMap::new(),
            newest_term: 0,
        }
    }

    fn next(&mut self, dice: &mut Dice) -> Kind {
        if self.left.is_empty() {
            self.left = self.kinds.to_vec();
        }
        let kind = self.left.swap_remove(dice.below(self.left.len()));
        *self.counts.entry(kind).or_default() += 1;
        kind
    }
}

/// What a node says of itself.
async fn status(asker: &Asker, node: SocketAddr) -> Option<Json> {
    let heard = tokio::time::timeout(ms(400), asker.get(node, "/status")).await;
    match heard {
        Ok(Heard::Answer(StatusCode::OK, _, body)) => serde_json::from_slice(&body).ok(),
        _ => None,
    }
}

fn field(status: &Json, name: &str) -> Option<u64> {
    status.get(name)?.as_u64()
}

/// Whoever leads in the newest term, as far as anybody can be asked; else anybody.
async fn leader(nodes: &Nodes, asker: &Asker, all: &mut Troubles, dice: &mut Dice) -> u64 {
    let mut newest = (0, 1 + dice.up_to(2));
    for node in &nodes.nodes {
        let Some(status) = status(asker, node.http).await else {
            continue;
        };
        let term = field(&status, "term").unwrap_or(0);
        all.newest_term = all.newest_term.max(term);
        if let Some(leader) = field(&status, "leader").filter(|_| term > newest.0) {
            newest = (term, leader);
        }
    }
    newest.1
}

/// One thing that goes wrong, and its end.
async fn trouble(nodes: &mut Nodes, kind: Kind, who: u64, dice: &mut Dice) -> io::Result<()> {
    let others: Vec<u64> = nodes.others(who).collect();
    let other = others[dice.below(others.len())];
    let out = || others.iter().map(|other| (who, *other));
    let into = || others.iter().map(|other| (*other, who));
    let long = ms(200 + dice.up_to(1_600));
    match kind {
        Kind::Kill => nodes.node(who).kill(),
        Kind::KillAll => nodes.nodes.iter_mut().for_each(nodes::Node::kill),
        Kind::Stop => nodes.node(who).signal("STOP"),
        Kind::Isolate | Kind::IsolateAndKill => nodes.ways.cut(out().chain(into())),
        Kind::Mute => nodes.ways.cut(out()),
        Kind::Deafen => nodes.ways.cut(into()),
    }
    if kind == Kind::IsolateAndKill {
        sleep(long).await;
        nodes.node(other).kill();
    }
    sleep(if kind == Kind::KillAll { ms(50) } else { long }).await;
    if kind == Kind::Stop {
        nodes.node(who).signal("CONT");
    }
    nodes.ways.mend();
    nodes.revive()
}

/// Waits until all nodes have applied everything that was acknowledged.
async fn heal(nodes: &mut Nodes, world: &World) -> Result<(), String> {
    let end = Instant::now() + HEALING;
    loop {
        let mut behind = Vec::new();
        for node in &mut nodes.nodes {
            let status = status(&world.asker, node.http).await.unwrap_or_default();
            if field(&status, "applied") < Some(world.newest())
                || field(&status, "leader").is_none()
            {
                behind.push((node.id, status));
            }
        }
        if behind.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{HEALING:?} after the last fault: {behind:?}"));
        }
        sleep(ms(100)).await;
    }
}

/// Reads every key again, through whichever node answers, until each node's own state is the same: soon, as nobody writes.
async fn read_all(nodes: &Nodes, world: &World) -> Result<(), String> {
    let keys = world.book.borrow().histories.len();
    for key in 0..keys {
        let end = Instant::now() + HEALING;
        loop {
            let number = world.book.borrow_mut().histories[key].asks(Op::Get);
            let read = read(nodes, world, key, end).await?;
            world.book.borrow_mut().histories[key].told(number, Ret::Got(read));
            let mut others = Vec::new();
            for node in &nodes.nodes {
                let path = format!("/kv/{key}?stale");
                match world.asker.get(node.http, &path).await {
                    Heard::Answer(_, _, body) if value(&body) == read => {}
                    _ => others.push(node.id),
                }
            }
            if others.is_empty() {
                break;
            }
            if Instant::now() > end {
                return Err(format!("key {key}: read: {read:?}; not so on {others:?}"));
            }
            sleep(ms(100)).await;
        }
    }
    Ok(())
}

/// What a key holds, as one node says or whoever it sends us to.
async fn read(nodes: &Nodes, world: &World, key: Key, end: Instant) -> Result<Option<u64>, String> {
    let first = nodes.nodes[key % nodes.nodes.len()].http;
    let (mut node, mut heard) = (first, Vec::new());
    while Instant::now() < end {
        let answer = world.asker.get(node, &format!("/kv/{key}")).await;
        let asked = node;
        match answer {
            Heard::Answer(_, _, body) => return Ok(value(&body)),
            Heard::Elsewhere(there) => node = there,
            _ => {
                node = first;
                sleep(ms(50)).await;
            }
        }
        heard.push((asked, answer));
    }
    let last = heard.split_off(heard.len().saturating_sub(6));
    Err(format!("no answer for key {key}, at last: {last:?}"))
}

/// Nothing, of a body that says why there is none.
fn value(body: &[u8]) -> Option<u64> {
    str::from_utf8(body).ok()?.parse().ok()
}

/// Runs clients and troubles, and asks the checker what it thinks of all that they were told.
async fn run(
    seed: u64,
    time: Duration,
    kinds: &'static [Kind],
    stale: bool,
) -> Result<String, String> {
    let failed = |error: io::Error| error.to_string();
    let mut nodes = Nodes::start(&format!("{seed}-{stale}"))
        .await
        .map_err(failed)?;
    let addresses = nodes.nodes.iter().map(|node| node.http).collect();
    let world = Rc::new(World::new(addresses, stale));
    heal(&mut nodes, &world).await?;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn_local(Rc::clone(&world).client(seed << 8 | client));
    }
    let (mut dice, mut all) = (Dice::new(seed), Troubles::new(kinds));
    let begun = Instant::now();
    while begun.elapsed() < time {
        sleep(ms(dice.up_to(600))).await;
        let leader = leader(&nodes, &world.asker, &mut all, &mut dice).await;
        let is_leader = dice.chance(600);
        let who = if is_leader { leader } else { 1 + dice.up_to(2) };
        let kind = all.next(&mut dice);
        let done = trouble(&mut nodes, kind, who, &mut dice).await;
        done.map_err(failed)?;
    }
    heal(&mut nodes, &world).await?;
    world.is_over.set(true);
    while let Some(client) = clients.join_next().await {
        client.map_err(|error| error.to_string())?;
    }
    heal(&mut nodes, &world).await?;
    world.resolve();
    if !stale {
        read_all(&nodes, &world).await?;
    }
    let mut book = world.book.borrow_mut();
    if let Err(error) = book.check() {
        // Nothing is wrong with the processes if their own states were read.
        nodes.is_well = stale;
        return Err(error);
    }
    nodes.is_well = true;
    let faults = all.counts.values().sum::<u64>();
    Ok(format!(
        "{} asked_again={} faults={faults} {:?} newest_term={} seconds={}",
        book.counts,
        world.again.get(),
        all.counts,
        all.newest_term,
        begun.elapsed().as_secs()
    ))
}

#[tokio::test]
async fn processes_that_are_killed_stopped_and_cut_off_tell_of_one_register_a_key() {
    let seconds = number("STREAMRAFT_SECONDS").unwrap_or(12);
    let seed = number("STREAMRAFT_SEED").unwrap_or(1);
    let run = run(seed, Duration::from_secs(seconds), ALL, false);
    match LocalSet::new().run_until(run).await {
        Ok(done) => println!("evidence | linearizability, processes | {done}"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn reads_of_nodes_own_states_are_found_out() {
    let run = run(1, Duration::from_secs(6), &[Kind::Isolate], true);
    let error = LocalSet::new().run_until(run).await.unwrap_err();
    assert!(error.contains("no order of these"), "{error}");
}
