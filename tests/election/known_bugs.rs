//! Bugs that other implementations of Raft shipped, as their public issue threads tell them: each a scenario that must
//! end well here. Those of the replicated log and of changing the membership stand elsewhere.

mod liveness;
mod time;
mod votes;
