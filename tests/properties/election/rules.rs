//! What must be true of a node after every call, one rule a function.

use std::collections::BTreeSet;
use std::time::Instant;

use streamraft::{Election, Error, Message, MessageKind, NodeState, NodeType};

use super::script::TERM_LIMIT;
use super::watch::{Call, Deed, Watch};

/// A part fits the membership, and nothing is shown that belongs to another part.
pub(crate) fn shape(me: u8, state: &NodeState<u8>) {
    let is_voter = state.nodes().contains(&me);
    assert_eq!(
        is_voter,
        state.node_type() != NodeType::Observer,
        "an observer is who has no vote: {state:?}"
    );
    let leads = state.node_type() == NodeType::Leader;
    assert!(
        leads || state.lease().is_none() && state.transferring_to().is_none(),
        "{state:?}"
    );
    assert!(
        leads || state.followers().is_empty() && state.waiting_for().is_empty(),
        "{state:?}"
    );
    assert_eq!(
        leads,
        state.leader() == Some(&me),
        "who leads knows it, and nobody else: {state:?}"
    );
    assert!(
        state.transferring_to().is_none() || state.lease().is_none(),
        "a lease is given up first: {state:?}"
    );
    assert!(
        !leads || state.hard_state().voted_for() == Some(&me),
        "a leader has its own vote: {state:?}"
    );
    let is_member = |id: &u8| state.nodes().contains(id) || state.observers().contains(id);
    assert!(
        state
            .followers()
            .iter()
            .all(|id| *id != me && is_member(id)),
        "{state:?}"
    );
    assert!(state.followers().is_sorted_by(|a, b| a < b), "{state:?}");
    for list in [state.nodes(), state.observers(), state.target()] {
        assert!(list.is_sorted_by(|a, b| a < b), "{state:?}");
    }
    assert!(
        state.hard_state().membership().term <= state.term(),
        "a membership of a term to come: {state:?}"
    );
}

/// What is refused, what is foreign and what is not due changes nothing.
pub(crate) fn idle_calls(
    now: Instant,
    before: &Election<u8>,
    call: &Call,
    outcome: &Result<(), Error>,
    after: &Election<u8>,
) {
    let is_due = before.poll_timeout().is_some_and(|at| at <= now);
    if is_due {
        return;
    }
    if outcome.is_err() || matches!(call, Call::Timeout) {
        assert!(before == after, "{call:?} changed something: {outcome:?}");
    }
    // What was not heard is counted and does nothing else.
    let counts = |election: &Election<u8>| {
        let stats = election.stats();
        (stats.foreign_cluster, stats.strangers)
    };
    if let Some((_, message)) = call.message()
        && counts(before) != counts(after)
        && message.membership.is_none()
    {
        assert_eq!(before.state(), after.state());
        assert_eq!(before.poll_timeout(), after.poll_timeout());
    }
}

/// Nobody who serves the timers is kept busy, and no voter sleeps for ever.
pub(crate) fn timers(now: Instant, call: &Call, after: &Election<u8>) {
    let next = after.poll_timeout();
    if after.is_stopped() {
        assert_eq!(next, None, "a stopped node waits for nothing");
        return;
    }
    if matches!(call, Call::Timeout) {
        assert!(
            next.is_none_or(|at| at > now),
            "it wants to be called again at once"
        );
    }
    let state = after.state();
    let can_campaign = state.node_type() != NodeType::Observer && state.term() < TERM_LIMIT;
    assert!(
        next.is_some() || !can_campaign,
        "it waits for nothing: {state:?}"
    );
}

/// Terms never go back, nor do memberships. A vote stands for as long as its term does.
pub(crate) fn order(deed: &Deed<'_>) {
    let (before, after) = (deed.before.hard_state(), deed.after.hard_state());
    assert!(
        after.term() >= before.term(),
        "the term goes back from {} to {}",
        before.term(),
        after.term()
    );
    if after.term() == before.term() && before.voted_for().is_some() {
        assert_eq!(
            before.voted_for(),
            after.voted_for(),
            "a second vote in term {}",
            after.term()
        );
    }
    let (old, new) = (before.membership(), after.membership());
    assert!(
        new.stamp() >= old.stamp(),
        "a membership goes back from {} to {}",
        old.stamp(),
        new.stamp()
    );
    assert!(
        new.stamp() > old.stamp() || new == old,
        "two memberships under {}",
        new.stamp()
    );
}

/// It stands only with a quorum of pre-votes or by a leader's order, and leads only with a quorum of votes.
pub(crate) fn elected(watch: &Watch, deed: &Deed<'_>) {
    let (before, after) = (deed.before, deed.after);
    // By the voters of before, or by those that the very message has brought.
    let are_quorum = |ids: &BTreeSet<u8>| {
        [before.nodes(), after.nodes()].into_iter().any(|voters| {
            let others = ids.iter().filter(|id| voters.contains(id)).count();
            others + 1 > voters.len() / 2
        })
    };
    let stands = after.term() > before.term() && after.hard_state().voted_for() == Some(&watch.me);
    if stands {
        let is_ordered = deed.call.message().is_some_and(|(_, message)| {
            message.kind == MessageKind::TimeoutNow
                && after.term() == message.term.max(before.term()) + 1
        });
        let is_next = after.term() == before.term() + 1;
        let renews = is_next && before.transferring_to().is_some();
        let is_alone = are_quorum(&BTreeSet::new());
        let has_pre_votes = is_alone || watch.pre_votes.values().any(are_quorum);
        assert!(
            is_ordered || renews || is_next && has_pre_votes,
            "it stands without being asked to: {deed:?}"
        );
    }
    let led = before.node_type() == NodeType::Leader && before.term() == after.term();
    if after.node_type() == NodeType::Leader && !led {
        assert!(
            are_quorum(&watch.grants),
            "too few votes make a leader: {deed:?}"
        );
    }
}

/// A lease is never longer than what a quorum has confirmed, nor is leadership.
pub(crate) fn trusted(watch: &Watch, deed: &Deed<'_>) {
    if !watch.is_clock_sane {
        return;
    }
    if let Some(end) = deed.after.lease() {
        let most = watch.confirmed.map(|sent| sent + watch.lease_span);
        assert!(
            most.is_some_and(|most| end <= most),
            "a lease that nobody has confirmed: {:?}",
            deed.after
        );
    }
    let looks_at_the_clock = matches!(deed.call, Call::Input(_) | Call::Timeout);
    if let Some(since) = watch.leads_since
        && looks_at_the_clock
        && deed.after.nodes().len() > 1
    {
        let trusted = watch.confirmed.map_or(since, |sent| sent.max(since));
        assert!(
            deed.now < trusted + watch.leadership_timeout,
            "it leads on and nobody answers"
        );
    }
}

/// Who hears a leader votes for no other, and a leader whose lease holds for nobody.
pub(crate) fn withheld(watch: &Watch, deed: &Deed<'_>) {
    let Some((
        from,
        Message {
            kind: MessageKind::VoteRequest {
                transfer: false, ..
            },
            membership,
            ..
        },
    )) = deed.call.message()
    else {
        return;
    };
    let (before, after) = (deed.before, deed.after);
    // A membership of a later term was made by a leader of that term: this one's lease was none any more, or somebody lies.
    let of_later_leader = membership
        .as_ref()
        .is_some_and(|membership| membership.stamp().term > before.term());
    let withholds = if before.node_type() == NodeType::Leader {
        before.lease().is_some_and(|end| deed.now < end) && !of_later_leader
    } else {
        watch.withheld_until.is_some_and(|end| deed.now < end)
    };
    if !(withholds && watch.is_clock_sane) {
        return;
    }
    let vote = |state: &NodeState<u8>| (state.term(), state.hard_state().voted_for().copied());
    assert!(
        vote(before) == vote(after) || vote(after).1 != Some(from),
        "a vote that was to be withheld"
    );
    assert!(
        membership.is_some() || before.term() == after.term(),
        "the term of a vote that was withheld"
    );
}

/// Nothing leaves before the state that it depends on.
pub(crate) fn written_ahead(me: u8, shown: &NodeState<u8>, to: u8, message: &Message<u8>) {
    let saved = shown.hard_state();
    assert_eq!(
        message.term,
        saved.term(),
        "a term that was not shown: {message:?}"
    );
    let held = saved.membership();
    assert_eq!(
        message.stamp,
        held.stamp(),
        "a membership that was not shown"
    );
    if let Some(told) = &message.membership {
        let mut told = (**told).clone();
        if matches!(message.kind, MessageKind::Pong { .. }) {
            // Its wish, said as a membership with another target.
            told.target.clone_from(&held.target);
        }
        assert_eq!(told, **held, "a membership that was not shown");
    }
    match &message.kind {
        MessageKind::Vote { granted: true, .. } => {
            assert_eq!(saved.voted_for(), Some(&to), "a vote that was not shown");
        }
        MessageKind::VoteRequest { .. } => {
            assert_eq!(shown.node_type(), NodeType::Candidate);
            assert_eq!(saved.voted_for(), Some(&me), "its own vote was not shown");
        }
        MessageKind::PreVoteRequest { .. } => assert_eq!(shown.node_type(), NodeType::Candidate),
        MessageKind::Ping { .. } => assert_eq!(
            shown.node_type(),
            NodeType::Leader,
            "it pings before it says that it leads"
        ),
        MessageKind::TimeoutNow => assert_eq!(
            shown.lease(),
            None,
            "it hands over what it has not given up"
        ),
        _ => {}
    }
}

/// When all was taken out, all was shown, but for a lease that was merely prolonged.
pub(crate) fn all_shown(shown: &NodeState<u8>, state: &NodeState<u8>) {
    assert_eq!(shown.hard_state(), state.hard_state());
    assert_eq!(shown.node_type(), state.node_type());
    assert_eq!(shown.leader(), state.leader());
    assert_eq!(shown.followers(), state.followers());
    assert_eq!(shown.transferring_to(), state.transferring_to());
    assert_eq!(shown.waiting_for(), state.waiting_for());
    assert_eq!(shown.lease().is_some(), state.lease().is_some());
    assert!(shown.lease() <= state.lease(), "a lease was shortened");
}
