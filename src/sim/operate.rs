//! What a test can do to a cluster, by hand or by a [`Fault`].

use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::conditions::Conditions;
use super::dice::nanos;
use super::failure::{Failure, Violation};
use super::fault::{Fault, Who};
use super::machine::Machine;
use super::world::World;

impl<M: Machine> Cluster<M> {
    /// Lets so much time pass.
    ///
    /// # Errors
    /// An invariant that broke meanwhile.
    pub fn run(&mut self, time: Duration) -> Result<(), Failure> {
        let result = self.pass(time);
        self.reported(result)
    }

    /// Lets time pass until this holds, which is looked at after every step. How long it took; `None` if it does not hold
    /// after `limit`.
    ///
    /// # Errors
    /// An invariant that broke meanwhile.
    pub fn run_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&World<M>) -> bool,
    ) -> Result<Option<Duration>, Failure> {
        let result = self.pass_until(limit, done);
        self.reported(result)
    }

    /// Lets time pass until one node leads group 0 with a lease, known to all of its voters that run. Which.
    ///
    /// # Errors
    /// An invariant that broke meanwhile, or that nobody does within `limit`.
    pub fn settle(&mut self, limit: Duration) -> Result<M::Id, Failure> {
        let took = self.pass_until(limit, |world| world.settled_leader().is_some());
        let leader = took.and_then(|_| {
            let leader = self.world().settled_leader().cloned();
            leader.ok_or_else(|| Violation {
                invariant: "the cluster settles",
                cause: format!("no leader that all know after {limit:?}"),
            })
        });
        self.reported(leader)
    }

    /// Asks a node that runs. Whether it took it; `None` if it does not run.
    ///
    /// # Errors
    /// An invariant that this broke.
    pub fn ask(&mut self, id: &M::Id, input: M::Input) -> Result<Option<bool>, Failure> {
        let result = self.request(id, input);
        self.reported(result)
    }

    /// Calls a node that runs with the time by its own clock, and lets out what it then has to say. `None` if it does not
    /// run.
    ///
    /// # Errors
    /// An invariant that this broke.
    pub fn call<T>(
        &mut self,
        id: &M::Id,
        act: impl FnOnce(&mut M, Instant) -> T,
    ) -> Result<Option<T>, Failure> {
        let result = self.touch(id, act);
        self.reported(result)
    }

    /// Starts a node that does not run, from its disk.
    ///
    /// # Errors
    /// A node that could not be made, or an invariant that this broke.
    pub fn start(&mut self, id: &M::Id) -> Result<(), Failure> {
        let result = self.begin(id);
        self.reported(result)
    }

    /// Kills a node. It keeps what is on its disk; of what was being written, nobody knows.
    ///
    /// # Errors
    /// An invariant that this broke.
    pub fn crash(&mut self, id: &M::Id) -> Result<(), Failure> {
        let result = self.kill(id);
        self.reported(result)
    }

    /// Kills a node and starts it at once.
    ///
    /// # Errors
    /// As [`crash`](Self::crash) and [`start`](Self::start).
    pub fn restart(&mut self, id: &M::Id) -> Result<(), Failure> {
        self.crash(id)?;
        self.start(id)
    }

    /// Kills a node and empties its disk. If it is started again under the same id, it may vote a second time in a term:
    /// two leaders of one term are then no fault of the election, and are reported.
    ///
    /// # Errors
    /// An invariant that this broke.
    pub fn wipe(&mut self, id: &M::Id) -> Result<(), Failure> {
        self.crash(id)?;
        if let Some(host) = self.world.host_mut(id) {
            host.saved = M::Saved::default();
            host.disks += 1;
        }
        Ok(())
    }

    /// Makes a node do nothing for so long. Messages wait for it, and its application goes on reading its lease.
    pub fn pause(&mut self, id: &M::Id, time: Duration) {
        let now = self.world.now;
        if let Some(host) = self.world.host_mut(id) {
            host.paused_until = now.saturating_add(nanos(time));
            host.look_ahead(now);
        }
    }

    /// Makes a node's disk complete nothing for so long.
    pub fn stall(&mut self, id: &M::Id, time: Duration) {
        let now = self.world.now;
        if let Some(host) = self.world.host_mut(id) {
            let until = now.saturating_add(nanos(time));
            host.stalled_until = until;
            if let Some((done, _)) = &mut host.writing {
                *done = until.max(*done);
            }
            for (done, _) in &mut host.appends {
                *done = until.max(*done);
            }
            host.look_ahead(now);
        }
    }

    /// Makes a node's clock run fast by so many millionths from now on; slow, if less than 0.
    pub fn set_rate(&mut self, id: &M::Id, ppm: i32) {
        let now = self.world.now;
        if let Some(host) = self.world.host_mut(id) {
            host.clock.set_rate(now, ppm);
            host.look_ahead(now);
        }
    }

    /// Makes the network and the disks like this.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.set_weather(conditions);
    }

    /// Cuts the way from the one to the other. Of what is on it, half arrives.
    pub fn cut(&mut self, from: &M::Id, to: &M::Id) {
        self.cut_where(|a, b| a == from && b == to);
    }

    /// Cuts both ways between the two.
    pub fn part(&mut self, one: &M::Id, other: &M::Id) {
        self.cut_where(|a, b| (a == one && b == other) || (a == other && b == one));
    }

    /// Cuts all ways from and to this node.
    pub fn isolate(&mut self, id: &M::Id) {
        self.cut_where(|a, b| a == id || b == id);
    }

    /// Cuts all ways between these nodes and the others.
    pub fn split(&mut self, nodes: &[M::Id]) {
        self.cut_where(|a, b| nodes.contains(a) != nodes.contains(b));
    }

    /// Mends all ways.
    pub fn mend(&mut self) {
        self.set_cut(false, |_, _| true);
    }

    /// Ends all faults: mends all ways, starts whoever does not run (but for spares and who is gone), wakes whoever is
    /// paused, and gives the network and the disks the conditions that they began with.
    ///
    /// # Errors
    /// A node that could not be made, or an invariant that this broke.
    pub fn recover(&mut self) -> Result<(), Failure> {
        let result = self.recover_all();
        self.reported(result)
    }

    /// Lets a fault happen.
    ///
    /// # Errors
    /// An invariant that this broke.
    pub fn apply(&mut self, fault: &Fault<M::Id, M::Input>) -> Result<(), Failure> {
        let result = self.suffer(fault);
        self.reported(result)
    }

    pub(super) fn recover_all(&mut self) -> Result<(), Violation> {
        self.mend();
        let conditions = self.first_conditions();
        self.set_weather(conditions);
        let ids: Vec<M::Id> = self.world.ids().cloned().collect();
        for id in &ids {
            self.wake_up(id);
        }
        self.suffer(&Fault::StartAll)
    }

    /// Ends a node's pause and its disk's stall.
    fn wake_up(&mut self, id: &M::Id) {
        let now = self.world.now;
        if let Some(host) = self.world.host_mut(id) {
            if host.paused_until > now {
                host.paused_until = now;
            }
            if host.stalled_until > now {
                host.stalled_until = now;
            }
            if let Some((done, _)) = &mut host.writing {
                *done = now;
            }
            for (done, _) in &mut host.appends {
                *done = now;
            }
            host.look_ahead(now);
        }
    }

    pub(super) fn suffer(&mut self, fault: &Fault<M::Id, M::Input>) -> Result<(), Violation> {
        self.note_fault(fault.kind(), || fault.to_string());
        match fault {
            Fault::Crash(who) => self.each(who, Self::kill),
            Fault::Start(who) => self.each(who, Self::begin),
            Fault::Restart(who) => self.each(who, |this, id| {
                this.kill(id)?;
                this.begin(id)
            }),
            Fault::StartAll => {
                for id in self.startable() {
                    self.begin(&id)?;
                }
                Ok(())
            }
            Fault::LoseDisk(who) => self.each(who, Self::lose_disk),
            Fault::Mute(who) => self.each(who, |this, id| {
                this.cut_where(|a, _| a == id);
                Ok(())
            }),
            Fault::Deafen(who) => self.each(who, |this, id| {
                this.cut_where(|_, b| b == id);
                Ok(())
            }),
            Fault::Isolate(who) => self.each(who, |this, id| {
                this.isolate(id);
                Ok(())
            }),
            Fault::Pause(who, time) => self.each(who, |this, id| {
                this.pause(id, *time);
                Ok(())
            }),
            Fault::Stall(who, time) => self.each(who, |this, id| {
                this.stall(id, *time);
                Ok(())
            }),
            Fault::Rate(who, ppm) => self.each(who, |this, id| {
                this.set_rate(id, *ppm);
                Ok(())
            }),
            Fault::Ask(who, input) => self.each(who, |this, id| {
                this.request(id, input.clone())?;
                Ok(())
            }),
            _ => {
                self.suffer_on_ways(fault);
                Ok(())
            }
        }
    }

    fn suffer_on_ways(&mut self, fault: &Fault<M::Id, M::Input>) {
        match fault {
            Fault::Cut(from, to) => {
                let (from, to) = (self.who(from), self.who(to));
                self.cut_where(|a, b| from.contains(a) && to.contains(b));
            }
            Fault::Part(one, other) => {
                let (one, other) = (self.who(one), self.who(other));
                let is_between = |a: &M::Id, b: &M::Id| one.contains(a) && other.contains(b);
                self.cut_where(|a, b| is_between(a, b) || is_between(b, a));
            }
            Fault::Split(nodes) => self.split(nodes),
            Fault::Mend => self.mend(),
            Fault::Conditions(conditions) => self.set_weather(*conditions),
            _ => {}
        }
    }

    fn each(
        &mut self,
        who: &Who<M::Id>,
        act: impl Fn(&mut Self, &M::Id) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        for id in self.who(who) {
            act(self, &id)?;
        }
        Ok(())
    }

    fn who(&self, who: &Who<M::Id>) -> Vec<M::Id> {
        let world = self.world();
        match who {
            Who::Node(id) => vec![id.clone()],
            Who::All => world.running().map(|(id, _)| id.clone()).collect(),
            Who::Leader => {
                let holder = world.lease_holders().next();
                let leader = holder.or_else(|| world.leaders().next());
                leader.map(|(id, _)| id.clone()).into_iter().collect()
            }
        }
    }

    /// Whoever does not run and could: spares only when they were started before.
    fn startable(&self) -> Vec<M::Id> {
        let hosts = self.world.hosts.iter();
        let could = hosts.filter(|host| {
            host.machine.is_none() && !host.is_gone && (host.starts > 0 || !self.is_spare(&host.id))
        });
        could.map(|host| host.id.clone()).collect()
    }

    fn lose_disk(&mut self, id: &M::Id) -> Result<(), Violation> {
        if self.world.is_gone(id) || !self.world.can_do_without(id) {
            return Ok(());
        }
        self.kill(id)?;
        if let Some(host) = self.world.host_mut(id) {
            host.is_gone = true;
            host.saved = M::Saved::default();
        }
        let hosts = self.world.hosts.iter();
        let mut spares = hosts.filter(|host| host.starts == 0 && self.is_spare(&host.id));
        match spares.next().map(|host| host.id.clone()) {
            Some(spare) => self.begin(&spare),
            None => Ok(()),
        }
    }

    fn cut_where(&mut self, is_meant: impl Fn(&M::Id, &M::Id) -> bool) {
        self.set_cut(true, is_meant);
    }

    fn set_cut(&mut self, is_cut: bool, is_meant: impl Fn(&M::Id, &M::Id) -> bool) {
        let World {
            hosts, links, now, ..
        } = &mut self.world;
        let ways = hosts.iter().flat_map(|from| {
            let to = hosts.iter().map(|to| &to.id);
            to.map(|to| (&from.id, to))
        });
        for ((from, to), link) in ways.zip(links) {
            if link.is_cut != is_cut && is_meant(from, to) {
                link.is_cut = is_cut;
                link.changed = *now;
            }
        }
    }
}
