//! One election by hand: messages go in, what comes out is looked at, and time stands still until it is told to pass.
//!
//! The settings are the defaults: election timeout 1 s, spread 1 s, heartbeat 100 ms, leadership timeout 1 s, and so
//! a lease of 900 ms.

use std::time::{Duration, Instant};

use streamraft::{
    Command, Config, Election, Error, HardState, Inbound, LogPosition, Membership, Message,
    MessageKind, MsgRouter, NodeState, NodeType, Stamp,
};

pub(crate) const ELECTION_TIMEOUT: Duration = Duration::from_millis(1_000);
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
pub(crate) const LEASE_SPAN: Duration = Duration::from_millis(900);

/// Node `me` of the nodes 1 to `size`.
pub(crate) fn config(me: u64, size: u64) -> Config<u64> {
    Config::with_id(me, 1..=size)
        .expect("good settings")
        .seed(7)
}

/// What a node of this cluster would have saved.
pub(crate) fn saved(term: u64, voted_for: Option<u64>, size: u64) -> HardState<u64> {
    HardState::new(term, voted_for, Membership::initial(1..=size))
}

#[derive(Clone, Debug)]
pub(crate) struct One {
    pub(crate) election: Election<u64>,
    pub(crate) now: Instant,
}

/// What came out, in order.
#[derive(Debug)]
pub(crate) struct Outputs(pub(crate) Vec<MsgRouter<u64>>);

impl One {
    pub(crate) fn new(config: Config<u64>) -> Self {
        let now = Instant::now();
        let election = Election::new(config, now).expect("good settings");
        Self { election, now }
    }

    /// A node that withholds no votes, since its cluster has never run.
    pub(crate) fn fresh(me: u64, size: u64) -> Self {
        Self::new(config(me, size).bootstrap())
    }

    /// A node that was in this term when it went down, after the window of its restart.
    pub(crate) fn restored(me: u64, size: u64, term: u64, voted_for: Option<u64>) -> Self {
        let mut one = Self::new(config(me, size).restore(saved(term, voted_for, size)));
        one.wait(ELECTION_TIMEOUT);
        assert_eq!(
            one.state().node_type(),
            NodeType::Follower,
            "too late for this one"
        );
        one
    }

    /// A node that has just heard this leader.
    pub(crate) fn follower(me: u64, size: u64, leader: u64, term: u64) -> Self {
        let mut one = Self::fresh(me, size);
        one.receive(leader, term, ping(0));
        assert_eq!(one.state().leader(), Some(&leader));
        one
    }

    /// Node 1, asking for pre-votes in term 0.
    pub(crate) fn pre_candidate(size: u64) -> (Self, u64) {
        let mut one = Self::fresh(1, size);
        let out = one.wait(ELECTION_TIMEOUT / 10);
        let round = out
            .round_asked()
            .expect("the first of a new cluster campaigns at once");
        (one, round)
    }

    /// Node 1, asking for votes in term 1.
    pub(crate) fn candidate(size: u64) -> Self {
        let (mut one, round) = Self::pre_candidate(size);
        for voter in 2..=quorum(size) {
            one.receive(voter, 0, pre_vote(round, true));
        }
        assert_eq!(
            (one.state().node_type(), one.state().term()),
            (NodeType::Candidate, 1)
        );
        one
    }

    /// Node 1, just elected in term 1 by the nodes after it.
    pub(crate) fn leader(size: u64) -> Self {
        let mut one = Self::candidate(size);
        for voter in 2..=quorum(size) {
            one.receive(voter, 1, vote(true));
        }
        assert_eq!(one.state().node_type(), NodeType::Leader);
        one
    }

    /// Node 1, elected in term 1, its first ping answered by all.
    pub(crate) fn leader_with_lease(size: u64) -> Self {
        let mut one = Self::leader(size);
        for voter in 2..=size {
            one.receive(voter, 1, pong(0));
        }
        assert!(one.leads());
        one
    }

    pub(crate) fn state(&self) -> &NodeState<u64> {
        self.election.state()
    }

    pub(crate) fn leads(&self) -> bool {
        self.state().is_leader_at(self.now)
    }

    /// Hears a message from a node that holds the same membership.
    pub(crate) fn receive(&mut self, from: u64, term: u64, kind: MessageKind<u64>) -> Outputs {
        let stamp = self.state().hard_state().membership().stamp();
        self.receive_under(stamp, from, term, kind)
    }

    pub(crate) fn receive_under(
        &mut self,
        stamp: Stamp,
        from: u64,
        term: u64,
        kind: MessageKind<u64>,
    ) -> Outputs {
        let message = Message::new(term, stamp, kind);
        let input = Inbound::FromNode(from, message);
        self.election
            .handle(self.now, input)
            .expect("messages are no mistakes");
        self.drain()
    }

    pub(crate) fn command(&mut self, command: Command<u64>) -> Result<Outputs, Error> {
        self.election
            .handle(self.now, Inbound::FromSelf(command))
            .map(|()| self.drain())
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn wait(&mut self, time: Duration) -> Outputs {
        let end = self.now + time;
        let mut outputs = Vec::new();
        while let Some(at) = self.election.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.election.handle_timeout(self.now);
            outputs.append(&mut self.drain().0);
        }
        self.now = end;
        Outputs(outputs)
    }

    /// Lets this much time pass for a leader while all these nodes answer its pings at once.
    pub(crate) fn wait_answered(&mut self, time: Duration, voters: &[u64]) -> Outputs {
        let end = self.now + time;
        let mut outputs = Vec::new();
        while self.now < end {
            let next = self.election.poll_timeout().expect("a leader waits");
            let out = self.wait(next.min(end).saturating_duration_since(self.now));
            let said = out.messages();
            outputs.extend(out.0);
            for (to, message) in said {
                if let MessageKind::Ping { round, .. } = message.kind
                    && voters.contains(&to)
                {
                    outputs.append(&mut self.receive(to, message.term, pong(round)).0);
                }
            }
        }
        Outputs(outputs)
    }

    /// Waits until it campaigns, and wins the pre-votes of a quorum.
    pub(crate) fn campaign(&mut self, voters: &[u64]) -> Outputs {
        let term = self.state().term();
        let round = loop {
            let next = self.election.poll_timeout().expect("a voter waits");
            let out = self.wait(next.saturating_duration_since(self.now));
            if let Some(round) = out.round_asked() {
                break round;
            }
        };
        let mut outputs = Vec::new();
        for voter in voters {
            outputs.append(&mut self.receive(*voter, term, pre_vote(round, true)).0);
        }
        Outputs(outputs)
    }

    pub(crate) fn drain(&mut self) -> Outputs {
        Outputs(std::iter::from_fn(|| self.election.poll_output()).collect())
    }
}

impl Outputs {
    pub(crate) fn messages(&self) -> Vec<(u64, Message<u64>)> {
        let message = |output: &MsgRouter<u64>| match output {
            MsgRouter::ToNode(to, message) => Some((*to, message.clone())),
            _ => None,
        };
        self.0.iter().filter_map(message).collect()
    }

    pub(crate) fn states(&self) -> Vec<NodeState<u64>> {
        let state = |output: &MsgRouter<u64>| match output {
            MsgRouter::ToSelf(state) => Some(state.clone()),
            _ => None,
        };
        self.0.iter().filter_map(state).collect()
    }

    /// What was said to this node, with the term in which it was said.
    pub(crate) fn to(&self, id: u64) -> Vec<(u64, MessageKind<u64>)> {
        let to_it = self.messages().into_iter().filter(|(to, _)| *to == id);
        to_it
            .map(|(_, message)| (message.term, message.kind))
            .collect()
    }

    /// To whom a message of this sort went, in order.
    pub(crate) fn receivers(&self, sort: impl Fn(&MessageKind<u64>) -> bool) -> Vec<u64> {
        let messages = self.messages();
        let of_it = messages.iter().filter(|(_, message)| sort(&message.kind));
        of_it.map(|(to, _)| *to).collect()
    }

    /// The round of the last campaign that began with a pre-vote.
    pub(crate) fn round_asked(&self) -> Option<u64> {
        let round = |(_, message): &(u64, Message<u64>)| match message.kind {
            MessageKind::PreVoteRequest { round, .. } => Some(round),
            _ => None,
        };
        self.messages().iter().rev().find_map(round)
    }
}

pub(crate) fn quorum(size: u64) -> u64 {
    size / 2 + 1
}

pub(crate) fn ping(round: u64) -> MessageKind<u64> {
    MessageKind::Ping {
        round,
        succession: None,
    }
}

/// A ping that gives this rank.
pub(crate) fn ping_ranked(round: u64, rank: u32) -> MessageKind<u64> {
    MessageKind::Ping {
        round,
        succession: Some(rank),
    }
}

pub(crate) fn pong(round: u64) -> MessageKind<u64> {
    MessageKind::Pong {
        round,
        position: LogPosition::default(),
        priority: 0,
    }
}

pub(crate) fn ask_pre_vote(round: u64) -> MessageKind<u64> {
    MessageKind::PreVoteRequest {
        round,
        position: LogPosition::default(),
        priority: 0,
    }
}

pub(crate) fn pre_vote(round: u64, granted: bool) -> MessageKind<u64> {
    MessageKind::PreVote {
        round,
        granted,
        leader: None,
    }
}

pub(crate) fn ask_vote() -> MessageKind<u64> {
    MessageKind::VoteRequest {
        position: LogPosition::default(),
        transfer: false,
    }
}

/// A request with the transfer mark.
pub(crate) fn ask_vote_marked() -> MessageKind<u64> {
    MessageKind::VoteRequest {
        position: LogPosition::default(),
        transfer: true,
    }
}

pub(crate) fn vote(granted: bool) -> MessageKind<u64> {
    MessageKind::Vote {
        granted,
        leader: None,
    }
}

pub(crate) fn is_ping(kind: &MessageKind<u64>) -> bool {
    matches!(kind, MessageKind::Ping { .. })
}

pub(crate) fn is_pre_vote_request(kind: &MessageKind<u64>) -> bool {
    matches!(kind, MessageKind::PreVoteRequest { .. })
}

pub(crate) fn is_vote_request(kind: &MessageKind<u64>) -> bool {
    matches!(kind, MessageKind::VoteRequest { .. })
}

pub(crate) fn is_timeout_now(kind: &MessageKind<u64>) -> bool {
    matches!(kind, MessageKind::TimeoutNow)
}

/// Whether these are answers that grant, of either kind.
pub(crate) fn granted(said: &[(u64, MessageKind<u64>)]) -> Vec<bool> {
    let answer = |(_, kind): &(u64, MessageKind<u64>)| match kind {
        MessageKind::Vote { granted, .. } | MessageKind::PreVote { granted, .. } => Some(*granted),
        _ => None,
    };
    said.iter().filter_map(answer).collect()
}

/// A moment before this.
pub(crate) fn just_before(time: Duration) -> Duration {
    time - Duration::from_nanos(1)
}

/// The smallest step of time.
pub(crate) const MOMENT: Duration = Duration::from_nanos(1);
