//! What waits for one peer until there is room for it: which messages are kept, and which are let go.
//!
//! Absent here: sinks, connections, and bytes.

mod keyed;
mod queue;
mod turns;
mod two_slots;

pub use keyed::Keyed;
pub use queue::{Queue, Queued};
pub(crate) use turns::Turns;
pub use two_slots::TwoSlots;

use crate::message::Slotted;

/// What a [`Router`](crate::Router), [`lossy`](crate::lossy) and `Mesh` carry. It chooses how it waits for one peer whose
/// socket is full, so that a stuck peer costs a bounded amount of memory and nobody else.
///
/// | a message | waits |
/// |---|---|
/// | of a node, and whatever else is [`Slotted`] | in two places, where a newer one replaces an older one: [`TwoSlots`] |
/// | of one of many groups, `(K, Message<I>)` | in two places for each group: [`Keyed`] |
/// | that must keep its order, as a log's | in line, up to a bound: [`Queue`] |
///
/// ```
/// use streamraft::{Payload, Slot, Slotted, TwoSlots, Waiting};
///
/// /// Only the newest counts.
/// #[derive(Debug, PartialEq)]
/// struct Position(u64);
///
/// impl Slotted for Position {
///     fn slot(&self) -> Slot {
///         Slot::Request
///     }
/// }
///
/// fn waiting<M: Payload>() -> M::Waiting {
///     M::Waiting::default()
/// }
/// let mut waiting: TwoSlots<Position> = waiting::<Position>();
/// waiting.put(Position(1));
/// waiting.put(Position(2));
/// assert_eq!(waiting.take(), Some(Position(2)));
/// assert!(waiting.is_empty());
/// ```
pub trait Payload: Sized {
    /// What waits for one peer.
    type Waiting: Waiting<Self>;
}

impl<M: Slotted> Payload for M {
    type Waiting = TwoSlots<M>;
}

/// What waits for one peer. One of your own must be bounded by itself, whatever is put into it: nothing else bounds it.
pub trait Waiting<M>: Default {
    /// Puts a message to the others. What has to give way for it, or it itself, is let go.
    fn put(&mut self, message: M);

    /// Takes the message that is to leave next. `None` only when nothing waits.
    fn take(&mut self) -> Option<M>;

    /// Whether nothing waits.
    fn is_empty(&self) -> bool;

    /// Lets go of all that waits.
    fn clear(&mut self) {
        *self = Self::default();
    }
}
