//! What must hold whatever is put in: of the codecs, of one election, of nodes with a log, of the
//! file that keeps a vote.
//!
//! Each check takes bytes and makes of them what it puts in, so that one and the same check serves twice: here, with
//! random bytes in every test run, and in `tests/fuzz`, where a fuzzer looks for the bytes that matter.

pub(crate) mod codec;
pub(crate) mod election;
pub(crate) mod log;
pub(crate) mod store;

#[cfg(test)]
mod twins;
