//! Paper section 5.2: when a follower campaigns.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use streamraft::{Config, NodeType};

use crate::one::{
    ELECTION_TIMEOUT, HEARTBEAT, MOMENT, One, ask_vote, config, granted, is_ping,
    is_pre_vote_request, just_before, ping, ping_ranked, pre_vote, saved, vote,
};
use crate::world::ms;

/// "A server remains in follower state as long as it receives valid RPCs from a leader or candidate."
/// (5.1-8) (5.2-2)
#[test]
fn a_follower_that_hears_its_leader_never_campaigns() {
    let mut node = One::follower(3, 3, 1, 1);
    for round in 1..1_000 {
        let out = node.wait(just_before(ELECTION_TIMEOUT));
        assert_eq!(out.0, [], "round {round}");
        node.receive(1, 1, ping(round));
    }
}

/// Who has just voted gives the candidate time to win.
#[test]
fn a_voter_waits_anew_for_the_candidate_that_it_voted_for() {
    let mut node = One::restored(3, 3, 1, None);
    node.receive(2, 2, ask_vote());
    assert_eq!(node.wait(just_before(ELECTION_TIMEOUT)).0, []);
}

/// "If a follower receives no communication over a period of time called the election timeout, then it assumes there is
/// no viable leader and begins an election to choose a new leader."
/// (5.2-4) (4.2.3-3)
#[test]
fn a_follower_campaigns_after_an_election_timeout_of_silence_and_not_before() {
    for seed in 0..100 {
        let mut node = One::new(config(3, 3).seed(seed));
        node.receive(1, 1, ping(0));

        assert_eq!(node.wait(just_before(ELECTION_TIMEOUT)).0, []);
        let out = node.wait(ELECTION_TIMEOUT + MOMENT);

        assert_eq!(out.receivers(is_pre_vote_request)[..2], [1, 2]);
        assert_eq!(node.state().node_type(), NodeType::Candidate);
    }
}

/// "Election timeouts are chosen randomly from a fixed interval": here from one election timeout to that plus the
/// spread, for who was told no rank.
/// (5.2-14)
#[test]
fn timeouts_are_spread_over_the_whole_interval() {
    let mut waits = BTreeSet::new();
    for seed in 0..500 {
        let mut node = One::new(config(3, 3).seed(seed));
        node.receive(1, 1, ping(0));
        let campaign = node.election.poll_timeout().expect("a voter waits");
        waits.insert(campaign - node.now);
    }
    let (least, most) = (waits.first().expect("many"), waits.last().expect("many"));
    assert!(*least >= ELECTION_TIMEOUT && *most <= ELECTION_TIMEOUT * 2);
    assert!(
        *least < ms(1_020) && *most > ms(1_980),
        "{least:?} to {most:?}"
    );
    assert!(waits.len() > 490, "drawn from too few values");
}

/// "Each candidate restarts its randomized election timeout at the start of an election": a new draw each time, also
/// for a node whose turn is fixed.
/// (5.2-15)
#[test]
fn every_campaign_draws_its_own_time() {
    for tune in [|config: Config<u64>| config, Config::lottery] {
        let mut node = One::new(tune(config(1, 3)));
        let (mut round, mut last) = next_campaign(&mut node, None);
        let mut times = BTreeSet::new();
        for _ in 0..20 {
            let at;
            (round, at) = next_campaign(&mut node, Some(round));
            times.insert(at - last);
            last = at;
        }
        assert_eq!(times.len(), 20, "{times:?}");
    }
}

/// The round of its next campaign, and when that began.
fn next_campaign(node: &mut One, before: Option<u64>) -> (u64, Instant) {
    loop {
        let next = node.election.poll_timeout().expect("a voter waits");
        let round = node.wait(next - node.now).round_asked();
        if let Some(round) = round.filter(|round| before != Some(*round)) {
            return (round, node.now);
        }
    }
}

/// "When this happens, each candidate will time out and start a new election by incrementing its term and initiating
/// another round of `RequestVote` RPCs." With pre-vote, the term waits until the pre-vote is won.
/// (5.2-13)
#[test]
fn a_candidate_without_a_majority_starts_over_in_the_next_term() {
    let mut node = One::candidate(5);
    node.receive(2, 1, vote(true));

    let out = node.campaign(&[2, 3]);

    assert_eq!(
        (node.state().node_type(), node.state().term()),
        (NodeType::Candidate, 2)
    );
    assert!(out.messages().iter().all(|(_, message)| message.term == 2));
    // The vote of the term before is none in this one.
    node.receive(3, 2, vote(true));
    assert_eq!(node.state().node_type(), NodeType::Candidate);
    node.receive(4, 2, vote(true));
    assert_eq!(node.state().node_type(), NodeType::Leader);
}

/// A candidate does not wait for its whole time when an answer is lost: it asks again, but only who has not granted.
/// (5.1-7)
#[test]
fn a_candidate_asks_those_who_have_not_granted_again_at_every_heartbeat() {
    let (mut node, round) = One::pre_candidate(5);
    node.receive(3, 0, pre_vote(round, true));
    node.receive(4, 0, pre_vote(round, false));

    let out = node.wait(HEARTBEAT);

    assert_eq!(out.receivers(is_pre_vote_request), [2, 4, 5]);
    assert_eq!(out.round_asked(), Some(round));
}

/// A ranked follower counts its turn from when it last heard the leader, too.
#[test]
fn a_ranked_follower_waits_an_election_timeout_and_then_its_turn() {
    let step = ELECTION_TIMEOUT / 3;
    for (rank, turn) in [(0, Duration::ZERO), (1, step), (2, step * 2)] {
        let mut node = One::fresh(3, 3);
        node.receive(1, 1, ping_ranked(0, rank));
        node.wait(HEARTBEAT);
        node.receive(1, 1, ping_ranked(100_000, rank));

        let wait = node.election.poll_timeout().expect("a voter waits") - node.now;

        let (soonest, latest) = (ELECTION_TIMEOUT + turn, ELECTION_TIMEOUT + turn + step / 16);
        assert!(
            (soonest..=latest).contains(&wait),
            "rank {rank} waits {wait:?}"
        );
    }
    // Its vote is free no later for that.
    let mut node = One::fresh(3, 3);
    node.receive(1, 1, ping_ranked(0, 2));
    node.wait(ELECTION_TIMEOUT);
    assert_eq!(granted(&node.receive(2, 2, ask_vote()).to(2)), [true]);
}

/// "When servers start up, they begin as followers": a new one, and one that was a leader when it went down. (5.2-1)
#[test]
fn a_server_begins_as_a_follower() {
    let led = saved(7, Some(1), 3);
    for config in [
        config(1, 3),
        config(1, 3).bootstrap(),
        config(1, 3).restore(led),
    ] {
        let mut node = One::new(config);
        let state = node.state();
        assert_eq!(state.node_type(), NodeType::Follower);
        assert_eq!((state.leader(), state.lease()), (None, None));
        assert_eq!(node.drain().0, [], "and it has nothing to say");
    }
}

/// "Leaders send periodic heartbeats [...] to all followers in order to maintain their authority." (5.2-3)
#[test]
fn a_leader_pings_everyone_at_every_interval() {
    let mut node = One::leader_with_lease(5);
    for beat in 1..100 {
        let early = node.wait_answered(just_before(HEARTBEAT), &[2, 3]);
        assert_eq!(early.0, [], "beat {beat}");
        let out = node.wait_answered(MOMENT, &[2, 3]);
        assert_eq!(out.receivers(is_ping), [2, 3, 4, 5], "beat {beat}");
    }
    assert_eq!(node.state().node_type(), NodeType::Leader);
}
