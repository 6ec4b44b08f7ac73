//! The example `kv`: its story of kills, and what it says to mistakes on its command line and over HTTP. Real processes.
#![cfg(all(unix, feature = "tcp", feature = "log-disk"))]

mod http;
mod node;
#[path = "../support/program.rs"]
mod program;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use node::{Folder, PROGRAM, run, signal, texts};

#[test]
fn nothing_acknowledged_is_lost_whoever_is_killed() {
    let mut story = Command::new(&*PROGRAM)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while story.try_wait().unwrap().is_none() {
        if Instant::now() >= until {
            // By the signal that lets it end its processes.
            signal(&story, "TERM");
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let told = story.wait_with_output().unwrap();
    let (out, errors) = texts(&told);
    println!("{out}");
    assert!(told.status.success(), "{out}\n{errors}");
    for event in [
        "kill -9 of 1,",
        "kill -9 of 2,",
        "kill -9 of 3,",
        "kill -9 of all three",
        "1 has all of them, each made once",
        "2 has all of them, each made once",
        "3 has all of them, each made once",
    ] {
        assert!(out.contains(event), "{event}:\n{out}");
    }
}

#[test]
fn a_story_that_is_interrupted_ends_its_processes_and_removes_its_folder() {
    let mut story = Command::new(&*PROGRAM)
        .arg("story")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = story.stdout.take().unwrap();
    let mut lines = BufReader::new(out).lines().map_while(Result::ok);
    lines.find(|line| line.contains("clients write")).unwrap();
    let folder = std::env::temp_dir().join(format!("streamraft-kv-{}", story.id()));
    assert!(folder.is_dir());
    signal(&story, "INT");
    let told = story.wait_with_output().unwrap();
    let (_, errors) = texts(&told);
    assert_eq!(told.status.code(), Some(1), "{errors}");
    assert!(errors.ends_with("kv: interrupted\n"), "{errors}");
    assert!(!folder.exists());
    // Each node has said where it answers; nobody does any more.
    let addresses = errors
        .split(" http=")
        .skip(1)
        .map(|rest| rest.split(' ').next());
    let addresses: Vec<_> = addresses.flatten().collect();
    assert_eq!(addresses.len(), 3, "{errors}");
    for address in addresses {
        assert!(TcpStream::connect(address).is_err(), "{address}");
    }
}

#[test]
fn bad_arguments_end_with_status_2_and_are_named() {
    let serve = [
        "serve",
        "--id",
        "1",
        "--listen",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--data",
        ".",
    ];
    let with = |more: &[&'static str]| [&serve, more].concat();
    let cases = [
        (vec!["lead"], "unrecognized subcommand 'lead'"),
        (vec!["serve"], "--id <NUMBER>"),
        (vec!["put", "key"], "<VALUE>"),
        (
            vec!["get", "key", "--timeout", "soon"],
            "'--timeout <DURATION>'",
        ),
        (
            vec!["get", "key", "--at", "127.0.0.1:1,nowhere"],
            "\"nowhere\" is not of the form HOST:PORT",
        ),
        (
            vec!["put", "key", "value", "--if-index", "1", "--if-missing"],
            "cannot be used with '--if-missing'",
        ),
        (
            with(&["--peer", "2"]),
            "'2' for '--peer <ID=HOST:PORT,HOST:PORT>': it is not of the form",
        ),
        (
            with(&["--peer", "x=a:1,b:2"]),
            "the id \"x\": invalid digit",
        ),
        (
            with(&["--peer", "2=a:1,b"]),
            "\"b\" is not of the form HOST:PORT",
        ),
        (
            with(&["--election-timeout", "1"]),
            "'--election-timeout <DURATION>'",
        ),
        (
            with(&["--snapshot-after", "0"]),
            "'--snapshot-after <ENTRIES>'",
        ),
        (with(&["--max-value", "999999999"]), "'--max-value <BYTES>'"),
        (
            with(&["--max-connections", "0"]),
            "'--max-connections <COUNT>'",
        ),
    ];
    for (arguments, named) in cases {
        let told = run(&arguments);
        let (out, errors) = texts(&told);
        assert_eq!(told.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(named), "{arguments:?}: {errors}");
        assert_eq!(out, "");
    }
}

#[test]
fn a_node_that_cannot_start_ends_with_status_1_and_says_why() {
    let folder = Folder::new("start");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let missing = folder.0.join("missing");
    let (data, missing) = (folder.0.to_str().unwrap(), missing.to_str().unwrap());
    let free = "127.0.0.1:0";
    let serve = |http, data, more: &[&'static str]| {
        let first = [
            "serve", "--id", "1", "--listen", free, "--http", http, "--data", data,
        ];
        run(&[&first, more].concat())
    };
    let cases = [
        (serve(free, missing, &[]), format!("kv: {missing}")),
        (
            serve(&taken, data, &[]),
            format!("kv: cannot listen on {taken}: "),
        ),
        (
            serve(free, data, &["--heartbeat-interval", "2s"]),
            "kv: heartbeat_interval: 2s: ".to_owned(),
        ),
        (
            serve(free, data, &["--peer", "1=127.0.0.1:1,127.0.0.1:2"]),
            "kv: nodes: ".to_owned(),
        ),
    ];
    for (told, why) in cases {
        let (out, errors) = texts(&told);
        assert_eq!(told.status.code(), Some(1), "{why}: {errors}");
        assert!(errors.starts_with(&why), "{why}: {errors}");
        assert_eq!(out, "");
    }
    assert!(!Path::new(missing).exists());
}
