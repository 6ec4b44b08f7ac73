//! Who is attached to the beats of one machine to another, as one of the two sees it.
//!
//! Both ends number what they have ended, and repeat the newest of it with whatever they say until the other end has said
//! that it heard of it. So no beat counts for a group that one of the two has detached before it.

use std::collections::BTreeMap;

/// Beyond so many that the other end has not heard of, a new session is shorter than the list.
const MOST_NEWS: usize = 8_192;

/// One end's list of attachments, by number, and what it has to tell of those that it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Roll {
    attached: BTreeMap<u64, u32>,
    /// How many it has ended, and the last of them.
    detached: u64,
    news: Vec<u64>,
    /// How many of those that the other end has ended it has heard of.
    heard: u64,
}

impl Roll {
    pub(super) fn attach(&mut self, number: u64, group: u32) {
        self.attached.insert(number, group);
    }

    /// Ends an attachment, of which the other end is to hear.
    pub(super) fn detach(&mut self, number: u64) {
        if self.attached.remove(&number).is_some() {
            self.detached += 1;
            self.news.push(number);
        }
    }

    /// Tells the other end that an attachment is over of which this end knows nothing.
    pub(super) fn disown(&mut self, number: u64) {
        if !self.news.contains(&number) {
            self.detached += 1;
            self.news.push(number);
        }
    }

    /// Ends an attachment of which the other end told.
    pub(super) fn let_go(&mut self, number: u64) {
        self.attached.remove(&number);
    }

    pub(super) fn group(&self, number: u64) -> Option<u32> {
        self.attached.get(&number).copied()
    }

    /// The groups, in the order in which they were attached.
    pub(super) fn groups(&self) -> impl Iterator<Item = u32> {
        self.attached.values().copied()
    }

    /// Nobody is attached, and there is nothing to tell.
    pub(super) fn is_idle(&self) -> bool {
        self.attached.is_empty() && self.news.is_empty()
    }

    /// It would be shorter to begin anew.
    pub(super) fn is_too_long(&self) -> bool {
        self.news.len() > MOST_NEWS
    }

    pub(super) fn detached(&self) -> u64 {
        self.detached
    }

    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    pub(super) fn news(&self) -> &[u64] {
        &self.news
    }

    /// Whether the other end can have heard of so many.
    pub(super) fn can_be_heard(&self, heard: u64) -> bool {
        heard <= self.detached
    }

    /// Whether the other end can have told this: no more than it has ended.
    pub(super) fn can_be_told(detached: u64, news: &[u64]) -> bool {
        u64::try_from(news.len()).is_ok_and(|told| told <= detached)
    }

    /// The other end has heard of so many.
    pub(super) fn was_heard(&mut self, heard: u64) {
        let unheard = self.detached.saturating_sub(heard);
        let keep = usize::try_from(unheard).unwrap_or(usize::MAX);
        if let Some(known) = self.news.len().checked_sub(keep) {
            self.news.drain(..known);
        }
    }

    /// Whether what the other end tells of its own endings lacks none since those heard of. Then they are heard of.
    pub(super) fn hear(&mut self, detached: u64, news: &[u64]) -> bool {
        let before = u64::try_from(news.len())
            .ok()
            .and_then(|told| detached.checked_sub(told));
        let is_whole = before.is_some_and(|before| before <= self.heard);
        if is_whole {
            self.heard = self.heard.max(detached);
        }
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_told_until_they_were_heard_of_and_none_is_left_out() {
        let (mut here, mut there) = (Roll::default(), Roll::default());
        for number in 0..5 {
            here.attach(number, 7);
        }
        here.detach(3);
        here.detach(1);
        here.detach(1);
        assert_eq!((here.detached(), here.news()), (2, &[3, 1][..]));
        assert!(there.hear(here.detached(), here.news()));
        assert_eq!(there.heard(), 2);
        here.detach(0);
        here.was_heard(there.heard());
        assert_eq!((here.detached(), here.news()), (3, &[0][..]));
        // It comes again, or an older one comes late: nothing is lost by either.
        assert!(there.hear(2, &[3, 1]));
        assert_eq!(there.heard(), 2);
        assert!(there.hear(here.detached(), here.news()));
        assert_eq!(there.heard(), 3);
    }

    #[test]
    fn what_leaves_a_gap_or_cannot_be_is_not_taken() {
        let mut roll = Roll::default();
        assert!(!roll.hear(2, &[9]), "the first of the two is missing");
        assert!(!roll.hear(1, &[9, 8]), "two told of one");
        assert_eq!(roll.heard(), 0);
        assert!(!roll.can_be_heard(1), "nothing was ended");
    }
}
