//! The sessions as bytes, for a snapshot.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the form, 1 |
//! | 8, 8, 8 | the limits: sessions, answers, bytes of answers |
//! | 8 | how many sessions there are |
//! | | each, that which was used least recently first: |
//! | 8, 8, 8 | its id, the index of its newest entry, up to which serial it is settled |
//! | 8 | how many answers it holds |
//! | 8, 8, .. | each by serial: its serial, its length, its bytes |
//!
//! Numbers have the lowest byte first. What was decoded and is encoded again is the same bytes.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::limits::SessionLimits;
use super::table::{Kept, Sessions};

const FORM: u8 = 1;

impl Sessions {
    /// The sessions as bytes, which are the same on all nodes that have applied the same: a part of the snapshot. They say no
    /// length of their own: whoever puts something behind them has to.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let limits = self.limits();
        let mut to = BytesMut::new();
        to.put_u8(FORM);
        to.put_u64_le(limits.sessions);
        to.put_u64_le(limits.answers);
        to.put_u64_le(limits.answer_bytes);
        to.put_u64_le(self.len() as u64);
        for (session, kept) in self.by_use() {
            to.put_u64_le(session);
            to.put_u64_le(kept.used);
            to.put_u64_le(kept.settled);
            to.put_u64_le(kept.answers.len() as u64);
            for (serial, answer) in &kept.answers {
                to.put_u64_le(*serial);
                to.put_u64_le(answer.len() as u64);
                to.put_slice(answer);
            }
        }
        to.freeze()
    }

    /// What [`encode`](Self::encode) has written, all of it. Allocates no more than the bytes are long, about.
    ///
    /// # Errors
    /// Other limits than these, or bytes that no `encode` has written.
    pub fn decode(limits: SessionLimits, bytes: &[u8]) -> Result<Self, SessionsError> {
        let mut from = bytes;
        let form = from.try_get_u8().map_err(|_| SessionsError::Cut)?;
        if form != FORM {
            return Err(SessionsError::Form(form));
        }
        check("sessions", limits.sessions, number(&mut from)?)?;
        check("answers", limits.answers, number(&mut from)?)?;
        check("answer_bytes", limits.answer_bytes, number(&mut from)?)?;
        let mut sessions = Self::new(limits);
        let (count, mut before) = (number(&mut from)?, 0);
        if count > limits.sessions {
            return Err(SessionsError::Damaged("more sessions than may be"));
        }
        for _ in 0..count {
            let (id, kept) = session(&limits, &mut from)?;
            if id == 0 || id > kept.used || sessions.has(id) || kept.used <= before {
                return Err(SessionsError::Damaged("sessions in an order that is none"));
            }
            before = kept.used;
            sessions.put(id, kept);
        }
        if from.has_remaining() {
            return Err(SessionsError::Damaged("bytes behind the last session"));
        }
        Ok(sessions)
    }
}

fn number(from: &mut &[u8]) -> Result<u64, SessionsError> {
    from.try_get_u64_le().map_err(|_| SessionsError::Cut)
}

fn check(field: &'static str, here: u64, there: u64) -> Result<(), SessionsError> {
    if here == there {
        return Ok(());
    }
    Err(SessionsError::Limits { field, here, there })
}

fn session(limits: &SessionLimits, from: &mut &[u8]) -> Result<(u64, Kept), SessionsError> {
    let id = number(from)?;
    let mut kept = Kept {
        used: number(from)?,
        settled: number(from)?,
        ..Kept::default()
    };
    let (count, mut before, mut longest) = (number(from)?, kept.settled, 0);
    if count > limits.answers {
        return Err(SessionsError::Damaged("more answers than a session holds"));
    }
    for _ in 0..count {
        let (serial, len) = (number(from)?, number(from)?);
        if serial <= before {
            return Err(SessionsError::Damaged("answers in an order that is none"));
        }
        let len = usize::try_from(len).map_err(|_| SessionsError::Cut)?;
        let (answer, rest) = from.split_at_checked(len).ok_or(SessionsError::Cut)?;
        kept.keep(serial, Bytes::copy_from_slice(answer));
        (*from, before, longest) = (rest, serial, longest.max(len as u64));
    }
    // There was room when the last of them came, and none of them is longer than the longest.
    if count > 0 && kept.bytes - longest >= limits.answer_bytes {
        return Err(SessionsError::Damaged(
            "longer answers than a session holds",
        ));
    }
    Ok((id, kept))
}

/// Why bytes are no [`Sessions`] of this state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionsError {
    /// They begin as nothing that this version knows.
    Form(u8),
    /// A node with other limits has written them. They must be the same on all nodes.
    Limits {
        /// Which one, by its name in [`SessionLimits`].
        field: &'static str,
        /// What it is here.
        here: u64,
        /// What it is in the bytes.
        there: u64,
    },
    /// They end too early.
    Cut,
    /// They say what cannot be.
    Damaged(&'static str),
}

impl fmt::Display for SessionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(form) => write!(f, "sessions of form {form}: this version knows {FORM}"),
            Self::Limits { field, here, there } => write!(
                f,
                "the limit `{field}` of sessions is {here} here and {there} in the snapshot: it must be the same on all nodes"
            ),
            Self::Cut => f.write_str("the bytes of the sessions are cut off"),
            Self::Damaged(what) => write!(f, "the bytes of the sessions are damaged: {what}"),
        }
    }
}

impl std::error::Error for SessionsError {}
