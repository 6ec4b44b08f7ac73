//! What happens to the cluster, and how long it takes to have a leader again that everyone knows.

use std::time::{Duration, Instant};

use streamraft::{Config, NodeId, NodeState, NodeType};

use crate::Failure;
use crate::cluster::{Cluster, list, millis, print};

/// For the eyes, and so that events do not always hit just after a heartbeat.
const LONGEST_BREATH: Duration = Duration::from_millis(500);

/// A row of the table at the end.
struct Event {
    what: String,
    leader: String,
    term: u64,
    took: Duration,
}

pub(crate) struct Story {
    cluster: Cluster,
    /// The nodes of the beginning.
    nodes: Vec<NodeId>,
    events: Vec<Event>,
}

impl Story {
    pub(crate) fn new(nodes: u8, election_timeout: Duration) -> Result<Self, Failure> {
        let names = ('a'..).take(usize::from(nodes));
        let nodes = names.map(|name| NodeId::new(name.to_string()));
        Ok(Self {
            cluster: Cluster::new(election_timeout),
            nodes: nodes.collect::<Result<_, _>>()?,
            events: Vec::new(),
        })
    }

    pub(crate) async fn elect(&mut self) -> Result<(), Failure> {
        let since = Instant::now();
        for id in &self.nodes {
            // This cluster has never run, so there can be no leader to be waited for.
            let config = Config::with_id(id.clone(), self.nodes.clone())?.bootstrap();
            self.cluster.start(config)?;
        }
        print(&format!(
            "nodes on loopback TCP, all in one task; election_timeout {:?}, heartbeat_interval {:?}",
            self.cluster.election_timeout(),
            self.cluster.heartbeat_interval()
        ));
        self.cluster.say(&format!("{} begin", list(&self.nodes)));
        self.agreed("first election", since, |_| true).await
    }

    /// Kills the leader. The rest elect another, if they are a quorum.
    pub(crate) async fn kill(&mut self) -> Result<NodeId, Failure> {
        let (old, _) = self.leader().await?;
        self.cluster
            .say(&format!("{old} is killed, node and sockets"));
        let since = Instant::now();
        self.cluster.kill(&old);
        let (alive, all) = (self.nodes.len() - 1, self.nodes.len());
        if alive > all / 2 {
            self.agreed(&format!("{old} killed"), since, |_| true)
                .await?;
            return Ok(old);
        }
        self.cluster
            .watch(self.cluster.election_timeout() * 3)
            .await?;
        if self.cluster.leader().is_some() {
            return Err("there is a leader without a quorum".into());
        }
        self.cluster.say(&format!(
            "nobody leads, and rightly so: {alive} of {all} is no quorum"
        ));
        Ok(old)
    }

    /// Starts the node again that was killed.
    pub(crate) async fn bring_back(&mut self, old: &NodeId) -> Result<(), Failure> {
        self.cluster.say(&format!(
            "{old} comes back, with the term and the vote that were kept"
        ));
        let since = Instant::now();
        let config = Config::with_id(old.clone(), self.nodes.clone())?;
        self.cluster.start(config)?;
        self.agreed(&format!("{old} back"), since, |_| true).await
    }

    /// Adds a node that belongs to nothing yet.
    pub(crate) async fn take_in(&mut self) -> Result<NodeId, Failure> {
        let letter = char::from(b'a' + u8::try_from(self.nodes.len())?);
        let new = NodeId::new(letter.to_string())?;
        let (leader, mut voters) = self.leader().await?;
        self.cluster.say(&format!(
            "{new} begins without a cluster, and {leader} is told to take it in"
        ));
        let since = Instant::now();
        self.cluster.start(Config::join(new.clone()))?;
        voters.push(new.clone());
        self.cluster.node(&leader)?.set_nodes(voters.clone())?;
        let arrived = |leader: &NodeState| leader.nodes() == voters;
        self.agreed(&format!("{new} joined"), since, arrived)
            .await?;
        Ok(new)
    }

    /// Takes one of the first nodes out: a follower, if there is one. A leader hands over before it leaves.
    pub(crate) async fn let_go(&mut self) -> Result<(), Failure> {
        let (leader, mut voters) = self.leader().await?;
        let follower = self.nodes.iter().find(|id| **id != leader);
        let leaver = follower.unwrap_or(&leader).clone();
        self.cluster
            .say(&format!("{leader} is told to let {leaver} go"));
        let since = Instant::now();
        voters.retain(|id| *id != leaver);
        self.cluster.node(&leader)?.set_nodes(voters.clone())?;
        let arrived = |leader: &NodeState| leader.nodes() == voters;
        self.agreed(&format!("{leaver} left"), since, arrived)
            .await?;

        // Not before it was told is it of no use any more.
        let knows = |cluster: &Cluster| {
            let state = cluster.state(&leaver)?;
            (state.node_type() == NodeType::Observer).then_some(())
        };
        self.cluster.until("the leaver's being told", knows).await?;
        self.cluster.stop(&leaver).await
    }

    /// Hands leadership over by order.
    pub(crate) async fn transfer(&mut self, new: &NodeId) -> Result<(), Failure> {
        let (leader, voters) = self.leader().await?;
        let others = || voters.iter().filter(|id| **id != leader);
        let Some(to) = others().find(|id| *id == new).or(others().next()) else {
            self.cluster.say(&format!(
                "{leader} is alone: there is no one to hand over to"
            ));
            return Ok(());
        };
        self.cluster
            .say(&format!("{leader} is told to hand over to {to}"));
        let since = Instant::now();
        self.cluster.node(&leader)?.transfer(to.clone())?;
        let taken = |leader: &NodeState| leader.leader() == Some(to);
        self.agreed(&format!("{leader} to {to}"), since, taken)
            .await
    }

    /// The leader gives leadership up, to whom it thinks best.
    pub(crate) async fn resign(&mut self) -> Result<(), Failure> {
        let (leader, _) = self.leader().await?;
        self.cluster.say(&format!("{leader} resigns"));
        let since = Instant::now();
        self.cluster.node(&leader)?.resign();
        self.agreed(&format!("{leader} resigned"), since, |_| true)
            .await
    }

    /// Looks on. A healthy cluster keeps its leader.
    pub(crate) async fn watch(&mut self, time: Duration) -> Result<(), Failure> {
        let before = self.leader().await?;
        self.cluster.say(&format!("and now nothing, for {time:?}"));
        self.cluster.watch(time).await?;
        if self.leader().await? != before {
            self.cluster.say(
                "the leader has changed although nothing happened: is this machine very busy?",
            );
        }
        Ok(())
    }

    pub(crate) fn summary(&self) {
        print("\nuntil there was a leader with a lease whom all voters followed:\n");
        print(&format!(
            "{:<16}{:<8}{:>4}{:>9}",
            "event", "leader", "term", "ms"
        ));
        for event in &self.events {
            let ms = millis(event.took);
            let (what, leader, term) = (&event.what, &event.leader, event.term);
            print(&format!("{what:<16}{leader:<8}{term:>4}{ms:>9.1}"));
        }
    }

    /// Waits for a leader that all voters know and that is as wanted, and notes it.
    async fn agreed(
        &mut self,
        what: &str,
        since: Instant,
        wanted: impl Fn(&NodeState) -> bool,
    ) -> Result<(), Failure> {
        let found = |cluster: &Cluster| {
            let leader = cluster.agreed_leader().filter(|leader| wanted(leader))?;
            Some((leader.leader()?.to_string(), leader.term()))
        };
        let waiting = format!("no leader that all know ({what})");
        let (leader, term) = self.cluster.until(&waiting, found).await?;
        let took = since.elapsed();
        self.cluster.add(&format!(
            "{what}: {leader} leads in term {term}, after {:.1} ms",
            millis(took)
        ));
        self.events.push(Event {
            what: what.to_owned(),
            leader,
            term,
            took,
        });
        Ok(())
    }

    /// The leader and its voters, after a breath in which nothing happens.
    async fn leader(&mut self) -> Result<(NodeId, Vec<NodeId>), Failure> {
        let breath = self.cluster.election_timeout().min(LONGEST_BREATH);
        self.cluster.watch(breath).await?;
        let found = |cluster: &Cluster| {
            let leader = cluster.agreed_leader()?;
            Some((leader.leader()?.clone(), leader.nodes().to_vec()))
        };
        self.cluster.until("no leader that all know", found).await
    }
}
