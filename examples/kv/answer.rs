//! What is answered over HTTP when it is not what was asked for. Every such answer has a body in JSON whose field `error`
//! programs can go by.

use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use streamraft::raft::{ClientError, ProposeError, SessionError};

use super::http::INDEX;
use super::replica::ChangeError;

/// Why a request is not answered with what was asked for. Nothing has happened, but for what is [`Unknown`](Self::Unknown).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Ask that node, there.
    NotLeader {
        leader: u64,
        location: String,
    },
    /// Try again soon: nobody is known to lead.
    NoLeader,
    /// This node ends: ask another one.
    Stopping,
    /// Try again soon.
    Busy,
    /// A change that may have happened, or may happen later.
    Unknown,
    /// A read that took too long.
    TimedOut,
    NotFound {
        applied: u64,
    },
    /// The condition does not hold: by which entry the value is that is there.
    Precondition {
        index: Option<u64>,
    },
    TooLarge {
        size: Option<u64>,
        limit: usize,
    },
    BadKey(String),
    BadHeader {
        name: HeaderName,
        why: &'static str,
    },
    BadBody(String),
    SlowBody,
    /// Let go for those of others, or never opened: whether the change was made is not known.
    SessionExpired,
    /// The client has said before that it needs no answer to this one.
    SessionSettled,
    NoSuchPath,
    BadMethod,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotLeader { .. } => StatusCode::TEMPORARY_REDIRECT,
            Self::NoLeader | Self::Stopping | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown | Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound { .. } | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Precondition { .. } => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadKey(_) | Self::BadHeader { .. } | Self::BadBody(_) => StatusCode::BAD_REQUEST,
            Self::SessionExpired => StatusCode::GONE,
            Self::SessionSettled => StatusCode::CONFLICT,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::BadMethod => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn body(&self) -> Value {
        match self {
            Self::NotLeader { leader, location } => {
                json!({ "error": "not_leader", "leader": leader, "location": location })
            }
            Self::NoLeader => json!({ "error": "no_leader", "message": "try again soon" }),
            Self::Stopping => json!({ "error": "stopping", "message": "ask another node" }),
            Self::Busy => json!({ "error": "busy", "message": "try again soon" }),
            Self::Unknown => json!({
                "error": "unknown",
                "message": "it may have happened, or may happen later: read before you write again",
            }),
            Self::TimedOut => json!({ "error": "timed_out", "message": "no quorum has answered" }),
            Self::NotFound { .. } => json!({ "error": "not_found" }),
            Self::Precondition { index } => json!({ "error": "precondition", "index": index }),
            Self::TooLarge { size, limit } => {
                json!({ "error": "too_large", "size": size, "limit": limit })
            }
            Self::BadKey(why) => json!({ "error": "bad_key", "message": why }),
            Self::BadHeader { name, why } => {
                json!({ "error": "bad_header", "header": name.as_str(), "message": why })
            }
            Self::BadBody(why) => json!({ "error": "bad_body", "message": why }),
            Self::SessionExpired => json!({
                "error": "session_expired",
                "message": "it may have happened: read before you open another session",
            }),
            Self::SessionSettled => json!({
                "error": "session_settled",
                "message": "it was settled before, and is not made any more, if it was not",
            }),
            Self::SlowBody => json!({ "error": "slow_body" }),
            Self::NoSuchPath => json!({
                "error": "no_such_path",
                "message": "there are /kv/KEY, /session and /status",
            }),
            Self::BadMethod => json!({ "error": "bad_method" }),
        }
    }

    /// What a client of the log was told. `locate` says where another node answers what was asked here.
    pub(crate) fn of_change(
        error: &ChangeError,
        locate: impl FnOnce(u64) -> Option<String>,
    ) -> Self {
        match error {
            ChangeError::Client(ClientError::NotTaken(error)) => Self::not_taken(error, locate),
            ChangeError::Form(error) => Self::BadBody(error.to_string()),
            ChangeError::Session(SessionError::Expired) => Self::SessionExpired,
            ChangeError::Session(SessionError::Settled) => Self::SessionSettled,
            // Whether the node has stopped or leads no more: it may be in the log of the next leader.
            ChangeError::Client(_) | ChangeError::Session(_) => Self::Unknown,
        }
    }

    /// The same of a read, which changes nothing, whatever becomes of it.
    pub(crate) fn of_read(
        error: &ClientError<u64>,
        locate: impl FnOnce(u64) -> Option<String>,
    ) -> Self {
        match error {
            ClientError::NotTaken(error) => Self::not_taken(error, locate),
            ClientError::Stopped | ClientError::NotApplied => Self::Stopping,
            _ => Self::NoLeader,
        }
    }

    fn not_taken(error: &ProposeError<u64>, locate: impl FnOnce(u64) -> Option<String>) -> Self {
        match *error {
            ProposeError::NotLeader {
                leader: Some(leader),
            } => match locate(leader) {
                Some(location) => Self::NotLeader { leader, location },
                None => Self::NoLeader,
            },
            ProposeError::NotLeader { leader: None } => Self::NoLeader,
            ProposeError::TooLarge { len, most } => Self::TooLarge {
                size: Some(len as u64),
                limit: most,
            },
            ProposeError::Stopped => Self::Stopping,
            _ => Self::Busy,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status(), &self.body());
        let headers = response.headers_mut();
        match self {
            Self::NotLeader { location, .. } => {
                if let Ok(location) = HeaderValue::from_str(&location) {
                    headers.insert(LOCATION, location);
                }
            }
            Self::NoLeader | Self::Stopping | Self::Busy => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::NotFound { applied } => {
                headers.insert(INDEX, applied.into());
            }
            _ => {}
        }
        response
    }
}

/// An answer of this status, with this body.
pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, kind)], format!("{body}\n")).into_response()
}
