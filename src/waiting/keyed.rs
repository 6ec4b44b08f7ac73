//! Messages of many groups that wait for one machine.

use std::fmt;
use std::hash::Hash;

use super::{Payload, Turns, Waiting};
use crate::message::{Message, Place};

/// What waits for one machine of the messages of many groups, each with its group's key: at most one request and one
/// reply of each group, where a newer one replaces an older one. They leave in the order in which their places were
/// filled, so no group can hold up another.
///
/// Bounded by the groups: two messages each, and a few of the link between the two machines. To put and to take takes the
/// same time, however many wait.
///
/// ```
/// use streamraft::{Keyed, Message, MessageKind, Stamp, Waiting};
///
/// let ping = |group, round| {
///     let kind = MessageKind::Ping { round, succession: None };
///     (group, Message::<u64>::new(1, Stamp::new(0, 1), kind))
/// };
/// let mut waiting = Keyed::default();
/// for message in [ping("orders", 1), ping("bills", 1), ping("orders", 2)] {
///     waiting.put(message);
/// }
/// assert_eq!(waiting.len(), 2);
/// assert_eq!(waiting.take(), Some(ping("orders", 2)));
/// assert_eq!(waiting.take(), Some(ping("bills", 1)));
/// assert_eq!(waiting.take(), None);
/// ```
pub struct Keyed<K, M> {
    /// The key stands before the place of a message of a group, and before a message of the link, which has its place
    /// whatever its key is.
    places: Turns<(Option<K>, Place), (Option<K>, M)>,
}

impl<K, M> Keyed<K, M> {
    /// How many messages wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl<K: Clone + Eq + Hash, I> Waiting<(K, Message<I>)> for Keyed<K, Message<I>> {
    fn put(&mut self, (key, message): (K, Message<I>)) {
        let place = message.kind.place();
        if place.is_of_group() {
            self.places.put((Some(key), place), (None, message));
        } else {
            self.places.put((None, place), (Some(key), message));
        }
    }

    fn take(&mut self) -> Option<(K, Message<I>)> {
        let ((of_group, _), (of_link, message)) = self.places.pop()?;
        Some((of_group.or(of_link)?, message))
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl<K: Clone + Eq + Hash, I> Payload for (K, Message<I>) {
    type Waiting = Keyed<K, Message<I>>;
}

impl<K: Clone + Eq + Hash, M> Default for Keyed<K, M> {
    fn default() -> Self {
        Self {
            places: Turns::default(),
        }
    }
}

impl<K, M> fmt::Debug for Keyed<K, M> {
    /// How many, since there can be a hundred thousand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
