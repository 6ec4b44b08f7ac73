//! The leader stops and the first successor is dead too: two of five.

use crate::figures::{Figures, Report};
use crate::trial::{ms, peers, repeat};
use crate::world::{Setting, World};

/// What happens to a world and its leader.
type Fault = fn(&mut World, u64);

const FAULTS: [(&str, Fault); 4] = [
    ("both at one moment", |world, leader| {
        kill_successor(world, 0);
        world.kill(leader);
    }),
    ("the successor up to 150 ms before", |world, leader| {
        kill_successor(world, 0);
        let pause = world.up_to(ms(150));
        world.run(pause);
        world.kill(leader);
    }),
    ("the successor 500 to 550 ms before", |world, leader| {
        kill_successor(world, 0);
        let pause = world.up_to(ms(50));
        world.run(ms(500) + pause);
        world.kill(leader);
    }),
    ("the second successor instead", |world, leader| {
        kill_successor(world, 1);
        world.kill(leader);
    }),
];

pub(crate) fn print(report: &mut Report, trials: u64) {
    report.table(
        'e',
        "two of five die, the leader among them; 150, 50, 150, 1-3 ms one way; ms from its death",
    );
    let setting = peers(5).delayed(ms(1), ms(3));
    for (name, fault) in FAULTS {
        report.row(
            &format!("{name}, succession"),
            &run(trials, setting, fault),
            &[],
        );
    }
    let figures = run(trials, setting.by_lottery(), FAULTS[0].1);
    report.row("both at one moment, lottery", &figures, &[]);
}

fn run(trials: u64, setting: Setting, fault: Fault) -> Figures {
    repeat(trials, setting, fault)
}

fn kill_successor(world: &mut World, rank: u32) {
    if let Some(successor) = world.successor(rank) {
        world.kill(successor);
    }
}
