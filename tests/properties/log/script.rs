//! What can be done to two nodes with a log, in any order. Ids are 1 to 3: the third is nobody but what is said in its name.

use arbitrary::Arbitrary;
use streamraft::raft::LogLimits;

#[derive(Arbitrary, Debug)]
pub(crate) struct Script {
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// How many vote, of three.
    pub(crate) voters: u8,
    message: u8,
    window: u8,
    unsettled: u8,
    cache: u8,
    trailing: u8,
    has_limits: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Who(pub(crate) bool);

#[derive(Arbitrary, Debug)]
pub(crate) enum Step {
    /// One of the messages that the two have sent to each other arrives, be it old.
    Deliver(u8),
    /// All of them, in order.
    Exchange,
    /// Those that it asked would vote for it.
    Grant(Who),
    /// Somebody says that it leads.
    Ping(Who, u8, Term),
    /// Anything about the log that somebody could say.
    Hear(Who, u8, Said),
    Propose(Who, u8),
    Read(Who),
    Compact(Who, Damage),
    Order(Who, Order),
    /// Time passes until something falls due, and that is done.
    Due(Who),
    /// Time passes, and nobody is polled.
    Sleep(u8),
    /// The flush that is under way is over.
    Flushed(Who),
    Failed(Who),
    /// It goes down, and comes back with so much of what was not flushed.
    Restart(Who, u8),
    /// From now on its disk is quick, or slow.
    Disk(Who, bool),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Order {
    Transfer(u8),
    Resign,
    SetNodes(u8),
    MarkAlive,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Damage {
    None,
    Checksum,
    Offset,
    Position,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Term {
    Present,
    Before(u8),
    After(u8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Index {
    /// From the last entry.
    Last(i8),
    /// From the last one that is committed.
    Commit(i8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Said {
    pub(crate) term: Term,
    pub(crate) round: u8,
    pub(crate) position: (Term, Index),
    /// The term at that index, as it has it.
    pub(crate) is_right: bool,
    pub(crate) index: Index,
    pub(crate) kind: Kind,
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Kind {
    /// So many entries of that term behind the position.
    Append(Term, u8),
    Odd(Term, Index, u8),
    Ack(Option<Index>),
    /// A part of a snapshot of so many bytes, from there, and whether the checksum is right.
    Part(u8, u8, u8, bool),
    PartAck(u64, u64),
}

impl Setup {
    pub(crate) fn limits(&self) -> LogLimits {
        let limits = LogLimits::default().trailing(self.trailing.into());
        if !self.has_limits {
            return limits;
        }
        // No node takes what no node can keep.
        let unsettled = self.unsettled.max(1).into();
        limits
            .proposal(40)
            .message(self.message.max(1).into())
            .window(u64::from(self.window).min(unsettled))
            .unsettled(unsettled)
            .cache(self.cache.into())
    }
}
