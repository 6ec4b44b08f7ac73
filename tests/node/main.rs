//! The contract of the node as a stream and a sink, clause by clause, each by a test that abuses it. Time is
//! virtual throughout: what takes a day here takes no time.

mod bad_input;
mod bounds;
mod cancel;
mod close;
mod crash;
mod hand;
mod lapse;
mod mistakes;
mod order;
mod surface;
mod tasks;
mod time;
mod traits;
mod wakes;
mod world;
