//! Load for a cluster of the example `kv`, or for etcd through its HTTP gateway: the same connections, the same work.
//!
//! ```text
//! cargo run --release --example kv_bench
//! cargo run --release --example kv_bench -- --at 127.0.0.1:8101 --connections 64 --reads 90
//! cargo run --release --example kv_bench -- --etcd 127.0.0.1:2379 --connections 64
//! ```
//!
//! Without `--at` and `--etcd` it starts three `kv` of its own, in a folder that is removed at the end.

mod args;
mod cluster;
mod etcd;
mod http;
mod kv;
mod load;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Side};
use cluster::Cluster;
use etcd::Etcd;
use kv::Kv;
use load::{Figures, Load};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let Arguments { side, kv, load } = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(load.threads)
        .enable_all()
        .build();
    let done = runtime.map_err(Failure::from).and_then(|runtime| {
        let (name, figures) = runtime.block_on(measure(side, kv, &load))?;
        println!("{}", figures.report(name, &load));
        Ok(figures)
    });
    match done {
        // Something was asked, and nothing answered.
        Ok(figures) if figures.answered() == 0 => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv_bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(
    side: Side,
    kv: Option<PathBuf>,
    load: &Load,
) -> Result<(&'static str, Figures), Failure> {
    if !side.etcd.is_empty() {
        let figures = load.run(|number| Etcd::new(&side.etcd, number, load.stale));
        return Ok(("etcd over HTTP", figures.await?));
    }
    let own = match side.at.is_empty() {
        true => Some(Cluster::start(kv).await?),
        false => None,
    };
    let nodes = own.as_ref().map_or(&side.at, Cluster::nodes);
    let figures = load.run(|number| Kv::new(nodes, number, load.stale));
    let figures = figures.await;
    if let Some(own) = own {
        own.end().await;
    }
    Ok(("kv over HTTP", figures?))
}
