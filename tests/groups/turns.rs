//! Of many groups that have something to say, each has its turn.

use std::collections::BTreeSet;
use std::task::Poll;

use tokio::time::advance;

use crate::hand::{
    ELECTION, HEARTBEAT, Kind, alone, config, drain, hear, poll, sent, vote_request,
};
use crate::world::World;

#[tokio::test(start_paused = true)]
async fn a_group_that_always_has_something_to_say_holds_up_no_other() {
    let mut machine = alone(0..100);
    machine.insert(100, config(1, 3)).expect("a new key");
    let mut said = BTreeSet::new();
    for term in 1..=400 {
        // A state and a vote, every time.
        hear(&mut machine, 100, 2, term, vote_request());
        let Poll::Ready(Some((key, _))) = poll(&mut machine) else {
            panic!("there is always something");
        };
        said.insert(key);
    }
    assert_eq!(said.len(), 101, "all were heard");
}

/// The clock decides, also while there is something to say: or an owner that takes its time for each item, or a group
/// that is spoken to without end, would keep the beats of all groups from leaving.
#[tokio::test(start_paused = true)]
async fn what_falls_due_is_done_though_there_is_always_something_to_say() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    let mut machine = world.kill(1);
    machine.insert(100, config(1, 3)).expect("a new key");
    let mut beats = 0;
    for term in 1..=400 {
        advance(HEARTBEAT / 10).await;
        hear(&mut machine, 100, 2, term, vote_request());
        let Poll::Ready(Some(item)) = poll(&mut machine) else {
            panic!("there is always something");
        };
        beats += usize::from(
            sent(&item).is_some_and(|(_, _, message)| matches!(message.kind, Kind::Beat(_))),
        );
    }
    assert!(beats >= 8, "{beats} beats in 40 intervals");
}

#[tokio::test(start_paused = true)]
async fn what_waits_when_a_leadership_runs_out_does_not_leave_before_its_owner_is_told() {
    let mut world = World::with(3, 0..30);
    world.delay = crate::hand::ms(1);
    // They ping by themselves before they are attached.
    world
        .until("its groups are led", |world| {
            world.said_to_be_led(&(0..30)) == 30
        })
        .await;
    world.cut.extend([(1, 2), (1, 3), (2, 1), (3, 1)]);
    let mut machine = world.kill(1);
    drain(&mut machine);
    advance(HEARTBEAT).await;
    let first = poll(&mut machine);
    assert!(first.is_ready(), "half of it has left");
    advance(10 * ELECTION).await;
    for item in drain(&mut machine) {
        if let Some((key, _, message)) = sent(&item) {
            let is_ping = matches!(message.kind, Kind::Ping { .. });
            assert!(!is_ping, "{key}: a heartbeat of a leadership that ran out");
        }
    }
}
