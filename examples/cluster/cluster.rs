//! Nodes with their connections, all polled by whoever calls [`Cluster::until`] or [`Cluster::watch`].

use std::collections::BTreeMap;
use std::future::pending;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use streamraft::codec::Hello;
use streamraft::{Config, HardState, MsgRouter, NodeId, NodeState, NodeType, TinyRaft};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::Failure;
use crate::links::Links;

const NAME: &str = "example";

/// A node that runs.
struct Member {
    node: TinyRaft,
    links: Links,
}

impl Member {
    /// Drives the node and its connections until its state changes. Cancel safe, since all that it awaits is.
    async fn next_state(&mut self) -> NodeState {
        loop {
            tokio::select! {
                Some(item) = self.node.next() => match item {
                    MsgRouter::ToSelf(state) => return state,
                    item => self.links.send(item).await,
                },
                (from, message) = self.links.recv() => self.node.on_receive(from, message),
            }
        }
    }
}

/// The nodes, and what is left of those that do not run.
pub(crate) struct Cluster {
    started: Instant,
    election_timeout: Duration,
    members: BTreeMap<NodeId, Member>,
    addresses: BTreeMap<NodeId, SocketAddr>,
    /// What a store would hold: the last hard state of each node.
    kept: BTreeMap<NodeId, HardState>,
    shown: BTreeMap<NodeId, String>,
}

impl Cluster {
    pub(crate) fn new(election_timeout: Duration) -> Self {
        Self {
            started: Instant::now(),
            election_timeout,
            members: BTreeMap::new(),
            addresses: BTreeMap::new(),
            kept: BTreeMap::new(),
            shown: BTreeMap::new(),
        }
    }

    pub(crate) fn election_timeout(&self) -> Duration {
        self.election_timeout
    }

    /// A tenth of the election timeout, as far as tokio's timer can resolve that.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        (self.election_timeout / 10).max(Duration::from_millis(1))
    }

    /// Starts a node. One that ran before goes on from what was kept of it, and at the address that it had.
    pub(crate) async fn start(&mut self, config: Config) -> Result<(), Failure> {
        let id = config.node_id().clone();
        let mut config = config
            .cluster(NAME)
            .election_timeout(self.election_timeout)
            .heartbeat_interval(self.heartbeat_interval());
        if let Some(kept) = self.kept.get(&id) {
            config = config.restore(kept.clone());
        }
        let node = TinyRaft::new(config)?;

        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = self.addresses.get(&id).copied().unwrap_or(anywhere);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("{id} cannot listen on {address}: {error}"))?;
        let mut links = Links::new(Hello::new(NAME, id.clone()), listener);
        let address = links.address()?.to_string();
        self.addresses.insert(id.clone(), links.address()?);
        for (peer, member) in &mut self.members {
            links.learn(peer.clone(), member.links.address()?.to_string());
            member.links.learn(id.clone(), address.clone());
        }
        self.members.insert(id, Member { node, links });
        Ok(())
    }

    /// The node and its sockets are gone at once, as if its process was killed.
    pub(crate) fn kill(&mut self, id: &NodeId) {
        self.members.remove(id);
        self.shown.remove(id);
    }

    /// Ends a node in good order: it says what it has to say before its sockets close.
    pub(crate) async fn stop(&mut self, id: &NodeId) {
        self.shown.remove(id);
        if let Some(Member {
            mut node,
            mut links,
        }) = self.members.remove(id)
        {
            node.stop();
            while let Some(item) = node.next().await {
                links.send(item).await;
            }
            links.close().await;
        }
    }

    /// Drives all nodes until the state of one of them changes.
    async fn step(&mut self) {
        let members = self.members.iter_mut();
        let mut changes: FuturesUnordered<_> = members
            .map(async |(id, member)| (id.clone(), member.next_state().await))
            .collect();
        let change = changes.next().await;
        drop(changes);
        let Some((id, state)) = change else {
            return pending().await; // nobody runs
        };
        // Kept before the node is polled again, hence before anything leaves it that relies on this.
        self.kept.insert(id.clone(), state.hard_state().clone());
        self.show(id, &state);
    }

    /// Drives all nodes until `found` finds what it looks for.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        found: impl Fn(&Self) -> Option<T>,
    ) -> Result<T, Failure> {
        let limit = Duration::from_secs(5) + self.election_timeout * 8;
        let search = async {
            loop {
                match found(self) {
                    Some(it) => return it,
                    None => self.step().await,
                }
            }
        };
        let late = |_| format!("{what}: not within {limit:?}").into();
        timeout(limit, search).await.map_err(late)
    }

    /// Drives all nodes for so long.
    pub(crate) async fn watch(&mut self, time: Duration) {
        let forever = async {
            loop {
                self.step().await;
            }
        };
        // It ends in no other way than by its time being over.
        let _: Result<(), _> = timeout(time, forever).await;
    }

    pub(crate) fn node(&mut self, id: &NodeId) -> Result<&mut TinyRaft, Failure> {
        let member = self.members.get_mut(id);
        let member = member.ok_or_else(|| format!("{id} does not run"))?;
        Ok(&mut member.node)
    }

    pub(crate) fn state(&self, id: &NodeId) -> Option<&NodeState> {
        Some(self.members.get(id)?.node.state())
    }

    /// Who leads at this instant: was elected, and holds a lease.
    pub(crate) fn leader(&self) -> Option<&NodeState> {
        let mut members = self.members.values();
        let leader = members.find(|member| member.node.is_leader())?;
        Some(leader.node.state())
    }

    /// The leader, if all voters that run know it and hold its membership.
    pub(crate) fn agreed_leader(&self) -> Option<&NodeState> {
        let leader = self.leader()?;
        let agrees = |state: &NodeState| {
            state.leader() == leader.leader() && state.nodes() == leader.nodes()
        };
        let mut voters = leader.nodes().iter().filter_map(|id| self.state(id));
        voters.all(agrees).then_some(leader)
    }

    /// Begins a paragraph of the story.
    pub(crate) fn say(&self, text: &str) {
        print("");
        self.add(text);
    }

    pub(crate) fn add(&self, text: &str) {
        print(&format!("{}  {text}", self.clock()));
    }

    fn clock(&self) -> String {
        format!("{:>7.1} ms", millis(self.started.elapsed()))
    }

    /// A line for every change that an onlooker cares about.
    fn show(&mut self, id: NodeId, state: &NodeState) {
        let leader = match (state.node_type(), state.leader()) {
            (NodeType::Leader, _) if state.lease().is_some() => "has a lease".to_owned(),
            (NodeType::Leader, _) | (_, None) => String::new(),
            (_, Some(leader)) => format!("follows {leader}"),
        };
        let line = format!(
            "{:<9}  term {:<2}  {leader:<11}  voters {}",
            state.node_type(),
            state.term(),
            list(state.nodes())
        );
        if self.shown.get(&id) != Some(&line) {
            print(&format!("{}    {id}  {line}", self.clock()));
            self.shown.insert(id, line);
        }
    }
}

/// Prints a line. A reader who has seen enough, as `head` has, ends the program.
pub(crate) fn print(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// `a b c`.
pub(crate) fn list(ids: &[NodeId]) -> String {
    let ids: Vec<_> = ids.iter().map(NodeId::as_str).collect();
    ids.join(" ")
}
