//! What users of an election rely on, through the stream and the sink, on tokio's paused clock.

mod cluster;
mod electing;
mod failover;
mod handing_over;
mod partitions;
mod restarts;
