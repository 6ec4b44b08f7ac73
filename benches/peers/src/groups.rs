//! Many elections in one value: what a group costs, what it costs that they exist, and what it costs that they do something.

mod machines;

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use plotters::prelude::*;

use crate::report::{Report, figure};
use machines::{ELECTION_TIMEOUT, Machines};

const SIZES: [u64; 5] = [10, 100, 1_000, 10_000, 100_000];

/// Of the time at rest, in the clusters' own time.
const REST: Duration = Duration::from_secs(60);

/// A second in the clusters' own time.
const SECOND: Duration = Duration::from_secs(1);

const SIZE: (u32, u32) = (760, 460);

struct Row {
    groups: u64,
    /// Of one group on one machine, at rest.
    bytes: f64,
    /// A second, from one machine to another.
    beats: f64,
    /// In 1 / 1,000,000 of one core for each machine.
    at_rest: f64,
    /// In ms, on all cores together.
    started: f64,
    /// When all groups of a machine that died were led again, in election timeouts after its death.
    led_again: f64,
    /// What that cost, in ms on all cores together.
    recovered: f64,
}

/// # Errors
/// The plot cannot be written.
pub fn compare(report: &mut Report, plot: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let rows: Vec<Row> = SIZES.into_iter().map(row).collect();
    let cells = |row: &Row| {
        vec![
            row.groups.to_string(),
            figure(row.bytes),
            figure(row.beats),
            figure(row.at_rest),
            figure(row.started),
            figure(row.led_again),
            figure(row.recovered),
        ]
    };
    report.table(
        "Groups",
        "Groups of three on three machines in one thread and in logical time, election timeout 1 s, heartbeat interval \
         100 ms. Heap of one group on one machine; beats a second from one machine to another; parts per million of a \
         core that a machine takes at rest; ms of one core until all have begun and each machine leads a third; one \
         machine dies: election timeouts until all its groups are led again, and ms of one core for that.",
        &["groups", "bytes", "beats/s", "ppm at rest", "ms to begin", "led again", "ms for it"],
        rows.iter().map(cells).collect(),
    );
    let last = rows.last().expect("there are sizes");
    report.at_most("100,000 groups of three: bytes each", 700.0, last.bytes);
    let beats = rows.iter().map(|row| row.beats).fold(0.0, f64::max);
    report.at_most("beats a second between two machines, whatever the groups", 10.0, beats);
    report.at_most("100,000 groups at rest: part of a core, %", 1.0, last.at_rest / 1e4);
    report.at_most("one of three machines dies: election timeouts", 3.0, last.led_again);

    let active: Vec<(u64, f64)> = SIZES.into_iter().map(|groups| (groups, stirred(groups))).collect();
    report.table(
        "Groups that do something",
        "ms of one core for a second in which so many of 100,000 groups elect another leader.",
        &["groups that elect", "ms"],
        active.iter().map(|(groups, ms)| vec![groups.to_string(), figure(*ms)]).collect(),
    );
    let rest: Vec<(u64, f64)> = rows.iter().map(|row| (row.groups, row.at_rest / 1e3)).collect();
    plot.map_or(Ok(()), |path| draw(path, &[("so many groups, all at rest", rest), ("100,000 groups, so many elect", active)]))
}

fn row(groups: u64) -> Row {
    let mut machines = None;
    let mut started = 0.0;
    let heap = measure(|| started = ms(|| machines = Some(Machines::at_rest(groups))));
    let mut machines = machines.expect("made above");
    let beats = machines.beats;
    let at_rest = ms(|| machines.run(REST)) / REST.as_secs_f64() / 3.0 * 1e3;
    let beats = (machines.beats - beats) as f64 / REST.as_secs_f64() / 6.0;
    let orphans = machines.kill(1);
    let terms: Vec<u64> = orphans.iter().map(|group| machines.led[*group].1).collect();
    let died = machines.now;
    let mut recovered = 0.0;
    let is_led = |machines: &Machines| {
        let mut groups = orphans.iter().zip(&terms);
        groups.all(|(group, term)| machines.led[*group].1 > *term)
    };
    while !is_led(&machines) && machines.now < died + ELECTION_TIMEOUT * 10 {
        recovered += ms(|| machines.run(Duration::from_millis(5)));
    }
    Row {
        groups,
        bytes: heap.bytes_current as f64 / (3 * groups) as f64,
        beats,
        at_rest,
        started,
        led_again: (machines.now - died).as_secs_f64() / ELECTION_TIMEOUT.as_secs_f64(),
        recovered,
    }
}

/// What a second costs in which so many of the most groups elect another leader.
fn stirred(groups: u64) -> f64 {
    let most = SIZES[SIZES.len() - 1];
    let mut machines = Machines::at_rest(most);
    ms(|| {
        machines.stir(groups);
        machines.run(SECOND);
    })
}

fn ms(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

/// A name, and ms a second by a number of groups.
type Line = (&'static str, Vec<(u64, f64)>);

fn draw(path: &Path, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let highest = all().map(|(_, ms)| *ms).fold(1.0, f64::max);
    let lowest = all().map(|(_, ms)| *ms).fold(1.0, f64::min);
    let (first, last) = (SIZES[0] as f64, SIZES[SIZES.len() - 1] as f64);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .caption("One second of many groups", ("sans-serif", 18))
        .x_label_area_size(42)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (first..last).log_scale().with_key_points(SIZES.map(|groups| groups as f64).to_vec()),
            (lowest / 2.0..highest * 2.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("groups")
        .y_desc("milliseconds of one core, a machine")
        .x_label_formatter(&|groups| format!("{groups:.0}"))
        .y_label_formatter(&|ms| ms.to_string())
        .draw()?;
    for (at, (name, points)) in lines.iter().enumerate() {
        let style = Palette99::pick(at).to_rgba().stroke_width(3);
        let points = points.iter().map(|(groups, ms)| (*groups as f64, *ms));
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
