//! One group on this machine: its election, and to which links it is attached.

use std::time::Instant;

use super::link::Link;
use crate::election::Election;
use crate::id::Id;
use crate::message::{Message, MessageKind, MsgRouter};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group<K, I> {
    pub(super) key: K,
    pub(super) election: Election<I>,
    /// A leader's to each follower's machine; a follower's to its leader's.
    pub(super) attachments: Vec<Attached>,
    /// When it is looked at, at the latest; it may have nothing to do by then.
    pub(super) due: Option<Instant>,
    /// Stands in the list of groups that have something to say.
    pub(super) is_ready: bool,
    /// Somebody wants to know when it changes.
    pub(super) is_watched: bool,
    /// It has been noted that it may have changed.
    pub(super) is_noted: bool,
}

/// A group's place at one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attached {
    pub(super) link: u32,
    pub(super) number: u64,
    pub(super) stage: Stage,
}

/// ```text
///   leader:    Offered ── Attached ──▶ Leading        follower:  Following
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// The follower's machine was asked, or is to be asked now. It may have attached already.
    Offered { ask: bool },
    /// Answers to beats of this round and later ones are this group's too.
    Leading { from_round: u64 },
    /// Beats are its leader's pings.
    Following { answer: bool },
}

impl Attached {
    pub(super) fn is_following(&self) -> bool {
        matches!(self.stage, Stage::Following { .. })
    }
}

impl<K: Id, I: Id> Group<K, I> {
    pub(super) fn new(key: K, election: Election<I>) -> Self {
        Self {
            key,
            election,
            attachments: Vec::new(),
            due: None,
            is_ready: false,
            is_watched: false,
            is_noted: false,
        }
    }

    /// Tells the election what its links have heard for it. After it, the election is as it would be had every beat been a
    /// ping of its own.
    pub(super) fn catch_up(&mut self, links: &[Link<K, I>]) {
        catch_up(&mut self.election, &self.attachments, links);
    }

    pub(super) fn attach(&mut self, attached: Attached) {
        // Most groups have one or two for ever: no room for more.
        self.attachments.reserve_exact(1);
        self.attachments.push(attached);
    }

    /// Its attachment at this link.
    pub(super) fn at(&mut self, link: u32) -> Option<&mut Attached> {
        self.attachments.iter_mut().find(|at| at.link == link)
    }

    /// Whether somebody has to take something out of it.
    pub(super) fn has_output(&self) -> bool {
        let asks = |at: &Attached| {
            matches!(
                at.stage,
                Stage::Offered { ask: true } | Stage::Following { answer: true }
            )
        };
        self.election.has_output() || self.attachments.iter().any(asks)
    }

    /// The next thing that must leave it. What is said of attachments comes after all of the election's, so that it never
    /// stands on what has not come out.
    pub(super) fn poll_output(&mut self, links: &[Link<K, I>]) -> Option<MsgRouter<I>> {
        if let Some(output) = self.election.poll_output() {
            return Some(output);
        }
        let hard_state = self.election.state().hard_state();
        let (term, stamp) = (hard_state.term(), hard_state.membership().stamp());
        for at in &mut self.attachments {
            let link = links.get(at.link as usize)?;
            let kind = match &mut at.stage {
                Stage::Offered { ask } => std::mem::take(ask).then(|| {
                    let offer = link.speaker.attachment(at.number);
                    offer.map(MessageKind::Attach)
                }),
                Stage::Following { answer } => std::mem::take(answer).then(|| {
                    let answer = link.listener.attachment(at.number);
                    answer.map(MessageKind::Attached)
                }),
                Stage::Leading { .. } => None,
            };
            if let Some(kind) = kind.flatten() {
                let message = Message::new(term, stamp, kind).with_cluster(self.election.cluster());
                return Some(MsgRouter::ToNode(link.id.clone(), message));
            }
        }
        None
    }
}

/// Tells an election what the links to which it is attached have heard for it.
pub(super) fn catch_up<K, I: Id>(
    election: &mut Election<I>,
    attachments: &[Attached],
    links: &[Link<K, I>],
) {
    for at in attachments {
        let Some(link) = links.get(at.link as usize) else {
            continue;
        };
        match at.stage {
            Stage::Leading { from_round } => {
                if let Some((sent, heard)) = link.speaker.answer_since(from_round) {
                    election.mark_answered(&link.id, sent, heard);
                }
            }
            Stage::Following { .. } => {
                if let Some(heard) = link.listener.heard {
                    election.mark_alive(heard);
                }
            }
            Stage::Offered { .. } => {}
        }
    }
}
