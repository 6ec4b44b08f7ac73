//! What can go wrong with a store.

use std::error::Error;
use std::fmt;

/// Why a store could not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    source: Box<dyn Error + Send + Sync>,
}

/// What follows from a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// There is no room, for now. What was handed over is kept, and the same call can succeed later.
    Full,
    /// What should be there is not, or is not what it was. The node must not go on with it.
    Damaged,
    /// The store does not work any more. What it holds may be all right.
    Broken,
}

impl Failure {
    /// A failure of this kind, and what it comes from: name the file and the place in it.
    pub fn new(kind: FailureKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        Self { kind, source }
    }

    /// What follows from it.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self.kind {
            FailureKind::Full => "the store of the log has no room",
            FailureKind::Damaged => "the store of the log is damaged",
            FailureKind::Broken => "the store of the log does not work",
        };
        write!(f, "{cause}: {}", self.source)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
