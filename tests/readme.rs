//! What the README and the guide say: their code runs, the names in them exist, and the sources keep the rules that
//! they are said to keep.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

thread_local! {
    static PRINTED: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// What the README's code prints is kept for the tests to look at.
macro_rules! println {
    ($($text:tt)*) => {
        crate::PRINTED.with_borrow_mut(|lines| lines.push(format!($($text)*)))
    };
}

/// The README's compositions, word for word: `the_readmes_code_is_the_code_that_runs_here` compares them.
#[cfg(all(feature = "tcp", feature = "file"))]
mod over {
    use futures::TryStreamExt;
    use std::{collections::BTreeMap, error::Error, net::SocketAddr, path::Path};
    use streamraft::codec::Hello;
    use streamraft::{Config, FileStore, Leadership, Mesh, NodeId, TinyRaft};

    async fn run(
        me: NodeId,
        nodes: BTreeMap<NodeId, SocketAddr>, // all of them, and where they listen
        vote: &Path,                         // this node's file, in a folder that exists
        jobs: impl FnOnce(Leadership),       // for the rest of the program
    ) -> Result<(), Box<dyn Error>> {
        let (store, saved) = FileStore::open(vote, me.clone(), "orders")?;
        let config = Config::with_id(me.clone(), nodes.keys().cloned())?.cluster("orders");
        let node = TinyRaft::new(config.restore(saved))?;
        let mesh = Mesh::builder(Hello::new("orders", me.clone()))
            .listen(nodes[&me])
            .peers(nodes);
        jobs(node.leadership());
        let mut node = node.durable(store).over(mesh.build()?);
        while let Some(state) = node.try_next().await? {
            println!("{me}: {} in term {}", state.node_type(), state.term());
        }
        Ok(())
    }

    // end of the snippet

    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    use futures::FutureExt;
    use futures::future::select_all;
    use streamraft::Token;
    use tokio::sync::oneshot;
    use tokio::task::{JoinHandle, LocalSet};

    /// For how long anything is waited for. Nothing takes that long on a machine that works.
    const PATIENCE: Duration = Duration::from_secs(30);

    const NAMES: [&str; 3] = ["a", "b", "c"];

    /// Where three nodes can listen, unless somebody else takes a port meanwhile.
    fn free_ports() -> BTreeMap<NodeId, SocketAddr> {
        let listeners =
            NAMES.map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
        let addresses = listeners
            .iter()
            .map(|listener| listener.local_addr().expect("it is bound"));
        let ids = NAMES.iter().map(|name| name.parse().expect("a name"));
        ids.zip(addresses).collect()
    }

    /// A node in a task of its own, and the view that it gave.
    async fn start(
        me: &NodeId,
        nodes: &BTreeMap<NodeId, SocketAddr>,
        folder: &Path,
    ) -> Option<(JoinHandle<()>, Leadership)> {
        let (give, view) = oneshot::channel();
        let (me, nodes, vote) = (me.clone(), nodes.clone(), folder.join(me.as_str()));
        let task = tokio::task::spawn_local(async move {
            let jobs = |view| give.send(view).expect("the test waits for it");
            let ended = run(me, nodes, &vote, jobs).await;
            // A port that was taken.
            assert!(ended.is_err(), "nobody stops it");
        });
        // The view is given before the mesh is built; one step later it is known whether that went well.
        let view = view.await.ok()?;
        tokio::task::yield_now().await;
        (!task.is_finished()).then_some((task, view))
    }

    async fn another(views: &BTreeMap<NodeId, Leadership>) -> (NodeId, Token) {
        let leads = views.iter().map(|(id, view)| {
            let token = view.lead();
            async move { (id.clone(), token.await) }.boxed_local()
        });
        let (leader, ..) = tokio::time::timeout(PATIENCE, select_all(leads))
            .await
            .expect("a leader");
        leader
    }

    /// Kills the leader, and starts it again from its file.
    async fn story(nodes: &BTreeMap<NodeId, SocketAddr>, folder: &Path) -> Option<()> {
        let (mut tasks, mut views) = (BTreeMap::new(), BTreeMap::new());
        for id in nodes.keys() {
            let (task, view) = start(id, nodes, folder).await?;
            tasks.insert(id.clone(), task);
            views.insert(id.clone(), view);
        }
        let (first, token) = another(&views).await;

        let killed = tasks.remove(&first).expect("it runs");
        killed.abort();
        assert!(killed.await.is_err_and(|ended| ended.is_cancelled()));
        views.remove(&first);
        let (second, newer) = another(&views).await;
        assert!(second != first && newer > token);

        let (_back, mut view) = start(&first, nodes, folder).await?;
        assert!(view.state().term() >= token.get(), "its file has the term");
        let follows = async {
            while view.changed().await?.leader() != Some(&second) {}
            Some(())
        };
        let follows = tokio::time::timeout(PATIENCE, follows).await;
        assert_eq!(follows, Ok(Some(())));
        assert_eq!(views[&second].token(), Some(newer), "undisturbed");
        for (id, task) in tasks {
            assert!(!task.is_finished(), "{id}: a lost connection is no error");
        }
        Some(())
    }

    #[tokio::test]
    async fn three_nodes_on_the_loopback_outlive_their_leader_and_take_it_back() {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for attempt in 0..5 {
            let folder = folder.join(format!("readme-{}-{attempt}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("a folder for tests");
            let local = LocalSet::new();
            let told = local.run_until(story(&free_ports(), &folder)).await;
            drop(local);
            let _ = std::fs::remove_dir_all(&folder);
            if told.is_some() {
                let leads = |line: &String| line.contains(": leader in term ");
                assert!(crate::PRINTED.with_borrow(|lines| lines.iter().any(leads)));
                return;
            }
        }
        panic!("every port was taken by somebody else");
    }
}

#[cfg(feature = "codec")]
mod forward {
    use futures::{SinkExt, StreamExt, TryStreamExt};
    use streamraft::codec::{Hello, greet};
    use streamraft::{Config, Inbound, TinyRaft, lossy};
    use tokio::io::{AsyncRead, AsyncWrite};

    type Failure = Box<dyn std::error::Error>;

    async fn run(me: &str, socket: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Failure> {
        let node = TinyRaft::new(Config::new(me, ["a", "b"])?)?;
        let (peer, connection) = greet(socket, &Hello::new("", me.parse()?)).await?;
        let (to_peer, from_peer) = connection.split();
        let (to_node, from_node) = node.split();
        let outgoing = from_node
            .inspect(|item| println!("{item:?}"))
            .map(Ok)
            .forward(lossy(to_peer));
        let incoming = from_peer
            .map_ok(|message| Inbound::FromNode(peer.clone(), message))
            .err_into::<Failure>()
            .forward(to_node.sink_err_into());
        tokio::select! {
            done = outgoing => Ok(done?),
            done = incoming => done, // the socket has ended: `forward` closes the node
        }
    }

    // end of the snippet

    /// The wire is cut after ten virtual seconds.
    #[tokio::test(start_paused = true)]
    async fn two_nodes_over_one_socket_hear_each_other_until_it_ends() {
        let (at_a, mut tap_a) = tokio::io::duplex(64);
        let (at_b, mut tap_b) = tokio::io::duplex(64);
        let ten_seconds = std::time::Duration::from_secs(10);
        let wire = async {
            let copy = tokio::io::copy_bidirectional(&mut tap_a, &mut tap_b);
            tokio::time::timeout(ten_seconds, copy)
                .await
                .expect_err("it runs until it is cut");
            drop((tap_a, tap_b));
        };
        let (a, b, ()) = tokio::join!(run("a", at_a), run("b", at_b), wire);
        a.expect("an end is no error");
        b.expect("an end is no error");
        let leads =
            |line: &String| line.contains("node_type: Leader") && line.contains("lease: Some");
        assert!(crate::PRINTED.with_borrow(|lines| lines.iter().any(leads)));
    }
}

mod select {
    use futures::{Sink, SinkExt, StreamExt, channel::mpsc::Receiver};
    use streamraft::{Message, MsgRouter, NodeId, Router, TinyRaft};

    async fn serve<S: Sink<Message> + Unpin>(
        mut node: TinyRaft,
        mut router: Router<NodeId, S>, // one sink a peer
        mut inbox: Receiver<(NodeId, Message)>,
        mut work: impl FnMut(u64),
    ) {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            tokio::select! {
                Some(item) = node.next() => {
                    if let MsgRouter::ToSelf(it) = &item { println!("{} in term {}", it.node_type(), it.term()); }
                    let Ok(()) = router.send(item).await; // never waits
                }
                Some((from, message)) = inbox.next() => node.on_receive(from, message),
                (peer, _) = router.failed() => println!("lost {peer}"), // dial it, then `insert` its new sink
                _ = tick.tick() => if node.is_leader() { work(node.state().term()) }, // with the fencing token
            }
        }
    }

    // end of the snippet

    #[tokio::test(start_paused = true)]
    async fn of_three_nodes_in_three_loops_one_works_and_then_another() {
        let worked = std::cell::RefCell::new(Vec::new());
        let [a, b, c] = super::three_nodes();
        let work = |name: &'static str| {
            let worked = &worked;
            move |token| worked.borrow_mut().push((name, token))
        };
        let seconds = std::time::Duration::from_secs;
        let a = tokio::time::timeout(seconds(5), serve(a.0, a.1, a.2, work("a")));
        let b = tokio::time::timeout(seconds(10), serve(b.0, b.1, b.2, work("b")));
        let c = tokio::time::timeout(seconds(10), serve(c.0, c.1, c.2, work("c")));
        let _ = tokio::join!(a, b, c);

        let mut terms = worked.into_inner();
        terms.dedup();
        // On a cold start the first by name leads. When it is gone, one other works with a newer token.
        assert_eq!(terms[0], ("a", 1));
        assert_eq!(terms.len(), 2, "{terms:?}");
        assert!(terms[1].1 > 1);
        assert!(crate::PRINTED.with_borrow(|lines| lines.contains(&"leader in term 1".to_owned())));
    }
}

mod embed {
    use futures::{Sink, SinkExt, StreamExt};
    use std::task::{Context, Poll, ready};
    use streamraft::{Message, MsgRouter, NodeId, NodeState, Router, TinyRaft};

    fn poll_state<S: Sink<Message> + Unpin>(
        node: &mut TinyRaft,
        router: &mut Router<NodeId, S>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<NodeState>> {
        loop {
            let _ = router.poll_ready_unpin(cx); // never pending; moves on what waits
            let item = match ready!(node.poll_next_unpin(cx)) {
                Some(MsgRouter::ToSelf(state)) => return Poll::Ready(Some(state)),
                Some(item) => item,
                None => return Poll::Ready(None),
            };
            let Ok(()) = router.start_send_unpin(item);
        }
    }

    // end of the snippet

    /// A future that owns three nodes and polls them itself.
    #[tokio::test(start_paused = true)]
    async fn one_future_polls_three_nodes_until_one_has_a_lease() {
        let mut nodes = super::three_nodes();
        let (leader, term) = std::future::poll_fn(|cx| {
            let mut leader = Poll::Pending;
            // Again until nothing moves: a message that was sent in this round is received in the next.
            let mut moved = true;
            while std::mem::take(&mut moved) {
                for (node, router, inbox) in &mut nodes {
                    while let Poll::Ready(Some((from, message))) = inbox.poll_next_unpin(cx) {
                        node.on_receive(from, message);
                        moved = true;
                    }
                    while let Poll::Ready(Some(state)) = poll_state(node, router, cx) {
                        if state.lease().is_some() {
                            leader = Poll::Ready((node.node_id().clone(), state.term()));
                        }
                        moved = true;
                    }
                }
            }
            leader
        })
        .await;
        assert_eq!((leader.as_str(), term), ("a", 1));
    }
}

type Outlet = std::pin::Pin<
    Box<dyn futures::Sink<streamraft::Message, Error = futures::channel::mpsc::SendError>>,
>;
type Parts = (
    streamraft::TinyRaft,
    streamraft::Router<streamraft::NodeId, Outlet>,
    futures::channel::mpsc::Receiver<(streamraft::NodeId, streamraft::Message)>,
);

/// Three nodes, connected by bounded channels.
fn three_nodes() -> [Parts; 3] {
    use futures::SinkExt;
    use streamraft::{Config, NodeId, Router, TinyRaft};

    let names = ["a", "b", "c"];
    let (outlets, inboxes): (Vec<_>, Vec<_>) = names
        .iter()
        .map(|_| futures::channel::mpsc::channel(16))
        .unzip();
    let mut inboxes = inboxes.into_iter();
    names.map(|me| {
        let id = NodeId::new(me).expect("a name");
        let mut router = Router::new();
        for (peer, outlet) in names.iter().zip(&outlets).filter(|(peer, _)| **peer != me) {
            let id = id.clone();
            let outlet = outlet
                .clone()
                .with(move |message| std::future::ready(Ok((id.clone(), message))));
            let outlet: Outlet = Box::pin(outlet);
            router.insert(NodeId::new(peer).expect("a name"), outlet);
        }
        let node =
            TinyRaft::new(Config::new(me, names).expect("good names")).expect("good settings");
        (node, router, inboxes.next().expect("one a node"))
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below a folder whose name ends in this.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The sources of a module: its own file and those in the folder of its name.
fn module(path: &str) -> Vec<PathBuf> {
    let mut found = vec![root().join(format!("{path}.rs"))];
    if root().join(path).is_dir() {
        found.extend(files(path, ".rs"));
    }
    found
}

/// The code of a source file without comments and unit tests, which stand at its end.
fn code(path: &Path) -> String {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let code = text
        .split("\n#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default();
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether the text has this as a word or words of their own, and not as a part of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(in_name) && !after.is_some_and(in_name)
    })
}

fn assert_absent(sources: &[PathBuf], words: &[&str]) {
    for source in sources {
        let code = code(source);
        for word in words {
            assert!(!has_word(&code, word), "{}: {word}", source.display());
        }
    }
}

#[test]
fn words_are_told_from_parts_of_names() {
    assert!(has_word("let x = term;", "term") && has_word("a.term()", "term"));
    assert!(!has_word("determine(term_limit)", "term"));
    assert!(has_word("std::time::Instant::now()", "Instant::now"));
    let node = code(&root().join("src/node.rs"));
    assert!(has_word(&node, "fn poll_next") && !has_word(&node, "assert_eq"));
}

#[test]
fn the_election_has_no_clock_no_randomness_of_its_own_no_io_and_no_async() {
    let mut sources = module("src/election");
    sources.extend(module("src/membership"));
    sources.extend(["message", "state", "error"].map(|name| root().join(format!("src/{name}.rs"))));
    assert!(sources.len() > 15, "{sources:?}");
    let words = [
        "Instant::now",
        "SystemTime",
        "elapsed",
        "sleep",
        "tokio",
        "async",
        "await",
        "Future",
        "Waker",
        "rand::rng",
        "thread_rng",
        "ThreadRng",
        "SysRng",
        "RandomState",
        "random_seed",
        "std::net",
        "std::fs",
        "std::io",
        "std::thread",
        "std::env",
        "println",
        "eprintln",
    ];
    assert_absent(&sources, &words);
}

#[test]
fn the_node_has_no_rule_of_the_protocol() {
    let words = [
        "MessageKind",
        "Stamp",
        "HardState",
        "Membership",
        "LogPosition",
        "NodeType",
        "Ping",
        "Pong",
        "TimeoutNow",
        "hard_state",
        "membership",
        "vote",
        "voted_for",
        "quorum",
        "rank",
        "election_timeout",
        "heartbeat_interval",
    ];
    assert_absent(&module("src/node"), &words);
    // The views name the term that is led; they do not compare it with another node's.
    assert_absent(&[root().join("src/node.rs")], &["term", "lease"]);
}

#[test]
fn only_the_stores_on_disk_block_and_they_do_so_elsewhere() {
    // A disk cannot be polled: tokio's pool for blocking work is there for that.
    let mut sources = files("src", ".rs");
    let on_disk = module("src/raft/store/disk");
    sources.retain(|source| !source.ends_with("src/store/file.rs") && !on_disk.contains(source));
    assert_absent(&sources, &["spawn_blocking", "sync_all", "File"]);
}

#[test]
fn nothing_spawns_locks_or_queues_without_bound() {
    // The store in memory is shared between a test and its node, so it has a lock.
    let mut sources = files("src", ".rs");
    sources.retain(|source| !source.ends_with("src/store/memory.rs"));
    // Nor may a list grow with what is sent: the one of a mesh holds at most `max_pending` connections; `Turns` holds a
    // key once, of those that its map holds; a `Queue` lets go of what is beyond its bounds; those of a log hold as many
    // bytes as its limits say.
    let bounded = [
        "src/mesh/accept.rs",
        "src/raft/tail.rs",
        "src/raft/waiting.rs",
        "src/waiting/turns.rs",
        "src/waiting/queue.rs",
    ];
    let mut others = sources.clone();
    others.retain(|source| !bounded.iter().any(|file| source.ends_with(file)));
    assert_absent(&others, &["VecDeque"]);
    let words = [
        "spawn",
        "spawn_local",
        "block_on",
        "unbounded",
        "unbounded_channel",
        "LinkedList",
        "Mutex",
        "RwLock",
        "thread",
        "unsafe",
    ];
    assert_absent(&sources, &words);
    assert!(read("src/lib.rs").contains("#![forbid(unsafe_code)]"));
}

#[test]
fn the_readme_has_fewer_than_150_lines() {
    assert!(read("README.md").lines().count() < 150);
}

#[test]
fn the_readmes_code_is_the_code_that_runs_here() {
    let here = read("tests/readme.rs");
    let readme = read("README.md");
    let snippets: Vec<&str> = readme
        .split("```rust\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert_eq!(snippets.len(), 4);
    for (snippet, name) in snippets.iter().zip(["over", "forward", "select", "embed"]) {
        let module = here.split(&format!("\nmod {name} {{\n")).nth(1);
        let code = module.and_then(|rest| rest.split("\n    // end of the snippet").next());
        let lines = code.expect("a module of this name").lines();
        let dedented: Vec<&str> = lines
            .map(|line| line.strip_prefix("    ").unwrap_or(line))
            .collect();
        assert_eq!(snippet.trim(), dedented.join("\n").trim(), "{name}");
    }
    assert!(snippets[0].lines().count() <= 25, "the short way");
}

#[test]
fn the_readme_names_every_example_and_no_other() {
    let mut examples = BTreeSet::new();
    for entry in fs::read_dir(root().join("examples")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").exists() {
            let name = path.file_stem().expect("a name").to_string_lossy();
            examples.insert(name.into_owned());
        }
    }
    let readme = read("README.md");
    let table = readme
        .split("| `cargo run --example` |")
        .nth(1)
        .expect("the table of examples");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let named: BTreeSet<String> = rows
        .flat_map(|row| quoted(row.split('|').nth(1).unwrap_or_default()))
        .map(str::to_owned)
        .collect();
    assert_eq!(named, examples);
}

/// What stands between back ticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_files_functions_and_tests_that_the_guide_names_exist() {
    let mut named = 0;
    for chapter in files("src/guide", ".md") {
        let text = fs::read_to_string(&chapter).expect("a chapter");
        let places = quoted(&text).filter(|text| {
            text.starts_with("src/") || text.starts_with("tests/") || text.starts_with("benches/")
        });
        for place in places {
            let (path, function) = place.split_once("::").unwrap_or((place, ""));
            let found = root().join(path);
            assert!(
                found.exists(),
                "{}: {place}: no such file",
                chapter.display()
            );
            if !function.is_empty() {
                assert!(
                    has_word(&read(path), &format!("fn {function}")),
                    "{}: {place}: no such function",
                    chapter.display()
                );
            }
            named += 1;
        }
    }
    assert!(
        named > 30,
        "only {named}: are they written as `path::function`?"
    );
}

#[test]
fn the_map_of_the_architecture_chapter_is_complete() {
    let map = read("src/guide/architecture.md");
    for source in files("src", ".rs") {
        let path = source
            .strip_prefix(root())
            .expect("below it")
            .to_string_lossy();
        let is_root = ["src/lib.rs", "src/guide.rs", "src/combinator.rs"].contains(&&*path);
        assert!(
            is_root || map.contains(&format!("`{path}`")),
            "{path} is not on the map"
        );
    }
}

#[test]
fn every_claim_of_the_safety_chapter_names_a_function_and_a_test() {
    let safety = read("src/guide/safety.md");
    let mut claims = 0;
    for row in safety.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let &[_, claim, _, functions, tests, _] = cells.as_slice() else {
            panic!("four columns: {row}");
        };
        if claim == "claim" {
            continue;
        }
        assert!(
            functions.contains("`src/") && functions.contains("::"),
            "{claim}: names no function"
        );
        assert!(tests.contains("::"), "{claim}: names no test");
        for place in quoted(tests).filter(|place| place.contains("::")) {
            let (path, name) = place.split_once("::").expect("just seen");
            let text = read(path);
            let before = text
                .split(&format!("fn {name}("))
                .next()
                .unwrap_or_default();
            let attributes: Vec<&str> = before.lines().rev().take(3).collect();
            assert!(
                attributes.iter().any(|line| line.contains("test]")
                    || line.contains("::test(")
                    || line.contains("proptest!")),
                "{place} is no test"
            );
        }
        claims += 1;
    }
    assert!(claims > 15, "only {claims}");
}

#[test]
fn the_guides_links_lead_to_chapters() {
    let guide = read("src/guide.rs");
    let chapters = files("src/guide", ".md");
    assert!(chapters.len() >= 6);
    for chapter in &chapters {
        let name = chapter.file_name().expect("a name").to_string_lossy();
        assert!(
            guide.contains(&format!("include_str!(\"guide/{name}\")")),
            "{name} is in no module"
        );
    }
    let readme = read("README.md");
    for link in readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        assert!(
            link.starts_with("http") || root().join(link).exists(),
            "README: {link} leads nowhere"
        );
    }
}
