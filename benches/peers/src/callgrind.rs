//! Instructions by valgrind, which runs this program again and counts what it does inside of [`measured`].

use std::env;
use std::hint::black_box;
use std::io::{self, ErrorKind};
use std::process::{Command, Output};
use std::thread;

use crate::{election, log, streams};

/// How often each piece of work is done under valgrind. Its figures do not vary.
const TIMES: usize = 200;

/// Its name is what valgrind counts by, so it has to stay a function of its own.
#[inline(never)]
pub fn measured(work: &mut dyn FnMut()) {
    black_box(work)();
}

/// Does a piece of work so often, the counted part of it inside of [`measured`]. `false`: there is no such work.
pub fn repeat(work: &str, name: &str, nodes: u64) -> bool {
    if work == "propose" {
        return log::repeat(name, nodes, TIMES);
    }
    if name == "streamraft-streams" {
        return streams::repeat(work, nodes, TIMES);
    }
    let make = || election::make(name, nodes);
    if make().is_none() {
        return false;
    }
    match work {
        "round" => {
            let mut cluster = election::at_work(name, nodes).expect("it was made before");
            measured(&mut || (0..TIMES).for_each(|_| cluster.round()));
        }
        "cold" => {
            let mut clusters: Vec<_> = (0..TIMES).filter_map(|_| make()).collect();
            measured(&mut || clusters.iter_mut().for_each(|cluster| cluster.elect()));
        }
        _ => return false,
    }
    true
}

/// Whether valgrind is there.
pub fn is_installed() -> bool {
    let asked = Command::new("valgrind").arg("--version").output();
    !asked.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The instructions of each of these pieces of work, as many at a time as there are cores.
///
/// # Errors
/// valgrind does not run, or says nothing of what it collected.
pub fn count(works: &[(&str, &str, u64)]) -> io::Result<Vec<u64>> {
    let at_a_time = thread::available_parallelism().map_or(1, usize::from);
    let mut counts = Vec::new();
    for some in works.chunks(at_a_time) {
        let counted = thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|work| scope.spawn(|| count_one(work)))
                .collect();
            let ended = running.into_iter().map(|one| one.join());
            ended.collect::<Result<Vec<_>, _>>()
        });
        for count in counted.map_err(|_| io::Error::other("a thread panicked"))? {
            counts.push(count?);
        }
    }
    Ok(counts)
}

fn count_one((work, name, nodes): &(&str, &str, u64)) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*measured*")
        .arg(env::current_exe()?)
        .args([*work, *name, &nodes.to_string()])
        .output()?;
    let collected = collected(&output).filter(|count| *count > 0);
    let collected = collected.ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!(
            "{work} {name} {nodes}: valgrind counted nothing: {said}"
        ))
    })?;
    Ok(collected / TIMES as u64)
}

/// From the line `Collected : 123`.
fn collected(output: &Output) -> Option<u64> {
    let said = String::from_utf8_lossy(&output.stderr);
    let (_, rest) = said.split_once("Collected :")?;
    rest.split_whitespace().next()?.parse().ok()
}
