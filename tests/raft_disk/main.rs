//! The log in a folder: it holds what it was given, in order, whatever happens to its process, its files and its disk.

mod cut_off;
mod damage;
mod disks;
mod flushes;
mod mistakes;
mod model;
mod processes;
mod snapshots;
mod tools;
mod whole;
