//! Commands that are proposed until somebody answers, over nodes that come and go: each is run once, or at most once by who has
//! given it up.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use streamraft::raft::{
    Applied, AppliedStream, Client, ClientError, Entry, LogLimits, Outcome, Raft, Seeker, Session,
    SessionError, SessionLimits, SessionRequest, SessionStamp, Sessions, Stamped,
};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::ms;
use crate::node::{Group, config};

/// A state machine: the commands that were run, in order. The answer to one is its place.
struct Machine {
    sessions: Sessions,
    ran: Vec<u64>,
    /// Without, every command is run whenever it comes: what the log alone does.
    remembers: bool,
}

impl Machine {
    fn new(remembers: bool) -> Self {
        Self {
            sessions: Sessions::new(SessionLimits::default()),
            ran: Vec::new(),
            remembers,
        }
    }

    fn apply(&mut self, item: &Entry) -> Option<Outcome> {
        let ran = &mut self.ran;
        let mut run = |data: Bytes| {
            ran.push(data.as_ref().try_get_u64().unwrap());
            Bytes::from(ran.len().to_string())
        };
        if self.remembers {
            return Some(self.sessions.apply(item, run));
        }
        if let Ok(Stamped::Command { data, .. }) = SessionStamp::parse(&item.data) {
            run(data);
        }
        None
    }

    fn snapshot(&self) -> Bytes {
        let sessions = self.sessions.encode();
        let mut to = BytesMut::new();
        to.put_u64(sessions.len() as u64);
        to.put(sessions);
        self.ran.iter().for_each(|number| to.put_u64(*number));
        to.freeze()
    }

    fn restore(&mut self, mut from: Bytes) {
        let len = from.get_u64() as usize;
        let sessions = from.split_to(len);
        self.sessions = Sessions::decode(SessionLimits::default(), &sessions).unwrap();
        self.ran = from.chunks(8).map(|mut number| number.get_u64()).collect();
    }

    fn answer(&self, stamp: &SessionStamp) -> Result<Bytes, SessionError> {
        match self.remembers {
            true => self.sessions.answer(stamp),
            false => Ok(Bytes::new()),
        }
    }
}

#[derive(Clone)]
struct Place {
    client: Client<u64>,
    machine: Rc<RefCell<Machine>>,
}

/// The nodes that run, as the clients know them.
#[derive(Default)]
struct Places {
    by_id: RefCell<BTreeMap<u64, Place>>,
    /// Says which answers get lost on their way to a client; none if there are none.
    losses: Option<RefCell<SmallRng>>,
}

impl Places {
    fn loses_an_answer(&self) -> bool {
        let losses = self.losses.as_ref();
        losses.is_some_and(|dice| dice.borrow_mut().random_bool(0.1))
    }
}

/// Applies what is committed, and keeps a snapshot now and then.
async fn tend(mut applied: AppliedStream, place: Place) {
    let mut snapshot = BytesMut::new();
    while let Some(item) = applied.next().await {
        match item {
            Applied::Entry(entry) => {
                place.machine.borrow_mut().apply(&entry);
                if entry.index % 16 == 0 {
                    let bytes = place.machine.borrow().snapshot();
                    let client = place.client.clone();
                    // When the stream is asked for more.
                    tokio::task::spawn_local(async move {
                        sleep(ms(1)).await;
                        let _ = client.compact(entry.index, bytes).await;
                    });
                }
            }
            Applied::Snapshot(part) => {
                if part.offset == 0 {
                    snapshot.clear();
                }
                snapshot.extend_from_slice(&part.data);
                if part.end() == part.snapshot.len {
                    let bytes = snapshot.split().freeze();
                    place.machine.borrow_mut().restore(bytes);
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Three nodes, their state machines, and who asks them.
struct Cluster {
    group: Group,
    places: Rc<Places>,
    remembers: bool,
}

fn limits() -> LogLimits {
    LogLimits::default().trailing(4).message(64)
}

impl Cluster {
    fn new(remembers: bool, places: Places) -> Self {
        let mut cluster = Self {
            group: Group::new(3, limits()),
            places: Rc::new(places),
            remembers,
        };
        for id in 1..=3 {
            cluster.join(id);
        }
        cluster
    }

    fn join(&mut self, id: u64) {
        let node = self.group.nodes.get_mut(&id).unwrap();
        let place = Place {
            client: node.client(),
            machine: Rc::new(RefCell::new(Machine::new(self.remembers))),
        };
        tokio::task::spawn_local(tend(node.applied(0), place.clone()));
        self.places.by_id.borrow_mut().insert(id, place);
    }

    /// Drops a node in the middle of whatever it does, and starts it from its log when this time has passed.
    async fn crash(&mut self, id: u64, away: Duration) {
        self.places.by_id.borrow_mut().remove(&id);
        let store = self.group.nodes.remove(&id).unwrap().into_store();
        self.group.run(away).await;
        let node = Raft::new(config(id, 3), limits(), store).unwrap();
        self.group.nodes.insert(id, node);
        self.join(id);
    }

    /// All machines, when all have applied the same.
    async fn machines(&mut self) -> Vec<Rc<RefCell<Machine>>> {
        self.group.deaf = None;
        self.group.run(ms(3_000)).await;
        let nodes = self.group.nodes.values();
        let last: Vec<_> = nodes.map(|node| node.log().commit()).collect();
        assert_eq!(last, [last[0]; 3], "they have caught up");
        let places = self.places.by_id.borrow();
        places
            .values()
            .map(|place| Rc::clone(&place.machine))
            .collect()
    }
}

fn gone<T>() -> Result<T, ClientError<u64>> {
    Err(ClientError::Stopped)
}

/// As a client elsewhere does it: it hears nothing of a node that is gone, whatever that has done.
async fn at<T>(
    places: &Places,
    id: u64,
    ask: impl AsyncFnOnce(Place) -> Result<T, ClientError<u64>>,
) -> Result<T, ClientError<u64>> {
    let Some(place) = places.by_id.borrow().get(&id).cloned() else {
        return gone();
    };
    let machine = Rc::clone(&place.machine);
    let answer = ask(place).await;
    match places.by_id.borrow().get(&id) {
        Some(still) if Rc::ptr_eq(&still.machine, &machine) => answer,
        _ => gone(),
    }
}

async fn open(places: &Places, seeker: &mut Seeker<u64>) -> Session {
    let opened = seeker.ask(async |id| {
        at(places, id, async |place: Place| {
            place.client.session().await
        })
        .await
    });
    opened.await.unwrap()
}

/// Proposes it until somebody has the answer.
async fn run(places: &Places, seeker: &mut Seeker<u64>, request: &SessionRequest) -> Bytes {
    let answered = seeker.ask(async |id| {
        let ask = async |place: Place| {
            place.client.propose(request).await?;
            match place.machine.borrow().answer(request.stamp()) {
                Ok(_) if places.loses_an_answer() => gone(),
                Ok(answer) => Ok(answer),
                Err(SessionError::NotHere) => gone(),
                Err(error) => panic!("{error}"),
            }
        };
        at(places, id, ask).await
    });
    answered.await.unwrap()
}

fn seeker() -> Seeker<u64> {
    Seeker::new(1..=3).unwrap()
}

fn command(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Thesis 6.3: "if a leader executes a command and crashes before responding, the client will retry it with a new leader". How
/// often each machine has run it.
async fn the_leader_is_lost_before_it_answers(remembers: bool, committed: bool) -> Vec<usize> {
    let mut cluster = Cluster::new(remembers, Places::default());
    cluster.group.run(ms(100)).await;
    assert_eq!(cluster.group.leader(), Some(1));
    let (places, mut seeker) = (Rc::clone(&cluster.places), seeker());
    let mut session = cluster.group.until(open(&places, &mut seeker)).await;
    let request = session.request(command(7));
    let index = session.id() + 1;

    let client = cluster.group.client(1);
    let mut asking = Box::pin(client.propose(&request));
    assert!(futures::poll!(&mut asking).is_pending());
    if !committed {
        cluster.group.deaf = Some(1);
    }
    // The answer is on its way, and whoever waits for it does not come to see it.
    cluster.group.run(ms(1)).await;
    let logs: Vec<_> = cluster.group.nodes.values().map(Raft::log).collect();
    assert!(logs.iter().all(|log| log.durable() == index));
    assert_eq!(logs[0].commit() == index, committed);
    cluster.group.deaf = None;
    drop(asking);
    let retried = async {
        let answer = run(&places, &mut seeker, &request).await;
        (*seeker.target(), answer)
    };
    let places = Rc::clone(&cluster.places);
    places.by_id.borrow_mut().remove(&1);
    let store = cluster.group.nodes.remove(&1).unwrap().into_store();
    let (leader, answer) = cluster.group.until(retried).await;
    assert_ne!(leader, 1);
    assert_eq!(answer, if remembers { "1" } else { "" });

    let node = Raft::new(config(1, 3), limits(), store).unwrap();
    cluster.group.nodes.insert(1, node);
    cluster.join(1);
    let machines = cluster.machines().await;
    let count = |machine: &Rc<RefCell<Machine>>| machine.borrow().ran.len();
    machines.iter().map(count).collect()
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_leader_is_lost_after_it_was_committed_is_run_once() {
    for committed in [true, false] {
        let story = async |remembers| {
            let story = the_leader_is_lost_before_it_answers(remembers, committed);
            LocalSet::new().run_until(story).await
        };
        assert_eq!(story(true).await, [1; 3]);
        assert_eq!(story(false).await, [2; 3], "but for its session");
    }
}

/// What a client knows of its commands.
#[derive(Default)]
struct Known {
    /// By command: its answer.
    answered: BTreeMap<u64, Bytes>,
    /// Nobody waited for the outcome.
    given_up: Vec<u64>,
}

/// Has commands run, one or two at a time; now and then it gives up.
async fn client(places: Rc<Places>, number: u64, seed: u64, known: Rc<RefCell<Known>>) {
    let mut dice = SmallRng::seed_from_u64(seed * 100 + number);
    let (mut seeker, mut other) = (seeker(), seeker());
    let mut session = open(&places, &mut seeker).await;
    for step in 0..12 {
        sleep(ms(dice.random_range(0..60))).await;
        let numbers = [number * 1_000 + 2 * step, number * 1_000 + 2 * step + 1];
        let [one, two] = numbers.map(|number| session.request(command(number)));
        if dice.random_bool(0.2) {
            drop(two);
            let patience = ms(dice.random_range(1..100));
            let answer = timeout(patience, run(&places, &mut seeker, &one)).await;
            let mut known = known.borrow_mut();
            match answer {
                Ok(answer) => drop(known.answered.insert(numbers[0], answer)),
                Err(_) => known.given_up.push(numbers[0]),
            }
            continue;
        }
        let answers = tokio::join!(
            run(&places, &mut seeker, &one),
            run(&places, &mut other, &two)
        );
        let mut known = known.borrow_mut();
        known.answered.insert(numbers[0], answers.0);
        known.answered.insert(numbers[1], answers.1);
    }
}

/// How many commands were run more than once, and how many were answered.
async fn story(seed: u64, remembers: bool) -> (usize, usize) {
    let mut dice = SmallRng::seed_from_u64(seed);
    let losses = RefCell::new(SmallRng::seed_from_u64(seed));
    let places = Places {
        losses: Some(losses),
        ..Places::default()
    };
    let mut cluster = Cluster::new(remembers, places);
    let (known, busy) = (Rc::<RefCell<Known>>::default(), Rc::new(Cell::new(3)));
    for number in 1..=3 {
        let client = client(Rc::clone(&cluster.places), number, seed, Rc::clone(&known));
        let busy = Rc::clone(&busy);
        tokio::task::spawn_local(async move {
            client.await;
            busy.set(busy.get() - 1);
        });
    }
    let mut rounds = 0;
    while busy.get() > 0 {
        rounds += 1;
        assert!(rounds < 2_000, "nobody is answered any more");
        cluster.group.run(ms(dice.random_range(1..80))).await;
        let leader = cluster.group.leader().unwrap_or(1);
        match dice.random_range(0..6) {
            0 => cluster.crash(leader, ms(dice.random_range(0..400))).await,
            1 => {
                let anybody = dice.random_range(1..=3);
                cluster.crash(anybody, ms(dice.random_range(0..400))).await;
            }
            2 => cluster.group.deaf = Some(leader),
            _ => cluster.group.deaf = None,
        }
    }
    let machines = cluster.machines().await;
    let first = machines[0].borrow();
    for other in &machines[1..] {
        assert_eq!(other.borrow().ran, first.ran, "seed {seed}");
        assert!(other.borrow().sessions == first.sessions, "seed {seed}");
    }
    let mut counts = BTreeMap::<u64, usize>::new();
    for number in &first.ran {
        *counts.entry(*number).or_default() += 1;
    }
    let known = known.borrow();
    for (number, answer) in &known.answered {
        assert!(
            counts.contains_key(number),
            "seed {seed}: {number} was not run"
        );
        let place = first.ran.iter().position(|ran| ran == number).unwrap() + 1;
        assert!(
            !remembers || *answer == place.to_string(),
            "seed {seed}: {number}"
        );
    }
    let all: BTreeSet<_> = known.answered.keys().chain(&known.given_up).collect();
    assert!(
        counts.keys().all(|number| all.contains(number)),
        "seed {seed}"
    );
    let twice = counts.values().filter(|count| **count > 1).count();
    (twice, known.answered.len())
}

#[tokio::test(start_paused = true)]
async fn every_command_is_run_once_whatever_becomes_of_the_nodes() {
    let (mut answered, mut without) = (0, 0);
    for seed in 0..40 {
        let (twice, answers) = LocalSet::new().run_until(story(seed, true)).await;
        assert_eq!(twice, 0, "seed {seed}");
        answered += answers;
    }
    for seed in 0..10 {
        without += LocalSet::new().run_until(story(seed, false)).await.0;
    }
    println!("{answered} answered; without sessions {without} would be run twice");
    assert!(answered > 1_000);
    assert!(without > 20, "the faults are such that it matters");
}

#[test]
fn who_asks_may_be_a_task_of_its_own() {
    fn is_send<T: Send>(_: T) {}
    fn is_plain<T: Send + Sync + Unpin + 'static>() {}
    let clients = BTreeMap::<u64, Client<u64>>::new();
    is_send(async move {
        let mut seeker = seeker();
        let client = |id| clients.get(&id).ok_or(ClientError::Stopped);
        let opened = seeker.ask(async |id| client(id)?.session().await);
        let mut session = opened.await.unwrap();
        let request = session.request("x");
        seeker
            .ask(async |id| client(id)?.propose(&request).await)
            .await
    });
    is_plain::<Seeker>();
    is_plain::<Session>();
    is_plain::<SessionRequest>();
    is_plain::<Sessions>();
}
