//! How much is kept for sessions.

/// Bounds of what a state machine keeps for its clients' sessions. All nodes of a cluster must have the same: what is let go
/// must be let go on all of them at the same entry. They are part of what [`encode`](super::Sessions::encode) writes, and a node
/// with others refuses it. With the defaults no more than 64 MiB are kept, and the length of one answer for each session.
///
/// ```
/// use streamraft::raft::SessionLimits;
///
/// let limits = SessionLimits::default().sessions(1_000).answers(1);
/// assert_eq!(limits.get_sessions(), 1_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct SessionLimits {
    pub(super) sessions: u64,
    pub(super) answers: u64,
    pub(super) answer_bytes: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions: 4_096,
            answers: 64,
            answer_bytes: 16 << 10,
        }
    }
}

impl SessionLimits {
    /// How many sessions there are at most. The next that is opened takes the place of the one that was used least recently.
    /// Default 4,096; at least 1.
    pub fn sessions(mut self, sessions: u64) -> Self {
        self.sessions = sessions.max(1);
        self
    }

    /// How many answers a session holds at most: so many commands may be under way at once. One more is not run before the client has
    /// settled one of them. Default 64; at least 1.
    pub fn answers(mut self, answers: u64) -> Self {
        self.answers = answers.max(1);
        self
    }

    /// A session whose answers have so many bytes together, or more, runs no command before the client has settled some. How long
    /// an answer is, is known when it is there: so a session has less than this and one answer. Default 16 KiB; at least 1 byte.
    pub fn answer_bytes(mut self, bytes: u64) -> Self {
        self.answer_bytes = bytes.max(1);
        self
    }

    /// The value of [`sessions`](Self::sessions).
    #[must_use]
    pub fn get_sessions(&self) -> u64 {
        self.sessions
    }

    /// The value of [`answers`](Self::answers).
    #[must_use]
    pub fn get_answers(&self) -> u64 {
        self.answers
    }

    /// The value of [`answer_bytes`](Self::answer_bytes).
    #[must_use]
    pub fn get_answer_bytes(&self) -> u64 {
        self.answer_bytes
    }
}
