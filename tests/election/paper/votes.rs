//! Paper sections 5.2 and 5.4.1: who is elected, and who is voted for.

use std::time::Duration;

use streamraft::{LogPosition, MessageKind, MsgRouter, NodeType};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, One, Outputs, ask_pre_vote, ask_vote, config, granted, is_ping,
    is_vote_request, ping, pre_vote, quorum, saved, vote,
};

/// "To begin an election, a follower increments its current term and transitions to candidate state. It then votes
/// for itself and issues `RequestVote` RPCs in parallel to each of the other servers in the cluster."
/// (5.2-5) (5.2-6)
#[test]
fn a_candidate_increments_its_term_votes_for_itself_and_asks_everyone() {
    for size in 2..=7 {
        let (mut node, round) = One::pre_candidate(size);
        let mut out = Vec::new();
        for voter in 2..=quorum(size) {
            out = node.receive(voter, 0, pre_vote(round, true)).0;
        }

        // What it must not forget comes first.
        let Some(MsgRouter::ToSelf(state)) = out.first() else {
            panic!("no state first: {out:?}")
        };
        assert_eq!((state.node_type(), state.term()), (NodeType::Candidate, 1));
        assert_eq!(state.hard_state().voted_for(), Some(&1));
        let out = Outputs(out);
        assert_eq!(out.receivers(is_vote_request), Vec::from_iter(2..=size));
        assert!(out.messages().iter().all(|(_, message)| message.term == 1));
    }
}

/// "A candidate wins an election if it receives votes from a majority of the servers in the full cluster for the same
/// term."
/// (5.2-7)
#[test]
fn a_majority_of_the_full_cluster_elects_and_no_fewer() {
    for size in 2..=9 {
        let mut node = One::candidate(size);
        for (votes, voter) in (2..).zip((2..=size).rev()) {
            assert_eq!(
                node.state().node_type(),
                NodeType::Candidate,
                "{size} nodes, {votes} votes are too few"
            );
            node.receive(voter, 1, vote(true));
            if votes == quorum(size) {
                break;
            }
        }
        assert_eq!(node.state().node_type(), NodeType::Leader, "{size} nodes");
    }
}

/// Refused by so many that no majority is left, it has lost, and does not wait for the rest.
#[test]
fn a_candidate_refused_by_too_many_follows() {
    for size in 2..=9 {
        let (mut node, round) = One::pre_candidate(size);
        for voter in 2..=size {
            node.receive(voter, 0, pre_vote(round, true));
        }
        let enough = size - quorum(size) + 1;
        for voter in 2..2 + enough {
            assert_eq!(node.state().node_type(), NodeType::Candidate);
            node.receive(voter, 1, vote(false));
        }
        assert_eq!(node.state().node_type(), NodeType::Follower, "{size} nodes");
        node.receive(size, 1, vote(true));
        assert_eq!(node.state().node_type(), NodeType::Follower, "too late");
    }
}

/// Nor does it wait for those who did not even answer its pre-vote: they are as dead as the leader is.
#[test]
fn a_candidate_does_not_count_on_who_answered_no_pre_vote() {
    let mut node = One::candidate(5);
    node.receive(2, 1, vote(false));
    assert_eq!(
        node.state().node_type(),
        NodeType::Follower,
        "3 alone makes no quorum with it"
    );

    // One that answered late is there all the same.
    let (mut node, round) = One::pre_candidate(5);
    for voter in [2, 3, 4] {
        node.receive(voter, 0, pre_vote(round, true));
    }
    node.receive(2, 1, vote(false));
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    node.receive(3, 1, vote(true));
    node.receive(4, 1, vote(true));
    assert_eq!(node.state().node_type(), NodeType::Leader);
}

/// "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis."
/// (5.2-8)
#[test]
fn one_vote_a_term_for_who_comes_first() {
    let mut node = One::restored(3, 5, 1, None);

    let first = node.receive(2, 2, ask_vote());
    let second = node.receive(4, 2, ask_vote());
    let again = node.receive(5, 2, ask_pre_vote(1));

    assert_eq!(granted(&first.to(2)), [true]);
    assert_eq!(granted(&second.to(4)), [false]);
    assert_eq!(node.state().hard_state().voted_for(), Some(&2));
    // A pre-vote asks for the next term, in which the vote is free again.
    assert_eq!(granted(&again.to(5)), [true]);
    assert_eq!(granted(&node.receive(4, 3, ask_vote()).to(4)), [true]);
}

/// The vote is given before it is told: the state that bears it comes out first (thesis 3.8: "each server persists its
/// current term and vote").
#[test]
fn a_vote_comes_out_after_the_state_that_bears_it() {
    let mut node = One::restored(3, 3, 1, None);

    let out = node.receive(2, 2, ask_vote()).0;

    let [MsgRouter::ToSelf(state), MsgRouter::ToNode(2, message)] = &out[..] else {
        panic!("{out:?}")
    };
    assert_eq!(
        (state.term(), state.hard_state().voted_for()),
        (2, Some(&2))
    );
    assert!(matches!(
        message.kind,
        MessageKind::Vote { granted: true, .. }
    ));
}

/// Figure 2: the vote is granted "if `votedFor` is null or `candidateId`": who asks again is granted again.
#[test]
fn a_vote_asked_again_in_its_term_is_granted_again() {
    let mut node = One::restored(3, 3, 1, None);
    node.receive(2, 2, ask_vote());

    for _ in 0..3 {
        assert_eq!(granted(&node.receive(2, 2, ask_vote()).to(2)), [true]);
    }
    assert_eq!(granted(&node.receive(1, 2, ask_vote()).to(1)), [false]);
}

/// The same after a restart, even while the node withholds its vote from all others: the answer may have been lost in
/// the crash, and the vote stands.
#[test]
fn a_vote_asked_again_after_a_restart_is_granted_again() {
    let mut node = One::new(config(3, 3).restore(saved(2, Some(2), 3)));

    let again = node.receive(2, 2, ask_vote());
    let other = node.receive(1, 2, ask_vote());

    assert_eq!(granted(&again.to(2)), [true]);
    assert!(!granted(&other.to(1)).contains(&true));
    assert_eq!(node.state().hard_state().voted_for(), Some(&2));
}

/// Whoever hears the leader of a term needs no other in it: the rest of the vote that it never gave is not to be had.
#[test]
fn a_follower_gives_no_vote_in_its_leaders_term() {
    let mut node = One::follower(3, 3, 1, 1);
    node.wait(ELECTION_TIMEOUT);
    assert_eq!(node.state().hard_state().voted_for(), None);

    assert_eq!(granted(&node.receive(2, 0, ask_pre_vote(1)).to(2)), [false]);
    assert_eq!(granted(&node.receive(2, 1, ask_vote()).to(2)), [false]);
    assert_eq!(granted(&node.receive(2, 2, ask_vote()).to(2)), [true]);
}

/// A vote once given stands, whatever the voter says later: an answer that was delayed does not take it back.
#[test]
fn a_refusal_that_comes_late_takes_no_vote_back() {
    let mut node = One::candidate(5);
    node.receive(2, 1, vote(true));
    node.receive(2, 1, vote(false));
    node.receive(3, 1, vote(true));
    assert_eq!(node.state().node_type(), NodeType::Leader);
}

/// "If the leader's term (included in its RPC) is at least as large as the candidate's current term, then the
/// candidate recognizes the leader as legitimate and returns to follower state. If the term in the RPC is smaller than
/// the candidate's current term, then the candidate rejects the RPC and continues in candidate state."
/// (5.2-11) (5.2-12)
#[test]
fn a_candidate_follows_the_leader_of_its_term_or_a_newer_one() {
    for (term, follows) in [(0, false), (1, true), (2, true)] {
        let mut node = One::candidate(3);

        let said = node.receive(2, term, ping(0)).to(2);

        let state = node.state();
        if follows {
            assert_eq!(
                (state.node_type(), state.leader(), state.term()),
                (NodeType::Follower, Some(&2), term)
            );
        } else {
            assert_eq!(
                (state.node_type(), state.leader()),
                (NodeType::Candidate, None)
            );
            assert!(
                matches!(said[..], [(1, MessageKind::Pong { .. })]),
                "{said:?}"
            );
            // And it can still win.
            node.receive(3, 1, vote(true));
            assert_eq!(node.state().node_type(), NodeType::Leader);
        }
    }
}

/// Its own vote in this term is not forgotten when it follows the term's leader.
#[test]
fn a_candidate_that_follows_keeps_its_vote() {
    let mut node = One::candidate(3);
    node.receive(2, 1, ping(0));
    assert_eq!(node.state().hard_state().voted_for(), Some(&1));
}

/// "Once a candidate wins an election, it becomes leader. It then sends heartbeat messages to all of the other servers
/// to establish its authority and prevent new elections."
/// (5.2-9) (5.2-10)
#[test]
fn a_new_leader_pings_everyone_at_once() {
    for size in 2..=7 {
        let mut node = One::candidate(size);
        let mut out = None;
        for voter in 2..=quorum(size) {
            out = Some(node.receive(voter, 1, vote(true)));
        }
        let out = out.expect("more than one node");
        assert!(matches!(out.0.first(), Some(MsgRouter::ToSelf(_))));
        assert_eq!(out.receivers(is_ping), Vec::from_iter(2..=size));
        assert_eq!(node.election.poll_timeout(), Some(node.now + HEARTBEAT));
        assert_eq!(node.wait(Duration::ZERO).0, []);
    }
}

/// Section 5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate". "If the
/// logs have last entries with different terms, then the log with the later term is more up-to-date. If the logs end
/// with the same term, then whichever log is longer is more up-to-date."
/// (5.4.1-1) (5.4.1-2)
#[test]
fn a_candidate_whose_log_is_behind_gets_no_vote() {
    let cases = [
        // The voter's log, the candidate's, whether it gets the vote.
        ((1, 5), (1, 5), true),
        ((1, 5), (1, 6), true),
        ((1, 5), (1, 4), false),
        ((1, 5), (2, 1), true),
        ((2, 1), (1, 9), false),
        ((0, 0), (0, 0), true),
        ((0, 1), (0, 0), false),
    ];
    for (voters, candidates, expected) in cases {
        let position = LogPosition::new(candidates.0, candidates.1);
        let mut node = One::restored(3, 3, 4, None);
        node.election
            .set_position(LogPosition::new(voters.0, voters.1));

        let pre_vote = node.receive(
            2,
            4,
            MessageKind::PreVoteRequest {
                round: 1,
                position,
                priority: 0,
            },
        );
        let vote = node.receive(
            2,
            5,
            MessageKind::VoteRequest {
                position,
                transfer: false,
            },
        );
        // The mark frees from withholding, and from nothing else.
        let marked = node.receive(
            2,
            6,
            MessageKind::VoteRequest {
                position,
                transfer: true,
            },
        );

        let case = format!("{voters:?} {candidates:?}");
        for said in [pre_vote.to(2), vote.to(2), marked.to(2)] {
            assert_eq!(granted(&said), [expected], "{case}");
        }
    }
}

/// Who denies its vote still takes the newer term, so that the better candidate campaigns beyond it.
#[test]
fn a_vote_denied_for_the_log_still_brings_the_term() {
    let mut node = One::restored(3, 3, 4, None);
    node.election.set_position(LogPosition::new(1, 5));

    node.receive(2, 9, ask_vote());

    let hard_state = node.state().hard_state();
    assert_eq!((hard_state.term(), hard_state.voted_for()), (9, None));
}
