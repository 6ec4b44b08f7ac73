//! A cluster that runs: its nodes, its network and its clocks, in one thread and on virtual time.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::builder::Builder;
use super::chart::Recorder;
use super::clock::Clock;
use super::conditions::Conditions;
use super::dice::{Dice, nanos};
use super::digest::Digest;
use super::failure::{Failure, Report, Violation};
use super::host::Host;
use super::invariant::{Event, Invariant};
use super::machine::{Boot, Machine, Output, StartError};
use super::post::{Letter, Post};
use super::summary::Summary;
use super::world::{Link, World};
use crate::election::Election;

/// The most that a node may say at a time before it is taken to have no end.
const MOST_OUTPUTS: usize = 100_000;

/// By how much nodes' clocks can be ahead at the beginning: an hour.
const MOST_AHEAD: u64 = 3_600_000_000_000;

/// A simulated cluster: nodes, a network, disks and clocks, in one thread and on virtual time. Whatever happens in it
/// follows from its seed and from what is called.
///
/// Made by a [`Builder`], which can also run it at random. Here a test says itself what happens:
///
/// ```
/// use std::time::Duration;
/// use streamraft::sim::Cluster;
///
/// let mut cluster = Cluster::elections(["a", "b", "c"]).build(7)?;
/// let first = cluster.settle(Duration::from_secs(1))?;
/// cluster.isolate(&first);
/// cluster.run(Duration::from_secs(1))?;
///
/// let (second, _) = cluster.world().lease_holders().next().unwrap();
/// assert_ne!(*second, first);
/// assert_eq!(cluster.world().lease_holders().count(), 1);
/// # Ok::<(), streamraft::sim::Failure>(())
/// ```
///
/// All of the [invariants](super::invariant) are checked at every step. What breaks one is returned, by whichever call led
/// to it, with a chart of the last messages. Nothing panics. A node that does not exist does nothing.
#[derive(Debug)]
pub struct Cluster<M: Machine = Election<u64>> {
    pub(super) world: World<M>,
    invariants: Vec<Box<dyn Invariant<M>>>,
    builder: Builder<M>,
    post: Post<M::Message>,
    recorder: Recorder,
    digest: Digest,
}

impl<M: Machine> Cluster<M> {
    pub(super) fn new(builder: &Builder<M>, seed: u64, is_recorded: bool) -> Result<Self, Failure> {
        // No instant is looked at but as its distance from this one.
        let origin = Instant::now();
        let mut dice = Dice::of(seed, [3, 0, 0]);
        let ids = builder.ids();
        let hosts: Vec<Host<M>> = ids
            .into_iter()
            .map(|id| Host::new(id, Clock::new(origin, dice.up_to(MOST_AHEAD), 0)))
            .collect();
        let lines = if is_recorded { builder.chart_lines } else { 0 };
        let mut cluster = Self {
            world: World {
                seed,
                now: 0,
                links: vec![Link::default(); hosts.len() * hosts.len()],
                hosts,
                conditions: builder.conditions,
                calm_since: builder.conditions.is_calm(&builder.timing).then_some(0),
                timing: builder.timing,
                voters: builder.voters.clone(),
                summary: Summary::default(),
            },
            invariants: builder.new_invariants(),
            builder: builder.clone(),
            post: Post::new(),
            recorder: Recorder::new(lines),
            digest: Digest::default(),
        };
        for id in builder.voters.iter().chain(&builder.joiners) {
            let started = cluster.begin(id);
            cluster.reported(started)?;
        }
        Ok(cluster)
    }

    /// What can be seen of it.
    #[must_use]
    pub fn world(&self) -> &World<M> {
        &self.world
    }

    /// Stands for all that has happened so far: every event, message and write, and when. The same for the same seed and
    /// the same calls.
    #[must_use]
    pub fn digest(&self) -> u64 {
        std::hash::Hasher::finish(&self.digest)
    }

    /// The last messages as text: a column for each node, an arrow for each message.
    #[must_use]
    pub fn chart(&self) -> String {
        self.recorder.draw(&self.world)
    }

    pub(super) fn into_summary(self) -> Summary {
        let digest = self.digest();
        let mut summary = self.world.summary;
        summary.digest = digest;
        summary.time = Duration::from_nanos(self.world.now);
        summary
    }

    pub(super) fn note_healing(&mut self, took: Duration) {
        let could_settle = self.world.could_settle();
        let summary = &mut self.world.summary;
        if could_settle {
            summary.longest_healing = summary.longest_healing.max(took);
        } else {
            summary.stranded += 1;
        }
    }

    pub(super) fn note_fault(&mut self, kind: &'static str, text: impl FnOnce() -> String) {
        *self.world.summary.faults.entry(kind).or_default() += 1;
        self.digest.note((self.world.now, kind));
        self.recorder.note(&self.world, text);
    }

    /// A violation as a failure with all that is known of the run.
    pub(super) fn reported<T>(&self, result: Result<T, Violation>) -> Result<T, Failure> {
        result.map_err(|violation| {
            Failure::new(Report {
                seed: self.world.seed,
                invariant: violation.invariant,
                cause: violation.cause,
                at: self.world.now(),
                steps: Vec::new(),
                steps_before: 0,
                chart: self.chart(),
            })
        })
    }

    /// Starts a node that does not run, from what is on its disk.
    pub(super) fn begin(&mut self, id: &M::Id) -> Result<(), Violation> {
        let Some(at) = self.world.at(id) else {
            return Ok(());
        };
        let (now, seed) = (self.world.now, self.world.seed);
        let voters = std::mem::take(&mut self.world.voters);
        let result = match self.world.hosts.get_mut(at) {
            Some(host) if host.machine.is_none() && !host.is_gone => {
                host.starts += 1;
                let mut dice = Dice::of(seed, [4, at as u64, host.starts]);
                let make = Rc::clone(&self.builder.make);
                let boot = Boot {
                    id: &host.id,
                    now: host.clock.at(now),
                    seed: dice.up_to(u64::MAX),
                    saved: &host.saved,
                    timing: &self.builder.timing,
                    voters: &voters,
                    has_lost_disk: host.disks > 1 && M::hard_states(&host.saved).next().is_none(),
                };
                make(&boot).map(|machine| {
                    host.machine = Some(machine);
                    host.well_since = now;
                    host.busy_since = Some(now);
                    true
                })
            }
            _ => Ok(false),
        };
        self.world.voters = voters;
        if !result.map_err(|error| not_started(id, &error))? {
            return Ok(());
        }
        self.digest.note((now, at, "start"));
        self.recorder.note_at(&self.world, at, || "starts".into());
        self.tell(&Event::Started { node: id })?;
        self.drain(at)
    }

    /// Kills a node that runs. What it was about to write may be written or not.
    pub(super) fn kill(&mut self, id: &M::Id) -> Result<(), Violation> {
        let (now, seed) = (self.world.now, self.world.seed);
        let Some(at) = self.world.at(id) else {
            return Ok(());
        };
        let Some(host) = self.world.hosts.get_mut(at) else {
            return Ok(());
        };
        if host.machine.take().is_none() {
            return Ok(());
        }
        let mut dice = Dice::of(seed, [5, at as u64, host.starts]);
        let kept = dice.below(host.appends.len() + 1);
        for (_, write) in host.appends.drain(..).take(kept) {
            M::write(&mut host.saved, write);
        }
        if let Some((_, write)) = host.writing.take().filter(|_| dice.chance(500)) {
            M::write(&mut host.saved, write);
        }
        host.shown.clear();
        host.due = None;
        host.paused_until = 0;
        host.busy_since = None;
        self.digest.note((now, at, "crash"));
        self.recorder.note_at(&self.world, at, || "crashes".into());
        self.tell(&Event::Saved { node: id })?;
        self.tell(&Event::Crashed { node: id })
    }

    /// Calls a node that runs, and lets out what it has to say.
    pub(super) fn touch<T>(
        &mut self,
        id: &M::Id,
        act: impl FnOnce(&mut M, Instant) -> T,
    ) -> Result<Option<T>, Violation> {
        let now = self.world.now;
        let Some(at) = self.world.at(id) else {
            return Ok(None);
        };
        let Some(host) = self.world.hosts.get_mut(at) else {
            return Ok(None);
        };
        let Some(machine) = &mut host.machine else {
            return Ok(None);
        };
        host.busy_since.get_or_insert(now);
        let value = act(machine, host.clock.at(now));
        self.digest.note((now, at, "call"));
        self.drain(at)?;
        Ok(Some(value))
    }

    pub(super) fn request(
        &mut self,
        id: &M::Id,
        input: M::Input,
    ) -> Result<Option<bool>, Violation> {
        self.tell(&Event::Asked {
            node: id,
            input: &input,
        })?;
        self.touch(id, |machine, now| machine.ask(now, input))
    }

    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.tell(&Event::Healed)
    }

    pub(super) fn end(&mut self) -> Result<(), Violation> {
        self.tell(&Event::Ended)
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.world.now.saturating_add(nanos(time));
        while self.step(end)? {}
        self.world.now = end;
        Ok(())
    }

    /// Lets time pass until this holds, which is looked at after every step. How long it took; nothing if it does not hold
    /// after `limit`.
    pub(super) fn pass_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&World<M>) -> bool,
    ) -> Result<Option<Duration>, Violation> {
        let start = self.world.now;
        let end = start.saturating_add(nanos(limit));
        loop {
            if done(&self.world) {
                return Ok(Some(Duration::from_nanos(self.world.now - start)));
            }
            if !self.step(end)? {
                self.world.now = end;
                return Ok(None);
            }
        }
    }

    /// Does the next thing that is due by `end`. Whether there was one.
    fn step(&mut self, end: u64) -> Result<bool, Violation> {
        let mut soonest = (u64::MAX, None);
        for (at, host) in self.world.hosts.iter().enumerate() {
            if let Some(due) = host.due.filter(|due| *due < soonest.0) {
                soonest = (due, Some(at));
            }
        }
        let letter = self.post.next().filter(|due| *due <= soonest.0);
        let due = letter.unwrap_or(soonest.0);
        if due > end {
            return Ok(false);
        }
        self.world.now = self.world.now.max(due);
        self.world.summary.steps += 1;
        match soonest.1 {
            _ if letter.is_some() => self.deliver()?,
            Some(at) => self.wake(at)?,
            None => return Ok(false),
        }
        Ok(true)
    }

    fn deliver(&mut self) -> Result<(), Violation> {
        let Some((number, letter)) = self.post.take() else {
            return Ok(());
        };
        let now = self.world.now;
        let (from, to, sent) = (letter.from, letter.to, letter.sent);
        let place = self.world.link_at(from, to);
        let (Some(host), Some(link)) = (self.world.hosts.get(to), self.world.links.get_mut(place))
        else {
            return Ok(());
        };
        // Of what is on its way when the way is cut, half arrives.
        let is_caught = link.is_cut && number % 2 == 0;
        if host.machine.is_none() || is_caught {
            self.world.summary.lost += 1;
            let why = if is_caught { "cut" } else { "down" };
            self.recorder
                .lost(&self.world, (from, to), why, || M::label(&letter.message));
            return Ok(());
        }
        if host.paused_until > now {
            // It waits in the socket.
            let until = host.paused_until;
            self.post.put(until, number, letter);
            return Ok(());
        }
        link.arrived = Some(now);
        self.digest.note((now, from, to, sent));
        let message = letter.message;
        self.recorder
            .delivered(&self.world, (from, to), sent, || M::label(&message));
        let (Some(sender), Some(host)) = (
            self.world.hosts.get(from).map(|host| host.id.clone()),
            self.world.hosts.get_mut(to),
        ) else {
            return Ok(());
        };
        host.busy_since.get_or_insert(now);
        if let Some(machine) = &mut host.machine {
            machine.receive(host.clock.at(now), &sender, message.clone());
        }
        let receiver = host.id.clone();
        self.tell(&Event::Received {
            from: &sender,
            to: &receiver,
            message: &message,
        })?;
        self.drain(to)
    }

    /// Something of a node's own is due: a write is done, or a timer rings.
    fn wake(&mut self, at: usize) -> Result<(), Violation> {
        let now = self.world.now;
        self.digest.note((now, at, "wake"));
        let Some(host) = self.world.hosts.get_mut(at) else {
            return Ok(());
        };
        host.busy_since.get_or_insert(now);
        let mut has_saved = false;
        while host.appends.first().is_some_and(|(done, _)| *done <= now) {
            let (_, write) = host.appends.remove(0);
            M::write(&mut host.saved, write);
            has_saved = true;
            if let Some(machine) = &mut host.machine {
                machine.appended(host.clock.at(now));
            }
        }
        if let Some((_, write)) = host.writing.take_if(|(done, _)| *done <= now) {
            M::write(&mut host.saved, write);
            has_saved = true;
        }
        let shows = host.clock.at(now);
        if let Some(machine) = &mut host.machine
            && host.writing.is_none()
            && machine.poll_timeout().is_some_and(|due| due <= shows)
        {
            machine.handle_timeout(shows);
        }
        if has_saved {
            let id = host.id.clone();
            self.tell(&Event::Saved { node: &id })?;
        }
        self.drain(at)
    }

    /// Lets out what a node has to say, until there is nothing more or it waits for its disk.
    fn drain(&mut self, at: usize) -> Result<(), Violation> {
        let now = self.world.now;
        let Some(id) = self.world.hosts.get(at).map(|host| host.id.clone()) else {
            return Ok(());
        };
        for _ in 0..MOST_OUTPUTS {
            let Some(host) = self.world.hosts.get_mut(at) else {
                return Ok(());
            };
            let shows = host.clock.at(now);
            let Some(machine) = host.machine.as_mut().filter(|_| host.writing.is_none()) else {
                host.look_ahead(now);
                return if M::SHOWS_WHILE_IT_SAVES {
                    self.show(at, &id)
                } else {
                    Ok(())
                };
            };
            match machine.poll_output(shows) {
                Some(Output::Send(to, message)) => self.send(at, &id, &to, message)?,
                Some(Output::Save(write)) => self.save(at, &id, write)?,
                Some(Output::Append(write)) => self.append(at, write),
                None if machine.waits_for_disk() => {
                    host.look_ahead(now);
                    return Ok(());
                }
                None => {
                    host.busy_since = None;
                    host.look_ahead(now);
                    return self.show(at, &id);
                }
            }
        }
        Err(Violation {
            invariant: "outputs end",
            cause: format!("{id:?} does not stop to speak"),
        })
    }

    /// Lets a node's application see what it is now.
    fn show(&mut self, at: usize, id: &M::Id) -> Result<(), Violation> {
        let Some(host) = self.world.hosts.get_mut(at) else {
            return Ok(());
        };
        let (has_changed, elected) = host.show();
        self.world.summary.elections += elected;
        if has_changed {
            self.recorder.note_state(&self.world, at);
        }
        self.tell(&Event::Drained { node: id })
    }

    fn send(
        &mut self,
        from: usize,
        sender: &M::Id,
        to: &M::Id,
        message: M::Message,
    ) -> Result<(), Violation> {
        let now = self.world.now;
        self.world.summary.messages += 1;
        self.digest.note((now, from, &message));
        self.tell(&Event::Sent {
            from: sender,
            to,
            message: &message,
        })?;
        let Some(to) = self.world.at(to) else {
            return Ok(());
        };
        let place = self.world.link_at(from, to);
        let Some(link) = self.world.links.get_mut(place) else {
            return Ok(());
        };
        link.sent += 1;
        let mut dice = Dice::of(self.world.seed, [6, place as u64, link.sent]);
        let fate = if link.is_cut {
            [None, None]
        } else {
            self.world.conditions.fate(&mut dice)
        };
        let [Some(delay), again] = fate else {
            let why = if link.is_cut { "cut" } else { "lost" };
            self.world.summary.lost += 1;
            self.recorder
                .lost(&self.world, (from, to), why, || M::label(&message));
            return Ok(());
        };
        let letter = |message| Letter {
            from,
            to,
            sent: now,
            message,
        };
        if let Some(again) = again {
            self.post.send(now + again, letter(message.clone()));
        }
        self.post.send(now + delay, letter(message));
        Ok(())
    }

    /// Puts a write onto the disk at once, or makes the node wait for it.
    fn save(&mut self, at: usize, id: &M::Id, write: M::Write) -> Result<(), Violation> {
        let done = self.disk_time(at);
        let now = self.world.now;
        let Some(host) = self.world.hosts.get_mut(at) else {
            return Ok(());
        };
        if M::is_saved(&host.saved, &write) {
            return Ok(());
        }
        self.digest.note((now, at, &write));
        if done > now {
            host.writing = Some((done, write));
            return Ok(());
        }
        M::write(&mut host.saved, write);
        self.tell(&Event::Saved { node: id })
    }

    fn append(&mut self, at: usize, write: M::Write) {
        let done = self.disk_time(at);
        self.digest.note((self.world.now, at, &write));
        if let Some(host) = self.world.hosts.get_mut(at) {
            host.appends.push((done, write));
        }
    }

    /// When a write that begins now is done: behind all that were begun before it.
    fn disk_time(&self, at: usize) -> u64 {
        let world = &self.world;
        let (least, most) = world.conditions.disk;
        let Some(host) = world.hosts.get(at) else {
            return world.now;
        };
        let begin = host.stalled_until.max(world.now);
        let last = host.appends.last().map_or(0, |(done, _)| *done);
        let takes = if most.is_zero() {
            0
        } else {
            let mut dice = Dice::of(world.seed, [7, at as u64, world.now]);
            dice.nanos_between(nanos(least), nanos(most))
        };
        (begin + takes).max(last)
    }

    pub(super) fn set_weather(&mut self, conditions: Conditions) {
        self.world.set_conditions(conditions);
    }

    fn tell(&mut self, event: &Event<'_, M>) -> Result<(), Violation> {
        for invariant in &mut self.invariants {
            if let Err(broken) = invariant.check(event, &self.world) {
                return Err(Violation {
                    invariant: invariant.name(),
                    cause: broken.0,
                });
            }
        }
        Ok(())
    }
}

fn not_started(id: &impl std::fmt::Debug, error: &StartError) -> Violation {
    Violation {
        invariant: "nodes start",
        cause: format!("{id:?} could not be made: {error}"),
    }
}

impl<M: Machine> Cluster<M> {
    pub(super) fn first_conditions(&self) -> Conditions {
        self.builder.conditions
    }

    /// Whether a node starts only in the place of another.
    pub(super) fn is_spare(&self, id: &M::Id) -> bool {
        self.builder.spares.contains(id)
    }
}
