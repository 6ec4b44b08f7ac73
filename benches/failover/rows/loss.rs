//! The leader stops in a network that loses messages.

use crate::figures::{Reach, Report};
use crate::trial::{leader_stops, ms, peers};
use crate::world::Setting;

pub(crate) fn print(report: &mut Report, trials: u64) {
    report.table(
        'd',
        "the leader stops while messages are lost; 150, 50, 150, 1-3 ms one way; ms",
    );
    for nodes in [5, 9] {
        for loss in [10, 20] {
            let setting = Setting {
                loss,
                ..peers(nodes).delayed(ms(1), ms(3))
            };
            let name = format!("{nodes} nodes, {loss} % lost");
            let lottery = leader_stops(trials, setting.by_lottery());
            let succession = leader_stops(trials, setting);
            let reach = Reach::at_most("p99", succession.p99(), lottery.p99() / 2.0);
            report.row(&format!("{name}, succession"), &succession, &[reach]);
            report.row(&format!("{name}, lottery"), &lottery, &[]);
        }
    }
}
