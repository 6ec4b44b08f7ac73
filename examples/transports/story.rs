//! What the examples `websocket`, `quic` and `nats` do with three nodes, whatever carries their messages: elect, lose
//! the leader, take it back, and go on without one that hangs.
//!
//! A program of your own has one node, and of all this only `node.over(transport)` and a loop over its states.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::{Sink, Stream, StreamExt};
use streamraft::{Config, HardState, Message, NodeId, NodeState, NodeType, Over, TinyRaft};
use tokio::time::{sleep, timeout};
use tokio_stream::StreamMap;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The cluster of all three nodes.
pub(crate) const CLUSTER: &str = "orders";

const ELECTION_TIMEOUT: Duration = Duration::from_millis(300);
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(30);

/// For how long anything is waited for. Nothing takes that long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// What [`Over`] asks of a transport.
pub(crate) trait Transport:
    Stream<Item = Result<(NodeId, Message), Failure>> + Sink<(NodeId, Message), Error = Failure> + Unpin
{
}

impl<T> Transport for T where
    T: Stream<Item = Result<(NodeId, Message), Failure>>
        + Sink<(NodeId, Message), Error = Failure>
        + Unpin
{
}

/// The names of the nodes.
pub(crate) fn nodes() -> Result<[NodeId; 3], Failure> {
    Ok([NodeId::new("a")?, NodeId::new("b")?, NodeId::new("c")?])
}

/// The nodes that run, and what is left of those that do not. `connect` makes a node's transport.
pub(crate) struct Story<T, F> {
    started: Instant,
    connect: F,
    running: StreamMap<NodeId, Over<TinyRaft, T>>,
    /// What a store would hold: the last hard state of each node.
    kept: BTreeMap<NodeId, HardState>,
    /// Who has led in which term.
    led: BTreeMap<u64, NodeId>,
    shown: BTreeMap<NodeId, String>,
    events: Vec<String>,
}

impl<T: Transport, F: AsyncFnMut(&NodeId) -> Result<T, Failure>> Story<T, F> {
    pub(crate) fn new(connect: F) -> Self {
        Self {
            started: Instant::now(),
            connect,
            running: StreamMap::new(),
            kept: BTreeMap::new(),
            led: BTreeMap::new(),
            shown: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Starts a node. One that ran before goes on from what was kept of it.
    async fn start(&mut self, id: &NodeId) -> Result<(), Failure> {
        let config = Config::with_id(id.clone(), nodes()?)?
            .cluster(CLUSTER)
            .election_timeout(ELECTION_TIMEOUT)
            .heartbeat_interval(HEARTBEAT_INTERVAL);
        let config = match self.kept.get(id) {
            Some(kept) => config.restore(kept.clone()),
            None => config.bootstrap(), // this cluster has never run: no leader need be waited for
        };
        let transport = (self.connect)(id).await?;
        let node = TinyRaft::new(config)?.over(transport);
        self.running.insert(id.clone(), node);
        Ok(())
    }

    /// All that does not depend on the transport.
    pub(crate) async fn tell(&mut self) -> Result<(), Failure> {
        self.elect().await?;
        // Twice: first it is most likely `a`, which dials the others, then one that is dialled.
        for _ in 0..2 {
            let killed = self.kill().await?;
            self.bring_back(&killed).await?;
        }
        self.hang().await
    }

    /// All begin, and elect a leader.
    async fn elect(&mut self) -> Result<(), Failure> {
        self.say("a, b and c begin");
        let since = Instant::now();
        for id in nodes()? {
            self.start(&id).await?;
        }
        self.agreed("first election", since, 3).await
    }

    /// The leader and its connections are gone at once. The others elect another.
    async fn kill(&mut self) -> Result<NodeId, Failure> {
        let (old, _) = self.until("a leader", |it| it.agreed_leader(3)).await?;
        self.say(&format!("{old} is killed, node and connections"));
        let since = Instant::now();
        self.running.remove(&old);
        self.shown.remove(&old);
        self.agreed(&format!("{old} killed"), since, 2).await?;
        Ok(old)
    }

    /// The node that was killed comes back where it was.
    async fn bring_back(&mut self, id: &NodeId) -> Result<(), Failure> {
        self.say(&format!(
            "{id} comes back, with the term and the vote that were kept"
        ));
        let since = Instant::now();
        self.start(id).await?;
        self.agreed(&format!("{id} back"), since, 3).await
    }

    /// The leader hangs: its connections stay open, but nobody reads them and nothing comes. The others must not wait
    /// for it, and it must know of its loss as soon as it goes on.
    async fn hang(&mut self) -> Result<(), Failure> {
        let (old, _) = self.until("a leader", |it| it.agreed_leader(3)).await?;
        self.say(&format!("{old} hangs, with its connections open"));
        let since = Instant::now();
        let hanging = self.running.remove(&old).ok_or("it runs")?;
        self.agreed(&format!("{old} hangs"), since, 2).await?;
        self.say(&format!("{old} goes on"));
        let since = Instant::now();
        self.running.insert(old.clone(), hanging);
        self.agreed(&format!("{old} goes on"), since, 3).await
    }

    /// Drives the nodes until the future is ready, and tells what has come of it. They must have a leader then.
    pub(crate) async fn meanwhile(
        &mut self,
        what: &str,
        future: impl Future<Output = Result<String, Failure>>,
    ) -> Result<(), Failure> {
        self.say(what);
        let result = tokio::select! {
            result = timeout(PATIENCE, future) => result.map_err(|_| late(what))??,
            error = self.broken() => return Err(error),
        };
        self.print(&result);
        self.until(what, |it| it.agreed_leader(3)).await?;
        self.pause().await
    }

    /// A moment for the eyes, and for what is still under way.
    async fn pause(&mut self) -> Result<(), Failure> {
        tokio::select! {
            () = sleep(ELECTION_TIMEOUT / 2) => Ok(()),
            error = self.broken() => Err(error),
        }
    }

    /// Drives all nodes until something is wrong.
    async fn broken(&mut self) -> Failure {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }

    /// Drives all nodes until the state of one of them changes, or a transport has something to tell.
    async fn step(&mut self) -> Result<(), Failure> {
        let Some((id, item)) = self.running.next().await else {
            return std::future::pending().await; // nobody runs
        };
        match item {
            Ok(state) => {
                // Kept before the node is polled again, hence before anything leaves it that relies on this.
                self.kept.insert(id.clone(), state.hard_state().clone());
                self.check(&id, &state)?;
                self.show(id, &state);
            }
            // The transport mends itself; what was lost, the nodes say again.
            Err(error) => self.print(&format!("  {id}  {error}")),
        }
        Ok(())
    }

    /// What must hold however bad the connections are.
    fn check(&mut self, id: &NodeId, state: &NodeState) -> Result<(), Failure> {
        if state.node_type() == NodeType::Leader {
            let leader = self.led.entry(state.term()).or_insert_with(|| id.clone());
            if leader != id {
                return Err(format!("{leader} and {id} lead in term {}", state.term()).into());
            }
        }
        let leaders = self.running.values().filter(|it| it.get_ref().is_leader());
        match leaders.count() {
            0 | 1 => Ok(()),
            more => Err(format!("{more} nodes hold a lease").into()),
        }
    }

    /// Drives all nodes until `found` finds what it looks for.
    pub(crate) async fn until<R>(
        &mut self,
        what: &str,
        found: impl Fn(&Self) -> Option<R>,
    ) -> Result<R, Failure> {
        let search = async {
            loop {
                match found(self) {
                    Some(it) => return Ok(it),
                    None => self.step().await?,
                }
            }
        };
        let found = timeout(PATIENCE, search).await;
        found.map_err(|_| late(what))?
    }

    /// Waits until `count` nodes know the leader and notes how long that took.
    pub(crate) async fn agreed(
        &mut self,
        what: &str,
        since: Instant,
        count: usize,
    ) -> Result<(), Failure> {
        let (leader, term) = self.until(what, |it| it.agreed_leader(count)).await?;
        let took = since.elapsed().as_secs_f64() * 1000.0;
        self.print(&format!("all know {leader}, after {took:.1} ms"));
        self.events
            .push(format!("{what:<20} {leader:<7} {term:<5} {took:>8.1} ms"));
        self.pause().await
    }

    /// Who leads at this instant: was elected, and holds a lease.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let mut nodes = self.running.iter();
        let (id, _) = nodes.find(|(_, it)| it.get_ref().is_leader())?;
        Some(id.clone())
    }

    /// The leader and its term, if that many nodes run and all of them know it.
    fn agreed_leader(&self, count: usize) -> Option<(NodeId, u64)> {
        let leader = self.leader()?;
        let states = || self.running.values().map(|it| it.get_ref().state());
        let term = states().map(NodeState::term).max()?;
        let all = states().all(|state| state.leader() == Some(&leader) && state.term() == term);
        (all && states().count() == count).then_some((leader, term))
    }

    /// Begins a paragraph.
    pub(crate) fn say(&self, text: &str) {
        print("");
        self.print(text);
    }

    pub(crate) fn print(&self, text: &str) {
        let millis = self.started.elapsed().as_secs_f64() * 1000.0;
        print(&format!("{millis:>7.1} ms  {text}"));
    }

    /// A line for every change that an onlooker cares about.
    fn show(&mut self, id: NodeId, state: &NodeState) {
        let leader = match (state.node_type(), state.leader()) {
            (NodeType::Leader, _) if state.lease().is_some() => "has a lease".to_owned(),
            (NodeType::Leader, _) | (_, None) => String::new(),
            (_, Some(leader)) => format!("follows {leader}"),
        };
        let line = format!(
            "{:<9}  term {:<2}  {leader}",
            state.node_type(),
            state.term()
        );
        if self.shown.get(&id) != Some(&line) {
            self.print(&format!("  {id}  {}", line.trim_end()));
            self.shown.insert(id, line);
        }
    }

    /// The times of all that happened.
    pub(crate) fn summary(&self) {
        print("");
        print(&format!(
            "{:<20} {:<7} {:<5} {:>11}",
            "event", "leader", "term", "until known"
        ));
        for event in &self.events {
            print(event);
        }
    }
}

fn late(what: &str) -> Failure {
    format!("{what}: not within {PATIENCE:?}").into()
}

/// Prints a line. A reader who has seen enough, as `head` has, ends the program.
pub(crate) fn print(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Whether it went well, for the caller's `main`.
pub(crate) fn exit_code<E: Display>(name: &str, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
