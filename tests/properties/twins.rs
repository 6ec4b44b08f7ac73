//! Every check with random bytes, and with those that a fuzzer has found worth keeping.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::{codec, election, log, store};

/// Bytes as random as possible, and bytes of which most are small, so that lists, lengths and choices are too.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![0..8_u8, any::<u8>()];
    prop_oneof![vec(any::<u8>(), 0..most), vec(byte, 0..most)]
}

/// About a thousand cases, or four times `PROPTEST_CASES`. Failures are kept in `tests/properties/regressions/` and
/// tried first ever after.
fn config(file: &'static str) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: 4 * usual.cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..usual
    }
}

proptest! {
    #![proptest_config(config("tests/properties/regressions/codec.txt"))]

    #[test]
    fn no_bytes_harm_a_codec_and_frames_may_be_split_anywhere(data in bytes(300)) {
        codec::check(&data);
    }
}

proptest! {
    #![proptest_config(config("tests/properties/regressions/election.txt"))]

    #[test]
    fn no_order_of_inputs_breaks_a_rule_of_one_election(data in bytes(1_500)) {
        election::check(&data);
    }
}

proptest! {
    #![proptest_config(config("tests/properties/regressions/store.txt"))]

    #[test]
    fn no_vote_file_that_was_damaged_is_taken_for_a_vote(data in bytes(300)) {
        store::check(&data);
    }
}

proptest! {
    #![proptest_config(config("tests/properties/regressions/log_wire.txt"))]

    #[test]
    fn no_bytes_are_taken_for_another_message_about_the_log(data in bytes(300)) {
        log::wire::check(&data);
    }
}

proptest! {
    #![proptest_config(config("tests/properties/regressions/log.txt"))]

    #[test]
    fn no_order_of_inputs_breaks_a_rule_of_a_node_with_a_log(data in bytes(1_500)) {
        log::check(&data);
    }
}

/// Runs a check on every file that is kept for it, and names the one that fails.
fn replay(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/properties/corpus")
        .join(name);
    let files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        let data = fs::read(&file).unwrap();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&data))) {
            eprintln!("the input is {}", file.display());
            resume_unwind(panic);
        }
    }
}

#[test]
fn what_a_fuzzer_found_for_the_codecs_still_holds() {
    replay("codec", codec::check);
}

#[test]
fn what_a_fuzzer_found_for_an_election_still_holds() {
    replay("election", election::check);
}

#[test]
fn what_a_fuzzer_found_for_the_vote_file_still_holds() {
    replay("store", store::check);
}

#[test]
fn what_a_fuzzer_found_for_messages_about_the_log_still_holds() {
    replay("log_wire", log::wire::check);
}

#[test]
fn what_a_fuzzer_found_for_nodes_with_a_log_still_holds() {
    replay("log", log::check);
}
