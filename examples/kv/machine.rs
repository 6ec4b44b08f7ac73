//! The state machine: what the entries of the log make of the keys, the values and the sessions of clients.

use std::fmt;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use streamraft::raft::{
    self, Entry, SessionError, SessionLimits, SessionStamp, Sessions, SessionsError, StampError,
};

use super::values::{Change, Outcome, Values};

/// Who waits for the outcome of a change without a session: a request of one process, between two starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) process: u64,
    pub(crate) number: u64,
}

/// How an entry begins that belongs to no session. Those of sessions begin with other bytes.
const PLAIN: u8 = 0;

/// How a snapshot begins. A release that writes them otherwise takes another number, and reads this one too.
const FORM: u8 = 1;

/// All that the entries have made, and how much of the log is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The newest entry that was applied.
    pub(crate) applied: u64,
    pub(crate) values: Values,
    sessions: Sessions,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            applied: 0,
            values: Values::default(),
            sessions: Sessions::new(limits()),
        }
    }
}

/// The same on every node, so they are no setting of one.
fn limits() -> SessionLimits {
    SessionLimits::default()
}

/// The entry of a change without a session.
pub(crate) fn plain(ticket: Ticket, change: &Change) -> Result<Bytes, postcard::Error> {
    Ok(postcard::to_extend(&(ticket, change), vec![PLAIN])?.into())
}

/// The entry of a change that is made once, however often it is proposed.
pub(crate) fn stamped(stamp: &SessionStamp, change: &Change) -> Result<Bytes, postcard::Error> {
    let change = postcard::to_extend(change, Vec::new())?;
    Ok(stamp.stamp(change))
}

impl Machine {
    /// Applies an entry. The outcome, if it belongs to no session: others ask for [theirs](Self::outcome).
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<Option<(Ticket, Outcome)>, Unreadable> {
        self.applied = entry.index;
        if let Some((&PLAIN, rest)) = entry.data.split_first() {
            let (ticket, change) = read(rest)?;
            return Ok(Some((ticket, self.values.apply(entry.index, change))));
        }
        let mut result = Ok(None);
        let run = |data: Bytes| {
            let outcome = run(&mut self.values, entry.index, &data);
            outcome.unwrap_or_else(|error| {
                result = Err(error);
                Bytes::new()
            })
        };
        if let raft::Outcome::NotRun(SessionError::Malformed(error)) =
            self.sessions.apply(entry, run)
        {
            return Err(Unreadable::Stamp(error));
        }
        result
    }

    /// What came of a change with this stamp.
    pub(crate) fn outcome(&self, stamp: &SessionStamp) -> Result<Outcome, SessionError> {
        let answer = self.sessions.answer(stamp)?;
        postcard::from_bytes(&answer).map_err(|_| SessionError::NotHere)
    }

    /// All of it as bytes.
    pub(crate) fn snapshot(&self) -> Result<Bytes, postcard::Error> {
        let parts = (self.applied, &self.values, self.sessions.encode());
        Ok(postcard::to_extend(&parts, vec![FORM])?.into())
    }

    /// What [`snapshot`](Self::snapshot) has made.
    pub(crate) fn restore(snapshot: &[u8]) -> Result<Self, Unreadable> {
        let (form, rest) = snapshot.split_first().ok_or(Unreadable::Empty)?;
        if *form != FORM {
            return Err(Unreadable::Form(*form));
        }
        let (applied, values, sessions): (_, _, Bytes) = read(rest)?;
        let sessions = Sessions::decode(limits(), &sessions).map_err(Unreadable::Sessions)?;
        Ok(Self {
            applied,
            values,
            sessions,
        })
    }
}

fn run(values: &mut Values, index: u64, data: &[u8]) -> Result<Bytes, Unreadable> {
    let outcome = values.apply(index, read(data)?);
    let answer = postcard::to_extend(&outcome, Vec::new());
    Ok(answer.map_err(Unreadable::Content)?.into())
}

/// All of these bytes, and nothing behind them.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Unreadable> {
    match postcard::take_from_bytes(bytes).map_err(Unreadable::Content)? {
        (content, []) => Ok(content),
        (_, rest) => Err(Unreadable::Rest(rest.len())),
    }
}

/// What is wrong with an entry or a snapshot: most likely a newer release has written it. It cannot be passed over: the machines
/// of two nodes would not be the same any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Empty,
    Form(u8),
    Content(postcard::Error),
    Rest(usize),
    Stamp(StampError),
    Sessions(SessionsError),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Form(form) => write!(f, "its form is {form}, and this program knows {FORM}"),
            Self::Content(error) => error.fmt(f),
            Self::Rest(len) => write!(f, "{len} bytes are left over behind it"),
            Self::Stamp(error) => error.fmt(f),
            Self::Sessions(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Unreadable {}

#[cfg(test)]
mod tests {
    use super::super::values::Condition;
    use super::*;
    use streamraft::raft::Batch;

    const TICKET: Ticket = Ticket {
        process: 7,
        number: 8,
    };

    fn put(key: &str, value: &str) -> Change {
        Change {
            key: key.to_owned(),
            condition: Condition::Always,
            value: Some(value.to_owned().into()),
        }
    }

    fn stamp(session: u64, serial: u64) -> SessionStamp {
        SessionStamp::new(session, serial, serial - 1).unwrap()
    }

    fn entry(index: u64, proposal: Bytes) -> Entry {
        let batch = Batch::of_proposals(index, 1, [proposal]).unwrap();
        batch.entries().next().unwrap()
    }

    /// A machine with values of both kinds, and session 1.
    fn machine() -> Machine {
        let mut machine = Machine::default();
        machine.apply(&entry(1, SessionStamp::open())).unwrap();
        for index in 2..=1_000 {
            let change = put(
                &format!("key {}", index % 300),
                &"x".repeat(index as usize % 50),
            );
            let proposal = match index % 2 {
                0 => plain(TICKET, &change),
                _ => stamped(&stamp(1, index), &change),
            };
            let told = machine.apply(&entry(index, proposal.unwrap())).unwrap();
            let outcome = Outcome::Written(index);
            assert_eq!(told, (index % 2 == 0).then_some((TICKET, outcome)));
        }
        machine
    }

    #[test]
    fn a_change_that_is_proposed_again_is_made_once_and_answered_as_before() {
        let mut machine = machine();
        let (first, next) = (stamp(1, 2_001), stamp(1, 2_002));
        let proposal = stamped(&first, &put("new", "value")).unwrap();
        for index in 1_001..=1_003 {
            assert_eq!(machine.apply(&entry(index, proposal.clone())), Ok(None));
            assert_eq!(machine.outcome(&first), Ok(Outcome::Written(1_001)));
        }
        let value = machine.values.get("new").unwrap();
        assert_eq!((value.index, value.version), (1_001, 1));
        assert_eq!(machine.applied, 1_003);

        // Also by a machine that knows of it by a snapshot alone.
        let mut other = Machine::restore(&machine.snapshot().unwrap()).unwrap();
        other.apply(&entry(1_004, proposal.clone())).unwrap();
        assert_eq!(other.outcome(&first), Ok(Outcome::Written(1_001)));
        assert_eq!(other.values, machine.values);

        let later = stamped(&next, &put("new", "later")).unwrap();
        machine.apply(&entry(1_004, later)).unwrap();
        machine.apply(&entry(1_005, proposal)).unwrap();
        assert_eq!(machine.outcome(&first), Err(SessionError::Settled));
        assert_eq!(machine.values.get("new").unwrap().bytes, "later");
    }

    #[test]
    fn a_change_of_a_session_that_was_never_opened_is_not_made() {
        let mut machine = machine();
        let stranger = stamp(999, 1);
        let proposal = stamped(&stranger, &put("new", "value")).unwrap();
        assert_eq!(machine.apply(&entry(1_001, proposal)), Ok(None));
        assert_eq!(machine.outcome(&stranger), Err(SessionError::Expired));
        assert_eq!(machine.values.get("new"), None);
    }

    #[test]
    fn a_snapshot_holds_all_and_goes_on_where_it_was() {
        let mut machine = machine();
        let mut other = Machine::restore(&machine.snapshot().unwrap()).unwrap();
        assert_eq!(other, machine);
        assert_eq!(other.outcome(&stamp(1, 999)), Ok(Outcome::Written(999)));
        let mut next = put("key 8", "y");
        next.condition = Condition::Index(908);
        let next = entry(1_001, plain(TICKET, &next).unwrap());
        for machine in [&mut other, &mut machine] {
            let told = machine.apply(&next);
            assert_eq!(told, Ok(Some((TICKET, Outcome::Written(1_001)))));
        }
        assert_eq!(other, machine);
    }

    #[test]
    fn a_snapshot_of_another_form_or_length_is_refused() {
        let mut machine = Machine::default();
        machine.apply(&entry(1, SessionStamp::open())).unwrap();
        let proposal = plain(TICKET, &put("key", "value")).unwrap();
        machine.apply(&entry(2, proposal)).unwrap();
        let good = machine.snapshot().unwrap().to_vec();
        for len in 1..good.len() {
            let cut = Machine::restore(&good[..len]);
            assert!(matches!(cut, Err(Unreadable::Content(_))), "{len}: {cut:?}");
        }
        assert_eq!(Machine::restore(&[]), Err(Unreadable::Empty));
        let longer = [&good[..], &[0]].concat();
        assert_eq!(Machine::restore(&longer), Err(Unreadable::Rest(1)));
        let newer = [&[2], &good[1..]].concat();
        assert_eq!(Machine::restore(&newer), Err(Unreadable::Form(2)));
    }

    #[test]
    fn an_entry_that_this_program_does_not_know_is_an_error_and_never_passed_over() {
        let good = plain(TICKET, &put("key", "value")).unwrap();
        let again = stamped(&stamp(1, 1), &put("key", "value")).unwrap();
        let longer = |bytes: &Bytes| Bytes::from([bytes, &b"!"[..]].concat());
        for (proposal, wrong) in [
            (good.slice(..4), None),
            (longer(&good), Some(Unreadable::Rest(1))),
            (again.slice(..30), None),
            (longer(&again), Some(Unreadable::Rest(1))),
            (
                Bytes::from("put"),
                Some(Unreadable::Stamp(StampError::Form(b'p'))),
            ),
            (Bytes::new(), Some(Unreadable::Stamp(StampError::Empty))),
        ] {
            let mut machine = Machine::default();
            machine.apply(&entry(1, SessionStamp::open())).unwrap();
            let error = machine.apply(&entry(2, proposal)).unwrap_err();
            if let Some(wrong) = wrong {
                assert_eq!(error, wrong);
            }
            assert_eq!(machine.values, Values::default());
        }
    }
}
