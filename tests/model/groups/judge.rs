//! What must hold in every state of machines that share groups, and what a run must have come upon.

use stateright::Property;
use streamraft::MessageKind;

use crate::clocks::Drift;
use crate::groups::bounds::Bounds;
use crate::groups::letters::Letter;
use crate::groups::machine::{Input, Machine, Step};
use crate::groups::view::End;
use crate::groups::world::{Groups, World};
use crate::judge::clash;
use crate::node::Fault;

/// Something that a step can bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// A leader learns that a follower's machine has attached the group.
    Attached,
    /// The answer to a beat prolongs a lease.
    ProlongedByBeat,
    /// A beat's news end an attachment.
    EndedByBeat,
    /// The news of an answer to a beat end an attachment.
    EndedByAnswer,
    /// A beat of another session ends attachments: its machine has started again.
    VoidedBySpeaker,
    /// An answer by another listener ends attachments: its machine has started again.
    VoidedByListener,
    /// An offer is refused for nothing but endings that it does not know of.
    LateOffer,
    /// A lease at another machine than the last one, which beats had prolonged.
    NextLease,
    /// A group follows anew on a machine to which it was put back.
    Returned,
    /// An attached follower takes a newer membership.
    Changed,
    /// A leader holds a lease under voters that have not confirmed it.
    ChangedInLease,
}

const ALL: [Sight; 11] = [
    Sight::Attached,
    Sight::ProlongedByBeat,
    Sight::EndedByBeat,
    Sight::EndedByAnswer,
    Sight::VoidedBySpeaker,
    Sight::VoidedByListener,
    Sight::LateOffer,
    Sight::NextLease,
    Sight::Returned,
    Sight::Changed,
    Sight::ChangedInLease,
];

/// Things that were seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sights(pub(crate) u32);

impl Sights {
    pub(crate) fn add(&mut self, sight: Sight, is_seen: bool) {
        self.0 |= u32::from(is_seen) << sight as u32;
    }

    pub(crate) fn list(self) -> Vec<Sight> {
        let has = |sight: &Sight| self.0 & (1 << *sight as u32) != 0;
        ALL.into_iter().filter(has).collect()
    }
}

/// All that must hold.
pub(crate) fn properties() -> Vec<Property<Groups>> {
    type Condition = fn(&Groups, &World) -> bool;
    let never: [(&'static str, Condition); 11] = [
        ("one leader a term", |_, world| {
            world.fault != Some(Fault::TwoLeaders)
        }),
        ("one vote a term", |_, world| {
            world.fault != Some(Fault::TwoVotes)
        }),
        ("one lease at a time", |_, world| {
            world.fault != Some(Fault::TwoLeases)
        }),
        ("a quorum withholds while a lease holds", |_, world| {
            world.fault != Some(Fault::NotWithheld)
        }),
        (
            "who takes a group for attached is told of its end",
            |_, world| world.fault != Some(Fault::LeftBehind),
        ),
        (
            "both ends of an attachment stand on the same",
            |_, world| world.fault != Some(Fault::GroundsApart),
        ),
        ("terms grow at a node", |_, world| {
            world.fault != Some(Fault::TermFell)
        }),
        ("memberships grow at a node", |_, world| {
            world.fault != Some(Fault::MembershipFell)
        }),
        ("messages say what was saved", |_, world| {
            world.fault != Some(Fault::SaidUnsaved)
        }),
        ("a step changes one voter", |_, world| {
            world.fault != Some(Fault::StepTooLong)
        }),
        ("who is told nothing knows it", |_, world| {
            world.fault != Some(Fault::Presumed)
        }),
    ];
    let always = |(name, condition)| Property::always(name, condition);
    never.into_iter().map(always).collect()
}

/// Looks at the leases that there are now, and at whether so many withhold their votes to their ends as were promised.
pub(crate) fn look_at_leases(bounds: &Bounds, world: &World) -> Option<Fault> {
    if bounds.drift == Drift::Any {
        return None;
    }
    let mut fault = None;
    for key in bounds.keys() {
        let group = |machine: &&'static Machine| &machine.groups[usize::from(key)];
        let machines = world.machines.iter().flatten();
        let leaders = machines.filter(|machine| group(machine).lease.is_some());
        let leaders: Vec<_> = leaders.collect();
        if leaders.len() > 1 {
            return Some(Fault::TwoLeases);
        }
        if leaders
            .iter()
            .any(|leader| !is_kept(bounds, world, key, leader))
        {
            fault = Some(Fault::NotWithheld);
        }
    }
    fault
}

/// Looks at the attachments between this machine and all others.
pub(crate) fn look_at_links(world: &World, id: u8) -> Option<Fault> {
    let machine = world.machine(id)?;
    machine.links.iter().find_map(|link| {
        let other = world.machine(link.id)?;
        let back = other.links.iter().find(|back| back.id == id)?;
        let heard = compare((machine, &link.speaker), (other, &back.listener));
        heard.or_else(|| compare((other, &back.speaker), (machine, &link.listener)))
    })
}

/// Looks at what the two ends of one direction, which know each other, take for attached.
fn compare(speaker: (&Machine, &End), listener: (&Machine, &End)) -> Option<Fault> {
    if speaker.1.names != listener.1.names {
        return None;
    }
    let is_told = |here: &End, there: &End| {
        let knows = |(number, _): &(u64, Option<u8>)| {
            let mut attached = there.attached.iter();
            attached.any(|(other, _)| other == number) || there.news.contains(number)
        };
        here.attached.iter().all(knows)
    };
    // A leader may have offered what has not been taken up.
    let leading = |number: u64, key: Option<u8>| {
        let group = |key| &speaker.0.groups[usize::from(key)];
        let led = |key| group(key).leading.contains(&(listener.0.id, number));
        key.is_none_or(led)
    };
    let mut believed = speaker.1.clone();
    believed
        .attached
        .retain(|(number, key)| leading(*number, *key));
    if !(is_told(&believed, listener.1) && is_told(listener.1, speaker.1)) {
        return Some(Fault::LeftBehind);
    }
    let is_same = |(number, key): &(u64, Option<u8>)| {
        let mut attached = listener.1.attached.iter();
        let Some((_, other)) = attached.find(|(other, _)| other == number) else {
            return true;
        };
        let ground = |machine: &Machine, key: u8| {
            let standing = &machine.groups[usize::from(key)].standing;
            (standing.term, standing.stamp)
        };
        key == other && key.is_some_and(|key| ground(speaker.0, key) == ground(listener.0, key))
    };
    (!speaker.1.attached.iter().all(is_same)).then_some(Fault::GroundsApart)
}

/// Whether so many of a leader's voters withhold their votes, for as long as its lease can last by their clocks, that the
/// others are no quorum; of the voters that it was elected by, a quorum.
fn is_kept(bounds: &Bounds, world: &World, key: u8, leader: &Machine) -> bool {
    let membership = leader.body.disks[usize::from(key)].membership();
    let keeps = |id: &&u8| {
        let Some(voter) = world.machine(**id) else {
            return false;
        };
        // The leader's own clock ends the lease at its next tick.
        let left = match **id == leader.id {
            true => 0,
            false => world.clocks.left(at(voter.id), at(leader.id), bounds.drift),
        };
        voter.groups[usize::from(key)].withholds > left
    };
    let voters = membership.voters.len();
    let needed = match voters == usize::from(bounds.machines) {
        true => membership.quorum(),
        // A lease that the voters before them confirmed.
        false => voters - membership.quorum() + 1,
    };
    membership.voters.iter().filter(keeps).count() >= needed
}

/// Looks whether a node that withholds its vote by its looked-up state gives it, or says that it would.
pub(crate) fn look_at_vote(machine: &Machine, step: &Step, input: Input<'_>) -> Option<Fault> {
    let Input::Letter(letter) = input else {
        return None;
    };
    let key = usize::from(letter.key);
    let is_asked = match letter.kind() {
        MessageKind::PreVoteRequest { .. } => true,
        MessageKind::VoteRequest { transfer, .. } => !transfer,
        _ => false,
    };
    // A vote that was given before may be said again.
    let has_voted = step.body.disks[key].voted_for() != machine.body.disks[key].voted_for();
    let gives = step.sent.iter().any(|(_, _, message)| match message.kind {
        MessageKind::PreVote { granted, .. } => granted,
        MessageKind::Vote { granted, .. } => granted && has_voted,
        _ => false,
    });
    let group = &machine.groups[key];
    (is_asked && gives && group.is_here && group.withholds > 0).then_some(Fault::NotWithheld)
}

/// A machine's place among its like.
pub(crate) fn at(id: u8) -> usize {
    usize::from(id) - 1
}

/// Looks whether these letters go together and with all that are in flight. Letters stay in flight, so two that clash
/// meet when the second is sent.
pub(crate) fn look_at_letters(world: &World, sent: &[&'static Letter]) -> Option<Fault> {
    let clashes = |letter: &&'static Letter| {
        let others = world.post.iter().chain(sent);
        let mut others = others.filter(|other| other.key == letter.key);
        others.find_map(|other| clash(&letter.plain, &other.plain))
    };
    sent.iter().find_map(clashes)
}

/// Looks whether those that a node takes to hold its membership do, or hold a newer one.
pub(crate) fn look_at_presumed(world: &World, presumed: &[(u8, u8)], by: u8) -> Option<Fault> {
    let stamp = |key, id| world.machine(id).map(|machine| machine.stamp(key));
    let is_wrong = |(key, id): &(u8, u8)| stamp(*key, *id) < stamp(*key, by);
    presumed.iter().any(is_wrong).then_some(Fault::Presumed)
}

/// What a machine's step has brought about, whatever the others are.
pub(crate) fn see(before: &Machine, after: &Machine, input: Input<'_>) -> Sights {
    let mut sights = Sights::default();
    for (old, new) in before.groups.iter().zip(&after.groups) {
        let is_newer = new.standing.stamp.version > old.standing.stamp.version;
        sights.add(Sight::Changed, is_newer && old.following > 0);
        let leased = new.standing.leads && new.lease.is_some();
        sights.add(Sight::ChangedInLease, is_newer && leased);
    }
    let Input::Letter(letter) = input else {
        return sights;
    };
    let groups = || before.groups.iter().zip(&after.groups);
    let leads_less = groups().any(|(old, new)| old.leading.len() > new.leading.len());
    let follows_less = groups().any(|(old, new)| old.following > new.following);
    let link = before
        .links
        .iter()
        .find(|link| link.id == letter.plain.from);
    match letter.kind() {
        MessageKind::Beat(beat) => {
            let knows = link.is_some_and(|link| link.listener.names.0 == Some(beat.session));
            let told = knows && !beat.news.is_empty();
            sights.add(Sight::EndedByBeat, told && follows_less);
            sights.add(Sight::VoidedBySpeaker, !knows && follows_less);
        }
        MessageKind::BeatAck(answer) => {
            let knows = link.is_some_and(|link| link.speaker.names.1 == answer.listener);
            let told = knows && !answer.news.is_empty();
            sights.add(Sight::EndedByAnswer, told && leads_less);
            sights.add(Sight::VoidedByListener, !knows && leads_less);
            let is_longer = groups().any(|(old, new)| old.lease < new.lease);
            sights.add(Sight::ProlongedByBeat, is_longer);
        }
        MessageKind::Attached(_) => {
            let leads_more = groups().any(|(old, new)| old.leading.len() < new.leading.len());
            sights.add(Sight::Attached, leads_more);
        }
        MessageKind::Attach(offer) => {
            let group = &before.groups[usize::from(letter.key)];
            let message = &letter.plain.message;
            let is_present = link.is_some_and(|link| {
                link.listener.names == (Some(offer.session), Some(offer.listener))
            });
            let is_of_now = (message.term, message.stamp)
                == (group.standing.term, group.standing.stamp)
                && group.is_here
                && !group.standing.leads;
            let is_late = link.is_some_and(|link| offer.detached < link.listener.heard);
            let is_refused = before == after && group.following == 0;
            let is_late = is_present && is_of_now && is_late && is_refused;
            sights.add(Sight::LateOffer, is_late);
            let follows_more = groups().any(|(old, new)| old.following < new.following);
            sights.add(Sight::Returned, follows_more && before.body.has_returned());
        }
        _ => {}
    }
    sights
}
