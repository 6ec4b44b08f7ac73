//! Looks through a whole file of entries for what must never be in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::{error, fmt, io};

use super::entry::Entry;

/// A file in which everything is as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    /// In the order of the file.
    pub(crate) entries: Vec<Entry>,
    /// Who wrote with each token.
    pub(crate) writers: BTreeMap<u64, String>,
}

/// What is wrong with a file.
#[derive(Debug)]
pub(crate) enum Violation {
    /// Two wrote with one token: two leaders in one term.
    TwoWriters { token: u64, writers: [String; 2] },
    /// An older token came after a newer one: the resource did not compare.
    TokenWentBack { from: u64, entry: Entry },
    /// An entry is missing, or is there twice.
    Gap { expected: u64, entry: Entry },
    /// An entry that was reported as written is not there.
    Lost {
        writer: String,
        token: u64,
        number: u64,
    },
    /// It cannot be read.
    Unreadable(io::Error),
}

/// Checks a file, and that all is in it which was reported as written (by whom, with which token, as which entry). The first violation counts.
pub(crate) fn audit<'a>(
    path: &Path,
    written: impl IntoIterator<Item = (&'a str, u64, u64)>,
) -> Result<Audit, Violation> {
    let text = fs::read_to_string(path).map_err(Violation::Unreadable)?;
    // The last line may be one that somebody is writing at this instant.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut audit = Audit {
        entries: Vec::new(),
        writers: BTreeMap::new(),
    };
    for line in whole.lines() {
        audit.add(line.parse().map_err(Violation::Unreadable)?)?;
    }
    for (writer, token, number) in written {
        audit.confirm(writer, token, number)?;
    }
    Ok(audit)
}

impl Audit {
    fn add(&mut self, entry: Entry) -> Result<(), Violation> {
        let (number, newest) = self
            .entries
            .last()
            .map_or((0, 0), |last| (last.number, last.token));
        if entry.number != number + 1 {
            let expected = number + 1;
            return Err(Violation::Gap { expected, entry });
        }
        if entry.token < newest {
            return Err(Violation::TokenWentBack {
                from: newest,
                entry,
            });
        }
        let writer = self
            .writers
            .entry(entry.token)
            .or_insert_with(|| entry.writer.clone());
        if *writer != entry.writer {
            return Err(Violation::TwoWriters {
                token: entry.token,
                writers: [writer.clone(), entry.writer],
            });
        }
        self.entries.push(entry);
        Ok(())
    }

    fn confirm(&self, writer: &str, token: u64, number: u64) -> Result<(), Violation> {
        // Numbers begin with 1 and have no gap.
        let index = number
            .checked_sub(1)
            .and_then(|it| usize::try_from(it).ok());
        match index.and_then(|index| self.entries.get(index)) {
            Some(entry) if entry.token == token && entry.writer == writer => Ok(()),
            _ => Err(Violation::Lost {
                writer: writer.to_owned(),
                token,
                number,
            }),
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entries, tokens) = (self.entries.len(), self.writers.len());
        write!(
            f,
            "{entries} entries with {tokens} tokens: one writer a token, no token went back, no gap"
        )
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoWriters {
                token,
                writers: [first, second],
            } => write!(f, "{first} and {second} both wrote with token {token}"),
            Self::TokenWentBack { from, entry } => {
                write!(f, "the token went back from {from}: {entry}")
            }
            Self::Gap { expected, entry } => write!(f, "expected entry {expected}: {entry}"),
            Self::Lost {
                writer,
                token,
                number,
            } => write!(f, "lost: entry {number} by {writer} with token {token}"),
            Self::Unreadable(error) => error.fmt(f),
        }
    }
}

impl error::Error for Violation {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}
