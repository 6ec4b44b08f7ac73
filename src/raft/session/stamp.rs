//! What a proposal of a session begins with, as bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the form: [`OPEN`], [`COMMAND`] or [`CLOSE`]. No text in UTF-8 has such a byte |
//! | 8, 8, 8 | of a command: session, serial, settled (`u64`, the lowest byte first); of what closes a session: its id |
//! | the rest | of a command: its data. Nothing else may have one |

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

const OPEN: u8 = 0xf8;
const COMMAND: u8 = 0xf9;
const CLOSE: u8 = 0xfa;

/// How long a proposal is that closes a session.
const CLOSE_LEN: usize = 1 + size_of::<u64>();

/// Names a command among all of its cluster: what is stamped with the same session and serial is the same command.
///
/// Made by a [`Session`](super::Session), or by hand for a client that is elsewhere: it says the three numbers, whichever node
/// hears them stamps its data.
///
/// ```
/// use streamraft::raft::{SessionStamp, Stamped};
///
/// let stamp = SessionStamp::new(7, 3, 2)?;
/// let proposal = stamp.stamp("x = 1");
/// assert_eq!(proposal.len(), SessionStamp::LEN + 5);
/// let data = "x = 1".into();
/// assert_eq!(SessionStamp::parse(&proposal), Ok(Stamped::Command { stamp, data }));
/// assert!(SessionStamp::parse(&"x = 1".into()).is_err(), "it has no stamp");
/// # Ok::<(), streamraft::raft::StampError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct SessionStamp {
    /// The index of the entry that opened the session.
    pub session: u64,
    /// The number of the command in its session, from 1.
    pub serial: u64,
    /// The client needs no answer to commands with a serial up to this: it has them, or has given them up. Those of them
    /// that were not run will not be. Less than `serial`.
    pub settled: u64,
}

/// What a proposal is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stamped {
    /// It opens a session.
    Open,
    /// It is a command of a session.
    Command {
        /// Of which session, and which of its commands.
        stamp: SessionStamp,
        /// What was stamped: a view, not a copy.
        data: Bytes,
    },
    /// It closes a session.
    Close {
        /// Which one.
        session: u64,
    },
}

impl SessionStamp {
    /// How many bytes longer a command is for its stamp. They count for [`LogLimits::proposal`](crate::raft::LogLimits::proposal).
    pub const LEN: usize = 1 + 3 * size_of::<u64>();

    /// A stamp of these numbers. A client with one command at a time has settled all before it: `serial - 1`.
    ///
    /// # Errors
    /// [`StampError::Numbers`]: a session or a serial of zero, or one that is settled already.
    pub fn new(session: u64, serial: u64, settled: u64) -> Result<Self, StampError> {
        if session == 0 || settled >= serial {
            return Err(StampError::Numbers {
                session,
                serial,
                settled,
            });
        }
        Ok(Self {
            session,
            serial,
            settled,
        })
    }

    /// The proposal that opens a session, one byte long. What is committed twice opens two.
    #[must_use]
    pub fn open() -> Bytes {
        Bytes::from_static(&[OPEN])
    }

    /// The proposal that closes a session: its answers go, and it makes room. A command of it that comes later is
    /// [`Expired`](super::SessionError::Expired).
    #[must_use]
    pub fn close(session: u64) -> Bytes {
        let mut proposal = BytesMut::with_capacity(CLOSE_LEN);
        proposal.put_u8(CLOSE);
        proposal.put_u64_le(session);
        proposal.freeze()
    }

    /// The proposal of a command with this data. The data is copied.
    #[must_use]
    pub fn stamp(&self, data: impl AsRef<[u8]>) -> Bytes {
        let data = data.as_ref();
        let mut proposal = BytesMut::with_capacity(Self::LEN + data.len());
        proposal.put_u8(COMMAND);
        proposal.put_u64_le(self.session);
        proposal.put_u64_le(self.serial);
        proposal.put_u64_le(self.settled);
        proposal.put_slice(data);
        proposal.freeze()
    }

    /// What a proposal is.
    ///
    /// # Errors
    /// It is none that a session has made.
    pub fn parse(proposal: &Bytes) -> Result<Stamped, StampError> {
        let mut rest = proposal.clone();
        let len = proposal.len();
        match rest.try_get_u8().map_err(|_| StampError::Empty)? {
            OPEN if len == 1 => Ok(Stamped::Open),
            COMMAND => {
                let cut = StampError::Cut {
                    len,
                    least: Self::LEN,
                };
                let mut number = || rest.try_get_u64_le().map_err(|_| cut);
                let stamp = Self::new(number()?, number()?, number()?)?;
                Ok(Stamped::Command { stamp, data: rest })
            }
            CLOSE if len <= CLOSE_LEN => {
                let cut = StampError::Cut {
                    len,
                    least: CLOSE_LEN,
                };
                let session = rest.try_get_u64_le().map_err(|_| cut)?;
                Ok(Stamped::Close { session })
            }
            form => Err(StampError::Form(form)),
        }
    }
}

/// Why a proposal is none that a session has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StampError {
    /// It is empty.
    Empty,
    /// It begins as nothing that a session proposes, or goes on where it should end.
    Form(u8),
    /// It ends within its stamp.
    Cut {
        /// How many bytes it has.
        len: usize,
        /// How many it has at least if it begins as it does.
        least: usize,
    },
    /// Numbers that no session has.
    Numbers {
        /// The session.
        session: u64,
        /// The serial.
        serial: u64,
        /// Up to which serial the client needs no answer.
        settled: u64,
    },
}

impl fmt::Display for StampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty proposal has no stamp of a session"),
            Self::Form(first) => write!(
                f,
                "a proposal that begins with {first:#04x} has no stamp of a session"
            ),
            Self::Cut { len, least } => write!(
                f,
                "a proposal of {len} bytes is cut off within its stamp of {least}"
            ),
            Self::Numbers {
                session,
                serial,
                settled,
            } => write!(
                f,
                "session {session}, serial {serial}, settled up to {settled}: no session is 0, and a serial is above what \
                 is settled"
            ),
        }
    }
}

impl std::error::Error for StampError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stamped_comes_back() {
        for data in ["", "x", "a longer one"] {
            let stamp = SessionStamp::new(u64::MAX, u64::MAX, u64::MAX - 1).unwrap();
            let proposal = stamp.stamp(data);
            assert_eq!(proposal.len(), SessionStamp::LEN + data.len());
            let data = Bytes::from(data);
            let command = Stamped::Command { stamp, data };
            assert_eq!(SessionStamp::parse(&proposal), Ok(command));
        }
        let open = SessionStamp::parse(&SessionStamp::open());
        assert_eq!(open, Ok(Stamped::Open));
        let close = SessionStamp::parse(&SessionStamp::close(7));
        assert_eq!(close, Ok(Stamped::Close { session: 7 }));
    }

    #[test]
    fn its_form_does_not_change() {
        let proposal = SessionStamp::new(1, 0x0203, 2).unwrap().stamp("x");
        let expected = [
            &[0xf9, 1, 0, 0, 0, 0, 0, 0, 0][..],
            &[3, 2, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 0, 0, 0, 0, b'x'],
        ];
        assert_eq!(proposal, expected.concat());
        assert_eq!(&SessionStamp::open()[..], [0xf8]);
        let close = SessionStamp::close(0x0203);
        assert_eq!(&close[..], [0xfa, 3, 2, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_an_error() {
        let command = SessionStamp::new(7, 3, 2).unwrap().stamp("");
        for whole in [command, SessionStamp::close(7)] {
            let least = whole.len();
            for len in 1..least {
                let cut = SessionStamp::parse(&whole.slice(..len));
                assert_eq!(cut, Err(StampError::Cut { len, least }));
            }
        }
        let parse = |bytes: &'static [u8]| SessionStamp::parse(&Bytes::from_static(bytes));
        assert_eq!(parse(&[]), Err(StampError::Empty));
        assert_eq!(parse(b"x = 1"), Err(StampError::Form(b'x')));
        assert_eq!(parse(&[OPEN, 1]), Err(StampError::Form(OPEN)));
        assert_eq!(parse(&[CLOSE; 10]), Err(StampError::Form(CLOSE)));
    }

    #[test]
    fn numbers_that_no_session_has_are_an_error() {
        for (session, serial, settled) in [(0, 1, 0), (1, 0, 0), (1, 2, 2), (1, 2, 3)] {
            let error = StampError::Numbers {
                session,
                serial,
                settled,
            };
            assert_eq!(SessionStamp::new(session, serial, settled), Err(error));
            let stamp = SessionStamp {
                session,
                serial,
                settled,
            };
            assert_eq!(SessionStamp::parse(&stamp.stamp("x")), Err(error));
        }
    }
}
