//! Who may bring a newer membership, who takes it, and who is told it.

use streamraft::{Command, Inbound, Membership, Message, MessageKind, NodeType, Stamp};

use crate::one::{HEARTBEAT, One, Outputs, ask_vote, granted, is_vote_request, ping, pong, vote};

/// These voters, under this stamp.
fn membership(term: u64, version: u64, voters: &[u64]) -> Membership<u64> {
    let mut membership = Membership::initial(voters.to_vec());
    (membership.term, membership.version) = (term, version);
    (membership.target_version, membership.observers) = (version, Vec::new());
    membership
}

/// Hears a message that brings a membership.
fn bring(
    node: &mut One,
    from: u64,
    term: u64,
    kind: MessageKind<u64>,
    membership: Membership<u64>,
) -> Outputs {
    let message = Message::new(term, membership.stamp(), kind).with_membership(membership.into());
    let input = Inbound::FromNode(from, message);
    node.election
        .handle(node.now, input)
        .expect("messages are no mistakes");
    node.drain()
}

/// One that votes in what it brings may have been added since. Anybody else has nothing to say.
#[test]
fn a_stranger_is_heard_only_with_a_newer_membership_in_which_it_votes() {
    let newer = [1, 2, 3, 9];
    let mut with_9_observing = membership(5, 2, &[1, 2, 3]);
    with_9_observing.observers = vec![9];
    let cases = [
        (membership(5, 2, &newer), true),
        (membership(5, 2, &[1, 2, 3]), false),
        (membership(5, 2, &[1, 2]), false),
        (with_9_observing, false),
        // As old as its own, or older.
        (membership(1, 1, &newer), false),
        (membership(0, 0, &newer), false),
    ];
    for (brought, is_heard) in cases {
        let mut node = One::follower(3, 3, 1, 1);
        bring(&mut node, 1, 1, ping(0), membership(1, 1, &[1, 2, 3]));
        let before = node.state().clone();

        bring(&mut node, 9, 5, ping(0), brought.clone());

        let strangers = node.election.stats().strangers + node.election.stats().malformed;
        if is_heard {
            assert_eq!((node.state().nodes(), strangers), (&newer[..], 0));
            assert_eq!((node.state().term(), node.state().leader()), (5, Some(&9)));
        } else {
            assert_eq!((node.state(), strangers), (&before, 1), "{brought:?}");
        }
    }
}

/// Its voters gave, or give, their votes to a candidate under the older one.
#[test]
fn a_candidate_that_takes_a_newer_membership_drops_its_campaign() {
    let mut asking = One::pre_candidate(3).0;
    let mut standing = One::candidate(3);
    for node in [&mut asking, &mut standing] {
        let term = node.state().term();
        let newer = membership(0, 2, &[1, 2, 3, 4]);

        let out = bring(node, 2, term, vote(false), newer);

        let state = node.state();
        assert_eq!(
            (state.node_type(), state.term()),
            (NodeType::Follower, term)
        );
        assert_eq!(state.nodes(), [1, 2, 3, 4]);
        assert_eq!(out.receivers(is_vote_request), []);
        for voter in 2..=4 {
            node.receive(voter, term, vote(true));
        }
        assert_eq!(node.state().node_type(), NodeType::Follower, "too late");
    }
}

/// What a leader installed is the newest of its term. Who brings a newer one is wrong, or another was elected.
#[test]
fn a_leader_takes_a_newer_membership_only_with_a_newer_term() {
    let mut node = One::leader_with_lease(3);
    bring(&mut node, 2, 1, pong(0), membership(1, 9, &[1, 2]));
    assert_eq!(node.state().nodes(), [1, 2, 3]);
    assert!(node.leads());

    bring(&mut node, 2, 2, pong(0), membership(2, 9, &[1, 2]));
    let state = node.state();
    assert_eq!((state.node_type(), state.term()), (NodeType::Follower, 2));
    assert_eq!(state.nodes(), [1, 2]);
}

/// As long as it asks under what it was removed from, a node is told what there is now: the telling may have been lost.
/// In between nothing is kept of it, so others are told too, however many they are.
#[test]
fn whoever_was_removed_is_told_whenever_it_asks_and_not_kept() {
    let mut node = One::leader_with_lease(3);
    let ask = |round| MessageKind::PreVoteRequest {
        round,
        position: streamraft::LogPosition::default(),
        priority: 0,
    };
    for round in 0..5 {
        for stranger in 10..30 {
            let out = node.receive_under(Stamp::new(0, 1), stranger, 0, ask(round));
            let [(to, message)] = &out.messages()[..] else {
                panic!("{stranger} in round {round}: {out:?}")
            };
            assert_eq!((*to, message.membership.is_some()), (stranger, true));
            let refused = matches!(message.kind, MessageKind::PreVote { granted: false, .. });
            assert!(refused, "{message:?}");
        }
        let out = node.wait_answered(HEARTBEAT, &[2, 3]);
        let told = out.messages().iter().any(|(to, _)| *to > 3);
        assert!(!told, "told once for each time that it asks: {out:?}");
    }
}

/// A member that holds another list under the same stamp was started with a wrong one. It gets no vote, and no answer
/// that it could take for one.
#[test]
fn a_member_with_another_list_under_one_stamp_is_not_heard() {
    let mut node = One::fresh(3, 3);
    let out = bring(&mut node, 2, 1, ask_vote(), membership(0, 1, &[2, 3]));
    assert_eq!((out.0, node.election.stats().conflicting), (vec![], 1));
    assert_eq!(node.state().term(), 0);

    let out = bring(&mut node, 2, 1, ask_vote(), membership(0, 1, &[1, 2, 3]));
    assert_eq!(granted(&out.to(2)), [true]);
}

/// What a follower wishes for is older than a target that the leader has set since.
#[test]
fn a_wish_is_over_when_another_target_comes() {
    let mut node = One::follower(3, 3, 1, 1);
    let targets = |out: &Outputs| -> Vec<Vec<u64>> {
        let memberships = out
            .messages()
            .into_iter()
            .filter_map(|(_, message)| message.membership);
        memberships
            .map(|membership| membership.target.clone())
            .collect()
    };
    node.receive(1, 1, ping(1));
    node.command(Command::SetNodes(vec![1, 2, 3, 4]))
        .expect("a good list");
    let out = node.receive(1, 1, ping(2));
    assert_eq!(targets(&out), [[1, 2, 3, 4]], "it tells the leader");

    let mut newer = membership(1, 2, &[1, 2, 3]);
    newer.target = vec![1, 2, 3, 5];
    newer.observers = vec![5];
    bring(&mut node, 1, 1, ping(3), newer);

    for round in 4..10 {
        let out = node.receive(1, 1, ping(round));
        assert!(!targets(&out).contains(&vec![1, 2, 3, 4]), "{out:?}");
    }
}

/// Whoever makes versions up must not use the counter up.
#[test]
fn a_version_that_leaps_is_not_believed() {
    let mut node = One::follower(3, 3, 1, 1);
    bring(
        &mut node,
        2,
        1,
        vote(false),
        membership(1, 1 << 41, &[1, 2]),
    );
    assert_eq!(
        (node.state().nodes(), node.election.stats().malformed),
        (&[1, 2, 3][..], 1)
    );
    bring(
        &mut node,
        2,
        1,
        vote(false),
        membership(1, 1 << 39, &[2, 3]),
    );
    assert_eq!(node.state().nodes(), [2, 3]);
}
