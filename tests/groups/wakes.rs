//! Wakes: whatever is put in wakes the task that polled last, and nothing else is woken or kept.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::stream::FusedStream;
use futures::{Sink, Stream, StreamExt};
use streamraft::{Beat, Command, Inbound};
use tokio::time::advance;

use crate::hand::{Act, ELECTION, HEARTBEAT, Kind, Machine, busy, config, hear, message, ping};

/// A task that counts how often it is woken. Its reference count tells how many wakers of it are kept.
#[derive(Debug, Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Task {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Polls until there is nothing to say, so that its wakers are in place.
    fn wait_for(self: &Arc<Self>, machine: &mut Machine) {
        let waker = Waker::from(Arc::clone(self));
        let cx = &mut Context::from_waker(&waker);
        while let Poll::Ready(Some(_)) = machine.poll_next_unpin(cx) {}
    }

    /// How often it was woken since it was asked last.
    fn wakes(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }

    fn kept(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - 1
    }
}

fn send(machine: &mut Machine, key: u64, command: Command<u64>) {
    // Some are refused, which is an answer to whoever asked and no reason to let the task sleep.
    let _ = Pin::new(machine).start_send((key, command.into()));
}

/// All that can be put in, by each of its ways.
const INPUTS: [Act; 16] = [
    ("start_send(FromNode)", |machine| {
        let message = message(machine, 7, 5, ping(7));
        let sent = Pin::new(machine).start_send((7, Inbound::FromNode(2, message)));
        sent.expect("taken");
    }),
    ("start_send(MarkAlive)", |machine| {
        send(machine, 7, Command::MarkAlive);
    }),
    ("start_send(SetPriority)", |machine| {
        send(machine, 7, Command::SetPriority(3));
    }),
    ("start_send(Resign)", |machine| {
        send(machine, 8, Command::Resign);
    }),
    ("start_send(SetNodes)", |machine| {
        send(machine, 7, Command::SetNodes(vec![1, 2]));
    }),
    ("start_send(Transfer)", |machine| {
        send(machine, 8, Command::Transfer(2));
    }),
    ("start_send(Stop)", |machine| {
        send(machine, 8, Command::Stop);
    }),
    ("on_receive", |machine| hear(machine, 7, 2, 5, ping(7))),
    ("on_receive(Beat)", |machine| {
        hear(
            machine,
            7,
            2,
            0,
            Kind::Beat(Box::new(Beat::new(1, None, 0))),
        );
    }),
    ("on_receive of a group that is not here", |machine| {
        hear(machine, 70, 2, 5, ping(7));
    }),
    ("insert", |machine| {
        machine.insert(9, config(1, 1)).expect("a new key");
    }),
    ("remove", |machine| {
        drop(machine.remove(&8).expect("it is there"));
    }),
    ("set_nodes", |machine| {
        machine.set_nodes(&8, [1, 2]).expect("a good list");
    }),
    ("transfer", |machine| drop(machine.transfer(&8, 2))),
    ("stop", |machine| machine.stop()),
    ("poll_close", |machine| {
        let closed = Pin::new(machine).poll_close(&mut Context::from_waker(Waker::noop()));
        assert_eq!(closed, Poll::Ready(Ok(())));
    }),
];

#[tokio::test(start_paused = true)]
async fn everything_that_is_put_in_wakes_the_task_that_polled_last() {
    for (name, act) in INPUTS {
        let mut machine = busy();
        let (old, new) = (Task::new(), Task::new());
        old.wait_for(&mut machine);
        new.wait_for(&mut machine);
        assert_eq!(
            old.kept(),
            0,
            "the waker of who does not wait any more is let go of"
        );
        act(&mut machine);
        assert_eq!((old.wakes(), new.wakes()), (0, 1), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_timer_wakes_the_newest_waker_and_no_other() {
    let mut machine = busy();
    let (old, new) = (Task::new(), Task::new());
    old.wait_for(&mut machine);
    new.wait_for(&mut machine);
    advance(3 * ELECTION).await;
    assert_eq!((old.wakes(), new.wakes()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_polls_again_and_again_is_kept_once() {
    let mut machine = busy();
    let task = Task::new();
    task.wait_for(&mut machine);
    let kept = task.kept();
    assert!(
        (1..=2).contains(&kept),
        "by the value and by its timer: {kept}"
    );
    for _ in 0..1_000 {
        task.wait_for(&mut machine);
        hear(&mut machine, 7, 2, 5, ping(1));
    }
    assert_eq!(task.kept(), kept);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_woken_when_nothing_is_put_in() {
    let mut machine = busy();
    let task = Task::new();
    task.wait_for(&mut machine);
    let cx = &mut Context::from_waker(Waker::noop());
    let _ = (
        machine.state(&7),
        machine.is_leader(&7),
        machine.stats(),
        machine.node_id(),
    );
    let _ = (
        machine.keys().count(),
        machine.len(),
        machine.is_empty(),
        format!("{machine:?}"),
    );
    let _ = (
        machine.size_hint(),
        machine.is_terminated(),
        machine.get_ref().len(),
    );
    assert!(machine.leadership(&7).is_some() && machine.leadership(&70).is_none());
    assert_eq!(Pin::new(&mut machine).poll_ready(cx), Poll::Ready(Ok(())));
    assert_eq!(Pin::new(&mut machine).poll_flush(cx), Poll::Ready(Ok(())));
    advance(HEARTBEAT / 2).await;
    assert_eq!(task.wakes(), 0);
}

#[tokio::test(start_paused = true)]
async fn groups_that_were_never_polled_take_input_without_anyone_to_wake() {
    for (_, act) in INPUTS {
        let mut machine = crate::hand::alone([8]);
        machine.insert(7, config(1, 3)).expect("a new key");
        act(&mut machine);
    }
}

#[tokio::test(start_paused = true)]
async fn no_waker_is_kept_after_the_end_nor_after_a_drop() {
    for is_dropped in [false, true] {
        let mut machine = busy();
        let task = Task::new();
        task.wait_for(&mut machine);
        assert!(task.kept() > 0);
        if is_dropped {
            drop(machine);
        } else {
            machine.stop();
            task.wait_for(&mut machine);
            assert!(machine.is_terminated());
            // A poll after the end leaves none behind either.
            task.wait_for(&mut machine);
        }
        task.wakes();
        assert_eq!(task.kept(), 0);
        advance(10 * ELECTION).await;
        assert_eq!(task.wakes(), 0, "nothing is left that could wake it");
    }
}
