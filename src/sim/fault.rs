//! What can go wrong, and what can be asked: the steps of a random run.

use std::fmt::{self, Debug};
use std::time::Duration;

use super::conditions::Conditions;

/// Whom a [`Fault`] is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Who<I> {
    /// This node.
    Node(I),
    /// Whoever leads when it happens; nobody if nobody does.
    Leader,
    /// Every node that runs.
    All,
}

/// One thing that happens to a cluster. What makes no sense when it happens has no effect.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault<I, T> {
    /// Kills a node. It keeps what is on its disk.
    Crash(Who<I>),
    /// Starts a node that does not run.
    Start(Who<I>),
    /// Kills a node and starts it at once.
    Restart(Who<I>),
    /// Starts every node that does not run and is not gone.
    StartAll,
    /// Kills a node whose disk is lost, for good: it never comes back under its id. A spare node starts in its place, if
    /// there is one. Without effect if too many disks would be lost then to ever have a quorum again.
    LoseDisk(Who<I>),
    /// Cuts the way from the one to the other.
    Cut(Who<I>, Who<I>),
    /// Cuts both ways between the two.
    Part(Who<I>, Who<I>),
    /// Cuts all ways from this node: it hears and is not heard.
    Mute(Who<I>),
    /// Cuts all ways to this node: it is heard and does not hear.
    Deafen(Who<I>),
    /// Cuts all ways from and to this node.
    Isolate(Who<I>),
    /// Cuts all ways between these nodes and the others.
    Split(Vec<I>),
    /// Mends all ways.
    Mend,
    /// A node does nothing for so long. Messages wait for it, and its application goes on reading its lease.
    Pause(Who<I>, Duration),
    /// A node's disk completes nothing for so long.
    Stall(Who<I>, Duration),
    /// A node's clock runs fast by so many millionths from now on; slow, if less than 0.
    Rate(Who<I>, i32),
    /// The network and the disks are like this from now on.
    Conditions(Conditions),
    /// A node's owner asks it this.
    Ask(Who<I>, T),
}

impl<I, T> Fault<I, T> {
    /// Its name in a [`Summary`](super::Summary).
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Crash(_) => "crash",
            Self::Start(_) | Self::StartAll => "start",
            Self::Restart(_) => "restart",
            Self::LoseDisk(_) => "lose-disk",
            Self::Cut(..) => "cut",
            Self::Part(..) => "part",
            Self::Mute(_) => "mute",
            Self::Deafen(_) => "deafen",
            Self::Isolate(_) => "isolate",
            Self::Split(_) => "split",
            Self::Mend => "mend",
            Self::Pause(..) => "pause",
            Self::Stall(..) => "stall",
            Self::Rate(..) => "rate",
            Self::Conditions(_) => "conditions",
            Self::Ask(..) => "ask",
        }
    }
}

impl<I: Debug> fmt::Display for Who<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "{id:?}"),
            Self::Leader => f.write_str("the leader"),
            Self::All => f.write_str("all"),
        }
    }
}

impl<I: Debug, T: Debug> fmt::Display for Fault<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(who)
            | Self::Start(who)
            | Self::Restart(who)
            | Self::LoseDisk(who)
            | Self::Mute(who)
            | Self::Deafen(who)
            | Self::Isolate(who) => write!(f, "{} {who}", self.kind()),
            Self::StartAll => f.write_str("start all"),
            Self::Cut(from, to) => write!(f, "cut {from} to {to}"),
            Self::Part(one, other) => write!(f, "part {one} and {other}"),
            Self::Split(nodes) => write!(f, "split {nodes:?} from the others"),
            Self::Mend => f.write_str("mend all"),
            Self::Pause(who, time) => write!(f, "pause {who} for {time:?}"),
            Self::Stall(who, time) => write!(f, "stall the disk of {who} for {time:?}"),
            Self::Rate(who, ppm) => write!(f, "clock of {who} runs {ppm} ppm fast"),
            Self::Conditions(conditions) => {
                let Conditions {
                    delay,
                    loss,
                    duplication,
                    late,
                    lateness,
                    disk,
                } = conditions;
                write!(
                    f,
                    "delay {:?} to {:?}, loss {loss}, duplication {duplication}, late {late} of a thousand by {lateness:?}, disk {:?} to {:?}",
                    delay.0, delay.1, disk.0, disk.1
                )
            }
            Self::Ask(who, input) => write!(f, "ask {who}: {input:?}"),
        }
    }
}

/// A fault, and how long after the one before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step<I, T> {
    pub(super) after: Duration,
    pub(super) fault: Fault<I, T>,
}

/// Which faults a random run draws from, and how many. Each run leaves some kinds out and favours others, so that runs
/// differ.
///
/// ```
/// use streamraft::sim::{Cluster, Faults};
///
/// // A good network, and a host that freezes now and then.
/// let faults = Faults::none().pauses().steps(5, 20);
/// println!("{}", Cluster::elections([1, 2, 3]).faults(faults).check(0..10)?);
/// # Ok::<(), streamraft::sim::Failure>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    pub(super) crashes: bool,
    pub(super) lost_disks: bool,
    pub(super) cuts: bool,
    pub(super) pauses: bool,
    pub(super) stalls: bool,
    pub(super) clocks: bool,
    pub(super) conditions: bool,
    pub(super) inputs: bool,
    pub(super) steps: (u64, u64),
}

impl Faults {
    /// Everything, 10 to 80 steps a run. Disks are lost only where there are [spares](super::Builder::spares).
    #[must_use]
    pub const fn all() -> Self {
        Self {
            crashes: true,
            lost_disks: true,
            cuts: true,
            pauses: true,
            stalls: true,
            clocks: true,
            conditions: true,
            inputs: true,
            steps: (10, 80),
        }
    }

    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            crashes: false,
            lost_disks: false,
            cuts: false,
            pauses: false,
            stalls: false,
            clocks: false,
            conditions: false,
            inputs: false,
            steps: (10, 80),
        }
    }

    /// The same with nodes that crash and start again.
    #[must_use]
    pub const fn crashes(mut self) -> Self {
        self.crashes = true;
        self
    }

    /// The same with nodes whose disks are lost for good.
    #[must_use]
    pub const fn lost_disks(mut self) -> Self {
        self.lost_disks = true;
        self
    }

    /// The same with links that are cut, in one way or both.
    #[must_use]
    pub const fn cuts(mut self) -> Self {
        self.cuts = true;
        self
    }

    /// The same with nodes that pause.
    #[must_use]
    pub const fn pauses(mut self) -> Self {
        self.pauses = true;
        self
    }

    /// The same with disks that stall.
    #[must_use]
    pub const fn stalls(mut self) -> Self {
        self.stalls = true;
        self
    }

    /// The same with clocks that run at different rates, up to the bound.
    #[must_use]
    pub const fn clocks(mut self) -> Self {
        self.clocks = true;
        self
    }

    /// The same with messages that are lost, doubled and late, and slow disks.
    #[must_use]
    pub const fn conditions(mut self) -> Self {
        self.conditions = true;
        self
    }

    /// The same with random [inputs](super::Builder::inputs).
    #[must_use]
    pub const fn inputs(mut self) -> Self {
        self.inputs = true;
        self
    }

    /// The same with so many steps a run.
    #[must_use]
    pub const fn steps(mut self, least: u64, most: u64) -> Self {
        self.steps = (least, most);
        self
    }
}
