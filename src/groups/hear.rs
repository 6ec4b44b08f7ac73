//! What another machine says: of a group, or of the link between the two.

use std::time::Instant;

use super::Elections;
use super::group::{Attached, Stage};
use super::link::{Hearing, Meeting};
use crate::id::Id;
use crate::message::{Attachment, Beat, Inbound, Message, MessageKind};

/// Why something is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drop {
    UnknownGroup,
    Stranger,
    ForeignCluster,
    Malformed,
    Stale,
}

impl<K: Id, I: Id> Elections<K, I> {
    pub(super) fn receive(&mut self, now: Instant, key: &K, from: &I, message: Message<I>) {
        if let Err(reason) = self.dispatch(now, key, from, message) {
            tracing::debug!(node = ?self.common.me, ?key, ?from, ?reason, "message dropped");
            let count = match reason {
                Drop::UnknownGroup => &mut self.stats.unknown_groups,
                Drop::Stranger => &mut self.stats.strangers,
                Drop::ForeignCluster => &mut self.stats.foreign_cluster,
                Drop::Malformed => &mut self.stats.malformed,
                Drop::Stale => &mut self.stats.stale,
            };
            *count = count.saturating_add(1);
        }
    }

    fn dispatch(
        &mut self,
        now: Instant,
        key: &K,
        from: &I,
        message: Message<I>,
    ) -> Result<(), Drop> {
        let is_ours = message.cluster == self.common.cluster;
        match &message.kind {
            MessageKind::Beat(_)
            | MessageKind::BeatAck(_)
            | MessageKind::Attach(_)
            | MessageKind::Attached(_)
                if !is_ours =>
            {
                Err(Drop::ForeignCluster)
            }
            MessageKind::Beat(beat) => self.on_beat(now, from, beat),
            MessageKind::BeatAck(answer) => self.on_answer(now, from, answer),
            MessageKind::Attach(offer) => self.on_attach(now, key, from, &message, *offer),
            MessageKind::Attached(answer) => self.on_attached(now, key, from, *answer),
            kind => {
                let is_pong = matches!(kind, MessageKind::Pong { .. });
                let place = self.place(key)?;
                let input = Inbound::FromNode(from.clone(), message);
                // A group that was stopped hears nothing, as a stopped node does.
                self.touch(place, now, |election| election.handle(now, input));
                if is_pong {
                    self.offer(place, now, from);
                }
                Ok(())
            }
        }
    }

    fn place(&self, key: &K) -> Result<u32, Drop> {
        self.places.get(key).copied().ok_or(Drop::UnknownGroup)
    }

    fn link(&self, from: &I) -> Result<u32, Drop> {
        self.machines.get(from).copied().ok_or(Drop::Stranger)
    }

    /// A follower has answered a ping: its machine is asked to attach the group, or asked again.
    fn offer(&mut self, place: u32, now: Instant, to: &I) {
        let Some(group) = self
            .groups
            .get_mut(place as usize)
            .and_then(Option::as_deref_mut)
        else {
            return;
        };
        let Some(at) = self
            .machines
            .get(to)
            .copied()
            .filter(|_| group.election.is_answered_by(to))
        else {
            return;
        };
        let Some(link) = self
            .links
            .get_mut(at as usize)
            .filter(|link| link.speaker.is_met())
        else {
            return;
        };
        match group.at(at) {
            Some(Attached {
                stage: Stage::Offered { ask },
                ..
            }) => *ask = true,
            Some(_) => return,
            None => {
                let number = link.speaker.number(place);
                let stage = Stage::Offered { ask: true };
                group.attach(Attached {
                    link: at,
                    number,
                    stage,
                });
            }
        }
        self.settle(place, now);
    }

    /// A beat: a ping to every group that is attached here, but for those that its news end.
    fn on_beat(&mut self, now: Instant, from: &I, beat: &Beat) -> Result<(), Drop> {
        let at = self.link(from)?;
        let Some(link) = self.links.get(at as usize) else {
            return Err(Drop::Stranger);
        };
        if link.listener.is_past(beat.session) {
            return Err(Drop::Stale);
        }
        if !link.listener.hears(beat.session) {
            self.renew_listener(at, now);
        }
        let Some(link) = self.links.get_mut(at as usize) else {
            return Err(Drop::Stranger);
        };
        link.listener.hear(beat.session);
        let is_to_me = beat
            .listener
            .is_none_or(|own| link.listener.is_of(beat.session, own));
        if is_to_me {
            if !link.listener.can_be(beat) {
                return Err(Drop::Malformed);
            }
            if !link.listener.roll.hear(beat.detached, &beat.news) {
                // Something was never told, which only a new beginning mends.
                self.renew_listener(at, now);
                self.answer(at, beat.round);
                return Err(Drop::Malformed);
            }
            for number in &beat.news {
                let link = self.links.get(at as usize);
                let group = link.and_then(|link| link.listener.roll.group(*number));
                if let Some(place) = group {
                    self.detach(place, *number, at, now);
                }
            }
        }
        let Some(link) = self.links.get_mut(at as usize) else {
            return Err(Drop::Stranger);
        };
        if is_to_me {
            link.listener.take_beat(beat, now);
        }
        // To one who takes it for an earlier life of this machine, the answer tells of the present one.
        self.answer(at, beat.round);
        self.watch_beats(at);
        Ok(())
    }

    fn answer(&mut self, at: u32, round: u64) {
        if let Some(link) = self.links.get_mut(at as usize) {
            link.listener.answer(round);
            self.say(at);
        }
    }

    /// An answer to a beat: a pong of every group that is attached since before that beat, but for those that its news
    /// end.
    fn on_answer(&mut self, now: Instant, from: &I, answer: &Beat) -> Result<(), Drop> {
        let at = self.link(from)?;
        let Some(link) = self.links.get_mut(at as usize) else {
            return Err(Drop::Stranger);
        };
        match link.speaker.meet(answer) {
            Meeting::Stale => return Err(Drop::Stale),
            Meeting::Another => {
                self.renew_speaker(at, now);
                return Ok(());
            }
            Meeting::Same => {}
        }
        if !link.speaker.can_be(answer) {
            return Err(Drop::Malformed);
        }
        if !link.speaker.roll.hear(answer.detached, &answer.news) {
            // Something was never told, which only a new beginning mends.
            self.renew_speaker(at, now);
            return Err(Drop::Malformed);
        }
        for number in &answer.news {
            let group = self
                .links
                .get(at as usize)
                .and_then(|link| link.speaker.roll.group(*number));
            if let Some(place) = group {
                self.detach(place, *number, at, now);
            }
        }
        let Some(link) = self.links.get_mut(at as usize) else {
            return Err(Drop::Stranger);
        };
        // A session that was renewed meanwhile, for the length of its news, knows nothing of this.
        if !link
            .speaker
            .is_of(answer.session, answer.listener.unwrap_or_default())
        {
            return Ok(());
        }
        let had_lapsed = link.speaker.is_unanswered_for(self.common.lease_span, now);
        link.speaker.take_answer(answer, now);
        if !self.answered.contains(&at) {
            self.answered.push(at);
        }
        // Whoever waits for a lease that had run out is to hear of it. On a link that is off there is nobody, and no next beat.
        let hearing = link.speaker.hearing;
        if hearing != Hearing::Off && (had_lapsed || hearing != Hearing::Live) {
            link.speaker.hearing = Hearing::Live;
            self.watch_answers(at);
            self.wake(at, now);
        }
        Ok(())
    }

    /// A leader's machine asks that its beats stand for this group's pings.
    fn on_attach(
        &mut self,
        now: Instant,
        key: &K,
        from: &I,
        message: &Message<I>,
        offer: Attachment,
    ) -> Result<(), Drop> {
        let (place, at) = (self.place(key)?, self.link(from)?);
        let Some(link) = self.links.get(at as usize) else {
            return Err(Drop::Stranger);
        };
        let is_present = link.listener.is_of(offer.session, offer.listener)
            // One that was asked for before this end heard of endings may be among them.
            && offer.detached >= link.listener.roll.heard();
        let Some(group) = self
            .groups
            .get_mut(place as usize)
            .and_then(Option::as_deref_mut)
        else {
            return Err(Drop::UnknownGroup);
        };
        group.catch_up(&self.links);
        let follows_it = group.election.bond().is_some_and(|bond| {
            bond.leader.as_ref() == Some(from)
                && bond.term == message.term
                && bond.stamp == message.stamp
        });
        if !is_present || !follows_it || !group.election.rests() {
            return Err(Drop::Stale);
        }
        let is_new = group
            .at(at)
            .is_none_or(|attached| attached.number != offer.number);
        if is_new {
            self.detach_all(place, now);
        }
        let Some(link) = self.links.get_mut(at as usize) else {
            return Err(Drop::Stranger);
        };
        // Making room may have begun another session.
        if !link.listener.is_of(offer.session, offer.listener) {
            return Err(Drop::Stale);
        }
        let Some(group) = self
            .groups
            .get_mut(place as usize)
            .and_then(Option::as_deref_mut)
        else {
            return Err(Drop::UnknownGroup);
        };
        if is_new {
            link.listener.roll.attach(offer.number, place);
            let stage = Stage::Following { answer: false };
            group.attach(Attached {
                link: at,
                number: offer.number,
                stage,
            });
        }
        if let Some(attached) = group.at(at) {
            attached.stage = Stage::Following { answer: true };
        }
        self.settle(place, now);
        Ok(())
    }

    /// The follower's machine has attached a group.
    fn on_attached(
        &mut self,
        now: Instant,
        key: &K,
        from: &I,
        answer: Attachment,
    ) -> Result<(), Drop> {
        let (place, at) = (self.place(key), self.link(from)?);
        let Some(link) = self.links.get_mut(at as usize) else {
            return Err(Drop::Stranger);
        };
        let is_present = link.speaker.is_of(answer.session, answer.listener)
            // One that was given before this end heard of endings may be among them.
            && answer.detached >= link.speaker.roll.heard();
        if !is_present {
            return Err(place.err().unwrap_or(Drop::Stale));
        }
        if link.speaker.roll.group(answer.number).is_none() {
            // Over here, or never begun: over there it must not go on, or the group would wait for no leader.
            link.speaker.roll.disown(answer.number);
            if link.speaker.roll.is_too_long() {
                self.renew_speaker(at, now);
            }
            return Err(place.err().unwrap_or(Drop::Stale));
        }
        let from_round = link.speaker.next_round();
        let place = place?;
        let attached = self.group_mut(place).and_then(|group| group.at(at));
        match attached {
            Some(attached) if attached.number == answer.number => {
                if let Stage::Offered { .. } = attached.stage {
                    attached.stage = Stage::Leading { from_round };
                    self.settle(place, now);
                }
                Ok(())
            }
            _ => Err(Drop::Stale),
        }
    }
}
