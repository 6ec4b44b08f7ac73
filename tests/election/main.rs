//! The election rules on virtual time.

mod chaos;
mod world;
