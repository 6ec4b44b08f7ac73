//! The election rules on virtual time.

mod chaos;
mod details;
mod end_of_terms;
mod failover;
mod faults;
mod knowledge;
mod known_bugs;
mod membership;
mod newer;
mod one;
mod paper;
mod priority;
mod rounds;
mod world;
