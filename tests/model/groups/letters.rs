//! Messages between machines, and which of them can do nothing any more.

use streamraft::MessageKind;

use crate::groups::machine::Machine;
use crate::letters;

/// One message in flight. There is one of each content, so that its number says all.
#[derive(Debug)]
pub(crate) struct Letter {
    /// The group that it is of; of a beat and its answer always 0, since no machine heeds theirs.
    pub(crate) key: u8,
    pub(crate) plain: letters::Letter,
}

impl PartialEq for Letter {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl Letter {
    pub(crate) fn number(&self) -> u32 {
        self.plain.number
    }

    pub(crate) fn to(&self) -> u8 {
        self.plain.to
    }

    pub(crate) fn kind(&self) -> &MessageKind<u8> {
        &self.plain.message.kind
    }

    pub(crate) fn is_answer_to_a_beat(&self) -> bool {
        matches!(self.kind(), MessageKind::BeatAck(_))
    }

    /// Whether it is of a link, not of a group's election.
    pub(crate) fn is_of_link(&self) -> bool {
        matches!(
            self.kind(),
            MessageKind::Beat(_)
                | MessageKind::BeatAck(_)
                | MessageKind::Attach(_)
                | MessageKind::Attached(_)
        )
    }

    /// Whether this machine, to which it is, has no use for it in this or any later state: it does no more than any
    /// noise in its group. Of what links say to each other nothing is ever taken for spent, nor is an answer to a ping,
    /// at which a leader asks again.
    pub(crate) fn is_spent(&self, machine: &Machine) -> bool {
        !self.is_of_link()
            && !matches!(self.kind(), MessageKind::Pong { .. })
            && self
                .plain
                .is_spent_at(&machine.groups[usize::from(self.key)].standing)
    }
}
