//! A state machine of a test's own on a simulated node.

use std::any::Any;
use std::fmt::Debug;

use bytes::Bytes;

use super::{DIGESTS, LogNode};
use crate::id::Id;
use crate::raft::{Entry, EntryKind};

/// What a node of a simulated cluster of logs applies its entries to, if a test brings a state machine of its own:
/// [`LogNode::with_state`].
pub trait LogState: Any + Debug {
    /// Takes the next proposal that is committed.
    fn apply(&mut self, entry: &Entry);

    /// All of it, for a snapshot.
    fn snapshot(&self) -> Bytes;

    /// Becomes what a [`snapshot`](Self::snapshot) holds.
    fn restore(&mut self, data: &[u8]);
}

impl<I: Id> LogNode<I> {
    /// Has a state machine besides the digest of all that it applies. It begins with the snapshot on the node's disk, and takes
    /// what is committed from there on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytes::Bytes;
    /// use streamraft::raft::{Entry, LogLimits};
    /// use streamraft::sim::{Cluster, LogInput, LogNode, LogState};
    ///
    /// /// How many bytes were proposed.
    /// #[derive(Debug, Default)]
    /// struct Total(u64);
    ///
    /// impl LogState for Total {
    ///     fn apply(&mut self, entry: &Entry) {
    ///         self.0 += entry.data.len() as u64;
    ///     }
    ///     fn snapshot(&self) -> Bytes {
    ///         Bytes::copy_from_slice(&self.0.to_be_bytes())
    ///     }
    ///     fn restore(&mut self, data: &[u8]) {
    ///         self.0 = data.try_into().map_or(0, u64::from_be_bytes);
    ///     }
    /// }
    ///
    /// let cluster = Cluster::of([1, 2, 3], |boot| {
    ///     Ok(LogNode::new(boot, LogLimits::default())?.with_state(Total::default()))
    /// });
    /// let mut cluster = cluster.build(7)?;
    /// let leader = cluster.settle(Duration::from_secs(1))?;
    /// cluster.ask(&leader, LogInput::Entry(Bytes::from_static(b"four")))?;
    /// cluster.run(Duration::from_millis(100))?;
    /// for (_, node) in cluster.world().running() {
    ///     assert_eq!(node.state::<Total>().unwrap().0, 4);
    /// }
    /// # Ok::<(), streamraft::sim::Failure>(())
    /// ```
    #[must_use]
    pub fn with_state(mut self, state: impl LogState) -> Self {
        self.state = Some(Box::new(state));
        self.restore_state();
        self
    }

    /// The state machine that it was made with, if it is of this type.
    #[must_use]
    pub fn state<S: LogState>(&self) -> Option<&S> {
        let state: &dyn Any = self.state.as_deref()?;
        state.downcast_ref()
    }

    pub(super) fn apply_to_state(&mut self, entry: &Entry) {
        if let Some(state) = &mut self.state
            && entry.kind == EntryKind::Proposal
        {
            state.apply(entry);
        }
    }

    /// The state becomes what the snapshot of the store holds, if there is one.
    pub(super) fn restore_state(&mut self) {
        if let Some(state) = &mut self.state
            && let Some((_, data)) = self.store.snapshot()
            && let Some((_, of_state)) = data.split_at_checked(DIGESTS)
        {
            state.restore(of_state);
        }
    }
}
