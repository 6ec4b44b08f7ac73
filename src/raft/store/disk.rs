//! A log in a folder: a database for entries and hard state, and a file for each snapshot.
//!
//! Absent here: what is in the tables (`disk/tables.rs`), and threads of its own. Disks block, so tokio's blocking pool
//! waits for them. Why this database: the guide's chapter on storage.

mod error;
mod mark;
mod patient;
mod place;
mod snapshots;
mod tables;
mod work;

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use error::DiskLogError;
use patient::Stall;
use snapshots::Installed;
use work::{Opened, Shared, Work};

use super::{Failure, LogStore, Recovered, Snapshot, SnapshotPart, Write};
use crate::id::{Id, NodeId};
use crate::message::LogPosition;
use crate::raft::entry::Batch;
use crate::state::HardState;

/// A [`LogStore`] in a folder.
///
/// ```
/// use std::future::poll_fn;
///
/// use streamraft::NodeId;
/// use streamraft::raft::{Batch, DiskLog, LogStore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("streamraft-disk-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let me: NodeId = "a".parse()?;
/// let mut store = DiskLog::open(&folder, &me, "orders")?;
/// let entry = [5, 0, 0, 0, /* its length */ 1, /* a proposal */ b'h', b'e', b'l', b'l', b'o'];
/// store.append(&Batch::new(1, 7, entry.to_vec().into())?);
/// poll_fn(|cx| store.poll_flush(cx)).await?; // from here on it survives
/// drop(store);
///
/// let mut store = DiskLog::open(&folder, &me, "orders")?;
/// assert_eq!(store.recovered().last, 1);
/// let batch = poll_fn(|cx| store.poll_read(cx, 1, 1024)).await?;
/// assert_eq!(batch.entries().next().unwrap().data, "hello");
/// # drop(store);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(()) }
/// ```
///
/// - **Flush.** All that was handed over when a flush begins is written in one transaction, which is all or nothing, and
///   costs one sync, however much it is. What is handed over meanwhile waits for the next one. So the more nodes have
///   to say, the less a sync counts.
/// - **Form.** `log` is a [redb](https://www.redb.org) database. A snapshot is a file of its own, `snapshot-<term>-<index>-<checksum>`;
///   while it is being written it is `snapshot.part`, which the next start removes. `flushed` counts the flushes that were told
///   to be durable.
/// - **Damage.** When it is opened every page of the database is checked, and every entry. A file that is cut, changed,
///   missing, of another node, cluster or program, or of a newer release is an error. A snapshot is checked where it is
///   read, in blocks of 64 KiB.
/// - **Time.** Opening reads the whole log on the calling thread: some seconds a GiB. Dropping it waits for the
///   disk too, since it closes the database.
/// - **Full disk.** A flush fails with [`FailureKind::Full`](super::FailureKind::Full), and what it was doing is kept,
///   by a thread that waits. The next call goes on with it, and succeeds if there is room. Reads go on meanwhile, or wait for it.
/// - **Room.** What is purged makes room in the database for later entries. The file itself does not shrink.
/// - **Lock.** `lock` in the folder is locked as long as the store lives, and until all it has begun is over. It
///   stays when the store is gone, empty and unlocked; leave it there. On file systems without locks (some network file
///   systems) `open` fails.
/// - **Cancel safety.** A flush that was given up goes on in the background. The next one waits for it.
///
/// Where the disk lies about syncing, or on a platform whose folders cannot be synced (Windows), a loss of power can
/// take back what was flushed. A whole folder that was put back to an older state cannot be told from a good one.
#[derive(Debug)]
pub struct DiskLog<I = NodeId> {
    shared: Arc<Shared>,
    recovered: Recovered<I>,
    /// What was handed over and is not in a flush yet. Whoever hands over bounds it.
    waiting: Vec<Write<I>>,
    /// How many times something was handed over, and how much of that was flushed.
    handed: u64,
    flushed: u64,
    /// How much is to be flushed when the flush that was asked for ends.
    goal: Option<u64>,
    /// None while a flush has it, or since one has failed.
    work: Option<Work<I>>,
    flush: Option<Flush<I>>,
    stalls: mpsc::Receiver<Stall>,
    /// A flush that waits for room, and was told of.
    stalled: Option<oneshot::Sender<()>>,
    installed: Option<Arc<Installed>>,
    read: Job<(u64, usize), Batch>,
    read_snapshot: Job<(u64, usize), Bytes>,
}

/// A flush on the blocking pool.
#[derive(Debug)]
struct Flush<I> {
    upto: u64,
    done: JoinHandle<Result<Work<I>, DiskLogError>>,
}

/// A read on the blocking pool: what was asked for, and what will be the answer.
type Job<Q, A> = Option<(Q, JoinHandle<Result<A, DiskLogError>>)>;

impl<I: Id + Serialize + DeserializeOwned> DiskLog<I> {
    /// Opens the folder of this node of this cluster, locks it, and checks what it holds. A new one is made into a log.
    ///
    /// It reads, writes and syncs on the calling thread, outside a runtime too. The folder must exist; it is not
    /// created, since the folder of an unmounted volume would look like that of a node which is new.
    ///
    /// # Errors
    /// All but the last two of [`DiskLogError`]. Nothing was changed, but for what a crash had left to be tidied up.
    pub fn open(
        folder: impl AsRef<Path>,
        node_id: &I,
        cluster: &str,
    ) -> Result<Self, DiskLogError> {
        Ok(Self::new(work::open(folder.as_ref(), node_id, cluster)?))
    }
}

impl<I> DiskLog<I> {
    fn new(opened: Opened<I>) -> Self {
        Self {
            installed: opened.work.installed.clone(),
            shared: opened.shared,
            recovered: opened.recovered,
            waiting: Vec::new(),
            handed: 0,
            flushed: 0,
            goal: None,
            work: Some(opened.work),
            flush: None,
            stalls: opened.stalls,
            stalled: None,
            read: None,
            read_snapshot: None,
        }
    }

    /// The folder, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.place.folder
    }

    fn hand_over(&mut self, write: Write<I>) {
        self.handed += 1;
        self.waiting.push(write);
    }

    fn runtime(&self) -> Result<Handle, DiskLogError> {
        let path = || self.path().to_owned();
        Handle::try_current().map_err(|_| DiskLogError::NoRuntime { path: path() })
    }
}

impl<I: Id + Serialize> DiskLog<I> {
    fn start_flush(&mut self) -> Result<Flush<I>, DiskLogError> {
        let runtime = self.runtime()?;
        let Some(mut work) = self.work.take() else {
            let path = self.path().to_owned();
            return Err(DiskLogError::Failed { path });
        };
        let writes = std::mem::take(&mut self.waiting);
        let shared = Arc::clone(&self.shared);
        let done = runtime.spawn_blocking(move || {
            work.flush(&shared, &writes)?;
            Ok(work)
        });
        Ok(Flush {
            upto: self.handed,
            done,
        })
    }

    /// Waits for the flush under way, if there is one, or for the news that it has no room.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DiskLogError>> {
        let Some(flush) = &mut self.flush else {
            return Poll::Ready(Ok(()));
        };
        if let Some(again) = self.stalled.take() {
            // A flush that is gone meanwhile is seen below.
            let _ = again.send(());
        }
        if let Poll::Ready(Some(Stall { error, again })) = self.stalls.poll_recv(cx) {
            self.stalled = Some(again);
            let path = self.path().to_owned();
            let source = error;
            return Poll::Ready(Err(DiskLogError::Full { path, source }));
        }
        let work = joined(&self.shared, ready!(Pin::new(&mut flush.done).poll(cx)));
        let upto = flush.upto;
        self.flush = None;
        let work = work?;
        self.installed.clone_from(&work.installed);
        self.work = Some(work);
        self.flushed = upto;
        Poll::Ready(Ok(()))
    }

    fn poll_goal(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DiskLogError>> {
        let goal = *self.goal.get_or_insert(self.handed);
        loop {
            ready!(self.poll_flushed(cx))?;
            if self.flushed >= goal {
                return Poll::Ready(Ok(()));
            }
            self.flush = Some(self.start_flush()?);
        }
    }
}

/// What came of a job. A thread that panicked and a runtime that shuts down are io errors to tokio.
fn joined<T>(
    shared: &Shared,
    joined: Result<Result<T, DiskLogError>, tokio::task::JoinError>,
) -> Result<T, DiskLogError> {
    joined.unwrap_or_else(|error| {
        let error = io::Error::from(error);
        Err(DiskLogError::io(
            &shared.place.folder,
            "working in the background",
            error,
        ))
    })
}

/// Starts a job, unless this very one is under way, and waits for it.
fn poll_job<Q: PartialEq, A: Send + 'static>(
    job: &mut Job<Q, A>,
    shared: &Arc<Shared>,
    cx: &mut Context<'_>,
    question: Q,
    start: impl FnOnce() -> Result<JoinHandle<Result<A, DiskLogError>>, DiskLogError>,
) -> Poll<Result<A, Failure>> {
    let under_way = job.take_if(|(asked, _)| *asked == question);
    let (_, answer) = match under_way {
        Some(under_way) => job.insert(under_way),
        None => job.insert((question, start()?)),
    };
    let answer = ready!(Pin::new(answer).poll(cx));
    *job = None;
    Poll::Ready(joined(shared, answer).map_err(Failure::from))
}

impl<I: Id + Serialize> LogStore<I> for DiskLog<I> {
    fn recovered(&mut self) -> Recovered<I> {
        std::mem::take(&mut self.recovered)
    }

    fn save(&mut self, hard_state: &HardState<I>) {
        self.hand_over(Write::Save(hard_state.clone()));
    }

    fn append(&mut self, batch: &Batch) {
        self.hand_over(Write::Append(batch.clone()));
    }

    fn truncate(&mut self, last: u64) {
        self.read = None;
        self.hand_over(Write::Truncate(last));
    }

    fn purge(&mut self, position: LogPosition) {
        self.hand_over(Write::Purge(position));
    }

    fn write_snapshot(&mut self, part: &SnapshotPart) {
        self.hand_over(Write::WriteSnapshot(part.clone()));
    }

    fn install_snapshot(&mut self, snapshot: &Snapshot) {
        self.read_snapshot = None;
        self.hand_over(Write::InstallSnapshot(*snapshot));
    }

    fn reset(&mut self, position: LogPosition) {
        self.read = None;
        self.hand_over(Write::Reset(position));
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let done = ready!(self.poll_goal(cx));
        self.goal = None;
        Poll::Ready(done.map_err(Failure::from))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        first: u64,
        max_bytes: usize,
    ) -> Poll<Result<Batch, Failure>> {
        let runtime = self.runtime();
        let shared = &self.shared;
        poll_job(&mut self.read, shared, cx, (first, max_bytes), || {
            let shared = Arc::clone(shared);
            Ok(runtime?.spawn_blocking(move || shared.read(first, max_bytes)))
        })
    }

    fn poll_read_snapshot(
        &mut self,
        cx: &mut Context<'_>,
        offset: u64,
        max_bytes: usize,
    ) -> Poll<Result<Bytes, Failure>> {
        let runtime = self.runtime();
        let (shared, installed) = (&self.shared, &self.installed);
        let job = &mut self.read_snapshot;
        poll_job(job, shared, cx, (offset, max_bytes), || {
            let Some(installed) = installed.clone() else {
                let reason = "there is no snapshot";
                return Err(DiskLogError::damaged(&shared.place.folder, reason));
            };
            let shared = Arc::clone(shared);
            let read = move || shared.read_snapshot(&installed, offset, max_bytes);
            Ok(runtime?.spawn_blocking(read))
        })
    }
}

#[cfg(test)]
mod power;
