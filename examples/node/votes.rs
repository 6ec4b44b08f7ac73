//! Where the node's vote is kept: in a file, or, without `--data`, nowhere.

use std::fmt;
use std::path::{Component, Path};
use std::pin::Pin;
use std::task::{Context, Poll};

use streamraft::{FileStore, FileStoreError, HardState, NodeId, VoteStore};

use super::Failure;

/// `None` takes every vote for kept and keeps none, so that a node with `--data` and one without are one type.
pub(crate) struct Votes(Option<FileStore>);

impl Votes {
    /// The vote file of this node of this cluster in `folder`, and what it holds: nothing if there is no file yet.
    pub(crate) fn open(
        folder: Option<&Path>,
        id: &NodeId,
        cluster: &str,
    ) -> Result<(Self, Option<HardState>), Failure> {
        let Some(folder) = folder else {
            return Ok((Self(None), None));
        };
        let name = format!("{id}.vote");
        // An id is any text: "../a" would leave the folder.
        let mut parts = Path::new(&name).components();
        let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else {
            return Err(format!(
                "no file can be named {name:?}: with --data, choose an id without '/'"
            )
            .into());
        };
        let (store, saved) = FileStore::open(folder.join(name), id.clone(), cluster)?;
        Ok((Self(Some(store)), saved))
    }
}

impl VoteStore for Votes {
    type Error = FileStoreError;

    fn poll_save(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        state: &HardState,
    ) -> Poll<Result<(), FileStoreError>> {
        match &mut self.0 {
            Some(store) => Pin::new(store).poll_save(cx, state),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl fmt::Display for Votes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(store) => write!(f, "in {}", store.path().display()),
            None => f.write_str("nowhere, and forgets it when it ends"),
        }
    }
}
