//! A store in a file: one checksummed record, replaced as a whole.
//!
//! Absent here: the bytes of the record (`record.rs`), and threads of its own. Writing blocks, so tokio's blocking
//! pool does it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{FileStoreError, VoteStore, record};
use crate::id::{Id, NodeId};
use crate::state::HardState;

/// A [`VoteStore`] in a file.
///
/// ```
/// use futures::StreamExt;
/// use streamraft::{Config, FileStore, Node, TinyRaft};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("streamraft-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("a.vote");
/// let mut config = Config::new("a", ["a"])?.cluster("orders");
/// let (store, saved) = FileStore::open(&path, config.node_id().clone(), config.get_cluster())?;
/// if let Some(saved) = saved {
///     config = config.restore(saved);
/// }
/// let mut node = TinyRaft::new(config)?.durable(store);
/// node.next().await; // leads, and has saved its vote before it said so
/// # drop(node);
/// # let (_, saved) = FileStore::<streamraft::NodeId>::open(&path, "a".parse()?, "orders")?;
/// # assert_eq!(saved.unwrap().term(), 1);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(()) }
/// ```
///
/// - **Form.** A record with a checksum, the version of its form, the cluster and the node's id. A save writes a
///   temporary file beside it (`<file>.tmp`), syncs it, renames it over the old one and syncs the folder. So a crash at
///   any instant leaves the old state or the new one. A temporary file that was left behind is ignored.
/// - **Damage.** A file that is cut, changed, of another node, cluster or program, or of a newer release is an error
///   of [`open`](Self::open), and never taken for a node that has not voted. Only a file that is not there is.
/// - **Lock.** `<file>.lock` is locked as long as the store lives, and until its last write is over. It stays when
///   the store is gone, empty and unlocked; leave it there. A process that is being started holds what its parent has
///   locked for an instant; who opens a file again at once tries again. On file systems without locks (some network file
///   systems) `open` fails.
/// - **Forgetting.** A state with an older term than the file's, or with another vote in the same term, is refused
///   ([`FileStoreError::NotRestored`]): whoever opens a file and does not restore the node from it votes twice.
/// - **Time.** A save is two syncs, on tokio's blocking pool: saving needs a tokio runtime. A state that is already
///   in the file costs nothing.
/// - **Cancel safety.** A save that was given up is finished in the background, or not at all. The next one waits for
///   it, so it cannot come to lie over a newer state.
///
/// Where the disk lies about syncing, or on a platform whose folders cannot be synced (Windows), a loss of power can
/// bring the older state back.
#[derive(Debug)]
pub struct FileStore<I = NodeId> {
    place: Arc<Place>,
    cluster: String,
    node_id: I,
    /// What the file holds, as far as is known: after an error it may be newer.
    held: Option<HardState<I>>,
    in_doubt: bool,
    job: Option<Job<I>>,
}

/// A save on the blocking pool.
#[derive(Debug)]
struct Job<I> {
    state: HardState<I>,
    write: JoinHandle<Result<(), FileStoreError>>,
}

impl<I: Id + Serialize + DeserializeOwned> FileStore<I> {
    /// Opens the file of this node of this cluster, locks it, and reads what it holds: `None` if there is no file yet.
    /// Hand that to [`Config::restore`](crate::Config::restore).
    ///
    /// It reads and syncs on the calling thread, outside a runtime too. The folder must exist; it is not created,
    /// since the folder of an unmounted volume would look like that of a node which never voted.
    ///
    /// # Errors
    /// All but the last three of [`FileStoreError`]. Nothing was changed, except that the lock file may have been made.
    pub fn open(
        path: impl AsRef<Path>,
        node_id: I,
        cluster: impl Into<String>,
    ) -> Result<(Self, Option<HardState<I>>), FileStoreError> {
        let place = Place::open(path.as_ref())?;
        let cluster = cluster.into();
        let saved = match place.read()? {
            None => None,
            Some(bytes) => Some(record::decode(&bytes, &place.file, &cluster, &node_id)?),
        };
        let store = Self {
            place: Arc::new(place),
            cluster,
            node_id,
            held: saved.clone(),
            in_doubt: false,
            job: None,
        };
        Ok((store, saved))
    }
}

impl<I> FileStore<I> {
    /// The vote file, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.file
    }

    /// Waits for the save under way, if there is one, and learns from it what the file holds.
    fn poll_job(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FileStoreError>> {
        let Some(job) = &mut self.job else {
            return Poll::Ready(Ok(()));
        };
        let joined = ready!(Pin::new(&mut job.write).poll(cx));
        // A panic of the thread, or a runtime that shuts down: both are io errors to tokio.
        let outcome = joined.unwrap_or_else(|error| {
            let error = io::Error::from(error);
            Err(self.place.error("writing in the background", error))
        });
        self.in_doubt = outcome.is_err();
        if let Some(Job { state, .. }) = self.job.take()
            && outcome.is_ok()
        {
            self.held = Some(state);
        }
        Poll::Ready(outcome)
    }
}

impl<I: Id + Serialize> FileStore<I> {
    fn start(&self, state: &HardState<I>) -> Result<Job<I>, FileStoreError> {
        let path = || self.place.file.clone();
        if let Some(held) = self.held.as_ref().filter(|held| forgets(held, state)) {
            return Err(FileStoreError::NotRestored {
                path: path(),
                held: held.term,
                given: state.term,
            });
        }
        let bytes = record::encode(&self.cluster, &self.node_id, state)
            .ok_or_else(|| FileStoreError::NotWritable { path: path() })?;
        let runtime =
            Handle::try_current().map_err(|_| FileStoreError::NoRuntime { path: path() })?;
        let place = Arc::clone(&self.place);
        Ok(Job {
            state: state.clone(),
            write: runtime.spawn_blocking(move || place.write(&bytes)),
        })
    }
}

impl<I: Id + Serialize> VoteStore<I> for FileStore<I> {
    type Error = FileStoreError;

    fn poll_save(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        state: &HardState<I>,
    ) -> Poll<Result<(), FileStoreError>> {
        loop {
            ready!(self.poll_job(cx))?;
            if !self.in_doubt && self.held.as_ref() == Some(state) {
                return Poll::Ready(Ok(()));
            }
            self.job = Some(self.start(state)?);
        }
    }
}

/// Whether a node in this state would have forgotten a vote that it gave (paper figure 2).
fn forgets<I: Eq>(held: &HardState<I>, state: &HardState<I>) -> bool {
    let voted = held.voted_for.is_some();
    state.term < held.term
        || (state.term == held.term && voted && state.voted_for != held.voted_for)
}

/// The three files. The lock is not on the vote file itself, which every save replaces.
#[derive(Debug)]
struct Place {
    file: PathBuf,
    temp: PathBuf,
    folder: PathBuf,
    /// Held by the jobs too: a write that goes on when its store was dropped must not meet the next store's.
    _lock: File,
}

impl Place {
    fn open(path: &Path) -> Result<Self, FileStoreError> {
        let failed = |doing, source| FileStoreError::Io {
            path: path.to_owned(),
            doing,
            source,
        };
        let file = absolute(path).map_err(|error| failed("finding its folder", error))?;
        let beside = |ending: &str| {
            let mut name = OsString::from(&file);
            name.push(ending);
            PathBuf::from(name)
        };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(beside(".lock"))
            .map_err(|error| failed("opening its lock file", error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => FileStoreError::Locked {
                path: path.to_owned(),
            },
            TryLockError::Error(error) => failed("locking its lock file", error),
        })?;
        Ok(Self {
            temp: beside(".tmp"),
            folder: file.parent().unwrap_or(&file).to_owned(),
            file,
            _lock: lock,
        })
    }

    fn read(&self) -> Result<Option<Vec<u8>>, FileStoreError> {
        let bytes = match fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error("reading it", error)),
        };
        // Whoever wrote it may have been killed before it synced the folder. What is acted upon from now on must not
        // be undone by a loss of power.
        self.sync_folder()?;
        Ok(Some(bytes))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), FileStoreError> {
        let write_temp = || {
            let mut temp = File::create(&self.temp)?;
            temp.write_all(bytes)?;
            temp.sync_all()
        };
        write_temp().map_err(|error| self.error("writing its temporary file", error))?;
        fs::rename(&self.temp, &self.file)
            .map_err(|error| self.error("putting the new file in its place", error))?;
        self.sync_folder()
    }

    /// Makes the rename last.
    fn sync_folder(&self) -> Result<(), FileStoreError> {
        if cfg!(unix) {
            File::open(&self.folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| self.error("syncing its folder", error))
        } else {
            Ok(())
        }
    }

    fn error(&self, doing: &'static str, source: io::Error) -> FileStoreError {
        FileStoreError::Io {
            path: self.file.clone(),
            doing,
            source,
        }
    }
}

/// The file itself, behind any links, so that two names of it have one lock, and a later change of the working
/// directory changes nothing.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = path.file_name().ok_or(ErrorKind::IsADirectory)?;
            let folder = match path.parent() {
                Some(folder) if folder != Path::new("") => folder,
                _ => Path::new("."),
            };
            Ok(fs::canonicalize(folder)?.join(name))
        }
        found => found,
    }
}
