//! What prolongs the lease of one election of many, without a word to it.
//!
//! Absent here: why an answered beat is as good as a pong. That is the affair of `groups`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Who prolongs a lease without a word to its node: links whose beats stand for its pings, as long as it is attached.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(super) term: u64,
    /// For how long a beat that was answered is a lease.
    span: Duration,
    /// How many links must have answered.
    quorum: usize,
    /// The links to voters, each with the first round that counts.
    links: Box<[(Arc<Answered>, u64)]>,
    /// False before any answer can have come that does not count for this lease any more.
    holds: AtomicBool,
}

/// The newest answered beat of a link.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Rounds are microseconds from here.
    since: Instant,
    round: AtomicU64,
}

impl Answered {
    const NONE: u64 = u64::MAX;

    pub(crate) fn new(since: Instant) -> Self {
        Self {
            since,
            round: AtomicU64::new(Self::NONE),
        }
    }

    pub(crate) fn set(&self, round: u64) {
        self.round.store(round, Ordering::Release);
    }

    fn sent_since(&self, first: u64) -> Option<Instant> {
        let round = self.round.load(Ordering::Acquire);
        let counts = round != Self::NONE && round >= first;
        counts.then(|| self.since + Duration::from_micros(round))
    }
}

impl Feed {
    pub(crate) fn new(
        term: u64,
        span: Duration,
        quorum: usize,
        links: Box<[(Arc<Answered>, u64)]>,
    ) -> Self {
        Self {
            term,
            span,
            quorum,
            links,
            holds: AtomicBool::new(true),
        }
    }

    /// Nothing that its links answer from now on counts.
    pub(super) fn ends(&self) {
        self.holds.store(false, Ordering::Release);
    }

    /// The end of the lease that the links give.
    pub(super) fn lease_end(&self) -> Option<Instant> {
        let answers = || {
            let links = self.links.iter();
            links.filter_map(|(link, first)| link.sent_since(*first))
        };
        let by_a_quorum =
            |sent: &Instant| answers().filter(|other| other >= sent).count() >= self.quorum;
        let sent = answers().filter(by_a_quorum).max()?;
        // Looked at last: what was read before counted if it still holds.
        self.holds.load(Ordering::Acquire).then(|| sent + self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The window is between a reader's look at the feed and its look at the rounds, which no test from outside can hit.
    #[test]
    fn a_feed_that_has_ended_gives_no_lease_whatever_its_links_answer() {
        let (since, span) = (Instant::now(), Duration::from_secs(1));
        let link = Arc::new(Answered::new(since));
        let feed = Feed::new(3, span, 1, Box::new([(Arc::clone(&link), 5)]));
        link.set(4);
        assert_eq!(feed.lease_end(), None, "before its first round");
        link.set(5);
        assert_eq!(
            feed.lease_end(),
            Some(since + Duration::from_micros(5) + span)
        );
        feed.ends();
        link.set(1_000_000);
        assert_eq!(feed.lease_end(), None);
    }
}
