//! Leases under clocks that run apart as far as the settings say, with nodes that are polled late, and restarts.

use crate::bounds::Bounds;
use crate::clocks::Drift;
use crate::judge::Sight;
use crate::run::{broken, check, is_large};

/// An election timeout of two ticks: a lease of one, and no clock ticks twice while another stands.
fn small() -> Bounds {
    Bounds {
        timeout: 2,
        drift: Drift::Bounded(2),
        led: true,
        late: true,
        ticks: 5,
        max_term: 2,
        sights: vec![Sight::Leader, Sight::LaterLeader, Sight::NextLease],
        ..Bounds::three("lease")
    }
}

/// Fewer ticks, and a voter that restarts in the middle of its promise.
fn restarted() -> Bounds {
    Bounds {
        name: "lease-restart",
        ticks: 4,
        restarts: 1,
        sights: vec![
            Sight::Leader,
            Sight::LaterLeader,
            Sight::LeaderAfterRestart,
            Sight::NextLease,
        ],
        ..small()
    }
}

/// A timeout of three ticks: a clock may run twice as fast as another for good.
fn large() -> Bounds {
    Bounds {
        name: "lease-large",
        timeout: 3,
        drift: Drift::Bounded(3),
        ticks: 8,
        max_term: 3,
        ..restarted()
    }
}

#[test]
fn leases_within_the_drift_are_disjoint() {
    check(if is_large() { large() } else { small() });
}

#[test]
fn leases_outlive_the_restarts_of_voters() {
    check(if is_large() {
        Bounds {
            ticks: 5,
            ..restarted()
        }
    } else {
        restarted()
    });
}

#[test]
fn clocks_beyond_the_drift_are_found_out() {
    let beyond = Bounds {
        drift: Drift::Bounded(3),
        ..restarted()
    };
    assert_eq!(broken(beyond), ["one lease at a time"]);
}
