//! The view of a group's leadership by the rest of a program: when it is shown, what prolongs it, how it ends.

use std::future::{Future, pending};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::{FutureExt, SinkExt, StreamExt, stream};
use futures_test::task::new_count_waker;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use streamraft::{Command, Leadership, NodeType, WhileLeaderExt};

use crate::hand::{
    ELECTION, HEARTBEAT, LEASE, Machine, alone, config, drain, hear, ms, ping, poll, shown,
    vote_request,
};
use crate::world::{World, now};

/// Three machines at rest with these groups, and a view of group 0, which machine 1 leads.
async fn led() -> (World<Machine>, Leadership<u64>) {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    let view = world.machine(1).leadership(&0).expect("it is there");
    assert!(view.is_leader());
    (world, view)
}

#[tokio::test(start_paused = true)]
async fn leadership_is_shown_when_the_owner_polls_on_and_not_before() {
    let mut machine = alone([1, 2]);
    let early = machine.leadership(&1).expect("it is there");
    let Poll::Ready(Some(item)) = poll(&mut machine) else {
        panic!("it leads at once");
    };
    let (first, state) = shown(&item).expect("a state");
    assert_eq!(state.node_type(), NodeType::Leader);
    let second = 3 - first;
    let [taken, waiting] =
        [first, second].map(|key| machine.leadership(&key).expect("it is there"));
    assert!(
        !early.is_leader() && !taken.is_leader(),
        "its owner may be saving that state at this moment"
    );
    assert!(!waiting.is_leader(), "nobody has seen its state yet");
    assert!(machine.is_leader(&first), "it was elected all the same");

    assert!(poll(&mut machine).is_ready());
    assert!(taken.is_leader() && !waiting.is_leader());
    assert!(poll(&mut machine).is_pending());
    assert!(waiting.is_leader() && early.is_leader());
    assert_eq!(waiting.token().map(streamraft::Token::get), Some(1));
    let late = machine.leadership(&second).expect("it is there");
    assert_eq!(
        late.token(),
        waiting.token(),
        "and by a view that is made now"
    );
}

#[tokio::test(start_paused = true)]
async fn a_view_of_no_group_is_none_and_one_of_a_follower_shows_nothing() {
    let mut machine = alone([]);
    assert!(machine.leadership(&1).is_none());
    machine.insert(1, config(1, 3)).expect("a new key");
    let view = machine.leadership(&1).expect("it is there");
    hear(&mut machine, 1, 2, 5, ping(0));
    drain(&mut machine);
    assert!(!view.is_leader() && view.lease().is_none() && view.token().is_none());
    assert_eq!(view.state().leader(), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn beats_alone_prolong_it_far_beyond_the_first_lease() {
    let (mut world, view) = led().await;
    let token = view.token().expect("it leads");
    let mut lost = pin!(view.lost(token));
    world.spoke.clear();
    for _ in 0..6_000 {
        world.run(HEARTBEAT).await;
        assert!(lost.as_mut().now_or_never().is_none());
        let lease = view.lease().expect("it leads") - now();
        assert!(
            lease <= LEASE && lease >= LEASE - 2 * HEARTBEAT,
            "{lease:?}"
        );
        assert_eq!(
            view.lease(),
            world.machines[&1].state(&0).and_then(|state| state.lease())
        );
    }
    assert_eq!(
        (view.token(), world.spoke.len()),
        (Some(token), 0),
        "no group has said a word"
    );
}

#[tokio::test(start_paused = true)]
async fn it_is_over_at_the_leases_end_though_nobody_polls() {
    let (mut world, view) = led().await;
    let token = view.token().expect("it leads");
    world.run(ms(1_234)).await;
    let end = view.lease().expect("it leads");
    view.lost(token).await;
    let late = now().checked_duration_since(end);
    assert!(
        late.is_some_and(|late| late <= ms(2)),
        "a timer's resolution: {late:?}"
    );
    assert!(!view.is_leader() && view.lease().is_none() && view.token().is_none());
    // The machine is polled again before its leadership has expired, and the beats that waited are answered.
    world.run(ELECTION).await;
    assert!(world.machines[&1].is_leader(&0));
    assert!(
        view.is_leader(),
        "as far as the machine leads, so does the view"
    );
}

#[tokio::test(start_paused = true)]
async fn every_loss_is_seen_at_once_and_before_it_comes_out() {
    type Loss = (&'static str, fn(&mut Machine));
    let losses: [Loss; 8] = [
        ("removal", |machine| {
            drop(machine.remove(&0).expect("it is there"));
        }),
        ("resign", |machine| {
            let sent = machine.send((0, Command::Resign.into())).now_or_never();
            sent.expect("ready").expect("allowed");
        }),
        ("stop in the group", |machine| {
            let sent = machine.send((0, Command::Stop.into())).now_or_never();
            sent.expect("ready").expect("allowed");
        }),
        ("transfer", |machine| {
            machine.transfer(&0, 2).expect("allowed");
        }),
        ("stop", Machine::stop),
        ("a vote in a higher term, by transfer", |machine| {
            hear(machine, 0, 2, 99, vote_request());
        }),
        ("a leader in a higher term", |machine| {
            hear(machine, 0, 2, 99, ping(0));
        }),
        ("a refusal in a higher term", |machine| {
            let kind = streamraft::MessageKind::Vote {
                granted: false,
                leader: None,
            };
            hear(machine, 0, 2, 99, kind);
        }),
    ];
    for (name, lose) in losses {
        let (mut world, view) = led().await;
        let token = view.token().expect("it leads");
        let other = world.machine(1).leadership(&3).expect("it is there");
        let copy = view.clone();
        lose(world.machine(1));
        assert!(
            !view.is_leader() && view.lease().is_none() && copy.token().is_none(),
            "{name}"
        );
        assert!(view.lost(token).now_or_never().is_some(), "{name}");
        assert!(other.is_leader() != (name == "stop"), "{name}");
        // Beats that are answered later bring nothing back.
        world.run(ELECTION / 4).await;
        assert!(view.token() != Some(token), "{name}");
        world.run(4 * ELECTION).await;
        assert!(view.token() != Some(token), "{name}");
    }
    let (mut world, view) = led().await;
    drop(world.kill(1));
    assert!(!view.is_leader(), "who is gone does not lead");
}

#[tokio::test(start_paused = true)]
async fn a_view_ends_with_its_group_and_a_new_one_is_of_the_new_group() {
    let (mut world, mut view) = led().await;
    assert!(view.next().now_or_never().flatten().is_some());
    world.machine(1).remove(&0).expect("it is there");
    assert_eq!(
        view.next().now_or_never(),
        Some(None),
        "nobody tells it anything any more"
    );
    world.insert(now(), 1, 0, config(1, 3).leader_priority(1));
    let new = world.machine(1).leadership(&0).expect("it is there again");
    world
        .until("it leads again", |world| world.leader(now(), 0) == Some(1))
        .await;
    world.settle(now());
    assert!(new.is_leader() && !view.is_leader());
}

#[tokio::test(start_paused = true)]
async fn lead_lost_run_and_streams_follow_one_group() {
    let mut world = World::with(3, 0..9);
    let view = world.machine(1).leadership(&0).expect("it is there");
    let mut states = view.clone();
    let (waker, wakes) = new_count_waker();
    let cx = &mut Context::from_waker(&waker);
    let mut lead = pin!(view.lead());
    let mut guarded = pin!(stream::repeat(7).while_leader(&view));
    assert!(lead.as_mut().poll(cx).is_pending());
    assert_eq!(
        states
            .next()
            .now_or_never()
            .flatten()
            .map(|state| state.term()),
        Some(0)
    );
    world.rest(0..9).await;
    assert!(wakes.get() > 0);
    let token = lead.now_or_never().expect("it leads");
    assert_eq!(Some(token), view.token());
    assert_eq!(guarded.next().now_or_never(), Some(Some(7)));

    let mut work = pin!(view.run(|_| pending::<()>()));
    assert!(work.as_mut().poll(cx).is_pending());
    world.run(20 * ELECTION).await;
    assert!(
        work.as_mut().poll(cx).is_pending(),
        "for as long as beats prolong it"
    );
    assert_eq!(guarded.next().now_or_never(), Some(Some(7)));
    let latest = states
        .next()
        .now_or_never()
        .flatten()
        .expect("it has changed");
    assert_eq!(latest.node_type(), NodeType::Leader);
    let before = wakes.get();
    let resigned = world.machine(1).send((0, Command::Resign.into())).await;
    assert_eq!(resigned, Ok(()));
    assert!(wakes.get() > before);
    assert_eq!(work.now_or_never(), Some(None));
    assert_eq!(guarded.next().now_or_never(), Some(None));
}

/// Only the answers are lost, so that no follower campaigns; leadership expires later than the lease.
#[tokio::test(start_paused = true)]
async fn who_waits_hears_of_a_lease_that_had_run_out_and_is_prolonged_again() {
    let tune = |config: streamraft::Config<u64>| config.leadership_timeout(5 * ELECTION);
    let mut world = World::tuned(3, tune).filled(0..9, |config, _| tune(config));
    world.rest(0..9).await;
    let view = world.machine(1).leadership(&0).expect("it is there");
    let token = view.token().expect("it leads");
    world.cut.extend([(2, 1), (3, 1)]);
    world.run(2 * ELECTION).await;
    assert!(!view.is_leader());
    let (waker, wakes) = new_count_waker();
    let mut lead = pin!(view.lead());
    assert!(
        lead.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    world.cut.clear();
    world.run(2 * HEARTBEAT).await;
    assert!(wakes.get() > 0, "or it would wait for ever");
    assert_eq!(lead.now_or_never(), Some(token), "the same leadership");
    let mut work = pin!(view.run(|_| pending::<()>()));
    assert!(work.as_mut().now_or_never().is_none());
    world.rest(0..9).await;
    assert!(work.now_or_never().is_none() && view.is_leader());
}

/// The links of the group are heard all the while, for the sake of others.
#[tokio::test(start_paused = true)]
async fn answers_to_beats_count_no_more_for_a_group_that_its_followers_have_detached() {
    let (mut world, view) = led().await;
    for follower in [2, 3] {
        world.machine(follower).remove(&0).expect("it is there");
    }
    // The news come with the answers to the next beats; what was sent before them counts.
    let last = now() + HEARTBEAT;
    for _ in 0..40 {
        world.run(HEARTBEAT / 2).await;
        if let Some(end) = view.lease() {
            assert!(
                end <= last + LEASE,
                "prolonged by {:?}",
                end - (last + LEASE)
            );
        }
    }
    assert!(!view.is_leader() && !world.machines[&1].is_leader(&0));
    assert!(world.machines[&1].is_leader(&3), "the link was heard");
}

#[tokio::test(start_paused = true)]
async fn one_follower_that_detaches_leaves_the_other_to_prolong_it() {
    let (mut world, view) = led().await;
    world.machine(2).remove(&0).expect("it is there");
    for _ in 0..40 {
        world.run(HEARTBEAT / 2).await;
        assert!(view.is_leader());
    }
    world.cut.extend([(3, 1), (1, 3)]);
    world.run(LEASE).await;
    assert!(!view.is_leader(), "and no more when that one is silent");
    assert!(world.machines[&1].is_leader(&3), "by machine 2");
}

/// What beats prolong a lease by is looked up in two ways: by the elections when they need it, by views at any time.
#[tokio::test(start_paused = true)]
async fn no_view_shows_more_than_its_machine_knows() {
    for count in [3, 5] {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(count);
        let mut world = World::with(count, 0..10);
        world.delay = ms(25);
        let mut views = Vec::new();
        for (id, machine) in &mut world.machines {
            for key in 0..10 {
                views.push((*id, key, machine.leadership(&key).expect("it is there")));
            }
        }
        let mut shown = 0;
        for _ in 0..4_000 {
            world.run(ms(rng.random_range(0..20))).await;
            for (id, key, view) in &views {
                if let Some(end) = view.lease() {
                    let lease = world.machines[id]
                        .state(key)
                        .and_then(|state| state.lease());
                    assert!(
                        lease.is_some_and(|lease| end <= lease),
                        "{id}, {key}: {end:?}, {lease:?}"
                    );
                    shown += 1;
                }
            }
            let one = rng.random_range(1..=count);
            let other = rng.random_range(1..=count);
            match rng.random_range(0..100) {
                0..4 => drop(world.cut.insert((one, other))),
                4..6 => world.cut.clear(),
                6 => {
                    let command = Command::SetPriority(rng.random_range(0..3));
                    let key = rng.random_range(0..10);
                    world
                        .machine(one)
                        .send((key, command.into()))
                        .await
                        .expect("it is there");
                }
                _ => {}
            }
        }
        assert!(shown > 4_000, "{shown} looks at a leader");
        // A quorum of answers, and not one of them.
        world.cut.clear();
        world.run(20 * ELECTION).await;
        let leader = world.leader(now(), 0).expect("it is led");
        let (_, _, view) = views
            .iter()
            .find(|(id, key, _)| (*id, *key) == (leader, 0))
            .expect("one of all");
        assert!(view.is_leader());
        let heard = 1 + leader % count;
        let others = (1..=count).filter(|id| *id != leader && *id != heard);
        world.cut.extend(others.map(|id| (id, leader)));
        world.run(LEASE + HEARTBEAT).await;
        assert_eq!(view.is_leader(), count == 3, "{count}");
    }
}

/// The thread that drives three machines is blocked; another one looks. The only test here on the real clock.
#[test]
fn no_thread_sees_leadership_past_the_lease_while_the_polling_thread_is_blocked() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let tune = |config: streamraft::Config<u64>| {
        config
            .election_timeout(ms(200))
            .random_timeout(ms(50))
            .heartbeat_interval(ms(10))
            .bootstrap()
    };
    let mut world = World::tuned(3, tune).filled(0..9, |config, _| tune(config));
    let view = world.machine(1).leadership(&0).expect("it is there");
    let begun = Instant::now();
    // Until beats alone prolong it.
    while !view.is_leader() || world.spoke.contains(&0) {
        world.spoke.clear();
        runtime.block_on(async {
            for _ in 0..30 {
                world.settle(now());
                tokio::time::sleep(ms(5)).await;
            }
            world.settle(now());
        });
        assert!(begun.elapsed() < 60 * ELECTION, "it never leads at rest");
    }
    let end = view.lease().expect("it leads");
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last_seen = None;
            while Instant::now() < end + ms(50) {
                // The clock before the look: what is seen was true no earlier than this.
                let before = Instant::now();
                if view.is_leader() {
                    last_seen = Some(before);
                }
            }
            last_seen
        });
        reader.join().expect("the reader does not panic")
    });
    let last = seen.expect("it led when the reader began");
    assert!(last < end, "seen {:?} after the lease's end", last - end);
}
