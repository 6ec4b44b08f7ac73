//! How the simulator drives a node with a log.

use std::iter;
use std::time::Instant;

use super::super::machine::{Machine, Output, first_word};
use super::{LogInput, LogNode};
use crate::election::Election;
use crate::id::Id;
use crate::message::Message;
use crate::raft::{MemoryLog, RaftMessage, Write};
use crate::state::HardState;

impl<I: Id> Machine for LogNode<I> {
    type Id = I;
    type Message = RaftMessage<I>;
    type Input = LogInput<I>;
    type Write = Write<I>;
    type Saved = MemoryLog<I>;

    fn receive(&mut self, now: Instant, from: &I, message: RaftMessage<I>) {
        self.raft.receive(now, from, message);
        self.serve(now);
    }

    fn ask(&mut self, now: Instant, input: LogInput<I>) -> bool {
        match input {
            LogInput::Command(command) => self.raft.command(now, command).is_ok(),
            LogInput::Propose(value, count) => self.propose(value, count),
            LogInput::Entry(data) => self.raft.propose(&data).is_ok(),
            LogInput::Read => self.read(now),
            LogInput::Compact => {
                self.compact();
                true
            }
            LogInput::All(command, value) => {
                let taken = self.raft.command(now, command).is_ok();
                self.read(now) & self.propose(value, 1) & taken
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.raft.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.raft.poll_timeout()
    }

    fn poll_output(&mut self, now: Instant) -> Option<Output<I, RaftMessage<I>, Write<I>>> {
        match self.next_output(now) {
            Ok(output) => output,
            Err(error) => {
                self.broken = Some(error.to_string());
                None
            }
        }
    }

    fn appended(&mut self, _: Instant) {
        self.writing = self.writing.saturating_sub(1);
        if self.flushing > 0 {
            self.flushing -= 1;
            if self.flushing == 0 {
                self.raft.flushed();
            }
        }
    }

    fn waits_for_disk(&self) -> bool {
        !self.raft.is_saved()
    }

    fn write(saved: &mut MemoryLog<I>, write: Write<I>) {
        write.hand_to(saved);
    }

    fn elections(&self) -> impl Iterator<Item = (u64, &Election<I>)> {
        iter::once((0, self.raft.election()))
    }

    fn hard_states(saved: &MemoryLog<I>) -> impl Iterator<Item = (u64, &HardState<I>)> {
        saved
            .hard_state()
            .into_iter()
            .map(|hard_state| (0, hard_state))
    }

    fn messages(message: &RaftMessage<I>) -> impl Iterator<Item = (u64, &Message<I>)> {
        let election = match message {
            RaftMessage::Election(message) => Some(message),
            _ => None,
        };
        election.into_iter().map(|message| (0, message))
    }

    fn label(message: &RaftMessage<I>) -> String {
        match message {
            RaftMessage::Election(message) => <Election<I> as Machine>::label(message),
            RaftMessage::Append(append) => format!(
                "Append behind {}.{}, {:?}, commit {}, round {}",
                append.previous.term,
                append.previous.index,
                append.entries,
                append.commit,
                append.head.round
            ),
            RaftMessage::AppendAck(ack) => format!(
                "AppendAck {}, round {}, refused {:?}",
                ack.matched, ack.head.round, ack.refused
            ),
            other => first_word(other),
        }
    }
}
