//! What all parts of a mesh share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;

use super::sockets::Sockets;
use super::stats::MeshStats;
#[cfg(feature = "tls")]
use super::tls::Secure;
use crate::codec::Hello;

/// What is the same for all connections of a mesh. Checked by its builder.
#[derive(Clone, Debug)]
pub(super) struct Local<I> {
    pub(super) hello: Hello<I>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Secure<I>>,
    pub(super) max_pending: usize,
    pub(super) max_strangers: usize,
    pub(super) max_frame_len: usize,
    pub(super) handshake_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) min_backoff: Duration,
    pub(super) max_backoff: Duration,
    pub(super) report_transient: bool,
}

/// What is at hand while everything is polled once.
pub(super) struct Round<'a, I> {
    pub(super) now: Instant,
    pub(super) local: &'a Arc<Local<I>>,
    pub(super) sockets: &'a mut dyn Sockets,
    pub(super) stats: &'a mut MeshStats,
    pub(super) rng: &'a mut Xoshiro256PlusPlus,
}
