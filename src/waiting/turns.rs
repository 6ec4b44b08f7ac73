//! Values that wait for their turn, each under its own key.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Room for so many values is kept when the last one is gone. More was a burst, whose memory others may need.
const KEPT: usize = 1024;

/// Values by key, in the order in which their keys came. A key stands in line once, however often it is given a value,
/// so the line is as long as there are keys. Everything takes the same time, however long the line is.
#[derive(Debug)]
pub(crate) struct Turns<K, V> {
    values: HashMap<K, V>,
    /// The keys of `values`, each of them once.
    line: VecDeque<K>,
}

impl<K, V> Turns<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.line.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}

impl<K: Clone + Eq + Hash, V> Turns<K, V> {
    /// Gives a key this value in place of what it had. One that had none stands at the end of the line.
    pub(crate) fn put(&mut self, key: K, value: V) {
        if let Some(present) = self.values.get_mut(&key) {
            *present = value;
        } else {
            self.line.push_back(key.clone());
            self.values.insert(key, value);
        }
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key)
    }

    /// Whose turn it is.
    pub(crate) fn first_mut(&mut self) -> Option<(&K, &mut V)> {
        let key = self.line.front()?;
        let value = self.values.get_mut(key)?;
        Some((key, value))
    }

    /// Takes out whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<(K, V)> {
        let key = self.line.pop_front()?;
        let value = self.values.remove(&key)?;
        if self.line.is_empty() && self.line.capacity() > KEPT {
            *self = Self::default();
        }
        Some((key, value))
    }

    /// Puts whose turn it is at the end of the line.
    pub(crate) fn pass(&mut self) {
        if let Some(key) = self.line.pop_front() {
            self.line.push_back(key);
        }
    }
}

impl<K, V> Default for Turns<K, V> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            line: VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        let mut turns = Turns::default();
        for burst in [10, 100_000_u32] {
            for key in 0..burst {
                turns.put(key, key);
            }
            while turns.pop().is_some() {}
            assert!(turns.line.capacity() <= KEPT && turns.values.capacity() <= 2 * KEPT);
        }
        turns.put(1, 1);
        let few = turns.values.capacity();
        turns.pop();
        assert_eq!(turns.values.capacity(), few, "a few are kept room for");
    }

    #[test]
    fn whoever_has_more_to_say_lets_the_others_go_first() {
        let mut turns = Turns::default();
        for key in ["a", "b", "c"] {
            turns.put(key, 1);
        }
        turns.put("a", 2);
        assert_eq!(turns.first_mut(), Some((&"a", &mut 2)));
        turns.pass();
        assert_eq!(turns.pop(), Some(("b", 1)));
        *turns.get_mut(&"a").unwrap() += 1;
        assert_eq!(turns.get_mut(&"b"), None);
        assert_eq!((turns.pop(), turns.pop()), (Some(("c", 1)), Some(("a", 3))));
        assert_eq!((turns.pop(), turns.len()), (None, 0));
    }
}
