//! The replicated log: random runs of the shipping core with crashes, torn writes, stalls, snapshots and changes of the voters,
//! and the bugs that others shipped.

mod coverage;
mod encrypted;
mod input;
mod known_bugs;
mod loopback;
mod misuse;
mod node;
mod one;
mod over;
mod queue;
mod random;
mod rules;
mod session_table;
mod sessions;
mod slow;
mod snapshots;
mod stores;
mod successors;
mod telling;
mod wire;

#[path = "../../examples/log_in_memory.rs"]
mod example;

use std::time::Duration;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn the_example_adds_up() {
    example::main().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_example_adds_up_to_what_it_should() {
    assert_eq!(example::run().await.unwrap(), [5_250, 5_250]);
}
