//! The program, and nodes of it as processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::Value;

use super::program;

/// For how long anything is waited for. Nothing takes that long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::of_example("kv"));

/// A process of the example that serves, killed when it is dropped.
pub(crate) struct Node {
    pub(crate) child: Child,
    pub(crate) http: SocketAddr,
    /// The last line that it has written.
    last: Option<JoinHandle<String>>,
}

impl Node {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("it says where it serves").unwrap();
        let http = first
            .split(" http=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let http = http.and_then(|http| http.parse().ok());
        let last = thread::spawn(move || lines.map_while(Result::ok).last().unwrap_or_default());
        let http = http.unwrap_or_else(|| panic!("{first}"));
        let last = Some(last);
        Self { child, http, last }
    }

    /// The only node of its cluster. It leads when this returns.
    pub(crate) fn alone(folder: &Folder, options: &[&str]) -> Self {
        let mut command = serve("1", "127.0.0.1:0", "127.0.0.1:0", &folder.0);
        command.args([
            "--election-timeout",
            "300ms",
            "--heartbeat-interval",
            "50ms",
        ]);
        command.args(options);
        let node = Self::start(command);
        node.until("leadership", || node.leads().then_some(()));
        node
    }

    pub(crate) fn three(folder: &Folder) -> Vec<Self> {
        let listeners = [(); 6].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners
            .each_ref()
            .map(|it| it.local_addr().unwrap().to_string());
        drop(listeners);
        let start = |at: usize| {
            let data = folder.0.join(at.to_string());
            fs::create_dir(&data).unwrap();
            let mut command = serve(&(at + 1).to_string(), &ports[at], &ports[at + 3], &data);
            for peer in (0..3).filter(|peer| *peer != at) {
                let addresses = format!("{}={},{}", peer + 1, ports[peer], ports[peer + 3]);
                command.args(["--peer", &addresses]);
            }
            Self::start(command)
        };
        (0..3).map(start).collect()
    }

    fn leads(&self) -> bool {
        let status = self.ask("GET /status HTTP/1.1\r\nhost: x\r\n\r\n").json();
        // With its own entry committed, it knows what is.
        status["role"] == "leader" && status["commit"] == status["last"]
    }

    /// Which of them leads, when all of them know.
    pub(crate) fn leader_of(nodes: &[Self]) -> usize {
        nodes[0].until("a leader whom all know", || {
            let leader = nodes.iter().position(Self::leads)?;
            let known = nodes.iter().map(|node| {
                let status = node.ask("GET /status HTTP/1.1\r\nhost: x\r\n\r\n").json();
                status["leader"].clone()
            });
            let known: Vec<_> = known.collect();
            known
                .windows(2)
                .all(|two| two[0] == two[1])
                .then_some(leader)
        })
    }

    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < until, "{what} does not come");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends these bytes over a connection of their own.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut BufReader::new(stream))
    }

    /// Asks it to end, as a service manager does. Its last line.
    pub(crate) fn end(mut self) -> String {
        signal(&self.child, "TERM");
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end");
            thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}");
        self.last
            .take()
            .map_or_else(String::new, |last| last.join().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: Vec<String>,
    pub(crate) body: String,
}

impl Answer {
    fn read(from: &mut impl BufRead) -> Self {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            head.push(line.to_owned());
        }
        let status = head.first().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok());
        let mut answer = Self {
            status: status.unwrap_or_else(|| panic!("{head:?}")),
            head,
            body: String::new(),
        };
        let len = answer.header("content-length").parse().unwrap_or(0);
        from.take(len).read_to_string(&mut answer.body).unwrap();
        answer
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.iter().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| *found == name)
            .map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

fn serve(id: &str, listen: &str, http: &str, data: &Path) -> Command {
    let mut command = Command::new(&*PROGRAM);
    command.args(["serve", "--id", id, "--listen", listen, "--http", http]);
    command.arg("--data").arg(data);
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(&*PROGRAM);
    command.args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

pub(crate) fn texts(told: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&told.stdout), text(&told.stderr))
}

pub(crate) fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal, &id])
        .status();
    assert!(sent.unwrap().success());
}

/// A folder of one test, gone with it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("kv-{}-{name}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
