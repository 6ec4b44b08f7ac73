//! Wakes: whatever is put in wakes the task that polled last, and nothing else is woken or kept.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::stream::FusedStream;
use futures::{Sink, Stream, StreamExt};
use streamraft::{Command, Inbound};
use tokio::time::advance;

use crate::hand::{
    Act, ELECTION, HEARTBEAT, Node, drain, follower, hear, leader, message, node, ping,
};

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

    /// Polls until the node has nothing to say, so that its wakers are in place.
    fn wait_for(self: &Arc<Self>, node: &mut Node) {
        let waker = Waker::from(Arc::clone(self));
        let cx = &mut Context::from_waker(&waker);
        while let Poll::Ready(Some(_)) = node.poll_next_unpin(cx) {}
    }

    /// How often it was woken since it was asked last.
    fn wakes(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }

    fn kept(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - 1
    }
}

/// All that can be put in, by each of its ways.
const INPUTS: [Act; 16] = [
    ("start_send(FromNode)", |node| {
        let message = message(node, 5, ping(7));
        Pin::new(node)
            .start_send(Inbound::FromNode(2, message))
            .expect("taken");
    }),
    ("start_send(MarkAlive)", |node| {
        send(node, Command::MarkAlive);
    }),
    ("start_send(SetPriority)", |node| {
        send(node, Command::SetPriority(3));
    }),
    ("start_send(Resign)", |node| send(node, Command::Resign)),
    ("start_send(SetNodes)", |node| {
        send(node, Command::SetNodes(vec![1, 2]));
    }),
    ("start_send(Transfer)", |node| {
        drop(Pin::new(node).start_send(Command::Transfer(2).into()));
    }),
    ("set_nodes", |node| {
        node.set_nodes([1, 2, 3, 4]).expect("a good list");
    }),
    ("force_nodes", |node| {
        node.force_nodes([1, 2]).expect("a good list");
    }),
    ("start_send(Stop)", |node| send(node, Command::Stop)),
    ("on_receive", |node| hear(node, 2, 5, ping(7))),
    ("set_priority", |node| {
        node.set_priority(9);
    }),
    ("mark_alive", |node| node.mark_alive()),
    ("transfer", |node| drop(node.transfer(2))),
    ("resign", |node| node.resign()),
    ("stop", |node| node.stop()),
    ("poll_close", |node| {
        let closed = Pin::new(node).poll_close(&mut Context::from_waker(Waker::noop()));
        assert_eq!(closed, Poll::Ready(Ok(())));
    }),
];

fn send(node: &mut Node, command: Command<u64>) {
    Pin::new(node)
        .start_send(command.into())
        .expect("not stopped");
}

#[tokio::test(start_paused = true)]
async fn everything_that_is_put_in_wakes_the_task_that_polled_last() {
    for (name, act) in INPUTS {
        for mut node in [follower(), leader().await] {
            let task = Task::new();
            task.wait_for(&mut node);
            task.wakes();
            act(&mut node);
            assert!(
                task.wakes() >= 1,
                "{name} on a {} wakes nobody",
                node.state().node_type()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_replaced_between_polls_is_the_one_woken() {
    for (name, act) in INPUTS {
        let mut node = follower();
        let (old, new) = (Task::new(), Task::new());
        old.wait_for(&mut node);
        new.wait_for(&mut node);
        assert_eq!(
            old.kept(),
            0,
            "the waker of who does not wait any more is let go of"
        );
        act(&mut node);
        assert_eq!((old.wakes(), new.wakes()), (0, 1), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_timer_wakes_the_newest_waker_too() {
    let mut node = follower();
    let (old, new) = (Task::new(), Task::new());
    old.wait_for(&mut node);
    new.wait_for(&mut node);
    advance(3 * ELECTION).await;
    assert_eq!((old.wakes(), new.wakes()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_polls_again_and_again_is_kept_once() {
    let mut node = follower();
    let task = Task::new();
    task.wait_for(&mut node);
    let kept = task.kept();
    assert!(
        (1..=2).contains(&kept),
        "by the node and by its timer: {kept}"
    );
    for _ in 0..1_000 {
        task.wait_for(&mut node);
        hear(&mut node, 2, 5, ping(1));
    }
    assert_eq!(task.kept(), kept);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_woken_when_nothing_is_put_in() {
    let mut node = follower();
    let task = Task::new();
    task.wait_for(&mut node);
    let cx = &mut Context::from_waker(Waker::noop());
    let _ = (
        node.state(),
        node.is_leader(),
        node.stats(),
        node.node_id(),
        format!("{node:?}"),
    );
    let _ = (node.size_hint(), node.is_terminated(), node.leadership());
    assert_eq!(Pin::new(&mut node).poll_ready(cx), Poll::Ready(Ok(())));
    assert_eq!(Pin::new(&mut node).poll_flush(cx), Poll::Ready(Ok(())));
    advance(HEARTBEAT).await;
    assert_eq!(task.wakes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_never_polled_takes_input_without_anyone_to_wake() {
    for (_, act) in INPUTS {
        act(&mut node(1, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn no_waker_is_kept_after_the_end() {
    let mut node = follower();
    let task = Task::new();
    task.wait_for(&mut node);
    node.stop();
    task.wait_for(&mut node);
    assert!(node.is_terminated());
    // A poll after the end leaves none behind either.
    task.wait_for(&mut node);
    task.wakes();
    assert_eq!(task.kept(), 0);
    advance(10 * ELECTION).await;
    assert_eq!(task.wakes(), 0, "nothing is left that could wake it");
}

#[tokio::test(start_paused = true)]
async fn no_waker_is_kept_after_a_drop() {
    let mut node = follower();
    let task = Task::new();
    task.wait_for(&mut node);
    assert!(task.kept() > 0);
    drop(node);
    assert_eq!(task.kept(), 0);
    advance(10 * ELECTION).await;
    assert_eq!(task.wakes(), 0, "nothing is left that could wake it");
}

/// A heartbeat moves the deadline later. Moving the timer with it would cost more than letting it ring in vain once
/// an election timeout; that it does ring shows that it was left where it was.
#[tokio::test(start_paused = true)]
async fn a_follower_under_heartbeats_is_woken_by_its_timer_once_an_election_timeout() {
    let mut node = follower();
    let task = Task::new();
    let mut by_the_timer = 0;
    for round in 1..=100 {
        hear(&mut node, 2, 5, ping(round));
        task.wait_for(&mut node);
        task.wakes();
        for _ in 0..10 {
            advance(Duration::from_millis(10)).await;
            by_the_timer += task.wakes();
            task.wait_for(&mut node);
        }
    }
    assert!(
        (1..=10).contains(&by_the_timer),
        "ten seconds, patience over one second: {by_the_timer}"
    );
    assert_eq!(drain(&mut node), []);
}
