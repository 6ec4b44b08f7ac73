//! The load of the example `kv_bench`, to etcd by gRPC: the same workers, the same values, the same figures.

#[path = "../../../../examples/kv_bench/load/mod.rs"]
mod load;

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use load::{Ask, Load, Target, Unanswered};
use tokio::time::sleep;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Puts load on etcd, by gRPC.
#[derive(Parser)]
#[command(name = "etcd-grpc")]
struct Arguments {
    /// Where etcd servers answer clients
    #[arg(long, value_name = "URL,..", value_delimiter = ',', required = true)]
    etcd: Vec<Endpoint>,
    /// How many connections the workers share; as many as workers without this
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    channels: Option<u32>,
    #[command(flatten)]
    load: Load,
}

/// What is used of etcd's `rpc.proto`, by its field numbers.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    kvs: Vec<Bytes>,
    #[prost(int64, tag = "4")]
    count: i64,
}

struct Etcd {
    /// One for each server.
    channels: Vec<Grpc<Channel>>,
    present: usize,
    stale: bool,
}

impl Etcd {
    async fn once<A, B>(&mut self, path: &'static str, ask: A) -> Result<B, Status>
    where
        A: prost::Message + 'static,
        B: prost::Message + Default + 'static,
    {
        let grpc = &mut self.channels[self.present];
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let answer = grpc.unary(Request::new(ask), path, ProstCodec::<A, B>::default());
        Ok(answer.await?.into_inner())
    }
}

impl Target for Etcd {
    async fn ask(&mut self, ask: &Ask) -> Result<(), Unanswered> {
        loop {
            let asked = match ask.clone() {
                Ask::Put { key, value } => {
                    let key = key.into();
                    let put = PutRequest { key, value };
                    let put = self
                        .once::<_, PutResponse>("/etcdserverpb.KV/Put", put)
                        .await;
                    put.map(|_| 1)
                }
                Ask::Get { key } => {
                    let (key, serializable) = (key.into(), self.stale);
                    let range = RangeRequest { key, serializable };
                    let range = self.once("/etcdserverpb.KV/Range", range).await;
                    range.map(|answer: RangeResponse| answer.count)
                }
            };
            match asked {
                Ok(0) if !self.stale => return Err("not found".to_owned()),
                Ok(_) => return Ok(()),
                Err(status) => {
                    self.give_up();
                    if status.code() != Code::Unavailable || matches!(ask, Ask::Put { .. }) {
                        return Err(format!("{:?} {}", status.code(), status.message()));
                    }
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    fn give_up(&mut self) {
        self.present = (self.present + 1) % self.channels.len();
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("etcd-grpc: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, Failure> {
    let load = &arguments.load;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(load.threads)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let count = arguments
            .channels
            .unwrap_or(load.connections)
            .min(load.connections);
        let shared: Vec<Vec<_>> = (0..count)
            .map(|_| {
                arguments
                    .etcd
                    .iter()
                    .map(|it| Grpc::new(it.connect_lazy()))
                    .collect()
            })
            .collect();
        let servers = arguments.etcd.len();
        let figures = load.run(|number| Etcd {
            channels: shared[number % shared.len()].clone(),
            present: if load.stale { number % servers } else { 0 },
            stale: load.stale,
        });
        let figures = figures.await?;
        if figures.answered() == 0 {
            return Err("nothing was answered".into());
        }
        Ok(figures.report("etcd over gRPC", load))
    })
}
