//! One election, and everything that can be done to it, in any order: what it says and shows never breaks a rule that
//! one node alone can keep.

mod rules;
mod script;
mod watch;

use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use streamraft::{
    ClusterTag, Command, Config, Election, Error, Inbound, Membership, Message, MessageKind, Stamp,
};

use script::{Group, Kind, Order, Script, Setup, Step};
use watch::{Call, Watch};

/// Checks everything that this module promises, on what these bytes stand for.
pub(crate) fn check(data: &[u8]) {
    let Ok(script) = Script::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    // Late enough for a clock that goes back.
    let now = Instant::now() + Duration::from_secs(60 * 60);
    let Some(mut subject) = Subject::new(script.setup, now) else {
        return;
    };
    for step in &script.steps {
        subject.step(step);
        if !subject.setup.lazy {
            subject.take(usize::MAX);
        }
    }
    subject.finish();
}

/// The node, and its twin that is treated the same.
struct Subject {
    setup: Setup,
    config: Config<u8>,
    election: Election<u8>,
    twin: Election<u8>,
    now: Instant,
    watch: Watch,
}

impl Subject {
    /// None for settings that are refused.
    fn new(setup: Setup, now: Instant) -> Option<Self> {
        let config = setup.config();
        let made = Election::new(config.clone(), now);
        assert_eq!(config.check().err(), made.as_ref().err().cloned());
        let election = made.ok()?;
        let watch = Watch::new(&setup, &config, &election, now);
        Some(Self {
            twin: election.clone(),
            setup,
            config,
            election,
            now,
            watch,
        })
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Answer { group, agrees } => self.answer(*group, *agrees),
            Step::Run(span) => self.run(span.of(&self.setup)),
            Step::Hear {
                from,
                is_foreign,
                term,
                stamp,
                kind,
            } => {
                let mut message = self.message(
                    term.of(self.term()),
                    stamp.of(self.stamp(), self.term()),
                    *kind,
                );
                if *is_foreign {
                    message = message.with_cluster(ClusterTag::new("bills"));
                }
                self.hear(from.id(), message);
            }
            Step::Learn {
                from,
                term,
                stamp,
                membership,
                kind,
            } => {
                let stamp = stamp.of(self.stamp(), self.term());
                let message = self.message(term.of(self.term()), stamp, *kind);
                let membership = self.membership(stamp, *membership);
                self.hear(from.id(), message.with_membership(membership.into()));
            }
            Step::Command(order) => {
                let _ = self.call(&Call::Input(Inbound::FromSelf(order.command())));
            }
            Step::Due => {
                if let Some(at) = self.election.poll_timeout() {
                    self.now = self.now.max(at);
                    self.poll();
                }
            }
            Step::Sleep(span) => self.now += span.of(&self.setup),
            Step::Poll => self.poll(),
            Step::Take(count) => self.take(usize::from(*count)),
            Step::SetPosition(position) => self.both(|node| node.set_position(position.of())),
            Step::AllowChange(allowed) => {
                self.both(|node| node.allow_membership_change(*allowed));
            }
            Step::Force(group) => {
                let _ = self.call(&Call::Force(group.ids()));
            }
            Step::Stop => {
                let _ = self.call(&Call::Stop);
            }
            Step::Fork => self.twin = self.election.clone(),
            Step::Restart => self.restart(),
            Step::Back(span) => {
                self.now = self
                    .now
                    .checked_sub(span.of(&self.setup))
                    .unwrap_or(self.now);
                self.watch.clock_went_back();
            }
        }
    }

    fn term(&self) -> u64 {
        self.election.state().term()
    }

    fn stamp(&self) -> Stamp {
        self.election.state().hard_state().membership().stamp()
    }

    /// The one way in: what is done is done to both, and looked at.
    fn call(&mut self, call: &Call) -> Result<(), Error> {
        let before = self.election.clone();
        let outcome = call.make(&mut self.election, self.now);
        assert_eq!(outcome, call.make(&mut self.twin, self.now));
        assert!(
            self.election == self.twin,
            "two nodes of one history differ after {call:?}"
        );
        self.watch
            .called(self.now, &before, call, &outcome, &self.election);
        outcome
    }

    /// For what changes nothing by itself.
    fn both(&mut self, change: impl Fn(&mut Election<u8>)) {
        change(&mut self.election);
        change(&mut self.twin);
    }

    fn poll(&mut self) {
        let _ = self.call(&Call::Timeout);
    }

    fn hear(&mut self, from: u8, message: Message<u8>) {
        let heard = self.call(&Call::Input(Inbound::FromNode(from, message)));
        assert!(
            heard.is_ok() || self.election.is_stopped(),
            "what others say is no mistake of the caller's"
        );
    }

    /// Lets time pass, timer by timer. No node is busy for as long as nobody speaks to it.
    fn run(&mut self, span: Duration) {
        let heartbeat = self.setup.heartbeat_interval();
        // Enough for a test. Whoever wants to see days go by has long heartbeats.
        let end = self.now + span.min(heartbeat * 40);
        let mut wakes = 0;
        while let Some(at) = self.election.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.poll();
            if !self.setup.lazy {
                self.take(usize::MAX);
            }
            wakes += 1;
            assert!(wakes < 1_000, "it is woken {wakes} times in 40 heartbeats");
        }
        self.now = self.now.max(end);
    }

    /// Takes so many things out.
    fn take(&mut self, most: usize) {
        for _ in 0..most {
            let output = self.election.poll_output();
            assert_eq!(
                output,
                self.twin.poll_output(),
                "two nodes of one history say different things"
            );
            match output {
                Some(output) => self.watch.came_out(output),
                None => return self.watch.drained(&self.election),
            }
        }
    }

    /// These nodes answer what each was asked last, as correct nodes would.
    fn answer(&mut self, group: Group, agrees: bool) {
        for id in group.ids() {
            let Some(asked) = self.watch.asked(id) else {
                continue;
            };
            let Some((term, kind)) = answer(&asked, agrees) else {
                continue;
            };
            let mut answer = Message::new(term, asked.stamp, kind);
            answer.cluster = asked.cluster;
            self.hear(id, answer);
            if !self.setup.lazy {
                self.take(usize::MAX);
            }
        }
    }

    fn message(&self, term: u64, stamp: Stamp, kind: Kind) -> Message<u8> {
        let message = Message::new(term, stamp, self.kind(kind));
        message.with_cluster(ClusterTag::new(self.config.get_cluster()))
    }

    fn kind(&self, kind: Kind) -> MessageKind<u8> {
        let (campaign, heartbeat) = self.watch.rounds();
        match kind {
            Kind::Ping(round, rank) => MessageKind::Ping {
                round: round.of(heartbeat),
                succession: rank.map(u32::from),
            },
            Kind::VoteRequest(position, transfer) => MessageKind::VoteRequest {
                position: position.of(),
                transfer,
            },
            Kind::PreVoteRequest(round, position, priority) => MessageKind::PreVoteRequest {
                round: round.of(campaign),
                position: position.of(),
                priority: u64::from(priority % 4),
            },
            Kind::PreVote(round, granted, leader) => MessageKind::PreVote {
                round: round.of(campaign),
                granted,
                leader: leader.map(script::Who::id),
            },
            Kind::Vote(granted, leader) => MessageKind::Vote {
                granted,
                leader: leader.map(script::Who::id),
            },
            Kind::Pong(round, position, priority) => MessageKind::Pong {
                round: round.of(heartbeat),
                position: position.of(),
                priority: u64::from(priority % 4),
            },
            Kind::TimeoutNow => MessageKind::TimeoutNow,
            Kind::Unknown => MessageKind::Unknown,
        }
    }

    /// A membership of these lists under this stamp. No list at all stands for the node's own.
    fn membership(&self, stamp: Stamp, [voters, observers, target]: [Group; 3]) -> Membership<u8> {
        let mut membership = (**self.election.state().hard_state().membership()).clone();
        if !voters.ids().is_empty() {
            membership.voters = voters.ids();
            membership.observers = observers.ids();
            membership
                .observers
                .retain(|id| !membership.voters.contains(id));
        }
        if !target.ids().is_empty() {
            membership.target = target.ids();
        }
        (membership.term, membership.version) = (stamp.term, stamp.version);
        membership.target_version = membership.target_version.min(stamp.version);
        membership
    }

    /// What it has shown is what a store kept.
    fn restart(&mut self) {
        let saved = self.watch.saved().clone();
        let config = self.config.clone().restore(saved);
        self.election =
            Election::new(config, self.now).expect("a node is restored from what it has shown");
        self.twin = self.election.clone();
        self.watch.restarted(&self.election, self.now);
    }

    /// Stops it, and then nothing more ever happens.
    fn finish(mut self) {
        self.take(usize::MAX);
        let _ = self.call(&Call::Stop);
        self.take(usize::MAX);
        for _ in 0..2 {
            assert_eq!(
                self.call(&Call::Input(Inbound::FromSelf(Command::Resign))),
                Err(Error::Stopped)
            );
            assert_eq!(
                self.call(&Call::Force(vec![self.setup.me()])),
                Err(Error::Stopped)
            );
            self.poll();
            assert_eq!(
                (self.election.poll_timeout(), self.election.poll_output()),
                (None, None)
            );
            self.now += self.setup.election_timeout() * 4;
        }
    }
}

impl Order {
    fn command(&self) -> Command<u8> {
        match self {
            Self::SetNodes(group) => Command::SetNodes(group.ids()),
            Self::SetList(list) => Command::SetNodes(list.iter().map(|who| who.id()).collect()),
            Self::MarkAlive => Command::MarkAlive,
            Self::SetPriority(priority) => Command::SetPriority(u64::from(priority % 4)),
            Self::Transfer(to) => Command::Transfer(to.id()),
            Self::Resign => Command::Resign,
            Self::Stop => Command::Stop,
        }
    }
}

/// What a node that holds the same membership and term answers to this.
fn answer(asked: &Message<u8>, agrees: bool) -> Option<(u64, MessageKind<u8>)> {
    let (granted, leader) = (agrees, None);
    let kind = match asked.kind {
        MessageKind::PreVoteRequest { round, .. } => MessageKind::PreVote {
            round,
            granted,
            leader,
        },
        MessageKind::VoteRequest { .. } => MessageKind::Vote { granted, leader },
        MessageKind::Ping { round, .. } => MessageKind::Pong {
            round,
            position: script::Position::Zero.of(),
            priority: u64::from(!agrees),
        },
        MessageKind::TimeoutNow => {
            let position = script::Position::Zero.of();
            return Some((
                asked.term + 1,
                MessageKind::VoteRequest {
                    position,
                    transfer: true,
                },
            ));
        }
        _ => return None,
    };
    Some((asked.term, kind))
}

impl Call {
    fn make(&self, election: &mut Election<u8>, now: Instant) -> Result<(), Error> {
        match self {
            Self::Input(input) => election.handle(now, input.clone()),
            Self::Force(nodes) => election.force_nodes(now, nodes.clone()),
            Self::Timeout => {
                election.handle_timeout(now);
                Ok(())
            }
            Self::Stop => {
                election.stop(now);
                Ok(())
            }
        }
    }
}
