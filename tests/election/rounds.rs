//! Rounds of one leadership are not those of another, even of the same node.

use streamraft::MessageKind;

use crate::one::{HEARTBEAT, One, ping};

/// The same node has led before and been elected anew. A ping of its first leadership comes late; who answers it has
/// heard nothing of the second one lately, and withholds its vote for neither.
#[test]
fn an_answer_to_a_ping_of_an_older_term_prolongs_no_lease_in_a_newer_one() {
    let mut leader = One::leader_with_lease(3);
    leader.wait(HEARTBEAT);
    let before = leader.state().lease();
    let sent = u64::try_from(HEARTBEAT.as_micros()).expect("it is short");

    let mut follower = One::follower(2, 3, 1, 1);
    let answer = follower.receive(1, 0, ping(sent)).to(1);
    let [(1, pong @ MessageKind::Pong { .. })] = answer.as_slice() else {
        panic!("it tells the newer term: {answer:?}");
    };
    let late = leader.receive(2, 1, pong.clone());
    assert!(late.states().is_empty());
    assert_eq!(leader.state().lease(), before);

    let answer = follower.receive(1, 1, ping(sent)).to(1);
    leader.receive(2, 1, answer[0].1.clone());
    assert!(leader.state().lease() > before, "this one counts");
}
