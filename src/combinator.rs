//! What stands around a node: each a value that owns what it wraps and is polled by its owner.

mod lane;
mod lossy;
mod router;

pub use lossy::{Lossy, lossy};
pub use router::Router;
