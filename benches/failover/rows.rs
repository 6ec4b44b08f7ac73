//! The tables, one a file.

mod cold_start;
mod handover;
mod leader_stops;
mod loss;
mod minority_dead;
mod paper;
mod partition;
mod successor_dead;

use crate::figures::Report;

/// Prints a table of rows of so many trials.
type Print = fn(&mut Report, u64);

/// By the letters under which they can be asked for.
pub(crate) const ALL: [(char, Print); 8] = [
    ('a', leader_stops::print),
    ('b', paper::print),
    ('c', cold_start::print),
    ('d', loss::print),
    ('e', successor_dead::print),
    ('f', handover::print),
    ('g', partition::print),
    ('h', minority_dead::print),
];
