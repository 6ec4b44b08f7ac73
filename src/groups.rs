//! Many elections of one process as a value: no clock, no randomness of its own, no I/O, no `async`.
//!
//! A leader of one group owes its followers a heartbeat, and machines that share a hundred thousand groups would owe each
//! other as many. Here two machines send one beat for all of them. A group whose leader and follower have met by a
//! `Ping` and a `Pong` is *attached* to the link between their machines; from then on the link's beats stand for its
//! pings, and the answers to them for its pongs. What the link has heard is looked up when an election needs to know, so a
//! beat touches no group, and a group at which nothing happens costs nothing but its memory.
//!
//! [`Elections`] is that value. It has no rule of Raft: every election in it is an [`Election`], and is told in time what
//! its links have heard ([`Election::mark_alive`], [`Election::mark_answered`]).
//! [`Groups`](crate::Groups) drives one with tokio's clock; the simulator drives many with its own.

mod due;
mod group;
mod hear;
mod link;
mod roll;
mod share;
mod tend;
mod watch;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, Settings};
use crate::election::{Election, Shared as SharedSettings, Start};
use crate::error::{ConfigError, Error};
use crate::id::Id;
use crate::message::{Command, Inbound, Message, MessageKind, MsgRouter};
use crate::state::{HardState, NodeState};

use due::{Due, Dues};
use group::Group;
use link::Link;
use share::Shared;
pub(crate) use watch::Answer;

/// So many links are kept, needed or not.
const FEW_LINKS: usize = 64;

/// Many elections in one value, by key: [`Groups`](crate::Groups) without clock and runtime.
///
/// The law of its use is that of [`Election`]: **call, drain, wait**. What it gives, and what it takes, bears the key of
/// the group that it is of. A [`Beat`](MessageKind::Beat) and its answer are of two machines: they bear the key of a group of
/// theirs, at which their receiver does not look.
///
/// ```
/// use std::time::Instant;
/// use streamraft::{Config, Elections, MsgRouter, NodeType};
///
/// let now = Instant::now();
/// let alone = Config::with_id(1_u64, [1])?;
/// let mut elections = Elections::new(&alone, 7)?;
/// for key in ["orders", "users"] {
///     elections.insert(now, key, alone.clone())?;
/// }
/// while elections.poll_timeout().is_some_and(|at| at <= now) {
///     elections.handle_timeout(now);
/// }
/// while let Some((key, output)) = elections.poll_output() {
///     let MsgRouter::ToSelf(state) = output else { panic!("{key}: a cluster of one leads at once") };
///     assert_eq!(state.node_type(), NodeType::Leader);
/// }
/// # Ok::<(), streamraft::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Elections<K, I> {
    /// What all groups have in common.
    common: Settings<I>,
    /// The same as elections hold it; made with the first.
    settings: Option<Arc<SharedSettings<I>>>,
    /// Names sessions, together with how many there have been.
    incarnation: u64,
    sessions: u64,
    groups: Vec<Option<Box<Group<K, I>>>>,
    /// Places in `groups` that are free.
    free: Vec<u32>,
    places: HashMap<K, u32>,
    shared: Shared<I>,
    links: Vec<Link<K, I>>,
    /// Places in `links` that are free.
    free_links: Vec<u32>,
    /// With so many links it is looked which of them nobody needs.
    sweep_at: usize,
    machines: HashMap<I, u32>,
    dues: Dues,
    ready: Ready,
    /// What whoever shows single groups has not looked at yet, each at most once.
    changed: Vec<K>,
    answered: Vec<u32>,
    stopped: bool,
    stats: GroupsStats,
}

/// What has something to say, each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ready {
    links: Vec<u32>,
    groups: Vec<u32>,
    /// Those whose turn it is, the first of them last. When all have had theirs, the others follow.
    turn: Vec<u32>,
}

impl Ready {
    fn take_group(&mut self) -> Option<u32> {
        if self.turn.is_empty() {
            std::mem::swap(&mut self.turn, &mut self.groups);
            self.turn.reverse();
        }
        self.turn.pop()
    }
}

/// How much has been dropped, by reason, besides what the groups' own [`Stats`](crate::Stats) count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct GroupsStats {
    /// Messages of groups that this machine does not take part in.
    pub unknown_groups: u64,
    /// Beats of machines with which this one shares no group.
    pub strangers: u64,
    /// Beats and attachments of another cluster.
    pub foreign_cluster: u64,
    /// Beats that no correct machine sends: of a round that was never asked for, with a list that cannot be.
    pub malformed: u64,
    /// Beats and attachments that came too late to count, or of an earlier session.
    pub stale: u64,
}

impl<K: Id, I: Id> Elections<K, I> {
    /// No group yet. `config` says what all groups have in common: the node's id, the cluster and the durations.
    ///
    /// `incarnation` must be another one at every start of this machine, as a random number is: by it the others tell what
    /// was said before a restart. ([`Groups`](crate::Groups) draws one.)
    ///
    /// # Errors
    /// The first rule that the settings break.
    pub fn new(config: &Config<I>, incarnation: u64) -> Result<Self, ConfigError> {
        let (common, _) = Settings::new(config.clone())?;
        Ok(Self {
            common,
            settings: None,
            incarnation,
            sessions: 0,
            groups: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            shared: Shared::default(),
            links: Vec::new(),
            free_links: Vec::new(),
            sweep_at: FEW_LINKS,
            machines: HashMap::new(),
            dues: Dues::default(),
            ready: Ready::default(),
            changed: Vec::new(),
            answered: Vec::new(),
            stopped: false,
            stats: GroupsStats::default(),
        })
    }

    /// Takes part in one more group from now on. Its settings may differ from the common ones in the nodes, the priority,
    /// the seed and what is restored.
    ///
    /// # Errors
    /// The first rule that the settings break; another node id, cluster or duration than the common one; a key that is
    /// there already; a machine that was stopped. Nothing has changed then.
    pub fn insert(&mut self, now: Instant, key: K, config: Config<I>) -> Result<(), ConfigError> {
        if self.stopped {
            return Err(ConfigError::GroupsStopped);
        }
        if self.places.contains_key(&key) {
            return Err(ConfigError::GroupExists {
                group: format!("{key:?}"),
            });
        }
        let (settings, hard_state) = Settings::new(config)?;
        self.common.check_same(&settings)?;
        let start = Start {
            hard_state,
            priority: settings.priority,
            seed: settings.seed,
            fresh_cluster: settings.fresh_cluster,
        };
        let common = &self.common;
        let settings = self
            .settings
            .get_or_insert_with(|| Arc::new(SharedSettings::new(common, now)));
        let election = Election::with_shared(Arc::clone(settings), start, now);
        let group = Box::new(Group::new(key.clone(), election));
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.groups.push(None);
                u32::try_from(self.groups.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(slot) = self.groups.get_mut(place as usize) {
            *slot = Some(group);
            self.places.insert(key, place);
        }
        self.share_membership(place);
        self.make_links(place, now);
        self.settle(place, now);
        Ok(())
    }

    /// Takes part in a group no more, from now on and without a word. What it must remember, if it is ever to take part
    /// again, is given back.
    ///
    /// To hand leadership over first, put [`Command::Stop`] in: the group is removed when its last words are out.
    pub fn remove(&mut self, now: Instant, key: &K) -> Option<HardState<I>> {
        let place = self.places.get(key).copied()?;
        self.detach_all(place, now);
        self.note_change(place);
        self.let_key_go(place);
        self.places.remove(key);
        let group = self.groups.get_mut(place as usize)?.take()?;
        if let Some(at) = group.due {
            self.dues.take_back(at, Due::Group(place));
        }
        for link in &mut self.links {
            link.speaker.without.remove(&place);
        }
        self.free.push(place);
        Some(group.election.state().hard_state().clone())
    }

    /// Takes one input of a group.
    ///
    /// # Errors
    /// A command that cannot be carried out, or for a group that is not here, which changes nothing; any input after
    /// [`stop`](Self::stop). Nothing that another node sent is an error: what is wrong is dropped and counted.
    pub fn handle(&mut self, now: Instant, key: &K, input: Inbound<I>) -> Result<(), Error> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        match input {
            Inbound::FromNode(from, message) => {
                self.receive(now, key, &from, message);
                Ok(())
            }
            Inbound::FromSelf(command) => self.obey(now, key, command),
        }
    }

    fn obey(&mut self, now: Instant, key: &K, command: Command<I>) -> Result<(), Error> {
        let unknown = || Error::UnknownGroup {
            group: format!("{key:?}"),
        };
        let place = self.places.get(key).copied().ok_or_else(unknown)?;
        let input = Inbound::FromSelf(command);
        let result = self.touch(place, now, |election| election.handle(now, input));
        result.unwrap_or_else(|| Err(unknown()))
    }

    /// Stops every group: each resigns and lets go of what has to leave. No more input is taken.
    pub fn stop(&mut self, now: Instant) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        for place in 0..u32::try_from(self.groups.len()).unwrap_or(u32::MAX) {
            self.touch(place, now, |election| election.stop(now));
        }
        self.dues = Dues::default();
    }

    /// Whether [`stop`](Self::stop) was called. What has to leave may still be waiting.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// When it wants [`handle_timeout`](Self::handle_timeout) next. Valid until the next call that takes `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.dues.next()
    }

    /// The next thing that must leave, until there is none. Drain it after every call that takes `now`.
    ///
    /// Of one group, a state comes out before every message that depends on it. A beat depends on nothing that has not come
    /// out.
    pub fn poll_output(&mut self) -> Option<(K, MsgRouter<I>)> {
        // Beats first: they are few, and everything waits for them.
        while let Some(place) = self.ready.links.last().copied() {
            if let Some(output) = self.take_of_link(place) {
                return Some(output);
            }
            self.ready.links.pop();
        }
        while let Some(place) = self.ready.take_group() {
            let slot = self.groups.get_mut(place as usize);
            let Some(group) = slot.and_then(Option::as_deref_mut) else {
                continue;
            };
            let output = group.poll_output(&self.links);
            if group.has_output() {
                // To the end of the line: nobody has to wait for all that a single group has to say.
                self.ready.groups.push(place);
            } else {
                group.is_ready = false;
            }
            if let Some(output) = output {
                let key = group.key.clone();
                self.forget_if_done(place);
                return Some((key, output));
            }
            self.forget_if_done(place);
        }
        None
    }

    /// A stopped group that has said its last word is gone.
    fn forget_if_done(&mut self, place: u32) {
        let is_done = |group: &Group<K, I>| group.election.is_stopped() && !group.has_output();
        if !self.stopped && self.group(place).is_some_and(is_done) {
            self.forget(place);
        }
    }

    fn take_of_link(&mut self, place: u32) -> Option<(K, MsgRouter<I>)> {
        let link = self.links.get_mut(place as usize)?;
        let beat = link.speaker.take_beat().map(Box::new);
        let kind = match beat {
            Some(beat) => MessageKind::Beat(beat),
            None => match link.listener.take_answer() {
                Some(answer) => MessageKind::BeatAck(Box::new(answer)),
                None => {
                    link.is_ready = false;
                    return None;
                }
            },
        };
        let message =
            Message::new(0, crate::Stamp::default(), kind).with_cluster(self.common.cluster);
        Some((
            link.key.clone(),
            MsgRouter::ToNode(link.id.clone(), message),
        ))
    }

    /// The keys of the groups, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.places.keys()
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What the node of a group is and knows now, its lease as far as the links have prolonged it.
    #[must_use]
    pub fn state(&self, key: &K) -> Option<NodeState<I>> {
        self.election(key).map(|election| election.state().clone())
    }

    /// A copy of a group's election as it is now, with all that its links have heard for it.
    #[must_use]
    pub fn election(&self, key: &K) -> Option<Election<I>> {
        let group = self.group(*self.places.get(key)?)?;
        let mut election = group.election.clone();
        group::catch_up(&mut election, &group.attachments, &self.links);
        Some(election)
    }

    /// Whether a group's state has changed since it last came out.
    pub(crate) fn has_news(&self, key: &K) -> bool {
        let group = self.places.get(key).and_then(|place| self.group(*place));
        group.is_some_and(|group| group.election.has_news())
    }

    /// Whether a group follows a machine whose beats stand for its pings.
    #[cfg(feature = "sim")]
    pub(crate) fn hears_by_beats(&self, key: &K, leader: &I, beat: &crate::message::Beat) -> bool {
        let group = self.places.get(key).and_then(|place| self.group(*place));
        let at = self.machines.get(leader).copied();
        let link = at.and_then(|at| self.links.get(at as usize));
        let is_taken = link.is_some_and(|link| {
            let is_to_me = |own| link.listener.is_of(beat.session, own);
            link.listener.hears(beat.session) && beat.listener.is_none_or(is_to_me)
        });
        let is_attached = group.is_some_and(|group| {
            let mut attached = group.attachments.iter();
            attached.any(|attached| Some(attached.link) == at && attached.is_following())
        });
        is_taken && is_attached
    }

    /// What was dropped, and why.
    #[must_use]
    pub fn stats(&self) -> &GroupsStats {
        &self.stats
    }

    /// This machine's id, which is that of its node in every group.
    #[must_use]
    pub fn node_id(&self) -> &I {
        &self.common.me
    }

    fn group(&self, place: u32) -> Option<&Group<K, I>> {
        self.groups.get(place as usize)?.as_deref()
    }
}

impl<K, I> Elections<K, I> {
    /// All that it is: the maps follow from the lists.
    #[expect(
        clippy::type_complexity,
        reason = "a list of fields, to compare and to hash"
    )]
    fn parts(
        &self,
    ) -> (
        (&Settings<I>, u64, u64, bool),
        (&[Option<Box<Group<K, I>>>], &[u32]),
        (&[Link<K, I>], &[u32], &Dues, &Ready, &GroupsStats),
    ) {
        (
            (&self.common, self.incarnation, self.sessions, self.stopped),
            (&self.groups, &self.free),
            (
                &self.links,
                &self.free_links,
                &self.dues,
                &self.ready,
                &self.stats,
            ),
        )
    }
}

impl<K: PartialEq, I: PartialEq> PartialEq for Elections<K, I> {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl<K: Eq, I: Eq> Eq for Elections<K, I> {}

impl<K: Hash, I: Hash> Hash for Elections<K, I> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.parts().hash(hasher);
    }
}
