//! How etcd is asked, through the gateway by which it understands HTTP and JSON. Its own clients speak gRPC, which costs it less:
//! `benches/etcd/grpc` asks that way.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Method, Request, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::http::{Answer, Broken, Connection, PAUSE};
use super::load::{Ask, Target, Unanswered};

pub(crate) struct Etcd {
    connection: Connection,
    stale: bool,
}

impl Etcd {
    pub(crate) fn new(nodes: &[String], number: usize, stale: bool) -> Self {
        Self {
            connection: Connection::new(nodes, number, stale),
            stale,
        }
    }

    fn request(&self, ask: &Ask) -> Result<Request<Body>, Unanswered> {
        let (path, body) = match ask {
            Ask::Put { key, value } => (
                "/v3/kv/put",
                json!({ "key": BASE64_STANDARD.encode(key), "value": BASE64_STANDARD.encode(value) }),
            ),
            Ask::Get { key } => (
                "/v3/kv/range",
                json!({ "key": BASE64_STANDARD.encode(key), "serializable": self.stale }),
            ),
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, self.connection.node())
            .header(CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(body.to_string()));
        request.map_err(|error| error.to_string())
    }

    /// A key that is not there is no error to etcd. What may be old may be missing yet.
    fn found(&self, ask: &Ask, answer: &Answer) -> Result<(), Unanswered> {
        let needle = b"\"kvs\":[";
        let mut windows = answer.body.windows(needle.len());
        match ask {
            Ask::Get { .. } if !self.stale && !windows.any(|window| window == needle) => {
                Err("not found".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Target for Etcd {
    async fn ask(&mut self, ask: &Ask) -> Result<(), Unanswered> {
        loop {
            let request = self.request(ask)?;
            match self.connection.ask(request).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    return self.found(ask, &answer);
                }
                // A server without a leader waits for one, and says in the end that it is not known what has happened.
                Ok(answer) => {
                    self.connection.go_on();
                    return Err(told(&answer));
                }
                Err(Broken::Lost) if matches!(ask, Ask::Put { .. }) => {
                    self.connection.go_on();
                    return Err("the connection broke".to_owned());
                }
                Err(_) => self.connection.go_on(),
            }
            sleep(PAUSE).await;
        }
    }

    fn give_up(&mut self) {
        self.connection.go_on();
    }
}

fn told(answer: &Answer) -> Unanswered {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = body["error"].as_str().unwrap_or_default();
    format!("{} {error}", answer.status.as_u16())
}
