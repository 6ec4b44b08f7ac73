//! A minority is dead for a simulated day, and nothing else happens.

use std::time::Duration;

use crate::figures::{Reach, Report};
use crate::trial::{ms, peers};
use crate::world::Setting;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn print(report: &mut Report, trials: u64) {
    println!("\n(h) a minority is dead for a day; 150, 50, 150, 1-3 ms one way");
    report.letter('h');
    // One trial is long. With few trials, as in a test, so is the day shortened.
    let time = if trials < 100 { DAY / 240 } else { DAY };
    for (nodes, dead, loss) in [(3, 1, 0), (5, 2, 0), (3, 1, 1), (5, 2, 1)] {
        let setting = Setting {
            loss,
            ..peers(nodes).delayed(ms(1), ms(3))
        };
        let changes = changes(setting, dead, time);
        let name = format!("{dead} of {nodes} dead, {loss} % lost");
        let hours = time.as_secs_f64() / 3_600.0;
        println!("{name:<44} {changes} changes of leader in {hours:.1} h");
        if loss == 0 {
            report.count(&name, &[Reach::at_most("changes", changes as f64, 0.0)]);
        }
    }
}

fn changes(setting: Setting, dead: usize, time: Duration) -> usize {
    let (mut world, leader) = setting.at_work(0);
    for id in world.ids().filter(|id| *id != leader).take(dead) {
        world.kill(id);
    }
    let before = world.elected.len();
    world.run(time);
    world.elected.len() - before
}
