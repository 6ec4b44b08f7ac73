//! tokioraft: tasks and channels, on tokio's paused clock.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokioraft::send::MsgRouter;
use tokioraft::{NodeId, TinyRaft};

use super::Cluster;

const HEARTBEAT: Duration = Duration::from_millis(100);

/// A node's task has had its turn, and those that it woke, when this one has had so many.
const TURNS: usize = 4;

pub struct Nodes {
    runtime: Runtime,
    ids: Vec<NodeId>,
    nodes: Vec<TinyRaft>,
}

impl Nodes {
    /// Carries everything until nobody has anything to say. How many messages that were.
    async fn pump(ids: &[NodeId], nodes: &[TinyRaft]) -> usize {
        let outputs: Vec<_> = nodes.iter().map(TinyRaft::get_receiver_from_raft).collect();
        let (mut carried, mut idle) = (0, 0);
        while idle < TURNS {
            idle += 1;
            for (from, output) in ids.iter().zip(&outputs) {
                while let Ok(item) = output.try_recv() {
                    idle = 0;
                    if let MsgRouter::ToNode(to, message) = item {
                        let to = ids.iter().position(|id| *id == to).expect("a member");
                        let taken = nodes[to].on_receive(from.clone(), message).await;
                        taken.expect("it runs");
                        carried += 1;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        carried
    }

    fn advance(&mut self, time: Duration) -> usize {
        let Self {
            runtime,
            ids,
            nodes,
        } = self;
        runtime.block_on(async {
            tokio::time::advance(time).await;
            Self::pump(ids, nodes).await
        })
    }
}

impl Cluster for Nodes {
    fn due(nodes: u64) -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let ids: Vec<NodeId> = (1..=nodes).map(|id| id.to_string().into()).collect();
        let nodes = runtime.block_on(async {
            let mut nodes = Vec::new();
            for id in &ids {
                let timeout = Duration::from_secs(1);
                let node = TinyRaft::start(
                    ids.clone(),
                    id.clone(),
                    timeout,
                    HEARTBEAT,
                    None,
                    None,
                    None,
                    0,
                );
                nodes.push(node.await);
            }
            nodes
        });
        Self {
            runtime,
            ids,
            nodes,
        }
    }

    /// Whoever wins.
    fn elect(&mut self) {
        for _ in 0..100 {
            self.advance(HEARTBEAT);
        }
        // It starts a loop of heartbeats with every election won, so there can be several of them.
        assert!(self.advance(HEARTBEAT) >= 2 * (self.nodes.len() - 1));
    }

    fn round(&mut self) {
        let carried = self.advance(HEARTBEAT);
        assert!(carried >= 2 * (self.nodes.len() - 1));
    }
}
