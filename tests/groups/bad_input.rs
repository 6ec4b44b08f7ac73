//! What outsiders, strangers, the past and nonsense say: counted, by reason, and without effect.

use std::time::Instant;

use streamraft::{
    Attachment, Beat, ClusterTag, GroupsStats, Inbound, Message, MessageKind, MsgRouter, Stamp,
    Stats,
};

use crate::hand::{Core, ELECTION, HEARTBEAT, Kind, config, ping};
use crate::world::{Letter, World};

const GROUPS: u64 = 4;

/// Three machines at rest with groups that machine 1 leads, and what they said of links and attachments.
fn at_rest() -> (World<Core>, Instant, Vec<Letter>) {
    let mut now = Instant::now();
    let mut world = World::cores(3);
    world.overheard = Some(Vec::new());
    for key in 0..GROUPS {
        for id in 1..=3 {
            world.insert(now, id, key, config(id, 3).bootstrap());
        }
    }
    world.run(&mut now, 3 * ELECTION);
    world.spoke.clear();
    world.run(&mut now, ELECTION);
    assert!(world.spoke.is_empty(), "it rests");
    assert_eq!(world.led(now, 0..GROUPS) as u64, GROUPS);
    let overheard = world.overheard.take().expect("somebody listened");
    (world, now, overheard)
}

/// The last thing of this kind that was said from one to the other.
fn last<T>(letters: &[Letter], from: u64, to: u64, pick: impl Fn(&Kind) -> Option<T>) -> T {
    let mut between = letters
        .iter()
        .rev()
        .filter(|letter| (letter.from, letter.to) == (from, to));
    between
        .find_map(|letter| pick(&letter.message.kind))
        .expect("it was said")
}

fn beat(letters: &[Letter]) -> Beat {
    last(letters, 1, 2, |kind| match kind {
        Kind::Beat(beat) => Some((**beat).clone()),
        _ => None,
    })
}

fn answer(letters: &[Letter]) -> Beat {
    last(letters, 2, 1, |kind| match kind {
        Kind::BeatAck(beat) => Some((**beat).clone()),
        _ => None,
    })
}

fn offer(letters: &[Letter]) -> Attachment {
    last(letters, 1, 2, |kind| match kind {
        Kind::Attach(at) => Some(*at),
        _ => None,
    })
}

fn attached(letters: &[Letter]) -> Attachment {
    last(letters, 2, 1, |kind| match kind {
        Kind::Attached(at) => Some(*at),
        _ => None,
    })
}

fn with<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}

fn of_link(kind: Kind) -> Message<u64> {
    Message::new(0, Stamp::default(), kind)
}

/// A message of a group as it stands.
fn of_group(core: &Core, key: u64, kind: Kind) -> Message<u64> {
    let state = core.state(&key).expect("it is there");
    Message::new(state.term(), state.hard_state().membership().stamp(), kind)
}

type Reason = fn(&mut GroupsStats) -> &mut u64;

/// Says it, and checks that it was counted for this reason and is without effect.
fn refused(
    core: &Core,
    now: Instant,
    what: &str,
    key: u64,
    from: u64,
    message: Message<u64>,
    reason: Reason,
) {
    let mut heard = core.clone();
    heard
        .handle(now, &key, Inbound::FromNode(from, message))
        .expect("nothing that others say is an error");
    let mut expected = *core.stats();
    *reason(&mut expected) += 1;
    assert_eq!(*heard.stats(), expected, "{what}");
    assert_eq!(heard.poll_output(), None, "{what}");
    assert_eq!(heard.poll_timeout(), core.poll_timeout(), "{what}");
    for key in core.keys() {
        assert!(
            heard.election(key) == core.election(key),
            "{what}: group {key} has changed"
        );
    }
}

fn unknown(stats: &mut GroupsStats) -> &mut u64 {
    &mut stats.unknown_groups
}

fn stranger(stats: &mut GroupsStats) -> &mut u64 {
    &mut stats.strangers
}

fn foreign(stats: &mut GroupsStats) -> &mut u64 {
    &mut stats.foreign_cluster
}

fn malformed(stats: &mut GroupsStats) -> &mut u64 {
    &mut stats.malformed
}

fn stale(stats: &mut GroupsStats) -> &mut u64 {
    &mut stats.stale
}

#[test]
fn groups_that_are_not_here_and_machines_that_share_none() {
    let (world, now, said) = at_rest();
    let (leader, follower) = (&world.machines[&1], &world.machines[&2]);
    let known = of_group(follower, 0, ping(0));
    for (what, kind) in [
        ("Ping", ping(0)),
        ("TimeoutNow", Kind::TimeoutNow),
        ("Attach", Kind::Attach(offer(&said))),
        ("Attached", Kind::Attached(attached(&said))),
        ("Unknown", MessageKind::Unknown),
    ] {
        let message = Message::new(known.term, known.stamp, kind);
        refused(follower, now, what, 99, 1, message, unknown);
    }
    for (what, kind) in [
        ("Beat", Kind::Beat(Box::new(beat(&said)))),
        ("BeatAck", Kind::BeatAck(Box::new(answer(&said)))),
    ] {
        for core in [leader, follower] {
            refused(core, now, what, 0, 77, of_link(kind.clone()), stranger);
        }
    }
    let message = of_group(follower, 0, Kind::Attach(offer(&said)));
    refused(follower, now, "Attach", 0, 77, message, stranger);
    let message = of_group(leader, 0, Kind::Attached(attached(&said)));
    refused(leader, now, "Attached", 0, 77, message, stranger);
}

#[test]
fn another_cluster_is_not_heard() {
    let (world, now, said) = at_rest();
    let bills = ClusterTag::new("bills");
    let (leader, follower) = (&world.machines[&1], &world.machines[&2]);
    let with_news = with(beat(&said), |beat| {
        (beat.detached, beat.news) = (1, vec![offer(&said).number]);
    });
    let answered = with(with_news.clone(), |beat| {
        beat.listener = answer(&said).listener;
    });
    for (core, from, kind) in [
        (follower, 1, Kind::Beat(Box::new(with_news.clone()))),
        (leader, 2, Kind::BeatAck(Box::new(answered))),
        (follower, 1, Kind::Attach(offer(&said))),
        (leader, 2, Kind::Attached(attached(&said))),
    ] {
        let what = format!("{kind:?}");
        let message = of_group(core, 0, kind).with_cluster(bills);
        refused(core, now, &what, 0, from, message, foreign);
    }
    // Of a single group: as a single node counts it.
    let mut heard = follower.clone();
    let message = of_group(follower, 0, ping(9)).with_cluster(bills);
    heard
        .handle(now, &0, Inbound::FromNode(1, message))
        .expect("no error");
    let stats = |core: &Core| *core.election(&0).expect("it is there").stats();
    assert_eq!(heard.stats(), follower.stats());
    assert_ne!(stats(&heard), stats(follower));
    assert_eq!(stats(follower), Stats::default());
}

#[test]
fn beats_that_no_machine_sends() {
    let (world, now, said) = at_rest();
    let (leader, follower) = (&world.machines[&1], &world.machines[&2]);
    let (right, number) = (beat(&said), offer(&said).number);
    for (what, detached, news) in [
        ("more told than ended", right.detached, vec![number]),
        ("more told than ended, by far", 1, vec![number; 500]),
    ] {
        let tells = |beat: &mut Beat| (beat.detached, beat.news) = (detached, news.clone());
        let wrong = with(right.clone(), tells);
        refused(
            follower,
            now,
            what,
            0,
            1,
            of_link(Kind::Beat(Box::new(wrong))),
            malformed,
        );
        let wrong = with(answer(&said), tells);
        refused(
            leader,
            now,
            what,
            0,
            2,
            of_link(Kind::BeatAck(Box::new(wrong))),
            malformed,
        );
    }
    for round in [answer(&said).round + 3_600_000_000, u64::MAX] {
        let wrong = with(answer(&said), |answer| answer.round = round);
        refused(
            leader,
            now,
            "never sent",
            0,
            2,
            of_link(Kind::BeatAck(Box::new(wrong))),
            malformed,
        );
    }
}

#[test]
fn answers_and_attachments_of_other_sessions() {
    let (world, now, said) = at_rest();
    let (leader, follower) = (&world.machines[&1], &world.machines[&2]);
    for wrong in [
        with(answer(&said), |answer| answer.session = 7),
        with(answer(&said), |answer| {
            answer.session = answer.listener.expect("they have met");
        }),
        with(answer(&said), |answer| answer.listener = None),
    ] {
        let what = format!("{wrong:?}");
        refused(
            leader,
            now,
            &what,
            0,
            2,
            of_link(Kind::BeatAck(Box::new(wrong))),
            stale,
        );
    }
    let (offer, attached) = (offer(&said), attached(&said));
    for wrong in [
        with(offer, |offer| offer.session = 7),
        with(offer, |offer| offer.listener = 7),
        with(offer, |offer| {
            (offer.session, offer.listener) = (offer.listener, offer.session);
        }),
    ] {
        let what = format!("{wrong:?}");
        refused(
            follower,
            now,
            &what,
            0,
            1,
            of_group(follower, 0, Kind::Attach(wrong)),
            stale,
        );
    }
    for wrong in [
        with(attached, |at| at.session = 7),
        with(attached, |at| at.listener = 7),
        with(attached, |at| at.number = 0),
        with(attached, |at| at.number = u64::MAX),
    ] {
        let what = format!("{wrong:?}");
        refused(
            leader,
            now,
            &what,
            0,
            2,
            of_group(leader, 0, Kind::Attached(wrong)),
            stale,
        );
    }
    // An offer by who does not lead, of another term, or under another membership.
    let right = of_group(follower, 0, Kind::Attach(offer));
    refused(follower, now, "no leader", 0, 3, right.clone(), stale);
    let other = Message::new(right.term + 1, right.stamp, right.kind.clone());
    refused(follower, now, "another term", 0, 1, other, stale);
    let other = Message::new(
        right.term,
        Stamp::new(right.stamp.term, right.stamp.version + 1),
        right.kind.clone(),
    );
    refused(follower, now, "another membership", 0, 1, other, stale);
    // To a leader nobody attaches anything.
    refused(
        leader,
        now,
        "a leader",
        0,
        2,
        of_group(leader, 0, right.kind),
        stale,
    );
}

/// All that was said before two machines came to rest, once more, in the order in which it was said and in the other.
#[test]
fn the_past_once_more_costs_nobody_its_leadership() {
    for is_reversed in [false, true] {
        let (mut world, mut now, mut said) = at_rest();
        let terms: Vec<u64> = world
            .saved
            .values()
            .map(streamraft::HardState::term)
            .collect();
        if is_reversed {
            said.reverse();
        }
        for letter in said {
            let core = world.machine(letter.to);
            let input = Inbound::FromNode(letter.from, letter.message);
            core.handle(now, &letter.key, input)
                .expect("it was not stopped");
            world.settle(now);
            assert_eq!(world.led(now, 0..GROUPS) as u64, GROUPS);
        }
        world.spoke.clear();
        world.run(&mut now, 3 * ELECTION);
        assert!(world.spoke.is_empty(), "it rests all the while");
        let later: Vec<u64> = world
            .saved
            .values()
            .map(streamraft::HardState::term)
            .collect();
        assert_eq!(terms, later);
    }
}

/// A machine has restarted, and a beat of its earlier life comes late.
#[test]
fn a_late_beat_of_an_earlier_session_changes_nothing() {
    let (mut world, mut now, said) = at_rest();
    let old = beat(&said);
    drop(world.kill(1));
    let core = Core::new(&config(1, 3), 99).expect("good settings");
    world.machines.insert(1, core);
    for key in 0..GROUPS {
        world.insert(now, 1, key, config(1, 3).leader_priority(1));
    }
    world.run(&mut now, 20 * ELECTION);
    world.spoke.clear();
    world.run(&mut now, ELECTION);
    assert!(world.spoke.is_empty(), "it rests");
    let late = Inbound::FromNode(1, of_link(Kind::Beat(Box::new(old))));
    world
        .machine(2)
        .handle(now, &0, late)
        .expect("it was not stopped");
    for _ in 0..40 {
        world.run(&mut now, HEARTBEAT);
        assert_eq!(
            world.led(now, 0..GROUPS) as u64,
            GROUPS,
            "nobody loses a leader by it"
        );
    }
    assert!(
        world.spoke.is_empty(),
        "{:?} were attached anew",
        world.spoke
    );
}

/// As after a fault in somebody's memory: the link goes on, and its groups rest again.
#[test]
fn a_link_on_which_something_impossible_was_said_goes_on() {
    let (mut world, mut now, said) = at_rest();
    // Machine 1 has ended an attachment of which machine 2 has not heard; somebody says that it has.
    world.machine(1).remove(now, &0).expect("it is there");
    let lie = with(answer(&said), |answer| answer.heard = u64::MAX);
    world
        .machine(1)
        .handle(
            now,
            &1,
            Inbound::FromNode(2, of_link(Kind::BeatAck(Box::new(lie)))),
        )
        .expect("no error");
    world.run(&mut now, 20 * ELECTION);
    assert_eq!(world.led(now, 1..GROUPS) as u64, GROUPS - 1);
    world.spoke.clear();
    world.run(&mut now, ELECTION);
    world.spoke.remove(&0);
    assert!(world.spoke.is_empty(), "{:?} rest no more", world.spoke);
}

/// A list with a gap can only be mended by a new beginning, at which nobody loses a leader.
#[test]
fn a_link_on_which_a_list_had_a_gap_begins_anew() {
    for (detached, news) in [(9, vec![7]), (u64::MAX, vec![]), (u64::MAX, vec![1, 0])] {
        for to in [1, 2] {
            let (mut world, mut now, said) = at_rest();
            let tells = |beat: &mut Beat| (beat.detached, beat.news) = (detached, news.clone());
            let kind = if to == 1 {
                Kind::BeatAck(Box::new(with(answer(&said), tells)))
            } else {
                Kind::Beat(Box::new(with(beat(&said), tells)))
            };
            let input = Inbound::FromNode(3 - to, of_link(kind));
            let led = world.led(now, 0..GROUPS);
            world.machine(to).handle(now, &0, input).expect("no error");
            assert_eq!(world.machine(to).stats().malformed, 1);
            world.run(&mut now, 3 * ELECTION);
            assert_eq!(world.led(now, 0..GROUPS), led);
            world.spoke.clear();
            world.run(&mut now, ELECTION);
            assert!(world.spoke.is_empty(), "{:?} rest no more", world.spoke);
        }
    }
}

#[test]
fn what_comes_out_is_of_members_only() {
    let (mut world, mut now, _) = at_rest();
    for from in [0, 77, u64::MAX] {
        for kind in [ping(0), Kind::Beat(Box::new(Beat::new(1, None, 0)))] {
            let message = of_link(kind);
            world
                .machine(2)
                .handle(now, &0, Inbound::FromNode(from, message))
                .expect("no error");
        }
    }
    now += ELECTION;
    let core = world.machine(2);
    core.handle_timeout(now);
    while let Some((_, output)) = core.poll_output() {
        if let MsgRouter::ToNode(to, message) = output {
            assert!(to == 1 || to == 3, "{to} is told {message:?}");
        }
    }
}

/// What is said to machines is no single node's affair.
#[test]
fn a_single_node_counts_what_is_of_links_as_unsupported() {
    let (world, now, said) = at_rest();
    let mut node = world.machines[&2].election(&0).expect("it is there");
    let before = (node.state().clone(), *node.stats());
    let kinds = [
        Kind::Beat(Box::new(beat(&said))),
        Kind::BeatAck(Box::new(answer(&said))),
        Kind::Attach(offer(&said)),
        Kind::Attached(attached(&said)),
    ];
    for kind in kinds {
        let message = of_group(&world.machines[&2], 0, kind);
        node.handle(now, Inbound::FromNode(1, message))
            .expect("no error");
    }
    assert_eq!(node.stats().unsupported, before.1.unsupported + 4);
    assert_eq!(node.poll_output(), None);
    assert_eq!(*node.state(), before.0);
}
