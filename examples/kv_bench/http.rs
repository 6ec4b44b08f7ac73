//! One connection that is kept, to whichever node is asked.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The longest answer: of a value of etcd's, whose bytes are text there.
const MOST: usize = 4 << 20;

/// How long to wait when nobody could answer.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// A connection to one of some nodes.
pub(crate) struct Connection {
    nodes: Vec<String>,
    present: usize,
    sender: Option<SendRequest<Body>>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is none.
pub(crate) enum Broken {
    /// Nobody has heard it.
    Unheard,
    /// Nothing is known.
    Lost,
}

impl Connection {
    /// Each worker begins with the first node, or they are spread over all.
    pub(crate) fn new(nodes: &[String], number: usize, spread: bool) -> Self {
        Self {
            nodes: nodes.to_vec(),
            present: if spread { number % nodes.len() } else { 0 },
            sender: None,
        }
    }

    pub(crate) fn node(&self) -> &str {
        self.nodes.get(self.present).map_or("", String::as_str)
    }

    /// Asks this node from now on.
    pub(crate) fn go_to(&mut self, node: &str) {
        self.sender = None;
        let known = self.nodes.iter().position(|it| it == node);
        self.present = known.unwrap_or_else(|| {
            self.nodes.push(node.to_owned());
            self.nodes.len() - 1
        });
    }

    /// Asks the next node from now on, by a new connection.
    pub(crate) fn go_on(&mut self) {
        self.sender = None;
        self.present = (self.present + 1) % self.nodes.len();
    }

    pub(crate) async fn ask(&mut self, request: Request<Body>) -> Result<Answer, Broken> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.connect().await.ok_or(Broken::Unheard)?,
        };
        sender.ready().await.map_err(|_| Broken::Unheard)?;
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(|_| Broken::Lost)?.into_parts();
        let body = axum::body::to_bytes(Body::new(body), MOST).await;
        let body = body.map_err(|_| Broken::Lost)?;
        // Only one whose answer was read to its end can be asked again.
        self.sender = Some(sender);
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    async fn connect(&self) -> Option<SendRequest<Body>> {
        let stream = TcpStream::connect(self.node()).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        // Ends with the sender, or when it breaks, which the sender says too.
        tokio::spawn(connection);
        Some(sender)
    }
}
