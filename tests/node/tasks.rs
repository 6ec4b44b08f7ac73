//! Where a node can live: on a task, in two halves on two tasks, in a `LocalSet`, in a `select!`; and it starts no
//! task of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use streamraft::{Command, Inbound, Message, MsgRouter, NodeState, NodeType};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::hand::{ELECTION, Node, config, leader, node, shown, start};
use crate::world::World;

type Letter = (u64, Message<u64>);
type State = (u64, NodeState<u64>);

/// One node's place in a network of channels.
struct Seat {
    node: Node,
    inbox: UnboundedReceiver<Letter>,
    others: BTreeMap<u64, UnboundedSender<Letter>>,
    shown: UnboundedSender<State>,
}

impl Seat {
    fn pass_on(
        id: u64,
        others: &BTreeMap<u64, UnboundedSender<Letter>>,
        shown: &UnboundedSender<State>,
        item: MsgRouter<u64>,
    ) {
        // Whoever is gone does not hear it.
        match item {
            MsgRouter::ToSelf(state) => drop(shown.send((id, state))),
            MsgRouter::ToNode(to, message) => drop(others[&to].send((id, message))),
            _ => {}
        }
    }

    /// Both halves in one task.
    async fn whole(self) {
        let Self {
            mut node,
            mut inbox,
            others,
            shown,
        } = self;
        let id = *node.node_id();
        loop {
            tokio::select! {
                item = node.next() => match item {
                    Some(item) => Self::pass_on(id, &others, &shown, item),
                    None => return,
                },
                Some((from, message)) = inbox.recv() => node.on_receive(from, message),
            }
        }
    }
}

/// Three nodes that never ran, so that they elect at once, and what they say of themselves.
fn seats() -> (Vec<Seat>, UnboundedReceiver<State>) {
    let (shown, states) = unbounded_channel();
    let (senders, inboxes): (BTreeMap<_, _>, Vec<_>) = (1..=3)
        .map(|id| {
            let (sender, inbox) = unbounded_channel();
            ((id, sender), (id, inbox))
        })
        .unzip();
    let seats = inboxes.into_iter().map(|(id, inbox)| Seat {
        node: start(config(id, 3).bootstrap()),
        inbox,
        others: senders.clone(),
        shown: shown.clone(),
    });
    (seats.collect(), states)
}

/// Waits until one node leads with a lease and both others follow it.
async fn elected(states: &mut UnboundedReceiver<State>) {
    let mut newest: BTreeMap<u64, NodeState<u64>> = BTreeMap::new();
    loop {
        let state = timeout(Duration::from_secs(60), states.recv()).await;
        let (id, state) = state
            .expect("an election takes milliseconds")
            .expect("the nodes run");
        newest.insert(id, state);
        let led: Vec<_> = newest
            .values()
            .map(|state| (state.term(), state.leader()))
            .collect();
        let agree = led.len() == 3 && led.iter().all(|one| one.1.is_some() && *one == led[0]);
        if agree && newest.values().any(|state| state.lease().is_some()) {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_elect_on_tasks_of_one_thread() {
    let (seats, mut states) = seats();
    for seat in seats {
        tokio::spawn(seat.whole());
    }
    elected(&mut states).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nodes_elect_on_tasks_of_many_threads() {
    let (seats, mut states) = seats();
    for seat in seats {
        tokio::spawn(seat.whole());
    }
    elected(&mut states).await;
}

async fn elect_in_halves() {
    let (seats, mut states) = seats();
    for Seat {
        node,
        inbox,
        others,
        shown,
    } in seats
    {
        let id = *node.node_id();
        let (sink, stream) = node.split();
        let letters = UnboundedReceiverStream::new(inbox);
        tokio::spawn(
            letters
                .map(|(from, message)| Ok(Inbound::FromNode(from, message)))
                .forward(sink),
        );
        tokio::spawn(stream.for_each(move |item| {
            Seat::pass_on(id, &others, &shown, item);
            std::future::ready(())
        }));
    }
    elected(&mut states).await;
}

#[tokio::test(start_paused = true)]
async fn the_two_halves_of_a_node_work_on_two_tasks() {
    elect_in_halves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_two_halves_of_a_node_work_on_two_threads() {
    elect_in_halves().await;
}

#[tokio::test(start_paused = true)]
async fn closing_the_sink_half_ends_the_stream_half() {
    let (mut sink, stream) = node(1, 1).split();
    let stream = tokio::spawn(stream.collect::<Vec<_>>());
    tokio::time::sleep(ELECTION).await;
    sink.send(Command::SetPriority(2).into())
        .await
        .expect("it was not stopped");
    sink.close().await.expect("closing has no error");
    let items = timeout(ELECTION, stream)
        .await
        .expect("the stream ends")
        .expect("without a panic");
    let kinds: Vec<_> = items
        .iter()
        .filter_map(shown)
        .map(NodeState::node_type)
        .collect();
    assert_eq!(kinds, [NodeType::Leader, NodeType::Follower]);
}

#[tokio::test(start_paused = true)]
async fn nodes_elect_in_a_local_set() {
    let (seats, mut states) = seats();
    LocalSet::new()
        .run_until(async {
            for seat in seats {
                spawn_local(seat.whole());
            }
            elected(&mut states).await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_select_over_a_fused_node_completes_when_it_ends() {
    let (mut node, mut polled, mut complete) = (node(1, 1), 0, false);
    while !complete {
        futures::select! {
            item = node.select_next_some() => {
                polled += 1;
                if shown(&item).is_some_and(|state| state.node_type() == NodeType::Leader) {
                    node.stop();
                }
            }
            complete => complete = true,
        }
    }
    assert_eq!(polled, 2, "it leads, and it does not any more");
}

#[tokio::test(start_paused = true)]
async fn nodes_at_work_start_no_task() {
    let alive = || Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let mut world = World::new(5, |config| config);
    let leader = world.elect().await;
    world.run(5 * ELECTION).await;
    assert_eq!(alive(), before);
    world.nodes.get_mut(&leader).expect("it leads").stop();
    world.elect().await;
    assert_eq!(alive(), before);
}

#[tokio::test(start_paused = true)]
async fn a_node_forwards_into_a_sink_until_it_is_stopped() {
    let mut node = leader().await;
    node.stop();
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    node.map(Ok)
        .forward(sender)
        .await
        .expect("the receiver is there");
    let items: Vec<_> = receiver.collect().await;
    assert_eq!(
        items.len(),
        2,
        "its last state, and its last order: {items:?}"
    );
}
