//! Flushed appends a second, beside what the disk itself can do at that moment.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::log::{Result, names, open};
use crate::{syncs, table};

pub const AT_ONCE: [usize; 3] = [1, 64, 1024];
const SIZES: [usize; 2] = [16, 1024];
const ROUNDS: usize = 9;
/// So long that every index has some depth, and purged to its half when it is twice that.
const LENGTH: u64 = 10_000;

struct Cell {
    flushes: f64,
    disk: f64,
    appends: f64,
    syncs: f64,
    written: f64,
}

/// Synced writes of 4 KiB a second, in place or at the end of a file that grows.
pub fn disk(folder: &Path, grows: bool, time: Duration) -> Result<f64> {
    let path = folder.join("probe");
    let mut file = File::create(&path)?;
    let block = [7_u8; 4096];
    for _ in 0..256 {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let start = Instant::now();
    let mut count = 0_u64;
    while start.elapsed() < time {
        let at = if grows { 256 + count } else { count % 256 };
        file.write_all_at(&block, at * 4096)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// Bytes that this process has handed to the disk.
fn written() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines()
        .find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
        .unwrap_or(f64::NAN)
}

fn measure(name: &str, folder: &Path, size: usize, at_once: usize, time: Duration) -> Result<Cell> {
    let place = folder.join("speed");
    let mut log = open(name, &place)?;
    let entry = |index: u64| -> Vec<u8> {
        (0..size)
            .map(|at| (index * 31 + at as u64 * 7) as u8)
            .collect()
    };
    let filling: Vec<Vec<u8>> = (0..LENGTH).map(entry).collect();
    log.append(1, &filling, 1)?;
    let (mut first, mut next) = (1, LENGTH + 1);
    let disk = disk(folder, false, Duration::from_millis(200))?;
    let (syncs_before, written_before) = (syncs::count(), written());
    let mut flushes = 0_u64;
    let start = Instant::now();
    while start.elapsed() < time {
        let entries: Vec<Vec<u8>> = (next..next + at_once as u64).map(entry).collect();
        log.append(next, &entries, next)?;
        next += at_once as u64;
        flushes += 1;
        if next - first > 2 * LENGTH {
            first = next - LENGTH;
            log.purge(first - 1)?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let appends = flushes as f64 * at_once as f64;
    let cell = Cell {
        flushes: flushes as f64 / seconds,
        disk,
        appends: appends / seconds,
        syncs: (syncs::count() - syncs_before) as f64 / flushes as f64,
        written: (written() - written_before) / (appends * size as f64),
    };
    drop(log);
    std::fs::remove_dir_all(place)?;
    Ok(cell)
}

pub fn run(folder: &Path, time: Duration) -> Result<()> {
    let (mut in_place, mut grown) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        in_place.push(disk(folder, false, time)?);
        grown.push(disk(folder, true, time)?);
    }
    println!(
        "\nThe disk: {:.0} synced writes of 4 KiB a second in place, {:.0} at the end of a file that grows.",
        table::median(&mut in_place),
        table::median(&mut grown)
    );
    for size in SIZES {
        let mut rows = Vec::new();
        for name in names() {
            rows.push((name, AT_ONCE.map(|_| Vec::new())));
        }
        // In turn, so that a busy moment of the machine does not fall on one of them alone.
        for _ in 0..ROUNDS {
            for (name, cells) in &mut rows {
                for (at_once, cells) in AT_ONCE.into_iter().zip(cells) {
                    cells.push(measure(name, folder, size, at_once, time)?);
                }
            }
        }
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(name, cells)| {
                let median = |cells: &[Cell], of: fn(&Cell) -> f64| {
                    table::median(&mut cells.iter().map(of).collect::<Vec<_>>())
                };
                let each = |of: fn(&Cell) -> f64, digits: usize| {
                    cells
                        .each_ref()
                        .map(|cells| format!("{:.digits$}", median(cells, of)))
                        .to_vec()
                };
                let row = [
                    each(|cell| cell.appends, 0),
                    each(|cell| cell.flushes / cell.disk, 2),
                    each(|cell| cell.syncs, 2),
                    each(|cell| cell.written, 1),
                ];
                (name.to_owned(), row.concat())
            })
            .collect();
        let columns: Vec<String> = [
            "appends/s",
            "flushes of disk's",
            "syncs a flush",
            "bytes written",
        ]
        .iter()
        .flat_map(|what| AT_ONCE.map(|at_once| format!("{what}, {at_once}")))
        .collect();
        table::print(
            &format!("Entries of {size} B, so many in a flush"),
            &columns,
            &rows,
        );
    }
    Ok(())
}
