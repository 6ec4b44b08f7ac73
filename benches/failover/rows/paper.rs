//! Figure 16 of the Raft paper: five servers, a round trip of 15 ms, heartbeats at half the election timeout.

use std::time::Duration;

use crate::figures::{Reach, Report};
use crate::trial::{leader_stops, ms, peers};
use crate::world::Setting;

struct Row {
    timeouts: (u64, u64),
    /// As far as the paper gives them.
    paper: [&'static str; 3],
    /// What the worst case is to stay under.
    worst: Option<f64>,
}

const ROWS: [Row; 4] = [
    Row {
        timeouts: (150, 155),
        paper: ["287", "", ""],
        worst: Some(287.0),
    },
    Row {
        timeouts: (150, 200),
        paper: ["", "", "513"],
        worst: None,
    },
    Row {
        timeouts: (150, 300),
        paper: ["", "", ""],
        worst: None,
    },
    Row {
        timeouts: (12, 24),
        paper: ["mean 35", "", "152"],
        worst: None,
    },
];

pub(crate) fn print(report: &mut Report, trials: u64) {
    report.table(
        'b',
        "the leader stops; the Raft paper's figure 16: 5 nodes, 7.5 ms one way; ms",
    );
    for row in ROWS {
        let (least, most) = row.timeouts;
        let setting = setting(least, most);
        let name = format!("{least}-{most} ms");
        let figures = leader_stops(trials, setting);
        let mut reach = Vec::new();
        if let Some(worst) = row.worst {
            reach.push(Reach::at_most("max", figures.max(), worst));
        }
        report.row(&format!("{name}, succession"), &figures, &reach);
        let mean = figures.mean();
        let figures = leader_stops(trials, setting.by_lottery());
        report.row(&format!("{name}, lottery"), &figures, &[]);
        if row.paper.iter().any(|figure| !figure.is_empty()) {
            report.quote(&format!("{name}, the paper"), row.paper);
        }
        if row.paper[0].starts_with("mean") {
            report.note(&format!(
                "means: succession {mean:.1}, lottery {:.1}",
                figures.mean()
            ));
        }
    }
    report
        .note("12-24 ms is less than the two round trips of an election and than the lease needs;");
    report.note("check-quorum waits 60 ms there, since no answer comes within an election timeout");
}

/// The paper's leaders do not step down, so check-quorum must at least leave room for one round trip.
fn setting(least: u64, most: u64) -> Setting {
    let half = Duration::from_micros(7_500);
    Setting {
        election_timeout: ms(least),
        random_timeout: ms(most - least),
        heartbeat_interval: ms(least) / 2,
        leadership_timeout: ms(least.max(60)),
        ..peers(5).delayed(half, half)
    }
}
