//! The durable node and its stores by abuse: disks that stall, fail, fill up, are cut and are shared.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::stream::FusedStream;
use futures::{FutureExt, Sink, SinkExt, StreamExt};
use futures_test::task::{new_count_waker, noop_context};
use streamraft::{
    Command, Config, Durable, Election, Error, HardState, Inbound, Membership, MemoryStore,
    MemoryStoreError, Message, MessageKind, MsgRouter, Node, NodeState, Stamp, TinyRaft, VoteStore,
};

// --- the tools ---

type Item = MsgRouter<u64>;

fn vote(term: u64, voted_for: Option<u64>) -> HardState<u64> {
    HardState::new(term, voted_for, Membership::initial([1, 2, 3]))
}

fn state_of(hard_state: HardState<u64>) -> NodeState<u64> {
    let config = Config::with_id(1, [1, 2, 3]).unwrap().restore(hard_state);
    let election = Election::new(config, Instant::now()).unwrap();
    election.state().clone()
}

fn state(term: u64) -> Item {
    MsgRouter::ToSelf(state_of(vote(term, Some(1))))
}

fn message(term: u64) -> Item {
    let message = Message::new(term, Stamp::new(0, 1), MessageKind::TimeoutNow);
    MsgRouter::ToNode(2, message)
}

/// What a test sees and sets of a node.
#[derive(Default)]
struct Script {
    items: VecDeque<Item>,
    closed: bool,
    ended: bool,
    taken: usize,
    polls: usize,
    inputs: usize,
}

/// A node that gives what it is told to, and panics when it is polled after its end.
struct Actor {
    script: Arc<Mutex<Script>>,
    state: NodeState<u64>,
}

impl Node for Actor {
    type Id = u64;
    type Failure = Infallible;

    fn poll_output(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Item, Infallible>>> {
        let mut script = self.script.lock().unwrap();
        assert!(!script.ended, "polled after the end");
        script.polls += 1;
        match script.items.pop_front() {
            Some(item) => {
                script.taken += 1;
                Poll::Ready(Some(Ok(item)))
            }
            None if script.closed => {
                script.ended = true;
                Poll::Ready(None)
            }
            None => Poll::Pending,
        }
    }

    fn state(&self) -> &NodeState<u64> {
        &self.state
    }
}

impl Sink<Inbound<u64>> for Actor {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, _: Inbound<u64>) -> Result<(), Error> {
        self.script.lock().unwrap().inputs += 1;
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.script.lock().unwrap().closed = true;
        Poll::Ready(Ok(()))
    }
}

type Handle = Arc<Mutex<Script>>;
type OnDisk = Durable<Actor, MemoryStore<u64>>;

/// A node that was made with this term and gives these items, on a disk.
fn durable(term: u64, items: impl IntoIterator<Item = Item>) -> (OnDisk, Handle, MemoryStore<u64>) {
    let script = Arc::new(Mutex::new(Script {
        items: items.into_iter().collect(),
        ..Script::default()
    }));
    let disk = MemoryStore::new();
    let actor = Actor {
        script: Arc::clone(&script),
        state: state_of(vote(term, None)),
    };
    (actor.durable(disk.clone()), script, disk)
}

type Polled<E = MemoryStoreError> = Poll<Option<Result<Item, E>>>;

fn poll<S: VoteStore<u64> + Unpin>(node: &mut Durable<Actor, S>) -> Polled<S::Error> {
    node.poll_next_unpin(&mut noop_context())
}

fn some(item: Item) -> Polled {
    Poll::Ready(Some(Ok(item)))
}

fn assert_auto_traits<T: Send + Sync + Unpin>() {}

#[test]
fn a_durable_node_is_as_mobile_as_its_parts() {
    assert_auto_traits::<Durable<TinyRaft, MemoryStore>>();
    assert_auto_traits::<MemoryStoreError>();
}

// --- the write-ahead rule ---

#[test]
fn a_changed_vote_is_saved_before_it_and_anything_behind_it_comes_out() {
    let items = [message(0), state(1), message(1), state(2), message(2)];
    let (mut node, _, disk) = durable(0, items);
    assert_eq!(poll(&mut node), some(message(0)));
    for term in 1..=2 {
        disk.stall();
        for _ in 0..3 {
            assert_eq!(poll(&mut node), Poll::Pending);
        }
        assert_eq!(disk.saves(), term - 1, "it is stalled");
        disk.recover();
        assert_eq!(poll(&mut node), some(state(term)));
        assert_eq!(disk.saved(), Some(vote(term, Some(1))));
        assert_eq!(poll(&mut node), some(message(term)));
    }
    assert_eq!(poll(&mut node), Poll::Pending);
    assert_eq!(disk.saves(), 2);
}

#[test]
fn what_has_not_changed_passes_a_stalled_disk() {
    let (mut node, _, disk) = durable(0, [state(1), state(1), message(1), state(1)]);
    assert_eq!(poll(&mut node), some(state(1)));
    disk.stall();
    assert_eq!(poll(&mut node), some(state(1)));
    assert_eq!(poll(&mut node), some(message(1)));
    assert_eq!(poll(&mut node), some(state(1)));
    assert_eq!(disk.saves(), 1);
}

#[test]
fn each_part_of_a_vote_is_a_change_of_its_own() {
    let mut other = Membership::initial([1, 2, 3]);
    other.version = 2;
    let votes = [
        vote(1, None),
        vote(1, Some(2)),
        HardState::new(1, Some(2), other),
        vote(2, None),
    ];
    let states = votes.clone().map(|vote| MsgRouter::ToSelf(state_of(vote)));
    let (mut node, _, disk) = durable(0, states);
    for (saves, vote) in (1..).zip(votes) {
        assert!(poll(&mut node).is_ready());
        assert_eq!((disk.saves(), disk.saved()), (saves, Some(vote)));
    }
}

#[test]
fn a_restored_node_saves_its_first_state_and_one_that_promised_nothing_does_not() {
    for (term, saves) in [(0, 0), (4, 1)] {
        let first = MsgRouter::ToSelf(state_of(vote(term, None)));
        let (mut node, _, disk) = durable(term, [first.clone(), first]);
        assert!(poll(&mut node).is_ready());
        assert!(poll(&mut node).is_ready());
        assert_eq!(disk.saves(), saves, "term {term}");
    }
}

#[test]
fn nothing_unsaved_leaves_whatever_the_disk_does() {
    for seed in 1..=500_u64 {
        let mut random = seed;
        let mut draw = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut term = 0;
        let items: Vec<Item> = (0..40)
            .map(|_| match draw(3) {
                0 => {
                    term += draw(2);
                    state(term.max(1))
                }
                _ => message(term),
            })
            .collect();
        let (mut node, script, disk) = durable(0, items.clone());
        let (mut out, mut newest) = (Vec::new(), 0);
        for _ in 0..400 {
            match draw(8) {
                0 | 1 => disk.stall(),
                2 if draw(10) == 0 => disk.fail(),
                2..5 => disk.recover(),
                _ => {}
            }
            match poll(&mut node) {
                Poll::Ready(Some(Ok(item))) => {
                    if let MsgRouter::ToSelf(state) = &item {
                        newest = state.term();
                    }
                    let saved = disk.saved().map_or(0, |saved| saved.term());
                    assert_eq!(saved, newest, "seed {seed}: {item:?} left too early");
                    out.push(item);
                }
                Poll::Ready(Some(Err(_))) => {
                    let polls = script.lock().unwrap().polls;
                    disk.recover();
                    assert_eq!(poll(&mut node), Poll::Ready(None));
                    assert_eq!(poll(&mut node), Poll::Ready(None));
                    assert_eq!(script.lock().unwrap().polls, polls);
                    assert!(out.len() < items.len());
                    break;
                }
                Poll::Ready(None) => unreachable!("nobody closed it"),
                Poll::Pending => {}
            }
        }
        assert_eq!(out, items[..out.len()], "seed {seed}: order");
    }
}

// --- a disk that stalls ---

#[test]
fn a_node_that_waits_for_its_disk_is_not_polled_and_takes_input() {
    let (mut node, script, disk) = durable(0, [state(1), message(1)]);
    disk.stall();
    assert_eq!(poll(&mut node), Poll::Pending);
    let polls = script.lock().unwrap().polls;
    for inputs in 1..=10 {
        let input = Inbound::FromSelf(Command::MarkAlive);
        assert_eq!(node.send(input).now_or_never(), Some(Ok(())));
        assert_eq!(poll(&mut node), Poll::Pending);
        assert_eq!(script.lock().unwrap().inputs, inputs);
    }
    assert_eq!(script.lock().unwrap().polls, polls);
    assert_eq!(node.state().term(), 0, "what is unsaved is not shown");
    disk.recover();
    assert_eq!(poll(&mut node), some(state(1)));
    assert_eq!(node.state().term(), 1);
}

#[test]
fn the_disk_wakes_the_task_that_polled_last() {
    type Change = fn(&MemoryStore<u64>);
    for change in [MemoryStore::recover as Change, MemoryStore::fail] {
        let (mut node, _, disk) = durable(0, [state(1)]);
        disk.stall();
        let (first, second) = (new_count_waker(), new_count_waker());
        for (waker, _) in [&first, &second] {
            let mut cx = Context::from_waker(waker);
            assert_eq!(node.poll_next_unpin(&mut cx), Poll::Pending);
        }
        change(&disk);
        assert_eq!((first.1.get(), second.1.get()), (0, 1));
        assert!(poll(&mut node).is_ready());
    }
}

#[test]
fn an_input_wakes_the_task_that_polled_last_though_the_disk_is_stalled() {
    let config = Config::with_id(1, [1]).unwrap();
    let disk = MemoryStore::new();
    disk.stall();
    tokio_test::block_on(async {
        let mut node = TinyRaft::new(config).unwrap().durable(disk);
        let (waker, wakes) = new_count_waker();
        let polled = node.poll_next_unpin(&mut Context::from_waker(&waker));
        assert!(polled.is_pending(), "a cluster of one votes at once");
        node.feed(Command::MarkAlive.into()).await.unwrap();
        assert_eq!(wakes.get(), 1);
    });
}

#[test]
fn dropped_while_it_saves_nothing_has_left_and_its_parts_come_back() {
    let (mut node, _, disk) = durable(0, [state(1), state(2)]);
    assert!(poll(&mut node).is_ready());
    disk.stall();
    assert_eq!(poll(&mut node), Poll::Pending);
    let (actor, store) = node.into_inner();
    disk.recover();
    assert_eq!(disk.saved(), Some(vote(1, Some(1))));
    assert_eq!(store.saved(), disk.saved());
    assert!(actor.script.lock().unwrap().items.is_empty());
}

#[test]
fn an_await_that_is_given_up_loses_nothing() {
    let (mut node, _, disk) = durable(0, [state(1), message(1)]);
    disk.stall();
    for _ in 0..3 {
        assert_eq!(node.next().now_or_never(), None);
    }
    disk.recover();
    assert_eq!(node.next().now_or_never(), Some(Some(Ok(state(1)))));
    assert_eq!(node.next().now_or_never(), Some(Some(Ok(message(1)))));
}

// --- a disk that fails ---

#[test]
fn a_failing_disk_stops_output_for_ever() {
    let (mut node, script, disk) = durable(0, [message(0), state(1), message(1)]);
    assert_eq!(poll(&mut node), some(message(0)));
    disk.fail();
    assert!(matches!(poll(&mut node), Poll::Ready(Some(Err(_)))));
    assert!(!node.is_terminated(), "its None is still to come");
    disk.recover();
    for _ in 0..3 {
        assert_eq!(poll(&mut node), Poll::Ready(None));
    }
    assert!(node.is_terminated());
    let input = || Inbound::FromSelf(Command::MarkAlive);
    assert_eq!(node.send(input()).now_or_never(), Some(Err(Error::Stopped)));
    assert_eq!(Pin::new(&mut node).start_send(input()), Err(Error::Stopped));
    assert_eq!(
        SinkExt::<Inbound<u64>>::close(&mut node).now_or_never(),
        Some(Ok(()))
    );
    assert_eq!(script.lock().unwrap().inputs, 0);
    assert_eq!((disk.saves(), node.state().term()), (0, 0));
}

// --- the end ---

#[test]
fn a_closed_node_saves_what_is_left_and_ends_once() {
    let (mut node, _, disk) = durable(0, [state(1), message(1)]);
    disk.stall();
    assert_eq!(poll(&mut node), Poll::Pending);
    for _ in 0..2 {
        let closed = SinkExt::<Inbound<u64>>::close(&mut node).now_or_never();
        assert_eq!(closed, Some(Ok(())), "closing does not wait for the disk");
    }
    assert_eq!(poll(&mut node), Poll::Pending);
    disk.recover();
    assert_eq!(poll(&mut node), some(state(1)));
    assert_eq!(poll(&mut node), some(message(1)));
    assert!(!node.is_terminated());
    for _ in 0..3 {
        assert_eq!(poll(&mut node), Poll::Ready(None));
        assert!(node.is_terminated());
    }
}

#[test]
fn a_store_can_be_lent_or_boxed() {
    let disk = MemoryStore::new();
    let mut lent = disk.clone();
    let script = || Arc::new(Mutex::new(Script::default()));
    let actor = || Actor {
        script: script(),
        state: state_of(vote(0, None)),
    };
    let boxed: Box<dyn VoteStore<u64, Error = MemoryStoreError> + Unpin> = Box::new(disk);
    assert!(poll(&mut actor().durable(&mut lent)).is_pending());
    assert!(poll(&mut actor().durable(boxed)).is_pending());
}

#[test]
fn it_forwards_into_a_sink_as_it_is() {
    let (node, script, _) = durable(0, [state(1), message(1)]);
    script.lock().unwrap().closed = true;
    let mut out = Vec::new();
    let sink = futures::sink::unfold(&mut out, |out: &mut Vec<Item>, item| async move {
        out.push(item);
        Ok::<_, MemoryStoreError>(out)
    });
    assert_eq!(node.forward(sink).now_or_never(), Some(Ok(())));
    assert_eq!(out, [state(1), message(1)]);
}

// --- the file ---

#[cfg(feature = "file")]
mod file {
    use std::fs::{self, File};
    use std::io::ErrorKind;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};
    use std::time::Duration;
    use std::{env, thread};

    use streamraft::{FileStore, FileStoreError, NodeId};

    use super::*;

    /// A folder of one test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("durable-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("a.vote")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    type Opened = Result<(FileStore<u64>, Option<HardState<u64>>), FileStoreError>;

    fn open_at_once(path: &Path) -> Opened {
        FileStore::open(path, 1, "orders")
    }

    /// Opens a file that nobody has open. Another test may be starting a process at this moment, which holds what
    /// this one has open, locks too, until it becomes its own program.
    fn open(path: &Path) -> Opened {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            match open_at_once(path) {
                Err(FileStoreError::Locked { .. }) if Instant::now() < end => thread::yield_now(),
                opened => return opened,
            }
        }
    }

    fn save(store: &mut FileStore<u64>, state: &HardState<u64>) -> Result<(), FileStoreError> {
        let save = std::future::poll_fn(|cx| Pin::new(&mut *store).poll_save(cx, state));
        tokio_test::block_on(save)
    }

    /// A folder whose file holds this vote.
    fn with_vote(test: &str, state: &HardState<u64>) -> Folder {
        let folder = Folder::new(test);
        let (mut store, none) = open(&folder.file()).unwrap();
        assert_eq!(none, None);
        save(&mut store, state).unwrap();
        folder
    }

    fn saved_in(folder: &Folder) -> Option<HardState<u64>> {
        open(&folder.file()).unwrap().1
    }

    /// It names the file, and says this.
    fn assert_says(error: &FileStoreError, path: &Path, cure: &str) {
        let text = error.to_string();
        assert!(text.contains("a.vote"), "{text}");
        assert!(text.contains(cure), "{text}: should say {cure:?}");
        assert_eq!(error.path().file_name(), path.file_name());
    }

    #[test]
    fn what_was_saved_is_found_again() {
        let folder = Folder::new("again");
        assert_eq!(saved_in(&folder), None);
        for state in [vote(0, None), vote(1, Some(2)), vote(u64::MAX / 2, None)] {
            let (mut store, _) = open(&folder.file()).unwrap();
            save(&mut store, &state).unwrap();
            save(&mut store, &state).unwrap();
            drop(store);
            assert_eq!(saved_in(&folder), Some(state));
        }
        let left: Vec<_> = fs::read_dir(&folder.0).unwrap().collect();
        assert_eq!(left.len(), 2, "the vote and the lock: {left:?}");
    }

    #[test]
    fn the_first_version_of_the_form_is_readable_for_ever() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store/v1.vote");
        let mut membership = Membership::initial(["a", "b", "c"].map(|id| id.parse().unwrap()));
        (membership.term, membership.version) = (6, 2);
        let a: NodeId = "a".parse().unwrap();
        let state = HardState::new(7, Some("b".parse().unwrap()), membership);

        let folder = Folder::new("golden");
        let (mut store, _) = FileStore::open(folder.file(), a.clone(), "orders").unwrap();
        let save = std::future::poll_fn(|cx| Pin::new(&mut store).poll_save(cx, &state));
        tokio_test::block_on(save).unwrap();
        assert_eq!(fs::read(folder.file()).unwrap(), fs::read(&golden).unwrap());
        drop(store);
        fs::copy(golden, folder.file()).unwrap();
        let (_, saved) = FileStore::open(folder.file(), a, "orders").unwrap();
        assert_eq!(saved, Some(state));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_an_error() {
        let folder = with_vote("cut", &vote(7, Some(2)));
        let whole = fs::read(folder.file()).unwrap();
        for len in 0..whole.len() {
            fs::write(folder.file(), &whole[..len]).unwrap();
            let error = open(&folder.file()).unwrap_err();
            let FileStoreError::Torn { have, need, .. } = error else {
                panic!("{len} bytes: {error}");
            };
            assert!(have == len && have < need && need <= whole.len());
            assert_says(&error, &folder.file(), "join under a new id");
        }
        fs::write(folder.file(), &whole).unwrap();
        assert_eq!(saved_in(&folder), Some(vote(7, Some(2))));
    }

    #[test]
    fn a_file_with_any_byte_changed_is_an_error() {
        let folder = with_vote("flip", &vote(7, Some(2)));
        let whole = fs::read(folder.file()).unwrap();
        for at in 0..whole.len() {
            for flip in [0x01, 0x02, 0x10, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                fs::write(folder.file(), &bytes).unwrap();
                let error = open(&folder.file()).unwrap_err();
                let expected = match &error {
                    FileStoreError::NotARecord { .. } => at < 10,
                    // Of a length that is wrong, one cannot tell which way.
                    FileStoreError::Torn { .. } => (11..15).contains(&at),
                    FileStoreError::Corrupt { .. } => at >= 10,
                    _ => false,
                };
                assert!(expected, "byte {at}, {flip:#x}: {error}");
                assert_eq!(fs::read(folder.file()).unwrap(), bytes, "it stays");
            }
        }
    }

    #[test]
    fn a_file_with_more_behind_it_is_an_error() {
        let folder = with_vote("behind", &vote(7, Some(2)));
        let mut bytes = fs::read(folder.file()).unwrap();
        bytes.push(0);
        fs::write(folder.file(), bytes).unwrap();
        let error = open(&folder.file()).unwrap_err();
        assert!(matches!(error, FileStoreError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn a_file_of_somebody_else_is_an_error() {
        let folder = with_vote("foreign", &vote(7, Some(2)));
        let path = folder.file();
        let node = FileStore::<u64>::open(&path, 2, "orders").unwrap_err();
        assert!(matches!(node, FileStoreError::ForeignNode { .. }));
        assert_says(
            &node,
            &path,
            "node 1, this is 2: give this node a path of its own",
        );

        let cluster = FileStore::<u64>::open(&path, 1, "bills").unwrap_err();
        assert!(matches!(cluster, FileStoreError::ForeignCluster { .. }));
        assert_says(&cluster, &path, "\"orders\", this node to \"bills\"");

        let named: NodeId = "1".parse().unwrap();
        let type_ = FileStore::open(&path, named, "orders").unwrap_err();
        assert_says(&type_, &path, "ids are of another type");

        fs::write(&path, "[settings]\nnode = 1\n").unwrap();
        let program = open(&path).unwrap_err();
        assert!(matches!(program, FileStoreError::NotARecord { .. }));
        assert_says(&program, &path, "not written by a node");
    }

    #[test]
    fn a_file_of_a_newer_release_is_an_error_that_says_so() {
        let folder = with_vote("newer", &vote(7, Some(2)));
        let mut bytes = fs::read(folder.file()).unwrap();
        bytes[10] = 2;
        let sum = crc32(&[&bytes[10..15], &bytes[19..]].concat());
        bytes[15..19].copy_from_slice(&sum.to_be_bytes());
        fs::write(folder.file(), bytes).unwrap();
        let error = open(&folder.file()).unwrap_err();
        assert!(matches!(error, FileStoreError::Version { found: 2, .. }));
        assert_says(&error, &folder.file(), "a newer release wrote");
    }

    /// Bit by bit, as the standard has it: not the code under test.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
                (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1))
            })
        })
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_vote() {
        let folder = with_vote("crash", &vote(8, Some(3)));
        let temp = folder.0.join("a.vote.tmp");
        fs::rename(folder.file(), &temp).unwrap(); // a newer one, all of it written
        {
            let (mut store, none) = open(&folder.file()).unwrap();
            assert_eq!(none, None, "a temporary file is no vote");
            save(&mut store, &vote(7, Some(2))).unwrap();
        }
        fs::write(&temp, b"streamr").unwrap();
        assert_eq!(saved_in(&folder), Some(vote(7, Some(2))));
        let (mut store, _) = open(&folder.file()).unwrap();
        save(&mut store, &vote(9, None)).unwrap();
        drop(store);
        assert_eq!(saved_in(&folder), Some(vote(9, None)));
        assert!(!temp.exists());
    }

    #[test]
    fn a_vote_that_the_node_has_forgotten_is_not_written_over() {
        let folder = with_vote("forgotten", &vote(7, Some(2)));
        let (mut store, _) = open(&folder.file()).unwrap();
        for forgetful in [
            vote(6, Some(2)),
            vote(7, None),
            vote(7, Some(3)),
            vote(0, None),
        ] {
            let error = save(&mut store, &forgetful).unwrap_err();
            assert!(matches!(error, FileStoreError::NotRestored { .. }));
            assert_says(&error, &folder.file(), "Config::restore");
        }
        save(&mut store, &vote(8, None)).unwrap();
        save(&mut store, &vote(8, Some(3))).unwrap();
    }

    #[test]
    fn a_missing_folder_is_an_error_and_is_not_created() {
        let folder = Folder::new("missing");
        let path = folder.0.join("volume/a.vote");
        let error = open(&path).unwrap_err();
        assert_says(
            &error,
            &path,
            "create the file's folder or mount its volume",
        );
        assert!(!folder.0.join("volume").exists());
    }

    #[test]
    fn a_folder_in_its_place_is_an_error() {
        let folder = Folder::new("folder");
        fs::create_dir(folder.file()).unwrap();
        let error = open(&folder.file()).unwrap_err();
        assert_says(&error, &folder.file(), "give the path of a file");
    }

    #[test]
    fn a_second_store_on_one_file_is_an_error_until_the_first_is_gone() {
        let folder = with_vote("second", &vote(7, Some(2)));
        let first = open(&folder.file()).unwrap();
        let error = open_at_once(&folder.file()).unwrap_err();
        assert!(matches!(error, FileStoreError::Locked { .. }));
        assert_says(&error, &folder.file(), "stop that one");
        #[cfg(unix)]
        {
            let link = folder.0.join("link.vote");
            std::os::unix::fs::symlink(folder.file(), &link).unwrap();
            let error = open_at_once(&link).unwrap_err();
            assert!(matches!(error, FileStoreError::Locked { .. }), "{error}");
        }
        drop(first);
        assert_eq!(saved_in(&folder), Some(vote(7, Some(2))));
    }

    #[test]
    fn a_write_outlives_its_store_and_keeps_the_lock_until_it_is_over() {
        let folder = Folder::new("outlives");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let _stalled = runtime.spawn_blocking(move || gone.recv());
        let (mut store, _) = open(&folder.file()).unwrap();
        assert!(
            Pin::new(&mut store)
                .poll_save(&mut noop_context(), &vote(1, Some(1)))
                .is_pending()
        );
        drop(store);
        let error = open_at_once(&folder.file()).unwrap_err();
        assert!(matches!(error, FileStoreError::Locked { .. }), "{error}");
        go.send(()).unwrap();
        assert_eq!(saved_in(&folder), Some(vote(1, Some(1))));
    }

    #[test]
    fn a_save_that_was_given_up_never_lies_over_a_newer_one() {
        let folder = Folder::new("given-up");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let _stalled = runtime.spawn_blocking(move || gone.recv());
        let (mut store, _) = open(&folder.file()).unwrap();
        runtime.block_on(async {
            for _ in 0..3 {
                let polled = Pin::new(&mut store).poll_save(&mut noop_context(), &vote(1, Some(1)));
                assert!(polled.is_pending());
            }
            let polled = Pin::new(&mut store).poll_save(&mut noop_context(), &vote(2, None));
            assert!(polled.is_pending());
            go.send(()).unwrap();
            let newer = vote(2, None);
            std::future::poll_fn(|cx| Pin::new(&mut store).poll_save(cx, &newer))
                .await
                .unwrap();
        });
        drop(store);
        assert_eq!(saved_in(&folder), Some(vote(2, None)));
    }

    #[test]
    fn outside_a_runtime_and_after_its_end_a_save_is_an_error() {
        let folder = with_vote("runtime", &vote(7, Some(2)));
        let (mut store, _) = open(&folder.file()).unwrap();
        let polled = Pin::new(&mut store).poll_save(&mut noop_context(), &vote(8, None));
        let Poll::Ready(Err(error)) = polled else {
            panic!("{polled:?}");
        };
        assert!(matches!(error, FileStoreError::NoRuntime { .. }));
        assert_says(&error, &folder.file(), "within one");

        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _inside = handle.enter();
        let polled = Pin::new(&mut store).poll_save(&mut noop_context(), &vote(8, None));
        let Poll::Ready(Err(error)) = polled else {
            panic!("{polled:?}");
        };
        assert!(matches!(error, FileStoreError::Io { .. }), "{error}");
        drop(store);
        assert_eq!(saved_in(&folder), Some(vote(7, Some(2))));
    }

    // --- what takes another process, or a disk of its own ---

    /// The value tells a copy of this program which folder it was started for.
    const CHILD: &str = "STREAMRAFT_DURABLE_TEST";

    /// Runs one test of this program in another process, behind these commands of a shell.
    fn again(test: &str, before: &str, folder: &Path) -> Output {
        let program = env::current_exe().unwrap();
        let script = format!("{before} exec \"$0\" --exact file::{test} --nocapture");
        let shell = ["-c", &script];
        let run = |command: &mut Command| command.env(CHILD, folder).output().unwrap();
        if before.is_empty() {
            run(Command::new("sh").args(shell).arg(program))
        } else {
            // A mount name space of its own: what is mounted there goes with the process.
            let mut command = Command::new("unshare");
            run(command.args(["-rm", "sh"]).args(shell).arg(program))
        }
    }

    /// Whether this system lets a test mount a disk of its own.
    fn may_mount(test: &str) -> bool {
        let script = "mount -t tmpfs tmpfs /tmp";
        let tried = Command::new("unshare")
            .args(["-rm", "sh", "-c", script])
            .output();
        let may = tried.is_ok_and(|output| output.status.success());
        if !may {
            eprintln!("skipped {test}: this system does not let a test mount a file system");
        }
        may
    }

    fn assert_passed(output: &Output) {
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{errors}"
        );
    }

    #[test]
    fn a_second_process_on_one_file_is_an_error() {
        if let Some(folder) = env::var_os(CHILD) {
            let error = open_at_once(&Path::new(&folder).join("a.vote")).unwrap_err();
            assert!(matches!(error, FileStoreError::Locked { .. }), "{error}");
            return;
        }
        let folder = with_vote("process", &vote(7, Some(2)));
        let _first = open(&folder.file()).unwrap();
        let test = "a_second_process_on_one_file_is_an_error";
        assert_passed(&again(test, "", &folder.0));
    }

    #[test]
    fn a_full_disk_stops_the_node_and_keeps_the_old_vote() {
        let test = "a_full_disk_stops_the_node_and_keeps_the_old_vote";
        let Some(folder) = env::var_os(CHILD) else {
            let folder = Folder::new("full");
            let mount = format!(
                "mount -t tmpfs -o size=64k tmpfs '{}' &&",
                folder.0.display()
            );
            if may_mount(test) {
                assert_passed(&again(test, &mount, &folder.0));
            }
            return;
        };
        let folder = Folder(PathBuf::from(folder));
        let (mut store, _) = open(&folder.file()).unwrap();
        save(&mut store, &vote(1, Some(1))).unwrap();
        let fill = fs::write(folder.0.join("other"), vec![0; 128 * 1024]).unwrap_err();
        assert_eq!(fill.kind(), ErrorKind::StorageFull);

        let script = Arc::new(Mutex::new(Script {
            items: VecDeque::from([message(1), state(2), message(2)]),
            ..Script::default()
        }));
        let state = state_of(vote(1, Some(1)));
        let mut node = Actor { script, state }.durable(store);
        let mut next = || tokio_test::block_on(node.next());
        assert!(matches!(next(), Some(Ok(MsgRouter::ToNode(..)))));
        let Some(Err(error)) = next() else {
            panic!("a full disk does not fail");
        };
        assert_says(&error, &folder.file(), "free space there");
        assert!(next().is_none());
        drop(node);
        assert_eq!(saved_in(&folder), Some(vote(1, Some(1))));

        fs::remove_file(folder.0.join("other")).unwrap();
        let (mut store, _) = open(&folder.file()).unwrap();
        save(&mut store, &vote(2, None)).unwrap();
    }

    #[test]
    fn a_read_only_folder_is_an_error() {
        let test = "a_read_only_folder_is_an_error";
        let Some(folder) = env::var_os(CHILD) else {
            let folder = with_vote("read-only", &vote(7, Some(2)));
            let path = folder.0.display();
            let mount = format!("mount --bind -o ro '{path}' '{path}' &&");
            if may_mount(test) {
                assert_passed(&again(test, &mount, &folder.0));
            }
            return;
        };
        let path = Path::new(&folder).join("a.vote");
        assert!(File::create(&path).is_err(), "the folder can be written");
        let error = open(&path).unwrap_err();
        assert_says(&error, &path, "let this process write");
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_durable_node_has_the_newest_lease_and_nothing_unsaved() {
    let config = Config::with_id(1_u64, [1]).unwrap();
    let disk = MemoryStore::new();
    let mut node = TinyRaft::new(config).unwrap().durable(disk.clone());
    disk.stall();
    assert!(
        node.next().now_or_never().is_none(),
        "it waits for the disk"
    );
    assert_eq!((node.get_ref().state().term(), node.state().term()), (1, 0));
    disk.recover();
    let mut drive = async |time| {
        let _ = tokio::time::timeout(time, node.by_ref().for_each(|_| async {})).await;
        (node.state().term(), node.state().lease())
    };
    let (term, first) = drive(Duration::from_millis(10)).await;
    let (_, later) = drive(Duration::from_secs(5)).await;
    assert_eq!(term, 1);
    assert!(
        later.unwrap() > first.unwrap() + Duration::from_secs(4),
        "prolonged without an item"
    );
}
