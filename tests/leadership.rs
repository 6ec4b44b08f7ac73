//! The view of a node's leadership: never too long, never too early, and its loss is seen by whoever waits for it.

use std::cell::Cell;
use std::future::{Future, Ready, pending, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::stream::FusedStream;
use futures::{FutureExt, SinkExt, Stream, StreamExt, stream};
use futures_test::task::{AwokenCount, new_count_waker};
use streamraft::{
    Command, Config, Inbound, Leadership, MsgRouter, NodeType, TinyRaft, Token, WhileLeaderExt,
};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A cluster of one, which needs nobody's answer.
fn alone() -> TinyRaft<u64> {
    let config = Config::with_id(1, [1]).expect("good settings");
    let config = config.election_timeout(ms(100)).heartbeat_interval(ms(10));
    TinyRaft::new(config).expect("good settings")
}

/// Polls the node until it has nothing more to say for now.
fn drain(node: &mut TinyRaft<u64>) -> Vec<MsgRouter<u64>> {
    std::iter::from_fn(|| node.next().now_or_never().flatten()).collect()
}

/// Drives the node for this long.
async fn drive(node: &mut TinyRaft<u64>, time: Duration) {
    let _ = tokio::time::timeout(time, node.for_each(|_| async {})).await;
}

#[tokio::test(start_paused = true)]
async fn leadership_is_shown_when_the_owner_polls_on_and_not_before() {
    let mut node = alone();
    let leadership = node.leadership();
    let first = node.next().now_or_never().flatten();
    assert!(
        matches!(first, Some(MsgRouter::ToSelf(state)) if state.node_type() == NodeType::Leader)
    );
    assert!(
        !leadership.is_leader(),
        "its owner may be saving that state at this moment"
    );
    assert!(
        !node.leadership().is_leader(),
        "nor by a view that is made now"
    );
    drain(&mut node);
    assert!(leadership.is_leader());
    assert_eq!(leadership.token().map(Token::get), Some(1));
    assert_eq!(
        node.leadership().token(),
        leadership.token(),
        "and by a view that is made now"
    );
}

#[tokio::test(start_paused = true)]
async fn a_view_follows_the_lease_as_it_is_prolonged() {
    let mut node = alone();
    let leadership = node.leadership();
    drive(&mut node, ms(1)).await;
    let first = leadership.lease().expect("it leads");
    drive(&mut node, ms(500)).await;
    let later = leadership.lease().expect("it still leads");
    assert!(later >= first + ms(480), "prolonged by every heartbeat");
    assert_eq!(Some(later), node.state().lease());
}

#[tokio::test(start_paused = true)]
async fn leadership_ends_with_the_lease_though_nobody_polls_the_node() {
    let mut node = alone();
    let leadership = node.leadership();
    drive(&mut node, ms(50)).await;
    let token = leadership.token().expect("it leads");
    let end = leadership.lease().expect("it leads");
    let lost = tokio::time::timeout(ms(1_000), leadership.lost(token)).await;
    assert!(lost.is_ok(), "lost() does not need the node to be polled");
    let late = tokio::time::Instant::now().into_std() - end;
    assert!(
        late <= ms(1),
        "a timer's resolution after the lease's end: {late:?}"
    );
    assert!(!leadership.is_leader());
    // Polled again, it leads again, and whoever waited is told.
    let again = leadership.clone();
    let again = async move { tokio::time::timeout(ms(1_000), again.lead()).await };
    let ((), again) = tokio::join!(drive(&mut node, ms(100)), again);
    assert_eq!(again, Ok(token), "a cluster of one, the same term");
}

#[test]
fn no_thread_sees_leadership_past_the_lease_while_the_nodes_thread_is_blocked() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut node = alone();
    let leadership = node.leadership();
    runtime.block_on(drive(&mut node, ms(30)));
    let end = leadership.lease().expect("it leads");
    // This thread, the node's, is blocked in a scope that waits for the reader.
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last_seen = None;
            while Instant::now() < end + ms(50) {
                // The clock before the look: what is seen was true no earlier than this.
                let before = Instant::now();
                if leadership.is_leader() {
                    last_seen = Some(before);
                }
            }
            last_seen
        });
        reader.join().expect("the reader does not panic")
    });
    let last = seen.expect("it led when the reader began");
    assert!(last < end, "seen {:?} after the lease's end", last - end);
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_seen_at_once_and_before_it_comes_out() {
    type Loss = fn(&mut TinyRaft<u64>);
    let losses: [Loss; 3] = [TinyRaft::resign, TinyRaft::stop, |node| {
        node.send(Inbound::FromSelf(Command::Resign))
            .now_or_never()
            .expect("ready")
            .expect("allowed");
    }];
    for lose in losses {
        let mut node = alone();
        let leadership = node.leadership();
        drive(&mut node, ms(20)).await;
        let token = leadership.token().expect("it leads");
        lose(&mut node);
        assert!(!leadership.is_leader());
        assert!(leadership.lost(token).now_or_never().is_some());
    }
    let node = {
        let mut node = alone();
        drive(&mut node, ms(20)).await;
        node
    };
    let leadership = node.leadership();
    assert!(leadership.is_leader());
    drop(node);
    assert!(!leadership.is_leader(), "a node that is gone does not lead");
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_out_of_date_when_it_is_dealt_with_shows_no_leadership() {
    let mut node = alone();
    let leadership = node.leadership();
    let first = node.next().now_or_never().flatten();
    assert!(
        matches!(first, Some(MsgRouter::ToSelf(state)) if state.node_type() == NodeType::Leader)
    );
    node.resign();
    drain(&mut node);
    assert!(!leadership.is_leader());
    assert_eq!(leadership.state().node_type(), NodeType::Follower);
}

#[tokio::test(start_paused = true)]
async fn a_view_gives_the_present_state_first_and_never_misses_the_latest() {
    let mut node = alone();
    let mut states = node.leadership();
    let first = states.next().await.expect("the present state");
    assert_eq!(first.node_type(), NodeType::Follower);
    assert!(states.next().now_or_never().is_none());
    drive(&mut node, ms(20)).await;
    node.resign();
    drive(&mut node, ms(1)).await;
    let latest = states.next().await.expect("the latest state");
    assert_eq!(
        latest.node_type(),
        NodeType::Follower,
        "what lay between is not queued"
    );
    assert_eq!(latest.term(), 1);
    drop(node);
    assert!(states.next().await.is_none());
    assert!(states.next().await.is_none(), "and stays ended");
}

#[tokio::test(start_paused = true)]
async fn changed_gives_what_was_not_given_even_after_it_was_dropped_halfway() {
    let mut node = alone();
    let mut view = node.leadership();
    assert!(view.changed().now_or_never().is_none(), "nothing new yet");
    drive(&mut node, ms(5)).await;
    let state = view.changed().await.expect("the node lives");
    assert_eq!(state.node_type(), NodeType::Leader);
}

#[tokio::test(start_paused = true)]
async fn a_guarded_stream_opens_with_leadership_and_ends_with_it() {
    let mut node = alone();
    let leadership = node.leadership();
    let mut guarded = stream::repeat(7).while_leader(&leadership);
    assert!(
        guarded.next().now_or_never().is_none(),
        "not open before it leads"
    );
    drive(&mut node, ms(5)).await;
    assert_eq!(guarded.next().await, Some(7));
    assert_eq!(guarded.token(), leadership.token());
    // Nobody polls the node: its lease runs out.
    tokio::time::advance(ms(95)).await;
    assert_eq!(guarded.next().await, None);
    drive(&mut node, ms(50)).await;
    assert!(leadership.is_leader());
    assert_eq!(
        guarded.next().await,
        None,
        "it does not open again by itself"
    );
}

#[tokio::test(start_paused = true)]
async fn a_guarded_stream_that_waits_for_an_item_ends_when_leadership_does() {
    let mut node = alone();
    let leadership = node.leadership();
    drive(&mut node, ms(5)).await;
    let mut guarded = stream::pending::<()>().while_leader(&leadership);
    assert!(guarded.next().now_or_never().is_none());
    let begun = tokio::time::Instant::now();
    assert_eq!(
        tokio::time::timeout(ms(200), guarded.next()).await,
        Ok(None),
        "woken by the lease's end"
    );
    // At 200 ms the timeout would have had it looked at in any case.
    assert!(begun.elapsed() < ms(150), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn work_that_runs_as_the_leader_is_dropped_with_leadership() {
    struct NotesDrop<'a>(&'a Cell<bool>);
    impl Drop for NotesDrop<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let mut node = alone();
    let leadership = node.leadership();
    let dropped = Cell::new(false);
    let work = leadership.run(|token| {
        let guard = NotesDrop(&dropped);
        async move {
            assert_eq!(token.get(), 1);
            let _guard = guard;
            pending::<()>().await;
        }
    });
    let leads_a_while = async {
        drive(&mut node, ms(300)).await;
        node.resign();
        drive(&mut node, ms(1)).await;
    };
    let (ended, ()) = tokio::join!(work, leads_a_while);
    assert_eq!(ended, None);
    assert!(dropped.get());
    drive(&mut node, ms(300)).await;
    assert_eq!(
        leadership.run(|token| async move { token.get() }).await,
        Some(2),
        "a later leadership"
    );
}

#[test]
fn views_can_go_anywhere() {
    fn goes_anywhere<T: Clone + Send + Sync + Unpin + 'static>() {}
    goes_anywhere::<Leadership<u64>>();
    fn is_send<T: Send>(_: T) {}
    let node = alone();
    let leadership = node.leadership();
    is_send(leadership.clone().lead());
    is_send(leadership.lead());
    is_send(stream::repeat(1).while_leader(&leadership));
}

// --- the contracts: wakes, ends, drops, cancelled awaits ---

/// Polls once for each of two tasks, and gives the counts of their wakes.
fn poll_by_two<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> [AwokenCount; 2] {
    [new_count_waker(), new_count_waker()].map(|(waker, wakes)| {
        assert!(poll(&mut Context::from_waker(&waker)).is_pending());
        wakes
    })
}

/// The second task, which polled last, was woken, and the first was not.
fn assert_woken(what: &str, [first, second]: &[AwokenCount; 2]) {
    assert_eq!(first.get(), 0, "{what}");
    assert!(second.get() > 0, "{what}");
}

#[tokio::test(start_paused = true)]
async fn a_gain_wakes_the_task_that_polled_last() {
    let mut node = alone();
    let leadership = node.leadership();
    let mut lead = pin!(leadership.lead());
    let mut run = pin!(leadership.run(|_| pending::<()>()));
    let mut states = leadership.clone();
    assert!(states.next().now_or_never().is_some());
    let mut view = leadership.clone();
    let mut changed = pin!(view.changed());
    let mut guarded = pin!(stream::pending::<()>().while_leader(&leadership));
    let waiting = [
        ("lead", poll_by_two(|cx| lead.as_mut().poll(cx))),
        ("run", poll_by_two(|cx| run.as_mut().poll(cx))),
        ("stream", poll_by_two(|cx| states.poll_next_unpin(cx))),
        ("changed", poll_by_two(|cx| changed.as_mut().poll(cx))),
        ("guarded", poll_by_two(|cx| guarded.as_mut().poll_next(cx))),
    ];
    drain(&mut node);
    for (what, wakes) in &waiting {
        assert_woken(what, wakes);
    }
    assert!(lead.now_or_never().is_some() && changed.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_loss_wakes_the_task_that_polled_last() {
    for by_time in [false, true] {
        let mut node = alone();
        let leadership = node.leadership();
        drive(&mut node, ms(20)).await;
        let token = leadership.token().expect("it leads");
        let mut lost = pin!(leadership.lost(token));
        let mut run = pin!(leadership.run(|_| pending::<()>()));
        let mut guarded = pin!(stream::pending::<()>().while_leader(&leadership));
        let waiting = [
            ("lost", poll_by_two(|cx| lost.as_mut().poll(cx))),
            ("run", poll_by_two(|cx| run.as_mut().poll(cx))),
            ("guarded", poll_by_two(|cx| guarded.as_mut().poll_next(cx))),
        ];
        if by_time {
            tokio::time::sleep(ms(120)).await; // nobody polls the node
        } else {
            node.resign();
        }
        for (what, wakes) in &waiting {
            assert_woken(what, wakes);
        }
        assert_eq!(lost.now_or_never(), Some(()));
        assert_eq!(run.now_or_never(), Some(None));
        assert_eq!(guarded.next().now_or_never(), Some(None));
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_node_wakes_its_streams_and_is_final() {
    let node = alone();
    let mut states = node.leadership();
    assert!(states.next().now_or_never().is_some());
    let wakes = poll_by_two(|cx| states.poll_next_unpin(cx));
    assert!(!states.is_terminated());
    drop(node);
    assert_woken("stream", &wakes);
    for _ in 0..3 {
        assert_eq!(states.next().now_or_never(), Some(None));
        assert!(states.is_terminated());
    }
    // A view of a node that is gone waits for ever, and is safe to give up.
    assert_eq!(states.lead().now_or_never(), None);
    assert_eq!(states.run(|_| ready(())).now_or_never(), None);
    assert_eq!(states.changed().now_or_never(), Some(None));
}

/// A stream that panics when it is polled while it must not be, and that counts its drops.
struct Strict<'a> {
    open: &'a Cell<bool>,
    drops: &'a Cell<u32>,
    left: u32,
}

impl Stream for Strict<'_> {
    type Item = u32;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<u32>> {
        assert!(self.open.get(), "polled while the node does not lead");
        match self.left {
            0 => {
                self.open.set(false);
                Poll::Ready(None)
            }
            _ => {
                self.left -= 1;
                Poll::Ready(Some(self.left))
            }
        }
    }
}

impl Drop for Strict<'_> {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guarded_stream_is_polled_only_while_the_node_leads_and_never_after_its_end() {
    for (left, resigns) in [(2, true), (1, false)] {
        let (open, drops) = (Cell::new(false), Cell::new(0));
        let mut node = alone();
        let strict = Strict {
            open: &open,
            drops: &drops,
            left,
        };
        let mut guarded = strict.while_leader(&node.leadership());
        for _ in 0..3 {
            assert_eq!(
                guarded.next().now_or_never(),
                None,
                "given up, and no item lost"
            );
        }
        drain(&mut node);
        open.set(true);
        assert_eq!(guarded.next().now_or_never(), Some(Some(left - 1)));
        assert!(!guarded.is_terminated());
        if resigns {
            node.resign();
            open.set(false);
        }
        for _ in 0..3 {
            assert_eq!(guarded.next().now_or_never(), Some(None));
            assert!(guarded.is_terminated());
        }
        assert_eq!(drops.get(), 0);
        let strict = guarded.into_inner();
        assert_eq!(strict.left, left - 1, "it keeps what it has left");
        drop(strict);
        assert_eq!(drops.get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_before_its_time_takes_all_with_it() {
    let (open, drops) = (Cell::new(true), Cell::new(0));
    let strict = || Strict {
        open: &open,
        drops: &drops,
        left: 9,
    };
    let mut node = alone();
    let leadership = node.leadership();
    // Neither the work nor its maker runs before the node leads.
    let never = leadership.run(|_| -> Ready<()> { panic!("it does not lead") });
    assert_eq!(never.now_or_never(), None);
    drop(strict().while_leader(&leadership));
    assert_eq!(drops.get(), 1);

    drain(&mut node);
    let mut guarded = strict().while_leader(&leadership);
    assert_eq!(guarded.next().now_or_never(), Some(Some(8)));
    drop(guarded);
    assert_eq!(drops.get(), 2);
    let work = leadership.run(|_| {
        let owned = strict();
        async move { owned.chain(stream::pending()).for_each(|_| ready(())).await }
    });
    assert_eq!(work.now_or_never(), None);
    assert_eq!(drops.get(), 3);
    assert!(leadership.is_leader(), "the node is not touched");
}

/// tokio lets a task that has used its budget up find every timer pending, even one whose time has come.
#[tokio::test(start_paused = true)]
async fn leadership_ends_on_time_in_a_task_without_budget() {
    let mut node = alone();
    let leadership = node.leadership();
    drive(&mut node, ms(5)).await;
    let mut guarded = stream::repeat(7).while_leader(&leadership);
    assert_eq!(guarded.next().await, Some(7));
    let mut work = pin!(leadership.run(|_| pending::<()>()));
    assert_eq!(work.as_mut().now_or_never(), None);
    tokio::time::advance(ms(100)).await;
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    (0..10_000).for_each(|at| tx.send(at).expect("the receiver is there"));

    let (item, ended) = std::future::poll_fn(|cx| {
        while rx.poll_recv(cx).is_ready() {}
        Poll::Ready((guarded.poll_next_unpin(cx), work.poll_unpin(cx)))
    })
    .await;

    assert!(!rx.is_empty(), "the budget is spent");
    assert_eq!((item, ended), (Poll::Ready(None), Poll::Ready(None)));
}
