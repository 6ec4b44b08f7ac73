//! A read sees all that was committed before it was asked for (thesis 6.4).

use std::collections::BTreeMap;

use super::{Broken, Event, Invariant};
use crate::id::Id;
use crate::sim::host::Shown;
use crate::sim::log::LogNode;
use crate::sim::world::World;

/// A read that is answered is answered from a state that has all that any leader had committed when it was asked for.
#[derive(Debug)]
pub struct ReadsSeeAll<I> {
    /// The most that any leader has committed.
    committed: u64,
    /// By node, and by the number of its read: what it must see.
    asked: BTreeMap<(I, u64), u64>,
    /// By node: the number of a read that was asked for from outside if it was one, and what it must see.
    outside: BTreeMap<I, (u64, u64)>,
    /// How many of each node's reads are known.
    known: BTreeMap<I, u64>,
    /// How many of each node's answers were looked at.
    seen: BTreeMap<I, usize>,
}

impl<I> Default for ReadsSeeAll<I> {
    fn default() -> Self {
        Self {
            committed: 0,
            asked: BTreeMap::new(),
            outside: BTreeMap::new(),
            known: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }
}

impl<I: Id> ReadsSeeAll<I> {
    /// Notes what all reads must see that were asked since the last time.
    fn note(&mut self, world: &World<LogNode<I>>, id: &I) {
        let Some(node) = world.node(id) else {
            return;
        };
        let known = self.known.insert(id.clone(), node.reads_asked());
        for number in known.unwrap_or_default() + 1..=node.reads_asked() {
            let outside = self.outside.get(id).filter(|(next, _)| *next == number);
            let least = outside.map_or(self.committed, |(_, least)| *least);
            self.asked.insert((id.clone(), number), least);
        }
    }

    /// The node's next read is asked for from outside.
    fn note_next(&mut self, world: &World<LogNode<I>>, id: &I) {
        if let Some(node) = world.node(id) {
            let next = node.reads_asked() + 1;
            self.outside.insert(id.clone(), (next, self.committed));
        }
    }
}

impl<I: Id> Invariant<LogNode<I>> for ReadsSeeAll<I> {
    fn name(&self) -> &'static str {
        "reads see all that was committed"
    }

    fn check(
        &mut self,
        event: &Event<'_, LogNode<I>>,
        world: &World<LogNode<I>>,
    ) -> Result<(), Broken> {
        match event {
            Event::Started { node } => {
                self.seen.remove(*node);
                self.known.remove(*node);
                self.outside.remove(*node);
                self.asked.retain(|(id, _), _| id != *node);
            }
            Event::Asked { node: id, .. } => {
                self.note(world, id);
                self.note_next(world, id);
            }
            Event::Received { to: id, .. } => self.note(world, id),
            Event::Drained { node: id } => {
                let Some(node) = world.node(id) else {
                    return Ok(());
                };
                self.note(world, id);
                if world.shown(id).iter().any(Shown::is_leader) {
                    self.committed = self.committed.max(node.raft().commit());
                }
                let answers = node.reads_answered();
                let seen = self.seen.insert((*id).clone(), answers.len());
                for answer in answers.get(seen.unwrap_or_default()..).unwrap_or_default() {
                    let key = ((*id).clone(), answer.number);
                    let least = self.asked.remove(&key).unwrap_or_default();
                    if answer.index < least {
                        return Err(format!(
                            "{id:?} answers a read from {}, when {least} was committed before it was asked",
                            answer.index
                        )
                        .into());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
