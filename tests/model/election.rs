//! Elections among three nodes, with loss, duplication, delay and reordering without bound, and restarts. Clocks run
//! as they like: no rule but the lease may rely on time.

use crate::bounds::Bounds;
use crate::judge::Sight;
use crate::run::{check, is_large};

/// From boot: nobody has ever led.
fn cold() -> Bounds {
    Bounds {
        ticks: 2,
        restarts: 1,
        sights: vec![Sight::Leader, Sight::LeaderAfterRestart],
        ..Bounds::three("election-cold")
    }
}

/// From a cluster that node 1 leads in term 1.
fn led() -> Bounds {
    Bounds {
        led: true,
        ticks: 3,
        sights: vec![Sight::Leader, Sight::LaterLeader],
        ..Bounds::three("election-led")
    }
}

/// Three ticks let three nodes campaign, or one three times: up to three terms, each with rivals.
fn large() -> Bounds {
    Bounds {
        ticks: 3,
        sights: vec![Sight::Leader, Sight::LaterLeader, Sight::LeaderAfterRestart],
        ..cold()
    }
}

#[test]
fn elections_from_boot_are_safe() {
    check(if is_large() { large() } else { cold() });
}

#[test]
fn elections_after_a_leader_are_safe() {
    check(if is_large() {
        Bounds {
            restarts: 1,
            ..led()
        }
    } else {
        led()
    });
}
