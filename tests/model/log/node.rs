//! One node with a log: the shipping [`Replication`], its clock, its disk with what waits to get there, and what happens to it in
//! one step.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use streamraft::raft::{
    CompactError, RaftMessage, ReadIndex, ReadState, Replication, Snapshot, SnapshotPart, Write,
};
use streamraft::{Command, MsgRouter, NodeType};

use crate::log::bounds::{Bounds, PART};
use crate::log::disk::{Disk, Found, Log};
use crate::log::judge::{Fault, Sight, Sights};
use crate::log::letters::Letter;
use crate::log::tables::Memo;
use crate::log::view::view;
use crate::view::TICK;

/// What can happen to a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    Letter(&'static Letter),
    /// Its clock ticks. The node does nothing.
    Tick,
    /// Its owner polls it.
    Fire,
    /// The flush that is under way is over.
    Flushed,
    /// It has failed, and another one begins.
    Failed,
    /// It is killed and starts from its disk, which holds so much more than what was flushed.
    Crash(u8),
    /// An entry of this name.
    Propose(u8),
    /// A read, which has to see all up to this index.
    Read(u8),
    /// Its state machine, which has applied all that is committed, is kept as a snapshot.
    Compact,
    Order(u32, &'a Command<u8>),
}

/// The state of one node. There is one of each view, so that its number says all.
pub(crate) struct Node {
    pub(crate) number: u32,
    pub(crate) id: u8,
    pub(crate) body: Body,
    /// Tells apart what the view does not.
    pub(crate) exact: u64,
    pub(crate) memo: Memo,
    pub(crate) term: u64,
    pub(crate) leads: bool,
    pub(crate) commit: u64,
    /// The log that it goes by, and what of it survives a crash.
    pub(crate) log: Log,
    pub(crate) disk: Log,
    /// The term that it does not fall behind, whatever happens.
    pub(crate) saved_term: u64,
    pub(crate) voters: Vec<u8>,
    /// How many ways there are to lose what is not flushed.
    pub(crate) tears: u8,
}

/// What a node consists of.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) raft: Replication<u8>,
    pub(crate) now: Instant,
    /// What was flushed.
    disk: Disk,
    /// What was handed over behind it, and how much of that the flush is of that is under way.
    pending: Vec<Write<u8>>,
    flushing: Option<usize>,
    /// Reads that wait, and what each has to see.
    reads: Vec<(ReadIndex, u64)>,
    starts: u8,
}

/// What came of a step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) body: Body,
    pub(crate) sent: Vec<(u8, RaftMessage<u8>)>,
    pub(crate) fault: Option<Fault>,
    pub(crate) sights: Sights,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.number);
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.body.raft.state().node_type();
        let all = |log: &Log| -> Vec<_> { log.all().map(|held| held.position.term).collect() };
        write!(
            f,
            "{} {kind:?} term {} log {:?} commit {} disk {:?}",
            self.id,
            self.term,
            all(&self.log),
            self.commit,
            all(&self.disk)
        )
    }
}

impl Node {
    pub(crate) fn new(number: u32, exact: u64, body: Body) -> Self {
        let state = body.raft.state();
        let hard_state = body.disk.hard_state.as_ref();
        Self {
            number,
            id: body.id(),
            exact,
            memo: Memo::default(),
            term: state.term(),
            leads: state.node_type() == NodeType::Leader,
            commit: body.raft.commit(),
            log: body.whole().log(),
            disk: body.disk.log(),
            saved_term: hard_state.map_or(0, streamraft::HardState::term),
            voters: state.nodes().to_vec(),
            tears: body.tears(),
            body,
        }
    }

    pub(crate) fn is_saved(&self) -> bool {
        self.body.raft.is_saved()
    }

    pub(crate) fn is_flushing(&self) -> bool {
        self.body.flushing.is_some()
    }
}

impl Body {
    /// Starts a node that has never run.
    pub(crate) fn new(bounds: &Bounds, id: u8, now: Instant) -> Self {
        let started = Self::start(bounds, id, Disk::default(), now, 0);
        started.expect("good settings")
    }

    fn start(bounds: &Bounds, id: u8, disk: Disk, now: Instant, starts: u8) -> Option<Self> {
        let config = bounds.config(id, starts);
        let raft = Replication::new(config, bounds.limits(), disk.recovered(), now).ok()?;
        Some(Self {
            raft,
            now,
            disk,
            pending: Vec::new(),
            flushing: None,
            reads: Vec::new(),
            starts,
        })
    }

    pub(crate) fn id(&self) -> u8 {
        *self.raft.election().node_id()
    }

    pub(crate) fn view(&self) -> (String, u64) {
        let rest = (&self.disk, &self.pending, self.flushing, &self.reads);
        view(&self.raft, self.now, &rest)
    }

    /// What the disk holds when all that was handed over is on it.
    fn whole(&self) -> Disk {
        let mut disk = self.disk.clone();
        self.pending.iter().for_each(|write| disk.apply(write));
        disk
    }

    /// How many entries and other things wait to get to the disk.
    fn tears(&self) -> u8 {
        let units = self.pending.iter().map(units).sum::<usize>();
        u8::try_from(units).expect("few")
    }

    /// What this input makes of it. What is to be written is handed over at once, a flush begins as soon as it may, and what
    /// comes out is sent.
    pub(crate) fn step(&self, bounds: &Bounds, input: Input<'_>) -> Step {
        let mut body = self.clone();
        let mut step = Step {
            body: self.clone(),
            sent: Vec::new(),
            fault: None,
            sights: Sights::default(),
        };
        match input {
            Input::Letter(letter) => {
                let message = letter.message.clone();
                body.raft.receive(body.now, &letter.from, message);
            }
            Input::Tick => {
                body.now += TICK;
                // Nobody looks at it.
                return Step { body, ..step };
            }
            Input::Fire => body.raft.handle_timeout(body.now),
            Input::Flushed => body.flush(),
            Input::Failed => {
                body.flushing = None;
                body.raft.flush_failed(body.now);
            }
            Input::Crash(kept) => match body.crash(bounds, kept.into()) {
                Some(started) => body = started,
                None => step.fault = Some(Fault::Damaged),
            },
            // A refusal changes nothing.
            Input::Propose(name) => {
                let _ = body.raft.propose(&[name]);
            }
            Input::Read(least) => {
                if let Ok(read) = body.raft.read(body.now) {
                    body.reads.push((read, least.into()));
                }
            }
            Input::Compact => body.compact(&mut step),
            Input::Order(_, order) => {
                let _ = body.raft.command(body.now, order.clone());
            }
        }
        body.settle(bounds, &mut step);
        body.answer(&mut step);
        step.fault = step.fault.or_else(|| body.judge(self, input));
        step.sights
            .see(self, &body, matches!(input, Input::Letter(_)));
        step.body = body;
        step
    }

    fn hand_over(&mut self) -> bool {
        let before = self.pending.len();
        while let Some(write) = self.raft.poll_write() {
            self.pending.push(write);
        }
        self.pending.len() > before
    }

    fn settle(&mut self, bounds: &Bounds, step: &mut Step) {
        let is_slow = bounds.slow.contains(&self.id());
        loop {
            let mut is_idle = !self.hand_over();
            if self.raft.wants_flush() {
                self.raft.begin_flush(self.now);
                self.flushing = Some(self.pending.len());
                is_idle = false;
            }
            while let Some(output) = self.raft.poll_output() {
                is_idle = false;
                self.come_out(output, step);
            }
            // Of what is being written nothing can be read.
            while self.pending.is_empty()
                && let Some(read) = self.raft.poll_read()
            {
                is_idle = false;
                match self.disk.read(read) {
                    Found::Entries(batch) => self.raft.entries_read(batch),
                    Found::Part(offset, data) => self.raft.snapshot_read(offset, data),
                }
            }
            if self.flushing.is_some() && !is_slow {
                is_idle = false;
                self.flush();
            }
            if is_idle {
                return;
            }
        }
    }

    fn come_out(&mut self, output: MsgRouter<u8, RaftMessage<u8>>, step: &mut Step) {
        if self.disk.hard_state.as_ref() != Some(self.raft.state().hard_state()) {
            step.fault = step.fault.or(Some(Fault::SaidUnsaved));
        }
        let MsgRouter::ToNode(to, mut message) = output else {
            return;
        };
        if let RaftMessage::Election(said) = &mut message
            && said.membership.is_none()
        {
            // Left out for whoever holds it (`../letters.rs`).
            let membership = self.raft.state().hard_state().membership();
            said.membership = Some(Arc::clone(membership));
        }
        if let RaftMessage::AppendAck(ack) = &message {
            let is_there = self.disk.log().last().position.index >= ack.matched;
            let fault = (!is_there).then_some(Fault::AckedUnsaved);
            step.fault = step.fault.or(fault);
            step.sights.add_if(Sight::Refusal, ack.refused.is_some());
        }
        step.sights
            .add_if(Sight::Part, matches!(message, RaftMessage::Snapshot(_)));
        step.sent.push((to, message));
    }

    fn flush(&mut self) {
        if let Some(count) = self.flushing.take() {
            for write in self.pending.drain(..count) {
                self.disk.apply(&write);
            }
            self.raft.flushed();
        }
    }

    /// Starts again with so much of what was handed over and not flushed: a beginning of it, which may end within a batch.
    fn crash(&self, bounds: &Bounds, mut kept: usize) -> Option<Self> {
        let mut disk = self.disk.clone();
        for write in &self.pending {
            match write {
                Write::Append(batch) => disk.append(batch, kept),
                _ if kept > 0 => disk.apply(write),
                _ => {}
            }
            kept = kept.saturating_sub(units(write));
            if kept == 0 {
                break;
            }
        }
        if bounds.forgetful {
            disk.forget();
        }
        Self::start(bounds, self.id(), disk, self.now, self.starts + 1)
    }

    fn compact(&mut self, step: &mut Step) {
        let commit = self.raft.commit();
        let Some(held) = self.whole().log().at(commit) else {
            return;
        };
        let state = held.state();
        let (len, checksum) = (state.len() as u64, crc32(&state));
        let snapshot = Snapshot::new(held.position, len, checksum);
        for offset in (0..state.len()).step_by(PART) {
            let data = state.slice(offset..state.len().min(offset + PART));
            let part = SnapshotPart::new(snapshot, offset as u64, data);
            match self.raft.compact(&part) {
                Ok(()) => {}
                Err(CompactError::Position { .. } | CompactError::Busy) => return,
                Err(_) => step.fault = Some(Fault::Damaged),
            }
            self.hand_over();
        }
        step.sights.add(Sight::Compacted);
    }

    /// Answers the reads that may be answered.
    fn answer(&mut self, step: &mut Step) {
        let mut reads = std::mem::take(&mut self.reads);
        reads.retain(|(read, least)| match self.raft.read_state(read) {
            ReadState::Waiting => true,
            ReadState::Ready if read.index > self.raft.commit() => true,
            ReadState::Ready => {
                step.sights.add(Sight::Answered);
                if read.index < *least {
                    step.fault = step.fault.or(Some(Fault::StaleRead));
                }
                false
            }
            _ => false,
        });
        self.reads = reads;
    }

    /// What one node alone must keep.
    fn judge(&self, before: &Self, input: Input<'_>) -> Option<Fault> {
        let (log, old) = (self.whole().log(), before.whole().log());
        let term = |index| self.raft.term_at(index);
        let differs = log
            .all()
            .any(|held| term(held.position.index) != Some(held.position.term));
        if differs || self.raft.last() != log.last().position {
            return Some(Fault::StoreApart);
        }
        if matches!(input, Input::Crash(_)) {
            return None;
        }
        let leads = |body: &Self| {
            let state = body.raft.state();
            (state.node_type() == NodeType::Leader).then(|| state.term())
        };
        let kept = |held: crate::log::disk::Held| log.covers(held);
        if leads(self).is_some() && leads(self) == leads(before) && !old.all().all(kept) {
            return Some(Fault::Rewritten);
        }
        (self.raft.commit() < before.raft.commit()).then_some(Fault::CommitFell)
    }

    /// Whether an entry was dropped for another, since this.
    pub(crate) fn has_truncated(&self, before: &Self) -> bool {
        let (log, old) = (self.whole().log(), before.whole().log());
        old.all().any(|held| !log.covers(held))
    }

    /// How far its snapshot reaches.
    pub(crate) fn snapshot(&self) -> u64 {
        let snapshot = self.raft.snapshot();
        snapshot.map_or(0, |snapshot| snapshot.position.index)
    }

    /// Whether it has not started again since this.
    pub(crate) fn has_run_since(&self, before: &Self) -> bool {
        self.starts == before.starts
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.starts > 0
    }

    pub(crate) fn waiting_reads(&self) -> usize {
        self.reads.len()
    }
}

/// How many parts of a write can be on the disk without the rest.
fn units(write: &Write<u8>) -> usize {
    match write {
        Write::Append(batch) => batch.len(),
        _ => 1,
    }
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |sum: u32, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
    let byte = |sum: u32, byte: &u8| (0..8).fold(sum ^ u32::from(*byte), bit);
    !bytes.iter().fold(!0, byte)
}
