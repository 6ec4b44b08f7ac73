//! A node has only so much to say at a time: what waits in it is bounded by the number of its peers.

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::sim::machine::Machine;
use crate::sim::world::World;

/// Between two times that a node has nothing to say or something to save, it sends no peer more than so many messages: two in an election, a
/// request and a reply. In every cluster of [elections](crate::sim::Cluster::elections).
#[derive(Debug)]
pub struct OutputsBounded<I> {
    most: usize,
    /// By sender and receiver, since the sender had nothing to say or to save.
    sent: BTreeMap<(I, I), usize>,
}

impl<I> OutputsBounded<I> {
    /// At most so many messages to each peer.
    #[must_use]
    pub const fn per_peer(most: usize) -> Self {
        let sent = BTreeMap::new();
        Self { most, sent }
    }
}

impl<M: Machine> Invariant<M> for OutputsBounded<M::Id> {
    fn name(&self) -> &'static str {
        "outputs bounded"
    }

    fn check(&mut self, event: &Event<'_, M>, _: &World<M>) -> Result<(), Broken> {
        match event {
            Event::Sent { from, to, .. } => {
                let link = ((*from).clone(), (*to).clone());
                let count = self.sent.entry(link).or_default();
                *count += 1;
                if *count > self.most {
                    return Err(format!("{from:?} sends {to:?} {count} messages at a time").into());
                }
            }
            // While it waits for its disk it takes input, and may answer that after it.
            Event::Drained { .. } | Event::Crashed { .. } | Event::Saved { .. } => {
                self.sent.clear();
            }
            _ => {}
        }
        Ok(())
    }
}
