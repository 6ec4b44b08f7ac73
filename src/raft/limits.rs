//! How much of what a node with a log holds at most.

use super::error::LimitsError;

/// Bounds, in bytes unless said otherwise. The defaults suit nodes on one network with proposals of up to a few KiB.
///
/// They are [checked](Self::check) where a node is made: a bound that no node can keep is refused by name, value and rule.
/// `window` and `unsettled` are counted by the batches that a leader makes, of up to 64 KiB or one proposal: of one that is answered
/// in part all counts as answered.
///
/// ```
/// use streamraft::raft::LogLimits;
///
/// let limits = LogLimits::default().proposal(64 << 10).window(1 << 20);
/// assert_eq!(limits.get_proposal(), 64 << 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct LogLimits {
    pub(super) proposal: usize,
    pub(super) message: usize,
    pub(super) window: u64,
    pub(super) unsettled: u64,
    pub(super) cache: u64,
    pub(super) trailing: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            proposal: 1 << 20,
            message: 256 << 10,
            window: 4 << 20,
            unsettled: 64 << 20,
            cache: 16 << 20,
            trailing: 10_000,
        }
    }
}

impl LogLimits {
    /// The most that [`proposal`](Self::proposal) and [`message`](Self::message) can be: what a frame of 1 GiB has room for,
    /// which is 1 GiB less 128 bytes.
    pub const MAX_AT_ONCE: usize = (1 << 30) - 128;

    /// The most that any other bound on bytes can be, so that sums of them do not overflow: 1 TiB (on 32 bits 1 GiB).
    pub const MAX_BYTES: u64 = if usize::BITS > 32 { 1 << 40 } else { 1 << 30 };

    /// The most that one proposal may have. A larger one is refused. Default 1 MiB; from 1 byte to
    /// [`MAX_AT_ONCE`](Self::MAX_AT_ONCE).
    pub fn proposal(mut self, bytes: usize) -> Self {
        self.proposal = bytes;
        self
    }

    /// The most that one message to a follower carries, be it entries or a part of a snapshot; a single larger entry
    /// goes alone. Default 256 KiB; from 1 byte to [`MAX_AT_ONCE`](Self::MAX_AT_ONCE).
    pub fn message(mut self, bytes: usize) -> Self {
        self.message = bytes;
        self
    }

    /// How much may be on the way to one follower: beyond it the leader waits for its answers. At least one message is
    /// on the way whatever this says. Default 4 MiB; at most [`unsettled`](Self::unsettled).
    pub fn window(mut self, bytes: u64) -> Self {
        self.window = bytes;
        self
    }

    /// How much a leader takes that is not yet committed and on its own disk, and a follower that is not yet on its disk. Beyond it
    /// proposals are refused until some of it is, and a follower lets its leader's entries go. One proposal is taken whatever this
    /// says. Default 64 MiB; from 1 byte to [`MAX_BYTES`](Self::MAX_BYTES), and no less than [`window`](Self::window), or
    /// followers would let go of what they are sent.
    pub fn unsettled(mut self, bytes: u64) -> Self {
        self.unsettled = bytes;
        self
    }

    /// How much of the newest part of the log stays in memory for followers and state machines that are a little behind;
    /// what is not settled stays there in any case. Zero: nothing else. Default 16 MiB; at most [`MAX_BYTES`](Self::MAX_BYTES).
    pub fn cache(mut self, bytes: u64) -> Self {
        self.cache = bytes;
        self
    }

    /// How many entries before a snapshot's last are kept, for followers that are a little behind and would need all of
    /// the snapshot instead. Default 10,000 entries. Zero: none. `u64::MAX`: no entry is ever dropped.
    pub fn trailing(mut self, entries: u64) -> Self {
        self.trailing = entries;
        self
    }

    /// Whether a node can keep these bounds. [`Raft::new`](super::Raft::new) asks the same.
    ///
    /// ```
    /// use streamraft::raft::LogLimits;
    ///
    /// let limits = LogLimits::default().unsettled(1 << 20);
    /// assert_eq!(
    ///     limits.check().unwrap_err().to_string(),
    ///     "window: 4194304: it must be at most unsettled (1048576)",
    /// );
    /// assert_eq!(limits.window(1 << 20).check(), Ok(()));
    /// ```
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), LimitsError> {
        let at_once = 1..=Self::MAX_AT_ONCE;
        if !at_once.contains(&self.proposal) {
            let value = self.proposal;
            return Err(LimitsError::Proposal { value });
        }
        if !at_once.contains(&self.message) {
            let value = self.message;
            return Err(LimitsError::Message { value });
        }
        if !(1..=Self::MAX_BYTES).contains(&self.unsettled) {
            let value = self.unsettled;
            return Err(LimitsError::Unsettled { value });
        }
        if self.window > self.unsettled {
            let (value, unsettled) = (self.window, self.unsettled);
            return Err(LimitsError::Window { value, unsettled });
        }
        if self.cache > Self::MAX_BYTES {
            let value = self.cache;
            return Err(LimitsError::Cache { value });
        }
        Ok(())
    }

    /// The value of [`proposal`](Self::proposal).
    #[must_use]
    pub fn get_proposal(&self) -> usize {
        self.proposal
    }

    /// The value of [`message`](Self::message).
    #[must_use]
    pub fn get_message(&self) -> usize {
        self.message
    }

    /// The value of [`window`](Self::window).
    #[must_use]
    pub fn get_window(&self) -> u64 {
        self.window
    }

    /// The value of [`unsettled`](Self::unsettled).
    #[must_use]
    pub fn get_unsettled(&self) -> u64 {
        self.unsettled
    }

    /// The value of [`cache`](Self::cache).
    #[must_use]
    pub fn get_cache(&self) -> u64 {
        self.cache
    }

    /// The value of [`trailing`](Self::trailing).
    #[must_use]
    pub fn get_trailing(&self) -> u64 {
        self.trailing
    }
}
