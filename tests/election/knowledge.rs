//! What a leader takes a peer to hold: what counts towards a membership step, and who is told anew.

use streamraft::{Command, MessageKind, Stamp};

use crate::one::{ELECTION_TIMEOUT, HEARTBEAT, One, Outputs, ask_pre_vote, ping, pong};

/// Whether the messages to this node bring the membership.
fn brings_membership(out: &Outputs, to: u64) -> bool {
    let mut messages = out.messages().into_iter().filter(|(id, _)| *id == to);
    messages.any(|(_, message)| message.membership.is_some())
}

/// An answer to a ping from before the installation does not count, although its sender holds the new membership:
/// its vote may be free sooner than the lease that an older quorum has confirmed.
#[test]
fn only_pings_answered_since_the_installation_confirm_a_membership() {
    let mut node = One::leader_with_lease(3);
    node.wait(HEARTBEAT);
    node.wait(HEARTBEAT / 2);
    node.command(Command::SetNodes(vec![1, 2, 3, 4]))
        .expect("a good list");
    let (before, since) = (100_000, 150_000);
    node.receive(4, 1, pong(since));

    node.receive(2, 1, pong(before));
    node.wait(HEARTBEAT / 4);
    assert_eq!(
        node.state().nodes(),
        [1, 2, 3],
        "2 holds it by its stamp, and answered too old a ping"
    );

    node.receive(2, 1, pong(since));
    node.wait(HEARTBEAT);
    assert_eq!(node.state().nodes(), [1, 2, 3, 4]);
}

#[test]
fn a_peer_that_speaks_under_an_older_stamp_is_told_anew() {
    let mut node = One::leader_with_lease(3);
    assert!(
        !brings_membership(&node.wait_answered(HEARTBEAT, &[2, 3]), 2),
        "it holds it"
    );

    node.receive_under(Stamp::new(0, 1), 2, 1, ask_pre_vote(1));

    assert!(brings_membership(&node.wait_answered(HEARTBEAT, &[3]), 2));
}

#[test]
fn a_peer_that_was_silent_for_an_election_timeout_is_told_anew() {
    let mut node = One::leader_with_lease(3);
    assert!(
        !brings_membership(&node.wait_answered(HEARTBEAT, &[2, 3]), 2),
        "it holds it"
    );

    node.wait_answered(ELECTION_TIMEOUT + HEARTBEAT, &[3]);

    assert!(brings_membership(&node.wait_answered(HEARTBEAT, &[3]), 2));
}

/// A pre-vote that was withheld for one leader's sake is nothing to answer when another's window ends.
#[test]
fn what_was_withheld_is_forgotten_with_the_part_that_a_node_plays() {
    let mut node = One::follower(5, 5, 1, 1);
    node.receive(2, 5, ask_pre_vote(1));
    // Another leads a newer term, and in its window another node asks.
    node.receive(3, 2, ping(0));
    node.receive(4, 2, ask_pre_vote(9));

    let answered = node.wait(ELECTION_TIMEOUT);

    let yes = |kind: &MessageKind<u64>| matches!(kind, MessageKind::PreVote { granted: true, .. });
    assert_eq!(
        answered.receivers(yes),
        [4],
        "2 asked in a campaign that is long over"
    );
}
