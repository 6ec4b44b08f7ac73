//! What a mesh has done and refused, in numbers.

use std::io;

use super::handshake::Refusal;
#[cfg(feature = "tls")]
use super::tls::{self, Fault};
use crate::codec::CodecError;

/// Counters of a [`Mesh`](crate::Mesh), each from its making on.
///
/// A connection that was dialled or accepted ends up in exactly one of `connected`, `unreachable` (dialled only), and
/// the counters of what was [`refused`](Self::refused), unless it is still under way or was given up together with
/// its peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MeshStats {
    /// Dials that were begun.
    pub dialled: u64,
    /// Dials that reached nobody: refused, no route, a name that is not known, broken off by an error.
    pub unreachable: u64,
    /// Connections that were taken from the listener.
    pub accepted: u64,
    /// Times that the listener could not accept, as without file descriptors. It was asked again after a pause.
    pub accept_failed: u64,
    /// Connections, dialled or accepted, that became their peer's.
    pub connected: u64,
    /// Those of them with a peer that had been connected before.
    pub reconnected: u64,
    /// Connections that gave way to a newer one with the same peer. Not counted as lost.
    pub replaced: u64,
    /// Connections that ended: closed by the peer, silent for too long, broken, or with a frame that is none.
    pub lost: u64,

    /// Refused: no hello, or one that is malformed; with TLS, also what is no TLS.
    pub garbage: u64,
    /// Refused: of another cluster.
    pub foreign_cluster: u64,
    /// Refused: to carry another payload, as the messages of many groups.
    pub foreign_payload: u64,
    /// Refused: of another major version.
    pub version: u64,
    /// Refused: with this node's own id.
    pub own_id: u64,
    /// Refused: another node than the dialled one answered.
    pub wrong_id: u64,
    /// Refused: an id that is no peer's, beyond what [`accept_strangers`](crate::MeshBuilder::accept_strangers)
    /// allows.
    pub strangers: u64,
    /// Refused, TLS: no certificate, or one that has expired, is not valid yet, or was not signed by the cluster's CA.
    pub bad_certificate: u64,
    /// Refused, TLS: a good certificate that is not for the node that was dialled, or not for the id in the hello.
    pub foreign_id: u64,
    /// Refused by the peer, TLS: it ended the handshake with an alert, most likely because it does not accept this
    /// node's certificate. An alert that is overtaken by the end of the connection counts as `unreachable`.
    pub refused_by_peer: u64,
    /// Refused: a second connection with a peer, which crossed with the first.
    pub duplicates: u64,
    /// Refused: pushed out by newer ones before it had said who it is.
    pub too_many: u64,
    /// Refused: did not say who it is within the handshake timeout.
    pub timed_out: u64,
    /// Ended before it had said who it is.
    pub broken_off: u64,

    /// Messages that were let go because their receiver is no peer, or the mesh is closed.
    pub unroutable: u64,
    /// Messages that have no form on the wire, as over the frame limit.
    pub not_sent: u64,
}

impl MeshStats {
    /// How many connections were refused or ended before they were one, for any reason but `unreachable`.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.garbage
            + self.foreign_cluster
            + self.foreign_payload
            + self.version
            + self.own_id
            + self.wrong_id
            + self.strangers
            + self.bad_certificate
            + self.foreign_id
            + self.refused_by_peer
            + self.duplicates
            + self.too_many
            + self.timed_out
            + self.broken_off
    }

    /// Counts a handshake that failed, of a connection that was dialled or accepted.
    pub(super) fn refuse(&mut self, refusal: &Refusal, dialled: bool) {
        *match refusal {
            Refusal::Hello(CodecError::ForeignCluster { .. }) => &mut self.foreign_cluster,
            Refusal::Hello(CodecError::ForeignPayload { .. }) => &mut self.foreign_payload,
            Refusal::Hello(CodecError::OwnId) => &mut self.own_id,
            Refusal::Hello(CodecError::Version { .. }) => &mut self.version,
            Refusal::Hello(CodecError::Io(error)) => self.broken(error, dialled),
            Refusal::Hello(CodecError::Truncated { .. }) => &mut self.broken_off,
            Refusal::Hello(_) => &mut self.garbage,
            #[cfg(feature = "tls")]
            Refusal::ForeignId(_) => &mut self.foreign_id,
        } += 1;
    }

    /// The counter of a connection that failed. With TLS the failure may tell what the peer did.
    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_variables, reason = "it is about TLS")
    )]
    fn broken(&mut self, error: &io::Error, dialled: bool) -> &mut u64 {
        #[cfg(feature = "tls")]
        match tls::fault(error) {
            Some(Fault::Certificate) => return &mut self.bad_certificate,
            Some(Fault::RefusedByPeer) => return &mut self.refused_by_peer,
            Some(Fault::Garbage) => return &mut self.garbage,
            None => {}
        }
        if dialled {
            &mut self.unreachable
        } else {
            &mut self.broken_off
        }
    }
}
