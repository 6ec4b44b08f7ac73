//! How much of what a node with a log holds at most.

/// Bounds, in bytes unless said otherwise. The defaults suit nodes on one network with proposals of up to a few KiB.
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

/// What no limit on bytes exceeds, so that sums of them do not overflow: 1 TiB (on 32 bits 1 GiB).
const MOST: u64 = if usize::BITS > 32 { 1 << 40 } else { 1 << 30 };

/// The most that one proposal or one message may be allowed: 1 GiB.
const MOST_AT_ONCE: usize = 1 << 30;

impl LogLimits {
    /// The most that one proposal may have. A larger one is refused. Default 1 MiB; at most 1 GiB.
    pub fn proposal(mut self, bytes: usize) -> Self {
        self.proposal = bytes.min(MOST_AT_ONCE);
        self
    }

    /// The most that one message to a follower carries, be it entries or a part of a snapshot; a single larger entry
    /// goes alone. Default 256 KiB; at most 1 GiB, at least 1 byte.
    pub fn message(mut self, bytes: usize) -> Self {
        self.message = bytes.clamp(1, MOST_AT_ONCE);
        self
    }

    /// How much may be on the way to one follower: beyond it the leader waits for its answers. At least one message is
    /// on the way whatever this says. Default 4 MiB.
    pub fn window(mut self, bytes: u64) -> Self {
        self.window = bytes.min(MOST);
        self
    }

    /// How much a leader takes that is not yet committed and on its own disk, and a follower that is not yet on its disk. Beyond it
    /// proposals are refused until some of it is, and a follower lets its leader's entries go. Above `window`. Default 64 MiB.
    pub fn unsettled(mut self, bytes: u64) -> Self {
        self.unsettled = bytes.min(MOST);
        self
    }

    /// How much of the newest part of the log stays in memory for followers and state machines that are a little behind;
    /// what is not settled stays there in any case. Zero: nothing else. Default 16 MiB.
    pub fn cache(mut self, bytes: u64) -> Self {
        self.cache = bytes.min(MOST);
        self
    }

    /// How many entries before a snapshot's last are kept, for followers that are a little behind and would need all of
    /// the snapshot instead. Default 10,000 entries.
    pub fn trailing(mut self, entries: u64) -> Self {
        self.trailing = entries;
        self
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
