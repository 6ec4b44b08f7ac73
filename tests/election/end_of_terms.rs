//! The end of the counter of terms, which only forgers get to: nothing there may undo what was promised.

use streamraft::{Config, HardState, Inbound, Membership, Message, MessageKind, Stamp};

use crate::one::{ELECTION_TIMEOUT, One, config};

/// The last term in which a node is heard, and from which one can be restored.
const LAST: u64 = u64::MAX - (1 << 40);

fn at(term: u64) -> One {
    let saved = HardState::new(term, Some(2), Membership::initial(1..=3));
    let mut one = One::new(config(1, 3).restore(saved));
    one.wait(ELECTION_TIMEOUT);
    one
}

#[test]
fn an_order_in_the_last_term_leaves_a_state_that_can_be_restored() {
    let mut one = at(LAST);
    let order = Message::new(LAST, Stamp::new(0, 1), MessageKind::TimeoutNow);
    one.election
        .handle(one.now, Inbound::FromNode(2, order))
        .expect("messages are no mistakes");
    let saved = one.state().hard_state().clone();
    let restored = Config::with_id(1, 1..=3)
        .expect("good settings")
        .restore(saved);
    assert_eq!(restored.check(), Ok(()));
}

#[test]
fn voters_forced_in_the_last_term_forget_no_vote() {
    let mut one = at(LAST);
    let before = one.state().hard_state().clone();
    let _ = one.election.force_nodes(one.now, vec![1]);
    let after = one.state().hard_state();
    assert!(after.term() > before.term() || after.voted_for() == before.voted_for());
    assert!(
        after.membership() == before.membership()
            || after.membership().stamp() > before.membership().stamp()
    );
}

#[test]
fn forcing_voters_never_takes_the_term_back() {
    let mut one = at(LAST);
    let order = Message::new(LAST, Stamp::new(0, 1), MessageKind::TimeoutNow);
    one.election
        .handle(one.now, Inbound::FromNode(2, order))
        .expect("messages are no mistakes");
    let term = one.state().term();
    let _ = one.election.force_nodes(one.now, vec![1]);
    assert!(one.state().term() >= term);
}
