//! Nodes, meshes and sockets in turmoil's simulation: partitions, held messages, crashes and restarts, in simulated
//! time, the same for every run of a seed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use streamraft::{MemoryStore, NodeId, NodeType, Opening, PeerAddr, Sockets};
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use crate::net::*;

const HOSTS: [&str; 5] = ["a", "b", "c", "d", "e"];
const PORT: u16 = 7000;

type Accepting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// turmoil's sockets for a mesh.
struct Simulated {
    listener: Arc<TcpListener>,
    accepting: Option<Accepting>,
}

impl Sockets for Simulated {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Opening>> {
        let listener = &self.listener;
        let accepting = self.accepting.get_or_insert_with(|| {
            let listener = Arc::clone(listener);
            Box::pin(async move { Ok(listener.accept().await?.0) })
        });
        let accepted = std::task::ready!(accepting.as_mut().poll(cx));
        self.accepting = None;
        Poll::Ready(accepted.map(Opening::open))
    }

    fn connect(&mut self, addr: &PeerAddr) -> Opening {
        let addr = addr.to_string();
        Opening::new(async move { TcpStream::connect(addr).await })
    }
}

/// What a node has shown, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    at: Duration,
    id: &'static str,
    leads: bool,
    term: u64,
    leader: Option<String>,
}

/// A cluster, one node a host, and all that its nodes have shown.
struct World<'a> {
    sim: Sim<'a>,
    shown: Rc<RefCell<Vec<Shown>>>,
}

/// One life of a node.
async fn live(
    id: &'static str,
    seed: u64,
    disk: MemoryStore,
    shown: Rc<RefCell<Vec<Shown>>>,
) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let sockets = Simulated {
        listener: Arc::new(listener),
        accepting: None,
    };
    let mut builder = Mesh::builder(Hello::new(CLUSTER, NodeId::new(id)?))
        .idle_timeout(Duration::from_secs(1))
        .handshake_timeout(Duration::from_millis(500))
        .seed(seed);
    for host in HOSTS {
        builder = builder.peer(NodeId::new(host)?, format!("{host}:{PORT}"));
    }
    let mut config = Config::new(id, HOSTS)?.cluster(CLUSTER).seed(seed);
    if let Some(saved) = disk.saved() {
        config = config.restore(saved);
    }
    let node = TinyRaft::new(config)?.durable(disk);
    let mut node = node.over(builder.build_over(sockets)?);
    while let Some(state) = node.next().await {
        // What is lost is dialled again.
        let Ok(state) = state else { continue };
        shown.borrow_mut().push(Shown {
            at: turmoil::sim_elapsed().unwrap(),
            id,
            leads: state.node_type() == NodeType::Leader,
            term: state.term(),
            leader: state.leader().map(ToString::to_string),
        });
    }
    Ok(())
}

impl World<'_> {
    fn new(seed: u64) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .simulation_duration(Duration::from_secs(600))
            .tick_duration(Duration::from_millis(5))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(20))
            .build();
        let shown = Rc::new(RefCell::new(Vec::new()));
        for (number, id) in (0..).zip(HOSTS) {
            let (disk, shown) = (MemoryStore::new(), Rc::clone(&shown));
            sim.host(id, move || {
                live(id, seed * 10 + number, disk.clone(), Rc::clone(&shown))
            });
        }
        Self { sim, shown }
    }

    fn run(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim.step().unwrap();
        }
        self.check();
    }

    /// One leader a term, and no node's term falls.
    fn check(&self) {
        let (mut leaders, mut terms) = (BTreeMap::new(), BTreeMap::new());
        for shown in &*self.shown.borrow() {
            if shown.leads {
                let leader = leaders.entry(shown.term).or_insert(shown.id);
                assert_eq!(*leader, shown.id, "two leaders in term {}", shown.term);
            }
            let before = terms.insert(shown.id, shown.term).unwrap_or(0);
            assert!(before <= shown.term, "{shown:?} after term {before}");
        }
    }

    fn last(&self, id: &str) -> Shown {
        let shown = self.shown.borrow();
        let last = shown.iter().rev().find(|shown| shown.id == id);
        last.unwrap_or_else(|| panic!("{id} has shown nothing"))
            .clone()
    }

    /// The one that all of these follow, in one term, and its term.
    fn agreed(&self, ids: &[&'static str]) -> (&'static str, u64) {
        let all: Vec<_> = ids.iter().map(|id| self.last(id)).collect();
        let leads: Vec<_> = all.iter().filter(|shown| shown.leads).collect();
        let &[leader] = &leads[..] else {
            panic!("not one leader: {all:#?}");
        };
        for shown in &all {
            assert_eq!(shown.term, leader.term, "{all:#?}");
            assert_eq!(shown.leader.as_deref(), Some(leader.id), "{all:#?}");
        }
        (leader.id, leader.term)
    }

    fn others(than: &[&str]) -> Vec<&'static str> {
        HOSTS.into_iter().filter(|id| !than.contains(id)).collect()
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Everything that turmoil can do to a cluster, one after the other. Gives all that was shown.
fn story(seed: u64) -> Vec<Shown> {
    let mut world = World::new(seed);
    world.run(secs(5));
    world.agreed(&HOSTS);
    let shown = world.shown.borrow().clone();
    let cold_start = shown.iter().find(|shown| shown.leads).unwrap().at;
    assert!(
        (secs(1)..secs(2)).contains(&cold_start),
        "{cold_start:?} of simulated time"
    );
    world.leader_alone(Sim::partition, Sim::repair);
    world.leader_alone(Sim::hold, Sim::release);
    world.two_against_three();
    world.crash_and_bounce();
    world.shown.take()
}

type Between<'a> = fn(&Sim<'a>, &'static str, &'static str);

impl<'a> World<'a> {
    fn between(&self, some: &[&'static str], others: &[&'static str], what: Between<'a>) {
        for one in some {
            for other in others {
                what(&self.sim, one, other);
            }
        }
    }

    /// Nothing passes between the leader and the others, who elect; then it passes again, or comes late.
    fn leader_alone(&mut self, cut: Between<'a>, mend: Between<'a>) {
        let (first, term) = self.agreed(&HOSTS);
        let rest = Self::others(&[first]);
        self.between(&[first], &rest, cut);
        self.run(secs(5));
        let second = self.agreed(&rest);
        assert!(second.1 > term);
        assert!(!self.last(first).leads, "it has no quorum");
        self.between(&[first], &rest, mend);
        self.run(secs(5));
        assert_eq!(
            self.agreed(&HOSTS),
            second,
            "who is back takes it from nobody"
        );
    }

    fn two_against_three(&mut self) {
        let (leader, _) = self.agreed(&HOSTS);
        let few = [leader, Self::others(&[leader])[0]];
        let many = Self::others(&few);
        self.between(&few, &many, Sim::partition);
        self.run(secs(5));
        let next = self.agreed(&many);
        assert!(few.iter().all(|id| !self.last(id).leads));
        self.between(&few, &many, Sim::repair);
        self.run(secs(5));
        assert_eq!(self.agreed(&HOSTS), next);
    }

    /// The leader, and then all at once. Back again, they know their terms.
    fn crash_and_bounce(&mut self) {
        let (leader, term) = self.agreed(&HOSTS);
        self.sim.crash(leader);
        self.run(secs(5));
        let next = self.agreed(&Self::others(&[leader]));
        assert!(next.1 > term);
        self.sim.bounce(leader);
        self.run(secs(5));
        assert_eq!(self.agreed(&HOSTS), next);

        for id in HOSTS {
            self.sim.crash(id);
        }
        for id in HOSTS {
            self.sim.bounce(id);
        }
        self.run(secs(5));
        assert!(self.agreed(&HOSTS).1 > next.1, "terms are on disk");
    }
}

#[test]
fn partitions_held_messages_and_crashes_leave_one_leader_a_term_and_an_agreed_one() {
    for seed in 1..=3 {
        story(seed);
    }
}

#[test]
fn a_seed_replays_a_run() {
    let first = story(7);
    assert!(first == story(7));
    assert!(first != story(8));
}

/// Links that slow down and break at random, again and again.
#[test]
fn messages_that_get_lost_break_connections_and_no_promise() {
    let mut world = World::new(3);
    world.sim.set_fail_rate(0.005);
    world.run(secs(60));
    world.sim.set_fail_rate(0.0);
    world.run(secs(8));
    world.agreed(&HOSTS);
}
