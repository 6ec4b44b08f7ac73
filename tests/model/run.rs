//! Searches all that lies within bounds and says how much it was.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::bounds::Bounds;
use crate::cluster::Cluster;

pub(crate) const THREADS: usize = 2;

/// Whether the runs are to be large: `STREAMRAFT_MODEL=large`.
pub(crate) fn is_large() -> bool {
    std::env::var("STREAMRAFT_MODEL").is_ok_and(|size| size == "large")
}

/// Searches, prints the counts, and fails with the way there if it meets what must not be, or never meets what it was
/// promised.
pub(crate) fn check(bounds: Bounds) {
    search(bounds).assert_properties();
}

/// The rules that were found broken when the search stopped, which is soon after the first; none if none was.
pub(crate) fn broken(bounds: Bounds) -> Vec<&'static str> {
    let checker = search(bounds);
    let found = checker.discoveries().into_keys();
    let is_rule = |name: &&'static str| {
        let property = checker.model().property(name);
        property.expectation.discovery_is_failure()
    };
    found.filter(is_rule).collect()
}

fn search(bounds: Bounds) -> impl Checker<Cluster> {
    let _one_at_a_time = one_at_a_time();
    let (name, start) = (bounds.name, Instant::now());
    let cluster = Cluster::new(bounds);
    let tables = std::sync::Arc::clone(&cluster.tables);
    let checker = cluster.checker().threads(THREADS);
    let checker = checker
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let spent = tables.check_spent(&checker.model().bounds);
    let sizes = tables.sizes();
    println!(
        "evidence | model check | config={name} unique_states={} states={} depth={} seconds={:.1} node_states={} \
         messages={} core_steps={} compared={} spent={spent}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f64(),
        sizes.nodes,
        sizes.letters,
        sizes.calls,
        sizes.compared,
    );
    checker
}

/// Two searches at once would take the memory of both.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
