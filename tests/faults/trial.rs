//! Five members in the sandbox: what each fault does to them, how it ends, and what must hold meanwhile.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Failure;
use super::audit::{Audit, audit};
use super::crew::{Crew, file_in};
use super::members::{Clocks, disk, starter};
use super::network::{Cut, NODES, Network};
use super::notes::Notes;
use super::plan::{Fault, Kind, Plan};
use super::sandbox;

/// How many processes may be away at a time, so that a quorum is there to be disturbed.
const MOST_AWAY: usize = 2;

/// How a fault ends.
enum Undo {
    Hear(Cut),
    Calm(Kind, Vec<(u8, u8)>),
    Start(Vec<u8>),
    Continue(u8),
    Space(u8),
}

pub(crate) struct Trial {
    pub(crate) crew: Crew,
    folder: PathBuf,
    clocks: Rc<RefCell<Clocks>>,
    pub(crate) network: Network,
    /// Faults that have not ended, and when they will.
    active: Vec<(Instant, Undo)>,
    /// Whose process is killed, stopped or about to end for want of room.
    away: BTreeSet<u8>,
    pub(crate) notes: Notes,
}

impl Trial {
    pub(crate) fn new(program: &Path, folder: &Path, plan: &mut Plan) -> Result<Self, Failure> {
        let network = Network::new(plan)?;
        for node in 1..=NODES {
            sandbox::mount_disk(&disk(folder, node))?;
        }
        let clocks = Rc::new(RefCell::new(Clocks::default()));
        for node in 1..=NODES {
            clocks.borrow_mut().present.insert(node, plan.clock());
        }
        let ids: Vec<_> = (1..=NODES).map(|node| node.to_string()).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let starter = starter(program, folder, &clocks);
        let mut crew = Crew::start(&ids, starter)?;
        crew.leader(0)?;
        Ok(Self {
            crew,
            folder: folder.to_owned(),
            clocks,
            network,
            active: Vec::new(),
            away: BTreeSet::new(),
            notes: Notes::new(File::create(folder.join("log"))?),
        })
    }

    /// Whether this fault can come on top of those that are there.
    pub(crate) fn bears(&self, fault: &Fault) -> bool {
        match fault.kind {
            Kind::Kill | Kind::Stop | Kind::FullDisk | Kind::Clock => {
                self.away.len() < MOST_AWAY && !self.away.contains(&fault.victim)
            }
            Kind::Blackout => self.away.is_empty(),
            _ => true,
        }
    }

    pub(crate) fn begin(&mut self, fault: &Fault, plan: &mut Plan) -> Result<(), Failure> {
        let victim = fault.victim;
        let mut time = fault.time;
        let undo = match fault.kind {
            Kind::Split | Kind::Isolate | Kind::Deaf | Kind::Mute | Kind::Link | Kind::OneWay => {
                Undo::Hear(Network::cut(fault)?)
            }
            Kind::Delay | Kind::Reorder | Kind::Duplicate | Kind::Lose => {
                Undo::Calm(fault.kind, self.network.blow(fault))
            }
            Kind::Kill => {
                self.kill(victim)?;
                self.away.insert(victim);
                Undo::Start(vec![victim])
            }
            Kind::Stop => {
                self.crew.signal(&victim.to_string(), "STOP")?;
                self.away.insert(victim);
                Undo::Continue(victim)
            }
            Kind::FullDisk => {
                // Long enough for an election to come, which is when a vote has to be kept.
                time *= 3;
                sandbox::fill(&disk(&self.folder, victim))?;
                self.away.insert(victim);
                Undo::Space(victim)
            }
            Kind::Clock => {
                self.kill(victim)?;
                let clock = plan.clock();
                self.clocks.borrow_mut().present.insert(victim, clock);
                self.crew.spawn(&victim.to_string())?;
                return Ok(());
            }
            Kind::Blackout => {
                for node in 1..=NODES {
                    self.kill(node)?;
                    self.away.insert(node);
                }
                Undo::Start((1..=NODES).collect())
            }
        };
        self.active.push((Instant::now() + time, undo));
        Ok(())
    }

    fn kill(&mut self, node: u8) -> Result<(), Failure> {
        let id = node.to_string();
        self.notes.killed.insert(id.clone(), self.crew.life(&id));
        self.crew.kill(&id)
    }

    fn end(&mut self, undo: Undo) -> Result<(), Failure> {
        match undo {
            Undo::Hear(cut) => Network::mend(cut)?,
            Undo::Calm(kind, pairs) => self.network.calm(kind, &pairs),
            Undo::Start(nodes) => {
                for node in nodes {
                    self.crew.spawn(&node.to_string())?;
                    self.away.remove(&node);
                }
            }
            Undo::Continue(node) => {
                let id = node.to_string();
                self.notes.wakes(&id);
                self.crew.signal(&id, "CONT")?;
                self.away.remove(&node);
            }
            Undo::Space(node) => {
                sandbox::clear(&disk(&self.folder, node))?;
                self.away.remove(&node);
            }
        }
        Ok(())
    }

    /// Lets so much time go by, and ends what is due.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            let next = self.active.iter().map(|(at, _)| *at).min();
            let until = next.unwrap_or(end).min(end);
            self.crew
                .listen_for(until.saturating_duration_since(Instant::now()));
            self.note()?;
            let now = Instant::now();
            let (due, rest) = std::mem::take(&mut self.active)
                .into_iter()
                .partition(|(at, _)| *at <= now);
            self.active = rest;
            let due: Vec<(Instant, Undo)> = due;
            for (_, undo) in due {
                self.end(undo)?;
            }
            self.supervise()?;
            if now >= end {
                return Ok(());
            }
        }
    }

    /// Starts anew who has ended by itself and has room again.
    fn supervise(&mut self) -> Result<(), Failure> {
        for node in (1..=NODES).filter(|node| !self.away.contains(node)) {
            let id = node.to_string();
            if self.notes.fallen.get(&id) == Some(&self.crew.life(&id)) {
                self.crew.spawn(&id)?;
            }
        }
        Ok(())
    }

    /// Ends every fault and waits until somebody writes again. Gives how long that took.
    pub(crate) fn settle(&mut self) -> Result<Duration, Failure> {
        for (_, undo) in std::mem::take(&mut self.active) {
            self.end(undo)?;
        }
        self.supervise()?;
        let (healed, before) = (Instant::now(), self.crew.heard().len());
        let written = |crew: &Crew| {
            let since = crew
                .heard()
                .iter()
                .skip(before)
                .filter(|heard| heard.at > healed);
            let mut entries =
                since.filter_map(|heard| Some((heard.at, heard.report()?.written()?)));
            entries.next().map(|(at, _)| at)
        };
        let written = self
            .crew
            .until("a writer after all faults have ended", written);
        self.note()?;
        Ok(written? - healed)
    }

    pub(crate) fn note(&mut self) -> Result<(), Failure> {
        self.notes.take(&self.crew)
    }

    /// Ends all members, and looks through the file.
    pub(crate) fn check(&mut self) -> Result<Audit, Failure> {
        for node in 1..=NODES {
            self.kill(node)?;
        }
        self.note()?;
        Ok(audit(&file_in(&self.folder), self.crew.written())?)
    }

    /// How many lives were long enough to see that their clock was as wrong as it was meant to be.
    pub(crate) fn wrong_clocks(&self) -> Result<usize, Failure> {
        self.clocks.borrow().seen_wrong(&self.notes.lives)
    }

    /// The file as it is now.
    pub(crate) fn look(&self) -> Result<Audit, Failure> {
        Ok(audit(&file_in(&self.folder), [])?)
    }
}
