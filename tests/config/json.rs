//! Settings as people write them in files.

use std::time::Duration;

use streamraft::{Config, TinyRaft};

use crate::config;

fn parsed(text: &str) -> Result<Config, serde_json::Error> {
    serde_json::from_str(text)
}

#[test]
fn settings_are_read_with_durations_as_people_write_them() {
    let config = parsed(
        r#"{
            "node_id": "a", "nodes": ["a", "b", "c"], "cluster": "orders",
            "election_timeout": "150ms", "random_timeout": "500us", "heartbeat_interval": "50ms",
            "leadership_timeout": "1m 30s", "leader_priority": 7, "max_clock_drift": 0.02, "seed": 9
        }"#,
    );
    let expected = Config::new("a", ["a", "b", "c"]).expect("good names");
    let expected = expected
        .cluster("orders")
        .election_timeout(Duration::from_millis(150))
        .random_timeout(Duration::from_micros(500))
        .heartbeat_interval(Duration::from_millis(50))
        .leadership_timeout(Duration::from_secs(90))
        .leader_priority(7)
        .max_clock_drift(0.02)
        .seed(9);
    assert_eq!(config.expect("good settings"), expected);
}

#[test]
fn settings_that_are_left_out_have_their_defaults() {
    let three = parsed(r#"{ "node_id": "a", "nodes": ["a", "b", "c"] }"#);
    assert_eq!(three.expect("good settings"), config());
    let alone = parsed(r#"{ "node_id": "a" }"#).expect("good settings");
    assert!(
        TinyRaft::new(alone).is_ok(),
        "an empty list is a cluster of one"
    );
}

#[test]
fn settings_written_are_read_as_they_were() {
    let config = config()
        .seed(3)
        .bootstrap()
        .random_timeout(Duration::from_micros(1));
    let text = serde_json::to_string(&config).expect("text");
    assert_eq!(parsed(&text).expect("good settings"), config);
}

#[test]
fn what_is_no_setting_is_refused_with_its_reason() {
    let cases = [
        (
            r#"{ "node_id": "a", "electoin_timeout": "150ms" }"#,
            "unknown field `electoin_timeout`",
        ),
        (r#"{ "nodes": ["a"] }"#, "missing field `node_id`"),
        (r#"{ "node_id": "a b" }"#, "white space"),
        (r#"{ "node_id": "a", "nodes": ["a", ""] }"#, "empty"),
        (
            r#"{ "node_id": "a", "election_timeout": "150" }"#,
            "expected a duration",
        ),
        (
            r#"{ "node_id": "a", "election_timeout": 150 }"#,
            "invalid type",
        ),
        (
            r#"{ "node_id": "a", "election_timeout": "-5ms" }"#,
            "expected a duration",
        ),
        (r#"{ "node_id": "a", "seed": -1 }"#, "invalid value"),
    ];
    for (text, reason) in cases {
        let error = parsed(text).expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn settings_that_were_read_are_checked_like_others() {
    let cases = [
        (
            r#"{ "node_id": "a", "nodes": ["a", "a"] }"#,
            "nodes: a stands twice",
        ),
        (
            r#"{ "node_id": "a", "nodes": ["b", "c"] }"#,
            "nodes: a (node_id) is missing",
        ),
        (
            r#"{ "node_id": "a", "election_timeout": "0s" }"#,
            "election_timeout: 0ns",
        ),
        (
            r#"{ "node_id": "a", "max_clock_drift": 1.5 }"#,
            "max_clock_drift: 1.5",
        ),
    ];
    for (text, reason) in cases {
        let error = TinyRaft::new(parsed(text).expect(text))
            .expect_err(text)
            .to_string();
        assert!(error.starts_with(reason), "{text}: {error}");
    }
}
