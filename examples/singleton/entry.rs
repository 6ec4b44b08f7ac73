//! A line of the file that the leader writes to.

use std::fmt;
use std::io;
use std::str::FromStr;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// From 1 on, without a gap.
    pub(crate) number: u64,
    /// The fencing token that it was written with.
    pub(crate) token: u64,
    pub(crate) writer: String,
    /// One word.
    pub(crate) what: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            token,
            writer,
            what,
        } = self;
        write!(
            f,
            "entry={number} token={token} writer={writer} what={what}"
        )
    }
}

impl FromStr for Entry {
    type Err = io::Error;

    fn from_str(line: &str) -> io::Result<Self> {
        let parse = || {
            let mut words = line.split(' ');
            let mut field = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
            let entry = Self {
                number: field("entry")?.parse().ok()?,
                token: field("token")?.parse().ok()?,
                writer: field("writer")?.to_owned(),
                what: field("what")?.to_owned(),
            };
            words.next().is_none().then_some(entry)
        };
        parse().ok_or_else(|| {
            let message = format!("{line:?} is no entry");
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }
}
