//! From three voters to four and to three again, others than before: the leader itself leaves by handing over.

use streamraft::Command;

use crate::bounds::Bounds;
use crate::judge::Sight;
use crate::run::{check, is_large};

fn small() -> Bounds {
    Bounds {
        joiners: vec![4],
        led: true,
        orders: vec![
            vec![Command::SetNodes(vec![1, 2, 3, 4])],
            vec![Command::SetNodes(vec![2, 3, 4])],
        ],
        sights: vec![
            Sight::LaterLeader,
            Sight::Transfer,
            Sight::FourVoters,
            Sight::OtherThree,
        ],
        ..Bounds::three("membership")
    }
}

/// A node restarts at any point of the way.
fn large() -> Bounds {
    Bounds {
        restarts: 1,
        sights: vec![
            Sight::LaterLeader,
            Sight::LeaderAfterRestart,
            Sight::Transfer,
            Sight::FourVoters,
            Sight::OtherThree,
        ],
        ..small()
    }
}

/// The same by one wish, under a leader that stays.
fn stays() -> Bounds {
    Bounds {
        name: "membership-stays",
        orders: vec![vec![Command::SetNodes(vec![1, 2, 4])]],
        restarts: 1,
        sights: vec![Sight::FourVoters, Sight::OtherThree],
        ..small()
    }
}

/// The leader hands over wherever the way to four voters has brought it, and the next one goes on.
fn handed_over() -> Bounds {
    Bounds {
        name: "membership-handed-over",
        orders: vec![
            vec![Command::SetNodes(vec![1, 2, 3, 4])],
            vec![Command::Transfer(2), Command::Resign],
        ],
        restarts: 1,
        sights: vec![
            Sight::LaterLeader,
            Sight::LeaderAfterRestart,
            Sight::Transfer,
            Sight::FourVoters,
        ],
        ..small()
    }
}

/// From two to three, while the leader's time runs out and the other stands against it with the older list.
fn rivals() -> Bounds {
    Bounds {
        voters: vec![1, 2],
        joiners: vec![3],
        led: true,
        ticks: 2,
        orders: vec![vec![Command::SetNodes(vec![1, 2, 3])]],
        sights: vec![Sight::LaterLeader],
        ..Bounds::three("membership-rivals")
    }
}

/// From three to two, with time for one that is to leave to find voters who have not heard of it.
fn rivals_large() -> Bounds {
    Bounds {
        name: "membership-rivals-large",
        voters: vec![1, 2, 3],
        joiners: Vec::new(),
        ticks: 3,
        max_term: 2,
        orders: vec![vec![Command::SetNodes(vec![1, 2])]],
        ..rivals()
    }
}

#[test]
fn three_voters_become_four_and_three_others() {
    check(if is_large() { large() } else { small() });
}

#[test]
fn a_leader_may_hand_over_in_the_middle_of_a_change() {
    check(handed_over());
}

#[test]
fn a_rival_with_an_older_list_breaks_nothing() {
    check(if is_large() { rivals_large() } else { rivals() });
}

#[test]
fn one_of_three_is_replaced_under_one_leader() {
    check(stays());
}
