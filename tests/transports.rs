//! The examples of other transports, run as a user runs them: as processes that say how it went by their exit status.
//! NATS is run with a real server where there is one; `examples/nats/run` installs it, this test does not.
#![cfg(all(unix, feature = "codec"))]

#[path = "support/program.rs"]
mod program;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

/// For how long a process may run. None takes that long on a machine that works, and each ends by itself before.
const PATIENCE: Duration = Duration::from_secs(100);

/// A process and all that it says, on both its outputs.
struct Process {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    until: Instant,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let command = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let (sender, lines) = channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|it| Box::new(it) as _),
            child.stderr.take().map(|it| Box::new(it) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self {
            child,
            lines,
            said: Vec::new(),
            until: Instant::now() + PATIENCE,
        }
    }

    /// The next line. `None`: it has said all.
    fn line(&mut self) -> Option<&str> {
        let left = self.until.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.said.push(line);
                self.said.last().map(String::as_str)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("too slow:\n{}", self.said.join("\n")),
        }
    }

    /// Waits for a line that contains this.
    fn says(&mut self, text: &str) {
        while let Some(line) = self.line() {
            if line.contains(text) {
                return;
            }
        }
        panic!("it never said {text:?}:\n{}", self.said.join("\n"));
    }

    fn end(&mut self) -> ExitStatus {
        while self.line().is_some() {}
        self.child.wait().expect("it has ended")
    }

    /// Whether it has ended with success and has said all of these, in this order.
    fn succeeds(mut self, texts: &[&str]) {
        let status = self.end();
        let said = self.said.join("\n");
        assert!(status.success(), "{status}\n{said}");
        let mut lines = self.said.iter();
        for text in texts {
            assert!(
                lines.any(|line| line.contains(text)),
                "{text:?} is not there, or not in its place:\n{said}"
            );
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The table at the end: everything happened, and a leader was known after it.
const SUMMARY: [&str; 8] = [
    "until known",
    "first election ",
    " killed ",
    " back ",
    " killed ",
    " back ",
    " hangs ",
    " goes on ",
];

#[test]
fn websocket() {
    let refusals = [
        "a node of another cluster dials b",
        "b  transport, receiving: refused a connection: the peer belongs to cluster \"bills\"",
    ];
    Process::start(&mut Command::new(program::of_example("websocket")))
        .succeeds(&[&refusals[..], &SUMMARY].concat());
}

#[test]
fn quic() {
    let refusals = [
        "somebody dials b with a certificate for another cluster",
        "it learns: closed by peer: this certificate is no peer's",
        "somebody dials b with a certificate for a by another authority",
        "it learns: aborted by peer: the cryptographic handshake failed",
    ];
    Process::start(&mut Command::new(program::of_example("quic")))
        .succeeds(&[&refusals[..], &SUMMARY].concat());
}

#[test]
fn nats_by_its_script_with_a_server_that_restarts() {
    if server().is_none() {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nats/run");
    let mut command = Command::new(script);
    let mut run = Process::start(command.env("NATS_EXAMPLE", program::of_example("nats")));
    let first = run.line().expect("it says which server").to_owned();
    let port = first
        .rsplit(' ')
        .next()
        .and_then(|port| port.parse::<u16>().ok());
    let port = port.unwrap_or_else(|| panic!("no port: {first}"));
    let happened = [
        "round trip: median ",
        "c tries to speak as b",
        "it learns: nats: Permissions Violation for Publish to \"raft.orders.a.b\"",
        "Stop the NATS server now.",
        "Start the NATS server again.",
    ];
    run.succeeds(&[&happened[..], &SUMMARY, &["server restarted "]].concat());
    let left = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    assert!(left.is_err(), "its server still runs");
}

#[test]
fn nats_nodes_without_a_server_say_so_and_go_on_trying() {
    let program = program::of_example("nats");
    // Holds a port at which nobody listens, until the server takes it.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind((Ipv4Addr::LOCALHOST, 0).into())
        .expect("a port");
    let port = socket.local_addr().expect("bound").port().to_string();
    let url = format!("nats://127.0.0.1:{port}");
    let mut command = Command::new(program);
    let mut nodes = Process::start(command.args(["--url", &url]).env_remove("NATS_PASSWORD"));
    let mut silent = vec!["a", "b", "c"];
    while !silent.is_empty() {
        let line = nodes.line().expect("all of them say it").to_owned();
        silent.retain(|id| !line.contains(&format!("{id}  cannot reach {url} (trying on): ")));
    }
    let Some(server) = server() else { return };
    // For more tries in vain, which are not told again.
    thread::sleep(Duration::from_millis(300));
    drop(socket);
    let mut command = Command::new(server);
    let mut server = Process::start(command.args(["-a", "127.0.0.1", "-p", &port]));
    server.says("Server is ready");
    nodes.says("a  is connected with");
    let told = nodes
        .said
        .iter()
        .filter(|line| line.contains("a  cannot reach"));
    assert_eq!(told.count(), 1, "{}", nodes.said.join("\n"));
    nodes.succeeds(&SUMMARY);
}

/// The NATS server of this machine.
fn server() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian puts it, and where not everybody looks.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders
        .map(|folder| folder.join("nats-server"))
        .find(|it| it.is_file());
    if found.is_none() {
        println!("NOT CHECKED: there is no nats-server here; `examples/nats/run` installs it");
    }
    found
}
