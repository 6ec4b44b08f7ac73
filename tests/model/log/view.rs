//! A node's state as far as it matters: two nodes with one view do the same from here on, which `tables.rs` checks on every run.
//!
//! What the election is seen as is said in `../view.rs`. Of the log nearly all is shown as it is.

use std::fmt::{Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use streamraft::raft::Replication;

use crate::log::bounds::TIMEOUT;
use crate::view::{Value, nanos, ticks, write};

/// What no rule heeds within what a run has.
const NEVER: [(&str, &str); 10] = [
    // The same for a node's whole life.
    ("Replication", "limits"),
    ("Replication", "cluster"),
    ("Replication", "patience"),
    ("Replication", "stats"),
    // How many bytes ever went through: far from every bound.
    ("Replication", "settled"),
    ("Tail", "end"),
    ("Placed", "end"),
    ("Progress", "sent"),
    ("Progress", "answered"),
    // Room for a count.
    ("Lead", "counts"),
];

/// The view of a node with a log at `now`, with what else there is of it, and a digest of all of it.
pub(crate) fn view(
    raft: &Replication<u8>,
    now: Instant,
    rest: &(impl Debug + Hash),
) -> (String, u64) {
    let text = format!("{raft:?}");
    // Batches and parts are shown in words.
    let text = text
        .replace(" to ", "-to-")
        .replace(" of term ", "-of-term-");
    let text = text.replace(" of ", "-of-").replace("::", "-");
    let text = text
        .replace("entries ", "entries-")
        .replace("bytes ", "bytes-");
    let mut out = String::with_capacity(text.len());
    let writer = Writer { now: nanos(now) };
    writer.write(&Value::of(&text), &mut out);
    // Entries are not shown in all places with their content, which is here.
    let mut hasher = DefaultHasher::new();
    rest.hash(&mut hasher);
    let _ = write!(out, "{:x}", hasher.finish());
    text.hash(&mut hasher);
    (out, hasher.finish())
}

struct Writer {
    now: i128,
}

impl Writer {
    fn write(&self, value: &Value<'_>, out: &mut String) {
        match value {
            Value::Plain(text) => out.push_str(text),
            Value::Fields("Instant", _) => {
                let since = ticks(value.nanos() - self.now).max(-i64::from(TIMEOUT));
                let _ = write!(out, "{since}");
            }
            Value::Fields("Election", _) => {
                write(value, self.now, TIMEOUT.into(), true, out);
            }
            Value::Fields(name, fields) => {
                out.push('{');
                let shown = fields
                    .iter()
                    .filter(|(field, _)| !NEVER.contains(&(name, field)));
                for (_, value) in shown {
                    self.write(value, out);
                    out.push(' ');
                }
                out.push('}');
            }
            Value::Items(name, open, items) => {
                out.push_str(name);
                out.push(*open);
                for item in items {
                    self.write(item, out);
                    out.push(' ');
                }
                out.push(')');
            }
        }
    }
}
