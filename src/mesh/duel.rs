//! Which of two connections with one peer stays.
//!
//! Absent here: sockets and clocks. Both ends decide by themselves, and decide alike.

use std::time::Duration;

/// Which of a connection's two nodes dialled it. Both of them see the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialler {
    /// The one with the smaller id.
    Smaller,
    /// The one with the greater id.
    Greater,
}

impl Dialler {
    /// The node that dials.
    pub(super) fn new<I: Ord>(dials: &I, is_dialled: &I) -> Self {
        if dials < is_dialled {
            Self::Smaller
        } else {
            Self::Greater
        }
    }
}

/// Whether a new connection with a peer takes the place of the old one, which was made `age` ago.
///
/// - Nodes that dial each other at the same time make two, each of which is new to one of them: the one that the
///   smaller id dialled stays.
/// - Who dials again has lost what it dialled before: the newer one stays.
/// - Who dials although it was dialled a while ago (a handshake takes at most `handshake_timeout`, so the two did not
///   cross) has lost that connection, as by a restart: the newer one stays. Were the older one kept, a connection
///   that is dead and does not know it would lock the peer out.
pub(super) fn replaces(
    new: Dialler,
    old: Dialler,
    age: Duration,
    handshake_timeout: Duration,
) -> bool {
    new == old || new == Dialler::Smaller || age >= handshake_timeout
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialler::{Greater, Smaller};

    const LIMIT: Duration = Duration::from_secs(2);
    const YOUNG: Duration = Duration::from_millis(1);

    #[test]
    fn crossing_dials_leave_the_same_connection_on_both_sides_in_any_order() {
        for (first, second) in [(Smaller, Greater), (Greater, Smaller)] {
            let stays = if replaces(second, first, YOUNG, LIMIT) {
                second
            } else {
                first
            };
            assert_eq!(stays, Smaller);
        }
    }

    #[test]
    fn who_dials_again_is_heard() {
        for dialler in [Smaller, Greater] {
            for age in [Duration::ZERO, YOUNG, LIMIT, LIMIT * 100] {
                assert!(replaces(dialler, dialler, age, LIMIT));
            }
        }
    }

    #[test]
    fn a_dead_connection_locks_nobody_out_for_longer_than_a_handshake() {
        assert!(!replaces(
            Greater,
            Smaller,
            LIMIT - Duration::from_nanos(1),
            LIMIT
        ));
        assert!(replaces(Greater, Smaller, LIMIT, LIMIT));
    }

    #[test]
    fn both_ends_name_the_dialler_alike() {
        for (here, there) in [(1, 2), (2, 1)] {
            let dialled_here = Dialler::new(&here, &there);
            assert_eq!(dialled_here == Smaller, here == 1);
            assert_ne!(dialled_here, Dialler::new(&there, &here));
        }
    }
}
