//! What the rest of a program asks of a node with a log.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::error::ProposeError;
use super::replication::CompactError;
use super::session::{Session, SessionStamp};
use crate::id::{Id, NodeId};

/// How many requests wait for a node to be polled; the others wait to get there.
const MOST_ASKS: usize = 1_024;

/// What a proposal counts for beyond its bytes.
const OVERHEAD: usize = 64;

/// What a client asks.
#[derive(Debug)]
pub(super) enum Ask<I> {
    Propose {
        data: Bytes,
        /// What it takes of the room of all, until it is applied.
        room: OwnedSemaphorePermit,
        reply: oneshot::Sender<Result<u64, ClientError<I>>>,
    },
    Read(oneshot::Sender<Result<u64, ClientError<I>>>),
    Compact {
        index: u64,
        data: Bytes,
        reply: oneshot::Sender<Result<(), CompactError>>,
    },
}

/// Asks a node: cheap to clone, for any task or thread.
///
/// - **Back-pressure.** What all clients of a node have proposed and not seen applied is bounded by
///   [`LogLimits::unsettled`](super::LogLimits::unsettled) bytes (each proposal counts for 64 more than it has). Beyond it
///   [`propose`](Self::propose) waits.
/// - **Applied.** If the node's [`applied`](super::Raft::applied) stream is in use, [`propose`](Self::propose) and
///   [`read`](Self::read) end when whoever takes entries from it has come back for the one after: so a slow state machine
///   slows its clients, and nothing else. If it never was, they end when the entry is committed. If it was and is dropped, a
///   proposal ends so too, and a read with an error.
/// - **Cancel safety.** A dropped `propose` may have been taken, and may be committed later; one that waited for room leaves it
///   to the others. A dropped `read` has done nothing.
/// - **Again.** An outcome that is not known may be asked for again: with a [`Session`] a command runs once, however often it
///   is proposed, here and elsewhere. A [`Seeker`](super::Seeker) says whom to ask.
pub struct Client<I = NodeId> {
    asks: mpsc::Sender<Ask<I>>,
    room: Arc<Semaphore>,
    most: usize,
}

impl<I> Clone for Client<I> {
    fn clone(&self) -> Self {
        Self {
            asks: self.asks.clone(),
            room: Arc::clone(&self.room),
            most: self.most,
        }
    }
}

impl<I> fmt::Debug for Client<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl<I: Id> Client<I> {
    /// A client, and where its requests arrive. They may have `room` bytes together, and `most` each.
    pub(super) fn new(room: u64, most: usize) -> (Self, mpsc::Receiver<Ask<I>>) {
        let (asks, arriving) = mpsc::channel(MOST_ASKS);
        let least = most.saturating_add(OVERHEAD);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let room = room.max(least).min(Semaphore::MAX_PERMITS);
        let client = Self {
            asks,
            room: Arc::new(Semaphore::new(room)),
            most,
        };
        (client, arriving)
    }

    /// Proposes an entry. Its index in the log, when it is committed and applied.
    ///
    /// # Errors
    /// [`ClientError::NotTaken`]: nothing has happened. [`ClientError::Unknown`]: leadership was lost meanwhile, and the entry
    /// may still be committed. [`ClientError::Stopped`]: as that, and the node is gone.
    pub async fn propose(&self, data: impl Into<Bytes>) -> Result<u64, ClientError<I>> {
        let data = data.into();
        let (len, most) = (data.len(), self.most);
        if len > most {
            return Err(ProposeError::TooLarge { len, most }.into());
        }
        let permits = u32::try_from(len + OVERHEAD).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
        let room = room.map_err(|_| ClientError::Stopped)?;
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Propose { data, room, reply }).await?;
        answer.await.map_err(|_| ClientError::Stopped)?
    }

    /// Opens a session, by an entry of the log. It may be used at any node of the cluster.
    ///
    /// # Errors
    /// As [`propose`](Self::propose). Asking again is safe: a session that was opened and is not used makes room for others.
    pub async fn session(&self) -> Result<Session, ClientError<I>> {
        let index = self.propose(SessionStamp::open()).await?;
        Ok(Session::new(index))
    }

    /// Waits until this node may answer a read that sees all that was committed before it was asked for: it leads, and its
    /// state machine has applied what was committed. Up to which index.
    ///
    /// Where the lease holds it asks nobody; else one round of messages to a quorum vouches for it.
    ///
    /// # Errors
    /// [`ClientError::NotTaken`]: it does not lead, or leads no more; ask the one that does. [`ClientError::NotApplied`]: the state
    /// machine is gone. [`ClientError::Stopped`]: the node is.
    pub async fn read(&self) -> Result<u64, ClientError<I>> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Read(reply)).await?;
        answer.await.map_err(|_| ClientError::Stopped)?
    }

    /// Keeps a snapshot: what the state machine was when it had applied the entry at this index, which it has, and
    /// lets the log's beginning go. On any node, leader or not.
    ///
    /// It goes to the store part by part; proposals and reads do not wait for it.
    ///
    /// # Errors
    /// [`CompactError`]: nothing has changed. `Busy`, also if another `compact` of this node is under way: try again later.
    pub async fn compact(
        &self,
        index: u64,
        data: impl Into<Bytes>,
    ) -> Result<(), ClientCompactError> {
        let data = data.into();
        let (reply, answer) = oneshot::channel();
        let ask = self.ask(Ask::Compact { index, data, reply }).await;
        ask.map_err(|_| ClientCompactError::Stopped)?;
        let answer = answer.await.map_err(|_| ClientCompactError::Stopped)?;
        answer.map_err(ClientCompactError::Refused)
    }

    async fn ask(&self, ask: Ask<I>) -> Result<(), ClientError<I>> {
        let sent = self.asks.send(ask).await;
        sent.map_err(|_| ClientError::Stopped)
    }
}

/// Why a client did not get what it asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientError<I = NodeId> {
    /// It was not taken. Nothing has happened.
    NotTaken(ProposeError<I>),
    /// The node has lost leadership before it knew the outcome: it may still come to be committed.
    Unknown {
        /// Who leads now, as far as the node knows.
        leader: Option<I>,
    },
    /// Nobody applies what is committed any more, as the node's [`AppliedStream`](super::AppliedStream) was dropped: what a read
    /// would see may be older. Reads alone.
    NotApplied,
    /// The node was stopped or dropped. What was proposed may still come to be committed.
    Stopped,
}

impl<I> ClientError<I> {
    /// Who leads, if the node that was asked knows: ask that one. A [`Seeker`](super::Seeker) does, and takes care that two nodes that
    /// name each other are not asked in turns.
    #[must_use]
    pub fn leader(&self) -> Option<&I> {
        match self {
            Self::NotTaken(ProposeError::NotLeader { leader }) | Self::Unknown { leader } => {
                leader.as_ref()
            }
            Self::NotTaken(ProposeError::Transferring { to }) => Some(to),
            _ => None,
        }
    }
}

impl<I> From<ProposeError<I>> for ClientError<I> {
    fn from(error: ProposeError<I>) -> Self {
        Self::NotTaken(error)
    }
}

impl<I: fmt::Debug> fmt::Display for ClientError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTaken(error) => error.fmt(f),
            Self::Unknown {
                leader: Some(leader),
            } => write!(
                f,
                "leadership was lost to {leader:?} before the outcome was known"
            ),
            Self::Unknown { leader: None } => {
                f.write_str("leadership was lost before the outcome was known")
            }
            Self::NotApplied => f.write_str("the stream of what is applied was dropped"),
            Self::Stopped => f.write_str("the node was stopped"),
        }
    }
}

impl<I: fmt::Debug> std::error::Error for ClientError<I> {}

/// Why a snapshot was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientCompactError {
    /// The node did not take it.
    Refused(CompactError),
    /// The node was stopped or dropped.
    Stopped,
}

impl fmt::Display for ClientCompactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Stopped => f.write_str("the node was stopped"),
        }
    }
}

impl std::error::Error for ClientCompactError {}
