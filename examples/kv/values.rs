//! Keys and values, and how they change: the same on every node, since it depends on nothing but the changes and their order.
//!
//! Absent here: clocks, chance, the log, and who asked.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};

/// What a client wants changed: the content of one entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) condition: Condition,
    /// The new value; none removes the key.
    pub(crate) value: Option<Bytes>,
}

/// What must hold when the change is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Condition {
    Always,
    Exists,
    Missing,
    /// The value is the one that this entry wrote.
    Index(u64),
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Written by the entry at this index.
    Written(u64),
    /// Removed by the entry at this index, and whether there was something to remove.
    Removed(u64, bool),
    /// The condition did not hold: by which entry the value is that was there, if there was one.
    Refused(Option<u64>),
}

/// A value, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Value {
    pub(crate) bytes: Bytes,
    /// The entry that wrote it.
    pub(crate) index: u64,
    /// How often the key was written since it was created.
    pub(crate) version: u64,
}

/// All keys and values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Values(BTreeMap<String, Value>);

impl Values {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Applies the change that stands in the log at this index.
    pub(crate) fn apply(&mut self, index: u64, change: Change) -> Outcome {
        let Change {
            key,
            condition,
            value,
        } = change;
        let before = self.0.get(&key);
        let written = before.map(|value| value.index);
        if !condition.holds(written) {
            return Outcome::Refused(written);
        }
        let Some(bytes) = value else {
            return Outcome::Removed(index, self.0.remove(&key).is_some());
        };
        let version = before.map_or(0, |value| value.version) + 1;
        let value = Value {
            bytes,
            index,
            version,
        };
        self.0.insert(key, value);
        Outcome::Written(index)
    }
}

impl Condition {
    /// Whether it holds for a value that this entry wrote; none: there is no value.
    fn holds(self, written: Option<u64>) -> bool {
        match self {
            Self::Always => true,
            Self::Exists => written.is_some(),
            Self::Missing => written.is_none(),
            Self::Index(index) => written == Some(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: Option<&'static str>, condition: Condition) -> Change {
        Change {
            key: key.to_owned(),
            condition,
            value: value.map(Bytes::from),
        }
    }

    #[test]
    fn a_change_is_compared_with_the_entry_that_wrote_the_value() {
        use Condition::{Always, Exists, Index, Missing};
        use Outcome::{Refused, Removed, Written};
        let course = [
            (Some("a"), Exists, Refused(None)),
            (Some("a"), Index(1), Refused(None)),
            (Some("a"), Missing, Written(3)),
            (Some("b"), Missing, Refused(Some(3))),
            (Some("b"), Index(2), Refused(Some(3))),
            (Some("b"), Index(3), Written(6)),
            (Some("c"), Exists, Written(7)),
            (None, Index(6), Refused(Some(7))),
            (None, Index(7), Removed(9, true)),
            (None, Always, Removed(10, false)),
            (None, Exists, Refused(None)),
            (Some("d"), Always, Written(12)),
            (Some("e"), Always, Written(13)),
        ];
        let mut values = Values::default();
        for (index, (value, condition, outcome)) in (1..).zip(course) {
            let came = values.apply(index, change("key", value, condition));
            assert_eq!(came, outcome, "{index}: {condition:?}");
            let expected = match index {
                1..=2 | 9..=11 => None,
                3..=5 => Some(("a", 3, 1)),
                6 => Some(("b", 6, 2)),
                7..=8 => Some(("c", 7, 3)),
                12 => Some(("d", 12, 1)),
                _ => Some(("e", 13, 2)),
            };
            let held = values
                .get("key")
                .map(|it| (&*it.bytes, it.index, it.version));
            assert_eq!(
                held,
                expected.map(|(text, index, version)| (text.as_bytes(), index, version)),
                "{index}"
            );
        }
        assert_eq!((values.len(), values.get("other")), (1, None));
    }
}
