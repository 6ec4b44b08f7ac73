//! What the views of a node's leadership may show, and when.
//!
//! A loss at once. A gain only when the node's owner polls on after it took the state that says so: by then the state
//! has been saved, if it is saved at all, so that no view is ahead of the disk.

use std::sync::OnceLock;

use crate::combinator::feed::Feed;
use crate::combinator::leadership::{Leadership, Publisher, leads};
use crate::id::Id;
use crate::state::NodeState;

#[derive(Debug)]
pub(crate) struct Views<I> {
    /// Made when the first view is asked for.
    publisher: OnceLock<Publisher<I>>,
    /// The state that came out last, until its owner polls on.
    taken: Option<NodeState<I>>,
    /// The term in which the node leads by the state that came out last, and by the last one that was dealt with.
    taken_lead: Option<u64>,
    dealt_with: Option<u64>,
}

impl<I: Id> Views<I> {
    pub(crate) fn new() -> Self {
        Self {
            publisher: OnceLock::new(),
            taken: None,
            taken_lead: None,
            dealt_with: None,
        }
    }

    /// Of a node whose present state has been dealt with, or has not.
    pub(crate) fn of(present: &NodeState<I>, is_dealt_with: bool) -> Self {
        let lead = leads(present)
            .map(|(term, _)| term)
            .filter(|_| is_dealt_with);
        Self {
            taken_lead: lead,
            dealt_with: lead,
            ..Self::new()
        }
    }

    /// What prolongs the lease besides the node's own state.
    pub(crate) fn feed(&self, feed: Option<Feed>) {
        if let Some(publisher) = self.publisher.get() {
            publisher.feed(feed);
        }
    }

    pub(crate) fn view(&self, present: &NodeState<I>) -> Leadership<I> {
        self.publisher
            .get_or_init(|| Publisher::new(present, self.dealt_with))
            .view()
    }

    /// The node's state may have changed.
    pub(crate) fn keep_up(&self, present: &NodeState<I>) {
        if let Some(publisher) = self.publisher.get() {
            publisher.keep_up(present);
        }
    }

    /// A state comes out.
    pub(crate) fn take(&mut self, state: &NodeState<I>) {
        self.taken_lead = leads(state).map(|(term, _)| term);
        self.taken = self.publisher.get().map(|_| state.clone());
    }

    /// The owner polls on.
    pub(crate) fn deal_with(&mut self, present: &NodeState<I>) {
        self.dealt_with = self.taken_lead;
        // Looked at in its place: a node is polled far more often than a state comes out.
        if self.taken.is_some() {
            self.show_taken(present);
        }
    }

    fn show_taken(&mut self, present: &NodeState<I>) {
        if let (Some(publisher), Some(state)) = (self.publisher.get(), self.taken.take()) {
            publisher.show(state, present);
        }
    }
}
