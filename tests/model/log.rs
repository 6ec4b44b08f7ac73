//! The replicated log, model checked: [`streamraft::raft::Replication`] as it ships, with its clock, and a disk that writes
//! behind and keeps, in a crash, any beginning of what it was handed over (`log/disk.rs`, `log/node.rs`).
//!
//! In every state: one leader a term; logs match; a leader has all that was committed before its term, and drops nothing of its
//! own; what is committed at an index is the same everywhere, entries and snapshots alike, for good, and on the disks of a
//! quorum; nothing is acknowledged, and no vote given, that is not on the disk; reads see what was committed before them
//! (`log/judge.rs`). Each run must have come upon what it is for.
//!
//! # What is left out without loss
//!
//! What the election's model leaves out (`main.rs`) is left out here too. Besides:
//!
//! - **An election, a heartbeat, an order** is one step: all that is said of the election by it is heard at once by some nodes,
//!   any, and never by the others. What messages of elections do when they are late is what the election's own model is for.
//!   To the log the election only says who leads which term, and a term costs its voters all that is said in older ones. A
//!   vote that was given earlier than its candidate won is as good as one given then: between the two neither log changes but
//!   by a newer term. One that was given and did not elect is as good as messages of the old term that are lost.
//! - **Votes are on the disk at once**, with all that was handed over before them: no node says anything until they are.
//! - **Elections that nobody wins** change no log.
//!
//! # What is bounded
//!
//! Each configuration says how many proposals, leaders, heartbeats, crashes and so on there are, and whose disks write
//! behind: a flush of those takes as long as any, of the others none. All clocks tick alike. A small run says who campaigns and in
//! which order, where it says so; the large ones leave it open.

mod bounds;
mod disk;
mod judge;
mod letters;
mod node;
mod tables;
mod view;
mod world;

use std::sync::Arc;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};
use streamraft::Command;

use crate::run::{THREADS, is_large, one_at_a_time};
use bounds::Bounds;
use judge::Sight;
use world::Logs;

/// Two nodes, both with disks that write behind.
fn two() -> Bounds {
    Bounds {
        slow: vec![1, 2],
        max_term: 3,
        crashes: 1,
        sights: vec![
            Sight::Commit,
            Sight::OlderCommit,
            Sight::Refusal,
            Sight::Torn,
        ],
        ..Bounds::two("log-two")
    }
}

/// Three, from the first election on.
fn cold() -> Bounds {
    Bounds {
        cold: true,
        proposals: 0,
        sights: vec![Sight::Commit, Sight::Truncated, Sight::TwoTerms],
        ..Bounds::three("log-cold")
    }
}

/// Three, none of which has a quick disk.
fn three() -> Bounds {
    Bounds {
        slow: vec![1, 2, 3],
        sights: vec![
            Sight::Commit,
            Sight::OlderCommit,
            Sight::Truncated,
            Sight::Refusal,
            Sight::TwoTerms,
        ],
        ..Bounds::three("log-three")
    }
}

/// Two entries that nobody else has heard of when another is elected, or that only some have.
fn conflict() -> Bounds {
    Bounds {
        name: "log-conflict",
        slow: Vec::new(),
        proposals: 2,
        campaigns: vec![(2, vec![3])],
        sights: vec![Sight::Commit, Sight::OlderCommit, Sight::TwoTerms],
        ..three()
    }
}

/// One of them crashes, with any part of what it has not flushed.
fn crash() -> Bounds {
    Bounds {
        name: "log-crash",
        slow: vec![2],
        crashes: 1,
        sights: vec![
            Sight::OlderCommit,
            Sight::Truncated,
            Sight::Torn,
            Sight::Mended,
        ],
        ..three()
    }
}

/// Figure 8 of the paper: three leaders after the first, of which the second brings back what the first has not heard of.
fn older() -> Bounds {
    Bounds {
        name: "log-older",
        max_term: 4,
        campaigns: vec![(2, vec![3]), (1, vec![3]), (2, vec![3])],
        crashes: 1,
        slow: vec![3],
        sights: vec![Sight::OlderCommit, Sight::TwoTerms, Sight::Mended],
        ..three()
    }
}

/// A follower needs entries of which only a snapshot is left, and writes it behind.
fn snapshot() -> Bounds {
    Bounds {
        name: "log-snapshot",
        slow: vec![3],
        max_term: 1,
        beats: 1,
        snapshots: 1,
        sights: vec![Sight::Compacted, Sight::Part, Sight::Installed],
        ..three()
    }
}

/// Reads of leaders that have a lease or none, and of those that lead no more and do not know it.
fn reads() -> Bounds {
    Bounds {
        name: "log-reads",
        slow: Vec::new(),
        reads: 1,
        ticks: 1,
        campaigns: vec![(2, vec![3])],
        sights: vec![
            Sight::Commit,
            Sight::TwoTerms,
            Sight::ReadWaits,
            Sight::Answered,
            Sight::Confirmed,
        ],
        ..three()
    }
}

fn transfer() -> Bounds {
    Bounds {
        name: "log-transfer",
        slow: Vec::new(),
        orders: vec![Command::Transfer(2)],
        sights: vec![
            Sight::Transferred,
            Sight::OlderCommit,
            Sight::Truncated,
            Sight::TwoTerms,
        ],
        ..three()
    }
}

/// A voter leaves.
fn shrink() -> Bounds {
    Bounds {
        name: "log-shrink",
        slow: Vec::new(),
        proposals: 0,
        beats: 2,
        orders: vec![Command::SetNodes(vec![1, 2])],
        campaigns: vec![(2, vec![3])],
        sights: vec![Sight::Commit, Sight::TwoTerms, Sight::Changed],
        ..three()
    }
}

/// One comes, and catches up before it votes.
fn grow() -> Bounds {
    Bounds {
        name: "log-grow",
        voters: vec![1, 2],
        joiners: vec![3],
        orders: vec![Command::SetNodes(vec![1, 2, 3])],
        sights: vec![Sight::Commit, Sight::Refusal, Sight::Changed],
        ..shrink()
    }
}

/// The leader's disk has no room for a while.
fn full() -> Bounds {
    Bounds {
        name: "log-full",
        slow: vec![1],
        failures: 1,
        sights: vec![Sight::OlderCommit, Sight::Truncated, Sight::GaveUp],
        ..three()
    }
}

/// What is searched: the small one, or with `STREAMRAFT_MODEL=large` what this makes of it.
fn sized(small: Bounds, large: impl FnOnce(Bounds) -> Bounds) -> Bounds {
    if is_large() { large(small) } else { small }
}

#[test]
fn two_that_crash_lose_nothing_committed() {
    check(sized(two(), |two| Bounds {
        proposals: 2,
        crashes: 2,
        ..two
    }));
}

#[test]
fn logs_agree_from_the_first_election_on() {
    check(sized(cold(), |cold| Bounds {
        proposals: 1,
        ..cold
    }));
}

#[test]
fn logs_of_three_agree() {
    check(sized(three(), |three| Bounds {
        max_term: 3,
        ..three
    }));
}

#[test]
fn what_conflicts_goes_and_nothing_else() {
    check(sized(conflict(), |conflict| Bounds {
        campaigns: Vec::new(),
        ..conflict
    }));
}

#[test]
fn a_crash_takes_nothing_that_is_committed() {
    check(sized(crash(), |crash| Bounds {
        slow: vec![1, 2, 3],
        ..crash
    }));
}

#[test]
fn nothing_of_an_older_term_is_committed_by_counting() {
    check(sized(older(), |older| Bounds {
        campaigns: Vec::new(),
        crashes: 0,
        slow: Vec::new(),
        sights: vec![Sight::OlderCommit, Sight::TwoTerms],
        ..older
    }));
}

#[test]
fn a_snapshot_stands_for_all_that_it_holds() {
    check(sized(snapshot(), |snapshot| Bounds {
        max_term: 2,
        crashes: 1,
        campaigns: vec![(2, vec![1])],
        ..snapshot
    }));
}

#[test]
fn reads_see_all_that_was_committed_before_them() {
    check(sized(reads(), |reads| Bounds {
        reads: 2,
        campaigns: Vec::new(),
        ..reads
    }));
}

#[test]
fn a_leader_that_hands_over_loses_nothing() {
    check(sized(transfer(), |transfer| Bounds {
        beats: 1,
        ..transfer
    }));
}

#[test]
fn a_voter_that_leaves_takes_nothing_committed_with_it() {
    check(sized(shrink(), |shrink| Bounds {
        proposals: 1,
        ..shrink
    }));
}

#[test]
fn a_voter_that_comes_has_what_is_committed() {
    check(sized(grow(), |grow| Bounds {
        beats: 3,
        campaigns: Vec::new(),
        ..grow
    }));
}

#[test]
fn a_full_disk_costs_leadership_and_nothing_else() {
    check(sized(full(), |full| Bounds {
        slow: vec![1, 2],
        failures: 2,
        ..full
    }));
}

#[test]
fn a_disk_that_loses_what_it_has_flushed_is_found_out() {
    let forgetful = Bounds {
        forgetful: true,
        ..crash()
    };
    let broken = broken(forgetful);
    assert!(
        broken.contains(&"what is committed is on the disks of a quorum"),
        "{broken:?}"
    );
}

/// Searches, and fails with the way there if it meets what must not be, or never meets what it was promised.
fn check(bounds: Bounds) {
    let checker = search(bounds);
    checker.assert_properties();
    let Logs { bounds, tables, .. } = checker.model();
    let seen = tables.sights().list();
    let is_missed = |sight: &&Sight| !seen.contains(sight);
    let missed: Vec<_> = bounds.sights.iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "never seen: {missed:?}");
    let (name, spent) = (bounds.name, tables.check_spent(bounds));
    println!("evidence | model check of logs | config={name} spent={spent}");
}

/// The rules that were found broken when the search stopped, which is soon after the first; none if none was.
fn broken(bounds: Bounds) -> Vec<&'static str> {
    search(bounds).discoveries().into_keys().collect()
}

fn search(bounds: Bounds) -> impl Checker<Logs> {
    let _one_at_a_time = one_at_a_time();
    let (name, start) = (bounds.name, Instant::now());
    let logs = Logs::new(bounds);
    let tables = Arc::clone(&logs.tables);
    let checker = logs.checker().threads(THREADS);
    let checker = checker
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let sizes = tables.sizes();
    println!(
        "evidence | model check of logs | config={name} unique_states={} states={} depth={} seconds={:.1} \
         node_states={} messages={} core_steps={} compared={} sights={:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f64(),
        sizes.nodes,
        sizes.letters,
        sizes.calls,
        sizes.compared,
        tables.sights().list(),
    );
    checker
}
