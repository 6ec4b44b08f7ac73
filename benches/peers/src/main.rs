//! streamraft and its peers on the same work, in one program and interleaved: `benches/peers/run` prints the tables.
//!
//! `peers` measures time and allocations; `peers round NAME NODES TIMES` and `peers cold NAME NODES TIMES` do one
//! thing only, for a tool that counts instructions.

mod election;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => election::compare(),
        ["names"] => election::NAMES.iter().for_each(|name| println!("{name}")),
        [work @ ("round" | "cold"), name, nodes, times] => {
            let (Ok(nodes), Ok(times)) = (nodes.parse(), times.parse()) else {
                eprintln!("peers: NODES and TIMES are numbers");
                return ExitCode::FAILURE;
            };
            if !election::repeat(work, name, nodes, times) {
                eprintln!("peers: nobody is named {name:?}");
                return ExitCode::FAILURE;
            }
        }
        _ => {
            eprintln!("usage: peers | peers names | peers (round|cold) NAME NODES TIMES");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
