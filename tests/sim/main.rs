//! The simulator: random runs of the shipping election, replays from a seed, broken rules that are found and shown, and
//! clusters driven by hand.

mod broken;
mod by_hand;
mod groups;
mod layer;
mod random;
mod replay;

use std::time::Duration;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
