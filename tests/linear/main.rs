//! Whether what clients of a replicated key-value store are told is linearizable, by an existing checker (stateright's): of the
//! simulated log under random faults, and of real processes that are killed, stopped and cut off from each other.

mod book;
mod clients;
mod history;
mod kv;
#[cfg(unix)]
mod processes;
#[cfg(unix)]
#[path = "../support/program.rs"]
mod program;
mod replaced;
mod simulated;

use std::time::Duration;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
