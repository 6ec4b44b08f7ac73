//! A leader that hands over, or resigns, while messages of its own elections and orders are still on their way, and
//! clocks, late polls and restarts do what they can.

use streamraft::Command;

use crate::bounds::Bounds;
use crate::clocks::Drift;
use crate::judge::Sight;
use crate::run::{broken, check, is_large};

fn small() -> Bounds {
    Bounds {
        timeout: 3,
        drift: Drift::Bounded(3),
        led: true,
        late: true,
        ticks: 1,
        restarts: 1,
        orders: vec![vec![
            Command::Transfer(2),
            Command::Transfer(3),
            Command::Resign,
        ]],
        sights: vec![
            Sight::Leader,
            Sight::LaterLeader,
            Sight::Transfer,
            Sight::NextLease,
        ],
        ..Bounds::three("transfer")
    }
}

/// Time for an order to lapse, and for the leader to be elected anew after it.
fn large() -> Bounds {
    Bounds {
        ticks: 5,
        sights: vec![
            Sight::Leader,
            Sight::LaterLeader,
            Sight::LeaderAfterRestart,
            Sight::Transfer,
            Sight::NextLease,
        ],
        ..small()
    }
}

/// A transfer lapses, and the leader and its successor stand in one term, both with the mark.
fn lapsed() -> Bounds {
    Bounds {
        name: "transfer-lapsed",
        timeout: 1,
        drift: Drift::Any,
        late: false,
        restarts: 0,
        ..small()
    }
}

#[test]
fn a_transfer_that_lapses_is_safe() {
    check(if is_large() {
        Bounds {
            restarts: 1,
            ..lapsed()
        }
    } else {
        lapsed()
    });
}

#[test]
fn handing_over_is_safe() {
    check(if is_large() { large() } else { small() });
}

#[test]
fn a_disk_that_loses_a_vote_is_found_out() {
    let forgetful = Bounds {
        forgetful: true,
        restarts: 1,
        ..lapsed()
    };
    let broken = broken(forgetful);
    let follows = |rule: &&str| ["one vote a term", "one leader a term"].contains(rule);
    assert!(
        !broken.is_empty() && broken.iter().all(follows),
        "{broken:?}"
    );
}
