//! Members as processes: started, heard, killed, stopped, started again, and gone when their crew is.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Failure;
use super::report::Report;

/// For how long anything is waited for. Nothing takes that long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many lines of the past are shown when something goes wrong.
const SHOWN: usize = 300;

/// What a process did.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A report, and the seconds since the process began, by its own clock.
    Said(Report, f64),
    /// On standard error, or a line that is no report.
    Grumbled(String),
    /// It will say no more.
    Fell,
}

/// An event of one member, in its first life, its second, and so on.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) id: String,
    pub(crate) life: usize,
    pub(crate) event: Event,
}

impl Heard {
    /// The report, if it is one.
    pub(crate) fn report(&self) -> Option<Report> {
        match self.event {
            Event::Said(report, _) => Some(report),
            Event::Grumbled(_) | Event::Fell => None,
        }
    }
}

/// How a member is started, in its first life, its second, and so on.
pub(crate) type Starter = Box<dyn Fn(&str, usize) -> Command>;

/// The processes of one cluster.
pub(crate) struct Crew {
    starter: Starter,
    children: BTreeMap<String, Child>,
    lives: BTreeMap<String, usize>,
    started: Instant,
    sender: Sender<Heard>,
    receiver: Receiver<Heard>,
    /// Everything, in the order in which it was heard.
    heard: Vec<Heard>,
}

impl Crew {
    /// Starts a process for each of these ids.
    pub(crate) fn start(ids: &[&str], starter: Starter) -> Result<Self, Failure> {
        let (sender, receiver) = channel();
        let mut crew = Self {
            starter,
            children: BTreeMap::new(),
            lives: BTreeMap::new(),
            started: Instant::now(),
            sender,
            receiver,
            heard: Vec::new(),
        };
        for id in ids {
            crew.spawn(id)?;
        }
        Ok(crew)
    }

    /// Starts one whose process has ended, or has not begun yet.
    pub(crate) fn spawn(&mut self, id: &str) -> Result<(), Failure> {
        let life = self.lives.entry(id.to_owned()).or_default();
        *life += 1;
        let life = *life;
        let mut child = (self.starter)(id, life)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        if let (Some(out), Some(err)) = (out, err) {
            let open = Arc::new(AtomicUsize::new(2));
            self.listen(id, life, err, Event::Grumbled, &open);
            self.listen(id, life, out, said, &open);
        }
        if let Some(mut ended) = self.children.insert(id.to_owned(), child) {
            ended.wait()?; // or it would stay among the processes as one that nobody has asked about
        }
        Ok(())
    }

    /// A thread that passes on what comes out of a process, for as long as it lives. Of those that are `open`, the last
    /// to end says that it fell.
    fn listen(
        &self,
        id: &str,
        life: usize,
        pipe: impl Read + Send + 'static,
        event: impl Fn(String) -> Event + Send + 'static,
        open: &Arc<AtomicUsize>,
    ) {
        let (id, sender, open) = (id.to_owned(), self.sender.clone(), Arc::clone(open));
        thread::spawn(move || {
            let lines = BufReader::new(pipe).lines().map_while(Result::ok);
            let send = |event| {
                let (at, id) = (Instant::now(), id.clone());
                // Nobody listens any more when the crew is gone.
                let _ = sender.send(Heard {
                    at,
                    id,
                    life,
                    event,
                });
            };
            lines.map(event).for_each(send);
            if open.fetch_sub(1, Ordering::AcqRel) == 1 {
                send(Event::Fell);
            }
        });
    }

    /// Kills a process as a power failure would, and waits for its last word.
    pub(crate) fn kill(&mut self, id: &str) -> Result<(), Failure> {
        let life = self.life(id);
        if let Some(child) = self.children.get_mut(id) {
            child.kill()?;
            child.wait()?;
        }
        self.until(&format!("the end of {id}"), |crew| {
            let fell = |heard: &Heard| {
                heard.id == id && heard.life == life && matches!(heard.event, Event::Fell)
            };
            crew.heard.iter().rev().any(fell).then_some(())
        })
    }

    /// Sends a signal, `STOP` or such, by its name. The shell knows how on every Unix.
    pub(crate) fn signal(&self, id: &str, signal: &str) -> Result<(), Failure> {
        let pid = self.children.get(id).ok_or("no such process")?.id();
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid.to_string()])
            .status()?;
        if !status.success() {
            return Err(format!("cannot send {signal} to {id}").into());
        }
        Ok(())
    }

    /// In which life a member is; 0 before the first.
    pub(crate) fn life(&self, id: &str) -> usize {
        self.lives.get(id).copied().unwrap_or(0)
    }

    /// Everything that was heard so far.
    pub(crate) fn heard(&self) -> &[Heard] {
        &self.heard
    }

    /// What was reported as written: by whom, with which token, as which entry.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.heard.iter().filter_map(|heard| {
            let (token, number) = heard.report()?.written()?;
            Some((heard.id.as_str(), token, number))
        })
    }

    /// The end of it as lines, to be read by somebody who wonders what has happened.
    pub(crate) fn log(&self) -> String {
        let from = self.heard.len().saturating_sub(SHOWN);
        let lines = self.heard.iter().skip(from).map(|heard| {
            let at = heard.at - self.started;
            let (id, life) = (&heard.id, heard.life);
            let said = match &heard.event {
                Event::Said(report, own) => format!("at {own}s {report}"),
                Event::Grumbled(text) => format!("! {text}"),
                Event::Fell => "fell silent".to_owned(),
            };
            format!("{:.3} {id}{life} {said}\n", at.as_secs_f64())
        });
        lines.collect()
    }

    /// Listens for so long, whatever comes.
    pub(crate) fn listen_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Ok(heard) = self.receiver.recv_timeout(left(end)) {
            self.heard.push(heard);
        }
    }

    /// Waits until `found` finds what it looks for in what was heard.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        found: impl Fn(&Self) -> Option<T>,
    ) -> Result<T, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(it) = found(self) {
                return Ok(it);
            }
            let Ok(heard) = self.receiver.recv_timeout(left(end)) else {
                return Err(format!("{what}: not within {PATIENCE:?}\n{}", self.log()).into());
            };
            self.heard.push(heard);
        }
    }

    /// Waits for an entry with a newer token than this, and gives its writer and its token.
    pub(crate) fn leader(&mut self, after: u64) -> Result<(String, u64), Failure> {
        self.until(&format!("a writer with a token over {after}"), |crew| {
            crew.heard.iter().rev().find_map(|heard| {
                let (token, _) = heard.report()?.written()?;
                (token > after).then(|| (heard.id.clone(), token))
            })
        })
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            // Both fail only for a process that is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

fn said(line: String) -> Event {
    let parse = || {
        let (own, report) = line.split_once("s ")?;
        Some(Event::Said(report.parse().ok()?, own.parse().ok()?))
    };
    parse().unwrap_or(Event::Grumbled(line))
}

/// The file that members in this folder write to.
pub(crate) fn file_in(folder: &Path) -> PathBuf {
    folder.join("entries")
}
