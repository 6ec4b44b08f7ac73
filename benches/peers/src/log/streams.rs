//! streamraft's log as a program has it: three `Raft`s polled by their owner in one task, a `Client`, and the streams of what is
//! applied. With the real clock.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::poll_fn;
use streamraft::raft::{Applied, AppliedStream, Client, LogLimits, MemoryLog, Raft, RaftOutput};
use tokio::runtime::Runtime;
use tokio::task::unconstrained;

use super::{Cluster, Machine, Proposal, rounds};
use crate::election::core::configs;
use crate::streams::{EVENT_INTERVAL, runtime};

struct Node {
    raft: Raft<MemoryLog<u64>, u64>,
    applied: AppliedStream,
    machine: Machine,
    is_due: bool,
}

pub struct Nodes {
    runtime: Runtime,
    nodes: Vec<Node>,
    client: Client<u64>,
}

impl Nodes {
    /// The first node leads: it is the first to campaign.
    pub fn led(nodes: u64) -> Self {
        let runtime = runtime(EVENT_INTERVAL);
        let node = |config| {
            let raft = Raft::new(config, LogLimits::default(), MemoryLog::new());
            let mut raft = raft.expect("good settings");
            Node {
                applied: raft.applied(0),
                raft,
                machine: Machine::default(),
                is_due: true,
            }
        };
        let mut nodes: Vec<_> = configs(nodes).into_iter().map(node).collect();
        let client = nodes[0].raft.client();
        runtime.block_on(poll_fn(|context| {
            pump(&mut nodes, context);
            match nodes[0].raft.log().commit() {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        }));
        Self {
            runtime,
            nodes,
            client,
        }
    }
}

impl Node {
    fn apply(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(item)) = Pin::new(&mut self.applied).poll_next(context) {
            if let Applied::Entry(entry) = item {
                self.machine.apply(&entry.data);
            }
        }
    }
}

/// Polls every node, those that are sent something again, until all is said.
fn pump(nodes: &mut [Node], context: &mut Context<'_>) {
    nodes.iter_mut().for_each(|node| node.is_due = true);
    while let Some(at) = nodes.iter().position(|node| node.is_due) {
        nodes[at].is_due = false;
        while let Poll::Ready(Some(output)) = Pin::new(&mut nodes[at].raft).poll_next(context) {
            if let RaftOutput::ToNode(to, message) = output {
                let other = &mut nodes[to as usize - 1];
                other.raft.on_receive(&(at as u64 + 1), message);
                other.is_due = true;
            }
        }
        nodes[at].apply(context);
    }
}

/// Drives the nodes until this is over.
async fn during<F: Future>(nodes: &mut [Node], work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context| {
        // What it asks for is done at once, and what comes of that is told to it at once.
        for _ in 0..2 {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            pump(nodes, context);
        }
        Poll::Pending
    })
    .await
}

impl Cluster for Nodes {
    fn run(&mut self, proposals: Vec<Proposal>, window: usize, lap: &mut dyn FnMut()) {
        let Self {
            runtime,
            nodes,
            client,
        } = self;
        let goal = nodes[0].machine.applied + proposals.len() as u64;
        let all = rounds(proposals, window, lap, |proposal| async {
            let done = client.propose(proposal).await;
            assert!(done.is_ok(), "it leads");
        });
        runtime.block_on(unconstrained(during(nodes, all)));
        assert_eq!(nodes[0].machine.applied, goal, "all were applied");
    }
}
