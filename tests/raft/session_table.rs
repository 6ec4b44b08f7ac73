//! The state machine's half of sessions beside one that is written as simply as it can be: whatever is proposed, again, late and out of
//! order, is run once at most, and all replicas come to the same, also by snapshots.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use streamraft::raft::{
    Batch, Entry, Outcome, Session, SessionError, SessionLimits, SessionRequest, SessionStamp,
    Sessions, Stamped,
};

const SESSIONS: usize = 3;
const ANSWERS: usize = 3;
const ANSWER_BYTES: usize = 4;

fn limits() -> SessionLimits {
    let limits = SessionLimits::default().sessions(SESSIONS as u64);
    limits
        .answers(ANSWERS as u64)
        .answer_bytes(ANSWER_BYTES as u64)
}

/// A replica: its answer to a command is how many it had run before, so that one too many changes all that follow.
#[derive(Clone)]
struct Replica {
    sessions: Sessions,
    ran: Vec<Bytes>,
    applied: usize,
}

impl Replica {
    fn new() -> Self {
        Self {
            sessions: Sessions::new(limits()),
            ran: Vec::new(),
            applied: 0,
        }
    }

    fn apply(&mut self, entry: &Entry) -> Outcome {
        self.applied += 1;
        let ran = &mut self.ran;
        self.sessions.apply(entry, |data| {
            let answer = ran.len().to_string();
            ran.push(data);
            answer.into()
        })
    }

    /// What it is after its snapshot was installed elsewhere.
    fn restored(&self) -> Self {
        let bytes = self.sessions.encode();
        let sessions = Sessions::decode(limits(), &bytes).unwrap();
        assert_eq!(sessions.encode(), bytes);
        Self {
            sessions,
            ..self.clone()
        }
    }
}

/// What the sessions should do: a list of them, the least recently used first.
#[derive(Default)]
struct Plain {
    sessions: Vec<PlainSession>,
    ran: usize,
}

struct PlainSession {
    id: u64,
    settled: u64,
    answers: Vec<(u64, Bytes)>,
}

impl Plain {
    fn apply(&mut self, entry: &Entry) -> Outcome {
        match SessionStamp::parse(&entry.data).unwrap() {
            Stamped::Command { stamp, .. } => self.command(&stamp),
            Stamped::Close { session } => self.close(session),
            _ => self.open(entry.index),
        }
    }

    fn close(&mut self, session: u64) -> Outcome {
        let before = self.sessions.len();
        self.sessions.retain(|kept| kept.id != session);
        if self.sessions.len() < before {
            Outcome::Closed { session }
        } else {
            Outcome::NotRun(SessionError::Expired)
        }
    }

    fn open(&mut self, session: u64) -> Outcome {
        let is_full = self.sessions.len() == SESSIONS;
        let let_go = is_full.then(|| self.sessions.remove(0).id);
        self.sessions.push(PlainSession {
            id: session,
            settled: 0,
            answers: Vec::new(),
        });
        Outcome::Opened { session, let_go }
    }

    fn command(&mut self, stamp: &SessionStamp) -> Outcome {
        let at = self
            .sessions
            .iter()
            .position(|kept| kept.id == stamp.session);
        let Some(at) = at else {
            return Outcome::NotRun(SessionError::Expired);
        };
        let mut kept = self.sessions.remove(at);
        kept.settled = kept.settled.max(stamp.settled);
        kept.answers.retain(|(serial, _)| *serial > kept.settled);
        let known = kept
            .answers
            .iter()
            .find(|(serial, _)| *serial == stamp.serial);
        let bytes: usize = kept.answers.iter().map(|(_, answer)| answer.len()).sum();
        let outcome = if stamp.serial <= kept.settled {
            Outcome::NotRun(SessionError::Settled)
        } else if let Some((_, answer)) = known {
            Outcome::Repeated(answer.clone())
        } else if kept.answers.len() == ANSWERS || bytes >= ANSWER_BYTES {
            Outcome::NotRun(SessionError::Full)
        } else {
            let answer = Bytes::from(self.ran.to_string());
            self.ran += 1;
            kept.answers.push((stamp.serial, answer.clone()));
            Outcome::Run(answer)
        };
        self.sessions.push(kept);
        outcome
    }
}

/// Clients, the log, and three replicas: one that applies at once, one that lags, one that lives by snapshots.
struct World {
    clients: Vec<(Session, Vec<SessionRequest>)>,
    /// All that was ever said, whether it got into the log or not.
    said: Vec<Bytes>,
    log: Vec<Entry>,
    plain: Plain,
    replicas: [Replica; 3],
    run: BTreeSet<(u64, u64)>,
    outcomes: BTreeSet<&'static str>,
}

impl World {
    fn new() -> Self {
        Self {
            clients: Vec::new(),
            said: Vec::new(),
            log: Vec::new(),
            plain: Plain::default(),
            replicas: [Replica::new(), Replica::new(), Replica::new()],
            run: BTreeSet::new(),
            outcomes: BTreeSet::new(),
        }
    }

    fn commit(&mut self, proposal: &Bytes) {
        let index = self.log.len() as u64 + 1;
        let batch = Batch::of_proposals(index, 1, [proposal]).unwrap();
        let entry = batch.entries().next().unwrap();
        let outcome = self.replicas[0].apply(&entry);
        assert_eq!(outcome, self.plain.apply(&entry), "at {index}");
        self.check(&entry, &outcome);
        self.log.push(entry);
    }

    fn check(&mut self, entry: &Entry, outcome: &Outcome) {
        let seen = match outcome {
            Outcome::Opened { let_go: None, .. } => "opened",
            Outcome::Opened { .. } => "let go",
            Outcome::Closed { .. } => "closed",
            Outcome::Run(_) => "run",
            Outcome::Repeated(_) => "repeated",
            Outcome::NotRun(SessionError::Expired) => "expired",
            Outcome::NotRun(SessionError::Settled) => "settled",
            Outcome::NotRun(SessionError::Full) => "full",
            other => panic!("{other:?}"),
        };
        self.outcomes.insert(seen);
        if let Ok(Stamped::Command { stamp, .. }) = SessionStamp::parse(&entry.data) {
            let name = (stamp.session, stamp.serial);
            match outcome {
                Outcome::Run(_) => assert!(self.run.insert(name), "{name:?} was run twice"),
                Outcome::Repeated(_) => assert!(self.run.contains(&name)),
                _ => {}
            }
            let answer = self.replicas[0].sessions.answer(&stamp);
            match outcome {
                Outcome::Run(given) | Outcome::Repeated(given) => {
                    assert_eq!(answer.as_ref(), Ok(given));
                }
                Outcome::NotRun(SessionError::Full) => {
                    assert_eq!(answer, Err(SessionError::NotHere));
                }
                Outcome::NotRun(error) => assert_eq!(answer, Err(*error)),
                _ => {}
            }
        }
    }

    fn act(&mut self, (kind, a, b): (u8, u8, u16)) {
        let (count, b) = (self.clients.len(), usize::from(b));
        match kind % 16 {
            0 => {
                self.commit(&SessionStamp::open());
                let session = Session::new(self.log.len() as u64);
                self.clients.push((session, Vec::new()));
            }
            1..=6 if count > 0 => {
                // Of those that were opened lately, so that some are used and some are let go.
                let at = count - 1 - usize::from(a) % count.min(SESSIONS + 1);
                let (session, held) = &mut self.clients[at];
                let request = session.request(self.said.len().to_string());
                self.said.push(request.proposal().clone());
                if b % 3 > 0 {
                    held.push(request.clone());
                }
                // Else it is late, or never comes.
                if b % 4 > 0 {
                    self.commit(request.proposal());
                }
            }
            7..=10 if !self.said.is_empty() => {
                let latest = self
                    .said
                    .len()
                    .min(if a % 4 == 0 { usize::MAX } else { 12 });
                let proposal = self.said[self.said.len() - 1 - b % latest].clone();
                self.commit(&proposal);
            }
            11 if count > 0 && a % 4 == 0 => {
                let lately = b % count.min(SESSIONS);
                let session = self.clients[count - 1 - lately].0.id();
                self.commit(&SessionStamp::close(session));
            }
            11 | 12 if count > 0 => {
                let held = &mut self.clients[usize::from(a) % count].1;
                if !held.is_empty() {
                    drop(held.remove(b % held.len()));
                }
            }
            13 => self.catch_up(1, b % 8),
            14 => self.replicas[1] = self.replicas[1].restored(),
            // A snapshot of the first, and entries behind it.
            15 => {
                self.replicas[2] = self.replicas[usize::from(a) % 2].restored();
                self.catch_up(2, b % 4);
            }
            _ => {}
        }
    }

    fn catch_up(&mut self, replica: usize, most: usize) {
        let replica = &mut self.replicas[replica];
        for entry in self.log.iter().skip(replica.applied).take(most) {
            replica.apply(entry);
        }
    }

    fn end(mut self) -> BTreeSet<&'static str> {
        for replica in 1..3 {
            self.catch_up(replica, usize::MAX);
        }
        let [first, others @ ..] = &self.replicas;
        for other in others {
            assert_eq!(other.sessions, first.sessions);
            assert_eq!(other.sessions.encode(), first.sessions.encode());
            assert_eq!(other.ran, first.ran);
        }
        assert_eq!(first.ran.len(), self.run.len());
        self.outcomes
    }
}

fn run(acts: Vec<(u8, u8, u16)>) -> BTreeSet<&'static str> {
    let mut world = World::new();
    for act in acts {
        world.act(act);
    }
    world.end()
}

proptest! {
    #[test]
    fn each_command_is_run_once_at_most_and_replicas_stay_equal(
        acts in proptest::collection::vec(any::<(u8, u8, u16)>(), 0..400)
    ) {
        run(acts);
    }

    #[test]
    fn bytes_of_anything_are_sessions_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(sessions) = Sessions::decode(SessionLimits::default(), &bytes) {
            prop_assert_eq!(sessions.encode(), bytes.clone());
        }
        // And a proposal that anybody may have made.
        if let Some(batch) = Batch::of_proposals(1, 1, [&bytes]) {
            let mut replica = Replica::new();
            for entry in batch.entries() {
                replica.apply(&entry);
            }
            prop_assert!(replica.ran.is_empty(), "it has no session");
        }
    }
}

#[test]
fn the_random_runs_get_to_every_outcome() {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let acts = proptest::collection::vec(any::<(u8, u8, u16)>(), 400);
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        seen.extend(run(acts.new_tree(&mut runner).unwrap().current()));
    }
    let all = [
        "closed", "expired", "full", "let go", "opened", "repeated", "run", "settled",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}
