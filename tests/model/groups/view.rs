//! What matters of a machine: two with one view do the same from here on, which `tables.rs` checks on every run.

use std::fmt::Write;
use std::time::Instant;

use streamraft::Elections;

use crate::view::{self, Round, Value, nanos, ticks};

/// What no rule heeds, or what follows from the rest.
const NEVER: [(&str, &str); 10] = [
    // The same for a machine's whole life.
    ("Elections", "common"),
    ("Elections", "settings"),
    // Where equal memberships are found, and when links that nobody needs are looked for.
    ("Elections", "shared"),
    ("Elections", "sweep_at"),
    ("Elections", "stats"),
    // These follow from the lists of groups and links.
    ("Elections", "places"),
    ("Elections", "machines"),
    // Lists for who shows single groups.
    ("Elections", "changed"),
    ("Elections", "answered"),
    // Whatever beats bear as a key, no machine heeds it.
    ("Link", "key"),
];

/// A machine, read from its `Debug` text.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) text: String,
    pub(crate) groups: Vec<Group>,
    pub(crate) links: Vec<Link>,
    /// How many sessions it has named since it started.
    pub(crate) sessions: u64,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) key: u8,
    pub(crate) campaign: Option<Round>,
    /// The other machine and the number of each attachment as a leader.
    pub(crate) leading: Vec<(u8, u64)>,
    pub(crate) following: usize,
}

/// A machine's link to another.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) id: u8,
    /// By which the two name this machine's session as a speaker.
    pub(crate) speaker: End,
    pub(crate) listener: End,
}

/// One end of one direction.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// The names of the speaker and the listener, as this end knows them.
    pub(crate) names: (Option<u64>, Option<u64>),
    /// How many endings of the other end it has heard of.
    pub(crate) heard: u64,
    /// How many attachments it has ended.
    pub(crate) ended: u64,
    /// The number of each attachment, and its group if that is there.
    pub(crate) attached: Vec<(u64, Option<u8>)>,
    /// Endings that it tells of.
    pub(crate) news: Vec<u64>,
}

impl View {
    pub(crate) fn new(elections: &Elections<u8, u8>, now: Instant, timeout: i64) -> Self {
        let text = format!("{elections:?}");
        let root = Value::of(&text);
        let mut writer = Writer {
            now: nanos(now),
            timeout,
            campaigns: Vec::new(),
        };
        let mut out = String::with_capacity(text.len() / 2);
        writer.write(&root, &mut out);
        let slots = root.field("groups").items();
        let present = slots.iter().filter(|slot| slot.name() == "Some");
        let groups = present.zip(writer.campaigns);
        let links = root.field("links").items();
        Self {
            text: out,
            groups: groups
                .map(|(slot, campaign)| group(slot.first(), campaign, links))
                .collect(),
            links: links.iter().map(|value| link(value, slots)).collect(),
            sessions: number(root.field("sessions")),
        }
    }
}

fn group(value: &Value<'_>, campaign: Option<Round>, links: &[Value<'_>]) -> Group {
    let at_stage = |name: &'static str| {
        let all = value.field("attachments").items().iter();
        all.filter(move |at| at.field("stage").name() == name)
    };
    let leads = |at: &Value<'_>| {
        let place = usize::try_from(number(at.field("link"))).expect("a place");
        let id = links[place].field("id").name().parse();
        (id.expect("an id"), number(at.field("number")))
    };
    Group {
        key: value.field("key").name().parse().expect("a key"),
        campaign,
        leading: at_stage("Leading").map(leads).collect(),
        following: at_stage("Following").count(),
    }
}

fn link(value: &Value<'_>, groups: &[Value<'_>]) -> Link {
    let (speaker, listener) = (value.field("speaker"), value.field("listener"));
    let maybe = |value: &Value<'_>| (value.name() == "Some").then(|| number(value.first()));
    let name = |value: &Value<'_>| Some(number(value));
    let spoken = (
        name(speaker.field("session")),
        maybe(speaker.field("listener")),
    );
    let heard = (
        maybe(listener.field("session")),
        name(listener.field("own")),
    );
    Link {
        id: value.field("id").name().parse().expect("an id"),
        speaker: end(spoken, speaker.field("roll"), groups),
        listener: end(heard, listener.field("roll"), groups),
    }
}

fn end(names: (Option<u64>, Option<u64>), roll: &Value<'_>, groups: &[Value<'_>]) -> End {
    let key = |place: &Value<'_>| -> Option<u8> {
        let place = usize::try_from(number(place)).expect("a place");
        let group = groups.get(place).filter(|slot| slot.name() == "Some")?;
        let key = group.first().field("key").name();
        Some(key.parse().expect("a key"))
    };
    let attached = roll.field("attached").items().chunks(2);
    End {
        names,
        heard: number(roll.field("heard")),
        ended: number(roll.field("detached")),
        attached: attached
            .map(|pair| (number(&pair[0]), key(&pair[1])))
            .collect(),
        news: roll.field("news").items().iter().map(number).collect(),
    }
}

fn number(value: &Value<'_>) -> u64 {
    value.name().parse().expect("a number")
}

struct Writer {
    now: i128,
    timeout: i64,
    campaigns: Vec<Option<Round>>,
}

impl Writer {
    fn write(&mut self, value: &Value<'_>, out: &mut String) {
        match value {
            Value::Plain(text) => out.push_str(text),
            Value::Fields("Instant", _) => {
                let _ = write!(out, "{}", ticks(value.nanos() - self.now));
            }
            Value::Fields("Election", _) => {
                let campaign = view::write(value, self.now, self.timeout, true, out);
                self.campaigns.push(campaign);
            }
            Value::Fields(name, fields) => {
                out.push('{');
                for (field, value) in fields {
                    if !NEVER.contains(&(name, field)) {
                        self.write_field(name, field, value, out);
                        out.push(' ');
                    }
                }
                out.push('}');
            }
            Value::Items(name, open, items) => {
                out.push_str(name);
                out.push(*open);
                self.write_items(items, out);
                out.push(')');
            }
        }
    }

    fn write_items(&mut self, items: &[Value<'_>], out: &mut String) {
        for item in items {
            self.write(item, out);
            out.push(' ');
        }
    }

    fn write_field(&mut self, parent: &str, field: &str, value: &Value<'_>, out: &mut String) {
        let most = match (parent, field) {
            // Of the past as much as silence lasts.
            ("Speaker" | "Listener", "heard") => self.timeout,
            _ => return self.write(value, out),
        };
        let instant = match value {
            Value::Items("Some", ..) => value.first(),
            Value::Fields("Instant", _) => value,
            _ => return self.write(value, out),
        };
        let _ = write!(out, "{}", ticks(instant.nanos() - self.now).max(-most));
    }
}
