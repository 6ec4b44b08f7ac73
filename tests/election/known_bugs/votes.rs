//! One vote a term, and only votes count.

use streamraft::{HardState, LogPosition, Membership, Message, MessageKind, NodeType, Stamp};

use crate::one::{
    ELECTION_TIMEOUT, One, ask_pre_vote, ask_vote, ask_vote_marked, config, granted,
    is_pre_vote_request, is_vote_request, ping, pong, pre_vote, vote,
};
use crate::world::{World, ms};

/// Node 3 of five, which has voted for 2 in term 4.
fn voter() -> One {
    let mut node = One::restored(3, 5, 3, None);
    assert_eq!(granted(&node.receive(2, 4, ask_vote()).to(2)), [true]);
    node
}

fn assert_no_second_vote(node: &mut One, why: &str) {
    for kind in [ask_vote(), ask_vote_marked()] {
        let out = node.receive(4, 4, kind);
        assert!(!granted(&out.to(4)).contains(&true), "{why}");
        assert_eq!(node.state().hard_state().voted_for(), Some(&2), "{why}");
    }
}

/// ktoso/akka-raft#56: a voter that handled another message forgot its vote, and granted a second one in the term.
#[test]
fn akka_raft_56_no_other_message_makes_a_voter_forget_its_vote() {
    let kinds = [
        ping(0),
        pong(0),
        ask_pre_vote(3),
        pre_vote(3, true),
        pre_vote(3, false),
        vote(true),
        vote(false),
        MessageKind::Unknown,
    ];
    for kind in kinds {
        for (from, term) in [(2, 4), (4, 4), (5, 4), (2, 3), (4, 0), (9, 4)] {
            let mut node = voter();
            node.receive(from, term, kind.clone());
            assert_no_second_vote(&mut node, &format!("{kind:?} from {from} in term {term}"));
            node.wait(ELECTION_TIMEOUT);
            assert_no_second_vote(&mut node, &format!("{kind:?}, and a while after"));
        }
    }
}

/// microsoft/CCF#8094: an unmatched message of the leader in the same term made a voter step down and clear its vote.
#[test]
fn ccf_8094_a_message_of_the_same_term_does_not_clear_the_vote() {
    let mut node = voter();
    node.election.set_position(LogPosition::new(9, 9));
    // The leader that it voted for is behind what it holds now: it follows, and keeps its vote.
    node.receive(2, 4, ping(0));
    assert_eq!(node.state().leader(), Some(&2));
    assert_no_second_vote(&mut node, "following");

    // A candidate of the term that hears the term's leader keeps the vote for itself.
    let mut candidate = One::candidate(3);
    candidate.receive(2, 1, ping(0));
    candidate.wait(ELECTION_TIMEOUT);
    let out = candidate.receive(3, 1, ask_vote());
    assert!(!granted(&out.to(3)).contains(&true));
    assert_eq!(candidate.state().hard_state().voted_for(), Some(&1));
}

/// camunda/camunda#5356: a node accepted two candidates in one term, with a change of its role in between.
#[test]
fn camunda_5356_a_change_of_role_does_not_free_the_vote() {
    let mut node = voter();
    // It gives its candidate up and campaigns itself, which so far changes no term.
    let out = node.wait(ELECTION_TIMEOUT * 2);
    assert!(!out.receivers(is_pre_vote_request).is_empty());
    assert_eq!(
        (node.state().node_type(), node.state().term()),
        (NodeType::Candidate, 4)
    );
    assert_no_second_vote(&mut node, "asking for pre-votes");
    // And back.
    node.receive(2, 4, ping(0));
    assert_eq!(node.state().node_type(), NodeType::Follower);
    node.wait(ELECTION_TIMEOUT);
    assert_no_second_vote(&mut node, "having followed");
}

/// andreev-io/little-raft#44: a candidate counted a delayed grant of an older term.
#[test]
fn little_raft_44_a_grant_of_another_term_does_not_count() {
    let mut node = One::candidate(5);
    node.campaign(&[2, 3]);
    assert_eq!(node.state().term(), 2);

    for voter in 2..=5 {
        node.receive(voter, 1, vote(true));
        node.receive(voter, 0, vote(true));
    }

    assert_eq!(node.state().node_type(), NodeType::Candidate);
    assert_eq!(node.election.stats().stale, 8);
    // Of a newer term neither: that one is not this node's.
    node.receive(2, 3, vote(true));
    assert_eq!(
        (node.state().node_type(), node.state().term()),
        (NodeType::Follower, 3)
    );
}

/// xnnyygn/xraft#27: one grant that the network duplicated was counted twice.
#[test]
fn xraft_27_a_duplicated_grant_is_one_vote() {
    let mut node = One::candidate(5);
    for _ in 0..10 {
        node.receive(2, 1, vote(true));
    }
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    node.receive(3, 1, vote(true));
    assert_eq!(node.state().node_type(), NodeType::Leader);
}

/// Mininglamp-OSS/octo-im#42: term and vote were not kept over a change of role and a restart. Whatever a node says, the
/// state that came out before it is enough to go on from.
#[test]
fn octo_im_42_what_came_out_before_a_vote_is_enough_to_keep_it() {
    let mut node = One::restored(3, 5, 3, None);
    let out = node.receive(2, 4, ask_vote());
    let said = out
        .0
        .iter()
        .position(|output| matches!(output, streamraft::MsgRouter::ToNode(..)));
    let kept = out.states()[0].hard_state().clone();
    assert_eq!(said, Some(1), "the state first: {out:?}");

    let mut again = One::new(config(3, 5).restore(kept));
    assert_no_second_vote(&mut again, "at once");
    again.wait(ELECTION_TIMEOUT);
    assert_no_second_vote(&mut again, "after its window");
    again.wait(ELECTION_TIMEOUT * 2);
    assert_no_second_vote(&mut again, "campaigning");
}

/// ClickHouse/ClickHouse#121252: pre-votes looked at the leader only and not at the log, so a node that could not win
/// passed them and deposed the leader, over and over.
#[test]
fn clickhouse_121252_who_cannot_win_passes_no_pre_vote() {
    let mut voter = One::restored(3, 3, 4, None);
    voter.election.set_position(LogPosition::new(4, 7));
    assert_eq!(
        granted(&voter.receive(2, 4, ask_pre_vote(1)).to(2)),
        [false]
    );
    // Nor one with an older membership.
    let mut message = Message::new(4, Stamp::new(0, 0), ask_pre_vote(2));
    let position = LogPosition::new(4, 7);
    message.kind = MessageKind::PreVoteRequest {
        round: 2,
        position,
        priority: 0,
    };
    let input = streamraft::Inbound::FromNode(2, message);
    voter.election.handle(voter.now, input).expect("no mistake");
    assert_eq!(granted(&voter.drain().to(2)), [false]);

    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3], |config| config);
        world.delay = (ms(1), ms(10));
        // Node 1 would be the first to campaign, but its log is behind.
        for id in [2, 3] {
            world.set_position(id, LogPosition::new(1, 5));
        }
        world.run(ms(60_000));
        let leader = world.settled().expect("2 or 3");
        assert_eq!(
            (leader, world.history.len()),
            (2, 1),
            "seed {seed}: {world}"
        );
        assert!(!world.traffic.contains_key(&(1, "vote request")));
        world.kill(2);
        world.run(ms(60_000));
        assert_eq!((world.settled(), world.history.len()), (Some(3), 2));
        assert!(!world.traffic.contains_key(&(1, "vote request")));
    }
}

/// hashicorp/raft#476: a node that its own membership does not name became a candidate.
#[test]
fn hashicorp_raft_476_who_is_not_in_the_membership_never_campaigns() {
    let saved = HardState::new(5, None, Membership::initial([1, 2]));
    let mut node = One::new(config(3, 3).restore(saved));
    assert_eq!(node.state().node_type(), NodeType::Observer);
    assert_eq!(node.wait(ELECTION_TIMEOUT * 100).0, []);
    let out = node.receive(1, 5, MessageKind::TimeoutNow);
    assert_eq!(out.receivers(is_vote_request), []);
    assert_eq!(
        (node.state().node_type(), node.state().term()),
        (NodeType::Observer, 5)
    );
}

fn with_an_observer(version: u64) -> Membership<u64> {
    let mut membership = Membership::initial([1, 2]);
    membership.observers = vec![3];
    membership.version = version;
    membership
}

/// redpanda-data/redpanda#8495: a learner asked for votes and blocked the node that could win.
#[test]
fn redpanda_8495_an_observer_never_campaigns() {
    let saved = HardState::new(5, None, with_an_observer(1));
    let mut node = One::new(config(3, 3).restore(saved));
    for at in 0..100 {
        assert_eq!(
            node.receive(1, 5, ping(at)).receivers(is_pre_vote_request),
            []
        );
        assert_eq!(node.wait(ELECTION_TIMEOUT * 3).messages(), []);
    }
    let out = node.receive(1, 5, MessageKind::TimeoutNow);
    assert_eq!(out.receivers(is_vote_request), []);
    assert_eq!(node.state().node_type(), NodeType::Observer);
}

/// The other side of it: what an observer says counts for nothing.
#[test]
fn redpanda_8495_the_votes_of_observers_do_not_count() {
    let mut membership = Membership::initial([1, 2, 3]);
    membership.observers = vec![4, 5];
    let saved = HardState::new(5, None, membership);
    let mut node = One::new(config(1, 5).restore(saved));
    let out = node.campaign(&[4, 5]);
    assert_eq!(out.receivers(is_vote_request), []);
    node.campaign(&[2]);
    assert_eq!(
        (node.state().node_type(), node.state().term()),
        (NodeType::Candidate, 6)
    );
    for observer in [4, 5] {
        node.receive(observer, 6, vote(true));
    }
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    node.receive(3, 6, vote(true));
    assert_eq!(node.state().node_type(), NodeType::Leader);
}

/// tikv/raft-rs#57, etcd-io/etcd#10998: a promoted learner that had not heard of it refused the vote that was needed.
#[test]
fn raft_rs_57_who_has_not_heard_of_its_promotion_votes_all_the_same() {
    let saved = HardState::new(5, None, with_an_observer(1));
    let mut node = One::new(config(3, 3).restore(saved));
    node.wait(ELECTION_TIMEOUT);
    let request = |term, kind| {
        let message = Message::new(term, Stamp::new(0, 2), kind);
        streamraft::Inbound::FromNode(1, message)
    };

    node.election
        .handle(node.now, request(5, ask_pre_vote(1)))
        .expect("no mistake");
    assert_eq!(granted(&node.drain().to(1)), [true]);
    node.election
        .handle(node.now, request(6, ask_vote()))
        .expect("no mistake");
    let out = node.drain();
    assert_eq!(granted(&out.to(1)), [true]);
    assert_eq!(out.states()[0].hard_state().voted_for(), Some(&1));
}
