//! Memberships that are the same are kept once: most groups of a process have the same members, often under the same stamp.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};

use super::Elections;
use crate::id::Id;
use crate::membership::{Membership, SharedMembership};

/// Memberships by digest. Holds none alive.
#[derive(Clone, Debug)]
pub(super) struct Shared<I> {
    known: HashMap<u64, Weak<Membership<I>>>,
    /// When there are so many, those that nobody holds any more are let go.
    clean_at: usize,
}

impl<I> Default for Shared<I> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            clean_at: 64,
        }
    }
}

impl<I: Id> Shared<I> {
    /// The same membership, as it was met first.
    fn share(&mut self, membership: &SharedMembership<I>) -> Option<SharedMembership<I>> {
        let mut hasher = DefaultHasher::new();
        membership.hash(&mut hasher);
        let entry = self.known.entry(hasher.finish()).or_default();
        let known = entry.upgrade().filter(|known| known == membership);
        if known.is_none() {
            *entry = Arc::downgrade(membership);
            if self.known.len() > self.clean_at {
                self.known.retain(|_, known| known.strong_count() > 0);
                self.clean_at = self.known.len().max(32) * 2;
            }
        }
        known
    }
}

impl<K: Id, I: Id> Elections<K, I> {
    /// Has a group hold its membership together with the others that have the same.
    pub(super) fn share_membership(&mut self, place: u32) {
        let slot = self.groups.get_mut(place as usize);
        if let Some(group) = slot.and_then(Option::as_deref_mut) {
            let membership = group.election.state().hard_state().membership();
            if let Some(shared) = self.shared.share(membership) {
                group.election.share_membership(shared);
            }
        }
    }
}
