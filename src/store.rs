//! Where a node's [`HardState`] survives a restart: the [`VoteStore`] that [`Durable`](crate::Durable) writes to, and
//! the stores that come with the crate.
//!
//! Absent here: when something is saved. That is `combinator/durable.rs`.

#[cfg(feature = "file")]
mod error;
#[cfg(feature = "file")]
mod file;
mod memory;
#[cfg(feature = "file")]
mod record;

use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(feature = "file")]
pub use error::FileStoreError;
#[cfg(feature = "file")]
pub use file::FileStore;
pub use memory::{MemoryStore, MemoryStoreError};

use crate::id::NodeId;
use crate::state::HardState;

/// Keeps the newest [`HardState`] of one node where a restart finds it: in a file, a database, a register that
/// survives.
///
/// A node that forgets its vote can give a second one in the same term, and then two nodes lead in it. So a store
/// that cannot keep what it is given must say so, and one whose content is lost or damaged must not pass for an
/// empty one when the node starts again.
///
/// ```
/// use std::pin::Pin;
/// use std::task::{Context, Poll};
/// use streamraft::{HardState, VoteStore};
///
/// /// A register of battery-backed memory, say. This one is always ready.
/// struct Register(Option<HardState>);
///
/// impl VoteStore for Register {
///     type Error = std::convert::Infallible;
///
///     fn poll_save(
///         mut self: Pin<&mut Self>,
///         _: &mut Context<'_>,
///         state: &HardState,
///     ) -> Poll<Result<(), Self::Error>> {
///         self.0 = Some(state.clone());
///         Poll::Ready(Ok(()))
///     }
/// }
/// ```
///
/// # The contract
/// - The caller calls [`poll_save`](Self::poll_save) with the same state until it is `Ready`, as the task is woken.
///   The first such call begins the save, the one that returns `Ready` ends it; a further call begins another.
/// - `Ready(Ok)` means that a restart after this instant, also one by loss of power, finds this state or a newer one.
/// - Until then a restart finds the state before **or** this one, whole. Never a mixture, never nothing.
/// - A caller that goes away in the middle (it is dropped, or calls with another state) leaves it open which of the
///   two was kept. With another state: what was under way can be given up or waited for, but must never come to lie
///   over the newer one.
/// - `Ready(Err)` means that the state may not have been kept. [`Durable`](crate::Durable) does not call again after
///   an error. A store that wants to try again does so before it answers: while it is pending nothing unsaved leaves
///   the node, and a leader's lease runs out in its own time.
pub trait VoteStore<I = NodeId> {
    /// Why a state could not be kept.
    type Error;

    /// Saves a state, in the place of the one before.
    ///
    /// Pending: the task of `cx` will be woken when a further call with the same state gets on.
    ///
    /// # Errors
    /// The state may not have been kept.
    fn poll_save(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        state: &HardState<I>,
    ) -> Poll<Result<(), Self::Error>>;
}

impl<I, S: VoteStore<I> + Unpin + ?Sized> VoteStore<I> for &mut S {
    type Error = S::Error;

    fn poll_save(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        state: &HardState<I>,
    ) -> Poll<Result<(), S::Error>> {
        Pin::new(&mut **self).poll_save(cx, state)
    }
}

impl<I, S: VoteStore<I> + Unpin + ?Sized> VoteStore<I> for Box<S> {
    type Error = S::Error;

    fn poll_save(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        state: &HardState<I>,
    ) -> Poll<Result<(), S::Error>> {
        Pin::new(&mut **self).poll_save(cx, state)
    }
}
