//! The file that keeps a vote: whatever lies there, opening it never panics and never makes a vote of what is damaged.
//!
//! The form of a record is written out here once more, from its documentation, so that what `open` accepts is judged by
//! something other than itself.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use arbitrary::{Arbitrary, Unstructured};
use streamraft::{Config, FileStore, FileStoreError, HardState, Membership, NodeId};

const MAGIC: &[u8] = b"streamraft";
const CLUSTER: &str = "orders";
const ME: &str = "a";

/// Where the length, the checksum and the body begin.
const LEN_AT: usize = 11;
const SUM_AT: usize = 15;
const BODY_AT: usize = 19;

#[derive(Arbitrary, Debug)]
enum Input {
    /// Just bytes.
    Raw(Vec<u8>),
    /// Any body and any version, with the right magic, length and checksum.
    Sealed { version: Option<u8>, body: Vec<u8> },
    /// Any state, sealed, for this node or for another.
    Saved(Saved),
    /// The same, and one thing wrong with it that a checksum never misses.
    Damaged(Saved, Damage),
    /// The same, and many things wrong with it.
    Mauled(Saved, Vec<Damage>),
}

#[derive(Arbitrary, Debug)]
struct Saved {
    /// Rarely of another cluster, of another node, or one that no node makes.
    oddity: u8,
    term: u64,
    /// Ids are one letter, so that they meet.
    voted_for: Option<u8>,
    membership_term: u64,
    version: u64,
    target_version: u64,
    voters: Vec<u8>,
    observers: Vec<u8>,
    target: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Damage {
    /// Up to 32 bits that lie together, somewhere in the file.
    Burst { at: u16, bits: [u8; 4] },
    /// The end is missing.
    Cut(u16),
    /// There is more than there should be.
    Longer(Vec<u8>),
}

/// Checks everything that this module promises, on what these bytes stand for.
pub(crate) fn check(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    match input {
        Input::Raw(bytes) => {
            let _ = opened(&bytes);
        }
        Input::Sealed { version, body } => {
            let version = version.unwrap_or(1);
            let found = opened(&sealed(version, &body));
            if version != 1 {
                assert!(
                    matches!(found, Err(FileStoreError::Version { found, .. }) if found == version)
                );
            }
        }
        Input::Saved(saved) => check_saved(&saved),
        Input::Damaged(saved, damage) => {
            let good = saved.bytes();
            let mut bytes = good.clone();
            if damage.strike(&mut bytes) {
                assert!(opened(&bytes).is_err(), "{damage:?} was not seen");
            }
        }
        Input::Mauled(saved, damages) => {
            let mut bytes = saved.bytes();
            for damage in damages {
                damage.strike(&mut bytes);
            }
            let _ = opened(&bytes);
        }
    }
}

/// What was saved is what is found, if it was saved for this node, and a node can make such a membership.
fn check_saved(saved: &Saved) {
    let state = saved.state();
    match opened(&saved.bytes()) {
        Ok(found) => assert_eq!(found, state),
        Err(FileStoreError::ForeignCluster { .. }) => assert!(saved.is_foreign_cluster()),
        Err(FileStoreError::ForeignNode { .. }) => assert!(saved.is_foreign_node()),
        Err(FileStoreError::Corrupt { .. }) => assert!(!is_possible(&state)),
        Err(error) => panic!("it was saved like that: {error}"),
    }
}

/// Opens a file of these bytes. What it gives must be in them.
fn opened(bytes: &[u8]) -> Result<HardState, FileStoreError> {
    let folder = folder();
    let path = folder.join("vote");
    fs::write(&path, bytes).expect("a folder for tests can be written");
    let me: NodeId = ME.parse().expect("a good name");
    let result = FileStore::open(&path, me.clone(), CLUSTER);
    let after = fs::read(&path).expect("it was just written");
    assert_eq!(after, bytes, "opening it changed it");
    let (_store, saved) = result?;
    let state = saved.expect("a file that is there is not taken for one that is not");

    let body = checked_body(bytes).expect("it took a record for good that is none");
    let (cluster, node_id, held): (String, NodeId, HardState) =
        postcard::from_bytes(body).expect("it read what is not there");
    assert_eq!((cluster.as_str(), &node_id, &held), (CLUSTER, &me, &state));
    assert!(is_possible(&state), "no node saves this: {state:?}");
    let config = Config::new(ME, [ME])
        .expect("good names")
        .restore(state.clone());
    let restorable = config.check().is_ok();
    assert!(
        restorable || state.term() > u64::MAX - (1 << 40),
        "no node can be restored from {state:?}"
    );
    Ok(state)
}

/// The body of a record, by the form that is documented; none if anything is wrong with what stands before it.
fn checked_body(bytes: &[u8]) -> Option<&[u8]> {
    let (head, body) = bytes.split_at_checked(BODY_AT)?;
    let number = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let is_record = head.starts_with(MAGIC) && head.get(MAGIC.len()) == Some(&1);
    let is_whole = usize::try_from(number(LEN_AT)?).ok()? == body.len();
    let is_right = number(SUM_AT)? == checksum(head.get(MAGIC.len()..SUM_AT)?, body);
    (is_record && is_whole && is_right).then_some(body)
}

fn checksum(version_and_len: &[u8], body: &[u8]) -> u32 {
    crc32fast::hash(&[version_and_len, body].concat())
}

/// A body with everything before it as it must be.
fn sealed(version: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len())
        .expect("a small body")
        .to_be_bytes();
    let sum = checksum(&[&[version], &len[..]].concat(), body).to_be_bytes();
    [MAGIC, &[version], &len, &sum, body].concat()
}

/// Whether a node can come to hold this.
fn is_possible(state: &HardState) -> bool {
    let membership = state.membership();
    let ascends = |ids: &[NodeId]| ids.is_sorted_by(|a, b| a < b);
    let lists = [
        &membership.voters,
        &membership.observers,
        &membership.target,
    ];
    let belongs = membership.version > 0;
    lists.iter().all(|ids| ascends(ids))
        && !membership
            .observers
            .iter()
            .any(|id| membership.voters.contains(id))
        && (!belongs || !membership.voters.is_empty() && !membership.target.is_empty())
        && membership.target_version <= membership.version
        && membership.version <= u64::MAX - (1 << 40)
        && membership.term <= state.term()
}

impl Saved {
    fn bytes(&self) -> Vec<u8> {
        let cluster = if self.is_foreign_cluster() {
            "bills"
        } else {
            CLUSTER
        };
        let node_id = if self.is_foreign_node() { "z" } else { ME };
        let body = (cluster, node_id, self.state());
        sealed(
            1,
            &postcard::to_extend(&body, Vec::new()).expect("it serializes"),
        )
    }

    fn is_foreign_cluster(&self) -> bool {
        self.oddity % 16 == 1
    }

    fn is_foreign_node(&self) -> bool {
        self.oddity % 16 == 2
    }

    fn state(&self) -> HardState {
        let mut membership = Membership::initial(names(&self.voters));
        membership.observers = names(&self.observers);
        membership.target = names(&self.target);
        membership.term = self.membership_term;
        membership.version = self.version;
        membership.target_version = self.target_version;
        if self.oddity % 16 != 3 {
            make_possible(&mut membership, self.term);
        }
        HardState::new(self.term, self.voted_for.map(name), membership)
    }
}

/// What a node in this term could hold.
fn make_possible(membership: &mut Membership<NodeId>, term: u64) {
    membership.term = membership.term.min(term);
    membership.version = membership.version.clamp(1, u64::MAX - (1 << 40));
    membership.target_version = membership.target_version.min(membership.version);
    let Membership {
        voters,
        observers,
        target,
        ..
    } = membership;
    for list in [&mut *voters, observers, target] {
        list.sort();
        list.dedup();
    }
    if voters.is_empty() {
        voters.push(name(0));
    }
    if target.is_empty() {
        target.clone_from(voters);
    }
    observers.retain(|id| !voters.contains(id));
}

fn names(letters: &[u8]) -> Vec<NodeId> {
    letters.iter().copied().map(name).collect()
}

fn name(letter: u8) -> NodeId {
    char::from(b'a' + letter % 26)
        .to_string()
        .parse()
        .expect("one letter")
}

impl Damage {
    /// Damages the bytes, and says whether they are others now.
    fn strike(&self, bytes: &mut Vec<u8>) -> bool {
        match self {
            Self::Burst { at, bits } => {
                let at = usize::from(*at) % bytes.len().max(1);
                // Within one part of the record: across two, bits that lie together are apart for the checksum.
                let part = [MAGIC.len(), SUM_AT, BODY_AT, bytes.len()];
                let end = part
                    .into_iter()
                    .find(|end| at < *end)
                    .unwrap_or(bytes.len());
                let struck = bytes.iter_mut().take(end).skip(at).zip(bits);
                struck.fold(false, |changed, (byte, bits)| {
                    *byte ^= bits;
                    changed || *bits != 0
                })
            }
            Self::Cut(by) => {
                let left = bytes.len().saturating_sub(usize::from(*by));
                bytes.truncate(left);
                *by > 0
            }
            Self::Longer(more) => {
                bytes.extend_from_slice(more);
                !more.is_empty()
            }
        }
    }
}

/// A folder of this thread, where the tests of a process do not meet. It goes with the thread.
fn folder() -> PathBuf {
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    static FOLDERS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static FOLDER: Folder = {
            let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
            let name = format!("streamraft-properties-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a folder for tests");
            Folder(path)
        };
    }
    FOLDER.with(|folder| folder.0.clone())
}
