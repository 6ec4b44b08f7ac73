//! One node of the model: the shipping core, its clock and its disk, and what happens to it in one step.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use streamraft::{
    Command, Election, HardState, Inbound, Membership, Message, MessageKind, MsgRouter, NodeType,
    Stamp,
};

use crate::bounds::Bounds;
use crate::letters::{Letter, Standing};
use crate::tables::Memo;
use crate::view::{Round, TICK, view};

/// What must never be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    TwoLeaders,
    TwoVotes,
    TwoLeases,
    /// A lease that a quorum of the voters does not wait for.
    NotWithheld,
    /// One end of a link takes a group for attached, and the other neither does nor tells.
    LeftBehind,
    /// The two ends of an attachment are of other terms or memberships.
    GroundsApart,
    TermFell,
    MembershipFell,
    SaidUnsaved,
    StepTooLong,
    QuorumsApart,
    Presumed,
    VoteForOlder,
    NoQuorum,
    StepTooEarly,
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Input<'a> {
    Letter(&'static Letter),
    /// Its clock ticks. The node does nothing.
    Tick,
    /// Its owner polls it while a timer is due.
    Fire,
    /// It hears somebody who is no member. Any input makes a leader look whether its time is over.
    Noise,
    /// It is killed and boots from its disk.
    Restart,
    Order(u32, &'a Command<u8>),
}

/// The state of one node. There is one of each view, so that its number says all.
pub(crate) struct Node {
    pub(crate) number: u32,
    pub(crate) id: u8,
    pub(crate) body: Body,
    /// Its campaign, if it is a candidate.
    pub(crate) campaign: Option<Round>,
    pub(crate) memo: Memo,
}

/// What a node consists of: a core, the instant that its clock shows, the last hard state that came out of it.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) election: Election<u8>,
    pub(crate) now: Instant,
    pub(crate) disk: HardState<u8>,
    /// How often it has booted again.
    boots: u8,
}

/// What came of a step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) body: Body,
    pub(crate) sent: Vec<(u8, Message<u8>)>,
    /// Who was sent a message without the membership, since it holds it.
    pub(crate) presumed: Vec<u8>,
    pub(crate) fault: Option<Fault>,
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
        write!(f, "{} {:?}", self.id, self.body.election.state())
    }
}

impl Node {
    pub(crate) fn term(&self) -> u64 {
        self.body.election.state().term()
    }

    pub(crate) fn leads(&self) -> bool {
        self.body.election.state().node_type() == NodeType::Leader
    }

    /// Whether its view shows a lease, by its own clock. It need not have been polled since.
    pub(crate) fn holds_lease(&self) -> bool {
        self.body.election.state().is_leader_at(self.body.now)
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.membership().stamp()
    }

    pub(crate) fn membership(&self) -> &Arc<Membership<u8>> {
        self.body.disk.membership()
    }

    /// Whether it leads and has yet to change its voters.
    pub(crate) fn walks(&self) -> bool {
        let membership = self.membership();
        self.leads() && (membership.voters != membership.target || !membership.observers.is_empty())
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing {
            term: self.term(),
            stamp: self.stamp(),
            leads: self.leads(),
            walks: self.walks(),
            campaign: self.campaign,
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        let deadline = self.body.election.poll_timeout();
        deadline.is_some_and(|at| at <= self.body.now)
    }
}

impl Body {
    /// Boots a node that has never run.
    pub(crate) fn new(bounds: &Bounds, id: u8, now: Instant) -> Self {
        let election = Election::new(bounds.config(id, None, 0), now).expect("good settings");
        let disk = election.state().hard_state().clone();
        Self {
            election,
            now,
            disk,
            boots: 0,
        }
    }

    /// The view that it is known by.
    pub(crate) fn view(&self, bounds: &Bounds) -> (String, Option<Round>) {
        let (mut view, campaign) = view(&self.election, self.now, bounds.timeout.into());
        if self.disk != *self.election.state().hard_state() {
            view.push_str(&format!("{:?}", self.disk));
        }
        (view, campaign)
    }

    /// What this input makes of it. Whatever comes out is dealt with at once and in order, each state saved before
    /// the next thing is looked at. That leaves no crash out: one before the save is one before the input, since
    /// its message stays in flight, and one after the save is one after the step whose messages are never delivered.
    pub(crate) fn step(&self, bounds: &Bounds, input: Input<'_>) -> Step {
        let mut body = self.clone();
        match input {
            Input::Letter(letter) => {
                let input = Inbound::FromNode(letter.from, letter.message.clone());
                let taken = body.election.handle(body.now, input);
                taken.expect("a node that runs takes every message");
            }
            Input::Tick => body.now += TICK,
            Input::Fire => body.election.handle_timeout(body.now),
            Input::Noise => {
                let noise = Message::new(0, Stamp::default(), MessageKind::TimeoutNow);
                let _ = body.election.handle(body.now, Inbound::FromNode(9, noise));
            }
            Input::Restart => body = self.restart(bounds),
            // A refusal changes nothing.
            Input::Order(_, order) => {
                let _ = body
                    .election
                    .handle(body.now, Inbound::FromSelf(order.clone()));
            }
        }
        let (mut sent, mut presumed) = (Vec::new(), Vec::new());
        let mut fault = None;
        while let Some(output) = body.election.poll_output() {
            let wrong = match output {
                MsgRouter::ToSelf(state) => {
                    let leads = state.node_type() == NodeType::Leader;
                    let wrong = judge_save(&body.disk, state.hard_state(), leads);
                    body.disk = state.hard_state().clone();
                    wrong
                }
                MsgRouter::ToNode(to, mut message) => {
                    let id = *body.election.node_id();
                    let wrong = judge_message(&body.disk, id, to, &message);
                    if message.membership.is_none() {
                        presumed.push(to);
                        message = message.with_membership(Arc::clone(body.disk.membership()));
                    }
                    sent.push((to, message));
                    wrong
                }
                _ => unreachable!("no other output"),
            };
            fault = fault.or(wrong);
        }
        if body.disk != *body.election.state().hard_state() {
            fault = fault.or(Some(Fault::SaidUnsaved));
        }
        Step {
            body,
            sent,
            presumed,
            fault,
        }
    }

    fn restart(&self, bounds: &Bounds) -> Self {
        let mut disk = self.disk.clone();
        if bounds.forgetful {
            disk = HardState::new(disk.term(), None, Arc::clone(disk.membership()));
        }
        let boots = self.boots + 1;
        let config = bounds.config(*self.election.node_id(), Some(disk.clone()), boots);
        Self {
            election: Election::new(config, self.now).expect("it saved what it can restore"),
            now: self.now,
            disk,
            boots,
        }
    }
}

/// Whether a node may save this over that.
pub(crate) fn judge_save(old: &HardState<u8>, new: &HardState<u8>, leads: bool) -> Option<Fault> {
    let (before, after) = (old.membership(), new.membership());
    let mut all = before.voters.clone();
    all.extend(after.voters.iter().filter(|id| !before.is_voter(id)));
    let changed = |id: &&u8| before.is_voter(id) != after.is_voter(id);
    if new.term() < old.term() {
        Some(Fault::TermFell)
    } else if new.term() == old.term()
        && old.voted_for().is_some()
        && new.voted_for() != old.voted_for()
    {
        Some(Fault::TwoVotes)
    } else if after.stamp() < before.stamp() {
        Some(Fault::MembershipFell)
    } else if leads && all.iter().filter(changed).count() > 1 {
        Some(Fault::StepTooLong)
    } else {
        None
    }
}

/// Whether a message says no more than what was saved.
pub(crate) fn judge_message(
    disk: &HardState<u8>,
    me: u8,
    to: u8,
    message: &Message<u8>,
) -> Option<Fault> {
    let saved = disk.membership();
    let known = (message.term, message.stamp) == (disk.term(), saved.stamp());
    // A wish is said as the membership that it would make.
    let same = message.membership.as_ref().is_none_or(|said| {
        said.stamp() == saved.stamp()
            && said.voters == saved.voters
            && said.observers == saved.observers
    });
    let voted = match message.kind {
        MessageKind::Vote { granted: true, .. } => disk.voted_for() == Some(&to),
        MessageKind::VoteRequest { .. } | MessageKind::Ping { .. } => disk.voted_for() == Some(&me),
        _ => true,
    };
    (!(known && same && voted)).then_some(Fault::SaidUnsaved)
}
