//! The node with a log as a stream and a sink: its clients, its applied stream, its store.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use streamraft::raft::{
    Applied, Batch, Client, ClientCompactError, ClientError, CompactError, Failure, FailureKind,
    LogLimits, LogStore, MemoryLog, ProposeError, Raft, RaftMessage, RaftOutput, Recovered,
    Snapshot, SnapshotPart,
};
use streamraft::{Command, Config, HardState, LogPosition, NodeType};

use crate::ms;

/// What can go wrong with a store.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Flushes do not end.
    pub(crate) stalls: bool,
    /// Flushes and reads fail.
    pub(crate) fails: Option<FailureKind>,
    flushes: u64,
}

/// A store in memory that somebody else can trouble.
#[derive(Debug, Default)]
pub(crate) struct Troubled {
    log: MemoryLog<u64>,
    pub(crate) trouble: Rc<RefCell<Trouble>>,
}

impl Troubled {
    fn check(&self) -> Result<(), Failure> {
        let trouble = self.trouble.borrow();
        match trouble.fails {
            Some(kind) => Err(Failure::new(kind, "told to")),
            None => Ok(()),
        }
    }
}

impl LogStore<u64> for Troubled {
    fn recovered(&mut self) -> Recovered<u64> {
        self.log.recovered()
    }

    fn save(&mut self, hard_state: &HardState<u64>) {
        self.log.save(hard_state);
    }

    fn append(&mut self, batch: &Batch) {
        self.log.append(batch);
    }

    fn truncate(&mut self, last: u64) {
        self.log.truncate(last);
    }

    fn purge(&mut self, position: LogPosition) {
        self.log.purge(position);
    }

    fn write_snapshot(&mut self, part: &SnapshotPart) {
        self.log.write_snapshot(part);
    }

    fn install_snapshot(&mut self, snapshot: &Snapshot) {
        self.log.install_snapshot(snapshot);
    }

    fn reset(&mut self, position: LogPosition) {
        self.log.reset(position);
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.check()?;
        let mut trouble = self.trouble.borrow_mut();
        if trouble.stalls {
            // It never ends.
            return Poll::Pending;
        }
        trouble.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        first: u64,
        max_bytes: usize,
    ) -> Poll<Result<Batch, Failure>> {
        self.check()?;
        self.log.poll_read(cx, first, max_bytes)
    }

    fn poll_read_snapshot(
        &mut self,
        cx: &mut Context<'_>,
        offset: u64,
        max_bytes: usize,
    ) -> Poll<Result<Bytes, Failure>> {
        self.check()?;
        self.log.poll_read_snapshot(cx, offset, max_bytes)
    }
}

pub(crate) type Node = Raft<Troubled, u64>;

pub(crate) fn config(id: u64, nodes: u64) -> Config<u64> {
    let config = Config::with_id(id, 1..=nodes).unwrap().bootstrap().seed(id);
    config.election_timeout(ms(150)).heartbeat_interval(ms(40))
}

/// Nodes that hear each other, and what their owners were told of their stores.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) failures: Vec<(u64, FailureKind)>,
    pub(crate) ended: Vec<u64>,
    /// Who hears nobody.
    pub(crate) deaf: Option<u64>,
}

impl Group {
    pub(crate) fn new(count: u64, limits: LogLimits) -> Self {
        let nodes = (1..=count).map(|id| {
            let node = Raft::new(config(id, count), limits, Troubled::default()).unwrap();
            (id, node)
        });
        Self {
            nodes: nodes.collect(),
            ..Self::default()
        }
    }

    /// Polls all nodes until none has anything to say, and lets what they say arrive.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        let _ = self.poll_while(cx, |_, _| true);
    }

    /// The same as long as this is so of what is said, and to whom. Ready when it is not: the rest gets lost.
    pub(crate) fn poll_while(
        &mut self,
        cx: &mut Context<'_>,
        mut goes_on: impl FnMut(u64, &RaftMessage<u64>) -> bool,
    ) -> Poll<()> {
        loop {
            let mut letters: Vec<(u64, u64, RaftMessage<u64>)> = Vec::new();
            let ids: Vec<u64> = self.nodes.keys().copied().collect();
            for id in ids {
                while let Some(node) = self.nodes.get_mut(&id)
                    && let Poll::Ready(output) = node.poll_next_unpin(cx)
                {
                    match output {
                        Some(RaftOutput::ToNode(to, message)) => letters.push((id, to, message)),
                        Some(RaftOutput::Failed(failure)) => {
                            self.failures.push((id, failure.kind()));
                        }
                        Some(_) => {}
                        None => {
                            self.nodes.remove(&id);
                            self.ended.push(id);
                        }
                    }
                }
            }
            if letters.is_empty() {
                return Poll::Pending;
            }
            for (from, to, message) in letters {
                if !goes_on(to, &message) {
                    return Poll::Ready(());
                }
                if self.deaf != Some(to)
                    && let Some(node) = self.nodes.get_mut(&to)
                {
                    node.on_receive(&from, message);
                }
            }
        }
    }

    /// Runs the nodes until something else is done.
    pub(crate) async fn until<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        let done = std::future::poll_fn(|cx| {
            self.poll(cx);
            let value = other.as_mut().poll(cx);
            self.poll(cx);
            value
        });
        let done = tokio::time::timeout(Duration::from_secs(60), done).await;
        done.expect("it is done in time")
    }

    pub(crate) async fn run(&mut self, time: Duration) {
        self.until(tokio::time::sleep(time)).await;
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let mut nodes = self.nodes.values();
        let leader = nodes.find(|node| node.state().node_type() == NodeType::Leader);
        leader.map(|node| *node.node_id())
    }

    pub(crate) fn client(&self, id: u64) -> Client<u64> {
        self.nodes[&id].client()
    }
}

pub(crate) fn data(item: Option<Applied>) -> Bytes {
    match item {
        Some(Applied::Entry(entry)) => entry.data,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_proposed_is_applied_everywhere_in_one_order() {
    let mut group = Group::new(3, LogLimits::default());
    let mut streams: Vec<_> = group
        .nodes
        .values_mut()
        .map(|node| node.applied(0))
        .collect();
    group.run(ms(100)).await;
    assert_eq!(group.leader(), Some(1));
    let client = group.client(1);
    let proposals: Vec<_> = (0..100_u8)
        .map(|number| {
            let client = client.clone();
            async move { client.propose(vec![number]).await }
        })
        .collect();
    let machines = streams.iter_mut().map(|stream| async {
        let mut seen = Vec::new();
        while seen.len() < 100 {
            seen.push(data(stream.next().await));
        }
        // Comes back for more: the last one is applied too.
        tokio::select! { _ = stream.next() => {}, () = tokio::time::sleep(ms(50)) => {} }
        seen
    });
    let all = async {
        tokio::join!(
            futures::future::join_all(proposals),
            futures::future::join_all(machines)
        )
    };
    let (indices, seen) = group.until(all).await;
    let numbers = (0..100_u8).map(|number| Bytes::from(vec![number]));
    let mut expected: Vec<_> = indices
        .into_iter()
        .map(Result::unwrap)
        .zip(numbers)
        .collect();
    expected.sort();
    let (indices, expected): (Vec<u64>, Vec<Bytes>) = expected.into_iter().unzip();
    assert_eq!(
        indices,
        (2..=101).collect::<Vec<_>>(),
        "behind the blank entry"
    );
    assert!(seen.iter().all(|seen| *seen == expected));
    // One flush for all that came in together, and few others.
    let flushes = group.nodes[&1].store().trouble.borrow().flushes;
    assert!(flushes < 12, "{flushes}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_says_who_does() {
    let mut group = Group::new(3, LogLimits::default());
    group.run(ms(100)).await;
    let client = group.client(2);
    let error = group.until(client.propose("x")).await.unwrap_err();
    assert_eq!(error.leader(), Some(&1));
    let error = group.until(client.read()).await.unwrap_err();
    assert_eq!(error.to_string(), "this node does not lead; 1 does");
    let long = vec![0; (1 << 20) + 1];
    let error = group.until(group_client(&group).propose(long)).await;
    assert!(matches!(
        error,
        Err(ClientError::NotTaken(ProposeError::TooLarge { .. }))
    ));
}

fn group_client(group: &Group) -> Client<u64> {
    group.client(1)
}

#[tokio::test(start_paused = true)]
async fn a_slow_state_machine_slows_clients_and_no_heartbeat() {
    let limits = LogLimits::default()
        .proposal(1_000)
        .unsettled(10_000)
        .window(10_000);
    let mut group = Group::new(3, limits);
    let mut slow = group.nodes.get_mut(&1).unwrap().applied(0);
    group.run(ms(100)).await;
    let client = group.client(1);
    let taken = Rc::new(RefCell::new(0));
    let proposing = async {
        for _ in 0..100 {
            let proposals = (0..20).map(|_| client.propose(vec![0; 1_000]));
            for result in futures::future::join_all(proposals).await {
                result.unwrap();
                *taken.borrow_mut() += 1;
            }
        }
    };
    let mut proposing = std::pin::pin!(proposing);
    let term = group.nodes[&1].state().term();
    let some = async { tokio::time::timeout(Duration::from_secs(10), proposing.as_mut()).await };
    assert!(group.until(some).await.is_err(), "nobody applies");
    assert_eq!(*taken.borrow(), 0);
    assert!(group.nodes[&1].log().last().index < 15, "bounded");
    assert_eq!(
        (group.leader(), group.nodes[&1].state().term()),
        (Some(1), term)
    );
    // It wakes up.
    let applying = async { while slow.next().await.is_some() {} };
    let both = async {
        tokio::select! { () = applying => {}, () = proposing => {} }
    };
    group.until(both).await;
    assert_eq!(*taken.borrow(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn reads_see_what_was_proposed_before() {
    let mut group = Group::new(3, LogLimits::default());
    group.run(ms(100)).await;
    let client = group.client(1);
    let both = async {
        let index = client.propose("x").await.unwrap();
        (index, client.read().await.unwrap())
    };
    let (index, read) = group.until(both).await;
    assert_eq!(index, read);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_waits_for_a_state_machine_which_goes_is_refused_and_a_proposal_is_not() {
    let mut group = Group::new(3, LogLimits::default());
    let applied = group.nodes.get_mut(&1).unwrap().applied(0);
    group.run(ms(100)).await;
    let client = group.client(1);
    let asking = async { tokio::join!(client.propose("x"), client.read()) };
    let going = async {
        tokio::time::sleep(ms(100)).await;
        drop(applied);
    };
    let both = async { tokio::join!(asking, going).0 };
    let (proposed, read) = group.until(both).await;
    assert_eq!(proposed, Ok(2), "it is committed");
    assert_eq!(read, Err(ClientError::NotApplied));
    let asking = async { tokio::join!(client.propose("y"), client.read()) };
    let (proposed, read) = group.until(asking).await;
    assert_eq!((proposed, read), (Ok(3), Err(ClientError::NotApplied)));
    // Another one takes its place.
    let mut applied = group.nodes.get_mut(&1).unwrap().applied(0);
    let reading = async {
        tokio::select! {
            read = client.read() => read,
            () = async { while applied.next().await.is_some() {} } => panic!("it goes on"),
        }
    };
    assert_eq!(group.until(reading).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_snapshot_that_goes_to_the_disk_part_by_part() {
    let mut group = Group::new(3, LogLimits::default().message(100));
    group.run(ms(100)).await;
    let client = group.client(1);
    let index = group.until(client.propose("x")).await.unwrap();
    let trouble = Rc::clone(&group.nodes[&1].store().trouble);
    trouble.borrow_mut().stalls = true;
    let mut compacting = Box::pin(client.compact(index, vec![0; 100_000]));
    group.run(ms(5)).await;
    assert_eq!(futures::poll!(&mut compacting), Poll::Pending);
    group.run(ms(5)).await;
    assert_eq!(
        group.until(client.compact(index, vec![1; 10])).await,
        Err(ClientCompactError::Refused(CompactError::Busy))
    );
    // The others' disks are a quorum.
    assert_eq!(group.until(client.propose("y")).await, Ok(index + 1));
    assert_eq!(group.until(client.read()).await, Ok(index + 1));
    assert_eq!(futures::poll!(&mut compacting), Poll::Pending);
    trouble.borrow_mut().stalls = false;
    assert_eq!(group.until(compacting).await, Ok(()));
}

/// openraft#1795: what could not be read was taken for the end of the log.
#[tokio::test(start_paused = true)]
async fn openraft_1795_a_read_that_fails_ends_the_node_and_is_no_empty_log() {
    let mut group = Group::new(3, LogLimits::default().cache(0));
    group.run(ms(100)).await;
    let client = group.client(1);
    for _ in 0..5 {
        group.until(client.propose("x")).await.unwrap();
    }
    // A state machine that begins anew needs what is no more in memory.
    let mut applied = group.nodes.get_mut(&1).unwrap().applied(0);
    let trouble = Rc::clone(&group.nodes[&1].store().trouble);
    trouble.borrow_mut().fails = Some(FailureKind::Damaged);
    group.run(ms(1_000)).await;
    assert_eq!(group.failures, [(1, FailureKind::Damaged)]);
    assert_eq!(group.ended, [1]);
    assert_eq!(
        applied.next().now_or_never(),
        Some(None),
        "nothing comes of it"
    );
    assert_eq!(client.propose("x").await, Err(ClientError::Stopped));
    assert!(group.leader().is_some_and(|leader| leader != 1));
}

#[tokio::test(start_paused = true)]
async fn a_leader_with_a_full_disk_steps_down_and_comes_back() {
    let mut group = Group::new(3, LogLimits::default());
    group.run(ms(100)).await;
    let trouble = Rc::clone(&group.nodes[&1].store().trouble);
    trouble.borrow_mut().fails = Some(FailureKind::Full);
    let client = group.client(1);
    let outcome = group.until(client.propose("x")).await;
    assert!(
        matches!(outcome, Err(ClientError::Unknown { .. })),
        "{outcome:?}"
    );
    group.run(ms(1_000)).await;
    let leader = group.leader().expect("another one leads");
    assert_ne!(leader, 1);
    assert!(
        group
            .failures
            .iter()
            .all(|failure| *failure == (1, FailureKind::Full))
    );
    let tries = group.failures.len();
    assert!(
        (2..20).contains(&tries),
        "it tries again now and then: {tries}"
    );
    trouble.borrow_mut().fails = None;
    let client = group.client(leader);
    let index = group.until(client.propose("y")).await.unwrap();
    group.run(ms(500)).await;
    assert_eq!(group.nodes[&1].log().commit(), index, "it has caught up");
    assert_eq!(group.nodes[&1].log().durable(), index);
}

/// What its leader has told it of the commit is gone with it, and nothing new is proposed.
#[tokio::test(start_paused = true)]
async fn a_follower_that_was_started_again_hears_what_is_committed() {
    let mut group = Group::new(3, LogLimits::default());
    group.run(ms(100)).await;
    let client = group.client(1);
    let index = group.until(client.propose("x")).await.unwrap();
    group.run(ms(100)).await;
    let node = group.nodes.remove(&3).unwrap();
    assert_eq!(node.log().commit(), index);
    let node = Raft::new(config(3, 3), LogLimits::default(), node.into_store()).unwrap();
    assert_eq!((node.log().commit(), node.log().durable()), (0, index));
    group.nodes.insert(3, node);
    group.run(ms(100)).await;
    assert_eq!(group.leader(), Some(1), "of the same term");
    assert_eq!(group.nodes[&3].log().commit(), index);
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_disk_hangs_is_replaced_and_nothing_is_lost() {
    let mut group = Group::new(3, LogLimits::default());
    group.run(ms(100)).await;
    let client = group.client(1);
    group.until(client.propose("x")).await.unwrap();
    let trouble = Rc::clone(&group.nodes[&1].store().trouble);
    trouble.borrow_mut().stalls = true;
    // The others have it on their disks.
    let index = group.until(client.propose("y")).await.unwrap();
    for _ in 0..100 {
        group.run(ms(10)).await;
    }
    let leader = group.leader().expect("another one leads");
    assert_ne!(leader, 1);
    assert!(group.nodes[&leader].log().commit() > index);
}

#[tokio::test(start_paused = true)]
async fn snapshots_let_the_log_go_and_bring_up_who_is_behind() {
    let limits = LogLimits::default().trailing(2).cache(0).message(100);
    let mut group = Group::new(3, limits);
    group.run(ms(100)).await;
    let behind = group.nodes.remove(&3).unwrap();
    let client = group.client(1);
    for number in 0..50_u8 {
        group.until(client.propose(vec![number])).await.unwrap();
    }
    let state = Bytes::from(vec![7; 1_000]);
    let kept = group.until(client.compact(40, state.clone())).await;
    assert_eq!(kept, Ok(()));
    assert_eq!(group.nodes[&1].log().purged().index, 38);
    assert!(
        group
            .until(client.compact(40, state.clone()))
            .await
            .is_err(),
        "not twice"
    );
    assert!(
        group
            .until(client.compact(99, state.clone()))
            .await
            .is_err(),
        "not applied"
    );

    group.nodes.insert(3, behind);
    let mut applied = group.nodes.get_mut(&3).unwrap().applied(0);
    let machine = async {
        let (mut got, mut entries) = (Vec::new(), 0);
        while entries < 11 {
            match applied.next().await {
                Some(Applied::Snapshot(part)) => {
                    assert_eq!(part.offset, got.len() as u64);
                    got.extend_from_slice(&part.data);
                }
                Some(Applied::Entry(entry)) => {
                    assert_eq!(entry.index, 41 + entries);
                    entries += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        got
    };
    assert_eq!(group.until(machine).await, state);
    // And after a restart it is there.
    let store = group.nodes.remove(&3).unwrap().into_store();
    let mut node = Raft::new(config(3, 3), limits, store).unwrap();
    assert_eq!(
        node.log()
            .snapshot()
            .map(|snapshot| snapshot.position.index),
        Some(40)
    );
    let mut applied = node.applied(0);
    group.nodes.insert(3, node);
    let first = group.until(applied.next()).await;
    assert!(matches!(first, Some(Applied::Snapshot(part)) if part.offset == 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_stopped_hands_over_and_tells_its_clients() {
    let mut group = Group::new(3, LogLimits::default());
    group.run(ms(100)).await;
    let client = group.client(1);
    let index = group.until(client.propose("x")).await.unwrap();
    group.run(ms(100)).await;
    group
        .nodes
        .get_mut(&1)
        .unwrap()
        .command(Command::Stop)
        .unwrap();
    group.run(ms(60)).await;
    assert_eq!(group.ended, [1]);
    assert!(group.leader().is_some(), "at once");
    assert_eq!(client.propose("y").await, Err(ClientError::Stopped));
    assert_eq!(client.read().await, Err(ClientError::Stopped));
    let leader = group.leader().unwrap();
    let client = group.client(leader);
    assert!(group.until(client.propose("y")).await.unwrap() > index);
}

#[test]
fn it_is_send_and_its_clients_are_send_and_sync() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Send + Sync + Clone>() {}
    is_send::<Raft<MemoryLog>>();
    is_send::<streamraft::raft::AppliedStream>();
    is_sync::<Client>();
}
