//! The link between this machine and another: the beats it sends for the groups that it leads there, and those it hears
//! for the groups that it follows there. The two directions know nothing of each other.
//!
//! A session has two names, one by each end. What bears another pair of names is of an earlier life of one of the two,
//! and counts for nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::roll::Roll;
use super::watch::Answer;
use crate::message::{Attachment, Beat};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Link<K, I> {
    pub(super) id: I,
    /// A group of this link: whatever leaves a machine bears a key.
    pub(super) key: K,
    pub(super) speaker: Speaker,
    pub(super) listener: Listener,
    /// Stands in the list of links that have something to say.
    pub(super) is_ready: bool,
}

/// What is known of the other end's hearing.
///
/// ```text
///   Off ── this machine leads a group there ──▶ Trying ── an answer ──▶ Live
///    ▲                                            │                    │  ▲
///    └──── nothing left to say ────  Silent ◀─────┴── none for long ───┘  │
///                                      └────────────── an answer ─────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Hearing {
    Off,
    Trying,
    Live,
    Silent,
}

/// The end that leads: sends beats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Speaker {
    session: u64,
    listener: Option<u64>,
    /// Rounds count from here.
    since: Instant,
    round: u64,
    /// A beat waits to leave.
    pub(super) waits: bool,
    pub(super) hearing: Hearing,
    /// The newest round that was answered, when it was sent, and when its answer came. The instants outlive a session.
    answered: Option<u64>,
    sent: Option<Instant>,
    heard: Instant,
    pub(super) roll: Roll,
    numbers: u64,
    /// Groups that rest though they are not attached, since the other end is silent.
    pub(super) without: BTreeSet<u32>,
    /// A group was led here since the last beat.
    pub(super) is_wanted: bool,
    /// The instant at which its silence is looked at is in the list of what falls due.
    pub(super) is_watched: bool,
}

/// The end that follows: hears beats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Listener {
    session: Option<u64>,
    /// The session before it. What is still on its way of that one is not taken for the beginning of another.
    before: Option<u64>,
    own: u64,
    /// When the newest beat came that stands for pings.
    pub(super) heard: Option<Instant>,
    /// The round to answer.
    answer: Option<u64>,
    pub(super) roll: Roll,
    pub(super) is_watched: bool,
}

impl Speaker {
    pub(super) fn new(session: u64, now: Instant) -> Self {
        Self {
            session,
            listener: None,
            since: now,
            round: 0,
            waits: false,
            hearing: Hearing::Off,
            answered: None,
            sent: None,
            heard: now,
            roll: Roll::default(),
            numbers: 0,
            without: BTreeSet::new(),
            is_wanted: false,
            is_watched: false,
        }
    }

    /// Begins a session in which nobody is attached. What was heard is kept, for the sake of silence.
    pub(super) fn renew(&mut self, session: u64, now: Instant) {
        *self = Self {
            waits: true,
            hearing: self.hearing,
            sent: self.sent,
            heard: self.heard,
            without: std::mem::take(&mut self.without),
            is_wanted: self.is_wanted,
            is_watched: self.is_watched,
            ..Self::new(session, now)
        };
    }

    /// This machine leads here, and will be silent no more.
    pub(super) fn start(&mut self, now: Instant) {
        self.hearing = Hearing::Trying;
        self.heard = now;
        self.sent = None;
        self.is_wanted = true;
    }

    /// The next beat waits to leave, as one of this instant.
    pub(super) fn beat(&mut self, now: Instant) {
        let micros = now.saturating_duration_since(self.since).as_micros();
        self.round = self.round.max(u64::try_from(micros).unwrap_or(u64::MAX));
        self.waits = true;
    }

    /// When its silence has lasted too long: for a leader to be one, or for a follower to be counted.
    pub(super) fn silent_at(&self, election: Duration, leadership: Duration) -> Instant {
        // Never earlier than it was thought to be before.
        let sent = self.sent.unwrap_or(self.heard);
        (self.heard + election).min(sent + leadership)
    }

    /// A new attachment's number, and its first round: one that is sent after the other end has attached.
    pub(super) fn number(&mut self, group: u32) -> u64 {
        self.numbers += 1;
        self.roll.attach(self.numbers, group);
        self.numbers
    }

    pub(super) fn next_round(&self) -> u64 {
        self.round + 1
    }

    /// When the newest answered beat was sent and when its answer came, if it is of this round or a later one.
    pub(super) fn answer_since(&self, round: u64) -> Option<(Instant, Instant)> {
        let is_newer = self.answered.is_some_and(|answered| answered >= round);
        self.sent
            .filter(|_| is_newer)
            .map(|sent| (sent, self.heard))
    }

    /// What has been answered, for who shows it.
    pub(super) fn answer(&self, link: u32) -> Answer {
        Answer {
            link,
            session: self.session,
            since: self.since,
            round: self.answered,
        }
    }

    /// Whether no beat has been answered for as long as this.
    pub(super) fn is_unanswered_for(&self, span: Duration, now: Instant) -> bool {
        self.sent.is_none_or(|sent| sent + span <= now)
    }

    pub(super) fn take_beat(&mut self) -> Option<Beat> {
        std::mem::take(&mut self.waits).then(|| {
            with_news(
                Beat::new(self.session, self.listener, self.round),
                &self.roll,
            )
        })
    }

    pub(super) fn attachment(&self, number: u64) -> Option<Attachment> {
        let detached = self.roll.detached();
        let listener = self.listener?;
        Some(Attachment::new(self.session, listener, number, detached))
    }

    /// Whether it knows whom it speaks to.
    pub(super) fn is_met(&self) -> bool {
        self.listener.is_some()
    }

    /// Whether something is of this session.
    pub(super) fn is_of(&self, session: u64, listener: u64) -> bool {
        self.session == session && self.listener == Some(listener)
    }

    /// Looks at who answers.
    pub(super) fn meet(&mut self, answer: &Beat) -> Meeting {
        match (self.listener, answer.listener) {
            _ if answer.session != self.session => Meeting::Stale,
            (_, None) => Meeting::Stale,
            (None, met) => {
                self.listener = met;
                Meeting::Same
            }
            (known, met) if known == met => Meeting::Same,
            _ => Meeting::Another,
        }
    }

    /// An answer whose news were heard has come.
    pub(super) fn take_answer(&mut self, answer: &Beat, now: Instant) {
        self.roll.was_heard(answer.heard);
        self.heard = now;
        if self.answered.is_none_or(|before| before < answer.round) {
            self.answered = Some(answer.round);
            self.sent = Some(self.since + Duration::from_micros(answer.round));
        }
    }

    /// Whether a correct machine can have answered this.
    pub(super) fn can_be(&self, answer: &Beat) -> bool {
        let is_told = Roll::can_be_told(answer.detached, &answer.news);
        answer.round <= self.round && is_told && self.roll.can_be_heard(answer.heard)
    }
}

/// Who answered a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// The one that it speaks to.
    Same,
    /// A later life of it, or one that has heard another session in between.
    Another,
    /// Somebody who answered an earlier session.
    Stale,
}

impl Listener {
    pub(super) fn new(own: u64) -> Self {
        Self {
            session: None,
            before: None,
            own,
            heard: None,
            answer: None,
            roll: Roll::default(),
            is_watched: false,
        }
    }

    /// Whether it hears this session.
    pub(super) fn hears(&self, session: u64) -> bool {
        self.session == Some(session)
    }

    /// Begins to hear a session, if it does not hear it already.
    pub(super) fn hear(&mut self, session: u64) {
        if !self.hears(session) {
            self.before = self.session.replace(session);
        }
    }

    /// Whether a session was heard before the present one, and is over.
    pub(super) fn is_past(&self, session: u64) -> bool {
        self.before == Some(session)
    }

    /// Takes another name, under which nobody is attached yet.
    pub(super) fn renew(&mut self, own: u64) {
        *self = Self {
            session: self.session,
            before: self.before,
            heard: self.heard,
            is_watched: self.is_watched,
            ..Self::new(own)
        };
    }

    /// Whether something is of the session that it hears.
    pub(super) fn is_of(&self, session: u64, listener: u64) -> bool {
        self.session == Some(session) && self.own == listener
    }

    /// Whether it has heard a beat within an election timeout.
    pub(super) fn is_live(&self, now: Instant, election: Duration) -> bool {
        self.heard.is_some_and(|heard| now < heard + election)
    }

    /// Whether a correct machine can have said this.
    pub(super) fn can_be(&self, beat: &Beat) -> bool {
        Roll::can_be_told(beat.detached, &beat.news) && self.roll.can_be_heard(beat.heard)
    }

    /// An answer to this round waits to leave.
    pub(super) fn answer(&mut self, round: u64) {
        self.answer = self.answer.max(Some(round));
    }

    /// A beat whose news were heard: it stands for pings if its sender knows whom it speaks to.
    pub(super) fn take_beat(&mut self, beat: &Beat, now: Instant) {
        self.roll.was_heard(beat.heard);
        self.heard = self.heard.max(Some(now));
    }

    pub(super) fn take_answer(&mut self) -> Option<Beat> {
        let round = self.answer.take()?;
        let session = self.session?;
        Some(with_news(
            Beat::new(session, Some(self.own), round),
            &self.roll,
        ))
    }

    pub(super) fn attachment(&self, number: u64) -> Option<Attachment> {
        let detached = self.roll.detached();
        let session = self.session?;
        Some(Attachment::new(session, self.own, number, detached))
    }
}

/// A beat, or an answer, with all that its sender has to tell of attachments.
fn with_news(mut beat: Beat, roll: &Roll) -> Beat {
    beat.detached = roll.detached();
    beat.news = roll.news().to_vec();
    beat.heard = roll.heard();
    beat
}

impl<K, I> Link<K, I> {
    /// Whether it has nothing to say or to wait for.
    pub(super) fn is_idle(&self) -> bool {
        let (speaker, listener) = (&self.speaker, &self.listener);
        let is_watched = speaker.is_watched || listener.is_watched;
        speaker.hearing == Hearing::Off
            && speaker.roll.is_idle()
            && speaker.without.is_empty()
            && listener.roll.is_idle()
            && !(is_watched || self.is_ready)
    }

    pub(super) fn new(id: I, key: K, session: u64, own: u64, now: Instant) -> Self {
        Self {
            id,
            key,
            speaker: Speaker::new(session, now),
            listener: Listener::new(own),
            is_ready: false,
        }
    }
}
