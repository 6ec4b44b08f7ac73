//! Messages in flight, and which of them can do nothing any more.
//!
//! Every letter brings its sender's membership, also where the sender has left it out. It does so only for a receiver
//! that holds the same or a newer one, which the property "who is told nothing knows it" checks whenever something is
//! sent, and to such a one a membership that comes again says nothing.

use streamraft::{Message, MessageKind, Stamp};

use crate::node::Node;
use crate::view::Round;

/// One message in flight. There is one of each content, so that its number says all.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) number: u32,
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) message: Message<u8>,
}

/// What of a node says which letters are spent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) term: u64,
    pub(crate) stamp: Stamp,
    pub(crate) leads: bool,
    /// It leads, and who holds its membership matters.
    pub(crate) walks: bool,
    pub(crate) campaign: Option<Round>,
}

impl PartialEq for Letter {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Letter {
    /// Whether this node, to which it is, has no use for it in this or any later state, also after a restart. Terms
    /// and stamps grow, a campaign that is over does not come again, and no term is led or stood for twice. `run.rs`
    /// checks for all states of nodes that were met that such a letter changes nothing and gets no answer.
    pub(crate) fn is_spent(&self, node: &Node) -> bool {
        self.is_spent_at(&node.standing())
    }

    pub(crate) fn is_spent_at(&self, node: &Standing) -> bool {
        let Message {
            term, stamp, kind, ..
        } = &self.message;
        if *stamp > node.stamp || *term > node.term {
            return false;
        }
        // Whatever a peer says tells a leader that walks to other voters that it holds this step.
        if node.walks && (*stamp, *term) == (node.stamp, node.term) {
            return false;
        }
        let is_past = *term < node.term;
        match kind {
            MessageKind::PreVote { round, .. } => node
                .campaign
                .is_none_or(|campaign| campaign.number != *round),
            // A vote that was given stays, to be seen beside another.
            MessageKind::Vote { granted, .. } => {
                let asks = node
                    .campaign
                    .is_some_and(|campaign| campaign.asks_for_votes);
                !granted && (is_past || !asks)
            }
            MessageKind::Pong { .. } => is_past || !node.leads,
            MessageKind::TimeoutNow => is_past,
            _ => false,
        }
    }
}
