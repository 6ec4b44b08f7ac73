//! Messages on their way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A message on its way, by the places of sender and receiver among the nodes.
#[derive(Debug)]
pub(super) struct Letter<T> {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) sent: u64,
    pub(super) message: T,
}

/// All that is on its way, the earliest first; what arrives at one instant in the order in which it was sent.
#[derive(Debug)]
pub(super) struct Post<T> {
    /// When, which of all that were ever sent, and where the letter is kept.
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    letters: Vec<Option<Letter<T>>>,
    free: Vec<usize>,
    count: u64,
}

impl<T> Post<T> {
    pub(super) const fn new() -> Self {
        Self {
            order: BinaryHeap::new(),
            letters: Vec::new(),
            free: Vec::new(),
            count: 0,
        }
    }

    /// When the next one arrives.
    pub(super) fn next(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn send(&mut self, at: u64, letter: Letter<T>) {
        self.count += 1;
        self.put(at, self.count, letter);
    }

    /// Puts one back that could not be delivered yet, in front of those that were sent after it.
    pub(super) fn put(&mut self, at: u64, number: u64, letter: Letter<T>) {
        let place = self.free.pop().unwrap_or(self.letters.len());
        match self.letters.get_mut(place) {
            Some(slot) => *slot = Some(letter),
            None => self.letters.push(Some(letter)),
        }
        self.order.push(Reverse((at, number, place)));
    }

    /// Takes the next one out, with its number.
    pub(super) fn take(&mut self) -> Option<(u64, Letter<T>)> {
        let Reverse((_, number, place)) = self.order.pop()?;
        self.free.push(place);
        let letter = self.letters.get_mut(place)?.take()?;
        Some((number, letter))
    }
}
