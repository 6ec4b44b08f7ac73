//! An [`Election`] as the simulator drives it: just as a durable node does, without the polling.

use std::iter;
use std::time::Instant;

use super::dice::Dice;
use super::machine::{Machine, Output, first_word};
use crate::election::Election;
use crate::id::Id;
use crate::message::{Command, Inbound, Message, MessageKind, MsgRouter};
use crate::state::HardState;

impl<I: Id> Machine for Election<I> {
    type Id = I;
    type Message = Message<I>;
    type Input = Command<I>;
    type Write = HardState<I>;
    type Saved = Option<HardState<I>>;

    fn receive(&mut self, now: Instant, from: &I, message: Message<I>) {
        // Refused only by a stopped node.
        let _ = self.handle(now, Inbound::FromNode(from.clone(), message));
    }

    fn ask(&mut self, now: Instant, input: Command<I>) -> bool {
        self.handle(now, Inbound::FromSelf(input)).is_ok()
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn poll_output(&mut self, _: Instant) -> Option<Output<I, Message<I>, HardState<I>>> {
        Some(match Self::poll_output(self)? {
            MsgRouter::ToSelf(state) => Output::Save(state.hard_state),
            MsgRouter::ToNode(to, message) => Output::Send(to, message),
        })
    }

    fn write(saved: &mut Self::Saved, write: HardState<I>) {
        *saved = Some(write);
    }

    fn is_saved(saved: &Self::Saved, write: &HardState<I>) -> bool {
        saved.as_ref() == Some(write)
    }

    fn elections(&self) -> impl Iterator<Item = (u64, &Election<I>)> {
        iter::once((0, self))
    }

    fn hard_states(saved: &Self::Saved) -> impl Iterator<Item = (u64, &HardState<I>)> {
        saved.iter().map(|hard_state| (0, hard_state))
    }

    fn messages(message: &Message<I>) -> impl Iterator<Item = (u64, &Message<I>)> {
        iter::once((0, message))
    }

    fn label(message: &Message<I>) -> String {
        let (kind, term, stamp) = (&message.kind, message.term, message.stamp);
        let more = match kind {
            MessageKind::PreVote { granted, .. } | MessageKind::Vote { granted, .. } => {
                if *granted { " yes" } else { " no" }
            }
            MessageKind::VoteRequest { transfer: true, .. } => " by order",
            _ => "",
        };
        let membership = if message.membership.is_some() {
            " with membership"
        } else {
            ""
        };
        format!(
            "{}{more}, term {term}, {stamp}{membership}",
            first_word(kind)
        )
    }
}

/// What a cluster of elections is asked at random: other voters, a transfer, to resign, another priority.
pub(super) fn random_command<I: Id>(dice: &mut Dice, ids: &[I]) -> Option<Command<I>> {
    Some(match dice.up_to(9) {
        0..=2 => Command::SetNodes(some_of(dice, ids)),
        3..=5 => Command::Transfer(dice.pick(ids)?.clone()),
        6 | 7 => Command::Resign,
        _ => Command::SetPriority(dice.up_to(2)),
    })
}

/// The voters that a cluster of elections is to end with: some of those that live.
pub(super) fn last_wish<I: Id>(dice: &mut Dice, living: &[I]) -> Option<Command<I>> {
    (!living.is_empty()).then(|| Command::SetNodes(some_of(dice, living)))
}

/// One to five of them.
fn some_of<I: Id>(dice: &mut Dice, ids: &[I]) -> Vec<I> {
    let mut left: Vec<&I> = ids.iter().collect();
    let mut chosen = Vec::new();
    let most = dice.up_to(4) + 1;
    while (chosen.len() as u64) < most && !left.is_empty() {
        let at = dice.below(left.len());
        chosen.push(left.swap_remove(at).clone());
    }
    chosen
}
