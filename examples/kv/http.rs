//! The HTTP interface: what can be asked of a node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};
use streamraft::raft::SessionStamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::answer::{Refusal, json_response};
use super::machine::Machine;
use super::replica::{ChangeError, Replica};
use super::values::{Change, Condition, Outcome};

/// The longest key, in bytes.
pub(crate) const MOST_KEY: usize = 512;

/// How much of the log is in the answer: the newest entry that was applied.
pub(crate) const INDEX: HeaderName = HeaderName::from_static("kv-index");

/// How often the key was written since it was created.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("kv-version");

/// The session that a change belongs to, which number it has there, and up to which number the client has its answers
/// (without it: all before this one).
pub(crate) const SESSION: HeaderName = HeaderName::from_static("session");
pub(crate) const SERIAL: HeaderName = HeaderName::from_static("serial");
const SETTLED: HeaderName = HeaderName::from_static("settled");

/// What the requests need.
pub(crate) struct Service {
    pub(crate) replica: Replica,
    /// Where the other nodes answer clients.
    pub(crate) others: BTreeMap<u64, String>,
    /// Whoever polls the node tells what it knows.
    pub(crate) node: mpsc::Sender<oneshot::Sender<Value>>,
    pub(crate) max_value: usize,
    pub(crate) request_timeout: Duration,
}

type Shared = State<Arc<Service>>;
type Key = Result<Path<String>, PathRejection>;

pub(crate) fn router(service: Service) -> Router {
    let limit = DefaultBodyLimit::max(service.max_value);
    Router::new()
        .route("/kv/{key}", get(read).put(write).delete(remove))
        .route("/session", post(open))
        .route("/session/{session}", delete(close))
        .route("/status", get(status))
        .fallback(async || Refusal::NoSuchPath)
        .method_not_allowed_fallback(async || Refusal::BadMethod)
        .layer(limit)
        .with_state(Arc::new(service))
}

async fn read(State(service): Shared, key: Key, uri: Uri) -> Result<Response, Refusal> {
    let key = checked(key)?;
    let look = |machine: &Machine| (machine.applied, machine.values.get(&key).cloned());
    let (applied, value) = if uri.query() == Some("stale") {
        service.replica.peek(look)
    } else {
        let read = timeout(service.request_timeout, service.replica.read(look)).await;
        let read = read.map_err(|_| Refusal::TimedOut)?;
        read.map_err(|error| Refusal::of_read(&error, |leader| service.locate(leader, &uri)))?
    };
    let value = value.ok_or(Refusal::NotFound { applied })?;
    let headers = [
        (ETAG, etag(value.index)),
        (VERSION, value.version.into()),
        (INDEX, applied.into()),
    ];
    Ok((headers, value.bytes).into_response())
}

async fn write(
    State(service): Shared,
    key: Key,
    uri: Uri,
    request: Request,
) -> Result<Response, Refusal> {
    let stamp = stamp(request.headers())?;
    let change = Change {
        key: checked(key)?,
        condition: condition(request.headers())?,
        value: Some(service.body(request).await?),
    };
    service.change(stamp, &change, &uri).await
}

async fn remove(
    State(service): Shared,
    key: Key,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let change = Change {
        key: checked(key)?,
        condition: condition(&headers)?,
        value: None,
    };
    service.change(stamp(&headers)?, &change, &uri).await
}

async fn open(State(service): Shared, uri: Uri) -> Result<Response, Refusal> {
    let opened = service.replica.open_session();
    let session = service.in_time(opened, &uri).await?;
    Ok(json_response(
        StatusCode::OK,
        &json!({ "session": session }),
    ))
}

async fn close(
    State(service): Shared,
    session: Result<Path<u64>, PathRejection>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let Path(session) = session.map_err(|_| Refusal::NoSuchPath)?;
    let closed = service.replica.close_session(session);
    service.in_time(closed, &uri).await?;
    Ok(json_response(
        StatusCode::OK,
        &json!({ "session": session }),
    ))
}

async fn status(State(service): Shared) -> Result<Response, Refusal> {
    let (reply, answer) = oneshot::channel();
    let asked = service.node.send(reply).await;
    asked.map_err(|_| Refusal::Stopping)?;
    let mut status = answer.await.map_err(|_| Refusal::Stopping)?;
    let (applied, keys) = service
        .replica
        .peek(|machine| (machine.applied, machine.values.len()));
    status["applied"] = applied.into();
    status["keys"] = keys.into();
    Ok(json_response(StatusCode::OK, &status))
}

impl Service {
    async fn change(
        &self,
        stamp: Option<SessionStamp>,
        change: &Change,
        uri: &Uri,
    ) -> Result<Response, Refusal> {
        let changing = async {
            match stamp {
                Some(stamp) => self.replica.change_once(&stamp, change).await,
                None => self.replica.change(change).await,
            }
        };
        let (index, body) = match self.in_time(changing, uri).await? {
            Outcome::Refused(index) => return Err(Refusal::Precondition { index }),
            Outcome::Written(index) => (index, json!({ "index": index })),
            Outcome::Removed(index, existed) => {
                (index, json!({ "index": index, "existed": existed }))
            }
        };
        let mut response = json_response(StatusCode::OK, &body);
        response.headers_mut().insert(ETAG, etag(index));
        Ok(response)
    }

    /// What came of a change, if it came in time.
    async fn in_time<T, E: Into<ChangeError>>(
        &self,
        changing: impl Future<Output = Result<T, E>>,
        uri: &Uri,
    ) -> Result<T, Refusal> {
        let changed = timeout(self.request_timeout, changing).await;
        let locate = |leader| self.locate(leader, uri);
        let changed = changed.map_err(|_| Refusal::Unknown)?;
        changed.map_err(|error| Refusal::of_change(&error.into(), locate))
    }

    /// Where another node answers the same request.
    fn locate(&self, leader: u64, uri: &Uri) -> Option<String> {
        let path = uri.path_and_query()?;
        let at = self.others.get(&leader)?;
        Some(format!("http://{at}{path}"))
    }

    /// The whole body, if it is not too long and does not take too long.
    async fn body(&self, request: Request) -> Result<Bytes, Refusal> {
        let limit = self.max_value;
        let size = number(request.headers(), &CONTENT_LENGTH)?;
        if size.is_some_and(|size| size > limit as u64) {
            return Err(Refusal::TooLarge { size, limit });
        }
        let bytes = timeout(self.request_timeout, Bytes::from_request(request, &())).await;
        bytes.map_err(|_| Refusal::SlowBody)?.map_err(|error| {
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                return Refusal::TooLarge { size, limit };
            }
            Refusal::BadBody(error.body_text())
        })
    }
}

fn checked(key: Key) -> Result<String, Refusal> {
    let Path(key) = key.map_err(|error| Refusal::BadKey(error.body_text()))?;
    if key.is_empty() || key.len() > MOST_KEY {
        let why = format!("a key of {} bytes: 1 to {MOST_KEY} are allowed", key.len());
        return Err(Refusal::BadKey(why));
    }
    Ok(key)
}

/// What must hold for a change, by the headers of HTTP for it.
fn condition(headers: &HeaderMap) -> Result<Condition, Refusal> {
    let any = |name| {
        let mut values = headers.get_all(name).iter();
        Ok(match (values.next(), values.next()) {
            (value, None) => value,
            _ => return Err(bad(name, "it stands more than once")),
        })
    };
    match (any(&IF_MATCH)?, any(&IF_NONE_MATCH)?) {
        (None, None) => Ok(Condition::Always),
        (Some(_), Some(_)) => Err(bad(&IF_MATCH, "it cannot stand beside If-None-Match")),
        (Some(value), None) if value == "*" => Ok(Condition::Exists),
        (Some(value), None) => match unquoted(value).and_then(|index| index.parse().ok()) {
            Some(index) => Ok(Condition::Index(index)),
            None => Err(bad(&IF_MATCH, "it is neither the index of an entry nor *")),
        },
        (None, Some(value)) if value == "*" => Ok(Condition::Missing),
        (None, Some(_)) => Err(bad(&IF_NONE_MATCH, "only * is understood")),
    }
}

/// What says that a change is to be made once, if the client wants that.
fn stamp(headers: &HeaderMap) -> Result<Option<SessionStamp>, Refusal> {
    let settled = number(headers, &SETTLED)?;
    match (number(headers, &SESSION)?, number(headers, &SERIAL)?) {
        (None, None) if settled.is_some() => Err(bad(&SETTLED, "it needs Session and Serial")),
        (None, None) => Ok(None),
        (Some(_), None) => Err(bad(&SESSION, "it needs Serial")),
        (None, Some(_)) => Err(bad(&SERIAL, "it needs Session")),
        (Some(session), Some(serial)) => {
            let settled = settled.unwrap_or(serial.saturating_sub(1));
            let stamp = SessionStamp::new(session, serial, settled);
            let why = "sessions and serials are above 0, and a serial is above what is settled";
            Ok(Some(stamp.map_err(|_| bad(&SERIAL, why))?))
        }
    }
}

fn bad(name: &HeaderName, why: &'static str) -> Refusal {
    let name = name.clone();
    Refusal::BadHeader { name, why }
}

/// A header that holds a number, if it is there.
fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| bad(name, "it is no number"))
}

/// The text of a value, without the quotes that tags have.
fn unquoted(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    Some(inner.unwrap_or(text))
}

fn etag(index: u64) -> HeaderValue {
    let tag = format!("\"{index}\"");
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}
