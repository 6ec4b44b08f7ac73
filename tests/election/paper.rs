//! The rules of the Raft paper (extended version) and of Ongaro's thesis, each quoted by the test that proves it.
//!
//! Every sentence of the paper's sections 5.1 and 5.2 and of the thesis' sections 3.10, 4.2.3, 6.4.1 and 9.6 that the
//! rules here rely on has a number, and every number at least one test whose comment bears it. What these sections say
//! of the log, of clients and of what was not built is left out. (5.4.1 and 6.2: the one rule of each that is kept here.)
//!
//! | number | the sentence, or its beginning | test |
//! |---|---|---|
//! | 5.1-1 | Each server stores a current term number, which increases monotonically over time. | `terms::no_message_of_an_older_term_changes_the_term` |
//! | 5.1-2 | if one server's current term is smaller than the other's, then it updates its current term | `terms::whoever_hears_of_a_larger_term_takes_it_and_follows`, `terms::a_request_for_a_vote_brings_its_term` |
//! | 5.1-3 | If a candidate or leader discovers that its term is out of date, it immediately reverts to follower state. | `terms::whoever_hears_of_a_larger_term_takes_it_and_follows` |
//! | 5.1-4 | If a server receives a request with a stale term number, it rejects the request. | `terms::a_request_of_a_stale_term_is_rejected_with_the_newer_term` |
//! | 5.1-5 | Raft ensures that there is at most one leader in a given term. | `terms::a_term_has_at_most_one_leader` |
//! | 5.1-6 | In some situations an election will result in a split vote. | `terms::a_split_vote_ends_its_term_and_a_new_one_begins_shortly` |
//! | 5.1-7 | Servers retry RPCs if they do not receive a response in a timely manner | `timeouts::a_candidate_asks_those_who_have_not_granted_again_at_every_heartbeat` |
//! | 5.1-8 | Followers are passive: they issue no requests on their own | `timeouts::a_follower_that_hears_its_leader_never_campaigns` |
//! | 5.2-1 | When servers start up, they begin as followers. | `timeouts::a_server_begins_as_a_follower` |
//! | 5.2-2 | A server remains in follower state as long as it receives valid RPCs from a leader or candidate. | `timeouts::a_follower_that_hears_its_leader_never_campaigns` |
//! | 5.2-3 | Leaders send periodic heartbeats | `timeouts::a_leader_pings_everyone_at_every_interval` |
//! | 5.2-4 | If a follower receives no communication over a period of time called the election timeout | `timeouts::a_follower_campaigns_after_an_election_timeout_of_silence_and_not_before` |
//! | 5.2-5 | To begin an election, a follower increments its current term and transitions to candidate state. | `votes::a_candidate_increments_its_term_votes_for_itself_and_asks_everyone` |
//! | 5.2-6 | It then votes for itself and issues `RequestVote` RPCs in parallel to each of the other servers | `votes::a_candidate_increments_its_term_votes_for_itself_and_asks_everyone` |
//! | 5.2-7 | A candidate wins an election if it receives votes from a majority of the servers | `votes::a_majority_of_the_full_cluster_elects_and_no_fewer` |
//! | 5.2-8 | Each server will vote for at most one candidate in a given term | `votes::one_vote_a_term_for_who_comes_first` |
//! | 5.2-9 | Once a candidate wins an election, it becomes leader. | `votes::a_new_leader_pings_everyone_at_once` |
//! | 5.2-10 | It then sends heartbeat messages to all of the other servers to establish its authority | `votes::a_new_leader_pings_everyone_at_once` |
//! | 5.2-11 | If the leader's term is at least as large as the candidate's current term | `votes::a_candidate_follows_the_leader_of_its_term_or_a_newer_one` |
//! | 5.2-12 | If the term in the RPC is smaller than the candidate's current term | `votes::a_candidate_follows_the_leader_of_its_term_or_a_newer_one` |
//! | 5.2-13 | When this happens, each candidate will time out and start a new election | `timeouts::a_candidate_without_a_majority_starts_over_in_the_next_term` |
//! | 5.2-14 | election timeouts are chosen randomly from a fixed interval | `timeouts::timeouts_are_spread_over_the_whole_interval` |
//! | 5.2-15 | Each candidate restarts its randomized election timeout at the start of an election | `timeouts::every_campaign_draws_its_own_time` |
//! | 5.4.1-1 | the voter denies its vote if its own log is more up-to-date than that of the candidate | `votes::a_candidate_whose_log_is_behind_gets_no_vote` |
//! | 5.4.1-2 | If the logs have last entries with different terms, then the log with the later term is more up-to-date. | `votes::a_candidate_whose_log_is_behind_gets_no_vote` |
//! | 3.10-1 | The prior leader stops accepting new client requests. | `transfer::the_order_waits_until_the_target_has_caught_up` |
//! | 3.10-2 | The prior leader fully updates the target server's log to match its own | `transfer::the_order_waits_until_the_target_has_caught_up` |
//! | 3.10-3 | The prior leader sends a `TimeoutNow` request to the target server. | `transfer::the_lease_is_given_up_before_the_order_comes_out` |
//! | 3.10-4 | This request has the same effect as the target server's election timer firing | `transfer::the_target_starts_an_election_at_once` |
//! | 3.10-5 | Its next message to the prior leader will include its new term number | `transfer::the_prior_leader_steps_down_by_the_targets_next_message` |
//! | 3.10-6 | If leadership transfer does not complete after about an election timeout, the prior leader aborts the transfer | `transfer::a_transfer_that_was_never_ordered_lapses_and_the_lease_is_back` |
//! | 3.10-7 | at worst this mistake will result in an extra election | `transfer::a_target_that_obeys_late_costs_one_election_at_most` |
//! | 3.10-8 | In some cases, one or more servers may be more suitable to lead the cluster than others. | `priority::a_leader_hands_over_to_a_higher_priority` |
//! | 4.2.3-1 | if a server receives a `RequestVote` request within the minimum election timeout of hearing from a current leader | `withholding::a_withheld_request_leaves_the_term_and_the_vote` |
//! | 4.2.3-2 | It can either drop the request, reply with a vote denial, or delay the request | `pre_vote::a_withheld_pre_vote_is_answered_when_the_window_ends` |
//! | 4.2.3-3 | each server waits at least a minimum election timeout before starting an election | `timeouts::a_follower_campaigns_after_an_election_timeout_of_silence_and_not_before` |
//! | 4.2.3-4 | while a leader is able to get heartbeats to its cluster, it will not be deposed by larger term numbers | `withholding::a_leader_that_is_heard_is_not_deposed_by_larger_terms` |
//! | 4.2.3-5 | Those `RequestVote` requests can include a special flag | `withholding::the_transfer_mark_lets_a_request_pass` |
//! | 6.2-1 | a leader in Raft steps down if an election timeout elapses without a successful round of heartbeats | `check_quorum::a_leader_without_a_quorum_steps_down_at_the_end_of_its_leadership_timeout` |
//! | 6.4.1-1 | it could extend its lease accordingly | `lease::a_new_leader_has_no_lease_before_the_first_confirmation` |
//! | 6.4.1-2 | start + election timeout / clock drift bound | `lease::the_lease_is_counted_from_the_sending` |
//! | 6.4.1-3 | The lease approach assumes a bound on clock drift across servers | `lease::no_two_leases_overlap_with_clocks_at_the_bound` |
//! | 6.4.1-4 | a leader would need to expire its lease before transferring leadership | `transfer::the_lease_is_given_up_before_the_order_comes_out` |
//! | 9.6-1 | a candidate only increments its term if it first learns from a majority of the cluster | `pre_vote::a_majority_of_pre_votes_is_needed_before_the_term_rises` |
//! | 9.6-2 | if the candidate's log is sufficiently up-to-date | `pre_vote::a_pre_vote_is_refused_to_who_could_not_win` |
//! | 9.6-3 | the voters have not received heartbeats from a valid leader for at least a baseline election timeout | `pre_vote::a_pre_vote_is_withheld_while_a_leader_is_heard` |
//! | 9.6-4 | solves the issue of a partitioned server disrupting the cluster when it rejoins | `pre_vote::a_node_that_rejoins_disturbs_nobody` |

mod check_quorum;
mod lease;
mod pre_vote;
mod priority;
mod succession;
mod terms;
mod timeouts;
mod transfer;
mod votes;
mod withholding;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Pairs of a number and a test (`module::function`), as the table above has them.
fn rows() -> BTreeSet<(String, String)> {
    let rows = include_str!("paper.rs").lines();
    let rows = rows.filter_map(|line| line.strip_prefix("//! | "));
    let mut pairs = BTreeSet::new();
    for row in rows.skip(1) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let &[number, sentence, tests] = cells.as_slice() else {
            panic!("three columns: {row}")
        };
        assert!(sentence.len() > 20, "{row}");
        let named = tests.split('`').skip(1).step_by(2);
        pairs.extend(named.map(|test| (number.to_owned(), test.to_owned())));
    }
    pairs
}

/// The same, as the comments of the tests have them: `(5.1-2)` above `fn`.
fn comments() -> BTreeSet<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/election/paper");
    let mut pairs = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let module = path.file_stem().expect("a name").to_string_lossy();
        let mut numbers = Vec::new();
        let mut is_test = false;
        for line in fs::read_to_string(&path).expect("a source").lines() {
            if let Some(comment) = line.strip_prefix("///") {
                numbers.extend(numbers_in(comment));
            } else if line == "#[test]" {
                is_test = true;
            } else if let Some(function) = line.strip_prefix("fn ") {
                let name = function.split('(').next().unwrap_or_default();
                let numbers = numbers.drain(..);
                assert!(is_test || numbers.len() == 0, "{module}::{name} is no test");
                pairs.extend(numbers.map(|number| (number, format!("{module}::{name}"))));
                is_test = false;
            }
        }
    }
    pairs
}

/// What stands in parentheses and looks like `9.6-4`.
fn numbers_in(comment: &str) -> Vec<String> {
    let in_parentheses = comment.split('(').skip(1);
    let numbers = in_parentheses.filter_map(|rest| rest.split(')').next());
    let is_number = |text: &&str| {
        let (section, rank) = text.split_once('-').unwrap_or_default();
        let is_section = section.split('.').all(|part| part.parse::<u8>().is_ok());
        is_section && rank.parse::<u8>().is_ok()
    };
    numbers.filter(is_number).map(str::to_owned).collect()
}

#[test]
fn every_sentence_has_a_test_that_bears_its_number() {
    let (table, tests) = (rows(), comments());
    assert_eq!(table, tests);
    let sections = ["5.1", "5.2", "3.10", "4.2.3", "6.4.1", "9.6"];
    for section in sections {
        let of_it = table
            .iter()
            .filter_map(|(number, _)| number.strip_prefix(&format!("{section}-")));
        let ranks: BTreeSet<usize> = of_it.filter_map(|rank| rank.parse().ok()).collect();
        assert!(ranks.len() >= 4, "{section}: {ranks:?}");
        assert!(
            ranks.iter().copied().eq(1..=ranks.len()),
            "{section}: {ranks:?}"
        );
    }
}
