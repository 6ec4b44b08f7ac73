//! What a node must not hand over, and folders that are not its own.

use std::fs;

use streamraft::raft::{DiskLog, DiskLogError, FailureKind, LogStore, Write};
use streamraft::{LogPosition, NodeId};

use crate::tools::{CLUSTER, Folder, Store, batch, hard_state, me, when_free};

#[test]
fn what_does_not_follow_is_refused_and_ends_the_store_with_nothing_written() {
    let entry = [b"x".to_vec()];
    let mistakes = [
        Write::Append(batch(12, 5, &entry)),
        Write::Append(batch(10, 5, &entry)),
        Write::Append(batch(11, 3, &entry)),
        Write::Truncate(1),
        Write::Purge(LogPosition::new(5, 11)),
        Write::Save(hard_state(4)),
    ];
    for mistake in mistakes {
        let folder = Folder::new();
        let mut store = Store::open(&folder);
        store.log.append(&batch(1, 4, &vec![b"entry".to_vec(); 10]));
        store.log.purge(LogPosition::new(4, 3));
        store.log.save(&hard_state(5));
        store.flush();
        let before = Store::open(&folder.copy()).log.recovered();

        store.log.save(&hard_state(6));
        mistake.hand_to(&mut store.log);
        let failure = store.try_flush().unwrap_err();
        assert_eq!(
            failure.kind(),
            FailureKind::Broken,
            "{mistake:?}: {failure}"
        );
        assert!(
            failure.to_string().contains("hand over in order"),
            "{failure}"
        );
        let failure = store.try_flush().unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Broken, "for ever");
        drop(store);
        assert_eq!(Store::open(&folder).log.recovered(), before, "{mistake:?}");
    }
}

#[test]
fn entries_that_are_not_there_cannot_be_read() {
    let folder = Folder::new();
    let mut store = Store::open(&folder);
    let entries = vec![b"entry".to_vec(); 10];
    store.log.append(&batch(1, 4, &entries));
    store.flush();
    for missing in [0, 11, u64::MAX] {
        let failure = store.try_read(missing, 100).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Damaged, "{missing}");
        let name = format!("{}", folder.log().display());
        assert!(failure.to_string().contains(&name), "{failure}");
    }
    assert_eq!(store.read(10, 0).len(), 1, "one at least");
}

#[test]
fn a_folder_has_one_store_at_a_time() {
    let folder = Folder::new();
    let store = Store::open(&folder);
    let refused = Store::try_open(&folder).unwrap_err();
    assert!(matches!(refused, DiskLogError::Locked { .. }), "{refused}");
    // By the lock of the folder, which is there before the log is.
    assert_eq!(refused.path(), &*folder);
    // By another name too.
    let other_name = folder.join(".");
    let refused = Store::try_open(&other_name).unwrap_err();
    assert!(matches!(refused, DiskLogError::Locked { .. }), "{refused}");
    drop(store);
    Store::open(&folder);
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    let folder = Folder::new();
    drop(Store::open(&folder));
    let refused = when_free(|| DiskLog::open(&*folder, &me(), "invoices")).unwrap_err();
    assert!(matches!(refused, DiskLogError::ForeignCluster { .. }));
    let text = refused.to_string();
    assert!(
        text.contains("\"orders\"") && text.contains("\"invoices\""),
        "{text}"
    );

    let b: NodeId = "b".parse().unwrap();
    let refused = when_free(|| DiskLog::open(&*folder, &b, CLUSTER)).unwrap_err();
    assert!(
        matches!(refused, DiskLogError::ForeignNode { .. }),
        "{refused}"
    );

    let refused = when_free(|| DiskLog::open(&*folder, &(7_u64, 8_u64), CLUSTER)).unwrap_err();
    let foreign = matches!(
        refused,
        DiskLogError::Damaged { .. } | DiskLogError::ForeignNode { .. }
    );
    assert!(foreign, "{refused}");
    Store::open(&folder);
}

#[test]
fn a_folder_that_is_missing_is_not_created() {
    let folder = Folder::new();
    let missing = folder.join("unmounted");
    let refused = Store::try_open(&missing).unwrap_err();
    assert!(matches!(refused, DiskLogError::Io { .. }), "{refused}");
    assert!(
        refused.to_string().contains("mount its volume"),
        "{refused}"
    );
    assert!(!missing.exists());
}

#[test]
fn what_another_program_wrote_is_left_alone() {
    let folder = Folder::new();
    let text = "the log of a ship, many years ago".repeat(10);
    fs::write(folder.log(), &text).unwrap();
    let refused = Store::open_when_free(&folder).unwrap_err();
    assert!(matches!(refused, DiskLogError::NotALog { .. }), "{refused}");
    assert_eq!(fs::read_to_string(folder.log()).unwrap(), text);
}

#[test]
fn a_log_that_is_missing_beside_its_snapshot_is_no_new_one() {
    let folder = Folder::new();
    fs::write(folder.join("snapshot-1-2-00000000"), b"of a node that was").unwrap();
    let refused = Store::try_open(&folder).unwrap_err();
    assert!(matches!(refused, DiskLogError::Damaged { .. }), "{refused}");
    assert_eq!(folder.names(), ["snapshot-1-2-00000000"]);
}
