//! A job that must run once in the cluster: a writer whose file refuses old fencing tokens.
//!
//! ```text
//! cargo run --example singleton
//! ```
//!
//! starts three members as processes of their own, kills a leader, stops another for longer than its lease, and then
//! looks through the file: nobody wrote with another's token, and no token went back. With arguments it is one member,
//! to be started once on each machine (the file on a disk that they share, and that knows locks) or three times on this
//! one:
//!
//! ```text
//! singleton --id a --listen 127.0.0.1:7001 --peer b=127.0.0.1:7002 --peer c=127.0.0.1:7003 --data votes --file entries
//! singleton --id b --listen 127.0.0.1:7002 --peer a=127.0.0.1:7001 --peer c=127.0.0.1:7003 --data votes --file entries
//! singleton --id c --listen 127.0.0.1:7003 --peer a=127.0.0.1:7001 --peer b=127.0.0.1:7002 --data votes --file entries
//! singleton --check entries
//! ```
//!
//! Three parts keep the job single, and the third is the one that holds whatever happens:
//!
//! 1. The node elects one leader a term and keeps its vote in a file (`member.rs`).
//! 2. The job runs in `leadership.run(..)` and `stream.while_leader(..)`, which end with the lease (`job.rs`).
//! 3. The file compares the token of each entry with the newest that it has seen (`ledger.rs`), for a process can be
//!    stopped between any check of its own and the write.
//!
//! A member's standard output has one line for each thing that it did: the seconds since its start, then `begins`,
//! `leads`, `wrote`, `refused` or `lost`, and what belongs to it (`report.rs`). It ends, with a message and status 1,
//! if it cannot keep its vote or reach the file; whatever starts it again will do.

mod audit;
mod crew;
mod demo;
mod entry;
mod job;
mod ledger;
mod local;
mod member;
mod report;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One member of a cluster whose leader writes to a file. Without arguments: a whole cluster, and faults in it.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    member: Option<member::Member>,
    /// Look through this file for two writers with one token and for tokens that went back
    #[arg(long, value_name = "PATH", exclusive = true)]
    check: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn run(member: member::Member) -> Result<(), Failure> {
    member::run(member).await
}

fn main() -> ExitCode {
    let is_demo = std::env::args_os().len() <= 1;
    let arguments = (!is_demo).then(Arguments::parse);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .init();
    let done = match arguments {
        None => demo::run(),
        Some(Arguments {
            member: Some(member),
            ..
        }) => run(member),
        Some(Arguments { check, .. }) => check.iter().try_for_each(|file| {
            let audit = audit::audit(file, []);
            println!(
                "{}",
                audit.map_err(|error| format!("{}: {error}", file.display()))?
            );
            Ok(())
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("singleton: {error}");
            ExitCode::FAILURE
        }
    }
}
