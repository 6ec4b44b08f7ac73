//! What must hold at every step of a run, whatever fails: one invariant, one file.
//!
//! Those of elections are checked in every [`Cluster`](super::Cluster), under every [`Machine`] that holds elections; those of
//! logs (feature `log`) in every cluster of logs. Your own are added by [`Builder::invariant`](super::Builder::invariant).

#[cfg(feature = "log")]
mod applied_alike;
#[cfg(feature = "log")]
mod committed_on_quorum;
mod elected;
#[cfg(feature = "log")]
mod leader_append_only;
#[cfg(feature = "log")]
mod leader_complete;
mod leader_stays;
mod leader_steps_down;
mod lease_backed;
mod leases_apart;
#[cfg(feature = "log")]
mod log_matching;
#[cfg(feature = "log")]
mod log_settles;
mod newest_membership;
mod one_leader;
mod one_vote;
mod outputs_bounded;
mod pre_voted;
mod quorums_overlap;
#[cfg(feature = "log")]
mod reads_see_all;
mod settles;
mod terms_grow;
mod withholds;
mod written_ahead;

#[cfg(feature = "log")]
pub use applied_alike::AppliedAlike;
#[cfg(feature = "log")]
pub use committed_on_quorum::CommittedOnQuorum;
pub use elected::Elected;
#[cfg(feature = "log")]
pub use leader_append_only::LeaderAppendOnly;
#[cfg(feature = "log")]
pub use leader_complete::LeaderComplete;
pub use leader_stays::LeaderStays;
pub use leader_steps_down::LeaderStepsDown;
pub use lease_backed::LeaseBacked;
pub use leases_apart::LeasesApart;
#[cfg(feature = "log")]
pub use log_matching::LogMatching;
#[cfg(feature = "log")]
pub use log_settles::LogSettles;
pub use newest_membership::NewestMembership;
pub use one_leader::OneLeader;
pub use one_vote::OneVote;
pub use outputs_bounded::OutputsBounded;
pub use pre_voted::PreVoted;
pub use quorums_overlap::QuorumsOverlap;
#[cfg(feature = "log")]
pub use reads_see_all::ReadsSeeAll;
pub use settles::Settles;
pub use terms_grow::TermsGrow;
pub use withholds::Withholds;
pub use written_ahead::WrittenAhead;

use std::fmt;

use super::machine::Machine;
use super::world::World;

/// Something that must hold at every step of a run.
///
/// It is told of every event in the order in which they happen, keeps what it must remember, and says when something is
/// wrong.
///
/// ```
/// use streamraft::sim::{self, Broken, Event, Invariant, Machine, World};
///
/// /// Nobody gets beyond a hundred terms.
/// #[derive(Debug)]
/// struct FewTerms;
///
/// impl<M: Machine> Invariant<M> for FewTerms {
///     fn name(&self) -> &'static str { "few terms" }
///
///     fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken> {
///         let Event::Drained { node } = event else { return Ok(()) };
///         match world.shown(node).iter().find(|shown| shown.term > 100) {
///             Some(shown) => Err(format!("{node:?} is in term {}", shown.term).into()),
///             None => Ok(()),
///         }
///     }
/// }
///
/// sim::Cluster::elections([1, 2, 3]).invariant(|| FewTerms).check(0..3)?;
/// # Ok::<(), sim::Failure>(())
/// ```
pub trait Invariant<M: Machine>: fmt::Debug {
    /// A few words for the report of a failure.
    fn name(&self) -> &'static str;

    /// Looks at what has just happened, in the world as it is after that.
    ///
    /// # Errors
    /// What is wrong, in words for whoever reads the report.
    fn check(&mut self, event: &Event<'_, M>, world: &World<M>) -> Result<(), Broken>;
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub(super) String);

impl<T: Into<String>> From<T> for Broken {
    fn from(cause: T) -> Self {
        Self(cause.into())
    }
}

/// What has just happened.
#[non_exhaustive]
pub enum Event<'a, M: Machine> {
    /// A node has started, and has said nothing yet.
    Started {
        /// Which.
        node: &'a M::Id,
    },
    /// A node was killed.
    Crashed {
        /// Which.
        node: &'a M::Id,
    },
    /// A node's owner has asked it something.
    Asked {
        /// Whom.
        node: &'a M::Id,
        /// What.
        input: &'a M::Input,
    },
    /// A node has taken a message, and has said nothing about it yet.
    Received {
        /// Who sent it.
        from: &'a M::Id,
        /// Who has taken it.
        to: &'a M::Id,
        /// What it says.
        message: &'a M::Message,
    },
    /// A write is on a node's disk.
    Saved {
        /// Whose.
        node: &'a M::Id,
    },
    /// A message has left a node. It may get lost.
    Sent {
        /// Who sent it.
        from: &'a M::Id,
        /// Whom it is for.
        to: &'a M::Id,
        /// What it says.
        message: &'a M::Message,
    },
    /// A node has nothing more to say for now. What it [shows](World::shown) is new.
    Drained {
        /// Which.
        node: &'a M::Id,
    },
    /// All faults are over: nodes run, links carry, nothing is lost. None comes after it in this run.
    Healed,
    /// The run is over.
    Ended,
}

impl<M: Machine> fmt::Debug for Event<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { node } => write!(f, "{node:?} started"),
            Self::Crashed { node } => write!(f, "{node:?} crashed"),
            Self::Asked { node, input } => write!(f, "{node:?} was asked {input:?}"),
            Self::Received { from, to, message } => {
                write!(f, "{to:?} received {message:?} from {from:?}")
            }
            Self::Saved { node } => write!(f, "{node:?} saved"),
            Self::Sent { from, to, message } => write!(f, "{from:?} sent {message:?} to {to:?}"),
            Self::Drained { node } => write!(f, "{node:?} drained"),
            Self::Healed => f.write_str("healed"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// Every invariant of elections.
#[must_use]
pub fn all<M: Machine>() -> Vec<Box<dyn Invariant<M>>> {
    vec![
        Box::new(OneLeader::default()),
        Box::new(OneVote::default()),
        Box::new(TermsGrow::default()),
        Box::new(LeasesApart),
        Box::new(WrittenAhead::default()),
        Box::new(QuorumsOverlap::default()),
        Box::new(Elected::default()),
        Box::new(PreVoted::default()),
        Box::new(NewestMembership),
        Box::new(Withholds::default()),
        Box::new(LeaseBacked::default()),
        Box::new(LeaderStays::default()),
        Box::new(LeaderStepsDown::default()),
        Box::new(Settles::default()),
    ]
}
