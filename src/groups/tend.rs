//! What is done around every call of a group's election: tell it what its links have heard, end attachments whose ground
//! has gone, and see whether it has to be looked at again by itself.

use std::collections::HashSet;
use std::time::Instant;

use super::due::Due;
use super::group::{Attached, Group, Stage};
use super::link::{Hearing, Link};
use super::{Elections, FEW_LINKS};
use crate::election::Election;
use crate::id::Id;

/// How many things that have fallen due are done in one call, so that its owner can send in between.
const MOST_AT_ONCE: usize = 256;

impl<K: Id, I: Id> Elections<K, I> {
    /// Does what has fallen due, or some of it: [`poll_timeout`](Self::poll_timeout) tells whether there is more.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..MOST_AT_ONCE {
            match self.dues.take(now) {
                None => return,
                Some(Due::Group(place)) => self.look_after(place, now),
                Some(Due::Beat(link)) => self.beat(link, now),
                Some(Due::Unanswered(link)) => self.look_for_answers(link, now),
                Some(Due::Unheard(link)) => self.look_for_beats(link, now),
            }
        }
    }

    fn look_after(&mut self, place: u32, now: Instant) {
        if let Some(group) = self.group_mut(place) {
            group.due = None;
        }
        if !self.rests(place, now) {
            self.touch(place, now, |election| election.handle_timeout(now));
        }
    }

    /// Calls a group's election, with all that has to be done before and after. None: there is no such group.
    pub(super) fn touch<T>(
        &mut self,
        place: u32,
        now: Instant,
        act: impl FnOnce(&mut Election<I>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(place as usize)?.as_deref_mut()?;
        group.catch_up(&self.links);
        let before = group.election.bond();
        let value = act(&mut group.election);
        if group.election.bond() != before {
            self.detach_all(place, now);
            self.make_links(place, now);
            self.share_membership(place);
        }
        self.settle(place, now);
        Some(value)
    }

    /// Sees to it that a group is heard, and looked at again when it has to be.
    pub(super) fn settle(&mut self, place: u32, now: Instant) {
        self.note_change(place);
        let rests = self.rests(place, now);
        if !rests {
            self.want_links(place, now);
        }
        let Some(group) = self
            .groups
            .get_mut(place as usize)
            .and_then(Option::as_deref_mut)
        else {
            return;
        };
        if !group.is_ready && (group.has_output() || group.election.is_stopped()) {
            group.is_ready = true;
            self.ready.groups.push(place);
        }
        let next = group.election.poll_timeout().filter(|_| !rests);
        if let Some(at) = next.filter(|at| group.due.is_none_or(|due| *at < due)) {
            if let Some(due) = group.due.replace(at) {
                self.dues.take_back(due, Due::Group(place));
            }
            self.dues.put(at, Due::Group(place));
        }
    }

    /// Whether its links do all that a group needs: each of its others is attached at a link that is heard, or is silent and
    /// no longer counted.
    fn rests(&mut self, place: u32, now: Instant) -> bool {
        let Some(group) = self
            .groups
            .get_mut(place as usize)
            .and_then(Option::as_deref_mut)
        else {
            return true;
        };
        group.catch_up(&self.links);
        if !group.election.rests() {
            return false;
        }
        if let Some(Attached {
            link,
            stage: Stage::Following { .. },
            ..
        }) = group.attachments.first()
        {
            let link = self.links.get(*link as usize);
            let timeout = self.common.election_timeout;
            return link.is_some_and(|link| link.listener.is_live(now, timeout));
        }
        let mut without = Vec::new();
        let mut heard = 0;
        for other in group.election.others() {
            let Some(at) = self.machines.get(other.id).copied() else {
                return false;
            };
            let Some(link) = self.links.get(at as usize) else {
                return false;
            };
            let is_leading = |attached: &Attached| {
                attached.link == at && matches!(attached.stage, Stage::Leading { .. })
            };
            match link.speaker.hearing {
                Hearing::Live if group.attachments.iter().any(is_leading) => {
                    heard += usize::from(other.is_voter);
                }
                Hearing::Silent if !other.is_live => without.push(at),
                _ => return false,
            }
        }
        // Without a quorum there is an end to wait for.
        if !group.election.leads() || !group.election.is_quorum_with(heard) {
            return false;
        }
        for at in without {
            if let Some(link) = self.links.get_mut(at as usize) {
                link.speaker.without.insert(place);
            }
        }
        true
    }

    /// A leader's links are to beat.
    fn want_links(&mut self, place: u32, now: Instant) {
        let Self {
            groups,
            links,
            machines,
            ..
        } = self;
        let Some(group) = groups.get(place as usize).and_then(Option::as_deref) else {
            return;
        };
        if !group.election.leads() {
            return;
        }
        let mut off = Vec::new();
        for other in group.election.others() {
            let at = machines.get(other.id).copied();
            let link = at.and_then(|at| links.get_mut(at as usize));
            if let (Some(at), Some(link)) = (at, link) {
                link.speaker.is_wanted = true;
                if link.speaker.hearing == Hearing::Off {
                    link.speaker.start(now);
                    off.push(at);
                }
            }
        }
        for at in off {
            self.beat(at, now);
            self.watch_answers(at);
        }
    }

    /// Makes the links to the machines of a group's other members that there are not yet.
    pub(super) fn make_links(&mut self, place: u32, now: Instant) {
        let Some(group) = self.group(place) else {
            return;
        };
        let is_new = |id: &&I| !self.machines.contains_key(*id);
        let others = group.election.others().map(|other| other.id);
        let new: Vec<I> = others.filter(is_new).cloned().collect();
        let key = group.key.clone();
        for id in new {
            let (session, own) = (self.next_session(), self.next_session());
            let link = Link::new(id.clone(), key.clone(), session, own, now);
            let at = self.free_link();
            match self.links.get_mut(at as usize) {
                Some(free) => *free = link,
                None => self.links.push(link),
            }
            self.machines.insert(id, at);
        }
    }

    /// A place for a link. Looks now and then for those to machines that have left all groups.
    fn free_link(&mut self) -> u32 {
        if self.free_links.is_empty() && self.links.len() >= self.sweep_at {
            let groups = self.groups.iter().flatten();
            let members: HashSet<&I> = groups
                .flat_map(|group| group.election.others().map(|other| other.id))
                .collect();
            let links = self.links.iter().zip(0..);
            let unneeded = links.filter(|(link, _)| link.is_idle() && !members.contains(&link.id));
            self.free_links.extend(unneeded.map(|(_, at)| at));
            for at in &self.free_links {
                if let Some(link) = self.links.get(*at as usize) {
                    self.machines.remove(&link.id);
                }
            }
            let kept = self.links.len() - self.free_links.len();
            self.sweep_at = kept.max(FEW_LINKS / 2) * 2;
        }
        let next = u32::try_from(self.links.len()).unwrap_or(u32::MAX);
        self.free_links.pop().unwrap_or(next)
    }

    /// What is said on links bears the key of another group from now on, if there is one.
    pub(super) fn let_key_go(&mut self, place: u32) {
        let Self { groups, links, .. } = self;
        let Some(gone) = groups.get(place as usize).and_then(Option::as_deref) else {
            return;
        };
        for link in links.iter_mut().filter(|link| link.key == gone.key) {
            let attached = link
                .speaker
                .roll
                .groups()
                .chain(link.listener.roll.groups());
            let mut others = attached.filter_map(|at| groups.get(at as usize)?.as_deref());
            if let Some(other) = others.find(|other| other.key != gone.key) {
                link.key = other.key.clone();
            }
        }
    }

    /// Ends all attachments of a group, of which the other ends are to hear.
    pub(super) fn detach_all(&mut self, place: u32, now: Instant) {
        let Some(group) = self
            .groups
            .get_mut(place as usize)
            .and_then(Option::as_deref_mut)
        else {
            return;
        };
        for attached in std::mem::take(&mut group.attachments) {
            self.strike(attached, now);
        }
    }

    /// Strikes an attachment off its link's list.
    fn strike(&mut self, attached: Attached, now: Instant) {
        let Some(link) = self.links.get_mut(attached.link as usize) else {
            return;
        };
        let is_leading = !attached.is_following();
        let roll = if is_leading {
            &mut link.speaker.roll
        } else {
            &mut link.listener.roll
        };
        roll.detach(attached.number);
        if roll.is_too_long() {
            if is_leading {
                self.renew_speaker(attached.link, now);
            } else {
                self.renew_listener(attached.link, now);
            }
        }
    }

    /// Ends one attachment, as the other end has.
    pub(super) fn detach(&mut self, place: u32, number: u64, link: u32, now: Instant) {
        let Some(group) = self
            .groups
            .get_mut(place as usize)
            .and_then(Option::as_deref_mut)
        else {
            return;
        };
        group.catch_up(&self.links);
        let at = group
            .attachments
            .iter()
            .position(|at| at.link == link && at.number == number);
        if let Some(at) = at {
            let attached = group.attachments.swap_remove(at);
            if attached.is_following() {
                if let Some(link) = self.links.get_mut(link as usize) {
                    link.listener.roll.let_go(number);
                }
            } else {
                // Told as if it had been this end's: an offer of it that comes late must not be taken up.
                self.strike(attached, now);
            }
        }
        self.settle(place, now);
    }

    /// The next beat of a link, and when the one after it is due.
    pub(super) fn beat(&mut self, at: u32, now: Instant) {
        let interval = self.common.heartbeat_interval;
        let Some(link) = self.links.get_mut(at as usize) else {
            return;
        };
        let speaker = &mut link.speaker;
        let is_wanted = std::mem::take(&mut speaker.is_wanted);
        if !is_wanted && speaker.roll.is_idle() && speaker.without.is_empty() {
            speaker.hearing = Hearing::Off;
            return;
        }
        speaker.beat(now);
        self.dues.put(now + interval, Due::Beat(at));
        self.say(at);
    }

    /// A link has something to say.
    pub(super) fn say(&mut self, at: u32) {
        if let Some(link) = self.links.get_mut(at as usize)
            && !std::mem::replace(&mut link.is_ready, true)
        {
            self.ready.links.push(at);
        }
    }

    pub(super) fn watch_answers(&mut self, at: u32) {
        let (election, leadership) = (self.common.election_timeout, self.common.leadership_timeout);
        if let Some(link) = self.links.get_mut(at as usize)
            && !std::mem::replace(&mut link.speaker.is_watched, true)
        {
            let due = link.speaker.silent_at(election, leadership);
            self.dues.put(due, Due::Unanswered(at));
        }
    }

    fn look_for_answers(&mut self, at: u32, now: Instant) {
        let (election, leadership) = (self.common.election_timeout, self.common.leadership_timeout);
        let Some(link) = self.links.get_mut(at as usize) else {
            return;
        };
        link.speaker.is_watched = false;
        match link.speaker.hearing {
            Hearing::Off | Hearing::Silent => {}
            Hearing::Trying | Hearing::Live => {
                if link.speaker.silent_at(election, leadership) > now {
                    return self.watch_answers(at);
                }
                link.speaker.hearing = Hearing::Silent;
                self.wake(at, now);
            }
        }
    }

    /// Looks at every group that this machine leads at a link.
    pub(super) fn wake(&mut self, at: u32, now: Instant) {
        let Some(link) = self.links.get_mut(at as usize) else {
            return;
        };
        let without = std::mem::take(&mut link.speaker.without);
        let groups: Vec<u32> = link.speaker.roll.groups().chain(without).collect();
        for place in groups {
            self.settle(place, now);
        }
    }

    pub(super) fn watch_beats(&mut self, at: u32) {
        let timeout = self.common.election_timeout;
        if let Some(link) = self.links.get_mut(at as usize)
            && let Some(heard) = link.listener.heard
            && !std::mem::replace(&mut link.listener.is_watched, true)
        {
            self.dues.put(heard + timeout, Due::Unheard(at));
        }
    }

    fn look_for_beats(&mut self, at: u32, now: Instant) {
        let timeout = self.common.election_timeout;
        let Some(link) = self.links.get_mut(at as usize) else {
            return;
        };
        link.listener.is_watched = false;
        if link.listener.is_live(now, timeout) {
            return self.watch_beats(at);
        }
        let groups: Vec<u32> = link.listener.roll.groups().collect();
        for place in groups {
            self.settle(place, now);
        }
    }

    /// Begins a session with the machine at this link: nobody is attached in it yet.
    pub(super) fn renew_speaker(&mut self, at: u32, now: Instant) {
        let session = self.next_session();
        let Some(link) = self.links.get_mut(at as usize) else {
            return;
        };
        let groups: Vec<u32> = link.speaker.roll.groups().collect();
        for place in &groups {
            self.leave(*place, at, true);
        }
        if let Some(link) = self.links.get_mut(at as usize) {
            link.speaker.renew(session, now);
        }
        self.say(at);
        for place in groups {
            self.settle(place, now);
        }
    }

    /// Lets go of all who follow at this link, under a name that its machine does not know yet.
    pub(super) fn renew_listener(&mut self, at: u32, now: Instant) {
        let own = self.next_session();
        let Some(link) = self.links.get_mut(at as usize) else {
            return;
        };
        let groups: Vec<u32> = link.listener.roll.groups().collect();
        for place in &groups {
            self.leave(*place, at, false);
        }
        if let Some(link) = self.links.get_mut(at as usize) {
            link.listener.renew(own);
        }
        for place in groups {
            self.settle(place, now);
        }
    }

    /// Takes an attachment from a group whose link begins anew.
    fn leave(&mut self, place: u32, at: u32, is_leading: bool) {
        if let Some(group) = self
            .groups
            .get_mut(place as usize)
            .and_then(Option::as_deref_mut)
        {
            group.catch_up(&self.links);
            group.attachments.retain(|attached| {
                let same_end = is_leading != attached.is_following();
                attached.link != at || !same_end
            });
        }
    }

    fn next_session(&mut self) -> u64 {
        self.sessions += 1;
        // Odd factors are one to one: no two sessions of an incarnation share a name.
        self.incarnation
            .wrapping_add(self.sessions.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn group_mut(&mut self, place: u32) -> Option<&mut Group<K, I>> {
        self.groups.get_mut(place as usize)?.as_deref_mut()
    }

    /// A stopped group has said its last word.
    pub(super) fn forget(&mut self, place: u32) {
        self.note_change(place);
        self.let_key_go(place);
        if let Some(group) = self.groups.get_mut(place as usize).and_then(Option::take) {
            self.places.remove(&group.key);
            if let Some(at) = group.due {
                self.dues.take_back(at, Due::Group(place));
            }
            for link in &mut self.links {
                link.speaker.without.remove(&place);
            }
            self.free.push(place);
        }
    }
}
