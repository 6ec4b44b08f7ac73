//! A cluster polled by one task: nodes as streams and sinks, and a network whose links can be cut. Nothing is spawned.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Sink, Stream};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use streamraft::{
    Command, Config, HardState, Inbound, Message, MsgRouter, NodeId, NodeState, NodeType, TinyRaft,
};
use tokio::time::{Instant, Sleep};

pub(crate) type Name = &'static str;

pub(crate) const NAMES: [Name; 5] = ["a", "b", "c", "d", "e"];

/// The settings of [`Cluster::new`]: the defaults.
pub(crate) const ELECTION_TIMEOUT: Duration = ms(1_000);
pub(crate) const LEADERSHIP_TIMEOUT: Duration = ms(1_000);
pub(crate) const HEARTBEAT: Duration = ms(100);

/// The most that a message takes.
pub(crate) const DELAY: Duration = ms(5);

/// tokio's timer wakes at whole milliseconds, so a node may act this much late.
pub(crate) const TIMER: Duration = ms(1);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One node, as its owner keeps it.
struct Host {
    config: Config,
    node: Option<TinyRaft>,
    disk: Option<HardState>,
    /// Every state that came out, and when.
    shown: Vec<(Instant, NodeState)>,
}

struct Network {
    /// By when they arrive, and in the order in which they were sent.
    post: BTreeMap<(Instant, u64), (Name, Name, Message)>,
    sent: u64,
    rng: Xoshiro256PlusPlus,
    cuts: BTreeSet<(Name, Name)>,
    alarm: Option<Pin<Box<Sleep>>>,
}

pub(crate) struct Cluster {
    hosts: BTreeMap<Name, Host>,
    network: Network,
    /// Who led each term.
    leaders: BTreeMap<u64, Name>,
}

impl Cluster {
    /// This many nodes with the default settings, started now.
    pub(crate) fn new(size: usize, seed: u64) -> Self {
        Self::tuned(size, seed, |config| config)
    }

    pub(crate) fn tuned(size: usize, seed: u64, tune: impl Fn(Config) -> Config) -> Self {
        let network = Network {
            post: BTreeMap::new(),
            sent: 0,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            cuts: BTreeSet::new(),
            alarm: None,
        };
        let mut cluster = Self {
            hosts: BTreeMap::new(),
            network,
            leaders: BTreeMap::new(),
        };
        for name in &NAMES[..size] {
            let config = Config::new(name, &NAMES[..size]).expect("good settings");
            let host = Host {
                config: tune(config.seed(seed)),
                node: None,
                disk: None,
                shown: Vec::new(),
            };
            cluster.hosts.insert(name, host);
            cluster.start(name);
        }
        cluster
    }

    /// Starts a node, from what it last showed if it has run before.
    pub(crate) fn start(&mut self, name: Name) {
        let host = self.host(name);
        let config = match host.disk.clone() {
            Some(saved) => host.config.clone().restore(saved),
            None => host.config.clone(),
        };
        host.node = Some(TinyRaft::new(config).expect("good settings"));
    }

    /// Stops a node, which may hand over first. It is gone when its stream has ended.
    pub(crate) fn stop(&mut self, name: Name) {
        self.node_mut(name).stop();
    }

    /// Drops a node, as a crash does.
    pub(crate) fn drop_node(&mut self, name: Name) {
        self.host(name).node = None;
    }

    /// Puts a command into the sink.
    pub(crate) fn command(&mut self, name: Name, command: Command) {
        put(self.node_mut(name), Inbound::FromSelf(command));
    }

    fn host(&mut self, name: Name) -> &mut Host {
        self.hosts.get_mut(name).expect("a node of this cluster")
    }

    pub(crate) fn node_mut(&mut self, name: Name) -> &mut TinyRaft {
        self.host(name).node.as_mut().expect("a node that runs")
    }

    pub(crate) fn node(&self, name: Name) -> &TinyRaft {
        self.hosts[name].node.as_ref().expect("a node that runs")
    }

    pub(crate) fn state(&self, name: Name) -> &NodeState {
        self.node(name).state()
    }

    pub(crate) fn is_up(&self, name: Name) -> bool {
        self.hosts[name].node.is_some()
    }

    pub(crate) fn live(&self) -> Vec<Name> {
        let names = self.hosts.keys().copied();
        names.filter(|name| self.is_up(name)).collect()
    }

    /// The running nodes but for this one.
    pub(crate) fn others(&self, name: Name) -> Vec<Name> {
        self.live()
            .into_iter()
            .filter(|other| *other != name)
            .collect()
    }

    /// Every state that came out of it, and when.
    pub(crate) fn shown(&self, name: Name) -> &[(Instant, NodeState)] {
        &self.hosts[name].shown
    }

    /// Who leads at this instant, by its lease.
    pub(crate) fn leader(&self) -> Option<Name> {
        self.live()
            .into_iter()
            .find(|name| self.node(name).is_leader())
    }

    /// How often leadership has been won.
    pub(crate) fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// The leader whom all running nodes follow, in one term.
    pub(crate) fn agreed(&self) -> Option<Name> {
        self.agreed_among(&self.live())
    }

    pub(crate) fn agreed_among(&self, names: &[Name]) -> Option<Name> {
        let leader = names
            .iter()
            .copied()
            .find(|name| self.node(name).is_leader())?;
        let term = self.state(leader).term();
        let agrees = |name: &Name| {
            let state = self.state(name);
            state.leader().is_some_and(|id| id.as_str() == leader) && state.term() == term
        };
        names.iter().all(agrees).then_some(leader)
    }

    /// Cuts every link between nodes of different groups, and mends all others.
    pub(crate) fn partition(&mut self, groups: &[&[Name]]) {
        self.network.cuts.clear();
        for (from, to) in pairs(groups) {
            self.network.cuts.insert((from, to));
        }
    }

    /// Cuts one direction of a link.
    pub(crate) fn cut(&mut self, from: Name, to: Name) {
        self.network.cuts.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.network.cuts.clear();
    }

    /// Runs for this long.
    pub(crate) async fn run(&mut self, time: Duration) {
        self.until(time, |_| false).await;
    }

    /// Runs until one leader is agreed on. Answers with it.
    pub(crate) async fn settle(&mut self, limit: Duration) -> Name {
        let took = self
            .until(limit, |cluster| cluster.agreed().is_some())
            .await;
        assert!(took.is_some(), "no leader within {limit:?}: {self:?}");
        self.agreed().expect("just seen")
    }

    /// Runs until this holds, which is looked at after every step. Answers how long it took, or nothing after `limit`.
    pub(crate) async fn until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let start = Instant::now();
        let mut end = std::pin::pin!(tokio::time::sleep(limit));
        std::future::poll_fn(|cx| {
            loop {
                if done(self) {
                    return Poll::Ready(Some(start.elapsed()));
                }
                if start.elapsed() > limit {
                    return Poll::Ready(None);
                }
                if !self.step(cx) {
                    return end.as_mut().poll(cx).map(|()| None);
                }
            }
        })
        .await
    }

    /// Takes one thing out of a node, or brings one message. Says whether there was anything to do.
    fn step(&mut self, cx: &mut Context<'_>) -> bool {
        let names: Vec<Name> = self.live();
        for name in names {
            match Pin::new(self.node_mut(name)).poll_next(cx) {
                Poll::Ready(Some(output)) => self.route(name, output),
                Poll::Ready(None) => self.drop_node(name),
                Poll::Pending => continue,
            }
            self.check();
            return true;
        }
        let Some((from, to, message)) = self.network.poll_arrival(cx) else {
            return false;
        };
        if let Some(node) = &mut self.host(to).node {
            let from = NodeId::new(from).expect("a good name");
            put(node, Inbound::FromNode(from, message));
        }
        self.check();
        true
    }

    fn route(&mut self, name: Name, output: MsgRouter) {
        match output {
            MsgRouter::ToSelf(state) => {
                if state.node_type() == NodeType::Leader {
                    let other = *self.leaders.entry(state.term()).or_insert(name);
                    assert_eq!(other, name, "two leaders in term {}", state.term());
                }
                let host = self.host(name);
                host.disk = Some(state.hard_state().clone());
                host.shown.push((Instant::now(), state));
            }
            MsgRouter::ToNode(to, message) => {
                let to = NAMES.into_iter().find(|name| to.as_str() == *name);
                self.network.send(name, to.expect("a known name"), message);
            }
            _ => unreachable!("no other output"),
        }
    }

    fn check(&self) {
        let leaders: Vec<Name> = self
            .live()
            .into_iter()
            .filter(|name| self.node(name).is_leader())
            .collect();
        assert!(leaders.len() <= 1, "leases overlap: {leaders:?}");
    }
}

/// The directed links between nodes of different groups.
fn pairs(groups: &[&[Name]]) -> Vec<(Name, Name)> {
    let mut pairs = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        for other in groups[at + 1..].iter().copied().flatten() {
            for name in *group {
                pairs.extend([(*name, *other), (*other, *name)]);
            }
        }
    }
    pairs
}

/// By the sink. A node that was stopped takes nothing more, which the network does not mind.
fn put(node: &mut TinyRaft, input: Inbound) {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut node = Pin::new(node);
    match node.as_mut().poll_ready(&mut cx) {
        Poll::Ready(Ok(())) => node.start_send(input).expect("a command that makes sense"),
        Poll::Ready(Err(error)) => assert_eq!(error, streamraft::Error::Stopped),
        Poll::Pending => panic!("the sink is always ready"),
    }
}

impl Network {
    fn send(&mut self, from: Name, to: Name, message: Message) {
        let delay = Duration::from_micros(self.rng.random_range(500..=5_000));
        self.sent += 1;
        let at = (Instant::now() + delay, self.sent);
        self.post.insert(at, (from, to, message));
    }

    /// What has come by now. Otherwise the task is woken when the next message comes.
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Option<(Name, Name, Message)> {
        while let Some(((at, _), _)) = self.post.first_key_value() {
            let at = *at;
            if at > Instant::now() {
                let alarm = self
                    .alarm
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
                alarm.as_mut().reset(at);
                // The clock was asked above; a timer that rings this moment only means another look.
                if alarm.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                return None;
            }
            let (_, (from, to, message)) = self.post.pop_first()?;
            if !self.cuts.contains(&(from, to)) {
                return Some((from, to, message));
            }
        }
        None
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "cuts {:?}", self.network.cuts)?;
        for name in self.live() {
            writeln!(f, "  {name}: {:?}", self.state(name))?;
        }
        Ok(())
    }
}
