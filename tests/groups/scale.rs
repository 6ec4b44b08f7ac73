//! What does not grow with the number of groups: messages, allocations and wakes at rest. What a machine's death costs.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use allocation_counter::measure;
use futures::StreamExt;
use streamraft::MsgRouter;
use tokio::time::sleep;

use crate::hand::{Core, ELECTION, HEARTBEAT, Machine, config, config_of, ms};
use crate::world::{World, now};

const MANY: u64 = 1_000;

/// Three machines by hand with so many groups, all of which machine 1 leads, at rest.
fn at_rest(groups: u64, now: &mut Instant) -> World<Core> {
    let mut world = World::cores(3);
    for key in 0..groups {
        for id in 1..=3 {
            world.insert(*now, id, key, config(id, 3).bootstrap());
        }
    }
    world.run(now, 3 * ELECTION);
    world.spoke.clear();
    world.run(now, ELECTION);
    assert!(world.spoke.is_empty(), "{groups} groups rest");
    assert_eq!(world.led(*now, 0..groups) as u64, groups);
    world
}

#[test]
fn messages_and_allocations_at_rest_do_not_depend_on_the_number_of_groups() {
    let cost = |groups: u64| {
        let mut now = Instant::now();
        let mut world = at_rest(groups, &mut now);
        world.take_counts();
        let memory = measure(|| world.run(&mut now, 10 * ELECTION));
        (world.take_counts(), memory.count_total)
    };
    let (few, many) = (cost(10), cost(MANY));
    println!(
        "10 seconds at rest, 10 groups and {MANY}: messages {:?}, allocations {} and {}",
        many.0, few.1, many.1
    );
    assert_eq!(few.0, many.0);
    assert_eq!(many.0, [("Beat", 200), ("BeatAck", 200)].into());
    // Those of the beats themselves, and of the test's own lists.
    assert!(
        few.1 > 0 && few.1.abs_diff(many.1) <= 20,
        "{} and {}",
        few.1,
        many.1
    );
}

/// The beats and their answers are boxes; nothing else is taken.
#[test]
fn a_round_of_beats_takes_a_box_a_message_whatever_it_stands_for() {
    let mut now = Instant::now();
    let mut world = at_rest(MANY, &mut now);
    let mut machines = std::mem::take(&mut world.machines);
    let mut taken = Vec::with_capacity(16);
    let mut answered = Vec::with_capacity(16);
    for _ in 0..100 {
        now += HEARTBEAT;
        let mut count = 0;
        let memory = measure(|| {
            let leader = machines.get_mut(&1).expect("it leads");
            while leader.poll_timeout().is_some_and(|at| at <= now) {
                leader.handle_timeout(now);
            }
            while let Some(output) = leader.poll_output() {
                taken.push(output);
            }
            count = taken.len();
            for (key, output) in taken.drain(..) {
                if let MsgRouter::ToNode(to, message) = output {
                    let follower = machines.get_mut(&to).expect("it runs");
                    let input = streamraft::Inbound::FromNode(1, message);
                    follower
                        .handle(now, &key, input)
                        .expect("it was not stopped");
                    if follower.poll_timeout().is_some_and(|at| at <= now) {
                        follower.handle_timeout(now);
                    }
                    while let Some((key, output)) = follower.poll_output() {
                        answered.push((to, key, output));
                    }
                }
            }
            count += answered.len();
            let leader = machines.get_mut(&1).expect("it leads");
            for (from, key, output) in answered.drain(..) {
                if let MsgRouter::ToNode(_, message) = output {
                    let input = streamraft::Inbound::FromNode(from, message);
                    leader.handle(now, &key, input).expect("it was not stopped");
                }
            }
        });
        assert_eq!(count, 4, "a beat to each of two, and its answer");
        assert!(
            memory.count_total <= 6,
            "{} allocations",
            memory.count_total
        );
    }
}

/// A task that counts how often it is woken, and stands for who polls then.
#[derive(Debug)]
struct Counts {
    wakes: AtomicUsize,
    inner: Waker,
}

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        self.inner.wake_by_ref();
    }
}

/// Three machines in three tasks that do nothing but pass on, on tokio's own timer. How often they were woken in ten seconds
/// at rest.
async fn wakes_at_rest(groups: u64) -> usize {
    let world = World::with(3, 0..groups);
    let machines: Vec<Rc<std::cell::RefCell<Machine>>> = world
        .machines
        .into_values()
        .map(|machine| Rc::new(std::cell::RefCell::new(machine)))
        .collect();
    let counting = Rc::new(Cell::new(false));
    let total = Rc::new(Cell::new(0));
    let local = tokio::task::LocalSet::new();
    for (id, machine) in (1..).zip(machines.clone()) {
        let (machines, counting, total) =
            (machines.clone(), Rc::clone(&counting), Rc::clone(&total));
        local.spawn_local(std::future::poll_fn(move |cx| {
            let counts = Arc::new(Counts {
                wakes: AtomicUsize::new(0),
                inner: cx.waker().clone(),
            });
            let waker = Waker::from(Arc::clone(&counts));
            total.set(total.get() + usize::from(counting.get()));
            loop {
                let polled = machine
                    .borrow_mut()
                    .poll_next_unpin(&mut Context::from_waker(&waker));
                match polled {
                    Poll::Pending => return Poll::<()>::Pending,
                    Poll::Ready(Some((key, MsgRouter::ToNode(to, message)))) => {
                        let to = usize::try_from(to).expect("a small id") - 1;
                        machines[to].borrow_mut().on_receive(&key, id, message);
                    }
                    Poll::Ready(_) => {}
                }
            }
        }));
    }
    local
        .run_until(async {
            sleep(5 * ELECTION).await;
            counting.set(true);
            sleep(10 * ELECTION).await;
            counting.set(false);
        })
        .await;
    let led = |key: &u64| {
        machines
            .iter()
            .any(|machine| machine.borrow().is_leader(key))
    };
    assert_eq!((0..groups).filter(led).count() as u64, groups);
    total.get()
}

#[tokio::test(start_paused = true)]
async fn polls_at_rest_do_not_depend_on_the_number_of_groups() {
    let (few, many) = (wakes_at_rest(12).await, wakes_at_rest(MANY).await);
    println!(
        "10 seconds at rest: three machines polled {few} times with 12 groups, {many} times with {MANY}"
    );
    // In an interval: its own beats, a beat and an answer from each of two, a deadline now and then that has moved.
    assert!(few > 300 && few <= 3 * 100 * 7, "{few}");
    assert!(
        many <= few + few / 4,
        "{many} with {MANY} groups, {few} with 12"
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_groups_of_a_dead_machine_are_led_again_within_three_election_timeouts() {
    let mut world =
        World::new(3).filled(0..MANY, |config, _| config.bootstrap().leader_priority(0));
    world.delay = ms(2);
    world.rest(0..MANY).await;
    let dead = world.leader(now(), 0).expect("it is led");
    let lost = (0..MANY)
        .filter(|key| world.leader(now(), *key) == Some(dead))
        .count();
    drop(world.kill(dead));
    world.take_counts();
    let took = world
        .until("all are led", |world| {
            world.said_to_be_led(&(0..MANY)) as u64 == MANY
        })
        .await;
    assert_eq!(world.led(now(), 0..MANY) as u64, MANY);
    println!(
        "{lost} of {MANY} groups were led again after {took:?}: {:?}",
        world.take_counts()
    );
    assert!(took <= 3 * ELECTION, "{took:?}");
    world.rest(0..MANY).await;
}

/// What a group that comes and goes leaves behind.
#[test]
fn groups_that_come_and_go_leave_nothing_behind() {
    let mut now = Instant::now();
    let mut world = at_rest(10, &mut now);
    let mut in_use = Vec::new();
    for round in 0..30 {
        let memory = measure(|| {
            for key in 100..150 {
                for id in 1..=3 {
                    world.insert(now, id, key, config(id, 3).bootstrap());
                }
            }
            world.run(&mut now, 3 * ELECTION);
            for key in 100..150 {
                for id in 1..=3 {
                    world.machine(id).remove(now, &key).expect("it is there");
                }
            }
            world.forget(100..150);
            world.run(&mut now, 3 * ELECTION);
        });
        if round >= 5 {
            in_use.push(memory.bytes_current);
        }
    }
    let grown: i64 = in_use.iter().sum();
    assert!(grown < 4_096, "{grown} bytes in 25 rounds: {in_use:?}");
    assert_eq!(world.led(now, 0..10), 10);
}

/// In a life of many deployments each machine has another name.
#[test]
fn machines_that_come_and_go_leave_nothing_behind() {
    let now = Instant::now();
    let mut core = Core::new(&config(1, 1), 1).expect("good settings");
    let turn = |core: &mut Core, first: u64| {
        for other in first..first + 100 {
            core.insert(now, 0, config_of(1, [1, other]))
                .expect("a new key");
            core.remove(now, &0).expect("it is there");
        }
    };
    turn(&mut core, 100);
    let memory = measure(|| (1..=50).for_each(|round| turn(&mut core, 100 + 100 * round)));
    assert!(
        memory.bytes_current < 65_536,
        "{} bytes for 5,000 machines",
        memory.bytes_current
    );
}

#[tokio::test(start_paused = true)]
async fn a_beat_bears_the_key_of_a_group_that_is_there() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    for key in 0..5 {
        for id in 1..=3 {
            world.machine(id).remove(&key).expect("it is there");
        }
    }
    world.rest(5..9).await;
    world.overheard = Some(Vec::new());
    world.run(ELECTION).await;
    for letter in world.overheard.take().expect("somebody listened") {
        assert!(
            letter.key >= 5,
            "a transport that goes by keys knows {} no more",
            letter.key
        );
    }
}
