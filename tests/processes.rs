//! Real processes of the example `node` over real sockets and files, killed, stopped, started again, told to end and
//! told to change. What is checked here is that the parts work together; the rules are checked elsewhere, on virtual
//! time.
#![cfg(all(unix, feature = "tcp", feature = "file"))]

#[path = "support/fleet.rs"]
mod fleet;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fleet::{Fleet, Folder};

const QUICK: &[&str] = &[
    "--election-timeout",
    "500ms",
    "--heartbeat-interval",
    "50ms",
];

/// For what has nothing to do with silence: a busy machine must not be taken for a dead leader.
const CALM: &[&str] = &["--election-timeout", "5s", "--heartbeat-interval", "100ms"];

fn without<'a>(ids: &[&'a str], id: &str) -> Vec<&'a str> {
    ids.iter().copied().filter(|other| *other != id).collect()
}

#[test]
fn a_killed_leader_is_replaced_in_a_higher_term() {
    let all = ["a", "b", "c"];
    let mut fleet = Fleet::start(&all, QUICK);
    let (first, term, _) = fleet.leader(&all, 0);
    for id in all {
        let lines = fleet.lines(id);
        assert!(!lines[0].says_the_same(&lines[1]), "{id}: {lines:?}");
    }

    let killed = Instant::now();
    fleet.kill(&first);
    let (second, _, known) = fleet.leader(&without(&all, &first), term);

    assert_ne!(first, second);
    println!("{second} took over from {first} after {:?}", known - killed);
    fleet.check();
}

#[test]
fn a_leader_that_was_stopped_past_its_lease_steps_down_before_anything_else() {
    let all = ["a", "b", "c"];
    let mut fleet = Fleet::start(&all, QUICK);
    let (first, term, _) = fleet.leader(&all, 0);

    fleet.signal(&first, "STOP");
    let (_, newer, _) = fleet.leader(&without(&all, &first), term);
    let said_before = fleet.lines(&first).len();
    fleet.signal(&first, "CONT");

    // Thesis 6.4.1: who was away may not act on a lease that has run out meanwhile.
    let woken = fleet.until("the first word of the stopped leader", |fleet| {
        fleet.lines(&first).get(said_before).cloned()
    });
    assert!(!woken.is_leader(), "{woken:?}");
    let (second, ..) = fleet.leader(&all, newer - 1);
    println!("{first} follows {second}");
    fleet.check();
}

#[test]
fn who_is_asked_to_end_hands_over_and_exits_with_success() {
    let all = ["a", "b", "c"];
    let mut fleet = Fleet::start(&all, CALM);
    let (first, term, _) = fleet.leader(&all, 0);

    let asked = Instant::now();
    fleet.signal(&first, "TERM");
    let rest = without(&all, &first);
    let (second, _, known) = fleet.leader(&rest, term);
    let took = known - asked;
    println!("{second} took over from {first} after {took:?}");
    // Nobody had to notice a silence, which takes five seconds.
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(fleet.end_of(&first).success());
    assert!(!fleet.last(&first).is_leader());

    // Ctrl-C. There is no quorum left to hand over to, which keeps nobody from ending.
    fleet.signal(&second, "INT");
    assert!(fleet.end_of(&second).success());
    assert!(!fleet.last(&second).is_leader());
    fleet.check();
}

#[test]
fn nodes_come_and_go_and_lead_by_command() {
    let mut fleet = Fleet::start(&["a", "b", "c"], CALM);
    let (first, term, _) = fleet.leader(&["a", "b", "c"], 0);
    fleet.join("d");
    assert_eq!(fleet.last("d").role, "observer");

    let all = ["a", "b", "c", "d"];
    fleet.tell(&first, "nodes a b c d");
    arrived(&mut fleet, &all, "a,b,c,d");
    let (first, term, _) = fleet.leader(&all, term - 1);
    fleet.tell(&first, "transfer d");
    let (_, term, _) = fleet.leader(&all, term);

    // Any node can be told: the wish finds its way to the leader.
    let (teller, leaver) = ("a", "c");
    fleet.tell(teller, "nodes a b d");
    let rest = without(&all, leaver);
    arrived(&mut fleet, &rest, "a,b,d");
    fleet.until("the leaver's being told", |fleet| {
        (fleet.last(leaver).role == "observer").then_some(())
    });

    fleet.tell(leaver, "stop");
    assert!(fleet.end_of(leaver).success());
    fleet.leader(&rest, term - 1);
    fleet.check();
}

#[test]
fn a_node_that_knows_nobody_is_reached_where_the_others_are_told_that_it_is() {
    let mut fleet = Fleet::start(&["a", "b", "c"], CALM);
    let (leader, term, _) = fleet.leader(&["a", "b", "c"], 0);
    fleet.join_unacquainted("d");

    // A wrong address first. Nobody else can tell this one where it is.
    fleet.tell(&leader, "nodes a b c d=127.0.0.1:1");
    fleet.until("the wish", |fleet| {
        (fleet.last(&leader).get("waiting_for") == "d").then_some(())
    });
    let right = format!("nodes a b c d=localhost:{}", fleet.port("d"));
    fleet.tell(&leader, &right);
    let all = ["a", "b", "c", "d"];
    arrived(&mut fleet, &all, "a,b,c,d");
    fleet.leader(&all, term - 1);
    fleet.check();
}

/// Waits until all of these hold that the nodes are those, and that nothing more is wished for.
fn arrived(fleet: &mut Fleet, ids: &[&str], nodes: &str) {
    fleet.until(&format!("nodes={nodes}"), |fleet| {
        let mut lines = ids.iter().map(|id| fleet.last(id));
        lines
            .all(|line| line.get("nodes") == nodes && line.get("target") == "-")
            .then_some(())
    });
}

#[test]
fn mistakes_on_standard_input_are_told_and_harm_nothing() {
    let mut fleet = Fleet::start(&["a"], CALM);
    let (_, term, _) = fleet.leader(&["a"], 0);
    let mistakes = [
        ("lead", "\"lead\" is no command. The commands are"),
        ("transfer b", "transfer: b has no vote, so it cannot lead"),
        ("transfer a", "transfer: this node leads already"),
        (
            "nodes",
            "set_nodes: the list is empty: a cluster needs at least one voter",
        ),
        (
            "nodes a a",
            "set_nodes: a stands twice: each node must be named once",
        ),
        (
            "nodes a b=nowhere",
            "\"nowhere\" is not of the form HOST:PORT",
        ),
        ("priority high", "priority: invalid digit found in string"),
    ];
    for (line, told) in mistakes {
        fleet.tell("a", line);
        fleet.until(told, |fleet| {
            fleet
                .errors("a")
                .iter()
                .any(|error| error == told)
                .then_some(())
        });
    }
    let said = fleet.lines("a").len();
    fleet.tell("a", "state");
    fleet.hang_up("a");
    let state = fleet.until("the state", |fleet| fleet.lines("a").get(said).cloned());
    assert!(state.is_leader() && state.term() == term, "{state:?}");
    assert!(fleet.runs("a"));
    fleet.signal("a", "TERM");
    assert!(fleet.end_of("a").success());
}

#[test]
fn a_stranger_on_the_line_costs_its_own_connection_only() {
    let all = ["a", "b", "c"];
    let mut fleet = Fleet::start(&all, CALM);
    let (leader, term, _) = fleet.leader(&all, 0);

    let mut stranger = TcpStream::connect(("127.0.0.1", fleet.port(&leader))).unwrap();
    stranger
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    // A hello, and then the end, or a reset for what was not read.
    let _ = stranger.read_to_end(&mut Vec::new());
    fleet.until("the refusal", |fleet| {
        let mut told = fleet.errors(&leader).iter();
        told.any(|error| error.contains("refused a connection: expected a hello"))
            .then_some(())
    });
    fleet.leader(&all, term - 1);
    fleet.check();
}

/// What the example `certs` makes for these nodes.
#[cfg(feature = "tls")]
fn certificates(folder: &Folder, ids: &[&str]) {
    let made = std::process::Command::new(fleet::program::of_example("certs"))
        .args(["--out", folder.as_str()])
        .args(ids)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[test]
#[cfg(feature = "tls")]
fn nodes_with_certificates_elect_and_let_nobody_else_in() {
    let all = ["a", "b", "c"];
    let folder = Folder::new("tls");
    certificates(&folder, &all);
    let mut fleet = Fleet::start(&all, &[QUICK, &["--tls", folder.as_str()]].concat());
    let (leader, term, _) = fleet.leader(&all, 0);

    // In the clear, and with a certificate of another CA.
    let mut stranger = TcpStream::connect(("127.0.0.1", fleet.port(&leader))).unwrap();
    stranger
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stranger.read_to_end(&mut answer);
    assert!(!answer.windows(6).any(|bytes| bytes == b"orders"));
    fleet.until("the refusal", |fleet| {
        let mut told = fleet.errors(&leader).iter();
        told.any(|error| error.contains("refused a connection"))
            .then_some(())
    });
    fleet.leader(&all, term - 1);

    fleet.kill(&leader);
    let rest = without(&all, &leader);
    let (_, newer, _) = fleet.leader(&rest, term);
    assert!(newer > term);
    fleet.check();
}

#[test]
#[cfg(feature = "tls")]
fn a_node_without_its_certificate_does_not_start_and_says_what_is_missing() {
    let folder = Folder::new("no-tls");
    certificates(&folder, &["b"]);
    let why = format!(
        "cannot read the certificate {}",
        folder.join("a.pem").display()
    );
    refused("a", &["--tls", folder.as_str()], &why);
}

#[test]
fn a_cluster_that_was_killed_as_a_whole_goes_on_in_higher_terms() {
    let all = ["a", "b", "c"];
    let folder = Folder::new("whole");
    let mut fleet = Fleet::start(&all, &[QUICK, &["--data", folder.as_str()]].concat());
    let (_, mut term, _) = fleet.leader(&all, 0);
    // Whole at first; later killed as soon as anybody leads, which not all of them have heard by then.
    for _ in 0..3 {
        for id in all {
            fleet.kill(id);
        }
        fleet.start_again(&all);
        for id in all {
            let begun = &fleet.lines(id)[0];
            assert!(!begun.is_leader() && begun.term() >= 1, "{id}: {begun:?}");
        }
        let newer = fleet.until("a leader in a higher term", |fleet| {
            let mut lines = all.iter().map(|id| fleet.last(id));
            let line = lines.find(|line| line.is_leader() && line.term() > term)?;
            Some(line.term())
        });
        println!("term {newer} after term {term}");
        term = newer;
    }
    fleet.leader(&all, term - 1);
    fleet.check();
}

#[test]
fn a_second_process_on_the_same_data_is_refused_and_harms_nothing() {
    let folder = Folder::new("second");
    let options = [CALM, &["--data", folder.as_str()]].concat();
    let mut fleet = Fleet::start(&["a"], &options);
    let (_, term, _) = fleet.leader(&["a"], 0);
    let file = folder.join("a.vote");
    let vote = fs::read(&file).unwrap();

    let named = format!("vote file {}: ", file.display());
    refused("a", &options, &(named + "another process or another"));

    assert_eq!(fs::read(&file).unwrap(), vote);
    assert!(fleet.runs("a"));
    assert_eq!(fleet.last("a").term(), term);

    // The lock goes with the process, however it ends.
    fleet.kill("a");
    fleet.start_again(&["a"]);
    assert_eq!(fleet.lines("a")[0].term(), term);
    fleet.check();
}

#[test]
fn a_file_that_is_not_this_nodes_own_and_whole_is_refused() {
    let folder = Folder::new("foreign");
    let options = [CALM, &["--data", folder.as_str()]].concat();
    let mut fleet = Fleet::start(&["a"], &options);
    fleet.leader(&["a"], 0);
    fleet.signal("a", "TERM");
    assert!(fleet.end_of("a").success());

    let path = |id: &str| folder.join(&format!("{id}.vote"));
    let file = |id: &str| format!("vote file {}: ", path(id).display());
    let vote = fs::read(path("a")).unwrap();
    fs::write(path("b"), &vote).unwrap();
    refused("b", &options, &(file("b") + "it belongs to node a, this"));
    let other = [&options[..], &["--cluster", "other"]].concat();
    refused("a", &other, &(file("a") + "it belongs to cluster \"\""));
    fs::write(path("c"), &vote[..vote.len() - 1]).unwrap();
    let torn = format!("{}it has {} bytes of", file("c"), vote.len() - 1);
    refused("c", &options, &torn);
    fs::write(path("d"), "a shopping list").unwrap();
    refused("d", &options, &(file("d") + "it was not written by a node"));

    let missing = folder.join("missing");
    let elsewhere = [CALM, &["--data", missing.to_str().unwrap()]].concat();
    let named = format!("vote file {}/a.vote: ", missing.display());
    refused("a", &elsewhere, &(named + "finding its folder: "));
    assert!(!missing.exists());
    refused("../a", &options, "no file can be named \"../a.vote\"");
    assert_eq!(fs::read(path("a")).unwrap(), vote);
}

/// Starts a node that ends by itself with status 1 and one message that begins so, and never shows a state.
fn refused(id: &str, options: &[&str], why: &str) {
    let mut fleet = Fleet::launch(&[id], options);
    assert_eq!(fleet.end_of(id).code(), Some(1), "{why}");
    assert!(fleet.lines(id).is_empty(), "{why}");
    let [error] = fleet.errors(id) else {
        panic!("{why}: {:?}", fleet.errors(id));
    };
    assert!(error.starts_with(&format!("node: {why}")), "{error}");
}

#[test]
fn a_node_that_cannot_keep_its_vote_ends_without_having_led() {
    let folder = Folder::new("unkept");
    // A folder in the place of the store's temporary file stops root too.
    fs::create_dir(folder.join("a.vote.tmp")).unwrap();
    let mut fleet = Fleet::launch(&["a"], &[CALM, &["--data", folder.as_str()]].concat());

    assert_eq!(fleet.end_of("a").code(), Some(1));
    assert!(fleet.lines("a").iter().all(|line| line.term() == 0));
    let told = format!("node: vote file {}: ", folder.join("a.vote").display());
    let error = fleet.errors("a").last().unwrap();
    assert!(error.starts_with(&told), "{error}");
}
