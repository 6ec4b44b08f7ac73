//! A cluster in one thread: nodes polled by hand, messages that arrive at once, disks that outlive a node. At every
//! item that comes out it checks what must hold of the order, of votes and of leaders.

use std::collections::BTreeMap;
use std::task::Poll;
use std::time::Duration;

use streamraft::{Config, HardState, Message, MsgRouter, NodeState, NodeType};
use tokio::time::advance;

use crate::hand::{Kind, Node, Output, config, poll, shown, start};

/// What befalls a node right after it was polled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It is dropped, and what it has just put out with it.
    Dropped,
    /// It starts again from its disk. What it has just put out was saved, or has left.
    Restarted,
    /// It starts again from its disk. A state that it has just put out was not saved.
    RestartedUnsaved,
}

#[derive(Debug)]
pub(crate) struct World {
    tune: fn(Config<u64>) -> Config<u64>,
    count: u64,
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// Each node's disk.
    saved: BTreeMap<u64, HardState<u64>>,
    /// What each node said of itself last.
    shown: BTreeMap<u64, NodeState<u64>>,
    /// Every vote that has left its voter: (voter, term) -> candidate.
    votes: BTreeMap<(u64, u64), u64>,
    /// Who was seen to lead each term.
    leaders: BTreeMap<u64, u64>,
    /// How many polls there were.
    polls: usize,
    /// At which of them what happens.
    pub(crate) fate: Option<(usize, Fate)>,
}

impl World {
    pub(crate) fn new(count: u64, tune: fn(Config<u64>) -> Config<u64>) -> Self {
        let mut world = Self {
            tune,
            count,
            nodes: BTreeMap::new(),
            saved: BTreeMap::new(),
            shown: BTreeMap::new(),
            votes: BTreeMap::new(),
            leaders: BTreeMap::new(),
            polls: 0,
            fate: None,
        };
        for id in 1..=count {
            world.start(id);
        }
        world
    }

    /// Starts a node, from its disk if there is something on it.
    fn start(&mut self, id: u64) {
        let config = (self.tune)(config(id, self.count));
        let node = start(match self.saved.get(&id) {
            Some(saved) => config.restore(saved.clone()),
            None => config,
        });
        self.saved.insert(id, node.state().hard_state().clone());
        self.shown.remove(&id);
        self.nodes.insert(id, node);
    }

    /// Passes messages on until nothing more comes out of any node.
    pub(crate) fn settle(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            let ids: Vec<u64> = self.nodes.keys().copied().collect();
            for id in ids {
                while let Some(item) = self.poll(id) {
                    quiet = false;
                    self.pass_on(id, item);
                }
            }
        }
    }

    fn poll(&mut self, id: u64) -> Option<Output> {
        let polled = poll(self.nodes.get_mut(&id)?);
        self.polls += 1;
        let fate = self
            .fate
            .filter(|(at, _)| *at == self.polls)
            .map(|(_, fate)| fate);
        let Poll::Ready(item) = polled else {
            self.check_shown(id);
            self.befall(id, fate);
            return None;
        };
        let is_lost = |item: &Output| match fate {
            Some(Fate::Dropped) => true,
            Some(Fate::RestartedUnsaved) => shown(item).is_some(),
            Some(Fate::Restarted) | None => false,
        };
        let item = item.filter(|item| !is_lost(item));
        if let Some(item) = &item {
            self.check(id, item);
        }
        self.befall(id, fate);
        item
    }

    fn befall(&mut self, id: u64, fate: Option<Fate>) {
        match fate {
            None => {}
            Some(Fate::Dropped) => drop(self.nodes.remove(&id)),
            Some(Fate::Restarted | Fate::RestartedUnsaved) => self.start(id),
        }
    }

    fn pass_on(&mut self, from: u64, item: Output) {
        if let MsgRouter::ToNode(to, message) = item
            && let Some(receiver) = self.nodes.get_mut(&to)
        {
            receiver.on_receive(from, message);
        }
    }

    /// Saves a state; looks whether what leaves is backed by what was saved.
    fn check(&mut self, id: u64, item: &Output) {
        match item {
            MsgRouter::ToSelf(state) => {
                self.saved.insert(id, state.hard_state().clone());
                if state.node_type() == NodeType::Leader {
                    let first = *self.leaders.entry(state.term()).or_insert(id);
                    assert_eq!(first, id, "two leaders in term {}", state.term());
                }
                self.shown.insert(id, state.clone());
            }
            MsgRouter::ToNode(to, message) => self.check_message(id, *to, message),
            _ => {}
        }
    }

    /// Who has taken everything out knows what the node is, but for how far its lease reaches.
    fn check_shown(&self, id: u64) {
        let facts = |state: &NodeState<u64>| {
            let others = (state.followers().to_vec(), state.transferring_to().copied());
            let myself = (
                state.node_type(),
                state.leader().copied(),
                state.lease().is_some(),
            );
            (myself, others, state.hard_state().clone())
        };
        if let Some(shown) = self.shown.get(&id) {
            assert_eq!(
                facts(shown),
                facts(self.nodes[&id].state()),
                "{id} has changed unseen"
            );
        }
    }

    fn check_message(&mut self, id: u64, to: u64, message: &Message<u64>) {
        let saved = &self.saved[&id];
        let backed = (saved.term(), saved.membership().stamp());
        assert_eq!(
            (message.term, message.stamp),
            backed,
            "{id} says what it has not saved: {message:?}"
        );
        let candidate = match &message.kind {
            Kind::VoteRequest { .. } | Kind::Ping { .. } => id,
            Kind::Vote { granted: true, .. } => to,
            _ => return,
        };
        assert_eq!(
            saved.voted_for(),
            Some(&candidate),
            "{id} has not saved this vote: {message:?}"
        );
        let first = *self.votes.entry((id, message.term)).or_insert(candidate);
        assert_eq!(
            first, candidate,
            "{id} votes twice in term {}",
            message.term
        );
        if matches!(message.kind, Kind::Ping { .. }) {
            let shown = self
                .shown
                .get(&id)
                .map(|state| (state.node_type(), state.term()));
            assert_eq!(
                shown,
                Some((NodeType::Leader, message.term)),
                "{id} pings before it says that it leads"
            );
        }
    }

    /// Lets this much time pass.
    pub(crate) async fn run(&mut self, time: Duration) {
        let step = Duration::from_millis(10);
        for _ in 0..time.as_millis() / step.as_millis() {
            self.settle();
            advance(step).await;
        }
        self.settle();
    }

    /// Who leads now.
    pub(crate) fn leader(&self) -> Option<u64> {
        self.nodes
            .iter()
            .find(|(_, node)| node.is_leader())
            .map(|(id, _)| *id)
    }

    /// Lets time pass until a node leads.
    pub(crate) async fn elect(&mut self) -> u64 {
        for _ in 0..1_000 {
            self.settle();
            if let Some(leader) = self.leader() {
                return leader;
            }
            advance(Duration::from_millis(10)).await;
        }
        panic!("nobody leads after ten seconds: {self:?}");
    }

    /// Who is seen as the leader by each of the nodes that are left.
    pub(crate) fn followed(&self) -> Vec<Option<u64>> {
        self.nodes
            .values()
            .map(|node| node.state().leader().copied())
            .collect()
    }
}
