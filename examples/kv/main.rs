//! A replicated, durable key-value store with an HTTP interface: a service as a template for your own.
//!
//! ```text
//! cargo run --example kv
//! ```
//!
//! starts three nodes as processes of their own, lets clients write and read all the while, kills each node in turn, then all at
//! once, and looks on every node for what was acknowledged. By hand, in three terminals:
//!
//! ```text
//! mkdir -p /tmp/kv/1 /tmp/kv/2 /tmp/kv/3
//! cargo run --example kv -- serve --id 1 --listen 127.0.0.1:7101 --http 127.0.0.1:8101 --data /tmp/kv/1 --peer 2=127.0.0.1:7102,127.0.0.1:8102 --peer 3=127.0.0.1:7103,127.0.0.1:8103
//! cargo run --example kv -- serve --id 2 --listen 127.0.0.1:7102 --http 127.0.0.1:8102 --data /tmp/kv/2 --peer 1=127.0.0.1:7101,127.0.0.1:8101 --peer 3=127.0.0.1:7103,127.0.0.1:8103
//! cargo run --example kv -- serve --id 3 --listen 127.0.0.1:7103 --http 127.0.0.1:8103 --data /tmp/kv/3 --peer 1=127.0.0.1:7101,127.0.0.1:8101 --peer 2=127.0.0.1:7102,127.0.0.1:8102
//! ```
//!
//! and in a fourth one, while you kill and start them again as you like:
//!
//! ```text
//! cargo run --example kv -- put greeting hello
//! cargo run --example kv -- get greeting
//! cargo run --example kv -- status
//! curl -L -X PUT 127.0.0.1:8102/kv/greeting -d 'hello again'
//! ```
//!
//! # HTTP
//!
//! | request | answer |
//! |---|---|
//! | `PUT /kv/KEY`, the value as body | 200 `{"index":17}`: it is on the disks of a quorum, by entry 17 of the log |
//! | `GET /kv/KEY` | the value, with all that was acknowledged before the question (linearizable) |
//! | `GET /kv/KEY?stale` | the value that this node has, at once, whoever leads |
//! | `DELETE /kv/KEY` | 200 `{"index":18,"existed":true}` |
//! | `POST /session`, `DELETE /session/19` | 200 `{"session":19}`: opened, closed |
//! | `GET /status` | what this node knows |
//!
//! - `ETag` is the entry that wrote the value. `If-Match: 17` changes it only if that is still so, `If-Match: *` only if there is one,
//!   `If-None-Match: *` only if there is none: else 412. `Kv-Version` says how often the key was written since it was created,
//!   `Kv-Index` how much of the log is in the answer.
//! - Who does not lead answers 307 with the `Location` of the one that does, or 503 and `Retry-After` if nobody is known to.
//! - **504 `unknown`, and a connection that breaks, mean that a change may have happened.** With the headers `Session: 19` and
//!   `Serial: 1` (then 2, 3, ..) it can be asked for again, at any node, as often as it takes: it is made once, and the answer is that of the
//!   first time. A client with several changes under way says by `Settled: N` up to which serial it needs no answer. There are 4,096
//!   sessions; the one that was used least recently makes room for a new one, and answers 410 from then on.
//! - Every answer that is not what was asked for has a body in JSON, whose field `error` programs can go by (`answer.rs`).
//!
//! # A node
//!
//! Standard output has one line for each change: the seconds since the start, then `serves id=.. http=.. mesh=..`, and later the
//! node's type with `term=.. leader=..`. What goes wrong is told on standard error (`RUST_LOG=kv=debug` tells more). A node without room on its
//! disk gives leadership up, and goes on when there is some; any other failure of the disk ends it with status 1 and the
//! reason. Ctrl-C or SIGTERM answers what was asked, hands leadership over, and ends.
//!
//! There is no encryption and no authentication here: for a trusted network. For the nodes among themselves the example `node` has
//! `--tls`, which is one line more of `connect` in `serve.rs`.
//!
//! # The parts
//!
//! ```text
//!   http.rs ──▶ replica.rs ──▶ Client ──▶ Raft over Mesh, DiskLog (serve.rs)
//!                   ▲                        │
//!                   └── machine.rs ◀── AppliedStream
//! ```
//!
//! To make your own service of it, replace `values.rs` (what is kept, and how it changes) and `http.rs` (what can be asked).

mod answer;
mod args;
mod client;
mod command;
mod http;
mod listen;
mod machine;
mod replica;
mod serve;
mod stop;
mod story;
mod values;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Arguments, Command};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .init();
    let done = match arguments.command {
        // Not on the thread of `main`, which is none of those that serve: to wake it takes longer.
        Some(Command::Serve(serve)) => match tokio::spawn(serve::run(serve)).await {
            Ok(done) => done,
            Err(error) => Err(error.into()),
        },
        Some(Command::Put(put)) => command::put(put).await,
        Some(Command::Get(get)) => command::get(get).await,
        Some(Command::Delete(delete)) => command::delete(delete).await,
        Some(Command::Status(nodes)) => command::status(nodes).await,
        Some(Command::Story) | None => story::run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv: {error}");
            ExitCode::FAILURE
        }
    }
}
