//! What is too short, too long or no number.

use std::time::Duration;

use streamraft::{ConfigError, TinyRaft};

use crate::{DAY, MS, NS, config, explains, refusal};

#[test]
fn an_election_timeout_is_above_a_millisecond_and_at_most_a_day() {
    for value in [Duration::ZERO, NS, MS - NS, DAY + NS, Duration::MAX] {
        let text = format!("{value:?}");
        let error = refusal(
            &config().election_timeout(value),
            ["election_timeout", &text, "above 1ms and at most 1 day"],
        );
        assert_eq!(error, ConfigError::ElectionTimeout { value });
    }
}

#[test]
fn a_random_timeout_is_above_zero_and_at_most_a_day() {
    for value in [Duration::ZERO, DAY + NS, Duration::MAX] {
        let text = format!("{value:?}");
        let error = refusal(
            &config().random_timeout(value),
            ["random_timeout", &text, "above zero and at most 1 day"],
        );
        assert_eq!(error, ConfigError::RandomTimeout { value });
    }
}

#[test]
fn a_heartbeat_interval_is_from_a_millisecond_to_below_the_election_timeout() {
    let election_timeout = Duration::from_secs(1);
    for value in [
        Duration::ZERO,
        NS,
        MS - NS,
        election_timeout,
        election_timeout + NS,
        Duration::MAX,
    ] {
        let text = format!("{value:?}");
        let error = refusal(
            &config().heartbeat_interval(value),
            [
                "heartbeat_interval",
                &text,
                "at least 1ms and under election_timeout (1s)",
            ],
        );
        assert_eq!(
            error,
            ConfigError::HeartbeatInterval {
                value,
                election_timeout
            }
        );
    }
}

#[test]
fn a_leadership_timeout_is_above_the_heartbeat_interval_and_at_most_a_day() {
    let heartbeat_interval = Duration::from_millis(100);
    for value in [
        Duration::ZERO,
        NS,
        heartbeat_interval,
        DAY + NS,
        Duration::MAX,
    ] {
        let text = format!("{value:?}");
        let error = refusal(
            &config().leadership_timeout(value),
            [
                "leadership_timeout",
                &text,
                "over heartbeat_interval (100ms) and at most 1 day",
            ],
        );
        assert_eq!(
            error,
            ConfigError::LeadershipTimeout {
                value,
                heartbeat_interval
            }
        );
    }
}

#[test]
fn a_clock_drift_is_a_fraction_below_one() {
    let bad = [
        1.0,
        1.0 + f64::EPSILON,
        -0.1,
        -f64::MIN_POSITIVE,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::NAN,
    ];
    for value in bad {
        let text = value.to_string();
        let config = config().max_clock_drift(value);
        let error = TinyRaft::new(config).expect_err("it breaks a rule");
        explains(&error, ["max_clock_drift", &text, "at least 0 and under 1"]);
        assert!(
            matches!(error, ConfigError::MaxClockDrift { value: kept } if kept.to_bits() == value.to_bits())
        );
    }
}

#[test]
fn a_cluster_name_is_at_most_255_bytes_long() {
    let error = refusal(
        &config().cluster("x".repeat(256)),
        ["cluster", "256 bytes", "at most 255"],
    );
    assert_eq!(error, ConfigError::ClusterTooLong { len: 256 });
    // Bytes, not characters.
    let error = refusal(
        &config().cluster("\u{20ac}".repeat(86)),
        ["cluster", "258 bytes", "at most 255"],
    );
    assert_eq!(error, ConfigError::ClusterTooLong { len: 258 });
}
