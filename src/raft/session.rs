//! Commands that run once, however often they are proposed (thesis 6.3): a layer above proposals, which are opaque to the log.
//!
//! Absent here: rules of the log. A session is two values that know each other by the entries alone: the client's, which numbers
//! its commands, and the state machine's, which remembers what was run.

mod limits;
mod record;
mod stamp;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;

pub use limits::SessionLimits;
pub use record::SessionsError;
pub use stamp::{SessionStamp, StampError, Stamped};
pub use table::{Outcome, SessionError, Sessions};

/// A client's half of a session: it numbers commands, so that one which is proposed again is known for the same.
///
/// A value bound to no node: its requests may be proposed anywhere, one after the other or several at once, until somebody answers.
/// Opened by [`Client::session`](crate::raft::Client::session), which is an entry of the log. [`Sessions`] is the state machine's half.
///
/// ```
/// # use streamraft::Config;
/// # use streamraft::raft::{ClientError, LogLimits, MemoryLog, Raft};
/// use streamraft::raft::Seeker;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use futures::StreamExt;
/// # let mut raft = Raft::new(Config::with_id(1, [1])?, LogLimits::default(), MemoryLog::new())?;
/// # let clients = std::collections::BTreeMap::from([(1, raft.client())]);
/// # let node = async { while raft.next().await.is_some() {} };
/// # let program = async {
/// let mut seeker = Seeker::new(clients.keys().copied()).ok_or("no nodes")?;
/// let mut session = seeker.ask(async |id| clients[&id].session().await).await?;
/// let request = session.request("x = 1");
/// // As often as it takes, at whoever leads. It is run once.
/// let index = seeker.ask(async |id| clients[&id].propose(&request).await).await?;
/// # assert_eq!(index, session.id() + 1);
/// # Ok(()) };
/// # tokio::select! { () = node => Ok(()), done = program => done } }
/// ```
#[derive(Debug)]
pub struct Session {
    id: u64,
    /// The newest that was given out.
    serial: u64,
    /// The requests that somebody holds, by serial. As many as are held at once.
    held: BTreeMap<u64, Weak<()>>,
}

impl Session {
    /// The session that the entry at this index has opened.
    #[must_use]
    pub fn new(id: u64) -> Self {
        Self::resume(id, 0)
    }

    /// A session whose serials up to this one are in use: for a client that was started again and has kept both numbers. The
    /// commands that it has not kept are given up.
    #[must_use]
    pub fn resume(id: u64, serial: u64) -> Self {
        Self {
            id,
            serial,
            held: BTreeMap::new(),
        }
    }

    /// Its id: the index of the entry that opened it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What is to be proposed when it is used no more, so that it takes no place. It may be left to others that are used more
    /// recently, too.
    #[must_use]
    pub fn close(self) -> Bytes {
        SessionStamp::close(self.id)
    }

    /// A new command. Nothing happens before it is proposed.
    ///
    /// The state machine keeps its answer for as long as the request (or a clone of it) is held. **Dropping it settles it**, which the state
    /// machine hears with the next command: one that was run has no answer then, and one that was not will not be. So whoever
    /// stops waiting drops the request, and the command runs once or never, and never behind the session's later ones.
    /// No more than [`SessionLimits::answers`] may be held at once.
    pub fn request(&mut self, data: impl AsRef<[u8]>) -> SessionRequest {
        self.held.retain(|_, held| held.strong_count() > 0);
        // Behind the last number there is none that a state machine takes.
        self.serial = self.serial.wrapping_add(1);
        let oldest = self.held.keys().next().copied();
        let held = Arc::new(());
        self.held.insert(self.serial, Arc::downgrade(&held));
        let stamp = SessionStamp {
            session: self.id,
            serial: self.serial,
            settled: oldest.unwrap_or(self.serial).saturating_sub(1),
        };
        SessionRequest {
            proposal: stamp.stamp(data),
            stamp,
            _held: held,
        }
    }
}

/// A command of a [`Session`], to be proposed as often as it takes.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before it is proposed"]
pub struct SessionRequest {
    stamp: SessionStamp,
    proposal: Bytes,
    _held: Arc<()>,
}

impl SessionRequest {
    /// What names it: [`Sessions::answer`] takes it.
    #[must_use]
    pub fn stamp(&self) -> &SessionStamp {
        &self.stamp
    }

    /// What is to be proposed.
    #[must_use]
    pub fn proposal(&self) -> &Bytes {
        &self.proposal
    }
}

impl From<&SessionRequest> for Bytes {
    fn from(request: &SessionRequest) -> Self {
        request.proposal.clone()
    }
}
