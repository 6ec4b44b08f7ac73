//! What can go wrong between a node's log and its folder. Each error names the file, the place in it where that is
//! known, and says what to do.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::{error, fmt};

use crate::raft::{Failure, FailureKind};

/// Why a folder could not be opened, read or written. What was flushed before is still there, unless it is
/// [`Damaged`](Self::Damaged).
///
/// `Display` names the file and the cure. A log that is damaged has lost entries that may be committed, or a vote that
/// may count yet: deleting it, or putting an older copy in its place, can undo what the cluster has promised. The safe
/// cure is to take the node out of the cluster (`set_nodes`) and let it join again under a new id
/// ([`Config::join`](crate::Config::join)).
#[derive(Debug)]
#[non_exhaustive]
pub enum DiskLogError {
    /// The system refused: a full disk, a folder that is missing or cannot be written, a broken device. Where it was a
    /// place in the file, the reason names it.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no room for what is being flushed. It is kept, and goes on when the flush is polled again and there is.
    Full {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process has the folder open, or another `DiskLog` of this one has, or what one was doing when it was
    /// dropped is still under way.
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// Something that no `DiskLog` has written. The path is wrong, or another program wrote there.
    NotALog {
        /// The file.
        path: PathBuf,
    },
    /// Something is missing, or is not what was written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in the file or in the log, as far as that is known.
        reason: String,
    },
    /// A newer release of this crate, or of the database, wrote the file.
    Version {
        /// The file.
        path: PathBuf,
        /// The version of its form.
        found: u8,
    },
    /// The folder belongs to a node of another cluster.
    ForeignCluster {
        /// The file that says so.
        path: PathBuf,
        /// The cluster that it was written for.
        found: String,
        /// The cluster that was given.
        expected: String,
    },
    /// The folder belongs to another node.
    ForeignNode {
        /// The file that says so.
        path: PathBuf,
        /// The node that it was written for.
        found: String,
        /// The node that was given.
        expected: String,
    },
    /// What was handed over does not follow what was handed over before: entries behind a gap, an older term, a
    /// snapshot without its parts. The caller's mistake; nothing of that flush was written.
    OutOfOrder {
        /// The folder.
        path: PathBuf,
        /// What does not follow what.
        reason: String,
    },
    /// The id type does not serialize. The caller's mistake; nothing was written.
    NotWritable {
        /// The folder.
        path: PathBuf,
    },
    /// It was polled outside a tokio runtime, which has the threads that read and write. The caller's mistake.
    NoRuntime {
        /// The folder.
        path: PathBuf,
    },
    /// It was asked for something after it had failed.
    Failed {
        /// The folder.
        path: PathBuf,
    },
}

impl DiskLogError {
    /// The file or folder that it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::Full { path, .. }
            | Self::Locked { path }
            | Self::NotALog { path }
            | Self::Damaged { path, .. }
            | Self::Version { path, .. }
            | Self::ForeignCluster { path, .. }
            | Self::ForeignNode { path, .. }
            | Self::OutOfOrder { path, .. }
            | Self::NotWritable { path }
            | Self::NoRuntime { path }
            | Self::Failed { path } => path,
        }
    }

    pub(super) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io {
            path,
            doing,
            source,
        }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    /// What the database says of its file.
    pub(super) fn of(path: &Path, doing: &'static str, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            // The file ends before something that is in it.
            redb::Error::Io(source) if source.kind() == ErrorKind::UnexpectedEof => {
                Self::damaged(path, format!("{doing}: {source}"))
            }
            redb::Error::Io(source) => Self::io(path, doing, source),
            redb::Error::DatabaseAlreadyOpen => Self::Locked {
                path: path.to_owned(),
            },
            redb::Error::UpgradeRequired(found) => Self::Version {
                path: path.to_owned(),
                found,
            },
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Self::Failed {
                path: path.to_owned(),
            },
            error @ redb::Error::ValueTooLarge(_) => {
                let source = io::Error::new(ErrorKind::FileTooLarge, error);
                Self::io(path, doing, source)
            }
            other => Self::damaged(path, format!("{doing}: {other}")),
        }
    }
}

/// Whether the system has refused for want of room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

impl From<DiskLogError> for Failure {
    fn from(error: DiskLogError) -> Self {
        let kind = match &error {
            DiskLogError::Full { .. } => FailureKind::Full,
            DiskLogError::Damaged { .. } | DiskLogError::NotALog { .. } => FailureKind::Damaged,
            _ => FailureKind::Broken,
        };
        Self::new(kind, error)
    }
}

/// What the operator can do about a refusal of the system.
fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if is_full(error) => "free space there, then start the node again",
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            "let this process write there, then start the node again"
        }
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            "create the folder or mount its volume (it is not created for you: an unmounted volume would look like a \
             node that is new)"
        }
        _ => "look after the disk, then start the node again",
    }
}

/// For a log that has lost something.
const REJOIN: &str = "what is lost may be committed, so neither delete it nor put an older copy there: take this node out of the \
                      cluster and let it join under a new id, in a new folder";

/// For a folder of somebody else.
const OWN_FOLDER: &str = "give this node a folder of its own, or correct its settings";

impl fmt::Display for DiskLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path().display())?;
        match self {
            Self::Io { doing, source, .. } => write!(f, "{doing}: {source}: {}", cure(source)),
            Self::Full { source, .. } => {
                write!(f, "{source}: free space there, and it goes on")
            }
            Self::Locked { .. } => f.write_str(
                "another process or another DiskLog has it open: stop that one, or give this node a folder of its own",
            ),
            Self::NotALog { .. } => write!(f, "it was not written by a node: {OWN_FOLDER}"),
            Self::Damaged { reason, .. } => write!(f, "it is damaged ({reason}): {REJOIN}"),
            Self::Version { found, .. } => write!(
                f,
                "its form has version {found}, which a newer release wrote: run that release or a later one"
            ),
            Self::ForeignCluster {
                found, expected, ..
            } => write!(
                f,
                "it belongs to cluster {found:?}, this node to {expected:?}: {OWN_FOLDER}"
            ),
            Self::ForeignNode {
                found, expected, ..
            } => write!(
                f,
                "it belongs to node {found}, this is {expected}: {OWN_FOLDER}"
            ),
            Self::OutOfOrder { reason, .. } => write!(f, "{reason}: hand over in order"),
            Self::NotWritable { .. } => f.write_str(
                "the node's ids do not serialize: use an id type whose Serialize works without self-description",
            ),
            Self::NoRuntime { .. } => {
                f.write_str("it was polled outside a tokio runtime: poll the node within one")
            }
            Self::Failed { .. } => f.write_str("it has failed before: start the node again"),
        }
    }
}

impl error::Error for DiskLogError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Full { source, .. } => Some(source),
            _ => None,
        }
    }
}
