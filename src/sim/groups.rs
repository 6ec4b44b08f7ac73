//! Many elections of one machine as the simulator drives them: a single node for each group, and the links between the
//! machines for all of them.

use std::collections::BTreeMap;
use std::iter;
use std::time::Instant;

use super::builder::Builder;
use super::cluster::Cluster;
use super::dice::Dice;
use super::election::{last_wish, random_command};
use super::invariant::OutputsBounded;
use super::machine::{Boot, Machine, Output, StartError, first_word};
use crate::config::Config;
use crate::election::Election;
use crate::groups::Elections;
use crate::id::Id;
use crate::message::{Command, Inbound, Message, MessageKind, MsgRouter};
use crate::state::HardState;

/// [`Elections`] of a few groups, numbered from 0, each with the same members. Made by [`Cluster::groups`].
#[derive(Clone, Debug)]
pub struct GroupsMachine<I> {
    elections: Elections<u64, I>,
    /// What the groups begin with, by number.
    configs: Vec<Config<I>>,
    /// What an onlooker sees of them: with all that the links have heard, and nothing that is not saved.
    shown: BTreeMap<u64, Election<I>>,
    /// The group whose state is being saved.
    saving: Option<u64>,
    /// Of a group that begins anew: saved before it says anything.
    saves: Vec<(u64, HardState<I>)>,
    restarts: u64,
}

/// What the owner of a [`GroupsMachine`] can ask.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum GroupsInput<I> {
    /// Of the node in this group.
    Command(u64, Command<I>),
    /// Of its nodes in all groups.
    All(Command<I>),
    /// Takes the group out and puts it in again, with what it must remember: a restart of one node in many.
    Restart(u64),
}

impl<I: Id> GroupsMachine<I> {
    fn new(boot: &Boot<'_, Self>, groups: u64) -> Result<Self, StartError> {
        let configs: Vec<Config<I>> = (0..groups)
            .map(|group| Ok(boot.config_of(group)?.seed(boot.seed.wrapping_add(group))))
            .collect::<Result<_, StartError>>()?;
        let common = boot.config_of(groups)?;
        let mut machine = Self {
            elections: Elections::new(&common, boot.seed)?,
            configs,
            shown: BTreeMap::new(),
            saving: None,
            saves: Vec::new(),
            restarts: 0,
        };
        for (group, config) in (0..).zip(machine.configs.clone()) {
            machine.elections.insert(boot.now, group, config)?;
        }
        machine.look();
        Ok(machine)
    }

    /// The elections themselves.
    #[must_use]
    pub fn get_ref(&self) -> &Elections<u64, I> {
        &self.elections
    }

    fn look(&mut self) {
        let Self {
            elections,
            shown,
            saving,
            saves,
            ..
        } = self;
        shown.retain(|key, _| elections.keys().any(|known| known == key));
        for key in elections.keys() {
            let is_saved = *saving != Some(*key) && saves.iter().all(|(group, _)| group != key);
            let is_said = is_saved && !elections.has_news(key);
            if let Some(election) = elections.election(key)
                && (is_said || !shown.contains_key(key))
            {
                shown.insert(*key, election);
            }
        }
    }

    fn restart(&mut self, now: Instant, group: u64) -> bool {
        let config = usize::try_from(group)
            .ok()
            .and_then(|at| self.configs.get(at).cloned());
        let (Some(config), Some(kept)) = (config, self.elections.remove(now, &group)) else {
            return false;
        };
        self.saves.retain(|(of, _)| *of != group);
        self.saves.push((group, kept.clone()));
        // A start with another seed, as every start is.
        self.restarts += 1;
        let seed = config.get_seed().unwrap_or_default();
        let config = config.seed(seed.wrapping_mul(31).wrapping_add(self.restarts));
        self.elections
            .insert(now, group, config.restore(kept))
            .is_ok()
    }
}

impl<I: Id> Machine for GroupsMachine<I> {
    type Id = I;
    type Message = (u64, Message<I>);
    type Input = GroupsInput<I>;
    type Write = (u64, HardState<I>);
    type Saved = BTreeMap<u64, HardState<I>>;

    const SHOWS_WHILE_IT_SAVES: bool = true;

    fn receive(&mut self, now: Instant, from: &I, (group, message): (u64, Message<I>)) {
        // Refused only by a stopped machine.
        let _ = self
            .elections
            .handle(now, &group, Inbound::FromNode(from.clone(), message));
        self.look();
    }

    fn ask(&mut self, now: Instant, input: GroupsInput<I>) -> bool {
        let is_taken = match input {
            GroupsInput::Command(group, command) => self
                .elections
                .handle(now, &group, Inbound::FromSelf(command))
                .is_ok(),
            GroupsInput::All(command) => {
                let mut is_taken = true;
                for group in 0..self.configs.len() as u64 {
                    let input = Inbound::FromSelf(command.clone());
                    is_taken &= self.elections.handle(now, &group, input).is_ok();
                }
                is_taken
            }
            GroupsInput::Restart(group) => self.restart(now, group),
        };
        self.look();
        is_taken
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.elections.handle_timeout(now);
        self.look();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.elections.poll_timeout()
    }

    fn poll_output(&mut self, _: Instant) -> Option<Output<I, Self::Message, Self::Write>> {
        // What was to be saved has been.
        if self.saving.take().is_some() {
            self.look();
        }
        if let Some(save) = self.saves.pop() {
            self.saving = Some(save.0);
            return Some(Output::Save(save));
        }
        let (group, output) = self.elections.poll_output()?;
        Some(match output {
            MsgRouter::ToSelf(state) => {
                self.saving = Some(group);
                Output::Save((group, state.hard_state))
            }
            MsgRouter::ToNode(to, message) => Output::Send(to, (group, message)),
        })
    }

    fn write(saved: &mut Self::Saved, (group, hard_state): Self::Write) {
        saved.insert(group, hard_state);
    }

    fn is_saved(saved: &Self::Saved, (group, hard_state): &Self::Write) -> bool {
        saved.get(group) == Some(hard_state)
    }

    fn elections(&self) -> impl Iterator<Item = (u64, &Election<I>)> {
        self.shown
            .iter()
            .map(|(group, election)| (*group, election))
    }

    fn hard_states(saved: &Self::Saved) -> impl Iterator<Item = (u64, &HardState<I>)> {
        saved.iter().map(|(group, hard_state)| (*group, hard_state))
    }

    fn messages((group, message): &Self::Message) -> impl Iterator<Item = (u64, &Message<I>)> {
        let is_of_link = matches!(message.kind, MessageKind::Beat(_) | MessageKind::BeatAck(_));
        iter::once((*group, message)).filter(move |_| !is_of_link)
    }

    fn heard(&self, from: &I, (group, message): &Self::Message) -> Vec<(u64, u64)> {
        match message.kind {
            MessageKind::Ping { .. } => vec![(*group, message.term)],
            MessageKind::Beat(ref beat) => {
                let heard = self
                    .shown
                    .iter()
                    .filter(|(group, _)| self.elections.hears_by_beats(group, from, beat));
                heard
                    .map(|(group, election)| (*group, election.state().term()))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn may_have_heard(&self, from: &I, message: &Self::Message) -> Vec<(u64, u64)> {
        self.heard(from, message)
    }

    fn label((group, message): &Self::Message) -> String {
        match &message.kind {
            MessageKind::Beat(beat) | MessageKind::BeatAck(beat) => {
                format!(
                    "{} {}, news {:?}",
                    first_word(&message.kind),
                    beat.round,
                    beat.news
                )
            }
            MessageKind::Attach(at) | MessageKind::Attached(at) => {
                format!("{group}: {} {}", first_word(&message.kind), at.number)
            }
            _ => format!("{group}: {}", Election::label(message)),
        }
    }
}

impl<I: Id> Cluster<GroupsMachine<I>> {
    /// A cluster of machines that hold so many groups each, all with these voters. Random runs ask of the groups what those of
    /// [`elections`](Self::elections) ask, and restart single ones.
    pub fn groups(voters: impl IntoIterator<Item = I>, groups: u64) -> Builder<GroupsMachine<I>> {
        // A request, a reply and an attachment of each group, and the beats.
        let most = usize::try_from(groups)
            .unwrap_or(usize::MAX)
            .saturating_mul(3)
            .saturating_add(2);
        let ask = move |dice: &mut Dice, ids: &[I]| {
            let group = dice.up_to(groups.saturating_sub(1));
            if dice.chance(200) {
                return Some(GroupsInput::Restart(group));
            }
            let command = random_command(dice, ids)?;
            Some(if dice.chance(200) {
                GroupsInput::All(command)
            } else {
                GroupsInput::Command(group, command)
            })
        };
        let last = |dice: &mut Dice, ids: &[I]| Some(GroupsInput::All(last_wish(dice, ids)?));
        Cluster::of(voters, move |boot| GroupsMachine::new(boot, groups))
            .inputs(ask)
            .last_inputs(last)
            .invariant(move || OutputsBounded::per_peer(most))
    }
}
