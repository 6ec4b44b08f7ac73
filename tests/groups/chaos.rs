//! Machines that crash between taking something out and saving it, messages that are lost, late and repeated, groups that
//! begin anew: through the stream and the sink, in the order in which an owner does it. The world checks every item; the
//! simulator does more of the same without streams.

use std::task::Poll;

use futures::{FutureExt, SinkExt};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use streamraft::Command;
use tokio::time::advance;

use crate::hand::{ELECTION, Machine, Output, config, drain, ms, poll};
use crate::world::{World, now};

const GROUPS: u64 = 4;

/// How the owner of a machine deals with what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Saves each state before it takes the next item.
    OneByOne,
    /// Takes until there is nothing, saves all states, then sends all messages.
    AllAtOnce,
}

struct Chaos {
    rng: Xoshiro256PlusPlus,
    world: World<Machine>,
    crashes: u32,
}

impl Chaos {
    fn step(&mut self, owner: Owner) {
        let id = self.rng.random_range(1..=3);
        match self.rng.random_range(0..100) {
            0..60 => self.poll(id, owner),
            60..90 => self.deliver(),
            90..96 => self.world.delay = ms(self.rng.random_range(0..40)),
            96 => {
                let cut = (id, self.rng.random_range(1..=3));
                if !self.world.cut.remove(&cut) {
                    self.world.cut.insert(cut);
                }
            }
            97 => self.begin_anew(id),
            _ => self.ask(id),
        }
    }

    fn poll(&mut self, id: u64, owner: Owner) {
        let fate = self.rng.random_range(0..250);
        let items: Vec<Output> = match owner {
            Owner::OneByOne => match poll(self.world.machine(id)) {
                Poll::Ready(Some(item)) => vec![item],
                _ => return,
            },
            Owner::AllAtOnce => drain(self.world.machine(id)),
        };
        let (states, messages): (Vec<Output>, Vec<Output>) = items
            .into_iter()
            .partition(|item| crate::hand::shown(item).is_some());
        // A crash before all is saved: some of it was, and nothing was sent.
        let saved = if fate == 0 && !states.is_empty() {
            self.rng.random_range(0..states.len())
        } else {
            states.len()
        };
        let is_crash = fate < 2;
        for item in states.into_iter().take(saved) {
            self.world.came_out(now(), id, item);
        }
        if is_crash {
            self.crashes += 1;
            drop(self.world.machines.remove(&id));
            self.world.forget_shown(id);
            self.world.restart(id, 3);
            return;
        }
        for item in messages {
            self.world.came_out(now(), id, item);
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self
            .world
            .post
            .first_entry()
            .filter(|entry| entry.key().0 <= now())
        {
            let letter = entry.remove();
            if self.world.cut.contains(&(letter.from, letter.to)) || self.rng.random_ratio(1, 12) {
                continue;
            }
            let times = 1 + u32::from(self.rng.random_ratio(1, 12));
            for _ in 0..times {
                let machine = self.world.machine(letter.to);
                machine.on_receive(&letter.key, letter.from, letter.message.clone());
            }
        }
    }

    /// A group alone restarts, from its machine's disk.
    fn begin_anew(&mut self, id: u64) {
        let key = self.rng.random_range(0..GROUPS);
        self.world.machine(id).remove(&key);
        self.world.insert(
            now(),
            id,
            key,
            config(id, 3).leader_priority(u64::from(1 + key % 3 == id)),
        );
    }

    fn ask(&mut self, id: u64) {
        let key = self.rng.random_range(0..GROUPS);
        let command = match self.rng.random_range(0..3) {
            0 => Command::Resign,
            1 => Command::Transfer(self.rng.random_range(1..=3)),
            _ => Command::SetPriority(self.rng.random_range(0..3)),
        };
        // Who does not lead cannot hand over.
        let _ = self
            .world
            .machine(id)
            .send((key, command.into()))
            .now_or_never();
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_to_machines_messages_and_groups_each_group_keeps_its_rules_and_is_led_again()
 {
    let (mut crashes, mut terms) = (0, 0);
    let seeds = std::env::var("STREAMRAFT_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    for seed in 0..seeds.unwrap_or(60) {
        let owner = if seed % 2 == 0 {
            Owner::OneByOne
        } else {
            Owner::AllAtOnce
        };
        let mut chaos = Chaos {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            world: World::with(3, 0..GROUPS),
            crashes: 0,
        };
        for _ in 0..1_500 {
            chaos.step(owner);
            if chaos.rng.random_ratio(1, 3) {
                advance(ms(chaos.rng.random_range(0..80))).await;
            }
            // That there are not two.
            for key in 0..GROUPS {
                chaos.world.leader(now(), key);
            }
        }
        chaos.world.cut.clear();
        chaos.world.delay = ms(2);
        for key in 0..GROUPS {
            chaos
                .world
                .machine(1)
                .send((key, Command::SetPriority(0).into()))
                .await
                .expect("it is there");
        }
        chaos.world.run(20 * ELECTION).await;
        chaos.world.rest(0..GROUPS).await;
        crashes += chaos.crashes;
        terms += chaos
            .world
            .saved
            .values()
            .map(streamraft::HardState::term)
            .max()
            .unwrap_or_default();
    }
    println!("{crashes} crashes, {terms} terms");
    assert!(
        crashes > 100 && terms > 300,
        "{crashes} crashes, {terms} terms: there was little chaos"
    );
}
