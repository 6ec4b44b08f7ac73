//! The rules of sessions, one by one.

use bytes::Bytes;

use super::*;
use crate::raft::{Batch, Entry};

/// A log, its sessions, and what was run by it.
struct Machine {
    last: u64,
    sessions: Sessions,
    ran: Vec<Bytes>,
}

impl Machine {
    fn new(limits: SessionLimits) -> Self {
        Self {
            last: 0,
            sessions: Sessions::new(limits),
            ran: Vec::new(),
        }
    }

    /// The answer is what was run, and how many were before it.
    fn apply(&mut self, proposal: impl Into<Bytes>) -> Outcome {
        self.last += 1;
        let entry = entry(self.last, &proposal.into());
        let ran = &mut self.ran;
        self.sessions.apply(&entry, |data| {
            let answer = format!("{}{}", ran.len(), String::from_utf8_lossy(&data));
            ran.push(data);
            answer.into()
        })
    }

    fn open(&mut self) -> Session {
        self.apply(SessionStamp::open());
        Session::new(self.last)
    }

    /// The same after a snapshot was installed.
    fn restore(&mut self) {
        let bytes = self.sessions.encode();
        let restored = Sessions::decode(self.sessions.limits(), &bytes).unwrap();
        assert_eq!(restored, self.sessions);
        assert_eq!(restored.encode(), bytes);
        self.sessions = restored;
    }
}

fn entry(index: u64, proposal: &Bytes) -> Entry {
    let batch = Batch::of_proposals(index, 1, [proposal]).unwrap();
    batch.entries().next().unwrap()
}

fn run(answer: &'static str) -> Outcome {
    Outcome::Run(answer.into())
}

fn stamped(session: u64, serial: u64, settled: u64) -> Bytes {
    let stamp = SessionStamp::new(session, serial, settled).unwrap();
    stamp.stamp(serial.to_string())
}

const EXPIRED: Outcome = Outcome::NotRun(SessionError::Expired);
const SETTLED: Outcome = Outcome::NotRun(SessionError::Settled);
const FULL: Outcome = Outcome::NotRun(SessionError::Full);

#[test]
fn the_entry_that_opens_a_session_names_it() {
    let mut machine = Machine::new(SessionLimits::default());
    for session in [1, 2] {
        let opened = Outcome::Opened {
            session,
            let_go: None,
        };
        assert_eq!(machine.apply(SessionStamp::open()), opened);
    }
    assert_eq!(
        (machine.sessions.len(), machine.sessions.is_empty()),
        (2, false)
    );
}

#[test]
fn a_command_is_run_once_and_answered_as_often_as_it_comes() {
    let mut machine = Machine::new(SessionLimits::default());
    let mut session = machine.open();
    let request = session.request("x");
    let not_yet = machine.sessions.answer(request.stamp());
    assert_eq!(not_yet, Err(SessionError::NotHere));
    assert_eq!(machine.apply(&request), run("0x"));
    for _ in 0..3 {
        assert_eq!(machine.apply(&request), Outcome::Repeated("0x".into()));
        assert_eq!(machine.sessions.answer(request.stamp()), Ok("0x".into()));
        machine.restore();
    }
    // The same data is another command.
    assert_eq!(machine.apply(&session.request("x")), run("1x"));
    assert_eq!(machine.ran, ["x", "x"]);
}

#[test]
fn the_same_serial_of_another_session_is_another_command() {
    let mut machine = Machine::new(SessionLimits::default());
    let (mut one, mut other) = (machine.open(), machine.open());
    assert_eq!(machine.apply(&one.request("x")), run("0x"));
    assert_eq!(machine.apply(&other.request("x")), run("1x"));
}

#[test]
fn commands_may_overtake_each_other() {
    let mut machine = Machine::new(SessionLimits::default());
    let mut session = machine.open();
    let (a, b) = (session.request("a"), session.request("b"));
    assert_eq!(machine.apply(&b), run("0b"));
    assert_eq!(machine.apply(&a), run("1a"));
    assert_eq!(machine.apply(&b), Outcome::Repeated("0b".into()));
}

#[test]
fn what_is_settled_has_no_answer_and_is_not_run() {
    let mut machine = Machine::new(SessionLimits::default());
    let mut session = machine.open();
    let answered = session.request("a");
    machine.apply(&answered);
    let given_up = session.request("b");
    let (first, second) = (answered.stamp, given_up.stamp);
    let (repeated, late) = (Bytes::from(&answered), Bytes::from(&given_up));
    drop((answered, given_up));
    // It says so with the next command.
    assert_eq!(machine.sessions.answer(&first), Ok("0a".into()));
    let next = session.request("c");
    assert_eq!(next.stamp.settled, 2);
    assert_eq!(machine.apply(&next), run("1c"));
    for stamp in [first, second] {
        let answer = machine.sessions.answer(&stamp);
        assert_eq!(answer, Err(SessionError::Settled));
    }
    assert_eq!(machine.apply(repeated), SETTLED);
    assert_eq!(machine.apply(late), SETTLED);
    assert_eq!(machine.ran, ["a", "c"]);
    assert_eq!(machine.apply(&next), Outcome::Repeated("1c".into()));
}

#[test]
fn a_request_that_is_held_keeps_its_answer() {
    let mut machine = Machine::new(SessionLimits::default());
    let mut session = machine.open();
    let held = session.request("a");
    let clone = held.clone();
    machine.apply(&held);
    drop(held);
    let later = [session.request("b"), session.request("c")];
    assert!(later.iter().all(|request| request.stamp.settled == 0));
    for request in &later {
        machine.apply(request);
    }
    assert_eq!(machine.sessions.answer(clone.stamp()), Ok("0a".into()));
    drop(clone);
    assert_eq!(session.request("d").stamp.settled, 1);
    drop(later);
    assert_eq!(session.request("e").stamp.settled, 4);
}

#[test]
fn what_was_said_to_be_settled_stays_so() {
    let mut machine = Machine::new(SessionLimits::default());
    machine.open();
    assert_eq!(machine.apply(stamped(1, 5, 3)), run("05"));
    // An older one comes late.
    assert_eq!(machine.apply(stamped(1, 4, 0)), run("14"));
    assert_eq!(machine.apply(stamped(1, 3, 0)), SETTLED);
}

#[test]
fn the_session_that_was_used_least_recently_makes_room() {
    let mut machine = Machine::new(SessionLimits::default().sessions(2));
    let (mut first, mut second) = (machine.open(), machine.open());
    let request = first.request("a");
    machine.apply(&request);
    // A command that is not run is a use as well.
    let unused = second.request("b");
    machine.apply(&unused);
    machine.apply(&request);
    machine.restore();
    let opened = Outcome::Opened {
        session: 6,
        let_go: Some(2),
    };
    assert_eq!(machine.apply(SessionStamp::open()), opened);
    assert_eq!(machine.sessions.len(), 2);
    assert_eq!(machine.apply(&unused), EXPIRED);
    let answer = machine.sessions.answer(unused.stamp());
    assert_eq!(answer, Err(SessionError::Expired));
    assert_eq!(machine.apply(&request), Outcome::Repeated("0a".into()));
    assert_eq!(machine.apply(stamped(99, 1, 0)), EXPIRED, "never opened");
    assert_eq!(machine.ran, ["a", "b"]);
}

#[test]
fn a_session_that_was_closed_makes_room_and_runs_nothing() {
    let mut machine = Machine::new(SessionLimits::default().sessions(2));
    let (mut first, mut second) = (machine.open(), machine.open());
    let (request, other) = (first.request("a"), second.request("b"));
    machine.apply(&request);
    let close = first.close();
    let closed = Outcome::Closed { session: 1 };
    assert_eq!(machine.apply(close.clone()), closed);
    machine.restore();
    assert_eq!(machine.apply(close), EXPIRED, "it is, already");
    assert_eq!(machine.apply(&request), EXPIRED);
    assert_eq!(machine.sessions.len(), 1);
    let opened = Outcome::Opened {
        session: 7,
        let_go: None,
    };
    assert_eq!(machine.apply(SessionStamp::open()), opened);
    assert_eq!(machine.apply(&other), run("1b"));
}

#[test]
fn a_session_with_as_many_answers_as_it_may_hold_runs_no_more() {
    let mut machine = Machine::new(SessionLimits::default().answers(2));
    let mut session = machine.open();
    let (a, b, c) = (
        session.request("a"),
        session.request("b"),
        session.request("c"),
    );
    machine.apply(&a);
    machine.apply(&b);
    assert_eq!(machine.apply(&c), FULL);
    let answer = machine.sessions.answer(c.stamp());
    assert_eq!(answer, Err(SessionError::NotHere));
    assert_eq!(machine.apply(&a), Outcome::Repeated("0a".into()));
    drop(a);
    // It settles the first, which makes room for itself.
    assert_eq!(machine.apply(&session.request("d")), run("2d"));
    assert_eq!(machine.apply(&c), FULL);
    drop(b);
    machine.apply(&session.request("e"));
    assert_eq!(machine.ran, ["a", "b", "d", "e"]);
}

#[test]
fn a_session_with_long_answers_runs_no_more() {
    for (most, second) in [(4, FULL), (5, run("1defghi"))] {
        let mut machine = Machine::new(SessionLimits::default().answer_bytes(most));
        let mut session = machine.open();
        let requests = ["abc", "defghi", "x"].map(|data| session.request(data));
        assert_eq!(machine.apply(&requests[0]), run("0abc"));
        // Below by one byte, or not.
        assert_eq!(machine.apply(&requests[1]), second);
        assert_eq!(machine.apply(&requests[2]), FULL);
        machine.restore();
        drop(requests);
        let next = machine.apply(&session.request("y"));
        assert!(matches!(next, Outcome::Run(_)), "{next:?}");
    }
}

#[test]
fn no_limit_is_zero() {
    let limits = SessionLimits::default().sessions(0).answers(0);
    let mut machine = Machine::new(limits.answer_bytes(0));
    let mut session = machine.open();
    for data in ["a", "b"] {
        assert!(matches!(
            machine.apply(&session.request(data)),
            Outcome::Run(_)
        ));
    }
    let limits = machine.sessions.limits();
    assert_eq!(
        limits,
        SessionLimits::default()
            .sessions(1)
            .answers(1)
            .answer_bytes(1)
    );
    let ones = [
        limits.get_sessions(),
        limits.get_answers(),
        limits.get_answer_bytes(),
    ];
    assert_eq!(ones, [1; 3]);
}

#[test]
fn what_has_no_stamp_is_not_run() {
    let mut machine = Machine::new(SessionLimits::default());
    let error = SessionError::Malformed(StampError::Form(b'x'));
    assert_eq!(machine.apply("x = 1"), Outcome::NotRun(error));
    // Nor what a session makes that cannot be.
    let none = Session::new(0).request("x");
    let after_the_last = Session::resume(1, u64::MAX).request("x");
    for request in [none, after_the_last] {
        let outcome = machine.apply(&request);
        let numbers = matches!(
            outcome,
            Outcome::NotRun(SessionError::Malformed(StampError::Numbers { .. }))
        );
        assert!(numbers, "{outcome:?}");
    }
    assert!(machine.ran.is_empty());
}

#[test]
fn a_client_that_was_started_again_goes_on() {
    let mut machine = Machine::new(SessionLimits::default());
    let mut session = machine.open();
    let lost = Bytes::from(&session.request("a"));
    let mut session = Session::resume(session.id(), 1);
    assert_eq!(machine.apply(&session.request("b")), run("0b"));
    assert_eq!(machine.apply(lost), SETTLED);
}

/// Sessions with some of all.
fn some() -> Sessions {
    let mut machine = Machine::new(SessionLimits::default());
    let mut sessions = [machine.open(), machine.open(), machine.open()];
    for session in &mut sessions[..2] {
        let requests = ["a", "bc", ""].map(|data| session.request(data));
        for request in requests.iter().rev() {
            machine.apply(request);
        }
        drop(requests);
        machine.apply(&session.request("d"));
        machine.apply(&session.request("e"));
    }
    machine.sessions
}

#[test]
fn bytes_that_are_cut_off_changed_or_too_long_are_an_error_or_other_sessions() {
    let (limits, sessions) = (SessionLimits::default(), some());
    let bytes = sessions.encode().to_vec();
    assert_eq!(Sessions::decode(limits, &bytes).as_ref(), Ok(&sessions));
    for len in 0..bytes.len() {
        let cut = Sessions::decode(limits, &bytes[..len]);
        assert_eq!(cut, Err(SessionsError::Cut), "{len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    let damaged = SessionsError::Damaged("bytes behind the last session");
    assert_eq!(Sessions::decode(limits, &longer), Err(damaged));
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut other = bytes.clone();
            other[at] = value;
            if let Ok(decoded) = Sessions::decode(limits, &other) {
                assert_eq!(decoded.encode(), other, "one form for all that can be");
            }
        }
    }
}

#[test]
fn bytes_that_lie_are_an_error() {
    let limits = SessionLimits::default()
        .sessions(2)
        .answers(2)
        .answer_bytes(4);
    let decode = |numbers: &[u64]| {
        let mut bytes = vec![1];
        for number in [2, 2, 4].iter().chain(numbers) {
            bytes.extend(number.to_le_bytes());
        }
        Sessions::decode(limits, &bytes).map(|sessions| sessions.len())
    };
    let order = Err(SessionsError::Damaged("sessions in an order that is none"));
    let answers = Err(SessionsError::Damaged("answers in an order that is none"));
    let long = Err(SessionsError::Damaged(
        "longer answers than a session holds",
    ));
    assert_eq!(decode(&[0]), Ok(0));
    assert_eq!(decode(&[2, 1, 5, 0, 0, 2, 6, 0, 0]), Ok(2));
    // Counts.
    let many = Err(SessionsError::Damaged("more sessions than may be"));
    assert_eq!(decode(&[3]), many);
    assert_eq!(decode(&[u64::MAX]), many);
    let many = Err(SessionsError::Damaged("more answers than a session holds"));
    assert_eq!(decode(&[1, 1, 5, 0, 3]), many);
    assert_eq!(
        decode(&[1, 1, 5, 0, 1, 1, u64::MAX]),
        Err(SessionsError::Cut)
    );
    assert_eq!(decode(&[2, 1, 5, 0, 0]), Err(SessionsError::Cut));
    // Sessions: one that is 0, was used before it was opened, is there twice, or out of order.
    assert_eq!(decode(&[1, 0, 5, 0, 0]), order);
    assert_eq!(decode(&[1, 6, 5, 0, 0]), order);
    assert_eq!(decode(&[2, 1, 5, 0, 0, 1, 6, 0, 0]), order);
    assert_eq!(decode(&[2, 1, 5, 0, 0, 2, 5, 0, 0]), order);
    // Answers: one that is settled, is there twice, or is beyond what a session holds.
    assert_eq!(decode(&[1, 1, 5, 7, 1, 8, 0]), Ok(1));
    assert_eq!(decode(&[1, 1, 5, 7, 1, 7, 0]), answers);
    assert_eq!(decode(&[1, 1, 5, 7, 2, 8, 0, 8, 0]), answers);
    assert_eq!(decode(&[1, 1, 5, 7, 2, 8, 8, 0, 9, 8, 0]), long);
}

#[test]
fn a_node_with_other_limits_refuses_and_says_which() {
    let bytes = some().encode();
    let limits = SessionLimits::default();
    let others = [
        ("sessions", limits.sessions(7), 4_096),
        ("answers", limits.answers(7), 64),
        ("answer_bytes", limits.answer_bytes(7), 16 << 10),
    ];
    for (field, limits, there) in others {
        let error = Sessions::decode(limits, &bytes).unwrap_err();
        assert_eq!(
            error,
            SessionsError::Limits {
                field,
                here: 7,
                there
            }
        );
        let text = error.to_string();
        assert!(
            text.contains(field) && text.contains(&there.to_string()),
            "{text}"
        );
    }
    let error = Sessions::decode(limits, &[2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sessions of form 2: this version knows 1"
    );
}

#[test]
fn a_panic_in_a_command_leaves_it_not_run() {
    let mut machine = Machine::new(SessionLimits::default());
    let request = machine.open().request("x");
    let entry = entry(2, request.proposal());
    let sessions = std::panic::AssertUnwindSafe(&mut machine.sessions);
    let caught =
        std::panic::catch_unwind(|| { sessions }.apply(&entry, |_| panic!("as it should")));
    assert!(caught.is_err());
    machine.restore();
    assert_eq!(machine.apply(&request), run("0x"));
}
