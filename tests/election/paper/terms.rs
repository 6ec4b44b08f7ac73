//! Paper section 5.1: terms.

use streamraft::{Config, MessageKind, NodeType};

use crate::one::{One, ask_pre_vote, ask_vote, granted, ping, pong, vote};
use crate::world::{World, ms};

/// A node of three in each role, all in term 1 (the one that is asking for pre-votes: in term 0).
fn in_every_role() -> [One; 4] {
    [
        One::follower(1, 3, 2, 1),
        One::pre_candidate(3).0,
        One::candidate(3),
        One::leader_with_lease(3),
    ]
}

/// "If one server's current term is smaller than the other's, then it updates its current term to the larger value."
/// "If a candidate or leader discovers that its term is out of date, it immediately reverts to follower state."
/// (5.1-2) (5.1-3)
#[test]
fn whoever_hears_of_a_larger_term_takes_it_and_follows() {
    for (one, kind) in in_every_role()
        .into_iter()
        .flat_map(|one| [ping(0), pong(0), vote(false)].map(|kind| (one.clone(), kind)))
    {
        let mut node = one.clone();
        node.receive(3, 7, kind.clone());

        let state = node.state();
        let before = one.state().node_type();
        assert_eq!(
            (state.node_type(), state.term()),
            (NodeType::Follower, 7),
            "{before} {kind:?}"
        );
        assert_eq!(state.hard_state().voted_for(), None, "{before} {kind:?}");
        assert_eq!((state.lease(), state.followers()), (None, &[][..]));
    }
}

/// The same for a request for a vote, where no vote is withheld.
/// (5.1-2)
#[test]
fn a_request_for_a_vote_brings_its_term() {
    let (mut pre_candidate, _) = One::pre_candidate(3);
    let mut candidate = One::candidate(3);

    for node in [&mut pre_candidate, &mut candidate] {
        let out = node.receive(3, 7, ask_vote());

        assert_eq!(granted(&out.to(3)), [true]);
        assert_eq!(
            (node.state().node_type(), node.state().term()),
            (NodeType::Follower, 7)
        );
    }
}

/// "If a server receives a request with a stale term number, it rejects the request." The rejection bears the newer
/// term, so that whoever asked learns it.
/// (5.1-4)
#[test]
fn a_request_of_a_stale_term_is_rejected_with_the_newer_term() {
    let mut node = One::restored(3, 3, 5, None);

    let said = node.receive(2, 4, ping(0)).to(2);
    assert!(
        matches!(said[..], [(5, MessageKind::Pong { .. })]),
        "{said:?}"
    );

    for kind in [ask_vote(), ask_pre_vote(1)] {
        // A pre-vote in term 3 asks for term 4.
        let said = node.receive(2, 3, kind).to(2);
        assert_eq!((granted(&said), said[0].0), (vec![false], 5), "{said:?}");
    }

    let state = node.state();
    assert_eq!(
        (state.term(), state.leader(), state.hard_state().voted_for()),
        (5, None, None)
    );
}

/// The other side of it: a leader whose ping is answered in a newer term is over.
#[test]
fn a_stale_leader_learns_from_the_answers_that_it_is_over() {
    let mut leader = One::leader_with_lease(3);

    let states = leader.receive(2, 4, pong(0)).states();

    assert_eq!(
        (states[0].node_type(), states[0].term()),
        (NodeType::Follower, 4)
    );
    assert!(!leader.leads());
}

/// Terms only grow: nothing of an older term, and no answer, takes a node back.
/// (5.1-1)
#[test]
fn no_message_of_an_older_term_changes_the_term() {
    for term in 0..5 {
        for kind in [
            ping(0),
            pong(0),
            vote(true),
            ask_vote(),
            ask_pre_vote(1),
            MessageKind::TimeoutNow,
        ] {
            let mut node = One::restored(3, 3, 5, Some(1));
            node.receive(2, term, kind);
            let state = node.state();
            assert_eq!(
                (state.term(), state.hard_state().voted_for()),
                (5, Some(&1))
            );
            assert_eq!(state.node_type(), NodeType::Follower);
        }
    }
}

/// "Raft ensures that there is at most one leader in a given term." Here with drawn lots and votes that split: the world
/// refuses a second leader of a term at every step, and no term is led twice. (5.1-5)
#[test]
fn a_term_has_at_most_one_leader() {
    let mut terms = 0;
    for seed in 0..50 {
        let mut world = World::new(seed, &[1, 2, 3, 4], Config::lottery);
        world.delay = (ms(1), ms(60));
        world.loss = 10;
        for _ in 0..6 {
            let leader = world.settle(ms(60_000));
            world.kill(leader);
            world.run(ms(1_500));
            world.start(leader);
        }
        let led: Vec<u64> = world.history.iter().map(|(_, _, term)| *term).collect();
        assert!(led.is_sorted_by(|one, next| one < next), "{led:?}");
        terms += led.len();
    }
    assert!(terms >= 300, "only {terms} terms were led");
}

/// "In some situations an election will result in a split vote. In this case the term will end with no leader; a new term
/// (with a new election) will begin shortly." (5.1-6)
#[test]
fn a_split_vote_ends_its_term_and_a_new_one_begins_shortly() {
    let mut split = 0;
    for seed in 0..200 {
        let mut world = World::new(seed, &[1, 2, 3, 4], |config| {
            config.lottery().random_timeout(ms(40)).bootstrap()
        });
        world.delay = (ms(5), ms(30));

        let took = world.run_until(ms(60_000), |world| world.settled().is_some());

        assert!(took.is_some(), "seed {seed}: {world}");
        let (_, _, term) = world.history[0];
        if term > 1 {
            split += 1;
            // Two of four voted for one candidate, and two did not.
            let most = (1..=4).map(|id| world.votes_for(id, 1)).max();
            assert!(most <= Some(2), "seed {seed}: {most:?}");
            assert!(took <= Some(ms(3_000 * term)), "seed {seed}: {took:?}");
        }
    }
    assert!(split > 5, "only {split} elections were split");
}
