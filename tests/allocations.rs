//! What nodes take from the allocator: nothing for a heartbeat, little for an election, little to keep. Counts, so that
//! they can be held to limits where times cannot; instructions are held to theirs by `benches/peers/counts`.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use allocation_counter::{AllocationInfo, measure};
use futures::StreamExt;
use streamraft::{Config, Election, Id, Inbound, Message, MsgRouter, NodeId, TinyRaft};
use tokio::time::advance;

const HEARTBEAT: Duration = Duration::from_millis(100);

/// By then the first node of a fresh cluster campaigns, and no other does yet.
const FIRST_TURN: Duration = Duration::from_millis(30);

/// A hundred seconds of heartbeats: longer than anything lasts that a node would let go of later.
const TO_SETTLE: usize = 1_000;

/// The most allocations of a first election, of all nodes of the cluster together: for so many nodes, so many.
const OF_AN_ELECTION: [(usize, i64); 2] = [(3, 8), (5, 9)];

/// What the harness calls a node: a core, or a stream and sink.
trait Node<I> {
    fn take(&mut self, now: Instant) -> Option<MsgRouter<I>>;
    fn put(&mut self, now: Instant, from: I, message: Message<I>);
}

impl<I: Id> Node<I> for Election<I> {
    fn take(&mut self, now: Instant) -> Option<MsgRouter<I>> {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.handle_timeout(now);
        }
        self.poll_output()
    }

    fn put(&mut self, now: Instant, from: I, message: Message<I>) {
        let taken = self.handle(now, Inbound::FromNode(from, message));
        taken.expect("a node that takes input");
    }
}

impl<I: Id> Node<I> for TinyRaft<I> {
    fn take(&mut self, _: Instant) -> Option<MsgRouter<I>> {
        match self.poll_next_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(item) => Some(item.expect("a node that runs")),
            Poll::Pending => None,
        }
    }

    fn put(&mut self, _: Instant, from: I, message: Message<I>) {
        self.on_receive(from, message);
    }
}

/// A cluster whose first node leads. What carries the messages allocates nothing once it is made.
struct Cluster<I, N> {
    ids: Vec<I>,
    nodes: Vec<N>,
    post: VecDeque<(usize, usize, Message<I>)>,
}

impl<I: Id, N: Node<I>> Cluster<I, N> {
    fn new(ids: Vec<I>) -> Self {
        Self {
            nodes: Vec::with_capacity(ids.len()),
            post: VecDeque::with_capacity(8 * ids.len()),
            ids,
        }
    }

    fn start(&mut self, make: impl Fn(Config<I>) -> N) {
        for id in &self.ids {
            let config = Config::with_id(id.clone(), self.ids.clone()).expect("distinct ids");
            let config = config.heartbeat_interval(HEARTBEAT).bootstrap().seed(1);
            self.nodes.push(make(config));
        }
    }

    /// Takes what comes out of each node, and passes it on until nothing more does. How many messages that were.
    fn pump(&mut self, now: Instant) -> usize {
        let mut passed = 0;
        for at in 0..self.nodes.len() {
            self.drain(at, now);
        }
        while let Some((from, to, message)) = self.post.pop_front() {
            self.nodes[to].put(now, self.ids[from].clone(), message);
            self.drain(to, now);
            passed += 1;
        }
        passed
    }

    fn drain(&mut self, at: usize, now: Instant) {
        while let Some(output) = self.nodes[at].take(now) {
            if let MsgRouter::ToNode(to, message) = output {
                let to = self.ids.iter().position(|id| *id == to);
                self.post.push_back((at, to.expect("a member"), message));
            }
        }
    }

    /// One `Ping` to each follower, and a `Pong` of each.
    fn assert_round(&self, passed: usize) {
        assert_eq!(passed, 2 * (self.ids.len() - 1));
    }
}

fn names(count: usize) -> Vec<NodeId> {
    let name = |number| NodeId::new(format!("node-{number}")).expect("a good name");
    (1..=count).map(name).collect()
}

#[track_caller]
fn assert_at_most(what: &str, limit: i64, is: i64) {
    assert!(is <= limit, "{what}: {is}, at most {limit}");
}

/// Elects the first of these nodes by hand. What the whole of it took, and what one heartbeat round takes afterwards.
fn by_hand<I: Id>(ids: Vec<I>) -> (AllocationInfo, AllocationInfo) {
    let mut now = Instant::now();
    let start = now;
    let mut cluster = Cluster::new(ids);
    cluster.start(|config| Election::new(config, start).expect("good settings"));
    now += FIRST_TURN;
    let election = measure(|| {
        cluster.pump(now);
    });
    assert!(cluster.nodes[0].state().is_leader_at(now));
    for _ in 0..TO_SETTLE {
        now += HEARTBEAT;
        cluster.pump(now);
    }
    now += HEARTBEAT;
    let mut passed = 0;
    let round = measure(|| passed = cluster.pump(now));
    cluster.assert_round(passed);
    (election, round)
}

#[test]
fn a_heartbeat_round_of_the_core_allocates_nothing() {
    for count in [3, 5, 101] {
        let (_, numbers) = by_hand((1..=count as u64).collect());
        let (_, names) = by_hand(names(count));
        assert_eq!((numbers.count_total, names.count_total), (0, 0), "{count}");
    }
}

#[test]
fn a_first_election_of_the_core_allocates_no_more_than_it_did() {
    for (count, limit) in OF_AN_ELECTION {
        let (election, _) = by_hand(names(count));
        assert!(election.count_total > 0, "the count counts");
        assert_at_most("allocations", limit, election.count_total as i64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_round_of_streams_allocates_nothing() {
    for count in [3, 5] {
        let mut cluster = running(count).await;
        // Long enough for timers to ring in vain and to be set anew.
        for _ in 0..100 {
            advance(HEARTBEAT).await;
            let mut passed = 0;
            let round = measure(|| passed = cluster.pump(Instant::now()));
            cluster.assert_round(passed);
            assert_eq!(round.count_total, 0, "{count} nodes");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_node_keeps_less_than_half_a_kibibyte() {
    let mut cluster = Cluster::new(names(3));
    let mut counted = measure(|| {
        cluster.start(|config| TinyRaft::new(config).expect("good settings"));
        cluster.pump(Instant::now());
    });
    advance(FIRST_TURN).await;
    counted += measure(|| {
        cluster.pump(Instant::now());
    });
    assert!(cluster.nodes[0].is_leader());
    for _ in 0..TO_SETTLE {
        advance(HEARTBEAT).await;
        counted += measure(|| {
            cluster.pump(Instant::now());
        });
    }
    let kept = counted.bytes_current / cluster.nodes.len() as i64;
    assert!(kept > 0, "the count counts");
    assert_at_most("bytes of heap", 512, kept);
}

/// Nodes through their streams and sinks that have had a leader for long.
async fn running(count: usize) -> Cluster<NodeId, TinyRaft> {
    let mut cluster = Cluster::new(names(count));
    cluster.start(|config| TinyRaft::new(config).expect("good settings"));
    cluster.pump(Instant::now());
    advance(FIRST_TURN).await;
    cluster.pump(Instant::now());
    assert!(cluster.nodes[0].is_leader(), "nobody stands against it");
    for _ in 0..TO_SETTLE {
        advance(HEARTBEAT).await;
        cluster.pump(Instant::now());
    }
    cluster
}
