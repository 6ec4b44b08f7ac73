//! Three nodes over a NATS server: for a cluster on more machines than should have a connection with each other.
//!
//! ```text
//! examples/nats/run                                             # installs the server if need be, starts and ends it
//! cargo run --example nats -- --url nats://127.0.0.1:4222       # with a server that runs
//! ```
//!
//! A message to `b` from `a` is published on `raft.orders.b.a`, and `b` subscribes to `raft.orders.b.*`.
//!
//! - **Who speaks** is the last part of the subject. That is a claim as long as every client may publish on every
//!   subject, and whoever forges a message can win an election. With `NATS_PASSWORD` each node logs in as a user of its
//!   own, and `run` gives user `a` no more than `raft.orders.*.a` to publish on and `raft.orders.a.*` to hear: then the
//!   server vouches for the sender, and this program shows that it does.
//! - **At most once** is what core NATS gives and all that an election needs. (A `JetStream` would bring messages again that
//!   are outdated.) While the server is away nothing is kept to be sent later, either.
//! - **The server is one point that all messages pass.** Without it nobody leads: a leader steps down when its lease ends,
//!   and there is an election when the server is back. A NATS cluster moves that point, it does not remove it.
//! - What a leader does needs its fencing token here as anywhere.
//!
//! The client has two tasks of its own. The node, its transport and this program have none.

#[path = "../transports/bytes.rs"]
mod bytes;
#[path = "../transports/story.rs"]
mod story;

use std::future::ready;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ::bytes::Bytes;
use async_nats::connection::State;
use async_nats::message::OutboundMessage;
use async_nats::{Client, ConnectOptions, Event, Subject};
use clap::Parser;
use futures::{SinkExt, StreamExt, stream};
use streamraft::{Message, NodeId, both};
use tokio::sync::mpsc;
use tokio::time::timeout;

use story::{CLUSTER, Failure, Story, Transport, exit_code, nodes, print};

/// Three nodes that elect a leader by messages over a NATS server.
#[derive(Parser)]
struct Args {
    /// Where the server is; without a password, or each node as a user of its own name with `NATS_PASSWORD`
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    url: String,
    /// Ask for the server to be stopped and started again, and see what becomes of the cluster
    #[arg(long)]
    outage: bool,
}

/// How often the client asks whether the server is there. The third question without an answer is the end.
const PING: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How many messages may wait in the client, each way. The rest waits in the node's own slots, where a newer message
/// replaces an older one.
const MOST_WAITING: usize = 16;
const MOST_UNHEARD: usize = 256;

/// How many round trips are measured.
const ROUND_TRIPS: usize = 500;

/// Where `to` hears what `from` says. An id that would be more than one part, or any part, is refused.
fn subject(to: &str, from: &NodeId) -> Result<Subject, Failure> {
    if from.as_str().contains(['.', '*', '>']) {
        return Err(format!("{from} cannot be a part of a NATS subject").into());
    }
    Ok(Subject::validated(format!("raft.{CLUSTER}.{to}.{from}"))?)
}

/// Connects as this node, now or as soon as it can, and again whenever it has to.
async fn connect(
    url: &str,
    me: &NodeId,
    told: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Client, Failure> {
    let options = match std::env::var("NATS_PASSWORD") {
        Ok(password) => ConnectOptions::with_user_and_password(me.to_string(), password),
        Err(_) => ConnectOptions::new(),
    };
    let options = options
        .name(me)
        .retry_on_initial_connect()
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(10);
            (Duration::from_millis(10) * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
        })
        .connection_timeout(Duration::from_secs(2))
        .ping_interval(PING)
        .client_capacity(MOST_WAITING)
        .subscription_capacity(MOST_UNHEARD)
        .event_callback(move |event| {
            told(event);
            ready(())
        });
    Ok(options.connect(url).await?)
}

/// Tells that a node has lost the server, once for each loss, and that it has found it.
fn tell(url: String, me: NodeId) -> impl Fn(Event) + Send + Sync {
    let away = AtomicBool::new(false);
    let say = move |text: &str| print(&format!("              {me}  {text}"));
    move |event| match event {
        Event::Connected => {
            away.store(false, Relaxed);
            say(&format!("is connected with {url}"));
        }
        Event::Disconnected | Event::ClientError(_) => {
            if !away.swap(true, Relaxed) {
                say(&format!("cannot reach {url} (trying on): {event}"));
            }
        }
        Event::SlowConsumer(_) | Event::ServerError(_) => say(&event.to_string()),
        Event::LameDuckMode | Event::Draining | Event::Closed => {}
    }
}

/// The transport of one node. When it is dropped, its connection is closed.
async fn transport(url: &str, me: &NodeId) -> Result<impl Transport + use<>, Failure> {
    let client = connect(url, me, tell(url.to_owned(), me.clone())).await?;
    subject("*", me)?;
    let heard = client.subscribe(format!("raft.{CLUSTER}.{me}.*")).await?;
    let from_peers =
        heard.filter_map(async |heard| hear(&heard.subject, heard.payload).transpose());

    let me = me.clone();
    let to_server = client.clone().sink_err_into::<Failure>();
    let to_peers = to_server.with_flat_map(move |(to, message): (NodeId, Message)| {
        // What waited for the server to come back would be outdated when it is there.
        let connected = client.connection_state() == State::Connected;
        stream::iter(connected.then(|| say(&to, &me, message)))
    });
    Ok(both(from_peers.boxed(), Box::pin(to_peers)))
}

fn say(to: &NodeId, me: &NodeId, message: Message) -> Result<OutboundMessage, Failure> {
    Ok(OutboundMessage {
        subject: subject(to.as_str(), me)?,
        reply: None,
        payload: bytes::encode(message)?,
        headers: None,
    })
}

/// Who said what. What nobody of this cluster says is an error and costs nothing else.
fn hear(subject: &Subject, payload: Bytes) -> Result<Option<(NodeId, Message)>, Failure> {
    let from = subject.rsplit('.').next().unwrap_or_default();
    let from = NodeId::new(from)?;
    let message = bytes::decode(payload).map_err(|error| format!("from {from}: {error}"))?;
    Ok(message.map(|message| (from, message)))
}

/// From one node over the server to another and back, the median. The messages are empty: nodes pass over them.
async fn round_trip(url: &str) -> Result<String, Failure> {
    let [a, b, _] = nodes()?;
    let (at_a, at_b) = (connect(url, &a, drop).await?, connect(url, &b, drop).await?);
    let (to_a, to_b) = (subject("a", &b)?, subject("b", &a)?);
    let empty = |heard: &async_nats::Message| ready(heard.payload.is_empty());
    let mut heard_by_a = at_a.subscribe(to_a.clone()).await?.filter(empty);
    let heard_by_b = at_b.subscribe(to_b.clone()).await?.filter(empty);
    let echo = heard_by_b.for_each(async |_| drop(at_b.publish(to_a.clone(), Bytes::new()).await));
    let measure = async {
        let mut times = Vec::with_capacity(ROUND_TRIPS);
        while times.len() < ROUND_TRIPS {
            let sent = Instant::now();
            at_a.publish(to_b.clone(), Bytes::new()).await?;
            // The first may be there before the subscription of b is, and any may be lost.
            if timeout(LONGEST_PAUSE, heard_by_a.next()).await.is_ok() {
                times.push(sent.elapsed());
            }
        }
        times.sort_unstable();
        let (median, p99) = (times[ROUND_TRIPS / 2], times[ROUND_TRIPS * 99 / 100]);
        Ok(format!(
            "round trip: median {median:.0?}, p99 {p99:.0?} of {ROUND_TRIPS}"
        ))
    };
    tokio::select! {
        measured = measure => measured,
        () = echo => Err("the client has ended".into()),
    }
}

/// Speaks as `b` with the rights of `c`.
async fn forge(url: &str) -> Result<String, Failure> {
    let [a, b, c] = nodes()?;
    let (refusals, mut refused) = mpsc::channel(8);
    let told = move |event| drop(refusals.try_send(event));
    let client = connect(url, &c, told).await?;
    client
        .publish(subject(a.as_str(), &b)?, Bytes::new())
        .await?;
    client.flush().await?;
    let refusal = async {
        loop {
            match refused.recv().await {
                Some(Event::ServerError(error)) => return Ok(format!("it learns: {error}")),
                Some(_) => {}
                None => return Err("the client has ended".into()),
            }
        }
    };
    timeout(PING * 5, refusal)
        .await
        .map_err(|_| "the server let c speak as b")?
}

async fn run(args: Args) -> Result<(), Failure> {
    let url = args.url.as_str();
    let mut story = Story::new(async |me: &NodeId| transport(url, me).await);
    story.tell().await?;
    let what = "empty messages from a over the server to b and back";
    story.meanwhile(what, round_trip(url)).await?;
    if std::env::var_os("NATS_PASSWORD").is_some() {
        story.meanwhile("c tries to speak as b", forge(url)).await?;
    }
    if args.outage {
        story.say("Stop the NATS server now.");
        story
            .until("the server's end", |it| it.leader().is_none().then_some(()))
            .await?;
        story.say("Nobody leads, and rightly so. Start the NATS server again.");
        story.agreed("server restarted", Instant::now(), 3).await?;
    }
    story.summary();
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit_code("nats", run(Args::parse()).await)
}
