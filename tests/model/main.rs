//! The shipping core, model checked: [`streamraft::Election`] itself, not a model of it, is taken through every
//! order of events within bounds, by `stateright`.
//!
//! ```text
//! cargo test --test model                                                   # small, for every change
//! STREAMRAFT_MODEL=large cargo test --release --test model -- --nocapture   # large, for releases
//! ```
//!
//! A state is the nodes, the messages in flight, and how often what has happened (`cluster.rs`). What may happen next:
//! any message in flight is delivered, a clock ticks, a timer that is due fires, a node restarts from what it saved, a
//! leader is given an order.
//!
//! `groups.rs` does the same with [`streamraft::Elections`], many elections in one value, and `log.rs` with
//! [`streamraft::raft::Replication`], the replicated log above one.
//!
//! # What is left out without loss
//!
//! - **A message that was sent stays in flight** and may be delivered at any time, again and again, or never. So loss,
//!   duplication, delay and reordering have no bound and need no steps of their own.
//! - **A crash** before a save is one before the message came that led to it; one between a save and the sending is
//!   one after messages that are never delivered (`node.rs`).
//! - **An answer that does not change who gives it** is in flight as soon as it can be (`cluster.rs`).
//! - **A message that can do nothing any more** is taken out of flight (`letters.rs`). Every run looks at states and
//!   messages that it has met, whether that is so.
//! - **What no rule heeds** in a node tells no states apart, such as counters and how long ago the world began
//!   (`view.rs`). Every run has the core take steps from second states of a view too and compares (`tables.rs`).
//!
//! # What is bounded
//!
//! Each configuration says how many ticks all clocks make together, how many restarts there are, which orders, and
//! the highest term. Within these numbers a run is exhaustive. Besides:
//!
//! - Nodes are called at whole ticks. An election timeout is one to three of them, a heartbeat interval and all random
//!   delays less than one. Who campaigns first is any node's choice, by whose clock ticks first.
//! - Campaigns have numbers that no earlier one of the node had, also after a restart. They are random in 32 bits.
//! - A leader that is changing its voters does not hear old answers to an older term. They would make it tell a
//!   node again what that node has, and nothing else.
//! - Priorities, wishes of followers and `force_nodes` are not explored here but in `tests/election/chaos.rs`; log positions
//!   in `log.rs`.
//! - States are told apart by 64 bits of hash. Among 10^8 states the chance that any two share one is 1 in 3,700.

#![cfg(unix)] // `view.rs` reads instants as they are shown there

mod bounds;
mod clocks;
mod cluster;
mod election;
mod groups;
mod judge;
mod lease;
mod letters;
mod log;
mod membership;
mod node;
mod run;
mod tables;
mod transfer;
mod view;
