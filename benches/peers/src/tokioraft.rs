//! tokioraft: tasks and channels, on tokio's timers and the real clock.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use tokio::runtime::Runtime;
use tokio::task::yield_now;
use tokioraft::send::{Message, MsgRouter};
use tokioraft::{NodeId, TinyRaft};

use crate::streams::{HEARTBEAT, runtime};

/// Every task that was woken, and those that it woke, have had their turn when this one has had so many.
const TURNS: usize = 4;

/// More than there are tasks to run between two turns of this one, so that [`TURNS`] are enough.
const TASKS_BETWEEN: u32 = 1_000_000;

/// The wait before an election, and the most that is added to it.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

struct Cluster {
    ids: Vec<NodeId>,
    places: HashMap<NodeId, usize>,
    nodes: Vec<TinyRaft>,
    outputs: Vec<Receiver<MsgRouter>>,
}

impl Cluster {
    fn empty(nodes: u64) -> Self {
        let ids: Vec<NodeId> = (1..=nodes)
            .map(|id| format!("node-{id:03}").into())
            .collect();
        Self {
            places: ids.iter().cloned().zip(0..).collect(),
            nodes: Vec::with_capacity(ids.len()),
            outputs: Vec::with_capacity(ids.len()),
            ids,
        }
    }

    async fn start(&mut self) {
        for id in &self.ids {
            let (nodes, me) = (self.ids.clone(), id.clone());
            let timeout = ELECTION_TIMEOUT;
            // Without a timeout of leadership a follower answers no `Ping`.
            let expiry = Some(timeout);
            let node = TinyRaft::start(nodes, me, timeout, HEARTBEAT, None, expiry, None, 0).await;
            self.outputs.push(node.get_receiver_from_raft());
            self.nodes.push(node);
        }
    }

    /// Carries what waits, and shows each message. How many there were.
    async fn carry(&mut self, mut show: impl FnMut(usize, usize, &Message)) -> usize {
        let mut carried = 0;
        for (at, output) in self.outputs.iter().enumerate() {
            while let Ok(item) = output.try_recv() {
                if let MsgRouter::ToNode(to, message) = item {
                    let to = self.places[&to];
                    show(at, to, &message);
                    let from = self.ids[at].clone();
                    let taken = self.nodes[to].on_receive(from, message).await;
                    taken.expect("it runs");
                    carried += 1;
                }
            }
        }
        carried
    }
}

/// Clusters with a leader each, on one thread.
pub struct Clusters {
    runtime: Runtime,
    clusters: Vec<Cluster>,
    nodes: u64,
}

impl Clusters {
    /// What carries the messages of so many clusters, and no node yet.
    pub fn empty(nodes: u64, count: usize) -> Self {
        Self {
            runtime: runtime(TASKS_BETWEEN),
            clusters: (0..count).map(|_| Cluster::empty(nodes)).collect(),
            nodes,
        }
    }

    pub fn at_work(nodes: u64, count: usize) -> Self {
        let mut all = Self::empty(nodes, count);
        all.start();
        all
    }

    /// Starts all nodes, and runs them until nobody has campaigned for some time.
    pub fn start(&mut self) {
        let clusters = &mut self.clusters;
        self.runtime.block_on(async {
            for cluster in clusters {
                cluster.start().await;
            }
        });
        let start = Instant::now();
        while start.elapsed() < 4 * ELECTION_TIMEOUT {
            self.wait();
            self.rounds();
        }
    }

    /// Sleeps until every leader's heartbeat is due. The runtime stands still meanwhile, its timers too.
    pub fn wait(&self) {
        thread::sleep(HEARTBEAT + Duration::from_millis(2));
    }

    /// Rings the timers that are due, and carries all that comes of it. How many rounds that were: it starts another
    /// loop of heartbeats with every election that it wins, so a round is a `Ping` and a `Pong` of each follower.
    pub fn rounds(&mut self) -> f64 {
        let carried = self.carry(|_, _, _, _| {});
        carried as f64 / (2 * (self.nodes - 1)) as f64
    }

    fn carry(&mut self, mut show: impl FnMut(usize, usize, usize, &Message)) -> usize {
        let clusters = &mut self.clusters;
        self.runtime.block_on(async {
            let (mut all, mut idle) = (0, 0);
            while idle < TURNS {
                yield_now().await;
                let mut carried = 0;
                for (number, cluster) in clusters.iter_mut().enumerate() {
                    let one = cluster.carry(|from, to, message| show(number, from, to, message));
                    carried += one.await;
                }
                idle = if carried == 0 { idle + 1 } else { 0 };
                all += carried;
            }
            all
        })
    }

    /// One follower of each cluster, with a `Ping` of its leader.
    pub fn followers(mut self) -> Followers {
        self.wait();
        let mut pings: Vec<Option<(usize, usize, Message)>> = vec![None; self.clusters.len()];
        self.carry(|number, from, to, message| {
            // Its fields are private.
            if format!("{message:?}").contains("msg_type: Ping") {
                pings[number].get_or_insert_with(|| (from, to, message.clone()));
            }
        });
        // A machine without time for this can leave a cluster without a leader at this moment.
        let of_cluster = |(cluster, ping): (&Cluster, Option<(usize, usize, Message)>)| {
            let (from, to, ping) = ping?;
            let node = cluster.nodes[to].clone();
            let output = cluster.outputs[to].clone();
            Some((node, output, cluster.ids[from].clone(), ping))
        };
        let followers = self
            .clusters
            .iter()
            .zip(pings)
            .filter_map(of_cluster)
            .collect();
        Followers {
            runtime: self.runtime,
            followers,
        }
    }
}

type Follower = (TinyRaft, Receiver<MsgRouter>, NodeId, Message);

/// Followers of clusters of their own, each with a leader's `Ping`.
pub struct Followers {
    runtime: Runtime,
    followers: Vec<Follower>,
}

impl Followers {
    /// Lets go of what came out before.
    pub fn clear(&mut self) {
        for (_, output, ..) in &self.followers {
            while output.try_recv().is_ok() {}
        }
    }

    /// The `Ping` goes into each node, and the `Pong` comes out of it. How many did.
    pub fn answer(&mut self) -> usize {
        let followers = &self.followers;
        self.runtime.block_on(async {
            for (node, _, leader, ping) in followers {
                let taken = node.on_receive(leader.clone(), ping.clone()).await;
                taken.expect("it runs");
            }
            // Now the nodes' tasks have their turn, until nothing is left for them to do.
            yield_now().await;
            let answers = followers.iter().map(|(_, output, ..)| {
                let items = std::iter::from_fn(|| output.try_recv().ok());
                items
                    .filter(|item| matches!(item, MsgRouter::ToNode(..)))
                    .count()
            });
            answers.sum()
        })
    }
}
