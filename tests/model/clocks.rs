//! Clocks that tick one by one, as far apart as the drift that leases stand allows.

use crate::bounds::MOST_NODES;

/// Which ticks may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drift {
    /// Any: a clock may stand still while another runs, which leases do not stand and all else must.
    Any,
    /// No clock makes this many ticks while another makes none. Leases are one tick long, so they stand as many as an
    /// election timeout has, and no more.
    Bounded(u8),
}

/// What the bound on the drift needs to know of the ticks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Clocks {
    /// `others[a][b]`: how often b has ticked since a ticked last.
    others: [[u8; MOST_NODES]; MOST_NODES],
}

impl Clocks {
    /// The clocks after one tick of this node, if it may tick now.
    pub(crate) fn tick(mut self, node: usize, nodes: usize, drift: Drift) -> Option<Self> {
        let Drift::Bounded(most) = drift else {
            return Some(self);
        };
        for other in (0..nodes).filter(|other| *other != node) {
            let ticks = &mut self.others[other][node];
            *ticks += 1;
            if *ticks >= most {
                return None;
            }
        }
        self.others[node] = [0; MOST_NODES];
        Some(self)
    }

    /// How often this clock may tick before another, that of `still`, has to.
    pub(crate) fn left(&self, node: usize, still: usize, drift: Drift) -> u8 {
        match drift {
            Drift::Any => u8::MAX,
            Drift::Bounded(most) => most - 1 - self.others[still][node],
        }
    }
}

#[test]
fn no_clock_makes_a_timeout_while_another_makes_no_tick() {
    let clocks = Clocks::default();
    let drift = Drift::Bounded(3);
    let twice = clocks
        .tick(0, 3, drift)
        .and_then(|clocks| clocks.tick(0, 3, drift))
        .expect("two are fewer than three");
    assert_eq!(twice.tick(0, 3, drift), None);
    let one = twice.tick(1, 3, drift).expect("it is behind");
    assert_eq!(one.tick(0, 3, drift), None, "the third still stands");
    let both = one.tick(2, 3, drift).expect("it is behind");
    assert!(both.tick(0, 3, drift).is_some());
    assert!(twice.tick(0, 3, Drift::Any).is_some());
}
