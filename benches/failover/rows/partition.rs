//! The partial partitions of the `OmniPaxos` paper (section 2): links fail between nodes that all run.

use std::time::Duration;

use crate::figures::{Figures, Reach, Report};
use crate::trial::{ms, peers};
use crate::world::{Setting, World};

/// Cuts links of a world with this leader.
type Fault = fn(&mut World, u64);

/// Of the leader, after the first one.
const CHANGES: &str = "changes afterwards";

struct Row {
    name: &'static str,
    nodes: u64,
    fault: Fault,
}

const ROWS: [Row; 6] = [
    Row {
        name: "quorum loss, first successor in the middle",
        nodes: 5,
        fault: |world, _| {
            star(world, 0);
        },
    },
    Row {
        name: "quorum loss, last successor in the middle",
        nodes: 5,
        fault: |world, _| {
            star(world, 3);
        },
    },
    Row {
        name: "constrained, first successor in the middle",
        nodes: 5,
        fault: |world, leader| lone_leader(world, leader, 0),
    },
    Row {
        name: "constrained, last successor in the middle",
        nodes: 5,
        fault: |world, leader| lone_leader(world, leader, 3),
    },
    Row {
        name: "chain of 3, leader at an end",
        nodes: 3,
        fault: chain,
    },
    Row {
        name: "chain of 5, leader at an end",
        nodes: 5,
        fault: chain,
    },
];

pub(crate) fn print(report: &mut Report, trials: u64) {
    report.table(
        'g',
        "partial partitions; 150, 50, 150, 1-3 ms one way; until a stable leader, in election timeouts",
    );
    for row in ROWS {
        for lottery in [false, true] {
            let setting = Setting {
                lottery,
                ..peers(row.nodes).delayed(ms(1), ms(3))
            };
            let figures = partition(trials, setting, row.fault);
            if lottery {
                report.row("    the same by lottery", &figures, &[]);
            } else {
                let reach = [
                    Reach::at_most("max", figures.max(), 3.0),
                    Reach::at_most("leaderless", figures.leaderless as f64, 0.0),
                    Reach::at_most("changes", figures.counted(CHANGES) as f64, 0.0),
                ];
                report.row(row.name, &figures, &reach);
            }
        }
    }
}

/// Looks at the cluster for a hundred election timeouts after the cut. The time is that of the last change of leader,
/// with its confirmation; zero if the first leader stayed. Changes after the first are counted.
fn partition(trials: u64, setting: Setting, fault: Fault) -> Figures {
    let mut figures = Figures::in_units_of(setting.election_timeout);
    for seed in 0..trials {
        let (mut world, leader) = setting.at_work(seed);
        fault(&mut world, leader);
        let elected = world.elected.len();
        let start = world.now;
        let end = start + setting.election_timeout * 100;
        let (mut stable, mut since) = (Some(Duration::ZERO), world.elected.len());
        while world.now < end {
            let left = end - world.now;
            let change = world.run_until(left, |world| world.elected.len() > since);
            if change.is_none() {
                break;
            }
            since = world.elected.len();
            let newest = world.elected[since - 1];
            let confirmed = world.run_until(end - world.now, |world| {
                world.leader() == Some(newest.id) || world.elected.len() > since
            });
            stable = confirmed.map(|_| world.now - start);
        }
        let changes = (world.elected.len() - elected) as u64;
        let stable = stable.filter(|_| world.leader().is_some());
        figures.count(CHANGES, changes.saturating_sub(1));
        figures.add_time(stable);
    }
    figures
}

/// Quorum loss: one node hears everyone, all others hear only it, and the leader is one of the others.
fn star(world: &mut World, rank: u32) -> u64 {
    let hub = world.successor(rank).expect("everyone has been ranked");
    for a in world.ids() {
        for b in world.ids().filter(|b| a < *b && a != hub && *b != hub) {
            world.cut(a, b);
        }
    }
    hub
}

/// Constrained election: the leader is cut off from everyone, and the others hear only one of them.
fn lone_leader(world: &mut World, leader: u64, rank: u32) {
    let hub = star(world, rank);
    world.cut(leader, hub);
}

/// Every node hears only its two neighbours; the leader is the first of the chain.
fn chain(world: &mut World, leader: u64) {
    let mut order = vec![leader];
    order.extend(world.ids().filter(|id| *id != leader));
    for (at, a) in order.iter().enumerate() {
        for b in order.iter().skip(at + 2) {
            world.cut(*a, *b);
        }
    }
}
