//! Whether a node has what was acknowledged, each of it once.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::ETAG;

use super::load::{SHARED, Write, Written};
use crate::Failure;
use crate::client::{Ask, Cluster};
use crate::http::VERSION;

const ANSWER: Duration = Duration::from_secs(10);

/// What a node must have of a key.
struct Expected {
    value: String,
    /// By which entry, if a client knows.
    index: Option<u64>,
    /// How often it was written.
    version: u64,
}

/// Looks at the state of this node alone. What was looked at.
pub(crate) async fn check(address: &str, written: &[Written]) -> Result<String, Failure> {
    let cluster = Cluster::new(Vec::new(), ANSWER);
    let expected = expected(written);
    for (key, expected) in &expected {
        let answer = cluster.ask_only(address, &Ask::stale(key)).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("LOST: {key:?} is not on {address}: {}", answer.status).into());
        }
        if answer.body != expected.value
            || expected.index.is_some() && answer.number(ETAG) != expected.index
        {
            return Err(format!(
                "LOST: {key:?} on {address} is {:?} by entry {:?}, and {:?} by {:?} was acknowledged",
                String::from_utf8_lossy(&answer.body),
                answer.number(ETAG),
                expected.value,
                expected.index,
            )
            .into());
        }
        let version = answer.number(VERSION);
        if version != Some(expected.version) {
            return Err(format!(
                "NOT ONCE: {key:?} on {address} was written {version:?} times, and {} times were acknowledged",
                expected.version
            )
            .into());
        }
    }
    let added: u64 = written.iter().map(|client| client.added).sum();
    Ok(format!(
        "{} keys, and {added} steps of one counter",
        expected.len()
    ))
}

fn expected(written: &[Written]) -> BTreeMap<String, Expected> {
    let mut all = BTreeMap::new();
    let mut expect = |write: &Write, version| {
        let (value, index) = (write.value.clone(), Some(write.index));
        let expected = Expected {
            value,
            index,
            version,
        };
        all.insert(write.key.clone(), expected);
    };
    for client in written {
        client.once.iter().for_each(|write| expect(write, 1));
        client
            .last
            .iter()
            .for_each(|write| expect(write, client.often));
    }
    // Each step was one more than what was there, and the first write was the zero.
    let added: u64 = written.iter().map(|client| client.added).sum();
    let shared = Expected {
        value: added.to_string(),
        index: None,
        version: added + 1,
    };
    all.insert(SHARED.to_owned(), shared);
    all
}
