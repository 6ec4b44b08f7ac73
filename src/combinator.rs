//! What stands around a node: each a value that owns what it wraps and is polled by its owner.

mod both;
mod durable;
pub(crate) mod feed;
mod groups;
mod groups_over;
pub(crate) mod lane;
pub(crate) mod leadership;
mod lossy;
pub(crate) mod outgoing;
mod over;
mod router;
mod while_leader;

pub use both::{Both, both};
pub use durable::{Durable, Node};
pub use groups::Groups;
pub use groups_over::GroupsOver;
pub use leadership::{Leadership, Token};
pub use lossy::{Lossy, lossy};
pub use over::{Over, OverError};
pub use router::Router;
pub use while_leader::{WhileLeader, WhileLeaderExt};
