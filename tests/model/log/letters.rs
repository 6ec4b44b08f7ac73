//! Messages in flight, and which of them can do nothing any more.

use streamraft::raft::RaftMessage;

use crate::log::node::Node;

/// One message. There is one of each content, so that its number says all.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) number: u32,
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) message: RaftMessage<u8>,
}

impl PartialEq for Letter {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Letter {
    /// Whether it is of the election, and not about the log.
    pub(crate) fn is_of_election(&self) -> bool {
        matches!(self.message, RaftMessage::Election(_))
    }

    /// Whether this node, to which it is, has no use for it in this or any later state, also after a crash: it is of a term
    /// that is over for good, or an answer to a leader that leads no more. No term is led twice. `tables.rs` checks for states of
    /// nodes that were met that such a letter changes nothing and gets no answer.
    pub(crate) fn is_spent(&self, node: &Node) -> bool {
        let (term, is_answer) = match &self.message {
            RaftMessage::Append(append) => (append.head.term, false),
            RaftMessage::Snapshot(send) => (send.head.term, false),
            RaftMessage::AppendAck(ack) => (ack.head.term, true),
            RaftMessage::SnapshotAck(ack) => (ack.head.term, true),
            _ => return false,
        };
        term < node.saved_term || is_answer && term == node.saved_term && !node.leads
    }
}
