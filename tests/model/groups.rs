//! Many elections in one value, model checked as single ones are: [`streamraft::Elections`] as they ship, on machines
//! whose beats stand for the pings of all groups between them.
//!
//! What the single election's model leaves out (`main.rs`) is left out here too, and nothing that links say to each
//! other is ever taken for spent. Every run begins where all followers are attached. Besides the promises of elections,
//! two of links are checked in every state (`groups/judge.rs`): whoever takes a group for attached is told if the other
//! end has ended it, and the two ends of an attachment are of one term and one membership.
//!
//! # What is bounded
//!
//! - How many sessions a machine renews, and how many attachments one end of a link ends: messages of two sessions that
//!   come in turn, or two offers of one group, make that number grow without end.
//! - A leader does not hear old answers to campaigns of an older term, as one that changes its voters in `main.rs`.
//! - Several groups are two, and machines three.

mod bounds;
mod judge;
mod letters;
mod machine;
mod tables;
mod view;
mod world;

use std::sync::Arc;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};
use streamraft::Command;

use crate::clocks::Drift;
use crate::run::{THREADS, is_large, one_at_a_time};
use bounds::{Bounds, Order};
use judge::Sight;
use world::Groups;

/// A leader of three whose beats are heard late or not at all. It alone does anything of its own accord.
fn silent() -> Bounds {
    Bounds {
        polled: vec![1],
        ticks: 4,
        sights: vec![Sight::ProlongedByBeat],
        ..Bounds::three("groups-silent")
    }
}

/// Until one of the two others takes over.
fn overtaken() -> Bounds {
    Bounds {
        name: "groups-overtaken",
        polled: vec![1, 2, 3],
        sights: vec![
            Sight::ProlongedByBeat,
            Sight::EndedByBeat,
            Sight::EndedByAnswer,
            Sight::NextLease,
        ],
        ..silent()
    }
}

/// One of two groups is handed over or resigned, while beats go on for the other.
fn ordered() -> Bounds {
    Bounds {
        machines: 2,
        leaders: vec![1, 1],
        ticks: 1,
        orders: vec![vec![
            Order::Tell(0, Command::Transfer(2)),
            Order::Tell(0, Command::Resign),
        ]],
        sights: vec![
            Sight::Attached,
            Sight::ProlongedByBeat,
            Sight::EndedByBeat,
            Sight::EndedByAnswer,
            Sight::NextLease,
        ],
        ..Bounds::three("groups-ordered")
    }
}

/// A voter leaves while a lease holds that it has confirmed. The leader alone does anything of its own accord.
fn changed() -> Bounds {
    Bounds {
        ticks: 1,
        polled: vec![1],
        orders: vec![vec![Order::Tell(0, Command::SetNodes(vec![1, 2]))]],
        sights: vec![
            Sight::ProlongedByBeat,
            Sight::Changed,
            Sight::ChangedInLease,
        ],
        ..Bounds::three("groups-changed")
    }
}

/// A group is taken from a machine and put back, while the offers of its first attachments are on their way.
fn removed() -> Bounds {
    Bounds {
        machines: 2,
        ticks: 1,
        kept: true,
        orders: vec![vec![Order::Remove(0)]],
        sights: vec![
            Sight::Attached,
            Sight::ProlongedByBeat,
            Sight::EndedByBeat,
            Sight::EndedByAnswer,
            Sight::LateOffer,
            Sight::Returned,
        ],
        ..Bounds::three("groups-removed")
    }
}

/// A machine restarts while what links have said is on its way.
fn restarted() -> Bounds {
    Bounds {
        machines: 2,
        ticks: 1,
        restarts: 1,
        renewals: 3,
        kept: true,
        sights: vec![
            Sight::Attached,
            Sight::ProlongedByBeat,
            Sight::VoidedByListener,
        ],
        ..Bounds::three("groups-restarted")
    }
}

#[test]
fn leases_that_beats_prolong_stand_on_withheld_votes() {
    check(if is_large() { overtaken() } else { silent() });
}

#[test]
fn attachments_end_with_what_they_stand_on() {
    check(if is_large() {
        Bounds {
            leaders: vec![1, 2],
            ticks: 2,
            orders: vec![vec![
                Order::Tell(0, Command::Transfer(2)),
                Order::Tell(0, Command::Resign),
                Order::Tell(1, Command::SetNodes(vec![2])),
                Order::Remove(0),
            ]],
            ..ordered()
        }
    } else {
        ordered()
    });
}

#[test]
fn a_lease_outlives_the_voters_that_confirmed_it() {
    check(if is_large() {
        Bounds {
            ticks: 3,
            polled: vec![1, 2, 3],
            ..changed()
        }
    } else {
        changed()
    });
}

#[test]
fn no_late_offer_brings_an_attachment_back() {
    check(if is_large() {
        Bounds {
            machines: 3,
            ticks: 2,
            ..removed()
        }
    } else {
        removed()
    });
}

#[test]
fn a_restart_of_either_machine_voids_all_attachments() {
    check(if is_large() {
        Bounds {
            machines: 3,
            ticks: 2,
            ..restarted()
        }
    } else {
        restarted()
    });
    if is_large() {
        check(Bounds {
            name: "groups-restarted-two",
            machines: 3,
            leaders: vec![1, 1],
            ticks: 3,
            kept: false,
            ..restarted()
        });
    }
}

/// A leader restarts and is elected again.
fn led_again() -> Bounds {
    Bounds {
        machines: 2,
        polled: vec![1],
        late: false,
        ticks: 4,
        restarts: 1,
        sights: vec![Sight::Attached, Sight::ProlongedByBeat],
        ..Bounds::three("groups-led-again")
    }
}

#[test]
fn a_leader_that_is_elected_again_begins_anew() {
    check(if is_large() {
        Bounds {
            kept: true,
            ..led_again()
        }
    } else {
        led_again()
    });
    if is_large() {
        check(Bounds {
            name: "groups-led-again-two",
            leaders: vec![1, 1],
            ..led_again()
        });
    }
}

#[test]
fn a_machine_that_keeps_its_name_at_a_restart_is_found_out() {
    let nameless = Bounds {
        nameless: true,
        ..restarted()
    };
    assert_eq!(
        broken(nameless),
        ["who takes a group for attached is told of its end"]
    );
}

#[test]
fn clocks_beyond_the_drift_are_found_out_by_groups() {
    let beyond = Bounds {
        drift: Drift::Bounded(3),
        ..silent()
    };
    assert_eq!(broken(beyond), ["a quorum withholds while a lease holds"]);
}

/// Searches, and fails with the way there if it meets what must not be, or never meets what it was promised.
fn check(bounds: Bounds) {
    let checker = search(bounds);
    checker.assert_properties();
    let Groups { bounds, tables, .. } = checker.model();
    let seen = tables.sights().list();
    let is_missed = |sight: &&Sight| !seen.contains(sight);
    let missed: Vec<_> = bounds.sights.iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "never seen: {missed:?}");
    let (name, spent) = (bounds.name, tables.check_spent(bounds));
    println!("evidence | model check of groups | config={name} spent={spent}");
}

/// The rules that were found broken when the search stopped, which is soon after the first; none if none was.
fn broken(bounds: Bounds) -> Vec<&'static str> {
    search(bounds).discoveries().into_keys().collect()
}

fn search(bounds: Bounds) -> impl Checker<Groups> {
    let _one_at_a_time = one_at_a_time();
    let (name, start) = (bounds.name, Instant::now());
    let groups = Groups::new(bounds);
    let tables = Arc::clone(&groups.tables);
    let checker = groups.checker().threads(THREADS);
    let checker = checker
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let sizes = tables.sizes();
    println!(
        "evidence | model check of groups | config={name} unique_states={} states={} depth={} seconds={:.1} \
         machine_states={} messages={} core_steps={} compared={} sights={:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f64(),
        sizes.machines,
        sizes.letters,
        sizes.calls,
        sizes.compared,
        tables.sights().list(),
    );
    checker
}
