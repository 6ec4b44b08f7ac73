//! What a mesh has done and refused, in numbers.

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
    /// Connections, dialled or accepted, that became their peer's.
    pub connected: u64,
    /// Those of them with a peer that had been connected before.
    pub reconnected: u64,
    /// Connections that gave way to a newer one with the same peer. Not counted as lost.
    pub replaced: u64,
    /// Connections that ended: closed by the peer, silent for too long, broken, or with a frame that is none.
    pub lost: u64,

    /// Refused: no hello, or one that is malformed.
    pub garbage: u64,
    /// Refused: of another cluster.
    pub foreign_cluster: u64,
    /// Refused: of another major version.
    pub version: u64,
    /// Refused: with this node's own id.
    pub own_id: u64,
    /// Refused: another node than the dialled one answered.
    pub wrong_id: u64,
    /// Refused: an id that is no peer's, beyond what [`accept_strangers`](crate::MeshBuilder::accept_strangers)
    /// allows.
    pub strangers: u64,
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
            + self.version
            + self.own_id
            + self.wrong_id
            + self.strangers
            + self.duplicates
            + self.too_many
            + self.timed_out
            + self.broken_off
    }

    /// Counts a handshake that failed.
    pub(super) fn refuse(&mut self, error: &CodecError) {
        *match error {
            CodecError::ForeignCluster { .. } => &mut self.foreign_cluster,
            CodecError::OwnId => &mut self.own_id,
            CodecError::Version { .. } => &mut self.version,
            CodecError::Io(_) | CodecError::Truncated { .. } => &mut self.broken_off,
            _ => &mut self.garbage,
        } += 1;
    }

    /// Counts a dial that failed.
    pub(super) fn refuse_dialled(&mut self, error: &CodecError) {
        if matches!(error, CodecError::Io(_)) {
            self.unreachable += 1;
        } else {
            self.refuse(error);
        }
    }
}
