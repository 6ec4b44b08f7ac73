//! The state machine's half: which commands were run, and what their answers were.
//!
//! Absent here: clocks, randomness, and maps without an order. Every node comes to the same by the same entries.

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::fmt;

use bytes::Bytes;

use super::limits::SessionLimits;
use super::stamp::{SessionStamp, StampError, Stamped};
use crate::raft::Entry;

/// What a state machine keeps so that a command which is proposed again is not run again (thesis 6.3): its clients' sessions, and
/// the answers that they may still ask for.
///
/// It is a value that depends on the entries alone, and belongs to the state: it goes [into the snapshot](Self::encode).
///
/// ```
/// use streamraft::raft::{Batch, Outcome, Session, SessionLimits, SessionStamp, Sessions};
///
/// let mut sessions = Sessions::new(SessionLimits::default());
/// let mut sum = 0;
/// let mut session = Session::new(1); // the index of the entry that opens it
/// let request = session.request([5]);
/// let log = [SessionStamp::open(), request.proposal().clone(), request.proposal().clone()];
/// for entry in Batch::of_proposals(1, 1, log).unwrap().entries() {
///     let outcome = sessions.apply(&entry, |data| {
///         sum += u64::from(data[0]);
///         sum.to_string().into()
///     });
///     println!("{}: {outcome:?}", entry.index); // opened, run, repeated
/// }
/// assert_eq!(sum, 5, "run once");
/// assert_eq!(sessions.answer(request.stamp()), Ok("5".into()));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Sessions {
    limits: SessionLimits,
    /// By the index of the entry that opened it.
    sessions: BTreeMap<u64, Kept>,
    /// The sessions by the index of the newest entry of each.
    by_use: BTreeMap<u64, u64>,
}

/// What is kept of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The index of its newest entry.
    pub(super) used: u64,
    pub(super) settled: u64,
    /// By serial; all above `settled`.
    pub(super) answers: BTreeMap<u64, Bytes>,
    /// How many bytes the answers have.
    pub(super) bytes: u64,
}

impl Kept {
    fn settle(&mut self, settled: u64) {
        self.settled = self.settled.max(settled);
        while let Some(first) = self.answers.first_entry()
            && *first.key() <= self.settled
        {
            self.bytes -= first.remove().len() as u64;
        }
    }

    pub(super) fn keep(&mut self, serial: u64, answer: Bytes) {
        self.bytes += answer.len() as u64;
        self.answers.insert(serial, answer);
    }

    fn is_full(&self, limits: &SessionLimits) -> bool {
        self.answers.len() as u64 >= limits.answers || self.bytes >= limits.answer_bytes
    }

    fn get(&self, serial: u64) -> Result<&Bytes, SessionError> {
        if serial <= self.settled {
            return Err(SessionError::Settled);
        }
        self.answers.get(&serial).ok_or(SessionError::NotHere)
    }
}

impl Sessions {
    /// Of a state machine that has applied nothing.
    #[must_use]
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            by_use: BTreeMap::new(),
        }
    }

    /// Applies an entry. Only a command that is new is run: it gets its data, and gives its answer.
    ///
    /// Entries come in the order of the log, each once. What `run` does must depend on the state and the data alone. If it
    /// panics, the command counts as one that was not run.
    pub fn apply(&mut self, entry: &Entry, run: impl FnOnce(Bytes) -> Bytes) -> Outcome {
        match SessionStamp::parse(&entry.data) {
            Ok(Stamped::Open) => self.open(entry.index),
            Ok(Stamped::Command { stamp, data }) => {
                let ran = self.command(entry.index, &stamp, || run(data));
                ran.unwrap_or_else(Outcome::NotRun)
            }
            Ok(Stamped::Close { session }) => self.close(session),
            Err(error) => Outcome::NotRun(SessionError::Malformed(error)),
        }
    }

    fn open(&mut self, index: u64) -> Outcome {
        let is_full = self.sessions.len() as u64 >= self.limits.sessions;
        let let_go = self.by_use.first_entry().filter(|_| is_full);
        let let_go = let_go.map(OccupiedEntry::remove);
        if let Some(session) = let_go {
            self.sessions.remove(&session);
        }
        let kept = Kept {
            used: index,
            ..Kept::default()
        };
        self.put(index, kept);
        Outcome::Opened {
            session: index,
            let_go,
        }
    }

    fn close(&mut self, session: u64) -> Outcome {
        let Some(kept) = self.sessions.remove(&session) else {
            return Outcome::NotRun(SessionError::Expired);
        };
        self.by_use.remove(&kept.used);
        Outcome::Closed { session }
    }

    pub(super) fn put(&mut self, session: u64, kept: Kept) {
        self.by_use.insert(kept.used, session);
        self.sessions.insert(session, kept);
    }

    fn command(
        &mut self,
        index: u64,
        stamp: &SessionStamp,
        run: impl FnOnce() -> Bytes,
    ) -> Result<Outcome, SessionError> {
        let kept = self.sessions.get_mut(&stamp.session);
        let kept = kept.ok_or(SessionError::Expired)?;
        self.by_use.remove(&kept.used);
        kept.used = index;
        self.by_use.insert(index, stamp.session);
        kept.settle(stamp.settled);
        match kept.get(stamp.serial) {
            Ok(answer) => Ok(Outcome::Repeated(answer.clone())),
            Err(SessionError::NotHere) if kept.is_full(&self.limits) => Err(SessionError::Full),
            Err(SessionError::NotHere) => {
                let answer = run();
                kept.keep(stamp.serial, answer.clone());
                Ok(Outcome::Run(answer))
            }
            Err(error) => Err(error),
        }
    }

    /// The answer to a command that was applied here: for who has proposed it, when [`propose`](crate::raft::Client::propose) has
    /// come back.
    ///
    /// # Errors
    /// [`Expired`](SessionError::Expired), [`Settled`](SessionError::Settled), or [`NotHere`](SessionError::NotHere).
    pub fn answer(&self, stamp: &SessionStamp) -> Result<Bytes, SessionError> {
        let kept = self.sessions.get(&stamp.session);
        kept.ok_or(SessionError::Expired)?
            .get(stamp.serial)
            .cloned()
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How much it keeps at most.
    pub fn limits(&self) -> SessionLimits {
        self.limits
    }

    /// The sessions, that which was used least recently first.
    pub(super) fn by_use(&self) -> impl Iterator<Item = (u64, &Kept)> {
        let sessions = self.by_use.values();
        sessions.filter_map(|session| Some((*session, self.sessions.get(session)?)))
    }

    pub(super) fn has(&self, session: u64) -> bool {
        self.sessions.contains_key(&session)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("limits", &self.limits)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// A session was opened.
    Opened {
        /// Its id: the index of the entry.
        session: u64,
        /// The session whose place it has taken.
        let_go: Option<u64>,
    },
    /// The command was run. Its answer is kept.
    Run(Bytes),
    /// The command was run before. That was its answer.
    Repeated(Bytes),
    /// A session was closed.
    Closed {
        /// Which one.
        session: u64,
    },
    /// Nothing was run.
    NotRun(SessionError),
}

/// Why a command was not run, or its answer is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no such session any more: it was closed, or others were used more recently. Whether the command was run before that is not
    /// known.
    Expired,
    /// The client has said that it needs no answer to it: whether it was run is not known, and it will not be run later.
    Settled,
    /// The session holds as many answers as it may. It was not run; propose it again when some are settled. Only
    /// [`apply`](Sessions::apply) says so.
    Full,
    /// It was not applied here yet, or was refused as the session was full: propose it again. Only
    /// [`answer`](Sessions::answer) says so.
    NotHere,
    /// The entry has no stamp of a session. Only [`apply`](Sessions::apply) says so.
    Malformed(StampError),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the session was closed, let go for others, or never opened",
            Self::Settled => "the client has said that it needs no answer to this command",
            Self::Full => "the session holds as many answers as it may",
            Self::NotHere => "no answer is known here yet",
            Self::Malformed(error) => return error.fmt(f),
        })
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            _ => None,
        }
    }
}
