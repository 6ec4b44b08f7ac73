//! The rules of the Raft paper (extended version) and of Ongaro's thesis, each quoted by the test that proves it.

mod check_quorum;
mod lease;
mod pre_vote;
mod priority;
mod succession;
mod terms;
mod timeouts;
mod transfer;
mod votes;
mod withholding;
