//! Candidates: when they give way, what they count, how long they wait.

use std::time::{Duration, Instant};

use streamraft::{Command, MessageKind, NodeType};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, MOMENT, One, ask_pre_vote, config, granted, is_vote_request,
    pre_vote, vote,
};

/// How far a turn is from the next: a spread of one second over three voters.
const STEP: Duration = Duration::from_millis(333);

fn refused_naming(round: u64, leader: u64) -> MessageKind<u64> {
    MessageKind::PreVote {
        round,
        granted: false,
        leader: Some(leader),
    }
}

fn waits(node: &One) -> Duration {
    let next: Instant = node.election.poll_timeout().expect("a voter waits");
    next.saturating_duration_since(node.now)
}

#[test]
fn of_two_candidates_as_good_the_first_goes_before_for_less_than_a_heartbeat() {
    for (time, answers) in [(HEARTBEAT - MOMENT, 0), (HEARTBEAT, 1)] {
        let mut node = One::fresh(1, 3);
        // Its campaign begins with this.
        node.wait(waits(&node));
        assert_eq!(node.state().node_type(), NodeType::Candidate);
        node.wait(time);
        let out = node.receive(2, 0, ask_pre_vote(1));
        assert_eq!(granted(&out.to(2)).len(), answers, "after {time:?}");
    }
}

#[test]
fn a_follower_that_campaigns_shows_its_lost_leader_no_longer() {
    let mut node = One::follower(1, 3, 2, 1);
    node.wait(ELECTION_TIMEOUT * 3);
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    assert_eq!(node.state().leader(), None);
}

#[test]
fn a_leader_that_a_voter_named_is_shown_until_the_candidate_stands() {
    let (mut node, round) = One::pre_candidate(3);
    node.receive(3, 0, refused_naming(round, 2));
    assert_eq!(node.state().leader(), Some(&2));

    node.campaign(&[]);
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    assert_eq!(node.state().leader(), Some(&2), "it asks once more");

    node.campaign(&[3]);
    assert_eq!(node.state().term(), 1);
    assert_eq!(node.state().leader(), None, "it stands against it");
}

#[test]
fn no_stranger_is_taken_for_the_leader_nor_the_candidate_itself() {
    for named in [9, 1] {
        let (mut node, round) = One::pre_candidate(3);
        node.receive(3, 0, refused_naming(round, named));
        assert_eq!(node.state().leader(), None, "{named}");
    }
}

#[test]
fn one_refusal_ends_no_campaign_that_the_others_can_still_win() {
    let mut node = One::candidate(5);
    node.receive(4, 1, vote(false));
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    node.receive(2, 1, vote(true));
    node.receive(3, 1, vote(true));
    assert_eq!(node.state().node_type(), NodeType::Leader);
}

#[test]
fn no_refused_pre_vote_ends_a_campaign() {
    let (mut node, round) = One::pre_candidate(3);
    for voter in [2, 3] {
        node.receive(voter, 0, pre_vote(round, false));
    }
    assert_eq!(node.state().node_type(), NodeType::Candidate);
}

#[test]
fn who_answers_an_older_campaign_is_not_taken_to_be_there() {
    let mut node = One::candidate(5);
    // 2 and 3 are there. With 2 against it, 3 alone makes no quorum, whatever 4 has said of old.
    node.receive(4, 0, pre_vote(0, true));
    node.receive(2, 1, vote(false));
    assert_eq!(node.state().node_type(), NodeType::Follower);
}

#[test]
fn who_answers_the_present_campaign_late_is_there() {
    let (mut node, round) = One::pre_candidate(5);
    node.receive(2, 0, pre_vote(round, true));
    node.receive(3, 0, pre_vote(round, true));
    assert_eq!(node.state().term(), 1);
    node.receive(4, 0, pre_vote(round, true));
    node.receive(2, 1, vote(false));
    assert_eq!(
        node.state().node_type(),
        NodeType::Candidate,
        "3 and 4 may vote for it"
    );
}

#[test]
fn a_late_vote_is_no_pre_vote_for_the_next_campaign() {
    let mut node = One::candidate(3);
    node.campaign(&[]);
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    let out = node.receive(2, 1, vote(true));
    assert_eq!(node.state().term(), 1);
    assert!(out.receivers(is_vote_request).is_empty());
}

/// Node 3, whose turn is the third, asking for votes in term 1.
fn third_candidate(tune: impl Fn(streamraft::Config<u64>) -> streamraft::Config<u64>) -> One {
    let mut node = One::new(tune(config(3, 3).bootstrap()));
    node.campaign(&[1]);
    assert_eq!(
        (node.state().node_type(), node.state().term()),
        (NodeType::Candidate, 1)
    );
    node
}

#[test]
fn who_lost_the_votes_waits_for_its_turn_only() {
    let mut node = third_candidate(|config| config);
    node.receive(1, 1, vote(false));
    assert_eq!(node.state().node_type(), NodeType::Follower);
    assert!(
        waits(&node) >= 2 * STEP && waits(&node) < 3 * STEP,
        "{:?}",
        waits(&node)
    );
}

#[test]
fn who_lost_the_votes_by_lot_waits_for_a_whole_timeout() {
    let mut node = third_candidate(streamraft::Config::lottery);
    node.receive(1, 1, vote(false));
    node.receive(2, 1, vote(false));
    assert_eq!(node.state().node_type(), NodeType::Follower);
    assert!(waits(&node) >= ELECTION_TIMEOUT);
}

#[test]
fn who_asks_for_votes_gives_pre_votes_and_goes_on() {
    let mut node = One::candidate(3);
    let out = node.receive(3, 1, ask_pre_vote(5));
    assert_eq!(granted(&out.to(3)), [true]);
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    node.receive(2, 1, vote(true));
    assert_eq!(node.state().node_type(), NodeType::Leader);
}

#[test]
fn by_lot_every_wait_is_random_over_the_whole_spread() {
    let first_wait = |seed| {
        let ordered = One::new(config(1, 3).seed(seed));
        let drawn = One::new(config(1, 3).seed(seed).lottery());
        (waits(&ordered), waits(&drawn))
    };
    let all: Vec<_> = (0..32).map(first_wait).collect();
    assert!(
        all.iter()
            .all(|(ordered, _)| *ordered < ELECTION_TIMEOUT + STEP / 32)
    );
    let late = all
        .iter()
        .filter(|(_, drawn)| *drawn > ELECTION_TIMEOUT + STEP);
    assert!(late.count() > 10);
}

#[test]
fn a_command_to_resign_is_nothing_to_a_candidate() {
    let mut node = One::candidate(3);
    let before = node.election.clone();
    node.command(Command::Resign).expect("never refused");
    assert!(node.election == before);
}

#[test]
fn by_lot_nobody_stands_aside() {
    let mut node = One::new(config(1, 3).bootstrap().lottery());
    node.campaign(&[]);
    let out = node.receive(2, 0, ask_pre_vote(1));
    assert_eq!(granted(&out.to(2)), [true]);
    assert_eq!(node.state().node_type(), NodeType::Candidate);
}
