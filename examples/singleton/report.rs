//! What a process says on standard output, written and read back.

use std::fmt;
use std::str::FromStr;

/// One line, without its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The process has begun, in the term that it had kept.
    Begins { term: u64 },
    /// It leads, and no older token can write any more.
    Leads { token: u64, entry: u64 },
    /// An entry is in the file.
    Wrote { token: u64, entry: u64 },
    /// The file did not take an entry: it has seen a newer token.
    Refused { token: u64, newest: u64 },
    /// Its leadership is over, and it has stopped writing.
    Lost { token: u64 },
}

impl Report {
    /// The token that the process wrote with, if it did.
    pub(crate) fn written(self) -> Option<(u64, u64)> {
        match self {
            Self::Leads { token, entry } | Self::Wrote { token, entry } => Some((token, entry)),
            Self::Begins { .. } | Self::Refused { .. } | Self::Lost { .. } => None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins { term } => write!(f, "begins term={term}"),
            Self::Leads { token, entry } => write!(f, "leads token={token} entry={entry}"),
            Self::Wrote { token, entry } => write!(f, "wrote token={token} entry={entry}"),
            Self::Refused { token, newest } => write!(f, "refused token={token} newest={newest}"),
            Self::Lost { token } => write!(f, "lost token={token}"),
        }
    }
}

impl FromStr for Report {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut words = text.split(' ');
            let word = words.next()?;
            let mut field = |key: &str| {
                let value = words.next()?.strip_prefix(key)?.strip_prefix('=')?;
                value.parse().ok()
            };
            Some(match word {
                "begins" => Self::Begins {
                    term: field("term")?,
                },
                "leads" => Self::Leads {
                    token: field("token")?,
                    entry: field("entry")?,
                },
                "wrote" => Self::Wrote {
                    token: field("token")?,
                    entry: field("entry")?,
                },
                "refused" => Self::Refused {
                    token: field("token")?,
                    newest: field("newest")?,
                },
                "lost" => Self::Lost {
                    token: field("token")?,
                },
                _ => return None,
            })
        };
        parse().ok_or_else(|| format!("{text:?} is no report"))
    }
}
