//! The setting in which the peers were measured.

use crate::figures::{Figures, Reach, Report};
use crate::trial::{leader_stops, ms, peers};
use crate::world::Setting;

struct Size {
    nodes: u64,
    /// raft-rs with timeouts of 150 to 300 ms and instant delivery: median, 99th percentile, maximum.
    raft_rs: [f64; 3],
    /// What a prototype of the rules came to with instant delivery: 99th percentile and maximum.
    prototype: (f64, f64),
}

const SIZES: [Size; 2] = [
    Size {
        nodes: 3,
        raft_rs: [171.0, 269.0, 282.0],
        prototype: (160.0, 161.0),
    },
    Size {
        nodes: 5,
        raft_rs: [150.0, 238.0, 263.0],
        prototype: (155.0, 157.0),
    },
];

pub(crate) fn print(report: &mut Report, trials: u64) {
    report.table(
        'a',
        "the leader stops; election timeout 150, heartbeat 50, random 150; ms",
    );
    let [_, p99, max] = SIZES[0].raft_rs;
    for size in SIZES {
        let nodes = size.nodes;
        let instant = peers(nodes);
        let name = format!("{nodes} nodes, instant");
        let figures = compare(report, trials, &name, instant, size.prototype);
        quote(report, &name, &figures, size.raft_rs);
        let delayed = instant.delayed(ms(1), ms(3));
        let name = format!("{nodes} nodes, 1-3 ms");
        compare(report, trials, &name, delayed, (0.6 * p99, 0.65 * max));
    }
}

fn compare(
    report: &mut Report,
    trials: u64,
    name: &str,
    setting: Setting,
    (p99, max): (f64, f64),
) -> Figures {
    let figures = leader_stops(trials, setting);
    let reach = [
        Reach::at_most("p99", figures.p99(), p99),
        Reach::at_most("max", figures.max(), max),
        Reach::at_most("split", figures.split_votes as f64, 0.0),
    ];
    report.row(&format!("{name}, succession"), &figures, &reach);
    let lottery = leader_stops(trials, setting.by_lottery());
    report.row(&format!("{name}, lottery"), &lottery, &[]);
    figures
}

/// What raft-rs needs, and what part of it this is.
fn quote(report: &Report, name: &str, figures: &Figures, raft_rs: [f64; 3]) {
    let ours = [figures.median(), figures.p99(), figures.max()];
    let [median, p99, max] = raft_rs.map(|figure| figure.to_string());
    report.quote(&format!("{name}, raft-rs"), [&median, &p99, &max]);
    let [median, p99, max] = [0, 1, 2].map(|at| format!("x {:.2}", ours[at] / raft_rs[at]));
    report.quote("    succession to raft-rs", [&median, &p99, &max]);
}
