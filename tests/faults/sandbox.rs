//! A machine of our own inside this one: namespaces for the network, for mounts and for processes, which are gone with
//! their first process, however that ends. Nothing in it has a name outside.
//!
//! ```text
//!   hub (the test, the proxies)   bridge 10.99.0.254
//!     ├── node 1                  10.99.0.1, a namespace of its own
//!     ..
//!     └── node 5                  10.99.0.5
//! ```
//!
//! Absent here: nodes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io, thread};

use super::Failure;

/// Set for the test inside to where its folder is.
const INSIDE: &str = "STREAMRAFT_FAULTS_INSIDE";

const NAMESPACES: &[&str] = &[
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// All that a run needs. What is not permitted or not installed shows here.
const TRIAL: &str = "set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
ip link add br0 type bridge
ip netns add one
ip link add v1 type veth peer name eth0 netns one
nsenter --net=/run/netns/one iptables -w -A INPUT -s 10.99.0.1,10.99.0.2 -j DROP";

/// The folder for this run, if this is the process inside.
pub(crate) fn inside() -> Option<PathBuf> {
    let folder = env::var_os(INSIDE)?;
    // When the test outside is gone, so is this, and with it all that runs in here.
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    Some(folder.into())
}

/// The options by which `unshare` makes what is needed: as root, or else with a user namespace where that is allowed.
/// Otherwise why not.
pub(crate) fn permitted() -> Result<Vec<&'static str>, String> {
    let as_root = NAMESPACES.to_vec();
    let as_user = [&["--user", "--map-root-user"], NAMESPACES].concat();
    let mut why = String::new();
    for options in [as_root, as_user] {
        let mut trial = Command::new("unshare");
        match attempt(trial.args(&options).args(["sh", "-c", TRIAL])) {
            Ok(()) => return Ok(options),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// Runs a test of this program inside, with `folder` for its files, and passes its output on, aloud what is for all.
pub(crate) fn enter(options: &[&str], test: &str, folder: &Path) -> Result<(), Failure> {
    let mut child = Command::new("unshare")
        .args(options)
        .arg(env::current_exe()?)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if line.starts_with("evidence") || line.starts_with("skipped") {
                aloud(&line);
            } else {
                println!("{line}");
            }
        }
    }
    let status = child.wait()?;
    drop(stdin);
    if status.success() {
        return Ok(());
    }
    Err(format!("the run inside: {status}").into())
}

/// Says something that is shown although the test passes.
pub(crate) fn aloud(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Where `libfaketime` is, if it is installed.
pub(crate) fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    let folders = folders.map(|folder| folder.path().join("faketime"));
    let folders = folders.chain(["/usr/lib/faketime", "/usr/lib64/faketime"].map(PathBuf::from));
    let mut files = folders.map(|folder| folder.join("libfaketimeMT.so.1"));
    files.find(|file| file.is_file())
}

/// Makes the hub and a namespace for each of so many nodes. `proxies`: further addresses of the hub.
pub(crate) fn network(nodes: u8, proxies: &[Ipv4Addr]) -> Result<(), Failure> {
    let sh = |script: &str| run(Command::new("sh").args(["-ec", script]));
    // For the names of the namespaces, and for what `libfaketime` leaves behind.
    sh("mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /dev/shm; ip link set lo up")?;
    sh("ip link add br0 type bridge; ip addr add 10.99.0.254/16 dev br0; ip link set br0 up")?;
    for address in proxies {
        sh(&format!("ip addr add {address}/16 dev br0"))?;
    }
    for node in 1..=nodes {
        sh(&format!(
            "ip netns add n{node}
            ip link add v{node} type veth peer name eth0 netns n{node}
            ip link set v{node} master br0 up
            ip -n n{node} addr add {}/16 dev eth0
            ip -n n{node} link set eth0 up
            ip -n n{node} link set lo up
            nsenter --net=/run/netns/n{node} iptables -w -N CUT
            nsenter --net=/run/netns/n{node} iptables -w -A CUT -j DROP",
            address(node)
        ))?;
    }
    Ok(())
}

pub(crate) fn address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, node)
}

/// A command that runs where that node is.
pub(crate) fn at(node: u8, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/n{node}"))
        .arg(program);
    command
}

/// Makes a node deaf for what comes from these addresses, or lets it hear again.
pub(crate) fn drop_from(node: u8, from: &[Ipv4Addr], begin: bool) -> Result<(), Failure> {
    let from: Vec<_> = from.iter().map(ToString::to_string).collect();
    let action = if begin { "-A" } else { "-D" };
    let rule = [action, "INPUT", "-s", &from.join(","), "-j", "CUT"];
    run(at(node, "iptables").arg("-w").args(rule))
}

/// How many packets never came to a node because it was made deaf for them.
pub(crate) fn dropped(node: u8) -> Result<u64, Failure> {
    let mut list = at(node, "iptables");
    let list = list.args(["-w", "-nvxL", "CUT"]).output()?;
    let list = String::from_utf8(list.stdout)?;
    let rule = list.lines().find(|line| line.contains("DROP"));
    let packets = rule.and_then(|rule| rule.split_whitespace().next());
    Ok(packets.ok_or("the chain CUT has no rule")?.parse()?)
}

/// A disk of its own for each node, so small that it is full at once.
pub(crate) fn mount_disk(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    run(Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(folder))
}

/// Fills a disk to the last byte.
pub(crate) fn fill(folder: &Path) -> Result<(), Failure> {
    let mut junk = fs::File::create(folder.join("junk"))?;
    loop {
        match junk.write(&[0; 512]) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes room again.
pub(crate) fn clear(folder: &Path) -> Result<(), Failure> {
    Ok(fs::remove_file(folder.join("junk"))?)
}

fn run(command: &mut Command) -> Result<(), Failure> {
    attempt(command).map_err(|why| format!("{command:?}: {why}").into())
}

/// Runs a command to its end. If it fails: why, in its own words.
fn attempt(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(why
        .lines()
        .last()
        .unwrap_or("it does not say why")
        .to_owned())
}
