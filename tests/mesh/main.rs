//! The mesh: with its like, with nodes, and with strangers of every kind; over real sockets of the loopback interface,
//! and over simulated ones.
//!
//! Whatever is waited for has a generous limit, and nothing is waited for by sleeping.
#![cfg(feature = "tcp")]

#[cfg(feature = "tls")]
mod certs;
mod closing;
mod connecting;
mod errors;
mod frames;
mod groups;
mod net;
mod payloads;
mod peers;
mod simulated;
mod slow_peers;
mod sockets;
mod strangers;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_files;
#[cfg(feature = "tls")]
mod tls_limits;
#[cfg(unix)]
mod unix;

use crate::net::*;

#[test]
fn a_mesh_is_a_transport() {
    fn transport<T, I, E>(_: &T)
    where
        T: Stream<Item = Result<(I, Message<I>), E>> + Sink<(I, Message<I>)>,
        T: Send + Unpin + Debug + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
    }
    // Outside a runtime.
    transport(&builder(1).build().unwrap());
}
