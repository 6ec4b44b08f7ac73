//! A node's state as far as it matters: two nodes with one view do the same from here on.
//!
//! An [`Election`] counts what it drops, numbers its random draws and holds instants of its own clock. None of that
//! may tell two states apart, or no search would ever meet a state again. The view is made from outside, of the
//! `Debug` text, with instants counted in ticks from the node's own present. `tables.rs` checks on every run that
//! states of one view do the same.

use std::fmt::Write;
use std::time::{Duration, Instant};

use streamraft::Election;

/// What clocks count. Nodes are called at whole ticks only.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// Fields that no rule heeds after a node's start, within what a run has.
const NEVER: [(&str, &str); 6] = [
    // The same for a node's whole life, or read at its start only.
    ("Election", "settings"),
    ("Election", "stats"),
    // The random part of it is a nanosecond: less than the clocks can tell.
    ("Election", "patience"),
    ("Draws", "seed"),
    // A candidate asks again at the next tick, however often it has asked.
    ("Campaign", "asked"),
    // Ranks heed it in classes of 64 pings.
    ("Progress", "steadiness"),
];

/// What a peer of whom nothing rare is known stands for.
const NOTHING_RARE: &str = "Rare { reply_leader: None, withheld: None, \
    position: LogPosition { term: 0, index: 0 }, priority: 0, superior_since: None, tries: 0 }";

/// One value in a `Debug` text.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// A number, a name, a duration.
    Plain(&'a str),
    /// A struct.
    Fields(&'a str, Vec<(&'a str, Value<'a>)>),
    /// A tuple struct, a list, a set or a map, with the bracket that opens it. What a key of a map stands for follows it.
    Items(&'a str, char, Vec<Value<'a>>),
}

/// The part of a node's campaign that tells which answers are for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) number: u64,
    pub(crate) asks_for_votes: bool,
}

/// The view of a node at `now`, for which an election timeout is this many ticks, and its campaign if it has one.
pub(crate) fn view(election: &Election<u8>, now: Instant, timeout: i64) -> (String, Option<Round>) {
    let text = format!("{election:?}");
    let root = Value::of(&text);
    let state = election.state();
    let walks = state.nodes() != state.target() || !state.observers().is_empty();
    let mut out = String::with_capacity(text.len() / 2);
    let round = write(&root, nanos(now), timeout, walks, &mut out);
    (out, round)
}

/// Writes the view of an election whose `Debug` text this is, and reads its campaign. Whether peers are known to hold a
/// leader's membership is a part of it if `knows` is set.
pub(crate) fn write(
    root: &Value<'_>,
    now: i128,
    timeout: i64,
    knows: bool,
    out: &mut String,
) -> Option<Round> {
    let role = root.field("role");
    let campaign = (role.name() == "Candidate").then(|| role.first());
    let writer = Writer {
        origin: root.field("settings").field("origin").nanos(),
        nothing_rare: Value::of(NOTHING_RARE),
        now,
        timeout,
        leads: role.name() == "Leader",
        knows,
        campaign: campaign.map(|campaign| campaign.field("stage").name()),
        by_order: campaign.is_some_and(|campaign| campaign.field("transfer").name() == "true"),
    };
    writer.write(root, out);
    campaign.map(|campaign| Round {
        number: campaign.field("round").name().parse().expect("a number"),
        asks_for_votes: campaign.field("stage").name() == "Vote",
    })
}

/// An instant in nanoseconds, by whatever its clock counts from.
pub(crate) fn nanos(instant: Instant) -> i128 {
    Value::of(&format!("{instant:?}")).nanos()
}

/// Whole ticks until this, rounded up: the first tick at which it has come.
pub(crate) fn ticks(nanos: i128) -> i64 {
    let tick = i128::try_from(TICK.as_nanos()).expect("a short time");
    i64::try_from((nanos + tick - 1).div_euclid(tick)).expect("a short time")
}

/// How a field is shown.
enum Show {
    As,
    Not,
    /// An instant to wait for: one that has come is as good as any other that has.
    Deadline,
    /// A deadline that, once it has come, is as good as none.
    Window,
    /// An instant of the past, of which this many ticks matter.
    Since(i64),
    /// None is as good as one that holds nothing.
    Rare,
}

struct Writer<'a> {
    now: i128,
    /// What the node's moments are counted from.
    origin: i128,
    nothing_rare: Value<'a>,
    timeout: i64,
    leads: bool,
    knows: bool,
    campaign: Option<&'a str>,
    by_order: bool,
}

impl Writer<'_> {
    /// How much of a field matters, and why no more.
    fn show(&self, parent: &str, field: &str) -> Show {
        if self.is_idle(parent, field) {
            return Show::Not;
        }
        match (parent, field) {
            ("Election", "withhold_until") => Show::Window,
            ("NodeState", "lease") | ("Timers", _) => Show::Deadline,
            // Read while it asks for pre-votes, for a part of a tick.
            ("Campaign", "since") => Show::Since(1),
            ("Progress", "heard") => Show::Since(self.timeout),
            ("Peer", "rare") => Show::Rare,
            _ => Show::As,
        }
    }

    /// Whether no rule heeds it in this state, before something sets it anew.
    fn is_idle(&self, parent: &str, field: &str) -> bool {
        match (parent, field) {
            _ if NEVER.contains(&(parent, field)) => true,
            ("Campaign", "since") => self.campaign != Some("PreVote"),
            // A candidate's, set anew by every campaign.
            ("Peer", "verdict") => self.campaign.is_none(),
            ("Peer", "is_there") => self.campaign.is_none() || self.by_order,
            // Says whether a message needs the membership, which all get here (`letters.rs`), and what a leader may
            // build on while a change is under way. Every election and every change begins it anew.
            ("Peer", "knowledge") => !(self.leads && self.knows),
            // A leader's, set anew at its election.
            ("Peer", "progress") | ("Rare", "position" | "priority" | "superior_since") => {
                !self.leads
            }
            _ => false,
        }
    }

    fn write(&self, value: &Value<'_>, out: &mut String) {
        match value {
            Value::Plain(text) => out.push_str(text),
            Value::Fields("Instant", _) | Value::Items("Moment", ..) => {
                let _ = write!(out, "{}", self.ticks(value));
            }
            Value::Fields(name, fields) => {
                out.push('{');
                for (field, value) in fields {
                    self.write_field(&self.show(name, field), value, out);
                    out.push(' ');
                }
                out.push('}');
            }
            Value::Items(name, open, items) => {
                out.push_str(name);
                out.push(*open);
                for item in items {
                    self.write(item, out);
                    out.push(' ');
                }
                out.push(')');
            }
        }
    }

    fn write_field(&self, show: &Show, value: &Value<'_>, out: &mut String) {
        let ticks = || match value {
            Value::Items("Some", _, items) => items.first().map(|at| self.ticks(at)),
            Value::Fields("Instant", _) | Value::Items("Moment", ..) => Some(self.ticks(value)),
            _ => None,
        };
        let ticks = match show {
            Show::As => return self.write(value, out),
            Show::Not => return,
            Show::Rare => {
                let is_none = value.name() == "None";
                let rare = if is_none {
                    &self.nothing_rare
                } else {
                    value.first()
                };
                return self.write(rare, out);
            }
            Show::Deadline => ticks().map(|ticks| ticks.max(0)),
            Show::Window => ticks().filter(|ticks| *ticks > 0),
            Show::Since(most) => ticks().map(|ticks| ticks.max(-most)),
        };
        let _ = write!(out, "{ticks:?}");
    }

    fn ticks(&self, instant: &Value<'_>) -> i64 {
        let nanos = match instant {
            // The number of the origin is one more than half of all.
            Value::Items(..) => self.origin - (1 << 63) - 1 + instant.first().number(),
            _ => instant.nanos(),
        };
        ticks(nanos - self.now)
    }
}

impl<'a> Value<'a> {
    /// What a `Debug` text says.
    pub(crate) fn of(text: &'a str) -> Self {
        Parser { rest: text }.value()
    }

    pub(crate) fn name(&self) -> &'a str {
        match self {
            Value::Plain(name) | Value::Fields(name, _) | Value::Items(name, ..) => name,
        }
    }

    pub(crate) fn field(&self, name: &str) -> &Value<'a> {
        let Value::Fields(_, fields) = self else {
            panic!("no struct: {self:?}");
        };
        let found = fields.iter().find(|(field, _)| *field == name);
        &found.unwrap_or_else(|| panic!("no {name}: {self:?}")).1
    }

    /// Of an instant, by whatever its clock counts from.
    pub(crate) fn nanos(&self) -> i128 {
        let part = |name| self.field(name).number();
        part("tv_sec") * 1_000_000_000 + part("tv_nsec")
    }

    fn number(&self) -> i128 {
        self.name().parse().expect("a number")
    }

    pub(crate) fn first(&self) -> &Value<'a> {
        let first = self.items().first();
        first.unwrap_or_else(|| panic!("nothing in it: {self:?}"))
    }

    pub(crate) fn items(&self) -> &[Value<'a>] {
        match self {
            Value::Items(_, _, items) => items,
            _ => &[],
        }
    }
}

/// Reads what `#[derive(Debug)]` writes.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Value<'a> {
        let end = self
            .rest
            .find([' ', ',', ':', '{', '(', '[', '}', ')', ']']);
        let name = self.take(end.unwrap_or(self.rest.len()));
        if self.eat(" {") {
            return self.fields(name);
        }
        let closing = match self.rest.chars().next() {
            Some('(') => ")",
            Some('[') => "]",
            Some('{') => "}",
            _ => return Value::Plain(name),
        };
        let open = self.take(1).chars().next().expect("just seen");
        let mut items = Vec::new();
        while !self.eat(closing) {
            items.push(self.value());
            let _ = self.eat(", ") || self.eat(": ");
        }
        Value::Items(name, open, items)
    }

    fn fields(&mut self, name: &'a str) -> Value<'a> {
        let mut fields = Vec::new();
        self.eat(" ");
        while !(self.eat(" }") || self.eat("}")) {
            let end = self.rest.find(':').expect("a field has a name");
            let field = self.take(end);
            self.eat(": ");
            fields.push((field, self.value()));
            self.eat(", ");
        }
        Value::Fields(name, fields)
    }

    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[test]
fn a_view_knows_what_matters_from_what_does_not() {
    use streamraft::{Config, Inbound, Message, MessageKind, Stamp};

    let origin = Instant::now();
    let config = |seed| {
        Config::with_id(1, [1, 2, 3])
            .expect("good settings")
            .election_timeout(TICK * 3 - Duration::from_nanos(2))
            .random_timeout(Duration::from_nanos(1))
            .heartbeat_interval(TICK / 2)
            .seed(seed)
    };
    let node = Election::new(config(1), origin).expect("good settings");
    let later = Election::new(config(1), origin + TICK).expect("good settings");
    assert_ne!(node, later);
    assert_eq!(view(&node, origin, 3), view(&later, origin + TICK, 3));
    assert_ne!(view(&node, origin, 3), view(&later, origin, 3));
    // A counter is no difference, a vote is.
    let mut dropped = node.clone();
    let stale = Message::new(0, Stamp::new(0, 1), MessageKind::TimeoutNow);
    let _ = dropped.handle(origin, Inbound::FromNode(9, stale));
    assert_ne!(node, dropped);
    assert_eq!(view(&node, origin, 3), view(&dropped, origin, 3));
    let mut voted = node.clone();
    let ask = MessageKind::VoteRequest {
        position: streamraft::LogPosition::default(),
        transfer: true,
    };
    let ask = Message::new(1, Stamp::new(0, 1), ask);
    let _ = voted.handle(origin, Inbound::FromNode(2, ask));
    assert_ne!(view(&node, origin, 3), view(&voted, origin, 3));
}
