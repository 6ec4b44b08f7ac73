//! Messages that must keep their order, up to a bound.

use std::collections::VecDeque;
use std::fmt;

use super::{TwoSlots, Waiting};
use crate::message::Slot;

/// A message of which some kinds wait in a [`Slot`] and all others in line, as a [`Queue`] keeps them. The type must not be
/// [`Slotted`](crate::Slotted), since it would wait in two places only.
pub trait Queued: Sized {
    /// How many may wait in line for one peer; at least one may. Default 64.
    const MAX_COUNT: usize = 64;

    /// How many bytes may wait in line for one peer, by [`size`](Self::size). Default 4 MiB. A message that is larger
    /// waits only where nothing stands before it.
    const MAX_BYTES: usize = 4 << 20;

    /// The place of a message of which only the newest counts. `None`: it waits in line.
    fn slot(&self) -> Option<Slot>;

    /// The bytes that it holds, or about so many.
    fn size(&self) -> usize;
}

/// First what has a [`Slot`] (at most one of each, where a newer message replaces an older one), then the others in the
/// order in which they came.
///
/// Where the line is full, by count or by bytes, a new message is let go and those before it stay: what is left has no
/// gap, and who sends in order repeats from the first that is missing anyway. So it is for messages whose sender counts
/// on no more than the answers it gets.
///
/// ```
/// use streamraft::{Payload, Queue, Queued, Slot, Waiting};
///
/// #[derive(Debug, PartialEq)]
/// enum Say {
///     Alive,
///     Entry(u64),
/// }
///
/// impl Queued for Say {
///     const MAX_COUNT: usize = 2;
///
///     fn slot(&self) -> Option<Slot> {
///         matches!(self, Self::Alive).then_some(Slot::Request)
///     }
///
///     fn size(&self) -> usize {
///         size_of::<Self>()
///     }
/// }
///
/// impl Payload for Say {
///     type Waiting = Queue<Self>;
/// }
///
/// let mut waiting = Queue::default();
/// for say in [Say::Entry(1), Say::Entry(2), Say::Entry(3), Say::Alive, Say::Alive] {
///     waiting.put(say);
/// }
/// let left: Vec<Say> = std::iter::from_fn(|| waiting.take()).collect();
/// assert_eq!(left, [Say::Alive, Say::Entry(1), Say::Entry(2)]);
/// ```
pub struct Queue<M> {
    slots: TwoSlots<M>,
    /// Each with its size when it came.
    line: VecDeque<(usize, M)>,
    /// The sum of the sizes.
    bytes: usize,
}

impl<M: Queued> Queue<M> {
    /// Whether a message of this size may stand in line.
    fn has_room(&self, size: usize) -> bool {
        let bytes = self.bytes.saturating_add(size);
        self.line.is_empty() || (self.line.len() < M::MAX_COUNT && bytes <= M::MAX_BYTES)
    }
}

impl<M: Queued> Waiting<M> for Queue<M> {
    fn put(&mut self, message: M) {
        if let Some(slot) = message.slot() {
            self.slots.put_into(slot, message);
            return;
        }
        let size = message.size();
        if self.has_room(size) {
            self.bytes = self.bytes.saturating_add(size);
            self.line.push_back((size, message));
        }
    }

    fn take(&mut self) -> Option<M> {
        if let Some(message) = self.slots.take_next() {
            return Some(message);
        }
        let (size, message) = self.line.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size);
        Some(message)
    }

    fn is_empty(&self) -> bool {
        self.slots.has_none() && self.line.is_empty()
    }
}

impl<M> Default for Queue<M> {
    fn default() -> Self {
        Self {
            slots: TwoSlots::default(),
            line: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<M> fmt::Debug for Queue<M> {
    /// The messages themselves can be large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("in_line", &self.line.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
