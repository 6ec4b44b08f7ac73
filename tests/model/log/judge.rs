//! What must hold in every state, and what a run must have come upon so that it shows anything.

use stateright::Property;
use streamraft::NodeType;

use crate::log::disk::Held;
use crate::log::node::{Body, Node};
use crate::log::world::{Logs, World};

/// What must never be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    TwoLeaders,
    SaidUnsaved,
    AckedUnsaved,
    LogsApart,
    Rewritten,
    Incomplete,
    AppliedApart,
    NotOnQuorum,
    StaleRead,
    CommitFell,
    StoreApart,
    Damaged,
}

const NEVER: [(&str, Fault); 12] = [
    ("one leader a term", Fault::TwoLeaders),
    ("nothing is said that is not saved", Fault::SaidUnsaved),
    (
        "nothing is acknowledged that is not on the disk",
        Fault::AckedUnsaved,
    ),
    (
        "logs that have an entry in common have all before it",
        Fault::LogsApart,
    ),
    ("a leader drops nothing of its log", Fault::Rewritten),
    (
        "a leader has all that was committed before its term",
        Fault::Incomplete,
    ),
    (
        "what is committed at an index is the same everywhere",
        Fault::AppliedApart,
    ),
    (
        "what is committed is on the disks of a quorum",
        Fault::NotOnQuorum,
    ),
    (
        "a read sees all that was committed before it",
        Fault::StaleRead,
    ),
    ("a commit does not fall", Fault::CommitFell),
    ("a node knows what it has handed over", Fault::StoreApart),
    (
        "a node starts from whatever a crash has left",
        Fault::Damaged,
    ),
];

/// Something that a step can bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// A proposal is committed.
    Commit,
    /// A leader of a later term commits an entry of an older one, by one of its own.
    OlderCommit,
    /// An entry is dropped for another.
    Truncated,
    /// An append is refused.
    Refusal,
    /// A node leads although another, of an older term, takes itself for the leader.
    TwoTerms,
    /// A crash leaves a part of what was not flushed.
    Torn,
    /// A node that has crashed gets an entry that is committed.
    Mended,
    Compacted,
    /// A part of a snapshot is sent.
    Part,
    /// A snapshot from a leader is installed.
    Installed,
    /// A read waits for a quorum.
    ReadWaits,
    Answered,
    /// A read that waited is answered.
    Confirmed,
    /// A leader gives leadership up because of its disk.
    GaveUp,
    /// Leadership is handed over.
    Transferred,
    /// The voters are others.
    Changed,
}

const ALL: [Sight; 16] = [
    Sight::Commit,
    Sight::OlderCommit,
    Sight::Truncated,
    Sight::Refusal,
    Sight::TwoTerms,
    Sight::Torn,
    Sight::Mended,
    Sight::Compacted,
    Sight::Part,
    Sight::Installed,
    Sight::ReadWaits,
    Sight::Answered,
    Sight::Confirmed,
    Sight::GaveUp,
    Sight::Transferred,
    Sight::Changed,
];

/// All that steps have brought about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sights(pub(crate) u32);

impl Sights {
    pub(crate) fn add(&mut self, sight: Sight) {
        self.0 |= 1 << sight as u32;
    }

    pub(crate) fn add_if(&mut self, sight: Sight, is_seen: bool) {
        if is_seen {
            self.add(sight);
        }
    }

    pub(crate) fn list(self) -> Vec<Sight> {
        let has = |sight: &Sight| self.0 & (1 << *sight as u32) != 0;
        ALL.into_iter().filter(has).collect()
    }

    /// What one step of one node shows.
    pub(crate) fn see(&mut self, before: &Body, after: &Body, has_heard: bool) {
        let is_same_start = after.has_run_since(before);
        self.add_if(
            Sight::Truncated,
            is_same_start && after.has_truncated(before),
        );
        self.add_if(
            Sight::Installed,
            has_heard && after.snapshot() > before.snapshot(),
        );
        let (were, are) = (before.waiting_reads(), after.waiting_reads());
        let leads = after.raft.state().node_type() == NodeType::Leader;
        self.add_if(Sight::Confirmed, has_heard && are < were && leads);
        self.add_if(Sight::ReadWaits, are > were);
    }
}

/// An entry that was committed: up to where, and in which term that was first known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Committed {
    pub(crate) held: Held,
    pub(crate) in_term: u64,
}

pub(crate) fn properties() -> Vec<Property<Logs>> {
    // The conditions are functions, so each has its place in the list.
    macro_rules! never {
        ($($at:literal)*) => {
            vec![$(Property::always(NEVER[$at].0, |_: &Logs, world: &World| {
                world.fault != Some(NEVER[$at].1)
            })),*]
        };
    }
    never!(0 1 2 3 4 5 6 7 8 9 10 11)
}

/// Looks at what a step has made of one node, and notes what was committed by it.
pub(crate) fn look(keeps_voters: bool, after: &mut World, was: &Node) -> Sights {
    let mut sights = Sights::default();
    let Some(node) = after.node(was.id) else {
        return sights;
    };
    note_commits(after, was, node, &mut sights);
    let nodes = || after.nodes.iter().flatten().copied();
    let leaders = || nodes().filter(|other| other.leads && other.id != node.id);
    let leads_anew = node.leads && !(was.leads && was.term == node.term);
    sights.add_if(Sight::TwoTerms, leads_anew && leaders().next().is_some());
    sights.add_if(
        Sight::Changed,
        !was.voters.is_empty() && was.voters != node.voters,
    );
    let led = &mut [0; crate::log::world::MOST_TERMS];
    led.clone_from(&after.led);
    let mut fault = None;
    if leads_anew {
        let by = &mut led[usize::try_from(node.term).expect("few terms")];
        if *by != 0 {
            fault = Some(Fault::TwoLeaders);
        }
        *by = node.id;
    }
    let misses = |leader: &Node| {
        let mut before = after
            .committed
            .iter()
            .filter(|one| one.in_term <= leader.term);
        leader.leads && before.any(|one| !leader.log.covers(one.held))
    };
    let fault = fault
        .or(nodes().any(misses).then_some(Fault::Incomplete))
        .or(nodes()
            .any(|other| !match_up(node, other))
            .then_some(Fault::LogsApart))
        .or(applied_apart(after, node).then_some(Fault::AppliedApart));
    let lacks_quorum = |one: &Committed| {
        let voters = &node.voters;
        let has = |id: &&u8| {
            after
                .node(**id)
                .is_some_and(|other| other.disk.covers(one.held))
        };
        voters.iter().filter(has).count() <= voters.len() / 2
    };
    // Where the voters change, whoever commits answers for it.
    let is_judge = keeps_voters || node.leads && node.commit > was.commit;
    let lost = is_judge && after.committed.iter().any(lacks_quorum);
    let fault = fault.or(lost.then_some(Fault::NotOnQuorum));
    after.led = *led;
    after.fault = after.fault.or(fault);
    sights
}

/// Notes what this node is the first to know as committed.
fn note_commits(after: &mut World, was: &Node, node: &Node, sights: &mut Sights) {
    let known = after.committed.len() as u64;
    let is_news = |held: &Held| held.position.index > known && held.position.index <= node.commit;
    let news: Vec<_> = node.log.all().filter(is_news).collect();
    for held in &news {
        sights.add_if(
            Sight::Commit,
            held.position.index > 1 && held.position.term == node.term,
        );
        sights.add_if(Sight::OlderCommit, held.position.term < node.term);
    }
    let has_it = |one: &Committed| node.log.covers(one.held) && !was.log.covers(one.held);
    sights.add_if(
        Sight::Mended,
        node.body.has_crashed() && after.committed.iter().any(has_it),
    );
    if !news.is_empty() {
        let in_term = node.term;
        let news = news.into_iter().map(|held| Committed { held, in_term });
        after.committed = after.committed.iter().copied().chain(news).collect();
    }
}

/// Log matching: where two logs have an entry in common, they have all before it (paper figure 3).
fn match_up(one: &Node, other: &Node) -> bool {
    one.log.all().all(|held| {
        let same = other.log.at(held.position.index);
        same.is_none_or(|same| same.position != held.position || same.digest == held.digest)
    })
}

/// State machine safety: what this node may have applied is what was committed.
fn applied_apart(world: &World, node: &Node) -> bool {
    let differs = |held: Held| {
        let at = usize::try_from(held.position.index).expect("few entries");
        let committed = at.checked_sub(1).and_then(|at| world.committed.get(at));
        held.position.index > 0 && committed.map(|one| one.held) != Some(held)
    };
    let applied = |held: &Held| held.position.index <= node.commit;
    node.log.all().filter(applied).any(differs) || differs(node.log.snapshot)
}
