//! The election rules on virtual time.

mod chaos;
mod membership;
mod priority;
mod world;
