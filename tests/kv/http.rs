//! What a node says over HTTP, byte by byte.

use serde_json::json;

use super::node::{Folder, Node, run, texts};

/// How a request begins that writes a key.
const PUT: &str = "PUT /kv/k HTTP/1.1\r\nhost: x\r\n";

fn put(path: &str, headers: &str, body: &str) -> String {
    let len = body.len();
    format!("PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len}\r\n{headers}\r\n{body}")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

#[test]
fn mistakes_over_http_are_told_and_harm_nothing() {
    let folder = Folder::new("mistakes");
    let options = ["--max-value", "1000", "--request-timeout", "500ms"];
    let node = Node::alone(&folder, &options);
    let (long, chunk) = ("k".repeat(513), "v".repeat(1001));
    let chunked = format!("{PUT}transfer-encoding: chunked\r\n\r\n3e9\r\n{chunk}\r\n0\r\n\r\n");
    let error = |error: &str| json!({ "error": error });
    let too_large =
        |size: Option<u64>| json!({ "error": "too_large", "size": size, "limit": 1000 });
    let cases = [
        (put(&format!("/kv/{long}"), "", "v"), 400, error("bad_key")),
        (put("/kv/%ff", "", "v"), 400, error("bad_key")),
        (put("/kv/k", "", &chunk), 413, too_large(Some(1001))),
        (chunked, 413, too_large(None)),
        // It is refused before it is sent.
        (
            format!("{PUT}content-length: 9999999999\r\n\r\n"),
            413,
            too_large(Some(9_999_999_999)),
        ),
        // The rest never comes.
        (
            format!("{PUT}content-length: 9\r\n\r\nv"),
            408,
            error("slow_body"),
        ),
        (put("/kv/k/k", "", "v"), 404, error("no_such_path")),
        (put("/kv/", "", "v"), 404, error("no_such_path")),
        (put("/session", "", ""), 405, error("bad_method")),
        (
            "DELETE /session/x HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            404,
            error("no_such_path"),
        ),
        (
            put("/kv/k", "session: 999\r\nserial: 1\r\n", "v"),
            410,
            error("session_expired"),
        ),
        (
            put("/kv/k", "if-match: *\r\n", "v"),
            412,
            json!({ "error": "precondition", "index": null }),
        ),
        (get("/kv/k"), 404, error("not_found")),
        // What is no HTTP is answered by the library.
        (put("/kv/k", "x-broken: \u{1}\r\n", "v"), 400, json!({})),
        (get(&"/p".repeat(35_000)), 414, json!({})),
        ("no HTTP at all\r\n\r\n".to_owned(), 400, json!({})),
    ];
    for (request, status, told) in cases {
        let answer = node.ask(&request);
        let start: String = request.chars().take(100).collect();
        assert_eq!(answer.status, status, "{start:?}: {answer:?}");
        for (field, value) in told.as_object().into_iter().flatten() {
            assert_eq!(answer.json()[field], *value, "{start:?}: {answer:?}");
        }
    }
    let longest = put(&format!("/kv/{}", &long[1..]), "", &chunk[1..]);
    assert_eq!(node.ask(&longest).status, 200);
    let gone = node.ask(&get("/kv/k?stale"));
    assert_eq!(
        gone.status, 404,
        "none of the mistakes has written: {gone:?}"
    );
    node.end();
}

#[test]
fn a_header_that_is_not_understood_is_named() {
    let folder = Folder::new("headers");
    let node = Node::alone(&folder, &[]);
    for (headers, named) in [
        ("if-match: W/x\r\n", "if-match"),
        ("if-match: 1\r\nif-match: 2\r\n", "if-match"),
        ("if-match: *\r\nif-none-match: *\r\n", "if-match"),
        ("if-none-match: 7\r\n", "if-none-match"),
        ("session: 1\r\n", "session"),
        ("session: one\r\nserial: 1\r\n", "session"),
        ("serial: 1\r\n", "serial"),
        ("session: 1\r\nserial: 0\r\n", "serial"),
        ("session: 1\r\nserial: -1\r\n", "serial"),
        ("session: 1\r\nserial: 2\r\nsettled: 2\r\n", "serial"),
        ("session: 1\r\nserial: 18446744073709551616\r\n", "serial"),
        ("settled: 2\r\n", "settled"),
    ] {
        let answer = node.ask(&put("/kv/k", headers, "v"));
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["error"]),
            (400, &json!("bad_header")),
            "{headers:?}"
        );
        assert_eq!(body["header"], named, "{headers:?}");
    }
    assert_eq!(node.ask(&get("/kv/k")).status, 404);
}

#[test]
fn a_change_of_a_session_is_made_once_also_after_a_kill() {
    let folder = Folder::new("session");
    let options = ["--snapshot-after", "5", "--trailing", "0"];
    let mut node = Node::alone(&folder, &options);
    let opened = node.ask("POST /session HTTP/1.1\r\nhost: x\r\n\r\n");
    let session = opened.json()["session"].as_u64().unwrap();
    let put = |serial: u64, value: &str| {
        let headers = format!("session: {session}\r\nserial: {serial}\r\n");
        put("/kv/k", &headers, value)
    };
    let mut index = 0;
    for serial in 1..=12 {
        let first = node.ask(&put(serial, "a"));
        assert_eq!(first.status, 200, "{first:?}");
        index = first.json()["index"].as_u64().unwrap();
        let again = node.ask(&put(serial, "b"));
        assert_eq!(again.json(), first.json(), "what was answered before");
    }
    assert_eq!(node.ask(&put(11, "c")).json()["error"], "session_settled");
    let status = node.ask(&get("/status")).json();
    assert!(status["snapshot"].as_u64().unwrap() > session, "{status}");

    node.child.kill().unwrap();
    node.child.wait().unwrap();
    node = Node::alone(&folder, &options);
    assert_eq!(node.ask(&put(12, "d")).json()["index"], index);
    let read = node.ask(&get("/kv/k"));
    assert_eq!((read.body.as_str(), read.header("kv-version")), ("a", "12"));
    assert_eq!(read.header("etag"), format!("\"{index}\""));

    let close = format!("DELETE /session/{session} HTTP/1.1\r\nhost: x\r\n\r\n");
    for _ in 0..2 {
        let closed = node.ask(&close);
        assert_eq!(
            (closed.status, closed.json()["session"].as_u64()),
            (200, Some(session))
        );
    }
    assert_eq!(node.ask(&put(13, "e")).json()["error"], "session_expired");
    assert_eq!(node.ask(&get("/kv/k")).body, "a");
}

#[test]
fn the_commands_of_a_client_say_what_they_did() {
    let folder = Folder::new("commands");
    let node = Node::alone(&folder, &[]);
    let at = node.http.to_string();
    let run = |arguments: &[&str]| {
        let told = run(&[arguments, &["--at", &at]].concat());
        let (out, errors) = texts(&told);
        (told.status.code(), out, errors)
    };
    let (code, out, _) = run(&["put", "a/b %", "hello"]);
    assert_eq!(code, Some(0));
    let index = out.trim_end().strip_prefix("written by entry ").unwrap();
    assert_eq!(run(&["get", "a/b %"]).1, "hello\n");
    assert_eq!(run(&["get", "a/b %", "--stale"]).1, "hello\n");
    assert_eq!(
        run(&["put", "a/b %", "again", "--if-index", index]).0,
        Some(0)
    );
    let (code, out, errors) = run(&["put", "a/b %", "no", "--if-index", index]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(errors.contains("\"error\":\"precondition\""), "{errors}");
    assert_eq!(run(&["put", "a/b %", "no", "--if-missing"]).0, Some(1));
    assert_eq!(run(&["get", "a/b %"]).1, "again\n");
    assert!(run(&["delete", "a/b %"]).1.starts_with("removed: entry "));
    assert!(run(&["delete", "a/b %"]).1.starts_with("not there: entry "));
    let (code, _, errors) = run(&["get", "a/b %"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("not_found"), "{errors}");
    assert!(run(&["status"]).1.contains("\"role\":\"leader\""));
    node.end();
    let (code, _, errors) = run(&["get", "k", "--timeout", "200ms"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("Connection refused"), "{errors}");
}

#[test]
fn who_does_not_lead_sends_to_the_one_that_does_or_says_that_nobody_does() {
    let folder = Folder::new("redirect");
    let mut nodes = Node::three(&folder);
    let (put, get) = (&put("/kv/k%20k", "", "v"), &get("/kv/k%20k"));
    let leader = Node::leader_of(&nodes);
    assert_eq!(nodes[leader].ask(put).status, 200);
    for (at, node) in nodes.iter().enumerate().filter(|(at, _)| *at != leader) {
        for request in [put, get] {
            let told = node.ask(request);
            assert_eq!(
                (told.status, &told.json()["error"]),
                (307, &json!("not_leader"))
            );
            assert_eq!(told.json()["leader"], leader + 1);
            let location = format!("http://{}/kv/k%20k", nodes[leader].http);
            assert_eq!(told.header("location"), location, "{at}");
        }
    }

    // Asked to end, it hands over, and the others go on at once.
    let last = nodes.remove(leader).end();
    assert!(
        last.contains("s follower term="),
        "it leads no more: {last}"
    );
    let leader = Node::leader_of(&nodes);
    assert_eq!(nodes[leader].ask(get).body, "v");

    // One of three knows nobody who leads, and has what it has.
    let stale = &get.replace("k%20k", "k%20k?stale");
    let mut killed = nodes.remove(leader);
    killed.until("the other's news of what is committed", || {
        (nodes[0].ask(stale).body == "v").then_some(())
    });
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    let alone = &nodes[0];
    let told = alone.until("503", || {
        let told = alone.ask(put);
        (told.status == 503).then_some(told)
    });
    assert_eq!(
        (&told.json()["error"], told.header("retry-after")),
        (&json!("no_leader"), "1")
    );
    assert_eq!(alone.ask(get).json()["error"], "no_leader");
    assert_eq!(alone.ask(stale).body, "v");
}
