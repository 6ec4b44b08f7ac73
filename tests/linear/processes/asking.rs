//! Clients of the processes: each asks one thing at a time, by HTTP, goes where it is sent, and tells what it does not know.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value as Json;
use streamraft::sim::Dice;
use tokio::time::{Instant, sleep, timeout};

use crate::book::{Book, Key};
use crate::history::{Number, Op, Ret, Value};
use crate::ms;

/// How long one node may take to answer. Longer than its own patience, so that most say themselves what they do not know.
const ANSWER: Duration = Duration::from_millis(900);

/// For how long a client looks for a node that takes what it wants.
const PATIENCE: Duration = Duration::from_secs(3);

/// What one attempt has come to.
#[derive(Debug)]
pub(crate) enum Heard {
    Answer(StatusCode, Option<u64>, Bytes),
    /// Nothing has happened: ask there.
    Elsewhere(SocketAddr),
    /// Nothing has happened.
    Refused,
    Unknown,
}

/// Asks nodes by HTTP.
#[derive(Clone)]
pub(crate) struct Asker(Http<HttpConnector, Body>);

impl Asker {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(ms(300)));
        // One connection a request, and nothing asked twice behind our back.
        let mut http = Http::builder(TokioExecutor::new());
        http.pool_max_idle_per_host(0)
            .retry_canceled_requests(false);
        Self(http.build(connector))
    }

    pub(crate) async fn get(&self, node: SocketAddr, path: &str) -> Heard {
        let request = Request::get(format!("http://{node}{path}")).body(Body::empty());
        self.send(request.expect("a valid request")).await
    }

    async fn put(
        &self,
        node: SocketAddr,
        (key, condition, value): (Key, Condition, Value),
        stamp: Option<Stamp>,
    ) -> Heard {
        let mut request = Request::new(Body::from(value.to_string()));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = format!("http://{node}/kv/{key}")
            .parse()
            .expect("a valid address");
        match condition {
            Condition::None => None,
            Condition::Missing => {
                let any = HeaderValue::from_static("*");
                request.headers_mut().insert(IF_NONE_MATCH, any)
            }
            Condition::Index(index) => request.headers_mut().insert(IF_MATCH, index.into()),
        };
        if let Some(stamp) = stamp {
            request
                .headers_mut()
                .insert("session", stamp.session.into());
            request.headers_mut().insert("serial", stamp.serial.into());
        }
        self.send(request).await
    }

    /// Opens a session.
    async fn open(&self, node: SocketAddr) -> Heard {
        let request = Request::post(format!("http://{node}/session")).body(Body::empty());
        self.send(request.expect("a valid request")).await
    }

    async fn send(&self, request: Request<Body>) -> Heard {
        let response = match timeout(ANSWER, self.0.request(request)).await {
            Ok(Ok(response)) => response.map(Body::new),
            Ok(Err(error)) if error.is_connect() => return Heard::Refused,
            _ => return Heard::Unknown,
        };
        match response.status() {
            StatusCode::TEMPORARY_REDIRECT => {
                location(&response).map_or(Heard::Refused, Heard::Elsewhere)
            }
            StatusCode::SERVICE_UNAVAILABLE => Heard::Refused,
            // Also who was stopped while it was told what to write cannot say what it has read.
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Heard::Unknown,
            status => {
                let tag = response
                    .headers()
                    .get(ETAG)
                    .and_then(|tag| tag.to_str().ok());
                let index = tag.and_then(|tag| tag.trim_matches('"').parse().ok());
                match timeout(ANSWER, to_bytes(response.into_body(), 1 << 20)).await {
                    Ok(Ok(body)) => Heard::Answer(status, index, body),
                    _ => Heard::Unknown,
                }
            }
        }
    }
}

fn location(response: &Response<Body>) -> Option<SocketAddr> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    location
        .parse::<Uri>()
        .ok()?
        .authority()?
        .as_str()
        .parse()
        .ok()
}

#[derive(Clone, Copy)]
enum Condition {
    None,
    Missing,
    Index(u64),
}

/// The session of a client, and the number that its next write has there. A write with such a stamp can be asked for again.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    session: u64,
    serial: u64,
}

/// One client.
struct Client {
    dice: Dice,
    /// Of a thousand operations, so many are reads.
    reads: u16,
    node: SocketAddr,
    has_sessions: bool,
    stamp: Option<Stamp>,
}

/// What all clients of a run share.
pub(crate) struct World {
    pub(crate) asker: Asker,
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) book: RefCell<Book>,
    pub(crate) is_over: Cell<bool>,
    /// Reads are answered by whoever is asked, from its own state.
    pub(crate) stale: bool,
    /// How often something was asked for again of which nobody knew whether it had happened.
    pub(crate) again: Cell<u64>,
    indices: RefCell<Indices>,
}

/// Conditions name the index of the entry that wrote a value; the checker knows values.
#[derive(Default)]
struct Indices {
    of: BTreeMap<Value, u64>,
    values: BTreeMap<u64, Value>,
    /// Refusals that name an index of which the value was not known yet.
    refused: Vec<(Key, Number, u64)>,
}

impl Indices {
    fn know(&mut self, value: Value, index: u64) {
        self.of.insert(value, index);
        let before = self.values.insert(index, value);
        assert!(
            before.is_none_or(|before| before == value),
            "two values of {index}"
        );
    }
}

impl World {
    pub(crate) fn new(nodes: Vec<SocketAddr>, stale: bool) -> Self {
        Self {
            asker: Asker::new(),
            nodes,
            book: RefCell::new(Book::new()),
            is_over: Cell::new(false),
            stale,
            again: Cell::new(0),
            indices: RefCell::default(),
        }
    }

    /// The index of the newest write that was acknowledged or read.
    pub(crate) fn newest(&self) -> u64 {
        let indices = self.indices.borrow();
        indices
            .values
            .last_key_value()
            .map_or(0, |(index, _)| *index)
    }

    /// Gives refusals the values that they stand for. Those that nobody has seen are left out: they changed nothing.
    pub(crate) fn resolve(&self) {
        let mut book = self.book.borrow_mut();
        let indices = self.indices.borrow();
        for (key, number, index) in &indices.refused {
            let history = &mut book.histories[*key];
            match indices.values.get(index) {
                Some(value) => history.correct(*number, Ret::Found(Some(*value))),
                None => history.never(*number),
            }
        }
    }

    /// What an answer says, if it is one to this operation.
    fn understand(&self, (key, op, number): (Key, Op, Number), heard: Heard) -> Option<Ret> {
        let Heard::Answer(status, tag, body) = heard else {
            return None;
        };
        let mut indices = self.indices.borrow_mut();
        match (op.value(), status) {
            (None, StatusCode::NOT_FOUND) => Some(Ret::Got(None)),
            (None, StatusCode::OK) => {
                let value = str::from_utf8(&body).ok()?.parse().ok()?;
                indices.know(value, tag?);
                Some(Ret::Got(Some(value)))
            }
            (Some(value), StatusCode::OK) => {
                indices.know(value, tag?);
                Some(Ret::Done)
            }
            (Some(_), StatusCode::PRECONDITION_FAILED) => {
                let body: Json = serde_json::from_slice(&body).ok()?;
                let index = body.get("index")?.as_u64();
                let value = index.and_then(|index| indices.values.get(&index).copied());
                if let (Some(index), None) = (index, value) {
                    indices.refused.push((key, number, index));
                }
                Some(Ret::Found(value))
            }
            _ => panic!("{op:?}: {status} {body:?}"),
        }
    }

    fn next(&self, reads: u16, dice: &mut Dice) -> (Key, Op, Number) {
        let mut book = self.book.borrow_mut();
        let key = book.pick(dice);
        let (op, number) = book.ask(key, reads, dice);
        (key, op, number)
    }

    fn ends(&self, what: (Key, Op, Number), ret: Option<Ret>, is_taken: bool) {
        let mut book = self.book.borrow_mut();
        match ret {
            Some(ret) => book.told(what, ret),
            None => book.given_up(what, is_taken),
        }
    }

    /// A client, until all is over. Every second one has sessions.
    pub(crate) async fn client(self: Rc<Self>, seed: u64) {
        let mut dice = Dice::new(seed);
        let mut client = Client {
            reads: dice.pick(&[300, 500, 800]).copied().unwrap_or(500),
            node: self.any(&mut dice),
            has_sessions: seed.is_multiple_of(2),
            stamp: None,
            dice,
        };
        while !self.is_over.get() {
            if client.dice.chance(300) {
                client.node = self.any(&mut client.dice);
            }
            if client.has_sessions && client.stamp.is_none() {
                client.stamp = self.open(&mut client).await;
                continue;
            }
            let what = self.next(client.reads, &mut client.dice);
            let (ret, is_taken) = self.pursue(what, &mut client).await;
            self.ends(what, ret, is_taken);
            if what.1 != Op::Get
                && let Some(stamp) = &mut client.stamp
            {
                stamp.serial += 1;
            }
            sleep(ms(client.dice.up_to(30))).await;
        }
    }

    fn any(&self, dice: &mut Dice) -> SocketAddr {
        self.nodes[dice.below(self.nodes.len())]
    }

    /// Asks one node for a session.
    async fn open(&self, client: &mut Client) -> Option<Stamp> {
        let heard = self.asker.open(client.node).await;
        client.node = match heard {
            Heard::Elsewhere(there) => there,
            Heard::Answer(_, _, body) => {
                let body: Json = serde_json::from_slice(&body).ok()?;
                let session = body.get("session")?.as_u64()?;
                return Some(Stamp { session, serial: 1 });
            }
            _ => self.any(&mut client.dice),
        };
        sleep(ms(20)).await;
        None
    }

    /// Looks for a node that takes this. What it says, and whether one may have taken it.
    async fn pursue(&self, what: (Key, Op, Number), client: &mut Client) -> (Option<Ret>, bool) {
        let end = Instant::now() + PATIENCE;
        let mut is_taken = false;
        while Instant::now() < end {
            let heard = self.attempt(what, client).await;
            match heard {
                Heard::Answer(StatusCode::GONE, ..) => {
                    client.stamp = None;
                    return (None, true);
                }
                Heard::Answer(..) => return (self.understand(what, heard), true),
                Heard::Elsewhere(there) => client.node = there,
                Heard::Refused => client.node = self.any(&mut client.dice),
                Heard::Unknown => {
                    is_taken = true;
                    client.node = self.any(&mut client.dice);
                    if client.stamp.is_none() {
                        break;
                    }
                    self.again
                        .set(self.again.get() + u64::from(what.1 != Op::Get));
                }
            }
            sleep(ms(5 + client.dice.up_to(20))).await;
        }
        (None, is_taken)
    }

    async fn attempt(&self, (key, op, _): (Key, Op, Number), client: &Client) -> Heard {
        let (condition, value) = match op {
            Op::Get => {
                let stale = if self.stale { "?stale" } else { "" };
                let path = format!("/kv/{key}{stale}");
                return self.asker.get(client.node, &path).await;
            }
            Op::Put(value) => (Condition::None, value),
            Op::Cas(None, value) => (Condition::Missing, value),
            Op::Cas(Some(expected), value) => {
                let index = self.indices.borrow().of.get(&expected).copied();
                (Condition::Index(index.expect("it was found")), value)
            }
        };
        let what = (key, condition, value);
        self.asker.put(client.node, what, client.stamp).await
    }
}
