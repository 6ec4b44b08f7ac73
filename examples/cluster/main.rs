//! A cluster on loopback TCP in one program and one task: `cargo run --example cluster`.
//!
//! It elects a leader, kills it, brings it back, takes a node in, lets one go and hands leadership over, and tells
//! what happens and how long it took. No task is spawned: a node is a value, and one task polls them all.
//!
//! `cluster.rs` is what a program puts around nodes, `story.rs` what is done with them here.

mod cluster;
mod story;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use story::Story;

type Failure = Box<dyn std::error::Error>;

/// Watch a cluster elect, lose and change its leader
#[derive(Parser)]
struct Args {
    /// How many nodes there are at first, 1 to 9
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// For how long to watch the cluster at the end, such as 3s or 500ms
    #[arg(long = "for", value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    watch: Duration,
    /// For how long a leader may be silent before another is elected
    #[arg(long, value_name = "DURATION", default_value = "300ms", value_parser = humantime::parse_duration)]
    election_timeout: Duration,
}

async fn run(args: &Args) -> Result<(), Failure> {
    let mut story = Story::new(args.nodes, args.election_timeout)?;
    story.elect().await?;
    let killed = story.kill().await?;
    story.bring_back(&killed).await?;
    let new = story.take_in().await?;
    story.let_go().await?;
    story.transfer(&new).await?;
    story.resign().await?;
    story.watch(args.watch).await?;
    story.summary();
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    // Silent but for errors: what there is to see is told. `RUST_LOG=debug` shows what the nodes drop and why.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::FAILURE
        }
    }
}
