//! The state machine of this node: fed by the log, read and changed by the HTTP interface.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use streamraft::raft::{
    Applied, AppliedStream, Client, ClientError, Entry, SessionError, SessionStamp, SnapshotPart,
};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::Failure;
use super::machine::{Machine, Ticket, plain, stamped};
use super::values::{Change, Outcome};

/// How often a snapshot is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshots {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// The replicated keys and values, as this node sees them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Replica {
    client: Client<u64>,
    machine: watch::Receiver<Machine>,
    waiting: Arc<Waiting>,
}

impl Replica {
    /// A replica, and what must run for it to get on. It ends with the stream, or with what this program cannot apply.
    pub(crate) fn new(
        client: Client<u64>,
        applied: AppliedStream,
        snapshots: Snapshots,
        newest_snapshot: u64,
    ) -> (Self, impl Future<Output = Result<(), Failure>>) {
        let (sender, machine) = watch::channel(Machine::default());
        let waiting = Arc::new(Waiting::new());
        let applying = Applying {
            client: client.clone(),
            machine: sender,
            waiting: Arc::clone(&waiting),
            incoming: Incoming::default(),
            snapshots,
            newest_snapshot,
            bytes: 0,
            compacting: None,
        };
        let replica = Self {
            client,
            machine,
            waiting,
        };
        (replica, applying.run(applied))
    }

    /// Proposes a change and waits until it is committed and applied here. What becomes of it when this is dropped before
    /// is not known.
    pub(crate) async fn change(&self, change: &Change) -> Result<Outcome, ChangeError> {
        let (ticket, outcome) = self.waiting.enter();
        let _leave = Leave(&self.waiting, ticket);
        self.client.propose(plain(ticket, change)?).await?;
        // Committed, but this node has ended before it was applied.
        Ok(outcome.await.map_err(|_| ClientError::Stopped)?)
    }

    /// The same, but a change that was proposed with this stamp before, here or elsewhere, is not made again: the outcome is
    /// that of the first time.
    pub(crate) async fn change_once(
        &self,
        stamp: &SessionStamp,
        change: &Change,
    ) -> Result<Outcome, ChangeError> {
        self.client.propose(stamped(stamp, change)?).await?;
        Ok(self.peek(|machine| machine.outcome(stamp))?)
    }

    /// Opens a session: its number.
    pub(crate) async fn open_session(&self) -> Result<u64, ClientError<u64>> {
        Ok(self.client.session().await?.id())
    }

    /// Closes a session, whether there is such a one or not.
    pub(crate) async fn close_session(&self, session: u64) -> Result<(), ClientError<u64>> {
        let proposal = SessionStamp::close(session);
        self.client.propose(proposal).await.map(drop)
    }

    /// Looks at the machine as soon as it has all that was committed before.
    pub(crate) async fn read<T>(
        &self,
        look: impl FnOnce(&Machine) -> T,
    ) -> Result<T, ClientError<u64>> {
        self.client.read().await?;
        Ok(self.peek(look))
    }

    /// Looks at the machine as it is.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&self.machine.borrow())
    }
}

/// Why there is no outcome.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// It was not proposed: it has no form as bytes.
    Form(postcard::Error),
    /// Of the log.
    Client(ClientError<u64>),
    /// It is in the log, but was not made, or what came of it is not kept.
    Session(SessionError),
}

impl From<postcard::Error> for ChangeError {
    fn from(error: postcard::Error) -> Self {
        Self::Form(error)
    }
}

impl From<ClientError<u64>> for ChangeError {
    fn from(error: ClientError<u64>) -> Self {
        Self::Client(error)
    }
}

impl From<SessionError> for ChangeError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// The requests of this process that wait for their outcomes.
struct Waiting {
    process: u64,
    next: AtomicU64,
    /// None since the machine has ended.
    requests: Mutex<Option<Requests>>,
}

type Requests = HashMap<u64, oneshot::Sender<Outcome>>;

impl Waiting {
    fn new() -> Self {
        Self {
            process: rand::random(),
            next: AtomicU64::new(0),
            requests: Mutex::new(Some(HashMap::new())),
        }
    }

    fn requests(&self) -> MutexGuard<'_, Option<Requests>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> (Ticket, oneshot::Receiver<Outcome>) {
        let (sender, outcome) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(requests) = &mut *self.requests() {
            requests.insert(number, sender);
        }
        let process = self.process;
        (Ticket { process, number }, outcome)
    }

    fn tell(&self, ticket: Ticket, outcome: Outcome) {
        if ticket.process == self.process
            && let Some(request) = self.leave(ticket)
        {
            // Who has gone does not want to know.
            let _ = request.send(outcome);
        }
    }

    fn leave(&self, ticket: Ticket) -> Option<oneshot::Sender<Outcome>> {
        self.requests().as_mut()?.remove(&ticket.number)
    }

    /// Nobody is told anything any more.
    fn close(&self) {
        *self.requests() = None;
    }
}

/// A request that waits no more, whatever has become of it.
struct Leave<'a>(&'a Waiting, Ticket);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

/// What feeds the machine.
struct Applying {
    client: Client<u64>,
    machine: watch::Sender<Machine>,
    waiting: Arc<Waiting>,
    /// What has come of a snapshot.
    incoming: Incoming,
    snapshots: Snapshots,
    newest_snapshot: u64,
    /// How many bytes were applied since then.
    bytes: u64,
    compacting: Option<JoinHandle<()>>,
}

impl Drop for Applying {
    fn drop(&mut self) {
        self.waiting.close();
    }
}

impl Applying {
    async fn run(mut self, mut applied: AppliedStream) -> Result<(), Failure> {
        while let Some(item) = applied.next().await {
            match item {
                Applied::Entry(entry) => self.apply(&entry)?,
                Applied::Snapshot(part) => self.take(&part)?,
                other => return Err(format!("cannot apply {other:?}").into()),
            }
            self.snapshot_if_due();
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), Failure> {
        let mut told = Ok(None);
        self.machine
            .send_modify(|machine| told = machine.apply(entry));
        let told = told.map_err(|error| format!("entry {} of the log: {error}", entry.index))?;
        if let Some((ticket, outcome)) = told {
            self.waiting.tell(ticket, outcome);
        }
        self.bytes += entry.data.len() as u64;
        Ok(())
    }

    /// Takes a part of a snapshot. With the last one it takes the place of all that was applied.
    fn take(&mut self, part: &SnapshotPart) -> Result<(), Failure> {
        let Some(bytes) = self.incoming.take(part) else {
            return Ok(());
        };
        let index = part.snapshot.position.index;
        let machine = Machine::restore(&bytes)
            .map_err(|error| format!("the snapshot at {index}: {error}"))?;
        tracing::info!(
            "restored from the snapshot at {index}: {} bytes",
            bytes.len()
        );
        self.machine.send_replace(machine);
        (self.newest_snapshot, self.bytes) = (index, 0);
        Ok(())
    }

    /// Keeps a snapshot when enough was applied since the last one, so that the log can let its beginning go.
    fn snapshot_if_due(&mut self) {
        let index = self.machine.borrow().applied;
        let entries = index.saturating_sub(self.newest_snapshot);
        let is_due = entries >= self.snapshots.entries || self.bytes >= self.snapshots.bytes;
        let is_busy = self
            .compacting
            .as_ref()
            .is_some_and(|task| !task.is_finished());
        if !is_due || is_busy {
            return;
        }
        let snapshot = match self.machine.borrow().snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => return tracing::error!("no snapshot was made: {error}"),
        };
        (self.newest_snapshot, self.bytes) = (index, 0);
        let client = self.client.clone();
        // The machine goes on meanwhile.
        self.compacting = Some(tokio::spawn(async move {
            let len = snapshot.len();
            match client.compact(index, snapshot).await {
                Ok(()) => tracing::debug!("kept a snapshot at {index}: {len} bytes"),
                Err(error) => tracing::debug!("no snapshot at {index}: {error}"),
            }
        }));
    }
}

/// The parts of a snapshot that have come so far.
#[derive(Default)]
struct Incoming(Vec<u8>);

impl Incoming {
    /// The whole snapshot, with its last part.
    fn take(&mut self, part: &SnapshotPart) -> Option<Vec<u8>> {
        if part.offset == 0 {
            // The one before is not continued.
            self.0.clear();
        }
        self.0.extend_from_slice(&part.data);
        (part.end() == part.snapshot.len).then(|| std::mem::take(&mut self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use streamraft::raft::{LogLimits, MemoryLog, Raft, Snapshot};
    use streamraft::{Config, LogPosition};
    use tokio::time::sleep;

    use super::super::values::Condition;
    use super::*;

    const NEVER: Snapshots = Snapshots {
        entries: u64::MAX,
        bytes: u64::MAX,
    };

    /// The only node of its cluster, on tokio's clock, and its machine, which applies what is polled.
    fn alone() -> (Replica, impl Future<Output = Result<(), Failure>>) {
        let config = Config::with_id(1, [1]).unwrap();
        let mut raft = Raft::new(config, LogLimits::default(), MemoryLog::new()).unwrap();
        let (client, applied) = (raft.client(), raft.applied(0));
        tokio::spawn(async move { while raft.next().await.is_some() {} });
        Replica::new(client, applied, NEVER, 0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_waits_for_a_machine_which_ends_is_refused() {
        let (replica, applying) = alone();
        let reader = replica.clone();
        let read = tokio::spawn(async move { reader.read(|machine| machine.applied).await });
        sleep(Duration::from_secs(60)).await;
        assert!(!read.is_finished(), "nothing is applied");
        drop(applying);
        assert_eq!(read.await.unwrap(), Err(ClientError::NotApplied));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_cannot_be_applied_ends_the_machine_and_all_that_wait_for_it() {
        let (replica, applying) = alone();
        let applying = tokio::spawn(applying);
        assert_eq!(replica.read(|machine| machine.applied).await, Ok(0));
        let change = Change {
            key: "key".to_owned(),
            condition: Condition::Always,
            value: None,
        };
        let proposed = replica.client.propose("garbage");
        let (_, changed) = tokio::join!(proposed, replica.change(&change));
        let error = applying.await.unwrap().unwrap_err().to_string();
        assert!(error.starts_with("entry 2 of the log: "), "{error}");
        let stopped = |error| matches!(error, ChangeError::Client(ClientError::Stopped));
        assert!(changed.is_err_and(stopped));
        assert_eq!(replica.read(|_| ()).await, Err(ClientError::NotApplied));
    }

    #[test]
    fn parts_are_put_together_and_those_of_an_older_snapshot_are_let_go() {
        let part = |index, text: &'static str, from: usize, to: usize| {
            let snapshot = Snapshot::new(LogPosition::new(1, index), text.len() as u64, 0);
            SnapshotPart::new(snapshot, from as u64, text[from..to].into())
        };
        let mut incoming = Incoming::default();
        assert_eq!(incoming.take(&part(7, "seven", 0, 2)), None);
        assert_eq!(incoming.take(&part(9, "later", 0, 2)), None);
        assert_eq!(incoming.take(&part(9, "later", 2, 4)), None);
        assert_eq!(
            incoming.take(&part(9, "later", 4, 5)),
            Some(b"later".to_vec())
        );
        assert_eq!(incoming.take(&part(11, "new", 0, 3)), Some(b"new".to_vec()));
    }
}
