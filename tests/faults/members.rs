//! How members are started: each in its network, with its disk and with its clock.
//!
//! `libfaketime`, loaded before libc, makes every clock run at another rate, the monotonic one too, which tokio reads.
//! So timeouts and leases are as wrong as the clock is; that they are is checked by what members say of their time. The
//! days move the wall clock, on which nothing may depend. The rate of a life never changes: the monotonic clock would jump.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Failure;
use super::crew::{Starter, file_in};
use super::network::{NODES, PORT, reached_at};
use super::notes::Life;
use super::plan::Clock;
use super::sandbox;

const OPTIONS: &[&str] = &[
    "--election-timeout",
    "300ms",
    "--heartbeat-interval",
    "30ms",
    "--tick",
    "20ms",
    "--transit",
    "10ms",
];

/// The present clock of each node, and the one that each life began with.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    pub(crate) present: BTreeMap<u8, Clock>,
    lives: BTreeMap<Life, Clock>,
}

/// How long a life must last to tell a wrong clock from a right one: they are 0.7 seconds apart by then.
const LONG_LIFE: Duration = Duration::from_secs(20);

/// By how many seconds a busy machine may be late to hear a report.
const LATE: f64 = 0.5;

impl Clocks {
    /// Whether clocks ran as wrong as they were meant to: how many lives were long enough to tell.
    pub(crate) fn seen_wrong(
        &self,
        lives: &BTreeMap<Life, [(Instant, f64); 2]>,
    ) -> Result<usize, Failure> {
        let mut told = 0;
        for (life, [(began, first), (last, own)]) in lives {
            let time = *last - *began;
            let Some(clock) = self.lives.get(life).filter(|_| time >= LONG_LIFE) else {
                continue;
            };
            let (meant, found) = (time.as_secs_f64() * clock.rate, own - first);
            if (found - meant).abs() > LATE {
                let why = format!("{life:?}: {found:.1} seconds by its clock, not {meant:.1}");
                return Err(why.into());
            }
            told += 1;
        }
        Ok(told)
    }
}

/// Where a member keeps its vote.
pub(crate) fn disk(folder: &Path, node: u8) -> PathBuf {
    folder.join(format!("disk-{node}"))
}

/// Starts members where they live, each with its clock.
pub(crate) fn starter(program: &Path, folder: &Path, clocks: &Rc<RefCell<Clocks>>) -> Starter {
    let (program, folder, clocks) = (program.to_owned(), folder.to_owned(), Rc::clone(clocks));
    let faketime = sandbox::faketime();
    Box::new(move |id, life| {
        let node: u8 = id.parse().unwrap_or_default();
        let mut command = sandbox::at(node, "env");
        let clock = clocks.borrow().present.get(&node).copied();
        if let (Some(faketime), Some(clock)) = (&faketime, clock) {
            let life = (id.to_owned(), life);
            clocks.borrow_mut().lives.insert(life, clock);
            command.arg(format!("LD_PRELOAD={}", faketime.display()));
            command.arg(format!("FAKETIME={:+}d x{}", clock.days, clock.rate));
        }
        command.arg("RUST_LOG=info").arg(&program).args(OPTIONS);
        command.args(["--id", id]);
        command.args(["--listen", &format!("{}:{PORT}", sandbox::address(node))]);
        for peer in (1..=NODES).filter(|peer| *peer != node) {
            let at = reached_at(node, peer);
            command.args(["--peer", &format!("{peer}={at}:{PORT}")]);
        }
        command.args((life == 1).then_some("--bootstrap"));
        command.arg("--data").arg(disk(&folder, node));
        command.arg("--file").arg(file_in(&folder));
        command
    })
}
