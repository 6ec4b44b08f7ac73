//! A cluster that starts: from the start of its last node to its first leader.

use crate::figures::{Figures, Report};
use crate::trial::{await_leader, ms, peers};
use crate::world::{Setting, World};

pub(crate) fn print(report: &mut Report, trials: u64) {
    report.table(
        'c',
        "cold start, nodes started within 20 ms, 1-3 ms one way; from the last start; ms",
    );
    for nodes in [3, 5] {
        for bootstrap in [true, false] {
            let setting = Setting {
                bootstrap,
                ..peers(nodes).delayed(ms(1), ms(3))
            };
            let vouched = if bootstrap { ", bootstrap" } else { "" };
            let name = format!("{nodes} nodes{vouched}");
            let figures = cold_start(trials, setting);
            report.row(&format!("{name}, in their order"), &figures, &[]);
            let figures = cold_start(trials, setting.by_lottery());
            report.row(&format!("{name}, lottery"), &figures, &[]);
        }
    }
}

fn cold_start(trials: u64, setting: Setting) -> Figures {
    let mut figures = Figures::in_units_of(ms(1));
    for seed in 0..trials {
        let mut world = World::new(setting, seed);
        let mut starts: Vec<_> = world.ids().map(|id| (world.up_to(ms(20)), id)).collect();
        starts.sort_unstable();
        let mut before = ms(0);
        for (at, id) in starts {
            world.run(at - before);
            world.start(id);
            before = at;
        }
        figures.add(await_leader(&mut world, setting, 0));
    }
    figures
}
