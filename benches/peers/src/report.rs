//! Tables and targets as Markdown, on the terminal and in the guide's chapter on performance.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::{fs, io};

/// The value in the middle. Of noisy times it is the least bad single figure.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// All that was measured.
#[derive(Default)]
pub struct Report {
    text: String,
    targets: Vec<[String; 4]>,
}

impl Report {
    /// A section with a table below it.
    pub fn table(&mut self, title: &str, about: &str, columns: &[&str], rows: Vec<Vec<String>>) {
        let text = format!("\n## {title}\n\n{about}\n\n{}", markdown(columns, &rows));
        self.section(&text);
    }

    fn section(&mut self, text: &str) {
        print!("{text}");
        self.text += text;
    }

    /// What is to be reached, at most this much.
    pub fn at_most(&mut self, what: &str, limit: f64, measured: f64) {
        let verdict = if measured <= limit { "yes" } else { "no" };
        self.targets.push([
            what.to_owned(),
            format!("at most {limit}"),
            figure(measured),
            verdict.to_owned(),
        ]);
    }

    /// What is to be reached was not measured here, and why.
    pub fn unknown(&mut self, what: &str, why: &str) {
        let row = [what, "", why, "not measured"];
        self.targets.push(row.map(str::to_owned));
    }

    /// The targets and what was measured of each: the first section.
    pub fn close(&mut self) {
        let rows: Vec<Vec<String>> = self.targets.iter().map(|row| row.to_vec()).collect();
        let table = markdown(&["target", "is", "measured", "reached"], &rows);
        let targets = format!("\n## Reached\n\n{table}");
        print!("{targets}");
        self.text.insert_str(0, &targets);
    }

    /// Puts all of it into the guide in place of the older figures, under these conditions.
    ///
    /// # Errors
    /// The chapter cannot be read or written, or lacks the marks.
    pub fn write(&self, conditions: &str) -> io::Result<()> {
        const MARKS: [&str; 2] = ["<!-- measured -->\n", "<!-- end of measured -->\n"];
        let path = guide("performance.md");
        let chapter = fs::read_to_string(&path)?;
        let parts = chapter.split_once(MARKS[0]).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(MARKS[1])?;
            Some((before, after))
        });
        let (before, after) =
            parts.ok_or_else(|| io::Error::other("the chapter lacks the marks"))?;
        let [open, close] = MARKS;
        let text = &self.text;
        fs::write(
            path,
            format!("{before}{open}\n{conditions}\n{text}\n{close}{after}"),
        )
    }
}

/// A file of the guide.
pub fn guide(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../../src/guide").join(name)
}

/// With a decimal where it says something.
pub fn figure(value: f64) -> String {
    match value {
        value if value.fract() == 0.0 || value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn markdown(columns: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        let widest = cells.map(|cell| cell.len()).max().unwrap_or(0);
        widest.max(columns[at].len())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text += "|\n";
    };
    line(&mut columns.iter().copied());
    line(&mut columns.iter().map(|_| "---"));
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Where, when and with what it was measured.
pub fn conditions(load_before: &str) -> String {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let output = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        output.unwrap_or_else(|_| "unknown".to_owned())
    };
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let cpu = cpu.map_or("unknown", |line| line.trim_start_matches(['\t', ' ', ':']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let lock = include_str!("../Cargo.lock");
    let versions = [
        "tokio",
        "raft-io",
        "raft",
        "omnipaxos",
        "tokioraft",
        "little_raft",
        "async-raft",
        "openraft",
    ].map(|name| {
        let entry = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
        let version = entry.and_then(|(_, rest)| rest.split_once('"'));
        format!(
            "{name} {}",
            version.map_or("unknown", |(version, _)| version)
        )
    });
    format!(
        "Measured on {}: {cores} cores of {cpu}, {}, release with thin LTO, {}. Load of the machine (1, 5, 15 \
         minutes): {load_before} before, {} after.",
        output("date", &["--utc", "+%Y-%m-%d"]),
        output("rustc", &["--version"]),
        versions.join(", "),
        load(),
    )
}

/// How many tasks ran or waited to run, over 1, 5 and 15 minutes.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let words: Vec<&str> = load.split_whitespace().take(3).collect();
    words.join(" / ")
}
