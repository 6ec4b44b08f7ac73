//! What the clients know: what was acknowledged to them, and what they have read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Kept by all clients together.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By key: the newest entry that somebody was told to have written it.
    floors: BTreeMap<String, u64>,
    /// When writes were acknowledged.
    acknowledged: Vec<Instant>,
    newest: u64,
    reads: usize,
}

impl Ledger {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write was acknowledged.
    pub(crate) fn wrote(&self, key: &str, index: u64) {
        let mut known = self.known();
        known.raise(key, index);
        known.acknowledged.push(Instant::now());
        known.newest = known.newest.max(index);
    }

    /// A read has seen what this entry wrote. No later one may see less.
    pub(crate) fn saw(&self, key: &str, index: u64) {
        let mut known = self.known();
        known.raise(key, index);
        known.reads += 1;
    }

    /// One of the keys that were written.
    pub(crate) fn any(&self, choice: u64) -> Option<String> {
        let known = self.known();
        let len = known.floors.len() as u64;
        let at = usize::try_from(choice.checked_rem(len)?).ok()?;
        known.floors.keys().nth(at).cloned()
    }

    /// The least that a read of this key which begins now must see.
    pub(crate) fn floor(&self, key: &str) -> u64 {
        self.known().floors.get(key).copied().unwrap_or(0)
    }

    pub(crate) fn writes(&self) -> usize {
        self.known().acknowledged.len()
    }

    pub(crate) fn reads(&self) -> usize {
        self.known().reads
    }

    /// The newest entry that was acknowledged.
    pub(crate) fn newest(&self) -> u64 {
        self.known().newest
    }

    /// For how long no client got an acknowledgement, at most, since then.
    pub(crate) fn longest_pause(&self, since: Instant) -> Duration {
        let known = self.known();
        let later = known.acknowledged.iter().copied().filter(|at| *at > since);
        let (mut before, mut longest) = (since, Duration::ZERO);
        for at in later.chain([Instant::now()]) {
            longest = longest.max(at - before);
            before = at;
        }
        longest
    }
}

impl Known {
    fn raise(&mut self, key: &str, index: u64) {
        let floor = self.floors.entry(key.to_owned()).or_default();
        *floor = index.max(*floor);
    }
}
