//! What must hold in every state, and what a run must have come upon so that it shows anything.

use stateright::Property;
use streamraft::{Membership, MessageKind};

use crate::bounds::Bounds;
use crate::clocks::Drift;
use crate::cluster::{Cluster, World};
use crate::letters::Letter;
use crate::node::{Fault, Node};

/// Something that a step can bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Leader,
    LaterLeader,
    LeaderAfterRestart,
    Transfer,
    Lease,
    NextLease,
    FourVoters,
    OtherThree,
}

/// All that one step has brought about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sights(u16);

impl Sights {
    fn add(&mut self, sight: Sight) {
        self.0 |= 1 << sight as u16;
    }

    fn has(self, sight: Sight) -> bool {
        self.0 & (1 << sight as u16) != 0
    }
}

type Condition = fn(&Cluster, &World) -> bool;

const NEVER: [(&str, Condition); 12] = [
    ("one leader a term", |_, world| {
        world.fault != Some(Fault::TwoLeaders)
    }),
    ("one vote a term", |_, world| {
        world.fault != Some(Fault::TwoVotes)
    }),
    ("one lease at a time", |_, world| {
        world.fault != Some(Fault::TwoLeases)
    }),
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
    ("whoever leads has a quorum's votes", |_, world| {
        world.fault != Some(Fault::NoQuorum)
    }),
    (
        "a step waits for a quorum to hold the one before",
        |_, world| world.fault != Some(Fault::StepTooEarly),
    ),
    ("whoever gets a vote knows no less", |_, world| {
        world.fault != Some(Fault::VoteForOlder)
    }),
    ("who is told nothing knows it", |_, world| {
        world.fault != Some(Fault::Presumed)
    }),
    ("quorums that can act overlap", |_, world| {
        world.fault != Some(Fault::QuorumsApart)
    }),
];

const SOMETIMES: [(Sight, &str, Condition); 8] = [
    (Sight::Leader, "a leader is elected", |_, world| {
        world.sights.has(Sight::Leader)
    }),
    (
        Sight::LaterLeader,
        "another leads in a later term",
        |_, world| world.sights.has(Sight::LaterLeader),
    ),
    (
        Sight::LeaderAfterRestart,
        "a restart, then a leader",
        |_, world| world.sights.has(Sight::LeaderAfterRestart),
    ),
    (Sight::Transfer, "a transfer completes", |_, world| {
        world.sights.has(Sight::Transfer)
    }),
    (Sight::Lease, "a lease begins", |_, world| {
        world.sights.has(Sight::Lease)
    }),
    (
        Sight::NextLease,
        "a lease ends and another begins",
        |_, world| world.sights.has(Sight::NextLease),
    ),
    (Sight::FourVoters, "four vote", |_, world| {
        world.sights.has(Sight::FourVoters)
    }),
    (Sight::OtherThree, "three others vote", |_, world| {
        world.sights.has(Sight::OtherThree)
    }),
];

/// All that must hold, and those sights that these bounds promise.
pub(crate) fn properties(bounds: &Bounds) -> Vec<Property<Cluster>> {
    let never = NEVER.map(|(name, condition)| Property::always(name, condition));
    let promised = SOMETIMES
        .into_iter()
        .filter(|(sight, ..)| bounds.sights.contains(sight));
    let promised = promised.map(|(_, name, condition)| Property::sometimes(name, condition));
    never.into_iter().chain(promised).collect()
}

/// Looks at what a step has made of one node.
pub(crate) fn look(bounds: &Bounds, before: &World, after: &mut World, was: &Node) {
    let Some(node) = after.node(was.id) else {
        return;
    };
    let nodes = after.nodes.iter().flatten();
    // Leases rely on clocks that run alike, and nothing else does.
    let leases = bounds.drift != Drift::Any && nodes.filter(|node| node.holds_lease()).count() > 1;
    let apart = node.membership() != was.membership() && !quorums_overlap(after);
    after.fault = after
        .fault
        .or(leases.then_some(Fault::TwoLeases))
        .or(apart.then_some(Fault::QuorumsApart))
        .or(judge_vote(after, was, node));
    if node.leads() {
        after.fault = after.fault.or(judge_leader(before, was, node));
        see_leader(before, after, was, node);
    }
}

/// Looks whether these letters go together and with all that are in flight. Letters stay in flight, so two that
/// clash meet when the second is sent.
pub(crate) fn look_at_letters(world: &mut World, sent: &[&'static Letter]) {
    let clashes = |letter: &&'static Letter| {
        world
            .post
            .iter()
            .chain(sent)
            .find_map(|other| clash(letter, other))
    };
    world.fault = world.fault.or(sent.iter().find_map(clashes));
}

/// Looks whether those that a node takes to hold its membership do, or hold a newer one.
pub(crate) fn look_at_presumed(world: &mut World, presumed: &[u8], by: u8) {
    let stamp = |id| world.node(id).map(Node::stamp);
    if presumed.iter().any(|id| stamp(*id) < stamp(by)) {
        world.fault = world.fault.or(Some(Fault::Presumed));
    }
}

/// Looks whether a vote that was given now is for one with as new a list as the voter's. The same vote may be said
/// again later, when the voter knows more.
fn judge_vote(world: &World, was: &Node, node: &Node) -> Option<Fault> {
    let (old, new) = (&was.body.disk, &node.body.disk);
    let candidate = world.node(*new.voted_for()?)?;
    let is_new = (old.term(), old.voted_for()) != (new.term(), new.voted_for());
    (is_new && candidate.stamp() < node.stamp()).then_some(Fault::VoteForOlder)
}

/// Looks whether a leader may lead, and may have changed its voters.
fn judge_leader(before: &World, was: &Node, node: &Node) -> Option<Fault> {
    let membership = node.membership();
    if !was.leads() || was.term() != node.term() {
        // What was given in this term is still in flight.
        let voted = |id: &&u8| {
            let own = **id == node.id;
            own || before.post.iter().any(|letter| {
                let granted =
                    matches!(letter.message.kind, MessageKind::Vote { granted: true, .. });
                granted
                    && letter.message.term == node.term()
                    && (letter.from, letter.to) == (**id, node.id)
            })
        };
        let votes = membership.voters.iter().filter(voted).count();
        return (votes < membership.quorum()).then_some(Fault::NoQuorum);
    }
    // A quorum of the old voters must hold the old list, in this term (logless section 4).
    let old = was.membership();
    let holds = |id: &&u8| {
        let other = before.node(**id);
        other.is_some_and(|other| other.term() >= was.term() && other.stamp() >= old.stamp())
    };
    let confirmed = old.voters.iter().filter(holds).count() >= old.quorum();
    (old.voters != membership.voters && !confirmed).then_some(Fault::StepTooEarly)
}

fn see_leader(before: &World, after: &mut World, was: &Node, node: &Node) {
    let sights = &mut after.sights;
    let others = before
        .nodes
        .iter()
        .flatten()
        .filter(|other| other.id != node.id);
    if !was.leads() || was.term() != node.term() {
        sights.add(Sight::Leader);
        let led_before = |letter: &&'static Letter| {
            matches!(letter.message.kind, MessageKind::Ping { .. }) && letter.from != node.id
        };
        let is_other =
            before.post.iter().any(led_before) || others.clone().any(|other| other.leads());
        if is_other {
            sights.add(Sight::LaterLeader);
        }
        if before.restarts > 0 {
            sights.add(Sight::LeaderAfterRestart);
        }
        let by_order = |letter: &&'static Letter| {
            let marked = matches!(
                letter.message.kind,
                MessageKind::VoteRequest { transfer: true, .. }
            );
            marked && letter.from == node.id && letter.message.term == node.term()
        };
        // One whose own transfer was not taken bears the mark too.
        let led_just_before = |letter: &&'static Letter| {
            let ping = matches!(letter.message.kind, MessageKind::Ping { .. });
            ping && letter.from == node.id && letter.message.term + 1 == node.term()
        };
        if is_other && before.post.iter().any(by_order) && !before.post.iter().any(led_just_before)
        {
            sights.add(Sight::Transfer);
        }
    }
    if node.holds_lease() && node.term() > before.leased {
        after.leased = node.term();
        sights.add(Sight::Lease);
        if before.leased > 0 {
            sights.add(Sight::NextLease);
        }
    }
    let membership = node.membership();
    if membership.voters.len() == 4 {
        sights.add(Sight::FourVoters);
    }
    if membership.voters.len() == 3 && membership.is_voter(&4) {
        sights.add(Sight::OtherThree);
    }
}

/// What two messages cannot both be.
pub(crate) fn clash(one: &Letter, other: &Letter) -> Option<Fault> {
    if one.message.term != other.message.term {
        return None;
    }
    let leads = |letter: &Letter| matches!(letter.message.kind, MessageKind::Ping { .. });
    if leads(one) && leads(other) && one.from != other.from {
        return Some(Fault::TwoLeaders);
    }
    let (mine, other) = (vote(one)?, vote(other)?);
    (mine.0 == other.0 && mine.1 != other.1).then_some(Fault::TwoVotes)
}

/// Who votes in a message, and for whom. Whoever asks has voted for itself.
fn vote(letter: &Letter) -> Option<(u8, u8)> {
    match letter.message.kind {
        MessageKind::Vote { granted: true, .. } => Some((letter.from, letter.to)),
        MessageKind::VoteRequest { .. } => Some((letter.from, letter.from)),
        _ => None,
    }
}

/// Whether all quorums of all memberships that can still act overlap, which is what makes changes without a log safe
/// (logless section 4). One can act while a quorum of its voters holds nothing newer.
fn quorums_overlap(world: &World) -> bool {
    let can_act = |membership: &Membership<u8>| {
        let unaware = |id: &&u8| {
            world
                .node(**id)
                .is_some_and(|node| node.stamp() <= membership.stamp())
        };
        let count = membership.voters.iter().filter(unaware).count();
        count >= membership.quorum() && !membership.voters.is_empty()
    };
    let held = world
        .nodes
        .iter()
        .flatten()
        .map(|node| &**node.membership());
    let held: Vec<_> = held.filter(|membership| can_act(membership)).collect();
    held.iter()
        .all(|one| held.iter().all(|other| overlap(one, other)))
}

/// Whether every quorum of the one meets every quorum of the other.
fn overlap(one: &Membership<u8>, other: &Membership<u8>) -> bool {
    let shared = one.voters.iter().filter(|id| other.is_voter(id)).count();
    let from_shared = |side: &Membership<u8>| {
        let own = side.voters.len() - shared;
        side.quorum().saturating_sub(own)
    };
    from_shared(one) + from_shared(other) > shared
}

#[test]
fn quorums_overlap_or_not_by_what_the_voters_share() {
    let members = |voters: &[u8]| Membership::initial(voters.iter().copied());
    assert!(overlap(&members(&[1, 2, 3]), &members(&[1, 2, 3])));
    assert!(overlap(&members(&[1, 2, 3]), &members(&[1, 2, 3, 4])));
    assert!(overlap(&members(&[1, 2]), &members(&[1, 2, 3])));
    assert!(!overlap(&members(&[1, 2, 3]), &members(&[1, 2, 4, 5])));
    assert!(!overlap(&members(&[1, 2, 3]), &members(&[1, 4, 3, 2, 5])));
    assert!(!overlap(&members(&[1]), &members(&[2, 3])));
}
