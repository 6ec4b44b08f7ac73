//! What is accepted only just runs like everything else, and what is left out has its default.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use streamraft::{Config, HardState, Id, Membership, Stamp, TinyRaft};
use tokio::time::{Instant, advance};

use crate::{DAY, MS, NS, config};

/// Runs the node for three days of virtual time, so that every one of its deadlines comes.
async fn runs<I: Id>(what: &str, config: Config<I>) {
    let mut node = TinyRaft::new(config).unwrap_or_else(|error| panic!("{what}: {error}"));
    for _ in 0..72 {
        while node.next().now_or_never().is_some() {}
        advance(DAY / 24).await;
    }
    node.stop();
    while node.next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn values_at_the_very_edges_are_accepted_and_run() {
    let short = || config().election_timeout(MS + NS).heartbeat_interval(MS);
    let most = config()
        .election_timeout(DAY)
        .random_timeout(DAY)
        .leadership_timeout(DAY);
    let accepted = [
        ("the shortest", short().random_timeout(NS)),
        ("the longest", most.clone()),
        (
            "the longest heartbeat",
            most.heartbeat_interval(DAY - NS).leadership_timeout(DAY),
        ),
        (
            "the least leadership timeout",
            config().leadership_timeout(Duration::from_millis(100) + NS),
        ),
        (
            "a leadership far over the election timeout",
            short().leadership_timeout(DAY),
        ),
        ("no drift", config().max_clock_drift(0.0)),
        ("no drift, negative", config().max_clock_drift(-0.0)),
        (
            "the least drift",
            config().max_clock_drift(f64::from_bits(1)),
        ),
        (
            "the most drift",
            config().max_clock_drift(1.0 - f64::EPSILON / 2.0),
        ),
        ("the highest priority", config().leader_priority(u64::MAX)),
        ("the highest seed", config().seed(u64::MAX)),
        ("the longest cluster", config().cluster("x".repeat(255))),
        ("a cluster of blanks", config().cluster(" \n")),
        (
            "the longest name",
            Config::new("x".repeat(36), ["x".repeat(36)]).expect("36 bytes"),
        ),
        (
            "no list",
            Config::new("a", [""; 0]).expect("a cluster of one"),
        ),
    ];
    for (what, config) in accepted {
        runs(what, config).await;
    }
    runs(
        "the most nodes",
        Config::with_id(5, 0..1_024_u64).expect("1024 nodes"),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn restored_states_at_the_very_edges_are_accepted_and_run() {
    let alone = || Config::with_id(1_u64, [1]).expect("good settings");
    let last = u64::MAX - (1 << 40);
    let saved = [
        (
            "the highest term",
            HardState::new(last, Some(1), Membership::initial([1])),
        ),
        (
            "the term before it",
            HardState::new(last - 1, None, Membership::initial([1])),
        ),
        (
            "a vote for nobody of the cluster",
            HardState::new(7, Some(99), Membership::initial([1, 2])),
        ),
        (
            "a cluster that it has left",
            HardState::new(7, None, Membership::initial([2, 3])),
        ),
        ("no cluster", HardState::new(7, None, Membership::none())),
        (
            "nothing",
            HardState::new(0, None, Arc::new(Membership::none())),
        ),
    ];
    for (what, saved) in saved {
        assert!(saved.membership().stamp() <= Stamp::new(saved.term(), 1));
        runs(what, alone().restore(saved)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_spread_under_a_millisecond_elects() {
    let micros = Duration::from_micros(500);
    let mut node = TinyRaft::new(config().random_timeout(micros)).expect("good settings");
    let begun = Instant::now();
    node.next().await.expect("it was not stopped");
    // Its one fault elsewhere: the node was dead, and its calls still returned Ok.
    assert!(
        begun.elapsed() <= Duration::from_secs(1) + micros + MS,
        "{:?}",
        begun.elapsed()
    );
    runs(
        "a spread under a millisecond",
        config().random_timeout(micros),
    )
    .await;
}

#[test]
fn what_is_not_set_has_the_default_that_its_setter_names() {
    let config = config().election_timeout(Duration::from_secs(3));
    assert_eq!(config.get_random_timeout(), Duration::from_secs(3));
    assert_eq!(config.get_leadership_timeout(), Duration::from_secs(3));
    assert_eq!(config.get_heartbeat_interval(), Duration::from_millis(100));
    assert_eq!(
        (
            config.get_leader_priority(),
            config.get_cluster(),
            config.get_seed()
        ),
        (0, "", None)
    );
    assert!((config.get_max_clock_drift() - 0.1).abs() < f64::EPSILON);
    assert_eq!((config.node_id().as_str(), config.nodes().len()), ("a", 3));
}
