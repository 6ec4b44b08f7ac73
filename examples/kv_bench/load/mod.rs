//! The load: workers that each have one connection, and ask again as soon as they have their answer. So what is slow is asked
//! less, and a pause of the cluster counts once for each worker, not once for each request that would have come meanwhile.

mod figures;
mod options;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Failure;
pub(crate) use figures::Figures;
use figures::Record;
pub(crate) use options::Load;

/// How many workers fill an empty cluster, at most.
const FILLERS: u32 = 64;

/// How long it may take before anything is measured until everyone is answered, and the pause between two attempts.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(20);

/// One connection, and how to ask over it.
pub(crate) trait Target: Send + 'static {
    /// Asks until there is an answer, wherever it is to be had. Nothing is asked twice that would be done twice.
    fn ask(&mut self, ask: &Ask) -> impl Future<Output = Result<(), Unanswered>> + Send;

    /// Goes to another node, by a new connection: the last answer did not come in time.
    fn give_up(&mut self);
}

/// What to ask.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Put { key: String, value: Bytes },
    Get { key: String },
}

/// Why there is no answer, in few words.
pub(crate) type Unanswered = String;

impl Load {
    /// Writes each key once, connects everyone, and then asks what is to be measured. A target is made for each number.
    pub(crate) async fn run<T: Target>(
        &self,
        target: impl Fn(usize) -> T,
    ) -> Result<Figures, Failure> {
        let source = Arc::new(Source::new(self));
        if !self.filled {
            self.fill(&source, &target).await?;
        }
        let targets = self.connect(&target).await?;
        let began = Instant::now();
        let record = Arc::new(Mutex::new(Record::new(began)?));
        let mut workers = JoinSet::new();
        for target in targets {
            let worker = Worker {
                target,
                source: Arc::clone(&source),
                record: Arc::clone(&record),
                load: self.clone(),
                // One that is too far away never comes.
                end: self.duration.and_then(|it| began.checked_add(it)),
            };
            workers.spawn(worker.run());
        }
        while let Some(ended) = workers.join_next().await {
            ended?;
        }
        let record = Arc::into_inner(record).ok_or("a worker still measures")?;
        let record = record.into_inner().map_err(|_| "a worker has panicked")?;
        Ok(record.figures())
    }

    async fn fill<T: Target>(
        &self,
        source: &Arc<Source>,
        target: impl Fn(usize) -> T,
    ) -> Result<(), Failure> {
        let (count, keys) = (FILLERS.min(self.keys) as usize, self.keys as usize);
        let mut fillers = JoinSet::new();
        for number in 0..count {
            let (source, mut target) = (Arc::clone(source), target(number));
            fillers.spawn(async move {
                let mut random = SmallRng::from_rng(&mut rand::rng());
                for key in (number..keys).step_by(count) {
                    first(&mut target, &source.put(key, &mut random)).await?;
                }
                Ok::<_, Unanswered>(())
            });
        }
        while let Some(ended) = fillers.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Has everyone read once, and so find who answers. Keys that are not there would falsify what is measured.
    async fn connect<T: Target>(&self, target: impl Fn(usize) -> T) -> Result<Vec<T>, Failure> {
        let mut connecting = JoinSet::new();
        for number in 0..self.connections as usize {
            let mut target = target(number);
            connecting.spawn(async move {
                first(&mut target, &Ask::Get { key: key(0) }).await?;
                Ok::<_, Unanswered>(target)
            });
        }
        let mut targets = Vec::with_capacity(self.connections as usize);
        while let Some(ended) = connecting.join_next().await {
            targets.push(ended??);
        }
        Ok(targets)
    }
}

/// Asks until there is an answer: a cluster that has just begun may have no leader yet.
async fn first<T: Target>(target: &mut T, ask: &Ask) -> Result<(), Unanswered> {
    let mut why = "no answer".to_owned();
    let asking = async {
        while let Err(error) = target.ask(ask).await {
            why = error;
            sleep(AGAIN).await;
        }
    };
    let asked = timeout(PATIENCE, asking).await;
    asked.map_err(|_| format!("nothing is measured: {why} within {PATIENCE:?}"))
}

fn key(number: usize) -> String {
    format!("bench-{number}")
}

/// What is asked, and how much of it is left.
struct Source {
    load: Load,
    noise: Bytes,
    asked: AtomicU64,
}

impl Source {
    fn new(load: &Load) -> Self {
        let mut noise = vec![0; 2 * load.value_size.most + 1];
        rand::rng().fill(&mut noise[..]);
        Self {
            load: load.clone(),
            noise: noise.into(),
            asked: AtomicU64::new(0),
        }
    }

    fn put(&self, number: usize, random: &mut SmallRng) -> Ask {
        let size = &self.load.value_size;
        let len = random.random_range(size.least..=size.most);
        let start = random.random_range(0..=self.noise.len() - len);
        Ask::Put {
            key: key(number),
            value: self.noise.slice(start..start + len),
        }
    }

    /// The next request, if there is one more.
    fn next(&self, random: &mut SmallRng) -> Option<Ask> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        if self.load.requests.is_some_and(|most| number >= most) {
            return None;
        }
        let chosen = random.random_range(0..self.load.keys as usize);
        Some(match random.random_range(0..100) < self.load.reads {
            true => Ask::Get { key: key(chosen) },
            false => self.put(chosen, random),
        })
    }
}

struct Worker<T> {
    target: T,
    source: Arc<Source>,
    record: Arc<Mutex<Record>>,
    load: Load,
    end: Option<Instant>,
}

impl<T: Target> Worker<T> {
    async fn run(mut self) {
        let mut random = SmallRng::from_rng(&mut rand::rng());
        while self.end.is_none_or(|end| Instant::now() < end)
            && let Some(ask) = self.source.next(&mut random)
        {
            let began = Instant::now();
            let asked = timeout(self.load.timeout, self.target.ask(&ask)).await;
            let asked = asked.unwrap_or_else(|_| {
                self.target.give_up();
                Err("no answer in time".to_owned())
            });
            if let Ok(mut record) = self.record.lock() {
                record.add(&ask, began, asked);
            }
            if !self.load.pause.is_zero() {
                sleep(self.load.pause).await;
            }
        }
    }
}
