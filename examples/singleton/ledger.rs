//! The resource that only the leader may write to: a file that takes an entry only with a token that is not older than
//! its newest.
//!
//! A database does the same with a condition on its update, an object store with one on its put. What matters: the
//! comparison and the write are one step, here by the file's lock, and the resource makes the comparison, not the writer.
//!
//! Absent here: elections. A resource knows numbers.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::entry::Entry;

/// More than the longest entry has.
const TAIL: u64 = 512;

/// What became of an entry that somebody wanted to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the file, under this number.
    Accepted { number: u64 },
    /// The file has seen this newer token. Nothing was written.
    Refused { newest: u64 },
}

/// Appends an entry unless its token is older than the newest in the file, which is made if there is none. Waits for
/// the file's lock. What was accepted survives the writer's end, but no loss of power: it is not synced.
pub(crate) fn append(path: &Path, token: u64, writer: &str, what: &str) -> io::Result<Outcome> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.lock()?; // until it is closed, at the end of this function or of the process
    let (whole, last) = last_entry(&mut file)?;
    let (number, newest) = last.map_or((0, 0), |entry| (entry.number, entry.token));
    if token < newest {
        return Ok(Outcome::Refused { newest });
    }
    let entry = Entry {
        number: number + 1,
        token,
        writer: writer.to_owned(),
        what: what.to_owned(),
    };
    // What was cut off in the middle, by a full disk, was never accepted.
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    file.write_all(format!("{entry}\n").as_bytes())?;
    Ok(Outcome::Accepted {
        number: entry.number,
    })
}

/// The bytes up to the end of the last whole line, and that line.
fn last_entry(file: &mut File) -> io::Result<(u64, Option<Entry>)> {
    let len = file.metadata()?.len();
    let start = len.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = String::new();
    file.read_to_string(&mut tail)?;
    let Some((whole, torn)) = tail.rsplit_once('\n') else {
        return Ok((0, None));
    };
    let line = whole.rsplit_once('\n').map_or(whole, |(_, line)| line);
    Ok((len - torn.len() as u64, Some(line.parse()?)))
}
