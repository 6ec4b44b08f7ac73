//! What is known of a node from outside: what was done to it, what it has shown, and what others have told it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use streamraft::{
    Command, Config, Election, Error, HardState, Inbound, Message, MessageKind, MsgRouter,
    NodeState, NodeType, Slot,
};

use super::rules;
use super::script::Setup;

/// What can be done to a node at an instant.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Input(Inbound<u8>),
    Force(Vec<u8>),
    Timeout,
    Stop,
}

/// One call: the node's state before it and after it.
#[derive(Debug)]
pub(crate) struct Deed<'a> {
    pub(crate) now: Instant,
    pub(crate) before: &'a NodeState<u8>,
    pub(crate) call: &'a Call,
    pub(crate) after: &'a NodeState<u8>,
}

impl Call {
    pub(crate) fn message(&self) -> Option<(u8, &Message<u8>)> {
        match self {
            Self::Input(Inbound::FromNode(from, message)) => Some((*from, message)),
            _ => None,
        }
    }
}

pub(crate) struct Watch {
    pub(crate) me: u8,
    config: Config<u8>,
    bootstraps: bool,
    election_timeout: Duration,
    pub(crate) leadership_timeout: Duration,
    /// For how long a confirmed heartbeat is a lease.
    pub(crate) lease_span: Duration,
    /// The state that came out last, or the one it began with.
    pub(crate) shown: NodeState<u8>,
    /// Whoever it has voted for, as far as anybody else can know.
    votes: BTreeMap<u64, u8>,
    /// The newest request to each node, as it came out.
    asked: BTreeMap<u8, Message<u8>>,
    last_campaign: u64,
    last_heartbeat: u64,
    /// Who would vote for it, by the round that they answered.
    pub(crate) pre_votes: BTreeMap<u64, BTreeSet<u8>>,
    /// Who voted for it in its present term.
    pub(crate) grants: BTreeSet<u8>,
    /// Since when it leads.
    pub(crate) leads_since: Option<Instant>,
    /// The newest heartbeat that each node has answered: when it was sent.
    pub(crate) answered: BTreeMap<u8, Instant>,
    /// When the newest heartbeat was sent that a quorum can have answered.
    pub(crate) confirmed: Option<Instant>,
    /// Until when its vote is a leader's.
    pub(crate) withheld_until: Option<Instant>,
    /// The clock has only gone forwards.
    pub(crate) is_clock_sane: bool,
    /// Who may be written to: everyone who was named since the last time that all was taken out.
    named: BTreeSet<u8>,
    /// Which places were emptied since the last call, and whether the state came out.
    emptied: BTreeSet<(u8, bool)>,
    state_came_out: bool,
}

impl Watch {
    pub(crate) fn new(
        setup: &Setup,
        config: &Config<u8>,
        election: &Election<u8>,
        now: Instant,
    ) -> Self {
        let lasting = config
            .get_election_timeout()
            .mul_f64(1.0 - config.get_max_clock_drift());
        let mut watch = Self {
            me: setup.me(),
            config: config.clone(),
            bootstraps: setup.bootstrap,
            election_timeout: config.get_election_timeout(),
            leadership_timeout: config.get_leadership_timeout(),
            lease_span: lasting.min(config.get_leadership_timeout()),
            shown: election.state().clone(),
            votes: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_campaign: 0,
            last_heartbeat: 0,
            pre_votes: BTreeMap::new(),
            grants: BTreeSet::new(),
            leads_since: None,
            answered: BTreeMap::new(),
            confirmed: None,
            withheld_until: None,
            is_clock_sane: true,
            named: BTreeSet::new(),
            emptied: BTreeSet::new(),
            state_came_out: false,
        };
        if let Some(id) = election.state().hard_state().voted_for() {
            watch.votes.insert(election.state().term(), *id);
        }
        watch.began(election, now);
        watch
    }

    /// It knows nothing but what was saved. The votes that others have seen stand.
    pub(crate) fn restarted(&mut self, election: &Election<u8>, now: Instant) {
        self.shown = election.state().clone();
        self.asked.clear();
        self.pre_votes.clear();
        self.grants.clear();
        self.emptied.clear();
        self.state_came_out = false;
        (self.leads_since, self.confirmed, self.withheld_until) = (None, None, None);
        self.named.clear();
        self.began(election, now);
    }

    fn began(&mut self, election: &Election<u8>, now: Instant) {
        let state = election.state();
        let is_alone = state.nodes() == [self.me] && state.observers().is_empty();
        let may_have_led = state.term() > 0 || !(self.bootstraps || is_alone);
        self.withheld_until = may_have_led.then_some(now + self.election_timeout);
        self.name(state);
        rules::shape(self.me, state);
    }

    pub(crate) fn clock_went_back(&mut self) {
        self.is_clock_sane = false;
    }

    /// What a store has kept.
    pub(crate) fn saved(&self) -> &HardState<u8> {
        self.shown.hard_state()
    }

    pub(crate) fn asked(&self, id: u8) -> Option<Message<u8>> {
        self.asked.get(&id).cloned()
    }

    /// The rounds of the last campaign and of the last heartbeat that came out.
    pub(crate) fn rounds(&self) -> (u64, u64) {
        (self.last_campaign, self.last_heartbeat)
    }

    fn name(&mut self, state: &NodeState<u8>) {
        let lists = [state.nodes(), state.observers(), state.target()];
        self.named.extend(lists.into_iter().flatten());
    }

    /// A call was made. What it may have taught the node is noted first, and then the node is judged by it.
    pub(crate) fn called(
        &mut self,
        now: Instant,
        before: &Election<u8>,
        call: &Call,
        outcome: &Result<(), Error>,
        after: &Election<u8>,
    ) {
        let deed = Deed {
            now,
            before: before.state(),
            call,
            after: after.state(),
        };
        self.emptied.clear();
        self.state_came_out = false;
        if let Call::Force(nodes) | Call::Input(Inbound::FromSelf(Command::SetNodes(nodes))) = call
        {
            self.named.extend(nodes);
        }
        if let Some((
            _,
            Message {
                membership: Some(membership),
                ..
            },
        )) = call.message()
        {
            self.named.extend(&membership.target);
        }
        self.name(after.state());
        self.note_votes(&deed);
        self.note_answers(&deed);

        rules::idle_calls(now, before, call, outcome, after);
        rules::timers(now, call, after);
        rules::shape(self.me, after.state());
        rules::order(&deed);
        rules::elected(self, &deed);
        rules::trusted(self, &deed);
        rules::withheld(self, &deed);
        self.note_leader(&deed, before.stats() == after.stats());
    }

    /// Who would vote for it, and who did.
    fn note_votes(&mut self, deed: &Deed<'_>) {
        let state = deed.before;
        if let Some((from, message)) = deed.call.message()
            && state.node_type() == NodeType::Candidate
        {
            match message.kind {
                MessageKind::PreVote {
                    round,
                    granted: true,
                    ..
                } => {
                    self.pre_votes.entry(round).or_default().insert(from);
                }
                MessageKind::Vote { granted: true, .. }
                    if message.term == state.term()
                        && state.hard_state().voted_for() == Some(&self.me) =>
                {
                    self.grants.insert(from);
                }
                _ => {}
            }
        }
    }

    /// Which of its heartbeats others have answered.
    fn note_answers(&mut self, deed: &Deed<'_>) {
        let led = deed.before.node_type() == NodeType::Leader;
        let leads = deed.after.node_type() == NodeType::Leader;
        if leads && !(led && deed.before.term() == deed.after.term()) {
            self.leads_since = Some(deed.now);
            self.confirmed = None;
            self.answered.clear();
        }
        let Some(since) = self.leads_since.filter(|_| leads) else {
            self.leads_since = None;
            return;
        };
        if let Some((from, message)) = deed.call.message()
            && let MessageKind::Pong { round, .. } = message.kind
            && message.term == deed.after.term()
            && let Some(sent) = since
                .checked_add(Duration::from_micros(round))
                .filter(|sent| *sent <= deed.now)
        {
            let newest = self.answered.entry(from).or_insert(sent);
            *newest = sent.max(*newest);
        }
        for voters in [deed.before.nodes(), deed.after.nodes()] {
            self.confirmed = self
                .confirmed
                .max(self.newest_of_a_quorum(voters, deed.now));
        }
    }

    /// When the newest heartbeat was sent that a quorum of these has answered, this node among them.
    fn newest_of_a_quorum(&self, voters: &[u8], now: Instant) -> Option<Instant> {
        let others = voters.iter().filter(|id| **id != self.me);
        let mut answers: Vec<Instant> = others
            .filter_map(|id| self.answered.get(id))
            .copied()
            .collect();
        answers.push(now);
        answers.sort();
        answers.into_iter().rev().nth(voters.len() / 2)
    }

    /// Whether it has heard a leader, whom it keeps its vote for.
    fn note_leader(&mut self, deed: &Deed<'_>, nothing_dropped: bool) {
        let follows = matches!(
            deed.after.node_type(),
            NodeType::Follower | NodeType::Observer
        );
        let hears = match deed.call {
            Call::Input(Inbound::FromNode(from, message)) => {
                matches!(message.kind, MessageKind::Ping { .. })
                    && nothing_dropped
                    && deed.after.leader() == Some(from)
                    && deed.after.term() == message.term
            }
            Call::Input(Inbound::FromSelf(Command::MarkAlive)) => {
                deed.before.leader().is_some() && deed.after.leader().is_some()
            }
            _ => false,
        };
        if follows && hears {
            self.withheld_until = Some(deed.now + self.election_timeout);
        }
        if deed.after.term() != deed.before.term() {
            self.grants.clear();
        }
    }

    /// Something has come out.
    pub(crate) fn came_out(&mut self, output: MsgRouter<u8>) {
        match output {
            MsgRouter::ToSelf(state) => {
                assert!(
                    self.emptied.is_empty() && !self.state_came_out,
                    "the state comes out first, and once"
                );
                assert!(state.term() >= self.shown.term(), "it shows an older term");
                rules::shape(self.me, &state);
                self.state_came_out = true;
                if state.node_type() == NodeType::Leader {
                    self.votes_for(state.term(), self.me);
                }
                self.shown = state;
            }
            MsgRouter::ToNode(to, message) => self.left(to, message),
            other => panic!("what is this? {other:?}"),
        }
    }

    /// A message leaves the node.
    fn left(&mut self, to: u8, message: Message<u8>) {
        let is_request = message.kind.slot() == Slot::Request;
        assert!(to != self.me, "it writes to itself");
        assert!(
            self.emptied.insert((to, is_request)),
            "two in one place for node {to}"
        );
        let strangers = self
            .emptied
            .iter()
            .filter(|(id, _)| !self.named.contains(id))
            .count();
        assert!(strangers <= 8, "{strangers} strangers at once");
        rules::written_ahead(self.me, &self.shown, to, &message);
        assert_eq!(
            message.cluster,
            streamraft::ClusterTag::new(self.config.get_cluster())
        );
        match message.kind {
            MessageKind::Vote { granted: true, .. } => self.votes_for(message.term, to),
            MessageKind::VoteRequest { .. } => self.votes_for(message.term, self.me),
            MessageKind::PreVoteRequest { round, .. } => self.last_campaign = round,
            MessageKind::Ping { round, .. } => self.last_heartbeat = round,
            _ => {}
        }
        if is_request {
            self.asked.insert(to, message);
        }
    }

    fn votes_for(&mut self, term: u64, candidate: u8) {
        let first = *self.votes.entry(term).or_insert(candidate);
        assert_eq!(first, candidate, "two votes in term {term}");
    }

    /// All was taken out: what it has shown is what it is.
    pub(crate) fn drained(&mut self, election: &Election<u8>) {
        rules::all_shown(&self.shown, election.state());
        self.named.clear();
        self.name(election.state());
    }
}
