//! What can be done to one node, in any order. Ids are 1 to 8, so that they meet.

use std::time::Duration;

use arbitrary::Arbitrary;
use streamraft::{Config, HardState, LogPosition, Membership, Stamp};

/// How far ahead of a node's own term a message may be, and how much of the counter is kept free.
pub(crate) const TERM_LIMIT: u64 = u64::MAX - (1 << 40);

#[derive(Arbitrary, Debug)]
pub(crate) struct Script {
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

/// The node before anything is done to it.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Setup {
    me: Who,
    voters: Group,
    times: u8,
    drift: u8,
    priority: u8,
    seed: u8,
    joins: bool,
    pub(crate) bootstrap: bool,
    lottery: bool,
    has_cluster: bool,
    restored: Option<(Term, Option<Who>, Stamped)>,
    /// What comes out is taken only when a step says so, and not after every call.
    pub(crate) lazy: bool,
}

/// One node.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Who(u8);

/// Any of the nodes, a bit for each.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Group(u8);

#[derive(Arbitrary, Debug)]
pub(crate) enum Step {
    /// The answers that these nodes would give to what each was asked last.
    Answer {
        group: Group,
        agrees: bool,
    },
    /// Time passes, and every timer is served when it is due.
    Run(Span),
    /// Anything that a node could say.
    Hear {
        from: Who,
        is_foreign: bool,
        term: Term,
        stamp: Stamped,
        kind: Kind,
    },
    /// The same, and a membership.
    Learn {
        from: Who,
        term: Term,
        stamp: Stamped,
        membership: [Group; 3],
        kind: Kind,
    },
    Command(Order),
    /// What falls due next, at its time.
    Due,
    /// Time passes, and nobody polls the node.
    Sleep(Span),
    /// It is polled although nothing may be due.
    Poll,
    /// So many things are taken out.
    Take(u8),
    SetPosition(Position),
    AllowChange(bool),
    Force(Group),
    Stop,
    /// The node goes on as a copy of itself.
    Fork,
    /// The node goes down, and comes up with what it has shown.
    Restart,
    /// The clock goes back, which it must not.
    Back(Span),
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Order {
    SetNodes(Group),
    /// As it was given: in any order, and twice.
    SetList(Vec<Who>),
    MarkAlive,
    SetPriority(u8),
    Transfer(Who),
    Resign,
    Stop,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Span {
    Nanos(u16),
    Micros(u16),
    /// In quarters of the settings' own times.
    Heartbeats(u8),
    Timeouts(u8),
    Days(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Term {
    Present,
    Before(u8),
    After(u8),
    /// So near the end of the counter.
    NearLimit(i8),
    Any(u64),
}

/// The stamp of a membership.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Stamped {
    Present,
    Before(u8),
    After(u8),
    OfTerm(Term, u8),
    Any(u64, u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Round {
    Last,
    Before(u16),
    After(u16),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Position {
    Zero,
    Small(u8, u8),
    Any(u64, u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Kind {
    Ping(Round, Option<u8>),
    VoteRequest(Position, bool),
    PreVoteRequest(Round, Position, u8),
    PreVote(Round, bool, Option<Who>),
    Vote(bool, Option<Who>),
    Pong(Round, Position, u8),
    TimeoutNow,
    Unknown,
}

impl Who {
    pub(crate) fn id(self) -> u8 {
        self.0 % 8 + 1
    }
}

impl Group {
    pub(crate) fn ids(self) -> Vec<u8> {
        (0..8)
            .filter(|bit| self.0 >> bit & 1 == 1)
            .map(|bit| bit + 1)
            .collect()
    }
}

impl Setup {
    pub(crate) fn me(&self) -> u8 {
        self.me.id()
    }

    /// These settings, which may break a rule.
    pub(crate) fn config(&self) -> Config<u8> {
        let me = self.me();
        let mut config = if self.joins {
            Config::join(me)
        } else {
            let others = self.voters.ids().into_iter().filter(|id| *id != me);
            let nodes: Vec<u8> = others.chain([me]).collect();
            Config::with_id(me, nodes).expect("each of them once")
        };
        let [election, random, heartbeat, leadership] = self.times();
        config = config
            .election_timeout(election)
            .random_timeout(random)
            .heartbeat_interval(heartbeat)
            .leadership_timeout(leadership)
            .max_clock_drift([0.1, 0.0, 0.5, 0.999][usize::from(self.drift % 4)])
            .leader_priority(u64::from(self.priority % 4))
            .seed(u64::from(self.seed));
        if self.bootstrap {
            config = config.bootstrap();
        }
        if self.lottery {
            config = config.lottery();
        }
        if self.has_cluster {
            config = config.cluster("orders");
        }
        if let Some((term, voted_for, stamp)) = self.restored {
            let term = term.of(1_000);
            let mut membership = Membership::initial(self.voters.ids());
            let stamp = stamp.of(Stamp::new(term, 5), term);
            (membership.term, membership.version) = (stamp.term, stamp.version);
            membership.target_version = stamp.version.min(1);
            config = config.restore(HardState::new(term, voted_for.map(Who::id), membership));
        }
        config
    }

    fn times(&self) -> [Duration; 4] {
        const DAY: u64 = 24 * 60 * 60 * 1_000;
        let times = [
            [1_000, 1_000, 100, 1_000],
            [150, 150, 50, 150],
            // The smallest there are, and the largest.
            [2, 1, 1, 2],
            [DAY, DAY, DAY - 1, DAY],
            // Leadership that outlives the voters' patience, and leadership that hardly lasts.
            [1_000, 10, 100, 60_000],
            [1_000, 5_000, 100, 101],
            [1_000, 1, 999, 5_000],
            // Too small: refused.
            [1, 1, 1, 1],
        ];
        times[usize::from(self.times % 8)].map(Duration::from_millis)
    }

    /// The settings' own times, as the rules know them.
    pub(crate) fn election_timeout(&self) -> Duration {
        self.times()[0]
    }

    pub(crate) fn heartbeat_interval(&self) -> Duration {
        self.times()[2]
    }
}

impl Span {
    pub(crate) fn of(self, setup: &Setup) -> Duration {
        match self {
            Self::Nanos(n) => Duration::from_nanos(n.into()),
            Self::Micros(n) => Duration::from_micros(n.into()),
            Self::Heartbeats(n) => setup.heartbeat_interval() / 4 * u32::from(n % 32),
            Self::Timeouts(n) => setup.election_timeout() / 4 * u32::from(n % 32),
            Self::Days(n) => Duration::from_secs(24 * 60 * 60) * u32::from(n),
        }
    }
}

impl Term {
    pub(crate) fn of(self, present: u64) -> u64 {
        match self {
            Self::Present => present,
            Self::Before(n) => present.saturating_sub(n.into()),
            Self::After(n) => present.saturating_add(n.into()),
            Self::NearLimit(n) => TERM_LIMIT.saturating_add_signed(n.into()),
            Self::Any(n) => n,
        }
    }
}

impl Stamped {
    pub(crate) fn of(self, present: Stamp, term: u64) -> Stamp {
        let Stamp { term: of, version } = present;
        match self {
            Self::Present => present,
            Self::Before(n) => Stamp::new(of, version.saturating_sub(n.into())),
            Self::After(n) => Stamp::new(of, version.saturating_add(n.into())),
            Self::OfTerm(other, version) => Stamp::new(other.of(term), version.into()),
            Self::Any(term, version) => Stamp::new(term, version),
        }
    }
}

impl Round {
    pub(crate) fn of(self, last: u64) -> u64 {
        match self {
            Self::Last => last,
            Self::Before(n) => last.saturating_sub(n.into()),
            Self::After(n) => last.saturating_add(n.into()),
            Self::Any(n) => n,
        }
    }
}

impl Position {
    pub(crate) fn of(self) -> LogPosition {
        match self {
            Self::Zero => LogPosition::default(),
            Self::Small(term, index) => LogPosition::new(u64::from(term % 4), u64::from(index % 4)),
            Self::Any(term, index) => LogPosition::new(term, index),
        }
    }
}
