//! Processes of the example `node`: started, watched, signalled, started again, and killed when the test is over.

#[path = "program.rs"]
pub(crate) mod program;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// For how long anything is waited for. Nothing takes that long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// A free port can be taken by somebody else before the node has it.
const MOST_STARTS: u32 = 5;

/// A line of a node's standard output, as the example's head describes it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) role: String,
    fields: BTreeMap<String, String>,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let _seconds: f64 = words.next()?.strip_suffix('s')?.parse().ok()?;
        let role = words.next()?.to_owned();
        let fields = words.map(|word| {
            let (key, value) = word.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        });
        Some(Self {
            at: Instant::now(),
            role,
            fields: fields.collect::<Option<_>>()?,
        })
    }

    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.role == other.role && self.fields == other.fields
    }

    /// `-` for what is not there.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.fields.get(key).map_or("-", String::as_str)
    }

    pub(crate) fn term(&self) -> u64 {
        self.get("term").parse().expect("a term")
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.role == "leader"
    }
}

/// What a process does: says something, or closes one of its two outputs for good.
enum Event {
    Out(String, Option<Line>),
    Err(String),
    Closed,
}

/// Standard output and standard error.
const OUTPUTS: usize = 2;

/// How a node comes into its cluster: the argument that says so.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    First,
    Joining,
    /// Joining, and told of no other node.
    Unacquainted,
    Again,
}

impl Start {
    fn argument(self) -> Option<&'static str> {
        match self {
            Self::First => Some("--bootstrap"),
            Self::Joining | Self::Unacquainted => Some("--join"),
            Self::Again => None,
        }
    }
}

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Vec<Line>,
    errors: Vec<String>,
    closed: usize,
}

impl Process {
    /// It has ended, and all that it said has been noted.
    fn is_over(&self) -> bool {
        self.closed == OUTPUTS
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The nodes of one test.
pub(crate) struct Fleet {
    options: Vec<String>,
    ports: BTreeMap<String, u16>,
    processes: BTreeMap<String, Process>,
    /// What nodes said in their lives before the present one, in this order.
    past: Vec<(String, Line)>,
    sender: Sender<(String, Event)>,
    events: Receiver<(String, Event)>,
    log: Vec<String>,
}

impl Fleet {
    /// Starts a node for each of these ids, all of one cluster, with these options.
    pub(crate) fn start(ids: &[&str], options: &[&str]) -> Self {
        for _ in 0..MOST_STARTS {
            let mut fleet = Self::launch(ids, options);
            if ids.iter().all(|id| fleet.has_begun(id)) {
                return fleet;
            }
            eprintln!("starting again: {}", fleet.log.join("\n"));
        }
        panic!("the nodes did not start");
    }

    /// The same, without waiting for their first words: for nodes that refuse.
    pub(crate) fn launch(ids: &[&str], options: &[&str]) -> Self {
        let (sender, events) = channel();
        let mut fleet = Self {
            options: options.iter().map(ToString::to_string).collect(),
            ports: free_ports(ids),
            processes: BTreeMap::new(),
            past: Vec::new(),
            sender,
            events,
            log: Vec::new(),
        };
        for id in ids {
            fleet.spawn(id, Start::First);
        }
        fleet
    }

    /// Starts these anew, which have ended or were killed, with the options and on the ports that they had.
    pub(crate) fn start_again(&mut self, ids: &[&str]) {
        for id in ids {
            self.end_of(id);
            let process = self.processes.remove(*id).expect("it had begun");
            let said = process.lines.iter().cloned();
            self.past.extend(said.map(|line| ((*id).to_owned(), line)));
        }
        for id in ids {
            self.spawn(id, Start::Again);
        }
        for id in ids {
            let begun = self.has_begun(id);
            assert!(begun, "{id} did not start again\n{}", self.log.join("\n"));
        }
    }

    /// Starts one more node, which belongs to nothing yet.
    pub(crate) fn join(&mut self, id: &str) {
        self.add(id, Start::Joining);
    }

    /// The same for one that knows nobody, so that the others must be told where it is.
    pub(crate) fn join_unacquainted(&mut self, id: &str) {
        self.add(id, Start::Unacquainted);
    }

    fn add(&mut self, id: &str, start: Start) {
        for _ in 0..MOST_STARTS {
            self.ports.extend(free_ports(&[id]));
            self.spawn(id, start);
            if self.has_begun(id) {
                return;
            }
        }
        panic!("{id} did not start");
    }

    fn spawn(&mut self, id: &str, start: Start) {
        let port = self.ports[id];
        let knows = |peer: &str| peer != id && start != Start::Unacquainted;
        let peers = self.ports.iter().filter(|(peer, _)| knows(peer));
        let peers = peers
            .flat_map(|(peer, port)| ["--peer".to_owned(), format!("{peer}=127.0.0.1:{port}")]);
        let mut child = Command::new(&*PROGRAM)
            .args(["--id", id, "--listen", &format!("127.0.0.1:{port}")])
            .args(peers)
            .args(&self.options)
            .args(start.argument())
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", PROGRAM.display()));
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        self.listen(id, stdout, |line| {
            let parsed = Line::parse(&line);
            Event::Out(line, parsed)
        });
        self.listen(id, stderr, Event::Err);
        let process = Process {
            stdin: child.stdin.take(),
            child,
            lines: Vec::new(),
            errors: Vec::new(),
            closed: 0,
        };
        self.processes.insert(id.to_owned(), process);
    }

    /// A thread that passes on what comes out of a process, for as long as it lives.
    fn listen(
        &self,
        id: &str,
        pipe: impl Read + Send + 'static,
        event: impl Fn(String) -> Event + Send + 'static,
    ) {
        let (id, sender) = (id.to_owned(), self.sender.clone());
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send((id.clone(), event(line))).is_err() {
                    return;
                }
            }
            let _ = sender.send((id, Event::Closed));
        });
    }

    /// Waits for a node's first line, and says whether it came.
    fn has_begun(&mut self, id: &str) -> bool {
        self.until(&format!("{id}'s first line"), |fleet| {
            let process = &fleet.processes[id];
            let is_over = process.is_over();
            (is_over || !process.lines.is_empty()).then_some(!is_over)
        })
    }

    /// Waits until `found` finds what it looks for in what the nodes have said.
    pub(crate) fn until<T>(&mut self, what: &str, found: impl Fn(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(it) = found(self) {
                return it;
            }
            let left = end.saturating_duration_since(Instant::now());
            let Ok((id, event)) = self.events.recv_timeout(left) else {
                panic!("{what}: not within {PATIENCE:?}\n{}", self.log.join("\n"));
            };
            self.note(&id, event);
        }
    }

    fn note(&mut self, id: &str, event: Event) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        match event {
            Event::Out(text, line) => {
                self.log.push(format!("{id}  {text}"));
                let line = line
                    .unwrap_or_else(|| panic!("not a line of the form that is promised: {text}"));
                process.lines.push(line);
            }
            Event::Err(text) => {
                self.log.push(format!("{id}! {text}"));
                process.errors.push(text);
            }
            Event::Closed => process.closed += 1,
        }
    }

    /// All that a node has said of its state.
    pub(crate) fn lines(&self, id: &str) -> &[Line] {
        &self.processes[id].lines
    }

    /// Its state as it said last.
    pub(crate) fn last(&self, id: &str) -> &Line {
        self.lines(id).last().expect("it has begun")
    }

    /// All that a node has said on standard error.
    pub(crate) fn errors(&self, id: &str) -> &[String] {
        &self.processes[id].errors
    }

    pub(crate) fn port(&self, id: &str) -> u16 {
        self.ports[id]
    }

    /// Waits for a leader with a lease whom all of these follow, in a term over `after`. Gives the leader, the term
    /// and when the last of them knew.
    pub(crate) fn leader(&mut self, ids: &[&str], after: u64) -> (String, u64, Instant) {
        let what = format!("a leader of {ids:?} in a term over {after}");
        self.until(&what, |fleet| {
            let lines = || ids.iter().map(|id| fleet.last(id));
            let leader = ids.iter().find(|id| fleet.last(id).is_leader())?;
            let line = fleet.last(leader);
            let term = line.term();
            let agree = lines().all(|line| line.get("leader") == *leader && line.term() == term);
            if !agree || term <= after || line.get("lease") == "-" {
                return None;
            }
            let known = lines().map(|line| line.at).max()?;
            Some(((*leader).to_owned(), term, known))
        })
    }

    /// Writes a line to a node's standard input.
    pub(crate) fn tell(&mut self, id: &str, line: &str) {
        let process = self.processes.get_mut(id).expect("it has begun");
        let stdin = process.stdin.as_mut().expect("still open");
        writeln!(stdin, "{line}").expect("the node reads its standard input");
    }

    /// Ends a node's standard input.
    pub(crate) fn hang_up(&mut self, id: &str) {
        self.processes.get_mut(id).expect("it has begun").stdin = None;
    }

    /// Sends a signal, `STOP` or such, by its name. The shell knows how on every Unix.
    pub(crate) fn signal(&self, id: &str, signal: &str) {
        let pid = self.processes[id].child.id().to_string();
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -s {signal} {pid}"
        );
    }

    /// Kills a node as a power failure would.
    pub(crate) fn kill(&mut self, id: &str) {
        let process = self.processes.get_mut(id).expect("it has begun");
        process.child.kill().expect("it runs");
    }

    pub(crate) fn runs(&mut self, id: &str) -> bool {
        let process = self.processes.get_mut(id).expect("it has begun");
        process
            .child
            .try_wait()
            .is_ok_and(|status| status.is_none())
    }

    /// Waits for a node to end by itself.
    pub(crate) fn end_of(&mut self, id: &str) -> ExitStatus {
        self.until(&format!("{id}'s end"), |fleet| {
            fleet.processes[id].is_over().then_some(())
        });
        let process = self.processes.get_mut(id).expect("it has begun");
        process.child.wait().expect("it has ended")
    }

    /// No two nodes have ever led in one term, and the term of none has ever fallen, in all their lives.
    pub(crate) fn check(&self) {
        let mut leaders = BTreeMap::new();
        let mut terms = BTreeMap::new();
        let past = self.past.iter().map(|(id, line)| (id, line));
        let present = self.processes.iter();
        let present =
            present.flat_map(|(id, process)| process.lines.iter().map(move |it| (id, it)));
        for (id, line) in past.chain(present) {
            let term = line.term();
            let before = terms.insert(id, term).unwrap_or(0);
            assert!(
                before <= term,
                "{id}: {before}, then {term}\n{}",
                self.log.join("\n")
            );
            if line.is_leader() {
                let leader = leaders.entry(term).or_insert(id);
                assert_eq!(*leader, id, "term {term}\n{}", self.log.join("\n"));
            }
        }
    }
}

/// A folder of one test, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("processes-{}-{name}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a folder for tests");
        Self(path.canonicalize().expect("it was made"))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().expect("cargo prints it as text")
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over is in the target folder, and harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ports that are free now, all different.
fn free_ports(ids: &[&str]) -> BTreeMap<String, u16> {
    let listeners: Vec<_> = ids
        .iter()
        .map(|id| (id, TcpListener::bind("127.0.0.1:0").expect("a free port")))
        .collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
    let ports = listeners
        .iter()
        .map(|(id, listener)| (id.to_string(), port(listener)));
    ports.collect()
}

/// The example `node`.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::of_example("node"));
