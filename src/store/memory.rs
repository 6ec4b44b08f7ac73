//! A store that keeps the state in memory, for tests. It outlives a node, and it can be told to stall or to fail.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::VoteStore;
use crate::id::{Id, NodeId};
use crate::state::HardState;

/// A [`VoteStore`] for tests: a disk that outlives the node and does what the test says.
///
/// Clones share one disk: the node owns one, the test keeps another. It survives no process: for production there is
/// `FileStore` (feature `file`).
///
/// ```
/// use futures::StreamExt;
/// use streamraft::{Config, MemoryStore, Node, TinyRaft};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let disk = MemoryStore::new();
/// let mut node = TinyRaft::new(Config::new("a", ["a"])?)?.durable(disk.clone());
/// node.next().await; // a cluster of one leads at once, in term 1
///
/// drop(node); // a crash
/// let saved = disk.saved().expect("it voted for itself");
/// assert_eq!(saved.term(), 1);
/// let node = TinyRaft::new(Config::new("a", ["a"])?.restore(saved))?.durable(disk);
/// # Ok(()) }
/// ```
///
/// Whoever waits for a stalled disk is woken by [`recover`](Self::recover) and [`fail`](Self::fail). A save that was
/// given up in the middle has kept nothing.
pub struct MemoryStore<I = NodeId> {
    disk: Arc<Mutex<Disk<I>>>,
}

struct Disk<I> {
    health: Health,
    saved: Option<HardState<I>>,
    saves: u64,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
enum Health {
    Working,
    Stalled,
    Failing,
}

impl<I> MemoryStore<I> {
    /// An empty disk that works.
    #[must_use]
    pub fn new() -> Self {
        Self {
            disk: Arc::new(Mutex::new(Disk {
                health: Health::Working,
                saved: None,
                saves: 0,
                waker: None,
            })),
        }
    }

    /// How many saves have succeeded.
    #[must_use]
    pub fn saves(&self) -> u64 {
        self.disk().saves
    }

    /// From now on no save gets done, until [`recover`](Self::recover) or [`fail`](Self::fail).
    pub fn stall(&self) {
        self.set(Health::Stalled);
    }

    /// From now on every save fails, the one under way too.
    pub fn fail(&self) {
        self.set(Health::Failing);
    }

    /// Works again, and finishes what has stalled.
    pub fn recover(&self) {
        self.set(Health::Working);
    }

    fn set(&self, health: Health) {
        let mut disk = self.disk();
        disk.health = health;
        let waker = disk.waker.take();
        drop(disk);
        waker.into_iter().for_each(Waker::wake);
    }

    /// A panic of another thread cannot have left it half changed.
    fn disk(&self) -> MutexGuard<'_, Disk<I>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: Id> MemoryStore<I> {
    /// What a restart finds.
    #[must_use]
    pub fn saved(&self) -> Option<HardState<I>> {
        self.disk().saved.clone()
    }
}

impl<I: Id> VoteStore<I> for MemoryStore<I> {
    type Error = MemoryStoreError;

    fn poll_save(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        state: &HardState<I>,
    ) -> Poll<Result<(), MemoryStoreError>> {
        let mut disk = self.disk();
        match disk.health {
            Health::Working => {
                disk.saved = Some(state.clone());
                disk.saves = disk.saves.saturating_add(1);
                Poll::Ready(Ok(()))
            }
            Health::Failing => Poll::Ready(Err(MemoryStoreError(()))),
            Health::Stalled => {
                disk.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<I> Clone for MemoryStore<I> {
    fn clone(&self) -> Self {
        Self {
            disk: Arc::clone(&self.disk),
        }
    }
}

impl<I> Default for MemoryStore<I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: fmt::Debug> fmt::Debug for MemoryStore<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk();
        f.debug_struct("MemoryStore")
            .field("health", &disk.health)
            .field("saved", &disk.saved)
            .field("saves", &disk.saves)
            .finish_non_exhaustive()
    }
}

/// A save to a [`MemoryStore`] that was told to [`fail`](MemoryStore::fail). The disk is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryStoreError(());

impl fmt::Display for MemoryStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the memory store was told to fail")
    }
}

impl std::error::Error for MemoryStoreError {}
