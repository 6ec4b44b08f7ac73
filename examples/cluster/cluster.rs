//! Nodes with their disks and connections, all polled by whoever calls [`Cluster::until`] or [`Cluster::watch`].

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use streamraft::codec::Hello;
use streamraft::{Config, Durable, MemoryStore, Mesh, NodeId, NodeState, NodeType, Over, TinyRaft};
use tokio::time::timeout;

use crate::Failure;

const NAME: &str = "example";

/// A node that runs, with its vote and its connections.
type Member = Over<Durable<TinyRaft, MemoryStore>, Mesh>;

/// The nodes, and what is left of those that do not run.
pub(crate) struct Cluster {
    started: Instant,
    election_timeout: Duration,
    members: BTreeMap<NodeId, Member>,
    addresses: BTreeMap<NodeId, SocketAddr>,
    /// They outlive their nodes; those of a real cluster are files.
    disks: BTreeMap<NodeId, MemoryStore>,
    shown: BTreeMap<NodeId, String>,
}

impl Cluster {
    pub(crate) fn new(election_timeout: Duration) -> Self {
        Self {
            started: Instant::now(),
            election_timeout,
            members: BTreeMap::new(),
            addresses: BTreeMap::new(),
            disks: BTreeMap::new(),
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

    /// Starts a node. One that ran before goes on from what its disk holds, and at the address that it had.
    pub(crate) fn start(&mut self, config: Config) -> Result<(), Failure> {
        let id = config.node_id().clone();
        let disk = self.disks.entry(id.clone()).or_default().clone();
        let config = config
            .cluster(NAME)
            .election_timeout(self.election_timeout)
            .heartbeat_interval(self.heartbeat_interval())
            .restore(disk.saved());
        let node = TinyRaft::new(config)?;

        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = self.addresses.get(&id).copied().unwrap_or(anywhere);
        let hello = Hello::new(NAME, id.clone());
        let mut mesh = Mesh::builder(hello).listen(address).build()?;
        let address = mesh.local_addr().unwrap_or(address);
        self.addresses.insert(id.clone(), address);
        for (peer, member) in &mut self.members {
            if let Some(address) = self.addresses.get(peer) {
                mesh.insert_peer(peer.clone(), *address);
            }
            member.transport_mut().insert_peer(id.clone(), address);
        }
        self.members.insert(id, node.durable(disk).over(mesh));
        Ok(())
    }

    /// The node and its sockets are gone at once, as if its process was killed.
    pub(crate) fn kill(&mut self, id: &NodeId) {
        self.members.remove(id);
        self.shown.remove(id);
    }

    /// Ends a node for good and in order: it says what it has to say before its sockets close.
    pub(crate) async fn stop(&mut self, id: &NodeId) -> Result<(), Failure> {
        self.shown.remove(id);
        let Some(mut member) = self.members.remove(id) else {
            return Ok(());
        };
        let end = async {
            member.get_mut().get_mut().stop();
            while let Some(last) = member.next().await {
                last?;
            }
            let Ok(()) = member.into_inner().1.close().await;
            Ok::<_, Failure>(())
        };
        // A connection is closed when both sides have closed it.
        tokio::select! {
            ended = end => ended?,
            never = self.run() => match never? {},
        }
        for other in self.members.values_mut() {
            other.transport_mut().remove_peer(id);
        }
        Ok(())
    }

    async fn run(&mut self) -> Result<Infallible, Failure> {
        loop {
            self.step().await?;
        }
    }

    /// Drives all nodes until the state of one of them changes.
    async fn step(&mut self) -> Result<(), Failure> {
        let members = self.members.iter_mut();
        let mut changes: FuturesUnordered<_> = members
            .map(async |(id, member)| (id.clone(), member.next().await))
            .collect();
        let change = changes.next().await;
        drop(changes);
        if let Some((id, Some(state))) = change {
            self.show(id, &state?);
            return Ok(());
        }
        pending().await // nobody runs
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
                    Some(it) => return Ok(it),
                    None => self.step().await?,
                }
            }
        };
        let late = |_| format!("{what}: not within {limit:?}");
        timeout(limit, search).await.map_err(late)?
    }

    /// Drives all nodes for so long.
    pub(crate) async fn watch(&mut self, time: Duration) -> Result<(), Failure> {
        match timeout(time, self.run()).await {
            Ok(never) => match never? {},
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn node(&mut self, id: &NodeId) -> Result<&mut TinyRaft, Failure> {
        let member = self.members.get_mut(id);
        let member = member.ok_or_else(|| format!("{id} does not run"))?;
        Ok(member.get_mut().get_mut())
    }

    pub(crate) fn state(&self, id: &NodeId) -> Option<&NodeState> {
        Some(self.members.get(id)?.get_ref().state())
    }

    /// Who leads at this instant: was elected, and holds a lease.
    pub(crate) fn leader(&self) -> Option<&NodeState> {
        let mut nodes = self.members.values().map(Member::get_ref);
        let leader = nodes.find(|node| node.get_ref().is_leader())?;
        Some(leader.state())
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
