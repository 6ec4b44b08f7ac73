//! Draws what has happened: a column for each node, an arrow for each message.

use std::fmt::Write;

use super::machine::Machine;
use super::world::World;
use crate::state::NodeType;

/// How wide a node's column is.
const COLUMN: usize = 12;

/// Keeps the last lines of a run. Without any, it costs nothing.
#[derive(Debug)]
pub(super) struct Recorder {
    most: usize,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    at: u64,
    /// How each node was.
    signs: Vec<char>,
    what: What,
    text: String,
}

#[derive(Debug)]
enum What {
    /// From column to column. Arrived or not.
    Arrow(usize, usize, bool),
    /// At one column.
    At(usize),
    /// To all.
    Fault,
}

impl Recorder {
    pub(super) fn new(most: usize) -> Self {
        let lines = Vec::new();
        Self { most, lines }
    }

    fn add<M: Machine>(&mut self, world: &World<M>, what: What, text: String) {
        // Twice as many are kept at most, so that a line costs no move of all others.
        if self.lines.len() >= self.most * 2 {
            self.lines.drain(..self.most);
        }
        let signs = world.hosts.iter().map(|host| {
            let shown = host.shown.first();
            match shown.map(|shown| shown.node_type) {
                _ if host.machine.is_none() => ' ',
                _ if host.paused_until > world.now => 'z',
                Some(NodeType::Leader) => '┃',
                Some(NodeType::Candidate) => '?',
                Some(NodeType::Follower) => '│',
                Some(NodeType::Observer) | None => '┊',
            }
        });
        self.lines.push(Line {
            at: world.now,
            signs: signs.collect(),
            what,
            text,
        });
    }

    pub(super) fn note<M: Machine>(&mut self, world: &World<M>, text: impl FnOnce() -> String) {
        if self.most > 0 {
            self.add(world, What::Fault, text());
        }
    }

    pub(super) fn note_at<M: Machine>(
        &mut self,
        world: &World<M>,
        at: usize,
        text: impl FnOnce() -> String,
    ) {
        if self.most > 0 {
            self.add(world, What::At(at), text());
        }
    }

    /// A node shows something else than before.
    pub(super) fn note_state<M: Machine>(&mut self, world: &World<M>, at: usize) {
        self.note_at(world, at, || {
            let mut text = String::new();
            let Some(host) = world.hosts.get(at) else {
                return text;
            };
            for shown in &host.shown {
                let gap = if text.is_empty() { "" } else { "; " };
                let group = match shown.group {
                    0 => String::new(),
                    group => format!("group {group}: "),
                };
                let leader = match &shown.leader {
                    Some(leader) if !shown.is_leader() => format!(" of {leader:?}"),
                    _ => String::new(),
                };
                let lease = match shown.lease.filter(|_| shown.is_leader()) {
                    Some(end) => format!(", lease to {}", millis(host.clock.when(end))),
                    None => String::new(),
                };
                // What cannot be written into a string is not there to be drawn.
                let _ = write!(
                    text,
                    "{gap}{group}{}{leader}, term {}, {} {:?}{lease}",
                    shown.node_type,
                    shown.term,
                    shown.membership.stamp(),
                    shown.membership.voters
                );
            }
            text
        });
    }

    pub(super) fn delivered<M: Machine>(
        &mut self,
        world: &World<M>,
        (from, to): (usize, usize),
        sent: u64,
        label: impl FnOnce() -> String,
    ) {
        if self.most > 0 {
            let text = format!("{} (sent {})", label(), millis(sent));
            self.add(world, What::Arrow(from, to, true), text);
        }
    }

    pub(super) fn lost<M: Machine>(
        &mut self,
        world: &World<M>,
        (from, to): (usize, usize),
        why: &str,
        label: impl FnOnce() -> String,
    ) {
        if self.most > 0 {
            let text = format!("{}: {why}", label());
            self.add(world, What::Arrow(from, to, false), text);
        }
    }

    pub(super) fn draw<M: Machine>(&self, world: &World<M>) -> String {
        let mut text = format!("{:>10} ", "ms");
        for host in &world.hosts {
            let name = format!("{:?}", host.id);
            let name: String = name.chars().take(COLUMN - 1).collect();
            text += &format!("{name:^COLUMN$}");
        }
        text += "  ┃ leads  ? campaigns  │ follows  ┊ has no vote  z is paused\n";
        let first = self.lines.len().saturating_sub(self.most);
        for line in self.lines.get(first..).unwrap_or_default() {
            text += line.draw().trim_end();
            text.push('\n');
        }
        text
    }
}

impl Line {
    fn draw(&self) -> String {
        let mut cells = vec![' '; self.signs.len() * COLUMN];
        for (at, sign) in self.signs.iter().enumerate() {
            put(&mut cells, center(at), *sign);
        }
        match self.what {
            What::Arrow(from, to, has_arrived) => {
                let (start, end) = (center(from), center(to));
                let right = start < end;
                let (low, high) = if right { (start, end) } else { (end, start) };
                for at in low + 1..high {
                    put(&mut cells, at, '─');
                }
                let head = match (has_arrived, right) {
                    (false, _) => '✗',
                    (true, true) => '▶',
                    (true, false) => '◀',
                };
                put(&mut cells, start, '●');
                put(&mut cells, if right { end - 1 } else { end + 1 }, head);
            }
            What::At(at) => put(&mut cells, center(at), '◆'),
            What::Fault => {
                return format!("{:>10} ━━ {}", millis(self.at), self.text);
            }
        }
        let cells: String = cells.into_iter().collect();
        format!("{:>10} {cells}  {}", millis(self.at), self.text)
    }
}

fn center(at: usize) -> usize {
    at * COLUMN + COLUMN / 2
}

fn put(cells: &mut [char], at: usize, sign: char) {
    if let Some(cell) = cells.get_mut(at) {
        *cell = sign;
    }
}

/// In milliseconds, to the microsecond.
fn millis(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1_000_000, nanos / 1_000 % 1_000)
}
