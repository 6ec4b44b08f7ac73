//! The table of instructions.

use std::io;

use crate::callgrind;
use crate::election::NAMES;
use crate::report::Report;

/// The most that a round of streamraft's may take, by the number of nodes.
const LIMITS: [(u64, f64); 2] = [(3, 1_300.0), (5, 2_400.0)];

/// # Errors
/// valgrind is there and does not run.
pub fn compare(report: &mut Report) -> io::Result<()> {
    let target = |nodes| format!("heartbeat round, {nodes} nodes: instructions");
    if !callgrind::is_installed() {
        for (nodes, _) in LIMITS {
            report.unknown(&target(nodes), "valgrind is not installed");
        }
        return Ok(());
    }
    let names = ["streamraft-streams"].into_iter().chain(NAMES);
    let works: Vec<_> = LIMITS
        .iter()
        .flat_map(|(nodes, _)| names.clone().map(|name| (name, *nodes)))
        .flat_map(|(name, nodes)| [("round", name, nodes), ("cold", name, nodes)])
        .collect();
    let counts = callgrind::count(&works)?;
    let mut lines = Vec::new();
    for (work, count) in works.chunks(2).zip(counts.chunks(2)) {
        let (_, name, nodes) = work[0];
        let mut line = vec![format!("{name}, {nodes} nodes")];
        line.extend(count.iter().map(u64::to_string));
        lines.push(line);
        let limit = LIMITS.iter().find(|(of, _)| *of == nodes);
        if let (Some((_, limit)), "streamraft") = (limit, name) {
            report.at_most(&target(nodes), *limit, count[0] as f64);
        }
    }
    report.table(
        "Instructions",
        "By callgrind, which does not count the kernel's. `streamraft-streams` are nodes through their streams and sinks, with \
         tokio's timers and the real clock; all others as above.",
        &["", "heartbeat round", "first election"],
        lines,
    );
    Ok(())
}
