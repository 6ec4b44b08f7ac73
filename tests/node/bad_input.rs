//! Bad input never ends a node: it is dropped, counted in its own field, and changes nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Sink;
use streamraft::{ClusterTag, Inbound, Membership, Message, NodeType, Stats};
use tokio::time::advance;

use crate::hand::{
    ELECTION, HEARTBEAT, Kind, Node, asking, candidate, config, crown, drain, follower, leader,
    message, ping, pong, pre_vote, pre_vote_request, sent, serve, start, vote, vote_request,
    willing,
};

type Change = fn(&mut Membership<u64>);
type Bad = (&'static str, u64, Message<u64>, Stats);

fn counted(count: impl FnOnce(&mut Stats)) -> Stats {
    let mut stats = Stats::default();
    count(&mut stats);
    stats
}

fn stranger() -> Stats {
    counted(|stats| stats.strangers = 1)
}

fn malformed() -> Stats {
    counted(|stats| stats.malformed = 1)
}

fn stale() -> Stats {
    counted(|stats| stats.stale = 1)
}

fn kinds() -> Vec<Kind> {
    let mine = vec![
        ping(0),
        pong(0),
        pre_vote_request(0),
        pre_vote(0),
        vote_request(),
        vote(),
    ];
    [mine, vec![Kind::TimeoutNow, Kind::Unknown]].concat()
}

/// What is bad whatever the node is.
fn always_bad(node: &Node) -> Vec<Bad> {
    let term = node.state().term();
    let of = |term, kind| message(node, term, kind);
    let foreign = || counted(|stats| stats.foreign_cluster = 1);
    let unsupported = || counted(|stats| stats.unsupported = 1);
    let mut bad = Vec::new();
    for kind in kinds() {
        bad.push(("a stranger", 9, of(term, kind.clone()), stranger()));
        bad.push((
            "a stranger with a newer term",
            9,
            of(term + 1, kind.clone()),
            stranger(),
        ));
        bad.push(("its own id", 1, of(term, kind.clone()), malformed()));
        bad.push((
            "the last of all terms",
            2,
            of(u64::MAX, kind.clone()),
            malformed(),
        ));
        bad.push((
            "a term too far ahead",
            2,
            of(term + (1 << 50), kind.clone()),
            malformed(),
        ));
        let elsewhere = of(term + 1, kind).with_cluster(ClusterTag::new("elsewhere"));
        bad.push(("another cluster", 2, elsewhere, foreign()));
    }
    bad.push(("an unknown kind", 2, of(term, Kind::Unknown), unsupported()));
    bad.push((
        "an unknown kind of a newer term",
        3,
        of(term + 1, Kind::Unknown),
        unsupported(),
    ));
    bad.push((
        "a pre-vote of another campaign",
        3,
        of(term, pre_vote(u64::MAX)),
        stale(),
    ));
    bad.extend(outdated(node));
    bad.extend(bad_memberships(node));
    bad
}

fn outdated(node: &Node) -> Vec<Bad> {
    let Some(term) = node.state().term().checked_sub(1) else {
        return Vec::new();
    };
    let of = |kind| message(node, term, kind);
    vec![
        ("an old order", 2, of(Kind::TimeoutNow), stale()),
        ("an old heartbeat", 2, of(ping(0)), stale()),
        ("an old answer", 2, of(pong(0)), stale()),
        ("an old vote", 2, of(vote()), stale()),
    ]
}

fn bad_memberships(node: &Node) -> Vec<Bad> {
    let term = node.state().term();
    let held = node.state().hard_state().membership();
    let with = |change: Change| {
        let mut membership = Membership::clone(held);
        change(&mut membership);
        message(node, term, ping(0)).with_membership(Arc::new(membership))
    };
    let conflicting = counted(|stats| stats.conflicting = 1);
    vec![
        (
            "voters out of order",
            2,
            with(|of| of.voters.reverse()),
            malformed(),
        ),
        (
            "a voter twice",
            2,
            with(|of| of.voters = vec![1, 1, 2]),
            malformed(),
        ),
        (
            "a membership newer than its message",
            2,
            with(|of| of.term = 1 << 30),
            malformed(),
        ),
        (
            "other voters under one stamp",
            2,
            with(|of| of.voters = vec![1, 2]),
            conflicting,
        ),
        (
            "a stranger's own cluster",
            9,
            with(|of| (of.voters, of.version) = (vec![7, 8], 5)),
            stranger(),
        ),
    ]
}

/// Puts each in alone: no error, counted once in its field and nowhere else, nothing shown or changed.
fn check(node: &mut Node, bad: Vec<Bad>) {
    let role = node.state().node_type();
    for (name, from, message, expected) in bad {
        let (state, before) = (node.state().clone(), *node.stats());
        let told = format!("{name}, to a {role}: {message:?} of {from}");
        let taken = Pin::new(&mut *node).start_send(Inbound::FromNode(from, message));
        assert_eq!(taken, Ok(()), "{told}");
        assert_eq!(since(&before, node.stats()), expected, "{told}");
        assert_eq!(node.state(), &state, "{told}");
        let items = drain(node);
        assert!(
            items.iter().filter_map(sent).count() == items.len(),
            "{told}: {items:?}"
        );
    }
}

fn since(before: &Stats, now: &Stats) -> Stats {
    counted(|stats| {
        stats.foreign_cluster = now.foreign_cluster - before.foreign_cluster;
        stats.strangers = now.strangers - before.strangers;
        stats.malformed = now.malformed - before.malformed;
        stats.unsupported = now.unsupported - before.unsupported;
        stats.conflicting = now.conflicting - before.conflicting;
        stats.stale = now.stale - before.stale;
        stats.withheld = now.withheld - before.withheld;
    })
}

#[tokio::test(start_paused = true)]
async fn a_follower_goes_on_following_after_bad_input() {
    let mut node = follower();
    let term = node.state().term();
    let mut bad = always_bad(&node);
    bad.push((
        "a second leader in one term",
        3,
        message(&node, term, ping(0)),
        malformed(),
    ));
    bad.push((
        "an order of who does not lead",
        3,
        message(&node, term, Kind::TimeoutNow),
        malformed(),
    ));
    bad.push((
        "an answer to a ping it never sent",
        2,
        message(&node, term, pong(0)),
        stale(),
    ));
    bad.push((
        "a vote it never asked for",
        2,
        message(&node, term, vote()),
        stale(),
    ));
    check(&mut node, bad);

    advance(ELECTION - Duration::from_millis(1)).await;
    assert_eq!(
        drain(&mut node),
        [],
        "none of it was taken for a reason to campaign"
    );
    node.on_receive(2, message(&node, term, ping(5)));
    let items = drain(&mut node);
    assert!(
        items
            .iter()
            .filter_map(sent)
            .any(|(to, message)| to == 2 && message.kind == pong(5))
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_goes_on_leading_after_bad_input() {
    let mut node = leader().await;
    advance(HEARTBEAT).await;
    serve(&mut node, |_, message| willing(message));
    let term = node.state().term();
    let mut bad = always_bad(&node);
    bad.push((
        "a second leader in one term",
        3,
        message(&node, term, ping(0)),
        malformed(),
    ));
    bad.push((
        "an order in its own term",
        3,
        message(&node, term, Kind::TimeoutNow),
        malformed(),
    ));
    bad.push((
        "an answer to a ping of the future",
        2,
        message(&node, term, pong(u64::MAX - 1)),
        malformed(),
    ));
    bad.push((
        "an answer to a ping of an older term",
        2,
        message(&node, term, pong(u64::MAX)),
        stale(),
    ));
    bad.push((
        "an answer to a ping not yet sent",
        2,
        message(&node, term, pong(1 << 40)),
        malformed(),
    ));
    bad.push((
        "an answer a second time",
        2,
        message(&node, term, pong(0)),
        stale(),
    ));
    bad.push((
        "a vote that is not needed any more",
        2,
        message(&node, term, vote()),
        stale(),
    ));
    check(&mut node, bad);

    let lease = node.state().lease();
    advance(HEARTBEAT).await;
    serve(&mut node, |_, message| willing(message));
    assert!(
        node.is_leader() && node.state().lease() > lease,
        "its next heartbeat counts as ever"
    );
}

#[tokio::test(start_paused = true)]
async fn a_candidate_goes_on_asking_after_bad_input() {
    for mut node in [asking().await, candidate().await] {
        let bad = always_bad(&node);
        check(&mut node, bad);
        assert_eq!(node.state().node_type(), NodeType::Candidate);
        crown(&mut node).await;
    }
}

/// Once believed, it spreads to every node and every disk: a version at its end cannot grow, so two lists of voters
/// would bear one stamp; a cluster without voters has no leader for ever.
#[tokio::test(start_paused = true)]
async fn a_membership_that_no_leader_can_have_made_is_malformed() {
    let cases: [(&str, Change); 4] = [
        ("the last version", |of| of.version = u64::MAX),
        ("the version before it", |of| of.version = u64::MAX - 1),
        ("no voters", |of| of.voters.clear()),
        ("no target", |of| of.target.clear()),
    ];
    let mut believed = Vec::new();
    for (name, change) in cases {
        let mut node = follower();
        let term = node.state().term();
        let mut membership = Membership::clone(node.state().hard_state().membership());
        (membership.term, membership.version) = (term, 9);
        change(&mut membership);
        let state = node.state().clone();
        let told = message(&node, term, ping(1)).with_membership(Arc::new(membership));
        node.on_receive(2, told);
        if node.stats().malformed != 1 || node.state() != &state {
            believed.push(name);
        }
    }
    assert_eq!(believed, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn votes_of_strangers_elect_nobody() {
    let mut node = candidate().await;
    let term = node.state().term();
    for stranger in 4..100 {
        node.on_receive(stranger, message(&node, term, vote()));
    }
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    assert_eq!(node.stats().strangers, 96);
}

#[tokio::test(start_paused = true)]
async fn a_vote_that_the_network_delivers_twice_counts_once() {
    let mut node = start(config(1, 5));
    advance(2 * ELECTION).await;
    serve(&mut node, |_, message| {
        willing(message).filter(|answer| matches!(answer.kind, Kind::PreVote { .. }))
    });
    let term = node.state().term();
    for _ in 0..10 {
        node.on_receive(2, message(&node, term, vote()));
    }
    assert_eq!((term, node.state().node_type()), (1, NodeType::Candidate));
    node.on_receive(3, message(&node, term, vote()));
    assert_eq!(
        node.state().node_type(),
        NodeType::Leader,
        "with a third of five votes it leads"
    );
}
