//! A thread that looks at a leadership without pause while its owner loses it: once it is lost, it is never seen again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use futures::{FutureExt, SinkExt};
use streamraft::{Command, Leadership, Token};
use tokio::runtime::Runtime;
use tokio::time::advance;

use crate::hand::{HEARTBEAT, Machine, config, hear, ms, vote_request};
use crate::world::{World, now};

/// How many times longer than usual all is, so that no lease ends by the clock meanwhile.
const TOLERANCE: u32 = 10_000;

type Loss = (&'static str, fn(&mut Machine));

const LOSSES: [Loss; 4] = [
    ("removal", |machine| {
        drop(machine.remove(&0).expect("it is there"));
    }),
    ("resign", |machine| {
        let sent = machine.send((0, Command::Resign.into())).now_or_never();
        sent.expect("ready").expect("allowed");
    }),
    ("transfer", |machine| {
        machine.transfer(&0, 2).expect("allowed");
    }),
    ("a higher term", |machine| {
        let term = machine.state(&0).expect("it is there").term();
        hear(machine, 0, 2, term + 50, vote_request());
    }),
];

/// What the reader looks for.
struct Watch {
    /// The last token that was lost.
    lost: AtomicU64,
    is_over: AtomicBool,
    looks: AtomicU64,
    hits: AtomicU64,
}

impl Watch {
    /// Looks at an instant at which nothing but the newest answered beats makes a leader of it.
    fn look_at(&self, at: Instant, view: &Leadership<u64>) {
        paused().block_on(async {
            advance(at - now()).await;
            self.look(view);
        });
    }

    fn look(&self, view: &Leadership<u64>) {
        while !self.is_over.load(Ordering::Acquire) {
            // First what is known to be lost, then the look.
            let lost = self.lost.load(Ordering::Acquire);
            if let Some(token) = view.token().map(Token::get) {
                assert!(token > lost, "{token} is led again after {lost} was lost");
                self.hits.fetch_add(1, Ordering::Relaxed);
            }
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn paused() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

#[test]
fn no_reader_sees_a_leadership_again_that_was_lost() {
    for (name, lose) in LOSSES {
        let (looks, hits) = one_loss_after_another(lose, name == "removal");
        println!("{name}: {looks} looks, {hits} of them at a leader");
        assert!(hits > 0, "{name}: the reader saw nothing");
    }
}

fn one_loss_after_another(lose: fn(&mut Machine), is_removed: bool) -> (u64, u64) {
    let (mut looks, mut hits) = (0, 0);
    paused().block_on(async {
        let tune = |config: streamraft::Config<u64>| {
            let long = HEARTBEAT * TOLERANCE;
            let config = config.election_timeout(long).leadership_timeout(long);
            config
                .random_timeout(HEARTBEAT)
                .heartbeat_interval(long / 20)
                .bootstrap()
        };
        let mut world = World::tuned(3, tune).filled(0..6, |config, _| tune(config));
        world.patience = HEARTBEAT * TOLERANCE * 10;
        for _ in 0..10 {
            let view = world.machine(1).leadership(&0).expect("it is there");
            world
                .until("it leads", |world| {
                    world.settle(now());
                    // Whoever leads hands over, so that no timeout has to pass.
                    match world.leader(now(), 0) {
                        Some(1) => return true,
                        Some(other) => drop(world.machine(other).transfer(&0, 1)),
                        None => {}
                    }
                    world.settle(now());
                    view.is_leader()
                })
                .await;
            world.run(HEARTBEAT * TOLERANCE * 2).await;
            assert!(view.is_leader());
            let watch = Watch {
                lost: AtomicU64::new(0),
                is_over: AtomicBool::new(false),
                looks: AtomicU64::new(0),
                hits: AtomicU64::new(0),
            };
            let token = view.token().expect("it leads").get();
            let end = view.lease().expect("it leads");
            let (watched, seen) = (&watch, view.clone());
            thread::scope(|scope| {
                let reader = scope.spawn(move || watched.look_at(end - ms(1), &seen));
                // One that has failed looks no more.
                let waits = |done: bool| !done && !reader.is_finished();
                while waits(watch.hits.load(Ordering::Relaxed) >= 20) {
                    std::hint::spin_loop();
                }
                lose(world.machine(1));
                watch.lost.store(token, Ordering::Release);
                // The beats of the others go on, and are answered.
                let at = watch.looks.load(Ordering::Relaxed);
                world.settle(now());
                while waits(watch.looks.load(Ordering::Relaxed) >= at + 200) {
                    std::hint::spin_loop();
                }
                watch.is_over.store(true, Ordering::Release);
            });
            looks += watch.looks.into_inner();
            hits += watch.hits.into_inner();
            if is_removed {
                world.insert(now(), 1, 0, tune(config(1, 3)).leader_priority(1));
            }
        }
    });
    (looks, hits)
}
