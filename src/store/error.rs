//! What can go wrong between a node's vote and its file. Each error names the file and says what to do.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::{error, fmt};

/// Why a vote file could not be opened or written. What the file held before is still there.
///
/// `Display` names the file and the cure. A file that is [torn](Self::Torn) or [corrupt](Self::Corrupt) has lost a
/// vote that may count yet: deleting it, or putting an older copy in its place, lets the node vote twice in one term.
/// The safe cure is to take the node out of the cluster (`set_nodes`) and let it join again under a new id
/// ([`Config::join`](crate::Config::join)).
#[derive(Debug)]
#[non_exhaustive]
pub enum FileStoreError {
    /// The system refused: a full disk, a folder that is missing or cannot be written, a broken device.
    Io {
        /// The vote file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process has the file open, or another `FileStore` of this one has, or a write of one that was dropped
    /// is still under way.
    Locked {
        /// The vote file.
        path: PathBuf,
    },
    /// Something that no `FileStore` has written. The path is wrong, or another program wrote there.
    NotARecord {
        /// The vote file.
        path: PathBuf,
    },
    /// The file is shorter than its record. No crash of a node leaves it so: it was cut by a damaged disk, or by copying.
    Torn {
        /// The vote file.
        path: PathBuf,
        /// The bytes that are there.
        have: usize,
        /// The bytes that the record has, as far as that can be told.
        need: usize,
    },
    /// The bytes are not those that were written, or cannot have been written by a node with ids of this type.
    Corrupt {
        /// The vote file.
        path: PathBuf,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// A newer release of this crate wrote the file.
    Version {
        /// The vote file.
        path: PathBuf,
        /// The version of its form.
        found: u8,
    },
    /// The file belongs to a node of another cluster.
    ForeignCluster {
        /// The vote file.
        path: PathBuf,
        /// The cluster that it was written for.
        found: String,
        /// The cluster that was given.
        expected: String,
    },
    /// The file belongs to another node.
    ForeignNode {
        /// The vote file.
        path: PathBuf,
        /// The node that it was written for.
        found: String,
        /// The node that was given.
        expected: String,
    },
    /// The state to save forgets what the file holds: an older term, or another vote in the same term. The node was
    /// not restored from it. The caller's mistake; nothing was written.
    NotRestored {
        /// The vote file.
        path: PathBuf,
        /// The term that it holds.
        held: u64,
        /// The term that was to be saved.
        given: u64,
    },
    /// The id type does not serialize. The caller's mistake; nothing was written.
    NotWritable {
        /// The vote file.
        path: PathBuf,
    },
    /// It was polled outside a tokio runtime, which has the threads that write. The caller's mistake; nothing was
    /// written.
    NoRuntime {
        /// The vote file.
        path: PathBuf,
    },
}

impl FileStoreError {
    /// The vote file that it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::Locked { path }
            | Self::NotARecord { path }
            | Self::Torn { path, .. }
            | Self::Corrupt { path, .. }
            | Self::Version { path, .. }
            | Self::ForeignCluster { path, .. }
            | Self::ForeignNode { path, .. }
            | Self::NotRestored { path, .. }
            | Self::NotWritable { path }
            | Self::NoRuntime { path } => path,
        }
    }
}

/// What the operator can do about a refusal of the system.
fn cure(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free space there, then start the node again"
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            "let this process write to the file's folder, then start the node again"
        }
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            "create the file's folder or mount its volume (it is not created for you: an unmounted volume would look \
             like a node that never voted)"
        }
        ErrorKind::IsADirectory => "give the path of a file",
        _ => "look after the disk, then start the node again",
    }
}

/// For a file whose vote is lost.
const REJOIN: &str = "the vote in it is lost, so neither delete it nor put an older copy there: take this node out of the cluster \
                      and let it join under a new id";

/// For a file of somebody else.
const OWN_PATH: &str = "give this node a path of its own, or correct its settings";

impl fmt::Display for FileStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vote file {}: ", self.path().display())?;
        match self {
            Self::Io { doing, source, .. } => {
                write!(f, "{doing}: {source}: {}", cure(source.kind()))
            }
            Self::Locked { .. } => f.write_str(
                "another process or another FileStore has it open: stop that one, or give this node a path of its own",
            ),
            Self::NotARecord { .. } => write!(f, "it was not written by a node: {OWN_PATH}"),
            Self::Torn { have, need, .. } => {
                write!(f, "it has {have} bytes of at least {need}: {REJOIN}")
            }
            Self::Corrupt { reason, .. } => write!(f, "it is corrupt ({reason}): {REJOIN}"),
            Self::Version { found, .. } => write!(
                f,
                "its form has version {found}, which a newer release wrote: run that release or a later one"
            ),
            Self::ForeignCluster {
                found, expected, ..
            } => write!(
                f,
                "it belongs to cluster {found:?}, this node to {expected:?}: {OWN_PATH}"
            ),
            Self::ForeignNode {
                found, expected, ..
            } => write!(f, "it belongs to node {found}, this is {expected}: {OWN_PATH}"),
            Self::NotRestored { held, given, .. } => write!(
                f,
                "it holds a vote of term {held} that the node does not know of (its own term is {given}): give \
                 Config::restore what FileStore::open returned"
            ),
            Self::NotWritable { .. } => f.write_str(
                "the node's ids do not serialize: use an id type whose Serialize works without self-description",
            ),
            Self::NoRuntime { .. } => {
                f.write_str("it was written to outside a tokio runtime: poll the node within one")
            }
        }
    }
}

impl error::Error for FileStoreError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
