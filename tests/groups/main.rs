//! Many elections in one value: the contract of `Groups` as a stream and a sink, what beats stand for and what they do
//! not, what faults, outsiders and mistakes do to it, and what it costs at rest. Time is virtual, but in one test that
//! blocks a thread.

mod bad_input;
mod beats;
mod chaos;
mod close;
mod contract;
mod faults;
mod forged;
mod hand;
mod leadership;
mod membership;
mod mistakes;
mod over;
mod race;
mod scale;
mod turns;
mod wakes;
mod world;
