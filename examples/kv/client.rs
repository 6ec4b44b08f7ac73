//! A client: asks one node after the other until one has answered, goes where it is sent, asks again what is made once in any
//! case, and tells what it does not know.

use std::fmt;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{IF_MATCH, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use streamraft::raft::Seeker;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::http::{SERIAL, SESSION};
use super::values::Condition;

/// How long one node may take to answer: longer than its own patience, or it could not say what it does not know.
const ANSWER: Duration = Duration::from_secs(6);

/// How long a node may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// How long to wait when nobody could say who leads, at first and at most.
const WAITS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];

/// How many nodes it remembers that others have sent it to.
const MOST_NODES: usize = 64;

const SILENT: &str = "no answer";

/// The longest answer.
const MOST: usize = 257 << 20;

/// The nodes of a cluster, as a client sees them. Keeps its connections, and remembers who has answered.
#[derive(Clone)]
pub(crate) struct Cluster {
    http: Http<HttpConnector, Body>,
    nodes: Vec<String>,
    seeker: Option<Seeker<String>>,
    patience: Duration,
}

/// What makes changes once, however often they are asked for. One at a time.
#[derive(Debug)]
pub(crate) struct Session {
    id: u64,
    serial: u64,
}

impl Session {
    /// Numbers a change.
    pub(crate) fn stamp(&mut self, mut ask: Ask) -> Ask {
        self.serial += 1;
        ask.headers.insert(SESSION, self.id.into());
        ask.headers.insert(SERIAL, self.serial.into());
        ask.can_repeat = true;
        ask
    }
}

/// What to ask.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    /// It does no harm to ask twice.
    can_repeat: bool,
}

impl Ask {
    fn new(method: Method, path: String) -> Self {
        Self {
            can_repeat: method == Method::GET,
            method,
            path,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn put(key: &str, value: impl Into<Bytes>) -> Self {
        let mut ask = Self::new(Method::PUT, path(key));
        ask.body = value.into();
        ask
    }

    pub(crate) fn get(key: &str) -> Self {
        Self::new(Method::GET, path(key))
    }

    /// Of the state of whoever is asked.
    pub(crate) fn stale(key: &str) -> Self {
        Self::new(Method::GET, path(key) + "?stale")
    }

    pub(crate) fn delete(key: &str) -> Self {
        Self::new(Method::DELETE, path(key))
    }

    pub(crate) fn status() -> Self {
        Self::new(Method::GET, "/status".to_owned())
    }

    pub(crate) fn only_if(mut self, condition: Condition) -> Self {
        let any = HeaderValue::from_static("*");
        match condition {
            Condition::Always => None,
            Condition::Exists => self.headers.insert(IF_MATCH, any),
            Condition::Missing => self.headers.insert(IF_NONE_MATCH, any),
            Condition::Index(index) => self.headers.insert(IF_MATCH, index.into()),
        };
        self
    }

    fn request(&self, target: &str) -> Result<Request<Body>, axum::http::Error> {
        let uri = format!("http://{target}{}", self.path);
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.parse::<Uri>()?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// The key as one segment of a path.
fn path(key: &str) -> String {
    let mut path = "/kv/".to_owned();
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => path.push(byte.into()),
            // A dot too: some take a segment of dots for a step in the path.
            _ => path += &format!("%{byte:02X}"),
        }
    }
    path
}

/// An answer that is final.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Who has answered.
    pub(crate) from: String,
}

impl Answer {
    /// A number in a header, such as an `ETag`.
    pub(crate) fn number(&self, name: impl axum::http::header::AsHeaderName) -> Option<u64> {
        let text = self.headers.get(name)?.to_str().ok()?;
        text.trim_matches('"').parse().ok()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What a program can go by, if it is a refusal.
    pub(crate) fn error(&self) -> Option<String> {
        Some(self.json().get("error")?.as_str()?.to_owned())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// It may have happened, or may happen later.
    Unknown(String),
    /// Nothing has happened.
    TooLate(String),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => write!(f, "it may have happened, or may happen later: {why}"),
            Self::TooLate(why) => write!(f, "nobody has answered in time; at last: {why}"),
        }
    }
}

impl std::error::Error for Unanswered {}

/// What one attempt has come to.
enum Attempt {
    Answered(Answer),
    /// Ask there.
    Sent(String),
    /// Nothing has happened, and somebody else may know more.
    Refused(String),
    /// Nothing is known.
    Lost(String),
}

impl Cluster {
    /// A client of these nodes. It tries that long.
    pub(crate) fn new(nodes: Vec<String>, patience: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let http = Http::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self {
            http,
            seeker: seeker(&nodes),
            nodes,
            patience,
        }
    }

    pub(crate) fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Opens a session.
    pub(crate) async fn session(&mut self) -> Result<Session, Unanswered> {
        let mut ask = Ask::new(Method::POST, "/session".to_owned());
        // Twice, it opens a second one that nobody uses, and that goes when there are too many.
        ask.can_repeat = true;
        let answer = self.ask(&ask).await?;
        let id = answer.json()["session"].as_u64();
        let id = id.ok_or_else(|| Unanswered::TooLate(told(&answer)))?;
        Ok(Session { id, serial: 0 })
    }

    /// Closes a session, so that it takes no place.
    pub(crate) async fn close(&mut self, session: Session) -> Result<(), Unanswered> {
        let mut ask = Ask::new(Method::DELETE, format!("/session/{}", session.id));
        ask.can_repeat = true;
        self.ask(&ask).await.map(drop)
    }

    /// Asks until there is an answer. What was sent and got none is asked again only if that does no harm.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Result<Answer, Unanswered> {
        let end = Instant::now() + self.patience;
        let mut is_unknown = false;
        loop {
            let Some(target) = self.seeker.as_ref().map(|it| it.target().clone()) else {
                return Err(Unanswered::TooLate("there is nobody to ask".to_owned()));
            };
            let attempt = timeout_at(end, self.attempt(&target, ask)).await;
            let (why, leader) = match attempt.unwrap_or_else(|_| Attempt::Lost(SILENT.to_owned())) {
                Attempt::Answered(answer) => {
                    self.seeker.iter_mut().for_each(Seeker::succeeded);
                    return Ok(answer);
                }
                Attempt::Sent(leader) => (format!("sent to {leader}"), Some(leader)),
                Attempt::Refused(why) => (why, None),
                Attempt::Lost(why) => {
                    is_unknown |= ask.method != Method::GET;
                    (why, None)
                }
            };
            let why = format!("{target}: {why}");
            let wait = self.next(leader.as_ref());
            let is_over = Instant::now() + wait >= end;
            if is_unknown && (is_over || !ask.can_repeat) {
                return Err(Unanswered::Unknown(why));
            }
            if is_over {
                return Err(Unanswered::TooLate(why));
            }
            sleep(wait).await;
        }
    }

    /// Asks this node alone, once.
    pub(crate) async fn ask_only(&self, node: &str, ask: &Ask) -> Result<Answer, Unanswered> {
        match timeout(self.patience, self.attempt(node, ask)).await {
            Ok(Attempt::Answered(answer)) => Ok(answer),
            Ok(Attempt::Sent(why) | Attempt::Refused(why)) => Err(Unanswered::TooLate(why)),
            Ok(Attempt::Lost(why)) => Err(Unanswered::Unknown(why)),
            Err(_) => Err(Unanswered::Unknown(SILENT.to_owned())),
        }
    }

    /// Goes on to the leader that was named, or to another node. How long to wait before.
    fn next(&mut self, leader: Option<&String>) -> Duration {
        let Some(seeker) = &mut self.seeker else {
            return Duration::ZERO;
        };
        if let Some(leader) = leader
            && !self.nodes.contains(leader)
            && self.nodes.len() < MOST_NODES
        {
            self.nodes.push(leader.clone());
            seeker.insert(leader.clone());
        }
        seeker.redirected(leader)
    }

    async fn attempt(&self, target: &str, ask: &Ask) -> Attempt {
        let request = match ask.request(target) {
            Ok(request) => request,
            Err(error) => return Attempt::Refused(error.to_string()),
        };
        let response = match timeout(ANSWER, self.http.request(request)).await {
            Ok(Ok(response)) => response,
            // Nobody was there to hear it.
            Ok(Err(error)) if error.is_connect() => return Attempt::Refused(with_cause(&error)),
            Ok(Err(error)) => return Attempt::Lost(with_cause(&error)),
            Err(_) => return Attempt::Lost(SILENT.to_owned()),
        };
        let (head, body) = response.into_parts();
        let body = timeout(ANSWER, axum::body::to_bytes(Body::new(body), MOST)).await;
        let Ok(Ok(body)) = body else {
            return Attempt::Lost("the answer breaks off".to_owned());
        };
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            body,
            from: target.to_owned(),
        };
        match answer.status {
            StatusCode::TEMPORARY_REDIRECT => match location(&answer) {
                Some(target) => Attempt::Sent(target),
                None => Attempt::Refused("sent to nowhere".to_owned()),
            },
            StatusCode::SERVICE_UNAVAILABLE => Attempt::Refused(told(&answer)),
            StatusCode::GATEWAY_TIMEOUT => Attempt::Lost(told(&answer)),
            _ => Attempt::Answered(answer),
        }
    }
}

fn seeker(nodes: &[String]) -> Option<Seeker<String>> {
    let [first, most] = WAITS;
    Some(Seeker::new(nodes.iter().cloned())?.waits(first, most))
}

/// Where a redirect leads.
fn location(answer: &Answer) -> Option<String> {
    let uri: Uri = answer.headers.get(LOCATION)?.to_str().ok()?.parse().ok()?;
    Some(uri.authority()?.to_string())
}

fn told(answer: &Answer) -> String {
    answer.error().unwrap_or_else(|| answer.status.to_string())
}

fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A node that hears what is asked, and is gone before it answers. How often it was asked.
    async fn silent() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1_000]).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        (address, asked)
    }

    #[tokio::test]
    async fn what_got_no_answer_is_asked_again_only_if_that_does_no_harm() {
        let mut session = Session { id: 7, serial: 0 };
        let put = Ask::put("key", "value");
        let (node, asked) = silent().await;
        let mut cluster = Cluster::new(vec![node], Duration::from_millis(300));
        let mut ask = async |ask: &Ask| {
            (
                cluster.ask(ask).await.unwrap_err(),
                asked.swap(0, Ordering::Relaxed),
            )
        };

        let (error, times) = ask(&put).await;
        assert!(
            matches!(error, Unanswered::Unknown(_)) && times == 1,
            "{error}, {times}"
        );
        let (error, times) = ask(&session.stamp(put)).await;
        assert!(
            matches!(error, Unanswered::Unknown(_)) && times > 1,
            "{error}, {times}"
        );
        let (error, times) = ask(&Ask::get("key")).await;
        assert!(
            matches!(error, Unanswered::TooLate(_)) && times > 1,
            "{error}, {times}"
        );
    }

    #[test]
    fn a_key_is_one_segment_of_a_path() {
        assert_eq!(path("a-Z_0~"), "/kv/a-Z_0~");
        assert_eq!(path("a/b?c %.\u{e4}"), "/kv/a%2Fb%3Fc%20%25%2E%C3%A4");
    }
}
