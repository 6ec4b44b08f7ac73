//! Order is the write-ahead rule: what must be saved comes out before whatever depends on it.

use std::time::Duration;

use streamraft::{NodeState, NodeType};
use tokio::time::advance;

use crate::hand::{
    Act, HEARTBEAT, Kind, drain, follower, hear, leader, node, orders, ping, poll, pong, pre_vote,
    sent, shown, vote_request,
};
use crate::world::World;

#[tokio::test(start_paused = true)]
async fn a_candidate_shows_its_term_and_its_own_vote_before_it_asks_for_votes() {
    let mut node = node(1, 3);
    advance(Duration::from_secs(2)).await;
    let items = drain(&mut node);
    let round = items
        .iter()
        .filter_map(sent)
        .find_map(|(_, message)| match message.kind {
            Kind::PreVoteRequest { round, .. } => Some(round),
            _ => None,
        });
    hear(
        &mut node,
        3,
        0,
        pre_vote(round.expect("it asks whether it would win")),
    );

    let items = drain(&mut node);
    let state = shown(&items[0]).expect("the state is the first to come out");
    assert_eq!(
        (state.term(), state.hard_state().voted_for()),
        (1, Some(&1))
    );
    let asked: Vec<u64> = items[1..]
        .iter()
        .filter_map(sent)
        .map(|(to, _)| to)
        .collect();
    assert_eq!(
        asked,
        [2, 3],
        "it asks for votes behind it, and shows no second state: {items:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_voter_shows_its_vote_before_it_gives_it() {
    let mut node = node(1, 3);
    hear(&mut node, 3, 9, vote_request());
    let items = drain(&mut node);
    let state = shown(&items[0]).expect("the state is the first to come out");
    assert_eq!(
        (state.term(), state.hard_state().voted_for()),
        (9, Some(&3))
    );
    let (to, message) = sent(&items[1]).expect("the vote is the second");
    assert_eq!((to, message.term), (3, 9));
    assert!(
        matches!(message.kind, Kind::Vote { granted: true, .. }),
        "{message:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_shows_a_new_term_before_it_answers_in_it() {
    let mut node = follower();
    hear(&mut node, 3, 8, ping(0));
    let items = drain(&mut node);
    assert_eq!(
        shown(&items[0]).map(|state| (state.term(), state.leader())),
        Some((8, Some(&3)))
    );
    assert_eq!(
        sent(&items[1]).map(|(to, message)| (to, message.term)),
        Some((3, 8))
    );
}

#[tokio::test(start_paused = true)]
async fn what_still_waits_when_the_term_changes_does_not_leave_in_the_new_term() {
    let mut node = leader().await;
    advance(HEARTBEAT).await;
    let first = poll(&mut node);
    assert!(
        format!("{first:?}").contains("Ping"),
        "half of its heartbeat has left: {first:?}"
    );
    hear(&mut node, 2, 7, vote_request());

    let items = drain(&mut node);
    assert_eq!(
        shown(&items[0]).map(|state| (state.node_type(), state.term())),
        Some((NodeType::Follower, 7))
    );
    let rest: Vec<_> = items[1..].iter().filter_map(sent).collect();
    assert!(
        matches!(&rest[..], [(2, message)] if matches!(message.kind, Kind::Vote { granted: true, .. })),
        "{rest:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_still_waits_when_the_term_changes_does_not_leave_in_the_new_term() {
    // By another's term, and by a term of its own.
    let changes: [Act; 2] = [
        ("a vote in a newer term", |node| {
            hear(node, 3, 7, vote_request());
        }),
        ("a campaign", |node| hear(node, 2, 5, Kind::TimeoutNow)),
    ];
    for (name, change) in changes {
        let mut node = follower();
        hear(&mut node, 2, 5, ping(9));
        change(&mut node);
        let items = drain(&mut node);
        assert!(node.state().term() > 5 && items.len() > 1, "{name}");
        let pongs = items
            .iter()
            .filter_map(sent)
            .filter(|(_, message)| message.kind == pong(9));
        assert_eq!(
            pongs.count(),
            0,
            "{name}: 2 would take it for an answer in the new term: {items:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_gives_its_lease_up_before_it_orders_a_successor() {
    let mut node = leader().await;
    node.transfer(3).expect("it leads, and 3 votes");
    assert!(!node.is_leader(), "from the call on, not from the poll on");
    let items = drain(&mut node);
    let state = shown(&items[0]).expect("the state is the first to come out");
    assert_eq!((state.lease(), state.transferring_to()), (None, Some(&3)));
    assert_eq!(orders(&items[1..]), [3]);

    let mut node = leader().await;
    node.resign();
    assert!(!node.is_leader());
    let items = drain(&mut node);
    let state = shown(&items[0]).expect("the state is the first to come out");
    assert_eq!(
        (state.node_type(), state.lease()),
        (NodeType::Follower, None)
    );
    assert_eq!(orders(&items[1..]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_nobody_took_is_replaced_by_the_newest() {
    let mut node = node(1, 3);
    for term in 1..=20 {
        hear(&mut node, 2, term, vote_request());
    }
    let items = drain(&mut node);
    assert_eq!(
        items
            .iter()
            .filter_map(shown)
            .map(NodeState::term)
            .collect::<Vec<_>>(),
        [20]
    );
    assert_eq!(
        &items.iter().filter_map(shown).next(),
        &Some(node.state()),
        "what came out is what it is now"
    );
}

/// The world checks at every item that what leaves is backed by what was shown before.
#[tokio::test(start_paused = true)]
async fn nothing_leaves_a_cluster_of_nodes_that_was_not_shown_before() {
    let mut world = World::new(5, |config| config);
    for _ in 0..4 {
        let leader = world.elect().await;
        world.run(Duration::from_secs(1)).await;
        let leader = world.nodes.get_mut(&leader).expect("it leads");
        leader.resign();
    }
    // To another membership, by a wish at a node that does not lead, and then by one at the leader.
    for nodes in [[1, 2, 3, 4], [2, 3, 4, 5]] {
        let leader = world.elect().await;
        let other = *world
            .nodes
            .keys()
            .find(|id| **id != leader)
            .expect("five nodes");
        let told = if nodes[0] == 1 { other } else { leader };
        let told = world.nodes.get_mut(&told).expect("a node");
        told.set_nodes(nodes).expect("a good list");
        world.run(Duration::from_secs(5)).await;
        let leader = world.elect().await;
        assert_eq!(world.nodes[&leader].state().nodes(), nodes);
    }
}
