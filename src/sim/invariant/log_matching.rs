//! Two logs with the same entry are the same up to it (paper figure 3, log matching).

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::message::LogPosition;
use crate::sim::log::LogNode;
use crate::sim::world::World;

/// Whatever entries two nodes ever held at one index and of one term are the same, and so are all before them.
#[derive(Debug)]
pub struct LogMatching<I> {
    /// By position: the digest of the entry and of all before it.
    entries: BTreeMap<LogPosition, u64>,
    /// How much of each node's history was looked at.
    seen: BTreeMap<I, usize>,
}

impl<I> Default for LogMatching<I> {
    fn default() -> Self {
        let (entries, seen) = (BTreeMap::new(), BTreeMap::new());
        Self { entries, seen }
    }
}

impl<I: Id> Invariant<LogNode<I>> for LogMatching<I> {
    fn name(&self) -> &'static str {
        "logs match"
    }

    fn check(
        &mut self,
        event: &Event<'_, LogNode<I>>,
        world: &World<LogNode<I>>,
    ) -> Result<(), Broken> {
        match event {
            Event::Started { node } => {
                self.seen.remove(*node);
            }
            Event::Drained { node: id } => {
                let history = world.node(id).map_or(&[][..], LogNode::history);
                let seen = self.seen.entry((*id).clone()).or_default();
                for held in history.get(*seen..).unwrap_or_default() {
                    let known = *self.entries.entry(held.position).or_insert(held.digest);
                    if known != held.digest {
                        let LogPosition { term, index } = held.position;
                        return Err(format!(
                            "{id:?} holds another entry {index} of term {term}, or others before it, than was seen before"
                        )
                        .into());
                    }
                }
                *seen = history.len();
            }
            _ => {}
        }
        Ok(())
    }
}
