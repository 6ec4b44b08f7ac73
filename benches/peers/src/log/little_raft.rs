//! little_raft: a thread a node, which cannot be polled; all on the core of whoever makes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use little_raft::cluster::Cluster as Transport;
use little_raft::message::Message;
use little_raft::replica::Replica;
use little_raft::state_machine::{Snapshot, StateMachine, StateMachineTransition, TransitionState};

use super::{Cluster, Machine, Proposal};

const HEARTBEAT: Duration = Duration::from_millis(50);

/// Long, so that no other leads when the machine has no time for the first.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));

/// Until the first node has asked for votes. Every node campaigns as soon as it runs, unless it was asked.
const FIRST_TURN: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
struct Transition(Bytes);

impl StateMachineTransition for Transition {
    type TransitionID = ();

    fn get_id(&self) {}
}

type Post = Message<Transition, ()>;

/// What arrives at a node.
#[derive(Clone)]
struct Inbox {
    messages: Arc<Mutex<Vec<Post>>>,
    news: Sender<()>,
}

struct Net {
    inboxes: Vec<Inbox>,
    has_ended: AtomicBool,
}

struct Link {
    me: usize,
    net: Arc<Net>,
    leads: Sender<()>,
}

impl Transport<Transition, ()> for Link {
    fn send_message(&mut self, to: usize, message: Post) {
        let inbox = &self.net.inboxes[to];
        lock(&inbox.messages).push(message);
        // A node that has ended hears nothing.
        let _ = inbox.news.send(());
    }

    fn receive_messages(&mut self) -> Vec<Post> {
        std::mem::take(&mut lock(&self.net.inboxes[self.me].messages))
    }

    fn halt(&self) -> bool {
        self.net.has_ended.load(Ordering::Relaxed)
    }

    fn register_leader(&mut self, leader: Option<usize>) {
        if leader == Some(self.me) {
            let _ = self.leads.send(());
        }
    }
}

struct State {
    machine: Machine,
    pending: Vec<Transition>,
    goal: u64,
    reached: Sender<()>,
}

impl StateMachine<Transition, ()> for State {
    fn register_transition_state(&mut self, (): (), _: TransitionState) {}

    fn apply_transition(&mut self, Transition(proposal): Transition) {
        if !proposal.is_empty() {
            self.machine.apply(&proposal);
            if self.machine.applied == self.goal {
                let _ = self.reached.send(());
            }
        }
    }

    fn get_pending_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.pending)
    }

    fn get_snapshot(&mut self) -> Option<Snapshot<()>> {
        None
    }

    fn create_snapshot(
        &mut self,
        last_included_index: usize,
        last_included_term: usize,
    ) -> Snapshot<()> {
        Snapshot {
            last_included_index,
            last_included_term,
            data: (),
        }
    }

    fn set_snapshot(&mut self, _: Snapshot<()>) {}
}

pub struct Nodes {
    net: Arc<Net>,
    threads: Vec<JoinHandle<()>>,
    /// Of the leader.
    state: Arc<Mutex<State>>,
    proposed: Sender<()>,
    reached: Receiver<()>,
}

impl Nodes {
    /// The first node leads.
    pub fn led() -> Self {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| unbounded()).unzip();
        let inbox = |news| Inbox {
            messages: Arc::default(),
            news,
        };
        let net = Arc::new(Net {
            inboxes: senders.into_iter().map(inbox).collect(),
            has_ended: AtomicBool::new(false),
        });
        let (leads, has_leader) = unbounded();
        let mut nodes = receivers.into_iter().enumerate().map(|(me, news)| {
            let link = Link {
                me,
                net: Arc::clone(&net),
                leads: leads.clone(),
            };
            start(me, link, news)
        });
        let (first, state, proposed, reached) = nodes.next().expect("there are three");
        thread::sleep(FIRST_TURN);
        let others = nodes.map(|(thread, ..)| thread);
        let threads = [first].into_iter().chain(others).collect();
        has_leader.recv().expect("it is elected");
        Self {
            net,
            threads,
            state,
            proposed,
            reached,
        }
    }
}

type Started = (JoinHandle<()>, Arc<Mutex<State>>, Sender<()>, Receiver<()>);

fn start(me: usize, link: Link, news: Receiver<()>) -> Started {
    let (proposed, proposals) = unbounded();
    let (reached, has_reached) = unbounded();
    let state = Arc::new(Mutex::new(State {
        machine: Machine::default(),
        pending: Vec::new(),
        goal: 0,
        reached,
    }));
    let others = (0..3).filter(|other| *other != me).collect();
    let nothing = Transition(Bytes::new());
    let link = Arc::new(Mutex::new(link));
    let mut replica = Replica::new(
        me,
        others,
        link,
        Arc::clone(&state),
        0,
        nothing,
        HEARTBEAT,
        PATIENCE,
    );
    let thread = thread::spawn(move || replica.start(news, proposals));
    (thread, state, proposed, has_reached)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster for Nodes {
    fn run(&mut self, proposals: Vec<Proposal>, window: usize, lap: &mut dyn FnMut()) {
        let mut proposals = proposals.into_iter().peekable();
        while proposals.peek().is_some() {
            let mut state = lock(&self.state);
            let some = proposals.by_ref().take(window);
            state
                .pending
                .extend(some.map(|proposal| Transition(proposal.into())));
            state.goal = state.machine.applied + state.pending.len() as u64;
            drop(state);
            self.proposed.send(()).expect("it runs");
            self.reached.recv().expect("it runs");
            lap();
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.net.has_ended.store(true, Ordering::Relaxed);
        for inbox in &self.net.inboxes {
            let _ = inbox.news.send(());
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
