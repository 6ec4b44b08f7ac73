//! The simulator under a layer above the election: the log of the example.

#[path = "../../examples/own_log.rs"]
mod own_log;

use own_log::{NothingIsLost, OwnLog};
use streamraft::sim::{Boot, Cluster};

#[test]
fn the_examples_log_loses_nothing() {
    own_log::main().unwrap();
}

#[test]
fn the_examples_test_is_short() {
    let source = include_str!("../../examples/own_log.rs");
    let test = source.split("/// What was acknowledged once stays").nth(1);
    let lines = test.unwrap().lines().filter(|line| !line.trim().is_empty());
    assert!(lines.count() <= 30);
}

/// The same log without a disk for it: what was acknowledged is gone after a restart.
#[test]
fn a_log_that_forgets_is_found() {
    let make = |boot: &Boot<'_, OwnLog>| {
        let saved = (boot.saved.0.clone(), Vec::new());
        let mut boot: Boot<'_, OwnLog> = *boot;
        boot.saved = &saved;
        OwnLog::new(&boot)
    };
    let cluster = Cluster::of(1..=3, make)
        .invariant(NothingIsLost::default)
        .inputs(|dice, _| Some(dice.up_to(999)));
    let failure = cluster.check(0..500).unwrap_err();
    assert_eq!(failure.invariant(), "nothing is lost", "{failure}");
}
