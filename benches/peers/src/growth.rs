//! What a heartbeat round costs as the cluster grows, as a plot for the guide.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use plotters::prelude::*;

use crate::election::{NAMES, at_work};
use crate::report::{Report, figure, median};
use crate::{streams, tokioraft};

const SIZES: [u64; 9] = [3, 5, 7, 11, 17, 25, 41, 65, 101];

/// tokioraft elects at random, and takes the longer the more nodes there are.
const MOST_OF_TOKIORAFT: u64 = 25;

const SLICES: usize = 9;

/// Of one slice, about.
const SLICE: Duration = Duration::from_millis(2);

const SIZE: (u32, u32) = (760, 460);

/// A name, and the cost of a round in ns by the number of nodes.
type Line = (&'static str, Vec<(u64, f64)>);

/// # Errors
/// The plot cannot be written.
pub fn compare(report: &mut Report, plot: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let mut lines: Vec<Line> = NAMES
        .iter()
        .map(|name| {
            (
                *name,
                SIZES.map(|nodes| (nodes, in_memory(name, nodes))).to_vec(),
            )
        })
        .collect();
    let streams = SIZES.map(|nodes| (nodes, ours_live(nodes)));
    lines.insert(2, ("streamraft-streams", streams.to_vec()));
    let theirs = SIZES
        .into_iter()
        .filter(|nodes| *nodes <= MOST_OF_TOKIORAFT);
    lines.push((
        "tokioraft",
        theirs.map(|nodes| (nodes, theirs_live(nodes))).collect(),
    ));

    let sizes = SIZES.map(|nodes| nodes.to_string());
    let columns: Vec<&str> = [""]
        .into_iter()
        .chain(sizes.iter().map(String::as_str))
        .collect();
    let row = |(name, points): &Line| {
        let cell = |nodes| {
            let point = points.iter().find(|(size, _)| *size == nodes);
            point.map_or(String::new(), |(_, ns)| figure(ns / 1e3))
        };
        let mut cells = vec![(*name).to_owned()];
        cells.extend(SIZES.map(cell));
        cells
    };
    report.table(
        "Growth",
        "us of a heartbeat round by the number of nodes. streamraft-streams and tokioraft with timers and the real clock, the \
         others in logical time. omnipaxos asks from every node, so its messages grow with the square; tokioraft ends at 25.",
        &columns,
        lines.iter().map(row).collect(),
    );
    plot.map_or(Ok(()), |path| draw(path, &lines))
}

fn in_memory(name: &str, nodes: u64) -> f64 {
    let mut cluster = at_work(name, nodes).expect("a known name");
    let once = ns(|| cluster.round());
    let times = (SLICE.as_nanos() as f64 / once).clamp(1.0, 10_000.0) as usize;
    let mut slice = || ns(|| (0..times).for_each(|_| cluster.round())) / times as f64;
    median((0..SLICES).map(|_| slice()).collect())
}

fn ours_live(nodes: u64) -> f64 {
    let count = clusters(nodes);
    let mut clusters = streams::Clusters::at_work(nodes, count, SLICES);
    let slice = |_| {
        clusters.wait();
        ns(|| clusters.rounds()) / count as f64
    };
    median((0..SLICES).map(slice).collect())
}

fn theirs_live(nodes: u64) -> f64 {
    let mut clusters = tokioraft::Clusters::at_work(nodes, clusters(nodes));
    let slice = |_| {
        clusters.wait();
        let mut rounds = 0.0;
        let time = ns(|| rounds = clusters.rounds());
        time / rounds
    };
    median((0..SLICES).map(slice).collect())
}

/// So many that about as much is measured of each size.
fn clusters(nodes: u64) -> usize {
    (200 / nodes as usize).max(4)
}

fn ns(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9
}

/// Both axes by powers, so that a cost of so much for each node is a straight line.
fn draw(path: &Path, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let us = |ns: f64| ns / 1e3;
    let all = || lines.iter().flat_map(|(_, points)| points);
    let highest = all().map(|(_, ns)| us(*ns)).fold(1.0, f64::max);
    let lowest = all().map(|(_, ns)| us(*ns)).fold(1.0, f64::min);
    let (first, last) = (SIZES[0] as f64, SIZES[SIZES.len() - 1] as f64);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .caption("One heartbeat round, all messages", ("sans-serif", 18))
        .x_label_area_size(42)
        .y_label_area_size(58)
        .build_cartesian_2d(
            (first..last)
                .log_scale()
                .with_key_points(SIZES.map(|nodes| nodes as f64).to_vec()),
            (lowest / 2.0..highest * 2.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("nodes")
        .y_desc("microseconds")
        .x_label_formatter(&|nodes| format!("{nodes:.0}"))
        .y_label_formatter(&|us| us.to_string())
        .draw()?;
    for (at, (name, points)) in lines.iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let width = if name.starts_with("streamraft") { 3 } else { 1 };
        let style = color.stroke_width(width);
        let points = points.iter().map(|(nodes, ns)| (*nodes as f64, us(*ns)));
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
