//! What was learned from what the members said: who led, what was refused, who ended. And the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use super::Failure;
use super::crew::{Crew, Event, Heard};
use super::report::Report;

/// For how long a member that was stopped may find out what it had under way.
const DROWSY: Duration = Duration::from_secs(1);

/// A member's first life, its second, and so on.
pub(crate) type Life = (String, usize);

/// All that is kept of what was heard.
pub(crate) struct Notes {
    started: Instant,
    log: File,
    /// How much of what was heard is noted.
    seen: usize,
    /// Who wrote last, with which token.
    pub(crate) leader: Option<(u8, u64)>,
    /// Who ever reported anything under each token.
    pub(crate) tokens: BTreeMap<u64, String>,
    /// Entries that the file did not take, and those of them that the file alone has stopped: their writer was awake.
    pub(crate) refused: usize,
    pub(crate) refused_awake: usize,
    /// When a member that was stopped went on.
    woken: BTreeMap<String, Instant>,
    /// Lives that ended because no room was left for the vote.
    pub(crate) out_of_space: BTreeSet<Life>,
    /// The last life of each member that has ended, and the last that was killed.
    pub(crate) fallen: BTreeMap<String, usize>,
    pub(crate) killed: BTreeMap<String, usize>,
    /// When a life began, and the last that was heard of it: by our clock, and by its own.
    pub(crate) lives: BTreeMap<Life, [(Instant, f64); 2]>,
}

impl Notes {
    pub(crate) fn new(log: File) -> Self {
        Self {
            started: Instant::now(),
            log,
            seen: 0,
            leader: None,
            tokens: BTreeMap::new(),
            refused: 0,
            refused_awake: 0,
            woken: BTreeMap::new(),
            out_of_space: BTreeSet::new(),
            fallen: BTreeMap::new(),
            killed: BTreeMap::new(),
            lives: BTreeMap::new(),
        }
    }

    /// Says something with its time, and writes it into the log.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), Failure> {
        println!("{:8.3} {text}", self.started.elapsed().as_secs_f64());
        self.write(Instant::now(), text)
    }

    fn write(&mut self, at: Instant, text: &str) -> Result<(), Failure> {
        let at = at.saturating_duration_since(self.started).as_secs_f64();
        Ok(writeln!(self.log, "{at:8.3} {text}")?)
    }

    pub(crate) fn wakes(&mut self, id: &str) {
        self.woken.insert(id.to_owned(), Instant::now());
    }

    /// Notes what is new.
    pub(crate) fn take(&mut self, crew: &Crew) -> Result<(), Failure> {
        for heard in &crew.heard()[self.seen..] {
            let (id, life) = (&heard.id, heard.life);
            match &heard.event {
                Event::Said(report, own) => {
                    self.write(heard.at, &format!("{id}.{life} at {own} {report}"))?;
                    let now = (heard.at, *own);
                    let life = self.lives.entry((id.clone(), life));
                    life.or_insert([now, now])[1] = now;
                }
                Event::Grumbled(text) => self.write(heard.at, &format!("{id}.{life} ! {text}"))?,
                Event::Fell => self.write(heard.at, &format!("{id}.{life} has ended"))?,
            }
            self.learn(heard)?;
        }
        self.seen = crew.heard().len();
        Ok(())
    }

    fn learn(&mut self, heard: &Heard) -> Result<(), Failure> {
        let (id, life) = (&heard.id, heard.life);
        let report = match &heard.event {
            Event::Said(report, _) => *report,
            Event::Grumbled(text) => {
                if text.starts_with("singleton: ") && text.contains("No space left") {
                    self.out_of_space.insert((id.clone(), life));
                }
                return Ok(());
            }
            Event::Fell => {
                self.fallen.insert(id.clone(), life);
                let lacked_space = self.out_of_space.contains(&(id.clone(), life));
                if lacked_space || self.killed.get(id) == Some(&life) {
                    return Ok(());
                }
                return Err(format!("{id}.{life} ended by itself").into());
            }
        };
        let token = match report {
            Report::Begins { .. } => return Ok(()),
            Report::Leads { token, .. } | Report::Wrote { token, .. } => {
                self.leader = Some((id.parse()?, token));
                token
            }
            Report::Refused { token, .. } => {
                self.refused += 1;
                let woken = self.woken.get(id);
                let slept = woken.is_some_and(|woken| heard.at < *woken + DROWSY);
                self.refused_awake += usize::from(!slept);
                token
            }
            Report::Lost { token } => token,
        };
        let holder = self.tokens.entry(token).or_insert_with(|| id.clone());
        if holder != id {
            return Err(format!("VIOLATION: {holder} and {id} both had token {token}").into());
        }
        Ok(())
    }
}
