//! One machine of the model: `Elections` as they are, a clock and disks, and what happens to them in one step.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use streamraft::{
    Election, Elections, HardState, Inbound, LogPosition, Message, MessageKind, MsgRouter,
    NodeType, Stamp,
};

use crate::groups::bounds::{Bounds, Order};
use crate::groups::letters::Letter;
use crate::groups::tables::Memo;
use crate::groups::view::{Link, View};
use crate::letters::Standing;
use crate::node::{Fault, judge_message, judge_save};
use crate::view::TICK;

/// What can happen to a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Input<'a> {
    Letter(&'static Letter),
    /// Its clock ticks. The machine does nothing.
    Tick,
    /// Its owner polls it while something is due.
    Fire,
    /// A group hears somebody who is no member, and does what it does at any input.
    Noise(u8),
    /// It is killed and boots from its disks.
    Restart,
    Order(u32, &'a Order),
    /// A group that was removed is put back, with what is on its disk.
    Insert(u8),
}

/// The state of one machine. There is one of each view, so that its number says all.
pub(crate) struct Machine {
    pub(crate) number: u32,
    pub(crate) id: u8,
    pub(crate) body: Body,
    pub(crate) groups: Vec<Group>,
    pub(crate) links: Vec<Link>,
    /// How often it has renewed a session since it started.
    pub(crate) renewals: u64,
    pub(crate) memo: Memo,
}

/// What is seen of one group on a machine.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) standing: Standing,
    pub(crate) is_here: bool,
    /// The end of the lease that its looked-up state shows, if that is yet to come.
    pub(crate) lease: Option<Instant>,
    /// For how many ticks, the present one counted, it votes for nobody whatever it hears.
    pub(crate) withholds: u8,
    /// To whose machines it is attached as their leader, by which numbers.
    pub(crate) leading: Vec<(u8, u64)>,
    /// At how many links it follows.
    pub(crate) following: usize,
}

/// What a machine consists of.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) elections: Elections<u8, u8>,
    pub(crate) now: Instant,
    /// The last hard state of each group that came out.
    pub(crate) disks: Vec<HardState<u8>>,
    boots: u8,
    /// How often groups were put back.
    returns: u8,
}

/// What came of a step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) body: Body,
    /// With the group and the receiver.
    pub(crate) sent: Vec<(u8, u8, Message<u8>)>,
    /// Of which group who was sent a message without the membership, since it holds it.
    pub(crate) presumed: Vec<(u8, u8)>,
    pub(crate) fault: Option<Fault>,
}

impl PartialEq for Machine {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Hash for Machine {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.number);
    }
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {:?}", self.id, self.groups, self.links)
    }
}

impl Machine {
    pub(crate) fn new(bounds: &Bounds, number: u32, body: Body, view: &View) -> Self {
        let groups = bounds.keys().map(|key| group(bounds, &body, view, key));
        let others = u64::from(bounds.machines - 1);
        Self {
            number,
            id: *body.elections.node_id(),
            groups: groups.collect(),
            links: view.links.clone(),
            // Each link has its two names from the start.
            renewals: view.sessions.saturating_sub(2 * others),
            body,
            memo: Memo::default(),
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        let deadline = self.body.elections.poll_timeout();
        deadline.is_some_and(|at| at <= self.body.now)
    }

    pub(crate) fn stamp(&self, key: u8) -> Stamp {
        self.groups[usize::from(key)].standing.stamp
    }
}

fn group(bounds: &Bounds, body: &Body, view: &View, key: u8) -> Group {
    let disk = &body.disks[usize::from(key)];
    let seen = view.groups.iter().find(|group| group.key == key);
    let (Some(election), Some(seen)) = (body.elections.election(&key), seen) else {
        return Group {
            standing: Standing {
                term: disk.term(),
                stamp: disk.membership().stamp(),
                leads: false,
                walks: false,
                campaign: None,
            },
            is_here: false,
            lease: None,
            // It takes no part, and withholds when it is put back.
            withholds: u8::MAX,
            leading: Vec::new(),
            following: 0,
        };
    };
    let state = election.state();
    let leads = state.node_type() == NodeType::Leader;
    let ticks = 0..u32::from(bounds.timeout);
    let withheld = ticks.take_while(|ticks| withholds(&election, body.now + TICK * *ticks));
    Group {
        standing: Standing {
            term: state.term(),
            stamp: state.hard_state().membership().stamp(),
            leads,
            // Whatever a peer says tells a leader that it holds the membership, and a group rests on that.
            walks: leads,
            campaign: seen.campaign,
        },
        is_here: true,
        lease: state.lease().filter(|_| state.is_leader_at(body.now)),
        withholds: u8::try_from(withheld.count()).expect("a short time"),
        leading: seen.leading.clone(),
        following: seen.following,
    }
}

/// Whether a node keeps its vote to itself at this instant, as it would show to a candidate that knows as much.
fn withholds(election: &Election<u8>, at: Instant) -> bool {
    let disk = election.state().hard_state();
    let mut others = disk.membership().voters.iter();
    let Some(other) = others.find(|id| *id != election.node_id()) else {
        return true;
    };
    let kind = MessageKind::VoteRequest {
        position: LogPosition::default(),
        transfer: false,
    };
    let ask = Message::new(disk.term() + 1, disk.membership().stamp(), kind);
    let mut asked = election.clone();
    let _ = asked.handle(at, Inbound::FromNode(*other, ask));
    asked.state().term() == disk.term()
}

impl Body {
    /// Boots a machine that has never run.
    pub(crate) fn new(bounds: &Bounds, id: u8, now: Instant) -> Self {
        let elections = start(bounds, id, 0);
        let mut body = Self {
            elections,
            now,
            disks: Vec::new(),
            boots: 0,
            returns: 0,
        };
        for key in bounds.keys() {
            body.insert(bounds, key, None);
            let state = body.elections.state(&key).expect("just put in");
            body.disks.push(state.hard_state().clone());
        }
        body
    }

    fn insert(&mut self, bounds: &Bounds, key: u8, disk: Option<HardState<u8>>) {
        let starts = u64::from(key) + 8 * u64::from(self.boots) + 64 * u64::from(self.returns);
        let config = bounds.config(*self.elections.node_id(), disk, starts);
        let inserted = self.elections.insert(self.now, key, config);
        inserted.expect("good settings of a group that is not there");
    }

    pub(crate) fn view(&self, bounds: &Bounds) -> View {
        let mut view = View::new(&self.elections, self.now, bounds.timeout.into());
        for (key, disk) in bounds.keys().zip(&self.disks) {
            let state = self.elections.state(&key);
            if state.is_none_or(|state| state.hard_state() != disk) {
                view.text.push_str(&format!("{disk:?}"));
            }
        }
        view
    }

    /// What this input makes of it. Whatever comes out is dealt with at once and in order (`node.rs` says why that
    /// leaves no crash out).
    pub(crate) fn step(&self, bounds: &Bounds, input: Input<'_>) -> Step {
        let mut body = self.clone();
        let now = body.now;
        match input {
            Input::Letter(letter) => {
                let plain = &letter.plain;
                let input = Inbound::FromNode(plain.from, plain.message.clone());
                let taken = body.elections.handle(now, &letter.key, input);
                taken.expect("a machine that runs takes every message");
            }
            Input::Tick => body.now += TICK,
            Input::Fire => body.elections.handle_timeout(now),
            Input::Noise(key) => {
                let noise = Message::new(0, Stamp::default(), MessageKind::TimeoutNow);
                let input = Inbound::FromNode(9, noise);
                let taken = body.elections.handle(now, &key, input);
                taken.expect("a machine that runs takes every message");
            }
            Input::Restart => body = self.restart(bounds),
            // A refusal changes nothing.
            Input::Order(_, Order::Tell(key, order)) => {
                let input = Inbound::FromSelf(order.clone());
                let _ = body.elections.handle(now, key, input);
            }
            Input::Order(_, Order::Remove(key)) => {
                let kept = body.elections.remove(now, key);
                assert_eq!(kept.as_ref(), body.disks.get(usize::from(*key)));
            }
            Input::Insert(key) => {
                body.returns += 1;
                body.insert(bounds, key, Some(self.disks[usize::from(key)].clone()));
            }
        }
        drain(body)
    }

    pub(crate) fn has_returned(&self) -> bool {
        self.returns > 0
    }

    fn restart(&self, bounds: &Bounds) -> Self {
        let boots = self.boots + 1;
        let mut body = Self {
            elections: start(bounds, *self.elections.node_id(), boots),
            boots,
            ..self.clone()
        };
        for key in bounds
            .keys()
            .filter(|key| self.elections.state(key).is_some())
        {
            body.insert(bounds, key, Some(self.disks[usize::from(key)].clone()));
        }
        body
    }
}

fn start(bounds: &Bounds, id: u8, boots: u8) -> Elections<u8, u8> {
    let common = bounds.config(id, None, 0);
    Elections::new(&common, bounds.incarnation(id, boots)).expect("good settings")
}

/// Takes all that comes out: each state is saved before the next thing is looked at.
fn drain(mut body: Body) -> Step {
    let me = *body.elections.node_id();
    let (mut sent, mut presumed) = (Vec::new(), Vec::new());
    let mut fault = None;
    while let Some((key, output)) = body.elections.poll_output() {
        let disk = &mut body.disks[usize::from(key)];
        let wrong = match output {
            MsgRouter::ToSelf(state) => {
                let leads = state.node_type() == NodeType::Leader;
                let wrong = judge_save(disk, state.hard_state(), leads);
                *disk = state.hard_state().clone();
                wrong
            }
            MsgRouter::ToNode(to, mut message) => match message.kind {
                MessageKind::Beat(_) | MessageKind::BeatAck(_) => {
                    sent.push((0, to, message));
                    None
                }
                MessageKind::Attach(_) | MessageKind::Attached(_) => {
                    let wrong = judge_message(disk, me, to, &message);
                    sent.push((key, to, message));
                    wrong
                }
                _ => {
                    let wrong = judge_message(disk, me, to, &message);
                    if message.membership.is_none() {
                        presumed.push((key, to));
                        message = message.with_membership(Arc::clone(disk.membership()));
                    }
                    sent.push((key, to, message));
                    wrong
                }
            },
            _ => unreachable!("no other output"),
        };
        fault = fault.or(wrong);
    }
    let is_unsaved = |(key, disk): (u8, &HardState<u8>)| {
        let state = body.elections.state(&key);
        state.is_some_and(|state| state.hard_state() != disk)
    };
    if (0..).zip(&body.disks).any(is_unsaved) {
        fault = fault.or(Some(Fault::SaidUnsaved));
    }
    Step {
        body,
        sent,
        presumed,
        fault,
    }
}
