//! A node that is dropped or starts again at any point at all: the others go on, and nobody votes twice.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::advance;

use crate::hand::{
    ELECTION, Kind, Output, config, drain, hear, node, ping, sent, shown, start, vote_request,
};
use crate::world::{Fate, World};

/// Enough to pass from the start through an election to the first heartbeats: the world says so in
/// `the_polls_at_which_nodes_crash_span_an_election`.
const POLLS: usize = 70;

async fn crashed_at(poll: usize, fate: Fate) -> World {
    // One that never ran elects within its first polls, so that each of them is a different point of an election.
    let mut world = World::new(3, streamraft::Config::bootstrap);
    world.fate = Some((poll, fate));
    world.run(Duration::from_millis(500)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn the_polls_at_which_nodes_crash_span_an_election() {
    let mut terms: Vec<u64> = Vec::new();
    for poll in [1, POLLS] {
        let mut world = World::new(3, streamraft::Config::bootstrap);
        world.fate = Some((poll, Fate::Dropped));
        while world.nodes.len() == 3 {
            world.run(Duration::from_millis(10)).await;
        }
        terms.push(
            world
                .nodes
                .values()
                .map(|node| node.state().term())
                .max()
                .unwrap_or(0),
        );
    }
    assert_eq!(terms[0], 0, "the first poll is before the election");
    assert_eq!(terms[1], 1, "and the last is after it");
}

#[tokio::test(start_paused = true)]
async fn a_node_dropped_after_any_poll_leaves_the_others_able_to_elect() {
    for poll in 1..=POLLS {
        let mut world = crashed_at(poll, Fate::Dropped).await;
        let leader = world.elect().await;
        world.run(3 * ELECTION).await;
        assert_eq!(
            world.followed(),
            [Some(leader); 2],
            "poll {poll}: two are left, and they agree for long"
        );
    }
}

/// That nobody votes twice, no term has two leaders, and nothing leaves unsaved, the world checks.
#[tokio::test(start_paused = true)]
async fn a_node_restarted_from_its_disk_after_any_poll_keeps_what_it_promised() {
    for poll in 1..=POLLS {
        for fate in [Fate::Restarted, Fate::RestartedUnsaved] {
            let mut world = crashed_at(poll, fate).await;
            world.run(3 * ELECTION).await;
            let leader = world
                .leader()
                .unwrap_or_else(|| panic!("poll {poll}, {fate:?}: nobody leads"));
            assert_eq!(world.followed(), [Some(leader); 3], "poll {poll}, {fate:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_leader_is_replaced_within_two_election_timeouts() {
    let mut world = World::new(3, |config| config);
    let first = world.elect().await;
    world.run(ELECTION).await;
    world.nodes.remove(&first);
    world.run(2 * ELECTION).await;
    let second = world.leader().expect("two of three are left");
    assert_ne!(first, second);
}

/// All that node 1 of three puts out while it votes, follows, votes again and stands itself.
fn words() -> Vec<Output> {
    let mut node = node(1, 3);
    let heard = [
        (2, 3, vote_request()),
        (3, 5, vote_request()),
        (3, 5, ping(0)),
        (2, 8, vote_request()),
        (2, 8, Kind::TimeoutNow),
    ];
    let mut items = Vec::new();
    for (from, term, kind) in heard {
        hear(&mut node, from, term, kind);
        items.extend(drain(&mut node));
    }
    items
}

/// Whom a node has voted for in these, by term: by a vote, or by asking for votes itself.
fn promises(items: &[Output]) -> BTreeMap<u64, u64> {
    let votes = items
        .iter()
        .filter_map(sent)
        .filter_map(|(to, message)| match message.kind {
            Kind::Vote { granted: true, .. } => Some((message.term, to)),
            Kind::VoteRequest { .. } => Some((message.term, 1)),
            _ => None,
        });
    votes.collect()
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_crashes_behind_any_item_keeps_its_votes() {
    let items = words();
    assert_eq!(
        promises(&items),
        BTreeMap::from([(3, 2), (5, 3), (8, 2), (9, 1)]),
        "{items:?}"
    );
    for left in 0..=items.len() {
        let items = &items[..left];
        let saved = items
            .iter()
            .filter_map(shown)
            .next_back()
            .map(|state| state.hard_state().clone());
        let restart = || match &saved {
            Some(saved) => start(config(1, 3).restore(saved.clone())),
            None => node(1, 3),
        };
        for (term, candidate) in promises(items) {
            for rival in [2, 3] {
                let mut node = restart();
                advance(ELECTION).await;
                hear(&mut node, rival, term, vote_request());
                let again = promises(&drain(&mut node));
                // Its last vote it gives again to the same candidate, whose first answer may have been lost.
                let last = node.state().term() == term && rival == candidate;
                let expected = last.then_some(rival);
                assert_eq!(
                    again.get(&term).copied(),
                    expected,
                    "{left} items left, then {rival} asks in term {term}"
                );
            }
        }
    }
}
