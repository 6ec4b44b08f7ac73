//! Bugs that other implementations of Raft shipped, as their public issue threads tell them: each a scenario that must
//! end well here, named after its issue. Those of the replicated log stand elsewhere. Each bug is also put back as a
//! mutant: see `tests/mutants/README.md`, whose test looks whether every issue of its table has a scenario here.

mod bytes;
mod disk;
mod liveness;
mod membership;
mod time;
mod votes;
