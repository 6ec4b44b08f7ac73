//! The command line.

use std::path::PathBuf;

use axum::http::uri::Authority;
use clap::{Args, Parser};

use super::load::Load;

/// Puts load on a cluster of the example `kv`, or on etcd. Starts three `kv` if it is not told whom to ask.
#[derive(Parser)]
#[command(name = "kv_bench")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) side: Side,
    /// The example `kv`, built already; without it, cargo builds it
    #[arg(long, value_name = "PATH", conflicts_with = "Side")]
    pub(crate) kv: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) load: Load,
}

/// Whom to ask.
#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct Side {
    /// Where nodes of the example `kv` answer clients
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', value_parser = host_and_port)]
    pub(crate) at: Vec<String>,
    /// Where etcd servers answer clients
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', value_parser = host_and_port)]
    pub(crate) etcd: Vec<String>,
}

/// `HOST:PORT`, to be looked up when it is used.
fn host_and_port(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let is_one = text
        .parse::<Authority>()
        .is_ok_and(|it| !it.host().is_empty() && it.port_u16().is_some() && !text.contains('@'));
    if !is_one {
        return Err(format!("{text:?} is not of the form HOST:PORT"));
    }
    Ok(text.to_owned())
}
