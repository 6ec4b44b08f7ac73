//! The job that must run once in the cluster.
//!
//! Absent here: who leads. The job sees a [`Leadership`] and hands its token on.

use std::convert::Infallible;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use streamraft::{Leadership, NodeId, Token, WhileLeaderExt};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_stream::wrappers::IntervalStream;

use super::Failure;
use super::ledger::{self, Outcome};
use super::report::Report;

/// A writer that appends an entry to a file at every tick, while its node leads.
pub(crate) struct Job {
    pub(crate) writer: NodeId,
    pub(crate) file: Arc<PathBuf>,
    pub(crate) tick: Duration,
    /// For how long an entry is on its way to the file.
    pub(crate) transit: Duration,
    pub(crate) started: Instant,
}

impl Job {
    /// Works whenever the node leads, until something fails.
    pub(crate) async fn run(&self, leadership: &Leadership) -> Result<Infallible, Failure> {
        loop {
            // A piece of work with an end. `None`: leadership was lost first, and the rest of it was dropped.
            let begin = async |token: Token| (token, self.append(token, "begin").await);
            let Some((token, begun)) = leadership.run(begin).await else {
                continue;
            };
            match begun? {
                Outcome::Accepted { number: entry } => {
                    let token = token.get();
                    self.say(Report::Leads { token, entry })?;
                }
                Outcome::Refused { newest } => {
                    self.refused(token, newest)?;
                    // Another leads by now, and this node is about to hear of it.
                    leadership.lost(token).await;
                    continue;
                }
            }
            self.work(token, leadership).await?;
        }
    }

    /// Work without an end: an entry for every tick, until leadership is lost.
    async fn work(&self, token: Token, leadership: &Leadership) -> Result<(), Failure> {
        let mut ticks = interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = IntervalStream::new(ticks).while_leader(leadership);
        while ticks.next().await.is_some() {
            if ticks.token() != Some(token) {
                break; // lost and won again in the meantime: begin anew
            }
            // No check on this side is ever enough: the process can be stopped right here. So the token goes along.
            sleep(self.transit).await;
            match self.append(token, "tick").await? {
                Outcome::Accepted { number: entry } => {
                    let token = token.get();
                    self.say(Report::Wrote { token, entry })?;
                }
                Outcome::Refused { newest } => self.refused(token, newest)?,
            }
        }
        let token = token.get();
        self.say(Report::Lost { token })?;
        Ok(())
    }

    /// On tokio's blocking pool: whoever holds the file's lock may be stopped, and the node must be polled meanwhile.
    async fn append(&self, token: Token, what: &'static str) -> io::Result<Outcome> {
        let (file, writer) = (Arc::clone(&self.file), self.writer.clone());
        let append = move || ledger::append(&file, token.get(), writer.as_str(), what);
        let outcome = tokio::task::spawn_blocking(append).await?;
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.file.display()))
        };
        outcome.map_err(named)
    }

    fn refused(&self, token: Token, newest: u64) -> io::Result<()> {
        let token = token.get();
        self.say(Report::Refused { token, newest })
    }

    pub(crate) fn say(&self, report: Report) -> io::Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        writeln!(io::stdout().lock(), "{seconds:.3}s {report}")
    }
}
