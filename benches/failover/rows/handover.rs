//! A leader that goes of its own accord: in round trips.

use streamraft::Command;

use crate::figures::{Figures, Reach, Report};
use crate::trial::{await_leader, ms, peers};
use crate::world::{Setting, World};

pub(crate) fn print(report: &mut Report, trials: u64) {
    report.table(
        'f',
        "resign and transfer; 150, 50, 150, 2 ms one way; in round trips of 4 ms",
    );
    for nodes in [3, 5] {
        let setting = peers(nodes).delayed(ms(2), ms(2));
        let figures = hand_over(trials, setting, |_, _| Command::Resign);
        report.row(
            &format!("{nodes} nodes, resign"),
            &figures,
            &reach(&figures),
        );
        let figures = hand_over(trials, setting, |world, leader| {
            Command::Transfer(pick(world, leader))
        });
        report.row(
            &format!("{nodes} nodes, transfer"),
            &figures,
            &reach(&figures),
        );
    }
    let lossy = Setting {
        loss: 10,
        ..peers(5).delayed(ms(2), ms(2))
    };
    let figures = hand_over(trials, lossy, |_, _| Command::Resign);
    report.row("5 nodes, resign, 10 % lost", &figures, &[]);
    let figures = hand_over(trials, lossy, |world, leader| {
        Command::Transfer(pick(world, leader))
    });
    report.row("5 nodes, transfer, 10 % lost", &figures, &[]);
}

fn reach(figures: &Figures) -> [Reach; 1] {
    [Reach::at_most("max", figures.max(), 3.0)]
}

fn hand_over(
    trials: u64,
    setting: Setting,
    command: impl Fn(&mut World, u64) -> Command<u64>,
) -> Figures {
    let mut figures = Figures::in_units_of(ms(4));
    for seed in 0..trials {
        let (mut world, leader) = setting.at_work(seed);
        let before = world.term();
        let command = command(&mut world, leader);
        world.command(leader, command.clone());
        let outcome = await_leader(&mut world, setting, before);
        if let (Command::Transfer(to), Some(outcome)) = (command, outcome) {
            figures.count(
                "times another came to lead",
                u64::from(outcome.leader != to),
            );
        }
        figures.add(outcome);
    }
    figures
}

/// Any node but this one.
fn pick(world: &mut World, leader: u64) -> u64 {
    let others: Vec<u64> = world.ids().filter(|id| *id != leader).collect();
    let part = world.up_to(ms(1)).as_secs_f64() * 1e3 * others.len() as f64;
    others[(part as usize).min(others.len() - 1)]
}
