//! How the example `kv` is asked.

use axum::body::Body;
use axum::http::header::{HOST, LOCATION};
use axum::http::{Method, Request, StatusCode, Uri};
use tokio::time::sleep;

use super::http::{Answer, Broken, Connection, PAUSE};
use super::load::{Ask, Target, Unanswered};

pub(crate) struct Kv {
    connection: Connection,
    stale: bool,
}

impl Kv {
    pub(crate) fn new(nodes: &[String], number: usize, stale: bool) -> Self {
        Self {
            connection: Connection::new(nodes, number, stale),
            stale,
        }
    }

    fn request(&self, ask: &Ask) -> Result<Request<Body>, Unanswered> {
        let (method, path, body) = match ask {
            Ask::Put { key, value } => {
                (Method::PUT, format!("/kv/{key}"), Body::from(value.clone()))
            }
            Ask::Get { key } => {
                let stale = if self.stale { "?stale" } else { "" };
                (Method::GET, format!("/kv/{key}{stale}"), Body::empty())
            }
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.connection.node());
        request.body(body).map_err(|error| error.to_string())
    }
}

impl Target for Kv {
    async fn ask(&mut self, ask: &Ask) -> Result<(), Unanswered> {
        loop {
            let request = self.request(ask)?;
            match self.connection.ask(request).await {
                Ok(answer) => match answer.status {
                    StatusCode::OK => return Ok(()),
                    // What may be old may be missing yet.
                    StatusCode::NOT_FOUND if self.stale => return Ok(()),
                    StatusCode::TEMPORARY_REDIRECT => {
                        let node = location(&answer).ok_or("sent to nowhere")?;
                        self.connection.go_to(&node);
                        continue;
                    }
                    // Nothing has happened, and another node may know more.
                    StatusCode::SERVICE_UNAVAILABLE => self.connection.go_on(),
                    _ => return Err(told(&answer)),
                },
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

/// Where a redirect leads.
fn location(answer: &Answer) -> Option<String> {
    let uri: Uri = answer.headers.get(LOCATION)?.to_str().ok()?.parse().ok()?;
    Some(uri.authority()?.to_string())
}

fn told(answer: &Answer) -> Unanswered {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = body["error"].as_str().unwrap_or_default();
    format!("{} {error}", answer.status.as_u16())
}
