//! One message of each slot.

use super::Waiting;
use crate::message::{Slot, Slotted};

/// At most one message of each [`Slot`]: a newer one replaces an older one. They leave in the order in which their slots
/// were filled, so a slot that is filled again and again cannot hold the other one up. Allocates nothing.
#[derive(Clone, Debug)]
pub struct TwoSlots<M> {
    request: Option<M>,
    reply: Option<M>,
    reply_first: bool,
}

impl<M> TwoSlots<M> {
    pub(super) fn put_into(&mut self, slot: Slot, message: M) {
        match slot {
            Slot::Request => {
                self.reply_first &= self.reply.is_some();
                self.request = Some(message);
            }
            Slot::Reply => {
                self.reply_first |= self.request.is_none();
                self.reply = Some(message);
            }
        }
    }

    pub(super) fn take_next(&mut self) -> Option<M> {
        let message = if self.reply_first {
            self.reply.take().or_else(|| self.request.take())
        } else {
            self.request.take().or_else(|| self.reply.take())
        };
        self.reply_first = !self.reply_first;
        message
    }

    pub(super) fn has_none(&self) -> bool {
        self.request.is_none() && self.reply.is_none()
    }
}

impl<M: Slotted> Waiting<M> for TwoSlots<M> {
    fn put(&mut self, message: M) {
        self.put_into(message.slot(), message);
    }

    fn take(&mut self) -> Option<M> {
        self.take_next()
    }

    fn is_empty(&self) -> bool {
        self.has_none()
    }
}

impl<M> Default for TwoSlots<M> {
    fn default() -> Self {
        Self {
            request: None,
            reply: None,
            reply_first: false,
        }
    }
}
