//! Clients that write and read until they are stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::ETAG;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ledger::Ledger;
use crate::Failure;
use crate::client::{Answer, Ask, Cluster, Session};
use crate::values::Condition;

const WRITERS: u64 = 4;
const READERS: u64 = 2;

/// How long a client tries: longer than any time without a leader.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two writes of a client, and between two reads.
const PAUSE: Duration = Duration::from_millis(4);

/// The key that all clients count in.
pub(crate) const SHARED: &str = "shared";

/// What one client was told to have written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// Keys that it has written once.
    pub(crate) once: Vec<Write>,
    /// The key that it has written again and again: how often, and the last time.
    pub(crate) often: u64,
    pub(crate) last: Option<Write>,
    /// How often it has added one to the key of all.
    pub(crate) added: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) key: String,
    pub(crate) value: String,
    /// The entry that wrote it.
    pub(crate) index: u64,
}

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<Result<Written, Failure>>,
    readers: JoinSet<Result<(), Failure>>,
}

impl Load {
    pub(crate) async fn start(addresses: &[String], ledger: &Arc<Ledger>) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
        // Each has connections of its own, as clients on other machines have.
        let cluster = || Cluster::new(addresses.to_vec(), PATIENCE);
        let mut first = cluster();
        let mut session = first.session().await?;
        let ask = session.stamp(Ask::put(SHARED, "0").only_if(Condition::Missing));
        index(&first.ask(&ask).await?)?;
        for number in 1..=WRITERS {
            let mut cluster = cluster();
            let writer = Writer {
                number,
                session: cluster.session().await?,
                cluster,
                ledger: Arc::clone(ledger),
                written: Written::default(),
            };
            writers.spawn(writer.run(Arc::clone(&stop)));
        }
        for _ in 0..READERS {
            readers.spawn(read(cluster(), Arc::clone(ledger), Arc::clone(&stop)));
        }
        Ok(Self {
            stop,
            writers,
            readers,
        })
    }

    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.writers.len(), self.readers.len())
    }

    /// Waits for a client to end before it was stopped: for what it has found.
    pub(crate) async fn fault(&mut self) -> Failure {
        let ended = tokio::select! {
            Some(ended) = self.writers.join_next() => ended.map(|ended| ended.map(drop)),
            Some(ended) = self.readers.join_next() => ended,
            else => return "no client runs".into(),
        };
        match ended {
            Ok(Ok(())) => "a client has ended by itself".into(),
            Ok(Err(fault)) => fault,
            Err(error) => error.into(),
        }
    }

    /// Lets the clients end what they are doing. What each of them was told to have written.
    pub(crate) async fn stop(mut self) -> Result<Vec<Written>, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(ended) = self.writers.join_next().await {
            all.push(ended??);
        }
        while let Some(ended) = self.readers.join_next().await {
            ended??;
        }
        Ok(all)
    }
}

/// A client that writes in three ways: a new key; the same key again; and one more to a key of all, compared and set.
struct Writer {
    number: u64,
    cluster: Cluster,
    session: Session,
    ledger: Arc<Ledger>,
    written: Written,
}

impl Writer {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Result<Written, Failure> {
        let own = format!("client {}", self.number);
        for count in 1.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let value = format!("{count} of {own}");
            match count % 3 {
                0 => {
                    let write = self.put(format!("{own}/{count}"), value).await?;
                    self.written.once.push(write);
                }
                1 => {
                    self.written.last = Some(self.put(own.clone(), value).await?);
                    self.written.often += 1;
                }
                _ => self.add().await?,
            }
            sleep(PAUSE).await;
        }
        Ok(self.written)
    }

    async fn put(&mut self, key: String, value: String) -> Result<Write, Failure> {
        let ask = self.session.stamp(Ask::put(&key, value.clone()));
        let index = index(&self.cluster.ask(&ask).await?)?;
        self.ledger.wrote(&key, index);
        Ok(Write { key, value, index })
    }

    /// One more, unless somebody else was faster.
    async fn add(&mut self) -> Result<(), Failure> {
        let answer = self.cluster.ask(&Ask::get(SHARED)).await?;
        let before = index(&answer)?;
        let sum: u64 = std::str::from_utf8(&answer.body)?.parse()?;
        let more = Ask::put(SHARED, (sum + 1).to_string()).only_if(Condition::Index(before));
        let answer = self.cluster.ask(&self.session.stamp(more)).await?;
        if answer.status != StatusCode::PRECONDITION_FAILED {
            self.ledger.wrote(SHARED, index(&answer)?);
            self.written.added += 1;
        }
        Ok(())
    }
}

/// A client that reads what others have written, and knows what it must at least see.
async fn read(
    mut cluster: Cluster,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
) -> Result<(), Failure> {
    while !stop.load(Ordering::Relaxed) {
        sleep(PAUSE).await;
        let key = match rand::random::<u64>() {
            // Keys that are written again and again could go back.
            choice if choice % 2 == 0 => match choice / 2 % (WRITERS + 1) {
                0 => SHARED.to_owned(),
                number => format!("client {number}"),
            },
            choice => match ledger.any(choice / 2) {
                Some(key) => key,
                None => continue,
            },
        };
        let floor = ledger.floor(&key);
        if floor == 0 {
            continue;
        }
        let answer = cluster.ask(&Ask::get(&key)).await?;
        let seen = match answer.status {
            StatusCode::OK => index(&answer)?,
            StatusCode::NOT_FOUND => 0,
            _ => return Err(refused(&answer)),
        };
        if seen < floor {
            return Err(format!(
                "A READ WENT BACK: {key:?} was written by entry {floor}, and {} answers later that it is {}",
                answer.from,
                if seen == 0 { "not there".to_owned() } else { format!("by entry {seen}") },
            )
            .into());
        }
        ledger.saw(&key, seen);
    }
    Ok(())
}

/// By which entry the value is that was written or read.
fn index(answer: &Answer) -> Result<u64, Failure> {
    if answer.status != StatusCode::OK {
        return Err(refused(answer));
    }
    answer.number(ETAG).ok_or_else(|| refused(answer))
}

fn refused(answer: &Answer) -> Failure {
    let body = String::from_utf8_lossy(&answer.body);
    format!("a client: {} says {} {body}", answer.from, answer.status).into()
}
