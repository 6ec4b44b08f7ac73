//! Snapshots: of this node's own state machine, and of its leader's.

use super::{Ignored, Replication, Role};
use crate::id::Id;
use crate::raft::entry::MAX_TAKEN;
use crate::raft::store::{Snapshot, SnapshotPart};

/// A snapshot that comes in part by part.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    snapshot: Snapshot,
    received: u64,
    checksum: crc32fast::Hasher,
}

/// What came of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// It is not the next; so much is there.
    Other(u64),
    Next,
    Last,
    /// It was the last, and all together is not what it should be.
    Corrupt,
}

impl Incoming {
    fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            received: 0,
            checksum: crc32fast::Hasher::new(),
        }
    }

    fn take(&mut self, part: &SnapshotPart) -> Came {
        let asks = part.data.is_empty() && self.received < self.snapshot.len;
        if part.offset != self.received || asks {
            return Came::Other(self.received);
        }
        self.checksum.update(&part.data);
        self.received = part.end();
        if self.received < self.snapshot.len {
            Came::Next
        } else if self.checksum.clone().finalize() == self.snapshot.checksum {
            Came::Last
        } else {
            Came::Corrupt
        }
    }
}

impl<I: Id> Replication<I> {
    /// Takes a part of a snapshot from the leader.
    pub(super) fn take_part(&mut self, part: &SnapshotPart) -> Result<(), Ignored> {
        let snapshot = part.snapshot;
        let position = snapshot.position;
        // What is committed here is in it: its term is no older.
        let least = self.terms.term_at(self.commit).unwrap_or_default().max(1);
        let is_odd = position.term < least
            || position.term > self.election.state().term()
            || position.index >= MAX_TAKEN
            || part.end() > snapshot.len;
        if is_odd {
            return Err(Ignored::Malformed);
        }
        if self.disk.part.is_some() || self.disk.install.is_some() {
            // The part before was not handed over yet.
            return Err(Ignored::Busy);
        }
        let Role::Follower(follow) = &mut self.role else {
            return Err(Ignored::Stale);
        };
        if follow.arrived.is_some() && !self.disk.is_quiet() {
            // It is not on the disk yet: one at a time, whatever comes how often.
            return Err(Ignored::Busy);
        }
        let is_new = |incoming: &Incoming| incoming.snapshot != snapshot;
        if follow.incoming.as_ref().is_none_or(is_new) {
            // One of its own that was being written is older.
            self.own = None;
            follow.incoming = Some(Incoming::new(snapshot));
        }
        let Some(incoming) = &mut follow.incoming else {
            return Ok(());
        };
        let came = incoming.take(part);
        let received = match came {
            Came::Other(received) => received,
            Came::Corrupt => 0,
            Came::Next | Came::Last => part.end(),
        };
        follow.arrived = Some((snapshot, received));
        match came {
            Came::Other(_) => {}
            Came::Corrupt => {
                follow.incoming = None;
                return Err(Ignored::Malformed);
            }
            Came::Next => self.disk.part = Some(part.clone()),
            Came::Last => {
                follow.incoming = None;
                self.disk.part = Some(part.clone());
                self.install(snapshot);
            }
        }
        Ok(())
    }

    /// Goes on from the leader's snapshot. If the log has the snapshot's last entry, it keeps what is behind that.
    fn install(&mut self, snapshot: Snapshot) {
        let position = snapshot.position;
        self.disk.install = Some(snapshot);
        self.snapshot = Some(snapshot);
        if !self.terms.has(position) {
            self.disk.reset(position, self.commit);
            self.terms.reset(position);
            self.tail.clear();
            self.election.set_position(position);
        }
        if let Role::Follower(follow) = &mut self.role {
            follow.verified = follow.verified.max(position.index);
            follow.owes = true;
        }
        self.commit = position.index;
        self.drop_old();
    }

    /// Takes a part of a snapshot of this node's own state machine, which has applied all up to its position. Parts come in
    /// order; the last completes it, and lets the log's beginning go.
    ///
    /// # Errors
    /// Why the part was not taken: begin anew later, or with a newer snapshot.
    pub fn compact(&mut self, part: &SnapshotPart) -> Result<(), CompactError> {
        let position = part.snapshot.position;
        let installed = self.snapshot.map_or(0, |before| before.position.index);
        let is_fit = position.index > installed && position.index <= self.commit;
        if !is_fit || !self.terms.has(position) {
            return Err(CompactError::Position {
                index: position.index,
                installed,
                commit: self.commit,
            });
        }
        if self.is_snapshot_in_use() || self.disk.part.is_some() || self.disk.install.is_some() {
            return Err(CompactError::Busy);
        }
        if part.end() > part.snapshot.len {
            return Err(CompactError::Order);
        }
        let begins = part.offset == 0 && !part.data.is_empty() || part.snapshot.len == 0;
        if begins {
            self.own = Some(Incoming::new(part.snapshot));
        }
        let own = self
            .own
            .as_mut()
            .filter(|own| own.snapshot == part.snapshot);
        let own = own.ok_or(CompactError::Order)?;
        match own.take(part) {
            Came::Other(_) => return Err(CompactError::Order),
            Came::Corrupt => {
                self.own = None;
                return Err(CompactError::Checksum);
            }
            Came::Next => self.disk.part = Some(part.clone()),
            Came::Last => {
                self.own = None;
                self.disk.part = Some(part.clone());
                self.disk.install = Some(part.snapshot);
                self.snapshot = Some(part.snapshot);
                self.drop_old();
            }
        }
        Ok(())
    }

    /// Whether the installed snapshot is on its way to a follower that lives, or one is coming in.
    fn is_snapshot_in_use(&self) -> bool {
        match &self.role {
            Role::Follower(follow) => follow.incoming.is_some(),
            Role::Leader(lead) => {
                let live = self.election.state().followers();
                let mut takers = lead.followers.iter().filter(|other| other.takes_snapshot());
                takers.any(|other| live.binary_search(&other.id).is_ok())
            }
        }
    }

    /// Drops the entries that are in the snapshot, but for some that followers may still need.
    fn drop_old(&mut self) {
        let Some(snapshot) = self.snapshot else {
            return;
        };
        let index = snapshot.position.index.saturating_sub(self.limits.trailing);
        // What is not on the disk yet cannot be dropped from it.
        let index = index.min(self.disk.handed);
        if index > self.terms.purged().index {
            self.terms.purge(index);
            self.disk.purge = Some(self.terms.purged());
        }
    }
}

/// Why a part of an own snapshot was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompactError {
    /// It is not of an entry behind the installed one's last and up to the last that is committed; or of another term than
    /// that entry.
    Position {
        /// The entry that it is to end with.
        index: u64,
        /// The last entry of the installed one; 0 if there is none.
        installed: u64,
        /// The last entry that is committed.
        commit: u64,
    },
    /// The part before was not written yet, or a snapshot is on its way to or from another node. Try again later.
    Busy,
    /// It is not the part behind the one before.
    Order,
    /// The parts together are not what the snapshot's checksum says.
    Checksum,
}

impl std::fmt::Display for CompactError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Position {
                index,
                installed,
                commit,
            } => {
                return write!(
                    f,
                    "a snapshot of entry {index}: it must be of one behind {installed}, where the installed one ends, and \
                     no later than {commit}, the last that is committed"
                );
            }
            Self::Busy => "another snapshot is on its way; try again later",
            Self::Order => "not the part behind the one before",
            Self::Checksum => "the parts are not what the checksum says",
        })
    }
}

impl std::error::Error for CompactError {}
