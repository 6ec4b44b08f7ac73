//! The end: of all groups, of one, and of a machine that is dropped.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{Sink, SinkExt, StreamExt};
use streamraft::{Command, ConfigError, Error, Inbound, NodeType};
use tokio::time::{Instant, advance};

use crate::hand::{
    Act, ELECTION, Kind, Output, busy, config, drain, message, ms, ping, poll, sent, shown,
};
use crate::world::{World, now};

const WAYS: [Act; 2] = [
    ("stop", |machine| machine.stop()),
    ("poll_close", |machine| {
        let closed = Pin::new(machine).poll_close(&mut Context::from_waker(Waker::noop()));
        assert_eq!(closed, Poll::Ready(Ok(())));
    }),
];

/// That of each group which leads, its owner is told before the order to hand over leaves, and both before the end.
fn check_last_words(items: &[Output], led: impl Iterator<Item = u64>) {
    for key in led {
        let told = items
            .iter()
            .position(|item| shown(item).is_some_and(|(of, _)| of == key));
        let order = items.iter().position(|item| {
            sent(item).is_some_and(|(of, _, message)| of == key && message.kind == Kind::TimeoutNow)
        });
        let (told, order) = (
            told.expect("its owner is told"),
            order.expect("it hands over"),
        );
        let (_, state) = shown(&items[told]).expect("a state");
        assert_eq!(
            (state.node_type(), state.lease()),
            (NodeType::Follower, None),
            "{key}"
        );
        assert!(told < order, "{key}: its owner is told first");
    }
}

#[tokio::test(start_paused = true)]
async fn every_leader_hands_over_and_the_others_take_over_at_once() {
    for (name, close) in WAYS {
        let mut world = World::with(3, 0..30);
        world.rest(0..30).await;
        let led: Vec<u64> = (0..30)
            .filter(|key| world.leader(now(), *key) == Some(1))
            .collect();
        assert!(!led.is_empty(), "it leads its share");
        let closed = Instant::now();
        close(world.machine(1));
        assert!(
            led.iter().all(|key| !world.machines[&1].is_leader(key)),
            "{name}: from the call on"
        );
        let items: Vec<Output> = drain(world.machine(1));
        check_last_words(&items, led.iter().copied());
        assert_eq!(poll(world.machine(1)), Poll::Ready(None), "{name}");
        for item in items {
            world.came_out(now(), 1, item);
        }
        let took = world
            .until("all are led", |world| world.led(now(), 0..30) == 30)
            .await;
        assert!(
            took < ELECTION / 10,
            "{name}: no timeout passes, {took:?} did"
        );
        assert_eq!(closed.elapsed(), took);
        drop(world.kill(1));
        world.run(5 * ELECTION).await;
        assert_eq!(world.led(now(), 0..30), 30, "{name}: and it lasts");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_end_all_input_is_refused_and_changes_nothing() {
    for (name, close) in WAYS {
        for is_drained in [false, true] {
            let mut machine = busy();
            let told = message(&machine, 7, 9, ping(0));
            close(&mut machine);
            close(&mut machine);
            if is_drained {
                drain(&mut machine);
            }
            let before = machine.get_ref().clone();
            let cx = &mut Context::from_waker(Waker::noop());
            assert_eq!(
                Pin::new(&mut machine).poll_ready(cx),
                Poll::Ready(Err(Error::Stopped))
            );
            let inputs = [
                Inbound::FromNode(2, told.clone()),
                Command::Resign.into(),
                Command::Stop.into(),
            ];
            for input in inputs {
                assert_eq!(
                    Pin::new(&mut machine).start_send((7, input)),
                    Err(Error::Stopped),
                    "{name}"
                );
            }
            machine.on_receive(&7, 2, told);
            assert_eq!(machine.set_nodes(&7, [1, 2]), Err(Error::Stopped));
            assert_eq!(machine.transfer(&8, 2), Err(Error::Stopped));
            assert_eq!(
                machine.insert(9, config(1, 1)),
                Err(ConfigError::GroupsStopped)
            );
            assert_eq!(Pin::new(&mut machine).poll_flush(cx), Poll::Ready(Ok(())));
            assert!(*machine.get_ref() == before, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_machine_waits_for_nothing_any_more() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    let mut machine = world.kill(1);
    let begun = Instant::now();
    machine.close().await.expect("a sink that can be closed");
    while machine.next().await.is_some() {}
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_machine_is_silent_and_the_others_find_out() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    drop(world.kill(1));
    world.run(ELECTION / 2).await;
    assert!(world.led(now(), 0..9) < 9, "nobody was told");
    world
        .until("all are led", |world| world.led(now(), 0..9) == 9)
        .await;
}

#[tokio::test(start_paused = true)]
async fn stop_in_one_group_hands_it_over_and_ends_it_alone() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    let led = (0..9)
        .find(|key| world.leader(now(), *key) == Some(1))
        .expect("one of its own");
    let view = world.machine(1).leadership(&led).expect("it is there");
    assert!(view.is_leader());
    let stopped = world.machine(1).send((led, Command::Stop.into())).await;
    assert_eq!(stopped, Ok(()));
    assert!(
        !view.is_leader() && !world.machines[&1].is_leader(&led),
        "from the call on"
    );
    assert_eq!(world.machines[&1].len(), 9, "until its last words are out");
    let items = drain(world.machine(1));
    check_last_words(&items, [led].into_iter());
    assert_eq!(world.machines[&1].len(), 8);
    assert_eq!(world.machines[&1].state(&led), None);
    assert!(world.machine(1).leadership(&led).is_none());
    for item in items {
        world.came_out(now(), 1, item);
    }
    let took = world
        .until("it is led", |world| world.leader(now(), led).is_some())
        .await;
    assert!(took < ELECTION / 10, "handed over: {took:?}");
    // The others never noticed, and it can come back with what it must remember.
    world.run(3 * ELECTION).await;
    assert_eq!(world.led(now(), 0..9), 9);
    world.insert(now(), 1, led, config(1, 3).leader_priority(1));
    world
        .until("it is preferred again", |world| {
            world.leader(now(), led) == Some(1)
        })
        .await;
    world.rest(0..9).await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_group_hears_nothing_while_its_last_words_wait() {
    let mut machine = busy();
    machine
        .send((8, Command::Stop.into()))
        .await
        .expect("it is there");
    let told = message(&machine, 8, 9, ping(0));
    machine.on_receive(&8, 2, told);
    let refused = machine.send((8, Command::Resign.into())).await;
    assert_eq!(refused, Err(Error::Stopped));
    drain(&mut machine);
    let gone = machine.send((8, Command::Resign.into())).await;
    assert_eq!(
        gone,
        Err(Error::UnknownGroup {
            group: "8".to_owned()
        })
    );
    advance(ms(1)).await;
    assert_eq!(poll(&mut machine), Poll::Pending, "the other group goes on");
    assert!(machine.state(&7).is_some());
}
