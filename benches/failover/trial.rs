//! One trial: a cluster at work, something happens to it, and how long it is without a leader.

use std::time::Duration;

use crate::figures::Figures;
use crate::world::{Setting, World};

/// No trial waits longer for a leader.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The setting of PEERS.md: election timeout 150 ms, heartbeat 50 ms, random 150 ms, instant delivery.
pub(crate) const fn peers(nodes: u64) -> Setting {
    Setting {
        nodes,
        election_timeout: ms(150),
        heartbeat_interval: ms(50),
        random_timeout: ms(150),
        leadership_timeout: ms(150),
        delay: (Duration::ZERO, Duration::ZERO),
        loss: 0,
        bootstrap: true,
        lottery: false,
    }
}

impl Setting {
    pub(crate) const fn delayed(self, least: Duration, most: Duration) -> Self {
        Self {
            delay: (least, most),
            ..self
        }
    }

    pub(crate) const fn by_lottery(self) -> Self {
        Self {
            lottery: true,
            ..self
        }
    }

    /// A cluster that has had one leader for a hundred heartbeats and a part of the next, so that whatever happens
    /// now happens at a random moment of the cycle.
    pub(crate) fn at_work(self, seed: u64) -> (World, u64) {
        let mut world = World::new(self, seed);
        for id in world.ids() {
            world.start(id);
        }
        world.run(self.heartbeat_interval * 100);
        let phase = world.up_to(self.heartbeat_interval);
        world.run(phase);
        let settled = world.run_until(LIMIT, |world| world.settled().is_some());
        assert!(settled.is_some(), "no leader to begin with: {self:?}");
        let leader = world.settled().expect("just seen");
        (world, leader)
    }
}

/// How long it took from now until a node was elected that did not lead at the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) leader: u64,
    /// Until it was elected.
    pub(crate) elected: Duration,
    /// Until a quorum had confirmed it; nothing if that did not happen within twenty election timeouts.
    pub(crate) leased: Option<Duration>,
    /// The terms in between, in each of which votes were asked for and nobody won.
    pub(crate) split_votes: u64,
}

/// Waits for a leader of a term after this one.
pub(crate) fn await_leader(world: &mut World, setting: Setting, after: u64) -> Option<Outcome> {
    let newer = |world: &World| {
        let found = world.elected.iter().find(|elected| elected.term > after);
        found.copied()
    };
    let elected = world.run_until(LIMIT, |world| newer(world).is_some())?;
    let first = newer(world)?;
    let patience = setting.election_timeout * 20;
    let leased = world.run_until(patience, |world| world.leader().is_some());
    Some(Outcome {
        leader: first.id,
        elected,
        leased: leased.map(|time| elected + time),
        split_votes: first.term - after - 1,
    })
}

/// Many trials in which this happens to a cluster at work: the world, its leader.
pub(crate) fn repeat(trials: u64, setting: Setting, happens: impl Fn(&mut World, u64)) -> Figures {
    let mut figures = Figures::in_units_of(ms(1));
    for seed in 0..trials {
        let (mut world, leader) = setting.at_work(seed);
        happens(&mut world, leader);
        let before = world.term();
        figures.add(await_leader(&mut world, setting, before));
    }
    figures
}

/// The leader stops without a word.
pub(crate) fn leader_stops(trials: u64, setting: Setting) -> Figures {
    repeat(trials, setting, World::kill)
}
