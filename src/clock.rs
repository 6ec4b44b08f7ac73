//! The clock, the node's one timer and its source of seeds: all that this crate takes from outside.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

/// tokio's clock, which tests can pause. The system's own outside a runtime.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A seed that differs from node to node and from run to run.
pub(crate) fn seed() -> u64 {
    RandomState::new().hash_one(now())
}

/// The one timer. Made at the first poll, since a node can be made outside a runtime.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Armed>>>);

#[derive(Debug)]
#[pin_project::pin_project]
struct Armed {
    #[pin]
    sleep: Sleep,
    /// It has fired and must not be polled before it is set anew.
    fired: bool,
}

impl Alarm {
    /// Ready when it has rung, which may be before `at`: a deadline that moved later does not move the timer, since
    /// moving it costs more than one poll for nothing.
    pub(crate) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let at = tokio::time::Instant::from_std(at);
        let armed = self.0.get_or_insert_with(|| {
            Box::pin(Armed {
                sleep: tokio::time::sleep_until(at),
                fired: false,
            })
        });
        let mut armed = armed.as_mut().project();
        if *armed.fired || at < armed.sleep.deadline() {
            armed.sleep.as_mut().reset(at);
            *armed.fired = false;
        }
        ready!(armed.sleep.poll(cx));
        *armed.fired = true;
        Poll::Ready(())
    }

    /// What the timer is set to, rung or not.
    #[cfg(test)]
    pub(crate) fn set_to(&self) -> Option<Instant> {
        let armed = self.0.as_ref()?;
        Some(armed.sleep.deadline().into_std())
    }
}
