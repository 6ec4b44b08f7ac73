//! Every poll of two nodes that pass each other their messages by hand. `cargo run --example by_hand`.
//!
//! No sink, no socket and no combinator: `poll_next` gives what leaves a node, `on_receive` takes what reaches it, and
//! a node that has nothing to say is `Pending` until its timer or a message wakes the task.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use streamraft::{Config, Message, MessageKind, MsgRouter, TinyRaft};

/// Polls a node until it is pending, and gives what it said. With two nodes there is no need to ask to whom.
fn poll(node: &mut TinyRaft, cx: &mut Context<'_>, polls: &mut u32) -> Vec<Message> {
    let mut said = Vec::new();
    loop {
        *polls += 1;
        print!("poll {polls:>2} of {}: ", node.node_id());
        match Pin::new(&mut *node).poll_next(cx) {
            Poll::Ready(Some(MsgRouter::ToSelf(state))) => {
                println!("ToSelf({} in term {})", state.node_type(), state.term());
            }
            Poll::Ready(Some(MsgRouter::ToNode(to, message))) => {
                println!("ToNode({to}, {})", name(&message.kind));
                said.push(message);
            }
            idle_or_over => {
                println!("{idle_or_over:?}");
                return said;
            }
        }
    }
}

/// The kind of a message without its fields.
fn name(kind: &MessageKind) -> String {
    let debug = format!("{kind:?}");
    debug.split(' ').next().map(str::to_owned).unwrap_or(debug)
}

/// Polls both nodes until neither has anything to say.
fn poll_both(a: &mut TinyRaft, b: &mut TinyRaft, cx: &mut Context<'_>, polls: &mut u32) {
    loop {
        for message in poll(a, cx, polls) {
            b.on_receive(a.node_id().clone(), message);
        }
        let answers = poll(b, cx, polls);
        if answers.is_empty() {
            return;
        }
        for message in answers {
            a.on_receive(b.node_id().clone(), message);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = |id: &str| {
        let config = Config::new(id, ["a", "b"])?;
        TinyRaft::new(config.heartbeat_interval(Duration::from_millis(400)))
    };
    let (mut a, mut b) = (node("a")?, node("b")?);
    let (mut polls, started) = (0, Instant::now());

    // The one thing that a node needs of a runtime is a timer.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(poll_fn(|cx| {
        // Woken by a timer, or by `on_receive`: then there may be nothing left to say, for it was said at once.
        println!("\n{} ms", started.elapsed().as_millis());
        poll_both(&mut a, &mut b, cx, &mut polls);
        if a.is_leader() && started.elapsed() > Duration::from_millis(1500) {
            println!("a resigns");
            a.resign();
        }
        if b.is_leader() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    println!("\nb leads, after {polls} polls");
    Ok(())
}
