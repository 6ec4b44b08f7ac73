//! Limits: the last value that is taken, and the first that is not.

use std::sync::Arc;

use streamraft::{Command, Error, HardState, Membership, Message, MessageKind, Stamp};

use crate::one::{ELECTION_TIMEOUT, One, config, is_pre_vote_request, ping};

/// How far ahead a term or a version may be.
const MOST_AHEAD: u64 = 1 << 40;

#[test]
fn a_term_is_heard_up_to_the_limit_and_not_beyond() {
    for (ahead, heard) in [(MOST_AHEAD, true), (MOST_AHEAD + 1, false)] {
        let mut node = One::fresh(2, 3);
        node.receive(1, ahead, ping(0));
        assert_eq!(node.state().leader().is_some(), heard, "{ahead} ahead");
        assert_eq!(node.election.stats().malformed, u64::from(!heard));
    }
}

#[test]
fn a_version_is_learnt_up_to_the_limit_and_not_beyond() {
    for (version, learnt) in [(1 + MOST_AHEAD, true), (2 + MOST_AHEAD, false)] {
        let mut node = One::fresh(2, 3);
        let mut membership = Membership::initial(1..=4);
        membership.version = version;
        let message =
            Message::new(1, Stamp::new(0, version), ping(0)).with_membership(Arc::new(membership));
        node.election
            .handle(node.now, streamraft::Inbound::FromNode(1, message))
            .expect("messages are no mistakes");
        assert_eq!(node.state().nodes().len() == 4, learnt, "version {version}");
    }
}

#[test]
fn a_node_campaigns_in_every_term_but_those_that_nobody_would_hear() {
    let last = u64::MAX - MOST_AHEAD;
    for (term, campaigns) in [
        (1 << 30, true),
        (1 << 50, true),
        (last - 1, true),
        (last, false),
    ] {
        let mut node = One::restored(1, 3, term, None);
        let out = node.wait(ELECTION_TIMEOUT * 3);
        assert_eq!(
            out.receivers(is_pre_vote_request).is_empty(),
            !campaigns,
            "term {term}"
        );
    }
}

#[test]
fn forcing_voters_takes_a_term_far_ahead_of_any_term() {
    for term in [0, 1 << 30, 1 << 50] {
        let mut node = One::restored(1, 3, term, None);
        node.election
            .force_nodes(node.now, vec![1, 2])
            .expect("a good list");
        assert_eq!(node.state().term(), term + (1 << 20));
        assert_eq!(node.state().nodes(), [1, 2]);
    }
}

#[test]
fn a_list_names_as_many_nodes_as_a_membership_may() {
    let most = Membership::<u64>::MAX_NODES as u64;
    let mut node = One::leader_with_lease(3);
    assert!(
        node.command(Command::SetNodes((1..=most).collect()))
            .is_ok()
    );
    let refused = node.command(Command::SetNodes((1..=most + 1).collect()));
    assert_eq!(refused.err(), Some(Error::TooManyNodes { count: 1_025 }));
}

#[test]
fn an_unknown_kind_is_counted_and_not_answered() {
    let mut node = One::leader_with_lease(3);
    let out = node.receive(2, 1, MessageKind::Unknown);
    assert!(out.0.is_empty());
    assert_eq!(node.election.stats().unsupported, 1);
}

#[test]
fn a_stamp_is_written_as_term_and_version() {
    assert_eq!(Stamp::new(7, 12).to_string(), "7.12");
}

#[test]
fn a_version_leaves_room_in_its_counter() {
    let last = u64::MAX - MOST_AHEAD;
    for (version, accepted) in [(last, true), (last + 1, false)] {
        let mut membership = Membership::initial(1..=3);
        membership.version = version;
        let config = config(1, 3).restore(HardState::new(1, None, membership));
        assert_eq!(config.check().is_ok(), accepted, "version {version}");
    }
}
