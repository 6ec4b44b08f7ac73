//! Whom to ask: the leader, wherever it is.

use std::time::Duration;

use super::client::ClientError;
use super::error::ProposeError;
use crate::id::{Id, NodeId};

/// Says whom to ask next, of nodes that name each other the leader, or nobody, or are gone.
///
/// It goes where it is sent, but asks each node once before it waits: so two nodes that name each other are not asked in turns, and
/// a leader among `n` nodes is asked within `2n - 1` questions (`n`, if it was not asked before it led), whatever the others say. Waits double until
/// somebody has done what was asked. A value without clock and I/O, but for [`ask`](Self::ask); one for each task that asks.
///
/// ```
/// use std::time::Duration;
/// use streamraft::raft::{ClientError, Seeker};
///
/// let mut seeker = Seeker::new(["a", "b", "c"]).ok_or("no nodes")?;
/// assert_eq!(*seeker.target(), "a");
/// let error = ClientError::Unknown { leader: Some("c") };
/// assert_eq!(seeker.failed(&error), Some(Duration::ZERO));
/// assert_eq!(*seeker.target(), "c");
/// // c is not there.
/// assert_eq!(seeker.unreachable(), Duration::ZERO);
/// assert_eq!(*seeker.target(), "b");
/// // All were asked.
/// assert_eq!(seeker.redirected(Some(&"c")), Duration::from_millis(10));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug)]
pub struct Seeker<I = NodeId> {
    /// Each node once, and whether it was asked since the last wait. There is one at least.
    nodes: Vec<(I, bool)>,
    target: I,
    first: Duration,
    most: Duration,
    wait: Duration,
}

impl<I: Id> Seeker<I> {
    /// Among these nodes, the first of which is asked first; none if there are none. Others cannot be asked, whoever names them,
    /// unless they are [inserted](Self::insert).
    pub fn new(ids: impl IntoIterator<Item = I>) -> Option<Self> {
        let mut ids = ids.into_iter();
        let target = ids.next()?;
        let mut seeker = Self {
            nodes: vec![(target.clone(), false)],
            target,
            first: Duration::ZERO,
            most: Duration::ZERO,
            wait: Duration::ZERO,
        };
        ids.for_each(|id| seeker.insert(id));
        Some(seeker.waits(Duration::from_millis(10), Duration::from_millis(500)))
    }

    /// How long it waits when nobody that it has asked leads: `first` (at least 1 ms), then twice as long each time, up to `most` (at least
    /// `first`). Default 10 ms and 500 ms.
    #[must_use]
    pub fn waits(mut self, first: Duration, most: Duration) -> Self {
        self.first = first.max(Duration::from_millis(1));
        self.most = most.max(self.first);
        self.wait = self.first;
        self
    }

    /// One more node that can be asked; nothing changes if it can be already. Where a name is an address: whoever was named.
    pub fn insert(&mut self, id: I) {
        if !self.nodes.iter().any(|(other, _)| *other == id) {
            self.nodes.push((id, false));
        }
    }

    /// Whom to ask.
    #[must_use]
    pub fn target(&self) -> &I {
        &self.target
    }

    /// The target has done what it was asked. It stays the target.
    pub fn succeeded(&mut self) {
        self.begin_round();
        self.wait = self.first;
    }

    /// The target has not done it. How long to wait before asking the [target](Self::target), which may be another one; none if asking
    /// again is of no use, as no node would take it.
    pub fn failed(&mut self, error: &ClientError<I>) -> Option<Duration> {
        match error {
            ClientError::NotTaken(ProposeError::TooLarge { .. } | ProposeError::Full) => None,
            // It leads, and will have room.
            ClientError::NotTaken(ProposeError::Busy) => Some(self.wait()),
            _ => Some(self.redirected(error.leader())),
        }
    }

    /// The target has said that this one leads, or that it knows nobody who does. How long to wait.
    pub fn redirected(&mut self, leader: Option<&I>) -> Duration {
        let at = self.nodes.iter().position(|(id, _)| *id == self.target);
        let at = at.unwrap_or_default();
        if let Some((_, asked)) = self.nodes.get_mut(at) {
            *asked = true;
        }
        let (before, behind) = self.nodes.split_at(at);
        let mut in_turn = behind.iter().chain(before).filter(|(_, asked)| !asked);
        let named = in_turn.clone().find(|(id, _)| Some(id) == leader);
        if let Some((next, _)) = named.or_else(|| in_turn.next()) {
            self.target = next.clone();
            return Duration::ZERO;
        }
        if let Some((next, _)) = self.nodes.get(at + 1).or(self.nodes.first()) {
            self.target = next.clone();
        }
        self.begin_round();
        self.wait()
    }

    /// The target could not be asked, or gave no answer. How long to wait.
    pub fn unreachable(&mut self) -> Duration {
        self.redirected(None)
    }

    fn begin_round(&mut self) {
        for (_, asked) in &mut self.nodes {
            *asked = false;
        }
    }

    fn wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = wait.saturating_mul(2).min(self.most);
        wait
    }

    /// Asks until somebody has done it, on tokio's clock.
    ///
    /// Also what may have been done is asked for again: so this is for reads, for opening [sessions](super::Session), and for what
    /// a session requests. Where a node cannot be asked at all, [`ClientError::Stopped`] says so. There is no deadline: whoever has one drops the future,
    /// as with [`tokio::time::timeout`].
    ///
    /// # Errors
    /// What no node would take.
    pub async fn ask<T, F>(&mut self, mut ask: impl FnMut(I) -> F) -> Result<T, ClientError<I>>
    where
        F: Future<Output = Result<T, ClientError<I>>>,
    {
        loop {
            let error = match ask(self.target.clone()).await {
                Ok(done) => {
                    self.succeeded();
                    return Ok(done);
                }
                Err(error) => error,
            };
            match self.failed(&error) {
                Some(Duration::ZERO) => {}
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn seeker(count: u64) -> Seeker<u64> {
        let seeker = Seeker::new(1..=count).unwrap();
        seeker.waits(10 * MS, 50 * MS)
    }

    fn not_leader(leader: Option<u64>) -> ClientError<u64> {
        ProposeError::NotLeader { leader }.into()
    }

    #[test]
    fn it_goes_where_it_is_sent_and_stays_there() {
        let mut seeker = seeker(5);
        assert_eq!(seeker.failed(&not_leader(Some(4))), Some(Duration::ZERO));
        for _ in 0..3 {
            assert_eq!(*seeker.target(), 4);
            seeker.succeeded();
        }
        let transferring = ProposeError::Transferring { to: 2 }.into();
        assert_eq!(seeker.failed(&transferring), Some(Duration::ZERO));
        assert_eq!(*seeker.target(), 2);
        let unknown = ClientError::Unknown { leader: Some(5) };
        assert_eq!(seeker.failed(&unknown), Some(Duration::ZERO));
        assert_eq!(*seeker.target(), 5);
        // What was asked before it found somebody does not matter any more.
        seeker.succeeded();
        assert_eq!(seeker.redirected(Some(&2)), Duration::ZERO);
        assert_eq!(*seeker.target(), 2);
    }

    #[test]
    fn two_that_name_each_other_are_asked_once_before_it_waits_and_waits_double() {
        let mut seeker = seeker(2);
        let mut waits = Vec::new();
        for _ in 0..5 {
            let other = 3 - *seeker.target();
            assert_eq!(
                seeker.failed(&not_leader(Some(other))),
                Some(Duration::ZERO)
            );
            assert_eq!(*seeker.target(), other);
            waits.extend(seeker.failed(&not_leader(Some(3 - other))));
        }
        assert_eq!(waits, [10, 20, 40, 50, 50].map(|ms| ms * MS));
        seeker.succeeded();
        seeker.unreachable();
        assert_eq!(seeker.unreachable(), 10 * MS, "from the beginning");
    }

    #[test]
    fn one_who_is_gone_or_names_a_stranger_or_itself_is_passed_over() {
        let mut seeker = seeker(3);
        assert_eq!(seeker.failed(&ClientError::Stopped), Some(Duration::ZERO));
        assert_eq!(*seeker.target(), 2);
        assert_eq!(seeker.redirected(Some(&9)), Duration::ZERO);
        assert_eq!(*seeker.target(), 3);
        assert_eq!(seeker.redirected(Some(&3)), 10 * MS);
        assert_eq!(*seeker.target(), 1);
        // It begins anew behind the one that was asked last.
        for leader in [3, 2, 1] {
            seeker.redirected(Some(&leader));
        }
        assert_eq!(*seeker.target(), 3);
    }

    #[test]
    fn one_who_was_inserted_can_be_asked() {
        let mut seeker = Seeker::new([1, 1, 2, 1]).unwrap();
        for id in [9, 9, 1] {
            seeker.insert(id);
        }
        assert_eq!(seeker.redirected(Some(&9)), Duration::ZERO);
        assert_eq!(*seeker.target(), 9);
        seeker.unreachable();
        assert_eq!(seeker.unreachable(), 10 * MS, "three nodes, each once");
    }

    #[test]
    fn who_leads_and_has_no_room_is_asked_again_after_a_wait() {
        let mut seeker = seeker(3);
        for wait in [10, 20, 40, 50, 50] {
            assert_eq!(seeker.failed(&ProposeError::Busy.into()), Some(wait * MS));
            assert_eq!(*seeker.target(), 1);
        }
    }

    #[test]
    fn what_nobody_would_take_is_not_asked_again() {
        let mut seeker = seeker(3);
        let too_large = ProposeError::TooLarge { len: 2, most: 1 };
        for error in [too_large, ProposeError::Full] {
            assert_eq!(seeker.failed(&error.into()), None);
        }
        assert_eq!(*seeker.target(), 1);
    }

    #[test]
    fn a_single_node_and_none_at_all() {
        let mut one = seeker(1).waits(Duration::ZERO, Duration::ZERO);
        assert_eq!(one.unreachable(), MS, "never hot");
        assert_eq!(one.redirected(Some(&1)), MS);
        assert_eq!(*one.target(), 1);
        assert!(Seeker::<u64>::new([]).is_none());
    }

    /// Asks on with this as the answer, and checks that nobody is asked twice before a wait.
    fn ask_on(seeker: &mut Seeker<u64>, since_wait: &mut Vec<u64>, named: u64) {
        since_wait.push(*seeker.target());
        let named = Some(named).filter(|named| *named > 0);
        if seeker.redirected(named.as_ref()) > Duration::ZERO {
            since_wait.clear();
        }
        assert!(!since_wait.contains(seeker.target()), "asked twice");
    }

    #[test]
    fn whatever_is_said_each_is_asked_once_before_a_wait_and_the_leader_is_found() {
        // What is said is a digit of `said`: whatever four nodes can say.
        for said in 0..5_u64.pow(6) {
            for before in 0..4 {
                let mut digits = (0..).map(|at| said / 5_u64.pow(at % 6) % 5);
                let (mut seeker, mut since_wait) = (seeker(4), Vec::new());
                for named in digits.by_ref().take(before) {
                    ask_on(&mut seeker, &mut since_wait, named);
                }
                // Now 4 leads.
                let mut questions = 1;
                while *seeker.target() != 4 {
                    let named = digits.next().unwrap_or_default();
                    ask_on(&mut seeker, &mut since_wait, named);
                    questions += 1;
                }
                let most = if before == 0 { 4 } else { 7 };
                assert!(questions <= most, "{questions}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_asks_until_somebody_has_done_it() {
        let begun = tokio::time::Instant::now();
        let asked = std::cell::RefCell::new(Vec::new());
        let mut seeker = seeker(3);
        let done = seeker.ask(async |id| {
            asked.borrow_mut().push(id);
            let is_early = asked.borrow().len() < 8;
            if is_early {
                Err(not_leader(Some(2)))
            } else {
                Ok(id)
            }
        });
        assert_eq!(done.await, Ok(2));
        assert_eq!(asked.into_inner(), [1, 2, 3, 1, 2, 3, 1, 2]);
        assert_eq!(begun.elapsed(), 30 * MS);
        let tries = std::cell::Cell::new(0);
        let again = seeker.ask(async |_| {
            tries.set(tries.get() + 1);
            let is_early = tries.get() < 4;
            if is_early {
                Err(not_leader(None))
            } else {
                Ok(())
            }
        });
        assert_eq!(again.await, Ok(()));
        assert_eq!(begun.elapsed(), 40 * MS, "the first wait again");
        let refused = seeker.ask(async |_| Err::<(), _>(ProposeError::Full.into()));
        assert_eq!(refused.await, Err(ProposeError::Full.into()));
    }
}
