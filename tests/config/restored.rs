//! What a store gives back and no node can have saved.

use streamraft::{Config, ConfigError, HardState, Membership, TinyRaft};

use crate::{config, explains, refusal};

#[test]
fn a_restored_term_that_leaves_no_room_is_refused() {
    let membership = Membership::initial(["a", "b", "c"].map(|name| name.parse().expect("a name")));
    for term in [u64::MAX, u64::MAX - 1, u64::MAX - (1 << 40) + 1] {
        let saved = HardState::new(term, None, membership.clone());
        let error = refusal(
            &config().restore(saved),
            ["restore", &term.to_string(), "leaves the counter no room"],
        );
        assert_eq!(error, ConfigError::RestoredTerm { term });
    }
}

#[test]
fn a_restored_membership_that_no_node_could_have_saved_is_refused() {
    let good = Membership::initial([1_u64, 2, 3]);
    let changed = |change: fn(&mut Membership<u64>)| {
        let mut membership = good.clone();
        change(&mut membership);
        membership
    };
    let bad = [
        changed(|of| of.voters = vec![2, 1, 3]),
        changed(|of| of.voters = vec![1, 1, 2]),
        changed(|of| of.observers = vec![5, 4]),
        changed(|of| of.observers = vec![1]),
        changed(|of| of.target = vec![2, 1]),
        changed(|of| of.voters = (0..1_025).collect()),
        changed(|of| of.observers = (10..1_032).collect()),
        changed(|of| of.target = (0..1_025).collect()),
        // Newer than the term that it was saved with.
        changed(|of| of.term = 8),
    ];
    for membership in bad {
        let config = Config::with_id(1, [1, 2, 3]).expect("good settings");
        let stamp = membership.stamp();
        let error = TinyRaft::new(config.restore(HardState::new(7, None, membership)))
            .expect_err("it breaks a rule");
        assert_eq!(error, ConfigError::RestoredMembership { stamp });
        explains(
            &error,
            [
                "restore",
                &stamp.to_string(),
                "cannot have been saved by a node",
            ],
        );
    }
}

/// It could not grow any more, so two lists of voters would bear one stamp.
#[test]
fn a_restored_version_that_leaves_the_counter_no_room_is_refused() {
    for version in [u64::MAX, u64::MAX - 1] {
        let mut membership = Membership::initial([1_u64, 2, 3]);
        membership.version = version;
        let stamp = membership.stamp();
        let config = Config::with_id(1, [1, 2, 3]).expect("good settings");
        let made = TinyRaft::new(config.restore(HardState::new(7, None, membership)));
        let error = made.expect_err("it breaks a rule");
        assert_eq!(error, ConfigError::RestoredMembership { stamp });
    }
}
