//! How long a cluster is without a leader. The bench `failover` measures it; here stands what must not get worse.

use std::time::Duration;

use streamraft::{MessageKind, NodeType};

use crate::one::{ELECTION_TIMEOUT, HEARTBEAT, One, ask_pre_vote, ping_ranked};
use crate::world::{World, ms};

/// Kills the leader of a cluster at a moment that the seed says. Answers after what time another was elected, and in
/// how many terms.
fn leader_dies(world: &mut World) -> (Duration, u64) {
    let (leader, loss) = (world.settle(ms(5_000)), std::mem::take(&mut world.loss));
    // Steady, and somewhere between two heartbeats.
    world.run(ms(1_000) + Duration::from_micros(world.now % 150_000));
    let term = world.state(leader).term();
    world.loss = loss;
    world.kill(leader);
    let elected = |world: &World| {
        let mut live = world.live().into_iter();
        live.any(|id| {
            world.state(id).node_type() == NodeType::Leader && world.state(id).term() > term
        })
    };
    let took = world.run_until(ms(5_000), elected).expect("a quorum lives");
    let newest = world.live().iter().map(|id| world.state(*id).term()).max();
    (took, newest.expect("somebody lives") - term)
}

/// The paper's first row in figure 16: turns are a millisecond apart and a message takes 7.5 ms, so that everybody
/// campaigns before anybody has heard of another.
#[test]
fn turns_that_are_closer_than_messages_split_no_votes() {
    for seed in 0..100 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| {
            config
                .election_timeout(ms(150))
                .random_timeout(ms(5))
                .heartbeat_interval(ms(75))
        });
        world.delay = (Duration::from_micros(7_500), Duration::from_micros(7_500));
        let (took, terms) = leader_dies(&mut world);
        assert_eq!(terms, 1, "seed {seed}: a split vote");
        assert!(took <= ms(190), "seed {seed}: {took:?}");
    }
}

/// A lost request is repeated long before the next heartbeat, and no further election timeout passes.
#[test]
fn lost_messages_cost_little() {
    let mut times = Vec::new();
    for seed in 0..200 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5], |config| {
            config
                .election_timeout(ms(150))
                .random_timeout(ms(150))
                .heartbeat_interval(ms(50))
        });
        world.delay = (ms(1), ms(3));
        world.loss = 10;
        times.push(leader_dies(&mut world).0);
    }
    times.sort_unstable();
    let p95 = times[times.len() * 95 / 100];
    assert!(
        p95 <= ms(165),
        "p95 {p95:?}, of {:?} at the most",
        times.last()
    );
}

/// Whoever says yes to a candidate lets it go first: once in a silence, so that one who cannot win holds nobody back.
#[test]
fn a_voter_lets_the_candidate_that_it_would_vote_for_go_first_once_in_a_silence() {
    // Followers in term 1 of leader 3, the first in its order; the silence begins now.
    let mut node = One::fresh(2, 5);
    for round in [0, 1_000] {
        node.receive(3, 1, ping_ranked(round, 1));
        node.wait(ELECTION_TIMEOUT);
        let own_turn = node.election.poll_timeout().expect("it waits for its turn");
        assert!(
            own_turn <= node.now + ms(210),
            "the second of five, a fifth of a second after"
        );
        node.wait(ms(190));

        let out = node.receive(1, 1, ask_pre_vote(round + 1));
        assert!(
            out.to(1)
                .iter()
                .any(|(_, kind)| matches!(kind, MessageKind::PreVote { granted: true, .. }))
        );
        let later = node.election.poll_timeout().expect("it waits");
        assert_eq!(later, node.now + HEARTBEAT, "it stands aside");

        node.wait(HEARTBEAT / 2);
        node.receive(4, 1, ask_pre_vote(round + 2));
        assert_eq!(
            node.election.poll_timeout(),
            Some(later),
            "and for no second one"
        );
    }
}
