//! How far the state machine is, told by the one who applies to the node whose clients wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;

use tokio::sync::mpsc;

/// Everything counts as applied: there is no state machine.
const ALL: u64 = u64::MAX;

/// There was one, and it is gone. No entry has such an index.
const GONE: u64 = ALL - 1;

/// What both sides write. Each writes its own before it reads the other's, so that one of them sees that the wait is over.
#[derive(Debug)]
struct Shared {
    applied: AtomicU64,
    /// The least index that the node waits for.
    wanted: AtomicU64,
}

/// The node's side.
#[derive(Debug)]
pub(super) struct Mark {
    shared: Arc<Shared>,
    /// That it was reached.
    news: mpsc::Receiver<()>,
    to_tell: mpsc::Sender<()>,
}

/// The state machine's side. Dropped, it holds up nobody any more, and nobody is told that it has applied something.
#[derive(Debug)]
pub(super) struct Marker {
    shared: Arc<Shared>,
    tell: mpsc::Sender<()>,
    /// What was wanted when it was told last.
    told: u64,
    last: u64,
}

impl Mark {
    /// Without a state machine.
    pub(super) fn new() -> Self {
        let (to_tell, news) = mpsc::channel(1);
        Self {
            shared: Arc::new(Shared::new(ALL)),
            news,
            to_tell,
        }
    }

    /// A state machine that has applied all up to here, in the place of the one before.
    pub(super) fn begin(&mut self, from: u64) -> Marker {
        self.shared = Arc::new(Shared::new(from));
        Marker {
            shared: Arc::clone(&self.shared),
            tell: self.to_tell.clone(),
            told: ALL,
            last: from,
        }
    }

    /// Up to which index all is applied, or nobody waits for it any more.
    pub(super) fn index(&self) -> u64 {
        self.shared.applied.load(Ordering::SeqCst)
    }

    /// Whether the state machine is gone, and how far it has come is not known.
    pub(super) fn is_gone(&self) -> bool {
        self.index() == GONE
    }

    /// Wants to be woken when this index is applied, the next one that is waited for. Whether it is already.
    pub(super) fn want(&self, index: u64) -> bool {
        self.shared.wanted.store(index, Ordering::SeqCst);
        self.index() >= index
    }

    /// Takes the news that something is applied. The task of `cx` is woken by the next.
    pub(super) fn poll_news(&mut self, cx: &mut Context<'_>) {
        while self.news.poll_recv(cx).is_ready() {}
    }
}

impl Shared {
    fn new(applied: u64) -> Self {
        Self {
            applied: AtomicU64::new(applied),
            wanted: AtomicU64::new(ALL),
        }
    }
}

impl Marker {
    /// All up to this index is applied.
    pub(super) fn set(&mut self, index: u64) {
        if index == self.last {
            return;
        }
        self.last = index;
        self.shared.applied.store(index, Ordering::SeqCst);
        let wanted = self.shared.wanted.load(Ordering::SeqCst);
        if wanted <= index && wanted != self.told {
            self.told = wanted;
            // If there is no room, the node has news already.
            let _ = self.tell.try_send(());
        }
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        self.set(GONE);
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::task;

    use super::*;

    #[test]
    fn who_waits_is_woken_once_when_it_is_applied() {
        let mut mark = Mark::new();
        assert!(mark.want(1_000), "without a state machine nobody waits");
        assert!(!mark.is_gone());
        let mut marker = mark.begin(5);
        assert_eq!(mark.index(), 5);
        assert!(mark.want(5) && !mark.want(7));
        let mut node = task::spawn(());
        node.enter(|cx, _| mark.poll_news(cx));
        marker.set(6);
        assert!(!node.is_woken());
        marker.set(7);
        assert!(node.is_woken());
        node.enter(|cx, _| mark.poll_news(cx));
        marker.set(8);
        assert!(!node.is_woken(), "nobody waits for that");
        assert!(mark.want(8) && !mark.want(10));
        marker.set(20);
        assert!(node.is_woken());
        assert_eq!(mark.index(), 20);
    }

    #[test]
    fn a_state_machine_that_is_gone_holds_up_nobody_and_an_older_one_says_nothing() {
        let mut mark = Mark::new();
        let mut older = mark.begin(1);
        let newer = mark.begin(3);
        older.set(9);
        assert_eq!(mark.index(), 3);
        assert!(!mark.want(5));
        let mut node = task::spawn(());
        node.enter(|cx, _| mark.poll_news(cx));
        drop(older);
        assert!(!node.is_woken());
        drop(newer);
        assert!(node.is_woken() && mark.want(5) && mark.is_gone());
        let _third = mark.begin(7);
        assert!(!mark.is_gone() && !mark.want(8));
    }
}
