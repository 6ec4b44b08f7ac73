//! What the simulator can drive: an [`Election`], and every layer above one.

use std::error::Error;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use super::timing::Timing;
use crate::config::Config;
use crate::election::Election;
use crate::id::Id;
use crate::message::{Message, MessageKind};
use crate::state::HardState;

/// Why a node could not be started.
pub type StartError = Box<dyn Error + Send + Sync>;

/// A node's protocol without clock, I/O and randomness of its own: what the simulator drives.
///
/// [`Election`] is one. A layer above owns an `Election` (or many), has messages, inputs and a disk of its own, and shows
/// the simulator its elections, so that the same [invariants](super::invariant) are checked under it.
///
/// The law of its use is the election's: after every call that takes `now`, and is no question, all of
/// [`poll_output`](Self::poll_output) is taken out. While a [`Save`](Output::Save) is under way nothing is taken out and no
/// timeout is handled, but input goes in: just as in a [`Durable`](crate::Durable) node.
///
/// The example `own_log` writes one for a log of its own.
pub trait Machine: Sized {
    /// What names the nodes.
    type Id: Id;
    /// What they say to each other. Hashed into the digest of a run.
    type Message: Clone + Debug + Hash;
    /// What a node's owner can ask of it.
    type Input: Clone + Debug;
    /// What it writes to its disk. Hashed into the digest of a run.
    type Write: Clone + Debug + Hash;
    /// All that its disk holds. The default is an empty disk.
    type Saved: Clone + Default + Debug;

    /// Whether a node that saves one of its elections still shows the others. Then [`elections`](Self::elections) gives each
    /// as of when its last state was saved. Else nothing is shown while it saves.
    const SHOWS_WHILE_IT_SAVES: bool = false;

    /// Takes a message from another node.
    fn receive(&mut self, now: Instant, from: &Self::Id, message: Self::Message);

    /// Takes what its owner asks. False if it refuses.
    fn ask(&mut self, now: Instant, input: Self::Input) -> bool;

    /// Does what has fallen due.
    fn handle_timeout(&mut self, now: Instant);

    /// When it wants [`handle_timeout`](Self::handle_timeout) next.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next thing that must leave the node, until there is none.
    fn poll_output(&mut self, now: Instant)
    -> Option<Output<Self::Id, Self::Message, Self::Write>>;

    /// The oldest [`Append`](Output::Append) of which it has not been told yet is on the disk.
    fn appended(&mut self, now: Instant) {
        let _ = now;
    }

    /// Whether it keeps what it has to say to itself until an [`Append`](Output::Append) is on the disk.
    fn waits_for_disk(&self) -> bool {
        false
    }

    /// Puts a write onto a disk.
    fn write(saved: &mut Self::Saved, write: Self::Write);

    /// Whether the disk holds this already, so that nothing has to be written.
    fn is_saved(saved: &Self::Saved, write: &Self::Write) -> bool {
        let _ = (saved, write);
        false
    }

    /// The elections that it takes part in, each with the number of its group. One election is group 0.
    fn elections(&self) -> impl Iterator<Item = (u64, &Election<Self::Id>)>;

    /// The elections' hard states on a disk, by group.
    fn hard_states(saved: &Self::Saved) -> impl Iterator<Item = (u64, &HardState<Self::Id>)>;

    /// The elections' messages in a message, by group.
    fn messages(message: &Self::Message) -> impl Iterator<Item = (u64, &Message<Self::Id>)>;

    /// Of which elections a message that this node has just taken is a leader's sign of life, by which its vote is bound: the
    /// group and the leader's term. Pings are.
    fn heard(&self, from: &Self::Id, message: &Self::Message) -> Vec<(u64, u64)> {
        let _ = from;
        let is_ping =
            |message: &Message<Self::Id>| matches!(message.kind, MessageKind::Ping { .. });
        let pings = Self::messages(message).filter(|(_, message)| is_ping(message));
        pings
            .map(|(group, message)| (group, message.term))
            .collect()
    }

    /// Of which elections it may be one: in a layer above also a message in which there is no election's message at all,
    /// from whoever is followed.
    fn may_have_heard(&self, from: &Self::Id, message: &Self::Message) -> Vec<(u64, u64)> {
        if Self::messages(message).next().is_some() {
            return self.heard(from, message);
        }
        let follows = |election: &Election<Self::Id>| election.state().leader() == Some(from);
        let followed = self.elections().filter(|(_, election)| follows(election));
        followed
            .map(|(group, election)| (group, election.state().term()))
            .collect()
    }

    /// A few words for a chart. The first word of the debug form if this is not overwritten.
    fn label(message: &Self::Message) -> String {
        first_word(message)
    }
}

/// The name of an enum's variant or of a struct, as its debug form begins.
pub(super) fn first_word(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    text.chars().take(end.unwrap_or(text.len())).collect()
}

/// What comes out of a [`Machine`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Output<I, M, W> {
    /// Write ahead: what comes behind it leaves the node when this is on the disk. A crash before that leaves open whether
    /// it was written.
    Save(W),
    /// Write behind: goes on at once. [`Machine::appended`] tells when it is on the disk. A crash before that keeps some
    /// of these, in the order in which they came.
    Append(W),
    /// To another node.
    Send(I, M),
}

/// What a node is started with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Boot<'a, M: Machine> {
    /// Who it is.
    pub id: &'a M::Id,
    /// The time by its own clock.
    pub now: Instant,
    /// For its randomness. Another one at every start.
    pub seed: u64,
    /// What its disk holds.
    pub saved: &'a M::Saved,
    /// The cluster's durations.
    pub timing: &'a Timing,
    /// The voters that the cluster begins with.
    pub voters: &'a [M::Id],
    /// Its disk was lost. Under the same id it may have voted, and does not know.
    pub has_lost_disk: bool,
}

impl<M: Machine> Clone for Boot<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for Boot<'_, M> {}

impl<M: Machine> Boot<'_, M> {
    /// The settings of group 0's election; see [`config_of`](Self::config_of).
    ///
    /// # Errors
    /// An id that stands twice among the voters.
    pub fn config(&self) -> Result<Config<M::Id>, StartError> {
        self.config_of(0)
    }

    /// The settings of a group's election: the cluster's durations, the voters it begins with, this start's seed, and the
    /// hard state of the disk. [`Config::join`] for who is not among the voters or has lost its disk.
    ///
    /// # Errors
    /// An id that stands twice among the voters.
    pub fn config_of(&self, group: u64) -> Result<Config<M::Id>, StartError> {
        let joins = self.has_lost_disk || !self.voters.contains(self.id);
        let config = if joins {
            Config::join(self.id.clone())
        } else {
            Config::with_id(self.id.clone(), self.voters.iter().cloned())?
        };
        let config = self.timing.tune(config).seed(self.seed);
        let mut kept = M::hard_states(self.saved).filter(|(of, _)| *of == group);
        Ok(match kept.next() {
            Some((_, hard_state)) => config.restore(hard_state.clone()),
            None => config,
        })
    }
}
